// A hand-over opened (§13): CMS AuthEnvelopedData to one recipient, as it was written, and its confirmation code.

const HANDOVER_LIMIT_BYTES = 2 ** 29, CODE_DIGITS = 16;
const H = {
  authEnvelopedData: '2a864886f70d0109100117', aes256Gcm: '60864801650304012e', aes256Wrap: '60864801650304012d',
  ecdh: '2b8104010b01', oaep: '2a864886f70d010107',
};
const WRAP = der(SEQUENCE, derOid(H.aes256Wrap)), OAEP_HASH = der(SEQUENCE, derOid(O.sha256));
const OAEP = der(SEQUENCE, derOid(H.oaep), der(SEQUENCE, der(0xa0, OAEP_HASH), der(0xa1, der(SEQUENCE, derOid(O.mgf1), OAEP_HASH))));
const SHARED_INFO = der(SEQUENCE, WRAP, der(0xa2, der(OCTET_STRING, Uint8Array.of(0, 0, 1, 0))));
const DAMAGED = 'Ce fichier est abîmé ou incomplet : téléchargez-le ou copiez-le de nouveau, et comparez son SHA-256 à celui du bordereau.';
const NOT_ONE = 'Ce fichier n’est pas une remise : choisissez un fichier dont le nom finit par .asice.p7m.';

/** Before this, a file is of another kind. */
const HEAD_BYTES = 15;
/** Reads the outer structures, of indefinite length (X.690 section 8.1.3.6), around values in DER. */
class Envelope {
  constructor(bytes) { this.bytes = bytes; this.place = 0; }
  expect(...octets) {
    const { bytes, place } = this;
    if (octets.some((octet, at) => bytes[place + at] !== octet)) throw new Unusable(place < HEAD_BYTES ? NOT_ONE : DAMAGED);
    this.place += octets.length;
  }
  next(...tags) {
    try {
      const found = new Der(this.bytes.subarray(this.place), '').next(...tags);
      this.place += found.whole.length;
      return found;
    } catch (failure) { throw failure instanceof Refusal ? new Unusable(DAMAGED) : failure; }
  }
  same(value) { this.expect(...value); }
}

/** What a hand-over holds: for whom, how its key is wrapped, and what is encrypted, with its tag after it. */
function readEnvelope(bytes) {
  const envelope = new Envelope(bytes);
  envelope.expect(SEQUENCE, 0x80);
  envelope.same(derOid(H.authEnvelopedData));
  envelope.expect(0xa0, 0x80, SEQUENCE, 0x80, INTEGER, 1, 0);
  const recipient = readRecipient(envelope.next(SET).content);
  envelope.expect(SEQUENCE, 0x80);
  envelope.same(derOid(O.data));
  const algorithm = new Der(envelope.next(SEQUENCE).content, ''), parameters = algorithm.oid() === H.aes256Gcm ? algorithm.inside(SEQUENCE) : algorithm.fail();
  const nonce = parameters.next(OCTET_STRING).content;
  envelope.expect(0xa0, 0x80);
  const content = new Uint8Array(bytes.length);
  let size = 0;
  const add = (part) => { content.set(part, size); size += part.length; };
  while (bytes[envelope.place] === OCTET_STRING) add(envelope.next(OCTET_STRING).content);
  envelope.expect(0, 0, 0, 0);
  add(envelope.next(OCTET_STRING).content);
  envelope.expect(0, 0, 0, 0, 0, 0);
  if (envelope.place !== bytes.length) throw new Unusable(DAMAGED);
  return { recipient, nonce, content: content.subarray(0, size) };
}

function readRecipient(content) {
  const one = new Der(content, '');
  if (one.tag === SEQUENCE) {
    const info = one.sole(SEQUENCE);
    info.next(INTEGER);
    const { whole: named } = info.next(SEQUENCE), { whole: algorithm } = info.next(SEQUENCE);
    return equal(algorithm, OAEP) ? { named, wrapped: info.next(OCTET_STRING).content } : info.fail();
  }
  const info = one.sole(0xa1);
  info.next(INTEGER);
  const originator = info.inside(0xa0).inside(0xa1);
  originator.next(SEQUENCE);
  const point = originator.bits(), agreement = info.inside(SEQUENCE);
  if (agreement.oid() !== H.ecdh || !equal(agreement.next(SEQUENCE).whole, WRAP)) info.fail();
  const key = info.inside(SEQUENCE).inside(SEQUENCE);
  return { named: key.next(SEQUENCE).whole, point, wrapped: key.next(OCTET_STRING).content };
}

/** Unwrap the content key: one-pass ECDH with X9.63 and SHA-256 (RFC 5753), or RSAES-OAEP (RFC 4056). */
async function unwrap({ point, wrapped }, { pkcs8 }) {
  const { subtle } = crypto, content = ['AES-GCM', false, ['decrypt']];
  if (!point) {
    const key = await subtle.importKey('pkcs8', pkcs8, { name: 'RSA-OAEP', hash: 'SHA-256' }, false, ['unwrapKey']);
    return subtle.unwrapKey('raw', wrapped, key, 'RSA-OAEP', ...content);
  }
  const curve = { name: 'ECDH', namedCurve: point.length === 65 ? 'P-256' : 'P-384' };
  const [key, other] = await Promise.all([subtle.importKey('pkcs8', pkcs8, curve, false, ['deriveBits']), subtle.importKey('raw', point, curve, false, [])]);
  const shared = new Uint8Array(await subtle.deriveBits({ name: 'ECDH', public: other }, key, point.length === 65 ? 256 : 384));
  const wrapping = await subtle.importKey('raw', sha256(shared, Uint8Array.of(0, 0, 0, 1), SHARED_INFO), 'AES-KW', false, ['unwrapKey']);
  return subtle.unwrapKey('raw', wrapped, wrapping, 'AES-KW', ...content);
}

const serialText = (whole) => { const list = new Der(whole, '').inside(SEQUENCE); list.next(SEQUENCE); return toHex(list.unsigned()); };
const isFor = (certificate, named) => equal(der(SEQUENCE, certificate.issuer, certificate.serial.whole), named);
function otherKey(named, certificate) {
  const wanted = serialText(named), yours = certificate ? ` Celle que vous avez choisie est du ${frenchDay(dayOf(certificate.begin) + 1)} (${toHex(certificate.serial.content).slice(0, NAMED_DIGITS)}).` : '';
  return new Unusable(`Cette remise est chiffrée pour une autre clé : cherchez le fichier cle-de-remise-AAAA-MM-JJ-${wanted.slice(0, NAMED_DIGITS)}.pem, fait au plus tard le jour de la remise. Si votre clé n’a pas été faite avec cette page, c’est celle du certificat de numéro ${wanted}.${yours} Si la bonne clé est perdue, cette remise ne s’ouvrira plus.`);
}

/** Open a hand-over with a key of `openKey`: the extract, and the code that confirms it. */
async function openHandover(bytes, key) {
  let read;
  try { read = readEnvelope(bytes); } catch (failure) { throw failure instanceof Refusal ? new Unusable(DAMAGED) : failure; }
  const { recipient, nonce, content } = read;
  if (key.certificate && !isFor(key.certificate, recipient.named)) throw otherKey(recipient.named, key.certificate);
  let unwrapped;
  try { unwrapped = await unwrap(recipient, key); } catch { throw otherKey(recipient.named, null); }
  try {
    const extract = new Uint8Array(await crypto.subtle.decrypt({ name: 'AES-GCM', iv: nonce, tagLength: 128 }, unwrapped, content));
    return { extract, code: toHex(sha256(extract)).slice(0, CODE_DIGITS) };
  } catch { throw new Unusable(DAMAGED); }
}
