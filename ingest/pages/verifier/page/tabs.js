// The views of a verified extract, and what they ask of the worker that read it.

const { visible, frenchCell, compartmentText, extractText } = Verifier;
const VIEWS = ['details', 'entries', 'activity', 'who', 'selfcheck', 'letter'];
/** What each view does when it is shown, and when another extract is opened. */
const onShown = {}, onOpened = [];
const reader = { worker: null, waiting: new Map(), number: 0, facets: null };

const french = (count) => count.toLocaleString('fr-FR');
const plural = (count, one, many = `${one}s`) => `${french(count)} ${count < 2 ? one : many}`;
/** Longer than a word is: it may be broken anywhere. */
const TOKEN = /[^\s-]{20,}/;
/** Text of an entry: what hides or reorders is shown, and it moves nothing around it. */
const isolated = (text) => make('bdi', { className: TOKEN.test(text) ? 'token' : '', text: visible(text) });
/** The same of one text, or of several with commas between. */
const cell = (texts) => make('span', {}, ...[texts].flat().flatMap((text, place) => place ? [', ', isolated(text)] : [isolated(text)]));

/** Ask the worker. Of another extract no answer comes any more; a failure is told, and answers nothing. */
const ask = (name, about) => new Promise((answered) => {
  const number = ++reader.number;
  reader.waiting.set(number, answered);
  reader.worker.postMessage({ ask: name, about, number });
});
function hear({ number, value, failure }) {
  const answered = reader.waiting.get(number);
  reader.waiting.delete(number);
  element('opening').hidden = !failure;
  if (failure) endReading(`Cette vue n’a pas pu être établie (${failure}).`); else answered(value);
}

const selectedView = () => VIEWS.find((view) => !element(view).hidden);
function choose(view) {
  for (const one of VIEWS) {
    const tab = element(`tab-${one}`);
    element(one).hidden = one !== view;
    tab.setAttribute('aria-selected', String(one === view));
    tab.tabIndex = one === view ? 0 : -1;
  }
  document.body.classList.toggle('reading', view !== 'details');
  onShown[view]?.();
}

for (const view of VIEWS) element(`tab-${view}`).addEventListener('click', () => choose(view));
element('tabs').addEventListener('keydown', (event) => {
  const place = VIEWS.indexOf(selectedView());
  const to = { ArrowRight: place + 1, ArrowLeft: place - 1, Home: 0, End: VIEWS.length - 1 }[event.key];
  if (to === undefined) return;
  event.preventDefault();
  const view = VIEWS[(to + VIEWS.length) % VIEWS.length];
  choose(view);
  element(`tab-${view}`).focus();
});

/** Begin to read with this worker, which verified; or, without one, show nothing of an extract any more. */
function beginReading(worker) {
  reader.worker?.terminate();
  Object.assign(reader, { worker, facets: null });
  reader.waiting.clear();
  element('tabs').hidden = true;
  element('opening').hidden = !worker;
  element('opening').textContent = worker ? 'Lecture des entrées…' : '';
  choose('details');
}
function tellReading(share) { element('opening').textContent = `Lecture des entrées : ${Math.floor(100 * share)} %`; }
function endReading(text) { element('opening').textContent = text; }

function open(facets) {
  reader.facets = facets;
  const { facts, count } = facets;
  element('opening').hidden = count > 0;
  if (!count) { endReading('Cet extrait ne communique aucune entrée : il n’y a rien à lire.'); return; }
  const filtered = facts.filter ? ` Filtre de l’extrait : ${facts.filter} ; ${plural(facts.withheld, 'entrée n’est', 'entrées ne sont')} pas communiquée${facts.withheld < 2 ? '' : 's'}.` : '';
  for (const place of document.querySelectorAll('.of'))
    place.textContent = `Extrait ${compartmentText(facts)}, ${facts.days} : ${plural(count, 'entrée communiquée', 'entrées communiquées')}.${filtered}`;
  for (const mark of document.querySelectorAll('.mark'))
    mark.replaceChildren(make('span', {}, make('strong', { text: 'Vue non probante' }), ` : établie sur un poste d’après l’${extractText(facts)}. Seul l’extrait fait preuve.`));
  for (const act of onOpened) act(facets);
  element('tabs').hidden = false;
}

for (const button of document.querySelectorAll('button.print')) button.addEventListener('click', () => window.print());

/** Have the browser save a file that was made here. */
function save(blob, name) {
  const link = Object.assign(document.createElement('a'), { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}
