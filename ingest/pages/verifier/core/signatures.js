// Signatures (§10).

const SIGNATURE_LIMIT_BYTES = 32 * 1024;
const TIMESTAMP_LIMIT_BYTES = 64 * 1024;
const RSA_SIGNER_BITS = 3072;
/** Of each curve the order n and n/2, as bytes. */
const ORDERS = {
  'P-256': ['ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551', '7fffffff800000007fffffffffffffffde737d56d38bcf4279dce5617e3192a8'],
  'P-384': [
    'ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973',
    '7fffffffffffffffffffffffffffffffffffffffffffffffe3b1a6c0fa1b96efac0d06d9245853bd76760cb5666294b9'],
};
const padded = (bytes, width) => concat(new Uint8Array(Math.max(0, width - bytes.length)), bytes);

/** The values of a CMS signature: those that may vary. The caller builds the whole again and compares. */
function readSignature(bytes, part) {
  const outer = new Der(bytes, part), info = outer.inside(SEQUENCE);
  if (info.oid() !== O.signedData) info.fail('ce n’est pas une signature CMS');
  const data = info.inside(0xa0).inside(SEQUENCE);
  for (const skipped of [INTEGER, SET, SEQUENCE]) data.next(skipped);
  const certificates = [];
  for (const list = data.inside(0xa0); list.more;) certificates.push(readCertificate(list.next(SEQUENCE).whole, part));
  const signer = data.inside(SET).inside(SEQUENCE);
  for (const skipped of [INTEGER, SEQUENCE, SEQUENCE]) signer.next(skipped);
  const attributes = new Map();
  for (const list = signer.inside(0xa0); list.more;) {
    const attribute = list.inside(SEQUENCE);
    attributes.set(attribute.oid(), attribute.inside(SET));
  }
  signer.next(SEQUENCE);
  const value = signer.next(OCTET_STRING).content;
  const attribute = (oid) => attributes.get(oid) ?? outer.fail('un attribut signé manque');
  const fingerprints = [], list = attribute(O.signingCertificate).inside(SEQUENCE).inside(SEQUENCE);
  while (list.more) fingerprints.push(list.inside(SEQUENCE).next(OCTET_STRING).content);
  const path = fingerprints.map((fingerprint) =>
    certificates.find(({ whole }) => equal(sha256(whole), fingerprint)) ?? outer.fail('les certificats ne sont pas ceux que la signature nomme'));
  return {
    path, digest: attribute(O.messageDigest).next(OCTET_STRING).content, time: attribute(O.signingTime).time(), value,
  };
}

/** The signed attributes of these values, as the SET OF that is signed. */
const signedAttributes = ({ path, digest, time }) => {
  const attribute = (oid, value) => der(SEQUENCE, derOid(oid), der(SET, value));
  const fingerprints = path.map(({ whole }) => der(SEQUENCE, der(OCTET_STRING, sha256(whole))));
  return derSet(SET, [
    attribute(O.contentType, derOid(O.data)),
    attribute(O.messageDigest, der(OCTET_STRING, digest)),
    attribute(O.signingTime, derTime(time)),
    attribute(O.signingCertificate, der(SEQUENCE, der(SEQUENCE, ...fingerprints))),
  ]);
};

/** The one signature of these values. */
function buildSignature(values) {
  const [signer] = values.path, digestAlgorithm = der(SEQUENCE, derOid(O.sha256)), one = der(INTEGER, tag(1));
  const attributes = signedAttributes(values).slice();
  attributes[0] = 0xa0;
  const info = der(SEQUENCE, one, der(SEQUENCE, signer.issuer, signer.serial.whole), digestAlgorithm, attributes,
    signer.isRsa ? der(SEQUENCE, derOid(O.rsaSha256), DER_NULL) : der(SEQUENCE, derOid(O.ecdsaSha256)), der(OCTET_STRING, values.value));
  return der(SEQUENCE, derOid(O.signedData), der(0xa0, der(SEQUENCE, one, der(SET, digestAlgorithm),
    der(SEQUENCE, derOid(O.data)), derSet(0xa0, values.path.map(({ whole }) => whole)), der(SET, info))));
}

/** The certificate of a verified signature names the service; or it names none, and is an organisation's seal. */
function checkService({ services, organisation }, service, part) {
  if (services.length ? services.length > 1 || services[0] !== service : !organisation)
    refuse('untrusted', part, services.length ? `le certificat du signataire n’est pas celui du service ${service}` : 'le certificat du signataire ne nomme ni un service, ni une organisation');
}
/** Seals of organisations are of one, unless the auditor brought certificates that say of which. */
const mayBeBeside = (signature, signer) => signature.services.length > 0 || signer.services.length > 0 || signature.isExpected
  || isSameOrganisation(signature.organisation, signer.organisation);
function checkSameSigner(signature, signer, part) {
  if (!mayBeBeside(signature, signer))
    refuse('untrusted', part, `c’est le cachet d’une autre organisation que celle de l’extrait (${organisationText(signer.organisation)})`);
}
const organisationText = ({ name, identifier }) => identifier ? `${name} (${identifier})` : name;
const DEVELOPMENT = 'OpenEPM journal development authority';

/** Refuse numbers out of range, or the greater of the two equivalent s. */
function checkNumbers(value, { curve, width }, part) {
  const { r, s } = readEcdsa(value, part), [order, half] = ORDERS[curve].map(fromHex);
  if (r.length > width || s.length > width || compare(padded(r, width), order) >= 0 || compare(padded(s, width), half) > 0)
    malformed(part, 'la signature n’est pas dans son unique écriture');
}

/** Verify a detached signature over content of this digest, at a proven time or its own. Whose service it is,
    `checkService` tells. */
async function verifySignature(bytes, contentDigest, anchors, part, provenAt = null) {
  if (bytes.length > SIGNATURE_LIMIT_BYTES) malformed(part, 'signature de plus de 32 Kio');
  const values = readSignature(bytes, part), { path, digest, time, value } = values, [signer] = path;
  if (!signer || path.length > 3) malformed(part, 'la signature n’a pas un à trois certificats');
  if (!equal(buildSignature(values), bytes)) malformed(part, 'la signature n’est pas dans son unique écriture');
  if (!equal(digest, contentDigest)) refuse('bad signature', part, 'la signature porte sur un autre contenu');
  if (!signer.key || signer.key.size < RSA_SIGNER_BITS) refuse('untrusted', part, 'la clé du signataire n’est pas admise');
  if (signer.key.kind === 'ECDSA') checkNumbers(value, signer.key, part);
  if (!await keyVerifies(signer.key, { hash: 'SHA-256' }, value, signedAttributes(values))) refuse('bad signature', part, 'la signature n’a pas été faite par cette clé');
  const anchor = await checkPath(path, anchors, provenAt ?? time, null, part), { services } = readUsage(signer, part), { organisation } = signer;
  const expected = anchors.filter((one) => one.organisation && !readUsage(one, part).authority);
  if (expected.length && organisation && !services.length && !expected.some((one) => isSameOrganisation(organisation, one.organisation)))
    refuse('untrusted', part, `c’est le cachet d’une autre organisation (${organisationText(organisation)}) que celle que vous attendez`);
  return {
    time, services, organisation, isExpected: expected.length > 0, subject: signer.subjectName, issuer: signer.issuerName,
    anchor: { subject: anchor.subjectName, fingerprint: toHex(sha256(anchor.whole)), isDevelopment: anchor.organisation?.name === DEVELOPMENT },
    serial: toHex(signer.serial.content), begin: signer.begin, end: signer.end,
  };
}
