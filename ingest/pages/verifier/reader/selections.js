// A selection as a file for spreadsheets: marked, and made safe as extrait.csv is.

/** The commune and the category, by their codes: an extract has no other names of them. The service itself is no commune. */
const compartmentText = ({ tenant, category }) => `${tenant === '_service' ? 'du service' : `de la commune « ${tenant} »`}, catégorie « ${category} »`;
const NOT_EVIDENCE = 'Vue non probante';
const extractText = ({ days, issued, fingerprint, isTrial, ...of }) =>
  `extrait du journal des accès ${compartmentText(of)}, ${days}, établi le ${issued}, empreinte de ce qui est signé (SHA-256) ${fours(fingerprint)}${isTrial ? ', signé pour essais seulement' : ''}`;

/** Rows in the order of a query, these columns of them; the first lines say that it proves nothing, and what it is of. */
function csv(rows, { query, places }) {
  const chosen = select(rows, query), line = (cells) => `"${cells.join('";"')}"\r\n`;
  const pieces = ['\ufeff',
    line([`${NOT_EVIDENCE} : ${chosen.length} des ${rows.count} entrées de l’extrait, choisies sur un poste ; seul l’extrait fait preuve`]),
    line([safe(`De l’${extractText(rows.facts)}`)]), line(places.map((place) => COLUMNS[place]))];
  let text = '';
  for (const row of chosen) {
    text += line(places.map((place) => GUARDS[place](rows.text(row, place))));
    if (text.length > MIB) { pieces.push(text); text = ''; }
  }
  const { tenant, category, from, to } = rows.facts;
  return { blob: new Blob([...pieces, text], { type: 'text/csv;charset=utf-8' }), name: `vue-non-probante-${tenant}-${category}-${from}-${to}.csv` };
}

const LETTER_LINES = 2000;
/** What the letter to a person lists: accesses in the order of their times. */
function letter(rows) {
  const chosen = select(rows, { exactSubject: rows.facts.subject, sort: AT.time });
  const cells = Array.from(chosen.subarray(0, LETTER_LINES), (row) => rows.cells(row));
  const denied = chosen.filter((row) => isDenied(rows, row)).length;
  const failed = chosen.filter((row) => isFailed(rows, row)).length;
  return { count: chosen.length, denied, failed, agents: tally(rows, AT.account, chosen).length, cells };
}
