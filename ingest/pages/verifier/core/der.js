// DER (X.690), strictly.

const [BOOLEAN, INTEGER, BIT_STRING, OCTET_STRING, NULL, OID, SEQUENCE, SET, UTC_TIME, GENERALIZED_TIME] =
  [0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x30, 0x31, 0x17, 0x18];

const DER_DEPTH_LIMIT = 32, OID_LIMIT_BYTES = 64;
const isInteger = (content) =>
  content.length > 0 && (content.length === 1 || content[0] !== 0 && content[0] !== 255 || (content[0] ^ content[1]) >= 0x80);
const isUtf8 = (content) => { try { strictUtf8.decode(content); return true; } catch { return false; } };
/** What each primitive type may hold; types that are not here are not admitted (§2). */
const PRIMITIVES = new Map([
  [BOOLEAN, (content) => content.length === 1 && (content[0] === 0 || content[0] === 255)],
  [INTEGER, isInteger], [0x0a, isInteger], [OCTET_STRING, () => true], [NULL, (content) => content.length === 0],
  [BIT_STRING, (content) => content[0] <= 7 && (content.length > 1 ? !(content[content.length - 1] & (1 << content[0]) - 1) : content[0] === 0)],
  [OID, (content) => content.length > 0 && content.length <= OID_LIMIT_BYTES && content[content.length - 1] < 0x80
    && !content.some((byte, place) => byte === 0x80 && (place === 0 || content[place - 1] < 0x80))],
  [0x0c, isUtf8], [0x13, (content) => /^[A-Za-z0-9 '()+,\-./:=?]*$/.test(latin1(content))], [0x16, (content) => content.every((byte) => byte < 0x80)],
  [0x12, () => true], [0x14, () => true], [0x1a, () => true], [0x1c, () => true], [0x1e, () => true],
  [UTC_TIME, (content) => derTimeText(UTC_TIME, content) !== null],
  [GENERALIZED_TIME, (content) => derTimeText(GENERALIZED_TIME, content) !== null],
]);
/** A DER time in records' spelling, or null. */
function derTimeText(kind, content) {
  const [, digits, fraction = ''] = /^(\d{12}(?:\d\d)?)(?:\.(\d{0,5}[1-9]))?Z$/.exec(latin1(content)) ?? [];
  if (!digits || (kind === UTC_TIME ? digits.length !== 12 || fraction : digits.length !== 14)) return null;
  const full = kind === UTC_TIME ? (digits < '50' ? '20' : '19') + digits : digits;
  const text = full.replace(/^(....)(..)(..)(..)(..)(..)$/, `$1-$2-$3T$4:$5:$6.${fraction.padEnd(6, '0')}Z`);
  return isRecordTime(text) ? text : null;
}

/** Reads values one after another; what is not in its one form is malformed. */
class Der {
  constructor(bytes, part) { this.bytes = bytes; this.part = part; this.place = 0; }
  fail(reason = 'DER inattendu') { return malformed(this.part, reason); }
  get more() { return this.place < this.bytes.length; }
  get tag() { return this.more ? this.bytes[this.place] : -1; }
  /** The next value: its tag must be one of `tags`; none given: any admitted. */
  next(...tags) {
    const { bytes, place } = this, found = this.tag, kind = found & 0xe0;
    if (found < 0 || (found & 31) === 31 || tags.length && !tags.includes(found)) this.fail();
    if (kind === 0x20 ? found !== SEQUENCE && found !== SET : kind !== 0 && kind !== 0x80 && kind !== 0xa0) this.fail();
    let at = place + 1, length = bytes[at++] ?? this.fail();
    if (length & 0x80) {
      const octets = length & 0x7f;
      if (octets < 1 || octets > 4 || at + octets > bytes.length) this.fail('longueur DER inattendue');
      length = 0;
      for (let octet = 0; octet < octets; octet++) length = length * 256 + bytes[at++];
      if (length < 128 || length < 256 ** (octets - 1)) this.fail('longueur DER qui n’est pas la plus courte');
    }
    if (at + length > bytes.length) this.fail('DER coupé');
    const content = bytes.subarray(at, at + length);
    if (kind === 0 && !PRIMITIVES.get(found)?.(content)) this.fail();
    this.place = at + length;
    return { tag: found, content, whole: bytes.subarray(place, at + length) };
  }
  inside(...tags) { return new Der(this.next(...tags).content, this.part); }
  end() { if (this.more) this.fail('des octets suivent en DER'); }
  /** Enter a value that must be the last. */
  sole(...tags) { const inner = this.inside(...tags); this.end(); return inner; }
  /** A whole number, not negative, as its bytes without leading zeros. */
  unsigned() {
    const { content } = this.next(INTEGER);
    if (content[0] & 0x80) this.fail('entier DER négatif');
    return content[0] === 0 ? content.subarray(1) : content;
  }
  oid() { return toHex(this.next(OID).content); }
  bits() { return this.next(BIT_STRING).content.subarray(1); }
  /** A time in seals' spelling: UTCTime to 2049, GeneralizedTime beyond (RFC 5280 section 4.1.2.5). */
  time() {
    const { tag: kind, content } = this.next(UTC_TIME, GENERALIZED_TIME), text = derTimeText(kind, content);
    if (!text.endsWith('.000000Z') || kind === GENERALIZED_TIME && text < '2050' && text >= '1950') this.fail('date DER mal écrite');
    return `${text.slice(0, 19)}Z`;
  }
}

/** One value and all inside it; what strings hold is read where it is used. */
function checkTree(bytes, part, depth = 0) {
  const reader = new Der(bytes, part), found = reader.next();
  reader.end();
  if (depth >= DER_DEPTH_LIMIT) reader.fail('DER de plus de 32 niveaux');
  let before = null;
  for (const inner = new Der(found.content, part); found.tag & 0x20 && inner.more;) {
    const { whole } = inner.next();
    if (found.tag === SET && before && compare(before, whole) > 0) reader.fail('ensemble DER qui n’est pas en ordre');
    checkTree(whole, part, depth + 1);
    before = whole;
  }
}

const der = (tagByte, ...contents) => {
  const content = concat(...contents), length = content.length;
  const head = length < 128 ? [length] : length < 256 ? [0x81, length] : [0x82, length >> 8, length & 255];
  return concat(Uint8Array.of(tagByte, ...head), content);
};
const derSet = (tagByte, items) => der(tagByte, ...[...items].sort(compare));
const derUnsigned = (bytes) => der(INTEGER, bytes.length === 0 || bytes[0] & 0x80 ? concat(tag(0), bytes) : bytes);
const derTime = (text) => {
  const digits = text.replace(/[-T:]/g, '');
  return text >= '1950' && text < '2050' ? der(UTC_TIME, utf8(digits.slice(2))) : der(GENERALIZED_TIME, utf8(digits));
};

const O = {
  data: '2a864886f70d010701', signedData: '2a864886f70d010702', sha256: '608648016503040201',
  contentType: '2a864886f70d010903', messageDigest: '2a864886f70d010904', signingTime: '2a864886f70d010905',
  signingCertificate: '2a864886f70d010910022f', ecdsaSha256: '2a8648ce3d040302', rsaSha256: '2a864886f70d01010b',
  ecKey: '2a8648ce3d0201', rsaKey: '2a864886f70d010101', pss: '2a864886f70d01010a', mgf1: '2a864886f70d010108', p256: '2a8648ce3d030107', p384: '2b81040022', basicConstraints: '551d13',
  keyUsage: '551d0f', extendedKeyUsage: '551d25', alternativeNames: '551d11', nameConstraints: '551d1e',
  serverAuthentication: '2b06010505070301', timeStamping: '2b06010505070308', revocationAnswers: '2b06010505070309',
  organisation: '55040a', organisationIdentifier: '550461', timestampInfo: '2a864886f70d0109100104',
  signingCertificateBySha1: '2a864886f70d010910020c',
};
const derOid = (hex) => der(OID, fromHex(hex));
const NAMES_OF = {
  '550403': 'CN', '55040a': 'O', '55040b': 'OU', '550406': 'C', '550407': 'L', '550408': 'ST', '550405': 'serialNumber',
  '550461': 'organizationIdentifier',
};
const NOTHING = new Uint8Array(0), DER_NULL = der(NULL);
/** How certificates and tokens are signed, by the bytes of the AlgorithmIdentifier; `salt` in bytes, of RSASSA-PSS. */
const ALGORITHMS = new Map([[1, 'SHA-256', 32], [2, 'SHA-384', 48], [3, 'SHA-512', 64]].flatMap(([arc, hash, size]) => {
  const pss = [DER_NULL, NOTHING].map((parameters) => {
    const hashed = der(SEQUENCE, derOid(`60864801650304020${arc}`), parameters);
    return der(SEQUENCE, derOid(O.pss), der(SEQUENCE, der(0xa0, hashed), der(0xa1, der(SEQUENCE, derOid(O.mgf1), hashed)), der(0xa2, der(INTEGER, Uint8Array.of(size)))));
  });
  return [
    [der(SEQUENCE, derOid(`2a8648ce3d04030${arc + 1}`)), { kind: 'ECDSA', hash }],
    [der(SEQUENCE, derOid(`2a864886f70d01010${(arc + 10).toString(16)}`), DER_NULL), { kind: 'RSA', hash }],
    ...pss.map((identifier) => [identifier, { kind: 'RSA', hash, salt: size }]),
  ].map(([identifier, algorithm]) => [toHex(identifier), algorithm]);
}));
