// Entries, by slices.

/* Other workers check slices of the entries by the same rules, and say yes or nothing. Where one says nothing, the walk
   above reads everything again, and tells what is wrong. */
const SLICE_ENTRIES = 1000, SLICE_LIMIT_BYTES = 8 * MIB;

/** Cuts a member after so many lines; null where they are not there. */
class Cutter {
  constructor(stream) { Object.assign(this, { stream, held: new Uint8Array(0) }); }
  async take(count) {
    const pieces = [];
    let found = 0, sizeBytes = 0;
    for (let piece = this.held; ; piece = await this.stream.read()) {
      if (piece === null || sizeBytes > SLICE_LIMIT_BYTES) return null;
      let from = 0;
      for (let end; found < count && (end = piece.indexOf(10, from)) >= 0; from = end + 1) found++;
      if (found < count) { pieces.push(piece); sizeBytes += piece.length; continue; }
      this.held = piece.subarray(from);
      return concat(...pieces, piece.subarray(0, from));
    }
  }
  /** Is nothing left? */
  async ends() {
    if (this.held.length) return false;
    for (let piece; (piece = await this.stream.read()) !== null;) if (piece.length) return false;
    return true;
  }
}

/** Check a slice as the walk does; its leaf hashes, its times, its names and how many are of accesses outside the period, or null where a closer look is needed. */
function checkSlice({ proof, entries, rows, first, size, day, from: fromDay, to, tenant, category, filter, withholdsAll }) {
  try {
    const lines = strictUtf8.decode(proof).split('\n'), records = strictUtf8.decode(entries).split('\n');
    if (lines.pop() !== '' || records.pop() !== '' || lines.length !== size) return null;
    if (lines.some((line) => line.length > PROOF_LIMIT_BYTES)) return null;
    const leaves = new Uint8Array(32 * size), names = [], salted = new Uint8Array(17);
    let text = '', earliest = '', latest = '', place = 0, from = 0, here = 0;
    for (let at = 0; at < size; at++) {
      const index = first + at, found = readProofText(lines[at], index);
      if (+found[1] !== index) return null;
      if (found[3] !== undefined) { leaves.set(fromHex(found[3]), 32 * at); continue; }
      const record = checkRecord(decodeText(records[place++], ENTRIES), ENTRIES), { event, recorded_at: recordedAt } = record;
      if (record.index !== index || record.tenant !== tenant || record.category !== category || dayOf(recordedAt) !== day
        || recordedAt < latest || withholdsAll || !satisfies(event, filter)) return null;
      earliest ||= recordedAt;
      latest = recordedAt;
      names.push(shortOf(nameOf(event)));
      const occurred = dayOf(event.time);
      if (occurred < fromDay || occurred > to) here++;
      const end = entries.indexOf(10, from);
      if (end - from > RECORD_LIMIT_BYTES) return null;
      salted.set(fromHex(found[2]), 1);
      leaves.set(sha256(salted, entries.subarray(from, end)), 32 * at);
      from = end + 1;
      text += writeRow(record);
    }
    return place === records.length && text === strictUtf8.decode(rows) ? { leaves, earliest, latest, names, here } : null;
  } catch { return null; }
}

/** Check the entries by slices, each handed to one of the helpers; true only if all is well, false if the walk must look. */
async function sweep(manifest, period, checkpoints, streams, names, wanted, helpers) {
  const { base, head, origin, request } = manifest;
  const [proof, entries, rows] = [PROOF, ENTRIES, TABLE].map((name) => new Cutter(streams.get(name)));
  const days = period.closes.map(({ head: { size }, seal: { day } }) => ({ size, day }));
  days.push({ size: Infinity, day: dayOf(period.open.seal.sealedAt) });
  const agrees = (size, chainHash) => (checkpoints.get(size) ?? []).every((one) => equal(one.head.chainHash, chainHash));
  const header = await rows.take(1);
  if (header === null || !equal(header, utf8(TABLE_HEADER)) || !agrees(base.size, base.chainHash)) return false;
  const waiting = [];
  let chainHash = base.chainHash, latest = '', done = base.size, disclosed = 0, here = 0;
  const settle = async () => {
    const { size, answer } = waiting.shift(), checked = await answer;
    if (checked === null || checked.earliest && checked.earliest < latest) return false;
    latest = checked.latest || latest;
    here += checked.here;
    for (const name of checked.names) names.push(name);
    for (let at = 0; at < size; at++) {
      const leaf = checked.leaves.subarray(32 * at, 32 * at + 32), index = done + at;
      chainHash = sha256(LINK_TAG, chainHash, leaf);
      if (wanted.has(index)) wanted.set(index, { leaf, chainHash });
      if (origin.category === 'journal' && index === request.index && !equal(leaf, request.leaf)) return false;
    }
    done += size;
    return agrees(done, chainHash);
  };
  const stops = [...new Set([...checkpoints.keys(), head.size])].filter((size) => size > base.size && size <= head.size).sort((one, other) => one - other);
  let index = base.size, segment = 0, turn = 0;
  for (const stop of stops)
    while (index < stop) {
      while (index >= days[segment].size) segment++;
      const size = Math.min(SLICE_ENTRIES, stop - index, days[segment].size - index), cut = await proof.take(size);
      if (cut === null) return false;
      const shown = latin1(cut).split('"salt":"').length - 1, part = { proof: cut, entries: await entries.take(shown), rows: await rows.take(shown) };
      if (part.entries === null || part.rows === null) return false;
      Object.assign(part, { first: index, size, day: days[segment].day, from: manifest.from, to: manifest.to, tenant: origin.tenant, category: origin.category, filter: manifest.filter, withholdsAll: manifest.withholdsAll });
      waiting.push({ size, answer: helpers[turn++ % helpers.length](part) });
      disclosed += shown;
      index += size;
      if (waiting.length > 2 * helpers.length && !await settle()) return false;
    }
  while (waiting.length) if (!await settle()) return false;
  for (const cutter of [proof, entries, rows]) if (!await cutter.ends()) return false;
  const told = manifest.lateness.here;
  return equal(chainHash, head.chainHash) && disclosed === manifest.disclosed && (told === null || told >= here && told <= here + manifest.withheld);
}

/** A worker at the other end of a port, as a helper: it answers in the order in which it is asked. */
const helperAt = (port) => {
  const asked = [];
  port.onmessage = ({ data }) => asked.shift()(data);
  return (part) => new Promise((answered) => {
    asked.push(answered);
    port.postMessage(part, [part.proof.buffer, part.entries.buffer, part.rows.buffer]);
  });
};

const nameOf = ({ source, id }) => `${source}\0${id}`;

/** A text as a number of 53 bits, which two texts share by chance alone. */
function shortOf(text) {
  let high = 0x9e3779b9, low = 0x85ebca6b;
  for (let at = 0; at < text.length; at++) {
    const unit = text.charCodeAt(at);
    high = Math.imul(high ^ unit, 0x9e3779b1);
    low = Math.imul(low ^ unit, 0x5f356495);
  }
  high = Math.imul(high ^ high >>> 16, 0x85ebca6b) ^ Math.imul(low ^ low >>> 13, 0xc2b2ae35);
  low = Math.imul(low ^ low >>> 16, 0x85ebca6b) ^ Math.imul(high ^ high >>> 13, 0xc2b2ae35);
  return (high & 0x1fffff) * 0x100000000 + (low >>> 0);
}

/** Source and id that several entries have, as [name, indexes]: only where numbers come back are the entries read again. */
async function findRepeated(names, reopen) {
  const sorted = Float64Array.from(names).sort(), again = new Set(sorted.filter((number, at) => number === sorted[at + 1]));
  if (!again.size) return [];
  const stream = reopen(), lines = new Lines(stream, RECORD_LIMIT_BYTES), found = new Map();
  try {
    for (let bytes; (bytes = lines.take() ?? await lines.more()) !== null;) {
      const { index, event } = readRecord(bytes, ENTRIES), name = nameOf(event);
      if (!again.has(shortOf(name))) continue;
      if (!found.has(name)) found.set(name, []);
      found.get(name).push(index);
    }
  } finally { stream.close(); }
  return [...found].filter(([, indexes]) => indexes.length > 1);
}

/** What seals hold of the chain at a size. */
function checkpoint(checkpoints, size, chainHash) {
  for (const { head, part, known } of checkpoints.get(size) ?? [])
    if (!equal(head.chainHash, chainHash))
      refuse(known ? 'fork' : 'broken chain', known ? part : PROOF, known ? `l’extrait et ${part} ont deux empreintes de chaîne à la taille ${size}`
        : `à la taille ${size}, la chaîne n’est pas celle que montre ${part}`);
}
