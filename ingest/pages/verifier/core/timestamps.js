// Time-stamps (§10.1).

const HASHES = { [O.sha256]: 'SHA-256', '608648016503040202': 'SHA-384', '608648016503040203': 'SHA-512' };
const CLOCK_TOLERANCE_SECONDS = 300;
const digestOf = async (name, bytes) => new Uint8Array(await crypto.subtle.digest(name, bytes));

/** An algorithm: its identifier, and whether its parameters are NULL; anything else as parameters is malformed. */
function readBareAlgorithm(reader) {
  const inner = reader.inside(SEQUENCE), oid = inner.oid(), hasNull = inner.more;
  if (hasNull) inner.next(NULL);
  inner.end();
  return { oid, hasNull };
}
const readHash = (reader) => HASHES[readBareAlgorithm(reader).oid] ?? reader.fail('empreinte d’un algorithme non admis');

/** A token's parts; what may be there and says nothing is passed over. */
function readToken(bytes, part) {
  if (bytes.length > TIMESTAMP_LIMIT_BYTES) malformed(part, 'jeton de plus de 64 Kio');
  checkTree(bytes, part);
  const info = new Der(bytes, part).inside(SEQUENCE), fail = (reason) => info.fail(reason);
  if (info.oid() !== O.signedData) fail('ce n’est pas un jeton d’horodatage');
  const data = info.sole(0xa0).sole(SEQUENCE);
  if (toHex(data.unsigned()) !== '03') fail('jeton d’une autre version');
  const announced = [];
  for (const list = data.inside(SET); list.more;) announced.push(readHash(list));
  const content = data.inside(SEQUENCE);
  if (content.oid() !== O.timestampInfo) fail('le jeton contient autre chose qu’un horodatage');
  const contentBytes = content.sole(0xa0).next(OCTET_STRING).content;
  const certificates = [], list = data.inside(0xa0);
  for (let count = 1; list.more; count++) {
    if (count > 8) fail('jeton de plus de 8 certificats');
    try { certificates.push(readCertificate(list.next().whole, part)); } catch (failure) { if (!(failure instanceof Refusal)) throw failure; }
  }
  if (data.tag === 0xa1) data.next();
  const signer = data.sole(SET).sole(SEQUENCE);
  if (toHex(signer.unsigned()) !== '01') fail('signataire d’une autre version');
  const name = signer.inside(SEQUENCE), issuer = name.next(SEQUENCE), serial = name.next(INTEGER);
  name.end();
  const hashName = readHash(signer), attributesValue = signer.next(0xa0), attributes = new Map();
  let before = null;
  for (const each = new Der(attributesValue.content, part); each.more;) {
    const attribute = each.next(SEQUENCE), inner = new Der(attribute.content, part), oid = inner.oid();
    if (before && compare(before, attribute.whole) > 0 || attributes.has(oid)) fail('attributs signés en désordre');
    attributes.set(oid, inner.sole(SET));
    before = attribute.whole;
  }
  const algorithm = signer.next(SEQUENCE).whole, signature = signer.next(OCTET_STRING).content;
  if (signer.tag === 0xa1) signer.next();
  signer.end();
  if (!announced.includes(hashName)) fail('l’algorithme du signataire n’est pas annoncé');
  const mine = certificates.filter((one) => equal(one.issuer, issuer.whole) && equal(one.serial.whole, serial.whole));
  if (mine.length !== 1) fail('le certificat du signataire n’est pas une fois dans le jeton');
  const signed = attributesValue.whole.slice();
  signed[0] = SET;
  return { contentBytes, certificates, signer: mine[0], hashName, attributes, signed, algorithm, signature };
}

/** TSTInfo: imprint and time. */
function readTimestampInfo(bytes, part) {
  checkTree(bytes, part);
  const info = new Der(bytes, part).inside(SEQUENCE);
  if (toHex(info.unsigned()) !== '01') info.fail('horodatage d’une autre version');
  info.oid();
  const imprint = info.inside(SEQUENCE);
  if (readHash(imprint) !== 'SHA-256') info.fail('empreinte qui n’est pas de SHA-256');
  const digest = imprint.next(OCTET_STRING).content;
  imprint.end();
  info.next(INTEGER);
  const at = derTimeText(GENERALIZED_TIME, info.next(GENERALIZED_TIME).content);
  const accuracy = info.tag === SEQUENCE ? readAccuracy(info.inside(SEQUENCE)) : null;
  for (const optional of [BOOLEAN, INTEGER, 0xa0]) if (info.tag === optional) info.next();
  if (info.tag === 0xa1)
    for (const list = info.inside(0xa1); list.more;) {
      const extension = list.inside(SEQUENCE);
      extension.oid();
      if (extension.tag === BOOLEAN && extension.next().content[0]) info.fail('extension critique dans l’horodatage');
      extension.next(OCTET_STRING);
      extension.end();
    }
  info.end();
  return { digest, at, accuracy };
}
function readAccuracy(reader) {
  const number = (tagByte, least, most) => {
    if (reader.tag !== tagByte) return 0;
    const { content } = reader.next(), value = content.reduce((sum, byte) => sum * 256 + byte, 0);
    return isInteger(content) && !(content[0] & 0x80) && value >= least && value <= most ? value : reader.fail('précision inattendue');
  };
  const microseconds = 1e6 * number(INTEGER, 0, 86400) + 1e3 * number(0x80, 1, 999) + number(0x81, 1, 999);
  reader.end();
  return microseconds;
}

/** The signer's certificate as signing-certificate names it, in one of its two forms. */
async function checkNamedCertificate(list, isBySha1, signer, part) {
  const identifiers = list.sole(SEQUENCE).inside(SEQUENCE), first = identifiers.inside(SEQUENCE);
  const hashName = isBySha1 ? 'SHA-1' : first.tag === SEQUENCE ? readHash(first) : 'SHA-256';
  const isOther = !equal(first.next(OCTET_STRING).content, await digestOf(hashName, signer.whole));
  let isOtherIssuer = false;
  if (first.more) {
    const pair = first.sole(SEQUENCE), names = pair.inside(SEQUENCE), name = names.next(0xa4), serial = pair.next(INTEGER);
    names.end();
    pair.end();
    isOtherIssuer = !equal(name.content, signer.issuer) || !equal(serial.whole, signer.serial.whole);
  }
  if (isOther || isOtherIssuer) refuse('bad signature', part, 'le jeton nomme un autre certificat que celui de son signataire');
}

/** Verify a token over a text of this digest, made at `madeAt` and seen by `seenAt` (null: whenever). */
async function verifyTimestamp(bytes, digest, stampers, madeAt, seenAt, part) {
  const token = readToken(bytes, part), info = readTimestampInfo(token.contentBytes, part), { signer, attributes, hashName } = token;
  if (!equal(info.digest, digest)) mismatched(part, 'l’horodatage est d’un autre contenu');
  const attribute = (oid) => attributes.get(oid) ?? malformed(part, 'un attribut signé manque au jeton');
  const type = attribute(O.contentType);
  if (type.oid() !== O.timestampInfo || type.more) malformed(part, 'le jeton est signé comme autre chose');
  const claimed = attribute(O.messageDigest), { content: claimedDigest } = claimed.next(OCTET_STRING);
  claimed.end();
  if (!equal(claimedDigest, await digestOf(hashName, token.contentBytes))) refuse('bad signature', part, 'le jeton est signé sur un autre contenu');
  const [bySha1, bySha2] = [attributes.get(O.signingCertificateBySha1), attributes.get(O.signingCertificate)];
  if (!bySha1 && !bySha2) malformed(part, 'le jeton ne nomme pas son certificat');
  if (bySha1) await checkNamedCertificate(bySha1, true, signer, part);
  if (bySha2) await checkNamedCertificate(bySha2, false, signer, part);
  if (!signer.key) refuse('untrusted', part, 'la clé de l’autorité d’horodatage n’est pas admise');
  const signedWith = equal(token.algorithm, RSA_ALGORITHM) ? { kind: 'RSA', hash: hashName } : ALGORITHMS.get(toHex(token.algorithm));
  if (signedWith?.kind !== signer.key.kind || signedWith.hash !== hashName) malformed(part, 'jeton signé par un algorithme non admis');
  if (signedWith.kind === 'ECDSA') readEcdsa(token.signature, part);
  if (!await keyVerifies(signer.key, signedWith, token.signature, token.signed)) refuse('bad signature', part, 'le jeton n’a pas été signé par cette clé');
  await findStamperPath(token, stampers, info.at, part);
  const at = microseconds(info.at), tolerance = BigInt(CLOCK_TOLERANCE_SECONDS) * 1000000n;
  if (at < microseconds(madeAt) - tolerance) mismatched(part, 'l’horodatage est plus ancien que ce qu’il atteste');
  if (seenAt !== null && at > microseconds(seenAt) + tolerance) mismatched(part, 'l’horodatage était encore à venir quand l’extrait a été établi');
  return { at: info.at, accuracy: info.accuracy, authority: signer.subjectName, isBySha1Alone: !bySha2 };
}
const microseconds = (time) => BigInt(secondsSince1970(time)) * 1000000n + BigInt(precise(time).slice(20, 26));

/** Up to two of the token's other certificates lead from its signer to one that is trusted for time-stamps. */
async function findStamperPath({ signer, certificates }, stampers, at, part) {
  const usage = signer.extensions.get(O.extendedKeyUsage);
  let failure = new Refusal('untrusted', part, `le certificat de ${signer.subjectName} n’est pas d’une autorité d’horodatage`);
  const search = async (path) => {
    try { await checkPath(path, stampers, at, O.timeStamping, part); return true; } catch (reason) {
      if (!(reason instanceof Refusal)) throw reason;
      failure = new Refusal('untrusted', part, reason.reason);
    }
    for (const other of path.length < 3 ? certificates : [])
      if (!path.includes(other) && await issued(other, path[path.length - 1]) && await search([...path, other])) return true;
    return false;
  };
  let isAlone = false;
  try { isAlone = usage?.critical && readUsage(signer, part).purposes.length === 1; } catch (reason) { if (!(reason instanceof Refusal)) throw reason; }
  if (!isAlone || !await search([signer])) throw failure;
}
