// Certificates (§10).

const CERTIFICATE_LIMIT_BYTES = 8192;

/** How a certificate is signed, or null where it is in no form admitted. */
const readAlgorithm = (reader) => ALGORITHMS.get(toHex(reader.next(SEQUENCE).whole)) ?? null;
const RSA_ALGORITHM = der(SEQUENCE, derOid(O.rsaKey), DER_NULL);

/** The public key as WebCrypto wants it; null where its kind, size or form is not admitted. */
function readKey({ content, whole }, part) {
  try {
    const outer = new Der(content, part), algorithm = outer.inside(SEQUENCE), bits = outer.bits();
    outer.end();
    const kind = algorithm.oid(), parameter = algorithm.next();
    algorithm.end();
    if (kind === O.rsaKey && parameter.tag === NULL) {
      const key = new Der(bits, part).sole(SEQUENCE), modulus = key.unsigned(), exponent = key.unsigned();
      key.end();
      const size = modulus.length * 8 - Math.clz32(modulus[0]) + 24;
      return size >= 2048 && size <= 8192 && toHex(exponent) === '010001' ? { kind: 'RSA', size, whole } : null;
    }
    const width = kind === O.ecKey ? { [O.p256]: 32, [O.p384]: 48 }[toHex(parameter.content)] : 0;
    return width && parameter.tag === OID && bits.length === 2 * width + 1 && bits[0] === 4
      ? { kind: 'ECDSA', curve: width === 32 ? 'P-256' : 'P-384', width, whole } : null;
  } catch (failure) {
    if (failure instanceof Refusal) return null;
    throw failure;
  }
}

/** A name for people: what its attributes say, the most specific first. */
function readName(bytes, part) {
  const outer = new Der(bytes, part).inside(SEQUENCE), texts = [];
  while (outer.more)
    for (const set = outer.inside(SET); set.more;) {
      const pair = set.inside(SEQUENCE), oid = pair.oid(), value = pair.next();
      pair.end();
      texts.push(`${NAMES_OF[oid] ?? oid}=${value.tag === 0x0c ? new TextDecoder().decode(value.content) : latin1(value.content)}`);
    }
  return texts.reverse().join(', ');
}

const READABLE = [0x0c, 0x13, 0x16];
/** The one organisation a name says, and its number where there is one; null otherwise. */
function readOrganisation(bytes, part) {
  const found = { [O.organisation]: [], [O.organisationIdentifier]: [] };
  for (const outer = new Der(bytes, part).inside(SEQUENCE); outer.more;)
    for (const set = outer.inside(SET); set.more;) {
      const pair = set.inside(SEQUENCE), oid = pair.oid(), value = pair.next();
      found[oid]?.push(READABLE.includes(value.tag) ? new TextDecoder('utf-8', { ignoreBOM: true }).decode(value.content) : '');
    }
  const [names, identifiers] = [found[O.organisation], found[O.organisationIdentifier]];
  return names.length !== 1 || identifiers.length > 1 || [...names, ...identifiers].includes('') ? null : { name: names[0], identifier: identifiers[0] ?? '' };
}
/** By its number, or by its name where neither has one. */
const isSameOrganisation = (one, other) => one.identifier === other.identifier && (one.identifier !== '' || one.name === other.name);

function readCertificate(bytes, part) {
  if (bytes.length > CERTIFICATE_LIMIT_BYTES) malformed(part, 'certificat de plus de 8 Kio');
  checkTree(bytes, part);
  const outer = new Der(bytes, part), whole = outer.inside(SEQUENCE);
  outer.end();
  const signed = whole.next(SEQUENCE), algorithm = readAlgorithm(whole), algorithmBytes = whole.bytes.subarray(signed.whole.length, whole.place);
  const signature = whole.bits();
  whole.end();
  const body = new Der(signed.content, part), version = body.inside(0xa0);
  if (toHex(version.unsigned()) !== '02') body.fail('certificat d’une autre version');
  version.end();
  const serial = body.next(INTEGER), from = body.place;
  if (serial.content.length - (serial.content[0] === 0) > 20 || serial.content[0] & 0x80) body.fail('numéro de série négatif ou trop long');
  readAlgorithm(body);
  if (!equal(body.bytes.subarray(from, body.place), algorithmBytes)) body.fail('certificat à deux algorithmes');
  const issuer = body.next(SEQUENCE), validity = body.inside(SEQUENCE), begin = validity.time(), end = validity.time();
  validity.end();
  const subject = body.next(SEQUENCE), keyValue = body.next(SEQUENCE), key = readKey(keyValue, part);
  const keyAlgorithm = keyValue.content.length ? new Der(keyValue.content, part).next().whole : NOTHING;
  const extensions = new Map(), list = body.inside(0xa3).inside(SEQUENCE);
  body.end();
  while (list.more) {
    const extension = list.inside(SEQUENCE), oid = extension.oid();
    const critical = extension.tag === BOOLEAN;
    if (critical && toHex(extension.next().content) !== 'ff') extension.fail();
    if (extensions.has(oid)) list.fail('une extension vient deux fois');
    extensions.set(oid, { critical, value: extension.next(OCTET_STRING).content });
    extension.end();
  }
  return {
    whole: bytes, signed: signed.whole, algorithm, signature, serial, issuer: issuer.whole, subject: subject.whole,
    begin, end, key, extensions, issuerName: readName(issuer.whole, part), subjectName: readName(subject.whole, part),
    organisation: readOrganisation(subject.whole, part), isRsa: equal(keyAlgorithm, RSA_ALGORITHM),
  };
}

/** What extensions say, in the terms of the profile. */
function readUsage(certificate, part) {
  const inside = (oid, ...tags) => {
    const found = certificate.extensions.get(oid);
    if (found) checkTree(found.value, part);
    return found ? (tags.length ? new Der(found.value, part).inside(...tags) : new Der(found.value, part)) : null;
  };
  const usage = { authority: false, pathLength: Infinity, digitalSignature: false, nonRepudiation: false, keyCertSign: false, purposes: null, services: [] };
  const constraints = inside(O.basicConstraints, SEQUENCE);
  if (constraints?.more) {
    if (constraints.tag === BOOLEAN) usage.authority = toHex(constraints.next().content) === 'ff' || constraints.fail();
    if (constraints.more) usage.pathLength = constraints.unsigned().reduce((sum, byte) => sum * 256 + byte, 0);
    constraints.end();
  }
  const bits = inside(O.keyUsage)?.bits();
  if (bits) Object.assign(usage, { digitalSignature: (bits[0] & 0x80) > 0, nonRepudiation: (bits[0] & 0x40) > 0, keyCertSign: (bits[0] & 0x04) > 0 });
  const purposes = inside(O.extendedKeyUsage, SEQUENCE);
  if (purposes) for (usage.purposes = []; purposes.more;) usage.purposes.push(purposes.oid());
  const names = inside(O.alternativeNames, SEQUENCE);
  while (names?.more) { const name = names.next(); if (name.tag === 0x82) usage.services.push(latin1(name.content)); }
  return usage;
}

/** The two numbers of an ECDSA signature. */
function readEcdsa(signature, part) {
  const pair = new Der(signature, part).sole(SEQUENCE), r = pair.unsigned(), s = pair.unsigned();
  pair.end();
  return r.length && s.length ? { r, s } : malformed(part, 'une signature contient un nombre nul');
}

const cryptoKeys = new Map();
/** Does the key of `key` verify this signature? False also where the key or the signature is not such. */
async function keyVerifies(key, { hash, salt }, signature, content) {
  const name = key.kind === 'ECDSA' ? { name: 'ECDSA', namedCurve: key.curve } : { name: salt ? 'RSA-PSS' : 'RSASSA-PKCS1-v1_5', hash };
  const place = `${name.name} ${hash} ${toHex(key.whole)}`;
  try {
    let raw = signature;
    if (key.kind === 'ECDSA') {
      const { r, s } = readEcdsa(signature, '');
      if (r.length > key.width || s.length > key.width) return false;
      raw = new Uint8Array(2 * key.width);
      raw.set(r, key.width - r.length);
      raw.set(s, 2 * key.width - s.length);
    }
    if (!cryptoKeys.has(place)) cryptoKeys.set(place, await crypto.subtle.importKey('spki', key.whole, name, false, ['verify']));
    return await crypto.subtle.verify({ ...name, hash, saltLength: salt }, cryptoKeys.get(place), raw, content);
  } catch (failure) {
    if (failure instanceof Refusal || failure instanceof DOMException) return false;
    throw failure;
  }
}

const OTHER_PURPOSES = [O.serverAuthentication, O.timeStamping, O.revocationAnswers];
/** Does an extended key usage allow this purpose? Null: that of a signature, for which any does but those of others. */
const serves = ({ purposes }, purpose) =>
  !purposes || (purpose ? purposes.includes(purpose) : purposes.some((one) => !OTHER_PURPOSES.includes(one)));

/** The path from the signer (first of `path`) to one of `anchors`, which is returned, at a time; refused: untrusted. */
async function checkPath(path, anchors, at, purpose, part) {
  const untrusted = (reason) => refuse('untrusted', part, reason);
  const [signer] = path, usage = readUsage(signer, part);
  if (usage.authority || !(usage.nonRepudiation || purpose && usage.digitalSignature) || !serves(usage, purpose))
    untrusted(`le certificat de ${signer.subjectName} n’a pas l’usage attendu d’un signataire`);
  path.forEach((certificate, depth) => {
    checkCertificate(certificate, at, untrusted);
    if (depth > 0) checkAuthority(certificate, depth - 1, purpose, part, untrusted);
    if (equal(certificate.subject, certificate.issuer)) untrusted('un certificat de la signature s’est émis lui-même');
  });
  for (let depth = 0; depth + 1 < path.length; depth++)
    if (!await issued(path[depth + 1], path[depth])) untrusted(`${path[depth].subjectName} n’est pas certifié par ${path[depth + 1].subjectName}`);
  const last = path[path.length - 1];
  let failure = Object.assign(new Refusal('untrusted', part, `${last.issuerName} n’est pas parmi les certificats de confiance fournis`), { isOtherAnchor: true });
  for (const anchor of anchors) {
    if (!await issued(anchor, last)) continue;
    try {
      checkCertificate(anchor, at, untrusted);
      checkAuthority(anchor, path.length - 1, purpose, part, untrusted);
      return anchor;
    } catch (reason) { if (!(reason instanceof Refusal)) throw reason; failure = reason; }
  }
  throw failure;
}
/** A time of either spelling in that of records, whose order is that of times. */
const precise = (text) => text.length === 20 ? `${text.slice(0, 19)}.000000Z` : text;
const KNOWN_EXTENSIONS = [O.basicConstraints, O.keyUsage, O.extendedKeyUsage, O.alternativeNames];
function checkCertificate(certificate, at, untrusted) {
  if (!certificate.key) untrusted(`la clé de ${certificate.subjectName} n’est pas admise`);
  if (precise(at) < precise(certificate.begin) || precise(at) > precise(certificate.end)) untrusted(`le certificat de ${certificate.subjectName} n’était pas valide le ${at}`);
  for (const [oid, { critical }] of certificate.extensions)
    if (oid === O.nameConstraints || critical && !KNOWN_EXTENSIONS.includes(oid)) untrusted(`le certificat de ${certificate.subjectName} porte une extension non admise`);
}
function checkAuthority(certificate, below, purpose, part, untrusted) {
  const usage = readUsage(certificate, part);
  if (!usage.authority || !usage.keyCertSign || usage.pathLength < below || !serves(usage, purpose))
    untrusted(`le certificat de ${certificate.subjectName} n’est pas celui d’une autorité pour cet usage`);
}
const issuances = new Map();
/** Did the issuer's key sign this certificate, under its name? Remembered: every seal bears the same certificates. */
async function issued(issuer, certificate) {
  if (!equal(issuer.subject, certificate.issuer) || !issuer.key || issuer.key.kind !== certificate.algorithm?.kind) return false;
  const pair = toHex(sha256(issuer.key.whole, certificate.whole));
  if (!issuances.has(pair)) issuances.set(pair, await keyVerifies(issuer.key, certificate.algorithm, certificate.signature, certificate.signed));
  return issuances.get(pair);
}

/** The certificates of a PEM file. */
function readAnchors(text) {
  const blocks = [...text.matchAll(/-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]*)-----END CERTIFICATE-----/g)];
  if (!blocks.length) throw new Unusable('Le fichier de confiance ne contient aucun certificat au format PEM : choisissez trust.pem, tel que l’hébergeur l’a donné.');
  return blocks.map(([, block]) => {
    const bytes = fromBase64(block.replace(/\s/g, ''));
    try { return readCertificate(bytes ?? malformed('', ''), 'certificat de confiance'); } catch (failure) {
      if (failure instanceof Refusal) throw new Unusable('Un certificat du fichier de confiance est illisible.');
      throw failure;
    }
  });
}
