// Who consulted one reference: by agent, then access by access.

const ACCESSES_SHOWN = 500;
const periodText = (first, last) => first === last ? frenchCell(first) : `${frenchCell(first)} – ${frenchCell(last)}`;

/** A table of texts of entries; `blank` adds a column to write in. */
function listing(caption, heads, lines, blank = '') {
  const head = make('tr', {}, ...[...heads, ...(blank ? [blank] : [])].map((text) => Object.assign(make('th', { text }), { scope: 'col' })));
  const rows = lines.map((cells) => make('tr', {}, ...cells.map((text) => make('td', {}, cell(text))), ...(blank ? [make('td', { className: 'blank' })] : [])));
  const made = make('table', { className: 'plain' }, make('caption', { text: caption }), make('thead', {}, head), make('tbody', {}, ...rows));
  return region(caption, made);
}

const joined = ({ shown, more }, write, between) => [...shown.map(write), ...(more ? [`et ${plural(more, 'autre')}`] : [])].join(between);
const agentLine = ({ account, names, count, denied, actions, motives, first, last }) => [
  account || 'aucun compte', joined(names, (text) => text, ', '), `${french(count)}${denied ? `, dont ${plural(denied, 'refusé')}` : ''}`,
  joined(actions, ([text, times]) => `${text} (${french(times)})`, ', '), periodText(first, last),
  joined(motives, ([text, times]) => `${text || 'sans motif'}${times > 1 ? ` (${french(times)})` : ''}`, ' ; '),
];

const NEAR_SHOWN = 5;
/** A reference to choose, after a comma unless it is the first. */
function nearButton(text, at) {
  const button = make('button', { className: 'link', text: visible(text) });
  button.type = 'button';
  button.addEventListener('click', () => showWho(text));
  return make('span', {}, at ? ', ' : '', button);
}

async function showWho(subject) {
  choose('who');
  element('reference').value = visible(subject);
  const { count, total, agents } = await ask('who', { subject }), { facts } = reader.facets;
  element('who-actions').hidden = count === 0;
  const isOfIt = facts.isOfOneSubject && visible(facts.subject) === visible(subject);
  const limits = `Cette réponse vaut pour les entrées de cet extrait (${facts.days})${isOfIt ? ', demandé pour cette fiche' : facts.filter ? ', qui ne sont pas toutes celles de la période' : ''} ; la fiche a pu être consultée d’autres jours, ou par un logiciel qui ne l’inscrit pas.`;
  if (!count) {
    // Written with small letters or in part, a reference is another one: the person chooses.
    const near = (await ask('references', { typed: subject })).slice(0, NEAR_SHOWN).map(nearButton);
    element('who-answer').replaceChildren(make('p', {}, 'Aucune entrée de cet extrait ne porte sur la référence ', make('strong', {}, cell(subject)), '.'),
      ...(near.length ? [make('p', {}, 'Majuscules et accents comptent. L’extrait porte par exemple sur ', ...near, '.')] : []), make('p', { className: 'soft', text: limits }));
    return;
  }
  const accesses = await ask('page', { query: { exactSubject: subject, sort: TIME }, first: 0, size: ACCESSES_SHOWN });
  const line = (cells) => [frenchCell(cells[PARIS]), cells[ACCOUNT], cells[NAME], cells[ACTION], cells[OPERATION], cells[MOTIVE] || 'aucun', cells[OUTCOME]];
  element('who-answer').replaceChildren(
    make('p', {}, make('strong', {}, cell(subject)), ` : ${plural(count, 'accès', 'accès')} de ${plural(total, 'agent')}.`), make('p', { className: 'soft', text: limits }),
    listing(total > agents.length ? `Par agent : les ${french(agents.length)} premiers, sur ${french(total)}` : 'Par agent', ['Compte', 'Nom', 'Accès', 'Actions', 'Premier et dernier (heure de Paris)', 'Motifs'], agents.map(agentLine)),
    listing(count > ACCESSES_SHOWN ? `Les ${french(ACCESSES_SHOWN)} premiers accès, sur ${french(count)}` : 'Accès par accès',
      ['Survenu le (heure de Paris)', 'Compte', 'Nom', 'Action', 'Opération', 'Motif', 'Résultat'], accesses.cells.map(line)));
}

element('who-form').addEventListener('submit', (event) => {
  event.preventDefault();
  const typed = element('reference').value.trim();
  if (typed) showWho(typed); else element('reference').focus();
});
element('reference').addEventListener('input', async ({ target }) => {
  const typed = target.value, found = typed.trim() ? await ask('references', { typed }) : [];
  if (target.value === typed) element('known-references').replaceChildren(...found.map((text) => new Option('', visible(text))));
});
element('who-entries').addEventListener('click', () => showEntries({ exactSubject: element('reference').value.trim() }));
onOpened.push(({ facts }) => {
  element('who-answer').replaceChildren();
  element('who-actions').hidden = true;
  element('reference').value = visible(facts.subject ?? '');
});
