// The entries of a verified extract, as columns: those of extrait.csv, in its words.

const AT = {
  index: 0, paris: 1, time: 2, recorded: 3, action: 4, operation: 5, count: 6, outcome: 7, account: 8, name: 9, role: 10,
  subject: 11, motive: 12, recipients: 13, fields: 14, station: 15, event: 16, details: 17,
};
const NUMBERS = [AT.index, AT.count], TIMES = [AT.paris, AT.time, AT.recorded];
/* Nearly every row has a value of its own there: looking for it among those before would cost and save nothing. */
const OWN = [AT.index, ...TIMES, AT.event];

/** A text for comparison: neither case nor accents, and one kind of blank and of apostrophe. */
function fold(text) {
  const plain = /^[\0-\x7f]*$/.test(text) ? text : text.normalize('NFD').replace(/\p{M}/gu, '').replace(/[’‘]/g, "'")
    .replace(/[œŒ]/g, 'oe').replace(/[æÆ]/g, 'ae').replace(/\s/g, ' ');
  return plain.toLowerCase();
}

/** A time of a cell as people write it, or the cell as it is. */
const frenchCell = (text) => {
  const [, year, month, day, rest] = /^(\d{4})-(\d\d)-(\d\d)(?: à |T)(\d\d(?:bis)?:\d\d:\d\d)/.exec(text) ?? [];
  return year ? `${day}/${month}/${year} à ${rest}` : text;
};
const FRENCH_UTC = new RegExp(`(\\d+)(?:er)? (${MONTHS.join('|')}) (\\d{4}) à (\\d\\d:\\d\\d:\\d\\d) UTC`, 'g');
/** A sentence whose times in UTC are given in Paris too, as those of entries are. */
const withParis = (text) => text.replace(FRENCH_UTC, (whole, day, month, year, clock) => {
  const utc = `${year}-${String(MONTHS.indexOf(month) + 1).padStart(2, '0')}-${day.padStart(2, '0')}`, paris = parisTime(`${utc}T${clock}Z`);
  if (!paris) return whole;
  const other = paris.slice(0, 10) === utc ? '' : `le ${frenchDay(parseDay(paris.slice(0, 10)))} à `;
  return `${whole}, soit ${other}${paris.slice(13)} à Paris`;
});
const collator = new Intl.Collator('fr', { numeric: true });
const isBefore = (left, right) => left < right ? -1 : left > right ? 1 : 0;

/** A column: its values, once each where they come back, and of each row which of them it has. */
class Column {
  constructor(place, count) { Object.assign(this, { place, values: [], codes: new Uint32Array(count), known: OWN.includes(place) ? null : new Map() }); }
  add(row, text) {
    let code = this.known?.get(text);
    if (code === undefined) {
      code = this.values.push(text) - 1;
      this.known?.set(text, code);
    }
    this.codes[row] = code;
  }
  text(row) { return this.values[this.codes[row]]; }
  /** Of each value, whether it passes; each is looked at once. */
  marks(test) {
    const marks = new Uint8Array(this.values.length);
    for (let code = 0; code < marks.length; code++) if (test(this.values[code], code)) marks[code] = 1;
    return marks;
  }
  /** The values as they are searched: as they are shown, times in both spellings. */
  get folded() {
    return this.foldedOnce ??= this.values.map((text) => fold(TIMES.includes(this.place) ? `${text} ${frenchCell(text)}` : visible(text)));
  }
  /** The place of each value in the column's order: numbers and times as such, texts as in a French dictionary. */
  get ranks() {
    if (this.ranksOnce) return this.ranksOnce;
    const { place, values } = this, order = Uint32Array.from(values, (_, code) => code);
    const compareTexts = NUMBERS.includes(place) ? (left, right) => left - right || isBefore(left, right)
      : TIMES.includes(place) ? isBefore : (left, right) => collator.compare(left, right) || isBefore(left, right);
    order.sort((left, right) => compareTexts(values[left], values[right]));
    this.ranksOnce = new Uint32Array(values.length);
    let rank = 0;
    order.forEach((code, at) => {
      if (at > 0 && values[code] !== values[order[at - 1]]) rank = at;
      this.ranksOnce[code] = rank;
    });
    return this.ranksOnce;
  }
}

/** The entries, read from the bytes that the signature covers. */
class Rows {
  constructor(count, facts) {
    this.count = count;
    this.facts = facts;
    this.columns = COLUMNS.map((_, place) => new Column(place, count));
  }
  text(row, place) { return this.columns[place].text(row); }
  cells(row) { return this.columns.map((column) => column.text(row)); }
  /** The seconds of an entry's time, and the minute of its day in Paris. */
  seconds(row) { return secondsSince1970(this.text(row, AT.time)); }
  day(row) { return this.text(row, AT.paris).slice(0, 10); }
  hour(row) { return +this.text(row, AT.paris).slice(13, 15); }
  minute(row) {
    const clock = this.text(row, AT.paris).slice(13).replace('bis', '');
    return 60 * +clock.slice(0, 2) + +clock.slice(3, 5);
  }
  /** A test of rows by the value of one column. */
  tester(place, test) {
    const column = this.columns[place], marks = column.marks(test);
    return (row) => marks[column.codes[row]] === 1;
  }
}

const READABLE_ENTRIES = 500000;
/** Read the entries of a verified extract again; their digest is the one that was verified, or nothing is shown. */
async function readRows({ manifest, signature, fingerprint, entries: { reopen, digest } }, progress) {
  const { origin, from, to, disclosed, withheld, filter, authorisation, purpose, issuedAt } = manifest;
  if (disclosed > READABLE_ENTRIES) throw new Unusable(`Cet extrait est vérifié, mais ses entrées sont trop nombreuses pour être lues ici (${READABLE_ENTRIES.toLocaleString('fr-FR')} au plus) : demandez une période plus courte.`);
  const rows = new Rows(disclosed, {
    tenant: origin.tenant, category: origin.category, service: origin.service, origin: origin.origin, fingerprint, days: frenchPeriod(from, to), from: formatDay(from),
    to: formatDay(to), disclosed, withheld, issued: frenchTime(issuedAt), isTrial: signature.anchor.isDevelopment, purpose: PURPOSE_WORDS.get(purpose), isSelfMonitoring: purpose === 'self-monitoring',
    subject: filter.subject ?? null, isOfOneSubject: Object.keys(filter).join() === 'subject', authorisation: authorisation && authorisationText(authorisation),
    filter: Object.keys(filter).length ? filterText(manifest) : null,
  });
  const stream = reopen(), lines = new Lines(stream, RECORD_LIMIT_BYTES);
  let row = 0;
  try {
    for (let line; (line = lines.take() ?? await lines.more()) !== null; row++) {
      const cells = cellsOf(JSON.parse(strictUtf8.decode(line)));
      for (let place = 0; place < cells.length; place++) rows.columns[place].add(row, cells[place]);
      if (row % 1000 === 0) progress(row, disclosed);
    }
  } finally { stream.close(); }
  if (row !== disclosed || !equal(stream.digest, digest)) throw new Unusable('Le fichier a changé depuis sa vérification : vérifiez-le de nouveau.');
  for (const column of rows.columns) column.known = null;
  return rows;
}
