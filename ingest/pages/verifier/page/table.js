// The entries as a table: searched, filtered, sorted, a page at a time.

const PAGE_SIZE = 50, PRINTED = 2000;
const [INDEX, PARIS, TIME, RECORDED, ACTION, OPERATION, COUNT, OUTCOME, ACCOUNT, NAME, ROLE, SUBJECT, MOTIVE] = Array.from({ length: 13 }, (_, place) => place);
const SHOWN_FIRST = [PARIS, ACCOUNT, NAME, ACTION, OPERATION, SUBJECT, MOTIVE, OUTCOME];
const table = { query: {}, first: 0, count: 0, places: SHOWN_FIRST, sort: INDEX, descending: false, isAsked: 0 };
const FILTERS = ['search', 'action', 'operation', 'outcome', 'agent', 'subject', 'motive', 'from', 'to'];

const title = (place) => place === PARIS ? 'Survenu le (Paris)' : `${reader.facets.columns[place][0].toUpperCase()}${reader.facets.columns[place].slice(1)}`;
const shownPlaces = () => [INDEX, ...table.places];
const query = () => ({ ...table.query, sort: table.sort, descending: table.descending });

function drawHead() {
  const row = make('tr');
  row.setAttribute('role', 'row');
  for (const place of shownPlaces()) {
    const button = make('button', { text: title(place) }), head = make('th', {}, button);
    button.type = 'button';
    head.scope = 'col';
    head.dataset.label = title(place);
    head.setAttribute('role', 'columnheader');
    head.setAttribute('aria-sort', place !== table.sort ? 'none' : table.descending ? 'descending' : 'ascending');
    button.addEventListener('click', () => {
      Object.assign(table, { descending: place === table.sort && !table.descending, sort: place, first: 0 });
      drawHead();
      turnTo();
      element('table').querySelector('[aria-sort$=ending] button').focus();
    });
    row.append(head);
  }
  element('table').tHead.replaceChildren(row);
}

function rowOf(cells) {
  const row = make('tr');
  row.setAttribute('role', 'row');
  for (const place of shownPlaces()) {
    const item = make('td');
    item.setAttribute('role', 'cell');
    item.dataset.label = title(place);
    if (place === INDEX) {
      const button = make('button', { className: 'link', text: cells[place] });
      button.type = 'button';
      button.setAttribute('aria-label', `Lire l’entrée ${cells[place]} en entier`);
      button.addEventListener('click', () => read(cells));
      item.append(button);
    } else if (cells[place] !== '') item.append(cell(frenchCell(cells[place])));
    else item.className = 'empty';
    row.append(item);
  }
  return row;
}

/** Ask for a page of rows and show it, unless something newer was asked meanwhile. */
async function turnTo(first = table.first, size = PAGE_SIZE) {
  const asked = ++table.isAsked, answer = await ask('page', { query: query(), first, size });
  if (asked !== table.isAsked) return false;
  element('entries-note').hidden = true;
  Object.assign(table, { first, count: answer.count });
  element('table').tBodies[0].replaceChildren(...answer.cells.map(rowOf));
  element('count').textContent = `${plural(answer.count, 'entrée')} sur ${french(answer.total)}`;
  const last = Math.max(0, Math.ceil(answer.count / PAGE_SIZE) - 1), here = Math.floor(first / PAGE_SIZE);
  element('place').textContent = `Page ${french(here + 1)} sur ${french(last + 1)}`;
  for (const button of element('pager').querySelectorAll('button')) button.disabled = ['first', 'before'].includes(button.dataset.go) ? here === 0 : here >= last;
  element('pager').hidden = last === 0;
  return true;
}

const GO = { first: () => 0, before: () => table.first - PAGE_SIZE, next: () => table.first + PAGE_SIZE, last: () => PAGE_SIZE * Math.floor((table.count - 1) / PAGE_SIZE) };
for (const button of element('pager').querySelectorAll('button')) button.addEventListener('click', () => turnTo(GO[button.dataset.go]()));

/** The query in words, for what is printed. */
function queryText() {
  const named = { search: 'recherche', action: 'action', operation: 'opération', outcome: 'résultat', agent: 'agent', subject: 'référence', exactSubject: 'référence', motive: 'motif', from: 'à partir du', to: 'jusqu’au' };
  const motives = { present: 'présent', absent: 'absent' };
  const said = Object.entries(table.query).map(([name, value]) => `${named[name]} : ${visible(name === 'motive' ? motives[value] : frenchCell(`${value}`))}`);
  return said.length ? `Sélection : ${said.join(' ; ')}.` : 'Sélection : toutes les entrées.';
}

let typing = 0;
function searchSoon() {
  clearTimeout(typing);
  typing = setTimeout(() => {
    const chosen = FILTERS.map((name) => [name, element(name).value.trim()]).filter(([, value]) => value !== '');
    table.query = Object.fromEntries(chosen);
    turnTo(0);
  }, 150);
}
element('query').addEventListener('input', (event) => { if (FILTERS.includes(event.target.id)) searchSoon(); });
element('query').addEventListener('reset', () => searchSoon());
element('query').addEventListener('submit', (event) => event.preventDefault());

/** Show the entries of a query that another view names. */
function showEntries(asked) {
  for (const name of FILTERS) element(name).value = asked[name] ?? '';
  element('subject').value = asked.exactSubject ?? '';
  element('filters').open = true;
  table.query = asked;
  choose('entries');
  turnTo(0);
  element('tab-entries').focus();
}

element('print-entries').addEventListener('click', async () => {
  element('asked').textContent = queryText();
  if (!await turnTo(0, PRINTED)) return;
  element('entries-note').hidden = table.count <= PRINTED;
  element('entries-note').textContent = `Seules les ${french(PRINTED)} premières des ${french(table.count)} entrées choisies sont imprimées : choisissez-en moins, ou enregistrez-les en CSV.`;
  window.print();
});
addEventListener('beforeprint', () => { element('asked').textContent = reader.facets ? queryText() : ''; });
addEventListener('afterprint', () => { if (reader.facets && !element('entries').hidden) turnTo(0); });
element('save-entries').addEventListener('click', async () => {
  const { blob, name } = await ask('csv', { query: query(), places: shownPlaces() });
  save(blob, name);
});

/** Show every cell of an entry. */
function read(cells) {
  element('entry-title').textContent = `Entrée ${cells[INDEX]}`;
  const list = element('entry').querySelector('dl');
  list.replaceChildren(...cells.flatMap((text, place) => text === '' ? [] : [make('dt', { text: title(place) }), make('dd', {}, cell(frenchCell(text)))]));
  element('entry-who').hidden = cells[SUBJECT] === '';
  element('entry-who').onclick = () => { element('entry').close(); showWho(cells[SUBJECT]); };
  element('entry').showModal();
}
element('entry-close').addEventListener('click', () => element('entry').close());

const options = (select, first, values) => select.replaceChildren(new Option(first, ''), ...values.map(([text, count]) => new Option(`${visible(text)} (${french(count)})`, text)));
function drawColumns() {
  const ticks = reader.facets.columns.flatMap((_, place) => {
    if (place === INDEX) return [];
    const tick = Object.assign(document.createElement('input'), { type: 'checkbox', checked: table.places.includes(place) });
    tick.addEventListener('change', () => {
      table.places = reader.facets.columns.map((__, other) => other).filter((other) => other !== INDEX && (other === place ? tick.checked : table.places.includes(other)));
      drawHead();
      turnTo();
    });
    return [make('label', {}, tick, title(place))];
  });
  element('columns').replaceChildren(...ticks);
}

onOpened.push((facets) => {
  // A column in which nothing is stays away until it is asked for.
  Object.assign(table, { query: {}, first: 0, sort: INDEX, descending: false, places: SHOWN_FIRST.filter((place) => facets.used[place]) });
  element('query').reset();
  clearTimeout(typing);
  options(element('action'), 'toutes', facets.actions);
  options(element('operation'), 'toutes', facets.operations);
  options(element('outcome'), 'tous', facets.outcomes);
  element('agents').replaceChildren(...facets.agents.map((text) => new Option('', visible(text))));
  for (const name of ['from', 'to']) Object.assign(element(name), { min: facets.from, max: facets.to });
  drawColumns();
  drawHead();
  turnTo(0);
});
