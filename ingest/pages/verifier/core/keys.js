// The commune's own key, to which hand-overs are encrypted (§13): it is made, kept and opened here, and never sent.

/** Of PBKDF2 with SHA-256, as OWASP asks for (Password Storage, 2023 on). */
const PBKDF2_ROUNDS = 600000, MOST_ROUNDS = 10000000, KEY_YEARS = 5, PASSPHRASE_CHARACTERS = 15;
const K = {
  pbes2: '2a864886f70d01050d', pbkdf2: '2a864886f70d01050c', hmacSha256: '2a864886f70d0209', aes256Cbc: '60864801650304012a',
  commonName: '550403',
};
const HMACS = { '2a864886f70d0207': 'SHA-1', [K.hmacSha256]: 'SHA-256', '2a864886f70d020a': 'SHA-384', '2a864886f70d020b': 'SHA-512' };
const CBC_BITS = { '608648016503040102': 128, '608648016503040116': 192, [K.aes256Cbc]: 256 };
/** How much of a certificate's number names the files of a key: a hand-over tells that number, so its key is found. */
const NAMED_DIGITS = 8;
const WRONG_PASSPHRASE = `La phrase de passe n’est pas celle de cette clé : regardez les majuscules, les accents, les espaces et l’apostrophe, courbe (’) ou droite ('). Si elle est perdue, rien ne peut la remplacer : faites une autre clé et donnez son certificat à l’hébergeur.`;
const NO_KEY = 'Ce fichier ne contient pas de clé : choisissez celui que vous avez enregistré en la faisant (cle-de-remise-….pem).';
const random = (count) => crypto.getRandomValues(new Uint8Array(count));

/** Derive what encrypts a key from a passphrase (RFC 8018, section 5.2), in the one form of its accents. */
async function passphraseKey(passphrase, { salt, iterations, hash, length }, use) {
  const base = await crypto.subtle.importKey('raw', utf8(passphrase.normalize('NFC')), 'PBKDF2', false, ['deriveKey']);
  return crypto.subtle.deriveKey({ name: 'PBKDF2', salt, iterations, hash }, base, { name: 'AES-CBC', length }, false, [use]);
}

const pem = (label, bytes) => `-----BEGIN ${label}-----\n${toBase64(bytes).replace(/.{1,64}/g, '$&\n')}-----END ${label}-----\n`;

/** A private key (PKCS#8) as an EncryptedPrivateKeyInfo (RFC 5958, PBES2), which openssl opens too. */
async function lockKey(pkcs8, passphrase) {
  const salt = random(16), iv = random(16);
  const key = await passphraseKey(passphrase, { salt, iterations: PBKDF2_ROUNDS, hash: 'SHA-256', length: 256 }, 'encrypt');
  const locked = new Uint8Array(await crypto.subtle.encrypt({ name: 'AES-CBC', iv }, key, pkcs8));
  const rounds = derUnsigned(fromHex(PBKDF2_ROUNDS.toString(16).padStart(6, '0')));
  const derivation = der(SEQUENCE, derOid(K.pbkdf2), der(SEQUENCE, der(OCTET_STRING, salt), rounds, der(SEQUENCE, derOid(K.hmacSha256), DER_NULL)));
  const scheme = der(SEQUENCE, derOid(K.aes256Cbc), der(OCTET_STRING, iv));
  return der(SEQUENCE, der(SEQUENCE, derOid(K.pbes2), der(SEQUENCE, derivation, scheme)), der(OCTET_STRING, locked));
}

/** The private key (PKCS#8) that a passphrase encrypted; what is no such key, or another's, is said. */
async function unlockKey(bytes, passphrase) {
  let parameters, locked;
  try {
    const outer = new Der(bytes, '').sole(SEQUENCE), algorithm = outer.inside(SEQUENCE);
    locked = outer.next(OCTET_STRING).content;
    if (algorithm.oid() !== K.pbes2) algorithm.fail();
    const inner = algorithm.inside(SEQUENCE), derivation = inner.inside(SEQUENCE), scheme = inner.inside(SEQUENCE);
    if (derivation.oid() !== K.pbkdf2) derivation.fail();
    const given = derivation.inside(SEQUENCE), salt = given.next(OCTET_STRING).content;
    const iterations = given.unsigned().reduce((sum, byte) => sum * 256 + byte, 0);
    if (given.tag === INTEGER) given.next();
    const hash = HMACS[given.more ? given.inside(SEQUENCE).oid() : '2a864886f70d0207'], length = CBC_BITS[scheme.oid()];
    if (!hash || !length || iterations < 1 || iterations > MOST_ROUNDS) given.fail();
    parameters = { salt, iterations, hash, length, iv: scheme.next(OCTET_STRING).content };
  } catch (failure) {
    if (failure instanceof Refusal) throw new Unusable('Cette clé est protégée d’une façon que cette page ne connaît pas : ouvrez la remise avec openssl, ou faites réécrire la clé par « openssl pkcs8 -topk8 -v2 aes-256-cbc ».');
    throw failure;
  }
  const key = await passphraseKey(passphrase, parameters, 'decrypt');
  try { return new Uint8Array(await crypto.subtle.decrypt({ name: 'AES-CBC', iv: parameters.iv }, key, locked)); } catch { throw new Unusable(WRONG_PASSPHRASE); }
}

function certificateOf(bytes) {
  try { return readCertificate(bytes, ''); } catch (failure) {
    throw failure instanceof Refusal ? new Unusable('La clé est bonne, mais le certificat qui la suit dans ce fichier est abîmé : prenez l’autre copie de la clé.') : failure;
  }
}

/** A key file opened: its private key, whether it is of elliptic curves, and the certificate in it, if any. */
async function openKey(text, passphrase) {
  const block = (label) => fromBase64(new RegExp(`-----BEGIN ${label}-----([A-Za-z0-9+/=\\s]*)-----END ${label}-----`).exec(text)?.[1].replace(/\s/g, ''));
  const locked = block('ENCRYPTED PRIVATE KEY'), plain = block('PRIVATE KEY'), held = block('CERTIFICATE');
  if (!locked && !plain)
    throw new Unusable(held ? 'Ce fichier ne contient que le certificat, qui n’ouvre rien : choisissez celui de la clé (cle-de-remise-….pem).' : NO_KEY);
  if (locked && !passphrase) throw new Unusable('Écrivez la phrase de passe de la clé.');
  const pkcs8 = locked ? await unlockKey(locked, passphrase) : plain;
  try {
    const info = new Der(pkcs8, '').sole(SEQUENCE);
    info.next(INTEGER);
    const kind = info.inside(SEQUENCE).oid();
    if (kind !== O.ecKey && kind !== O.rsaKey) info.fail();
    return { pkcs8, isCurve: kind === O.ecKey, certificate: held ? certificateOf(held) : null };
  } catch (failure) {
    if (failure instanceof Refusal) throw new Unusable(locked ? WRONG_PASSPHRASE : NO_KEY);
    throw failure;
  }
}

/** Make a key for a commune: the file to keep, the file to send, and the fingerprint to read out. */
async function makeKey(commune, passphrase, now = new Date()) {
  const pair = await crypto.subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-256' }, true, ['sign']);
  const [pkcs8, spki] = (await Promise.all([crypto.subtle.exportKey('pkcs8', pair.privateKey), crypto.subtle.exportKey('spki', pair.publicKey)])).map((one) => new Uint8Array(one));
  const certificate = await certify(commune, pair.privateKey, spki, now);
  const [kept, sent] = [pem('ENCRYPTED PRIVATE KEY', await lockKey(pkcs8, passphrase)), pem('CERTIFICATE', certificate)];
  const { serial, end } = readCertificate(certificate, '');
  return { kept: kept + sent, sent, fingerprint: toHex(sha256(certificate)), named: toHex(serial.content).slice(0, NAMED_DIGITS), until: end };
}

/** A certificate that the key signs itself (RFC 5280), for key agreement alone. */
async function certify(commune, privateKey, spki, now) {
  const attribute = (oid, text) => der(SET, der(SEQUENCE, derOid(oid), der(0x0c, utf8(text))));
  const name = der(SEQUENCE, attribute(O.organisation, commune), attribute(K.commonName, 'Remises du journal des accès'));
  const day = (years, days) => derTime(`${new Date(Date.UTC(now.getUTCFullYear() + years, now.getUTCMonth(), now.getUTCDate() + days)).toISOString().slice(0, 19)}Z`);
  const extension = (oid, value) => der(SEQUENCE, derOid(oid), der(BOOLEAN, tag(255)), der(OCTET_STRING, value));
  const serial = random(16);
  serial[0] = serial[0] & 0x7f | 0x40;
  const algorithm = der(SEQUENCE, derOid(O.ecdsaSha256));
  const body = der(SEQUENCE, der(0xa0, der(INTEGER, tag(2))), der(INTEGER, serial), algorithm, name, der(SEQUENCE, day(0, -1), day(KEY_YEARS, 0)), name, spki,
    der(0xa3, der(SEQUENCE, extension(O.basicConstraints, der(SEQUENCE)), extension(O.keyUsage, der(BIT_STRING, Uint8Array.of(3, 8))))));
  const raw = new Uint8Array(await crypto.subtle.sign({ name: 'ECDSA', hash: 'SHA-256' }, privateKey, body));
  const number = (bytes) => derUnsigned(bytes.subarray(bytes.findIndex((byte) => byte !== 0)));
  return der(SEQUENCE, body, algorithm, der(BIT_STRING, concat(tag(0), der(SEQUENCE, number(raw.subarray(0, 32)), number(raw.subarray(32))))));
}
