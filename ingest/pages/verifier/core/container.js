// Container (§11).

const [MIMETYPE, ENTRIES, PROOF, SEALS, MANIFEST, TABLE, DOCUMENT, INSTRUCTIONS, DIGESTS, SIGNATURE] = [
  'mimetype', 'entries.ndjson', 'proof.ndjson', 'seals.json', 'manifest.json', 'extrait.csv', 'extrait.pdf',
  'LISEZMOI.txt', 'META-INF/ASiCManifest.xml', 'META-INF/signature.p7s'];
const NAMES = [MIMETYPE, ENTRIES, PROOF, SEALS, MANIFEST, TABLE, DOCUMENT, INSTRUCTIONS, DIGESTS, SIGNATURE];
const DEFLATED = [ENTRIES, PROOF, TABLE];
const SIGNED = NAMES.slice(1, 8);
const KIB = 1024, MIB = KIB * KIB;
const LIMITS_BYTES = {
  [MIMETYPE]: 31, [SEALS]: 16 * MIB, [MANIFEST]: 64 * KIB, [DOCUMENT]: 64 * MIB, [INSTRUCTIONS]: 16 * KIB,
  [DIGESTS]: 16 * KIB, [SIGNATURE]: 32 * KIB,
};
const CONTAINER_LIMIT_BYTES = 2 ** 32;
const CONTENT_TYPE = 'application/vnd.etsi.asic-e+zip';

/** Little-endian numbers, each as [bytes, value]. */
const numbers = (...pairs) => {
  const bytes = [];
  for (let [width, value] of pairs) for (; width > 0; width--) { bytes.push(value % 256); value = Math.floor(value / 256); }
  return Uint8Array.from(bytes);
};

/** Where each member stands. The directory gives sizes and CRC; every header is built from them and compared. */
async function openContainer(source) {
  const broken = (reason) => malformed('', `ce n’est pas un extrait entier : ${reason}`);
  if (source.size < 22 || source.size >= CONTAINER_LIMIT_BYTES) broken('sa taille n’est pas celle d’un extrait');
  const end = await source.read(source.size - 22, source.size), count = end[10];
  const names = count === NAMES.length ? NAMES : NAMES.filter((name) => name !== DOCUMENT);
  if (count !== names.length) broken('des parties manquent, ou il y en a d’autres');
  const lengthBytes = names.reduce((sum, name) => sum + 46 + name.length, 0), start = source.size - 22 - lengthBytes;
  if (start < 0) broken('il est trop court');
  const directory = await source.read(start, source.size - 22), view = new DataView(directory.buffer, directory.byteOffset);
  const members = new Map(), records = [];
  let place = 0, record = 0;
  for (const name of names) {
    const [crc, packed, size] = [16, 20, 24].map((field) => view.getUint32(record + field, true));
    const isDeflated = DEFLATED.includes(name), written = utf8(name);
    const shape = [[2, isDeflated ? 8 : 0], [2, isDeflated ? 8 : 0], [2, 0], [2, 0x21]], sizes = [[4, crc], [4, packed], [4, size]];
    const local = concat(numbers([4, 0x04034b50], [2, 20], ...shape, ...(isDeflated ? [[4, 0], [4, 0], [4, 0]] : sizes), [2, name.length], [2, 0]), written);
    const descriptor = isDeflated ? numbers([4, 0x08074b50], ...sizes) : new Uint8Array(0);
    records.push(numbers([4, 0x02014b50], [2, 20], [2, 20], ...shape, ...sizes, [2, name.length], [2, 0], [2, 0], [2, 0], [2, 0], [4, 0], [4, place]), written);
    const data = place + local.length, after = data + packed;
    if (!isDeflated && packed !== size) malformed(name, 'stockée, elle aurait deux tailles');
    if (size > (LIMITS_BYTES[name] ?? Infinity)) malformed(name, 'elle est plus grande qu’elle ne peut l’être');
    if (after + descriptor.length > start) broken(`${name} dépasse`);
    if (!equal(await source.read(place, data), local) || !equal(await source.read(after, after + descriptor.length), descriptor))
      broken(`l’en-tête de ${name} n’est pas celui attendu`);
    members.set(name, { name, place: data, packed, size, crc, isDeflated });
    place = after + descriptor.length;
    record += 46 + name.length;
  }
  if (place !== start) broken('des octets n’appartiennent à aucune partie');
  const ending = numbers([4, 0x06054b50], [2, 0], [2, 0], [2, count], [2, count], [4, lengthBytes], [4, start], [2, 0]);
  if (!equal(directory, concat(...records)) || !equal(end, ending)) broken('son répertoire n’est pas celui attendu');
  return members;
}

/** Where each member stands in a file that another program has packed: each once, none over another (§11.1). */
async function openRewritten(source) {
  const broken = (reason) => malformed('', `ce n’est pas un extrait, ni un extrait empaqueté de nouveau : ${reason}`);
  const tailStart = Math.max(0, source.size - 22 - 0xffff), tail = await source.read(tailStart, source.size);
  const ends = new DataView(tail.buffer, tail.byteOffset, tail.length);
  let end = tail.length - 22;
  while (end >= 0 && (ends.getUint32(end, true) !== 0x06054b50 || ends.getUint16(end + 20, true) !== tail.length - end - 22)) end--;
  if (end < 0) broken('la fin d’un fichier ZIP n’y est pas, comme s’il était coupé');
  const [disk, first, here, count] = [4, 6, 8, 10].map((field) => ends.getUint16(end + field, true));
  const length = ends.getUint32(end + 12, true), start = ends.getUint32(end + 16, true);
  if (disk || first || here !== count || start + length > tailStart + end) broken('son enregistrement de fin est endommagé');
  if (count > NAMES.length + 1) broken('il contient d’autres fichiers');
  const directory = await source.read(start, start + length), view = new DataView(directory.buffer, directory.byteOffset, length);
  const members = new Map(), spans = [];
  let record = 0;
  for (let number = 0; number < count; number++) {
    if (record + 46 > length || view.getUint32(record, true) !== 0x02014b50) broken('son répertoire est endommagé');
    const [flags, method, nameLength, extra, comment] = [8, 10, 28, 30, 32].map((field) => view.getUint16(record + field, true));
    const [crc, packed, size, begin] = [16, 20, 24, 42].map((field) => view.getUint32(record + field, true));
    const written = directory.subarray(record + 46, record + 46 + nameLength), text = latin1(written);
    record += 46 + nameLength + extra + comment;
    if (text === 'META-INF/' && packed === 0 && size === 0) continue;
    const name = NAMES.find((known) => known === text) ?? broken(strange(text));
    if (flags & ~0x80e || ![0, 8].includes(method) || packed === 0xffffffff || size === 0xffffffff)
      broken(`${name} est chiffrée, ou compressée d’une façon que tous ne lisent pas`);
    if (method === 0 && packed !== size) broken(`${name} est stockée avec deux tailles`);
    if (size > (LIMITS_BYTES[name] ?? Infinity)) broken(`${name} est plus grande qu’elle ne peut l’être`);
    const misplaced = () => broken(`${name} n’est pas là où le dit le répertoire`);
    if (begin + 30 > source.size) misplaced();
    const header = await source.read(begin, begin + 30), local = new DataView(header.buffer, header.byteOffset, 30);
    const localName = local.getUint16(26, true), place = begin + 30 + localName + local.getUint16(28, true);
    if (local.getUint32(0, true) !== 0x04034b50 || local.getUint16(6, true) & 1 || local.getUint16(8, true) !== method) misplaced();
    if (begin + 30 + localName > source.size || !equal(await source.read(begin + 30, begin + 30 + localName), written)) misplaced();
    if (members.has(name)) broken(`${name} s’y trouve deux fois`);
    members.set(name, { name, place, packed, size, crc, isDeflated: method === 8 });
    spans.push([begin, place + packed]);
  }
  if (record !== length) broken('son répertoire est endommagé');
  const missing = NAMES.find((name) => name !== DOCUMENT && !members.has(name));
  if (missing) broken(`${missing} manque`);
  spans.sort(([one], [two]) => one - two);
  spans.forEach(([, after], place) => { if (after > (spans[place + 1]?.[0] ?? start)) broken('ses parties se chevauchent'); });
  return members;
}

/** What to do about an archive that holds a file of another name. */
const strange = (name) => name.endsWith('.asice') ? 'c’est une archive qui contient l’extrait (.asice) : sortez-l’en, et donnez celui-ci'
  : name.endsWith('/') || NAMES.includes(name.slice(name.lastIndexOf('/') + 1)) ? 'ses fichiers sont dans un dossier, comme si l’extrait avait été décompressé : demandez le fichier tel qu’il a été émis'
    : 'il contient d’autres fichiers';

const ENVELOPED = ['06092a864886f70d010703', '060b2a864886f70d0109100117'];
const BEGINNINGS = [
  ['%PDF', 'c’est un document PDF : la preuve est l’extrait (.asice) qui le contenait'],
  ['-----BEGIN CERTIFICATE', 'ce sont des certificats : choisissez-les comme certificat de confiance'],
  ['-----BEGIN', 'il est en format PEM ; s’il a été chiffré pour vous, déchiffrez-le d’abord'],
  ["7z\xbc\xaf'\x1c", 'c’est une archive 7-Zip : sortez-en l’extrait (.asice)'],
  ['\x1f\x8b', 'il est compressé par gzip : décompressez-le d’abord'],
  ['Rar!', 'c’est une archive RAR : sortez-en l’extrait (.asice)'],
  ['UEsDB', 'il est en base64, comme les courriels transportent les fichiers : décodez-le d’abord (base64 -d)'],
  ['<', 'c’est une page web ou du XML : le téléchargement a échoué, ou un autre fichier a été enregistré'],
  ['{', 'c’est du JSON ; une réponse de GET …/head se donne comme sceau connu'],
];
/** What a file is that is no extract, by its first bytes; null where that is unknown or it is a ZIP file. */
async function recognise(source) {
  const head = await source.read(0, Math.min(512, source.size));
  if (head.length === 0) return 'il est vide : demandez-le de nouveau';
  if (head[0] === 0x30 && ENVELOPED.some((kind) => toHex(head.subarray(0, 32)).includes(kind)))
    return 'il est chiffré, comme ce qui est remis avant la purge : déchiffrez-le d’abord, avec la clé de son certificat';
  const text = latin1(head).replace(/^\xef\xbb\xbf/, '').replace(/^[\t-\r ]+/, '');
  return BEGINNINGS.find(([beginning]) => text.startsWith(beginning))?.[1] ?? null;
}

/** The members of an extract as it was issued, or as another program has packed it. */
async function openExtract(source) {
  try { return [await openContainer(source), false]; } catch (failure) {
    if (!(failure instanceof Refusal)) throw failure;
    const sentence = await recognise(source);
    if (sentence) malformed('', sentence);
    try { return [await openRewritten(source), true]; } catch (unreadable) { throw failure.part ? failure : unreadable; }
  }
}

const PIECE_BYTES = 256 * KIB;
const damaged = (name) => malformed(name, 'son contenu n’a pas la taille ou le CRC annoncés');

/** A member that is read whole, however it is packed: hashed piece by piece, and given unless it is the document. */
async function readStored(source, member, tick) {
  const { name, place, size, crc, isDeflated } = member;
  if (isDeflated) {
    const stream = new Inflating(source, member, tick), pieces = [];
    try {
      for (let piece; (piece = await stream.read());) if (name !== DOCUMENT) pieces.push(piece);
      return { bytes: concat(...pieces), digest: stream.digest };
    } finally { stream.close(); }
  }
  const digest = new Sha256(), pieces = [];
  let register = -1;
  for (let from = 0; from < size; from += PIECE_BYTES) {
    const piece = await source.read(place + from, place + Math.min(size, from + PIECE_BYTES));
    register = crc32(register, piece);
    digest.update(piece);
    if (name !== DOCUMENT) pieces.push(piece);
    tick(piece.length);
  }
  if (~register >>> 0 !== crc) damaged(name);
  return { bytes: concat(...pieces), digest: digest.digest() };
}

/** A stored member in pieces, as a reader of a stream gives them. */
const storedReader = (source, { place, size }, tick) => {
  let from = 0;
  return {
    async read() {
      if (from === size) return { done: true };
      const value = await source.read(place + from, place + Math.min(size, from + PIECE_BYTES));
      from += value.length;
      tick(value.length);
      return { done: false, value };
    },
    async cancel() {},
  };
};

/** A streamed member, inflated as it is read; hashed, counted and held to its announced size and CRC. */
class Inflating {
  constructor(source, member, tick) {
    Object.assign(this, { source, member, tick, count: 0, register: -1, hash: new Sha256(), last: 0, failure: null, digest: null });
    if (!member.isDeflated) { this.reader = storedReader(source, member, tick); return; }
    const { readable, writable } = new DecompressionStream('deflate-raw');
    this.reader = readable.getReader();
    this.feed(writable.getWriter()).catch(() => {});
  }
  /** Small pieces in, so that what comes out of one, at most a thousand times larger, stays small. */
  async feed(writer) {
    writer.closed.catch(() => {});
    const { place, packed } = this.member;
    try {
      for (let from = 0; from < packed; from += PIECE_BYTES) {
        const piece = await this.source.read(place + from, place + Math.min(packed, from + PIECE_BYTES));
        for (let at = 0; at < piece.length; at += 16 * KIB) {
          await writer.ready;
          writer.write(piece.subarray(at, at + 16 * KIB)).catch(() => {});
        }
        this.tick(piece.length);
      }
      await writer.close();
    } catch (failure) {
      if (failure instanceof Unusable) this.unreadable = failure;
      await writer.abort(failure);
    }
  }
  /** The next piece, or null at the end. A failure stays. */
  async read() {
    if (this.failure) throw this.failure;
    try { return await this.inflate(); } catch (failure) {
      this.failure = failure;
      this.reader.cancel().catch(() => {});
      throw failure;
    }
  }
  async inflate() {
    if (this.digest) return null;
    const { name, size, crc } = this.member;
    let piece;
    try { piece = await this.reader.read(); } catch {
      throw this.unreadable ?? new Refusal('malformed', name, 'son contenu compressé est endommagé, coupé, ou suivi d’autre chose');
    }
    if (piece.done) {
      this.ended = this.count > 0;
      if (this.count !== size || ~this.register >>> 0 !== crc) damaged(name);
      this.digest = this.hash.digest();
      return null;
    }
    const bytes = piece.value;
    this.count += bytes.length;
    if (this.count > size) damaged(name);
    this.register = crc32(this.register, bytes);
    this.hash.update(bytes);
    this.last = bytes[bytes.length - 1];
    return bytes;
  }
  async drain() { while (await this.read()); }
  close() { this.reader.cancel().catch(() => {}); }
}

/** The lines of a member: `take` while there is a whole one in hand, `more` otherwise. */
class Lines {
  constructor(stream, limit) { Object.assign(this, { stream, limit, piece: new Uint8Array(0), place: 0 }); }
  take() {
    const end = this.piece.indexOf(10, this.place);
    if (end < 0) return undefined;
    const line = this.piece.subarray(this.place, end);
    this.place = end + 1;
    return line.length <= this.limit ? line : this.tooLong();
  }
  async more() {
    for (let line; ;) {
      const held = this.piece.subarray(this.place);
      if (held.length > this.limit) this.tooLong();
      const piece = await this.stream.read();
      if (!piece && held.length) malformed(this.stream.member.name, 'sa dernière ligne n’est pas terminée');
      if (!piece) return null;
      this.piece = held.length ? concat(held, piece) : piece;
      this.place = 0;
      if ((line = this.take()) !== undefined) return line;
    }
  }
  tooLong() { return malformed(this.stream.member.name, `une ligne dépasse ${this.limit} octets`); }
}

/** Holds a member to what it should be, given piece by piece as text. */
class Expected {
  constructor(stream) { Object.assign(this, { stream, text: '', rest: new Uint8Array(0), differs: false }); }
  async add(text) {
    this.text += text;
    if (this.text.length > 64 * KIB) await this.settle();
  }
  async settle() {
    let wanted = utf8(this.text);
    this.text = '';
    while (wanted.length && !this.differs) {
      if (!this.rest.length) this.rest = await this.stream.read();
      if (!this.rest) { this.rest = new Uint8Array(0); this.differs = true; return; }
      const length = Math.min(wanted.length, this.rest.length);
      this.differs = !equal(wanted.subarray(0, length), this.rest.subarray(0, length));
      wanted = wanted.subarray(length);
      this.rest = this.rest.subarray(length);
    }
  }
  /** Is the member exactly what was added? */
  async end() {
    await this.settle();
    for (let piece; !this.differs && (this.rest.length || (piece = await this.stream.read()));) this.differs = this.rest.length > 0 || piece.length > 0;
    await this.stream.drain();
    return !this.differs;
  }
}
