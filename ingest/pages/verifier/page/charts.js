// Activity as bars, by day and by hour, each action in its colour, and the figures as a table.

const COLOURS = 6, CHART_HEIGHT = 180, LEFT = 44, BOTTOM = 22, TOP = 8, PAPER_WIDTH = 660;
const svg = (name, attributes, ...children) => {
  const made = document.createElementNS('http://www.w3.org/2000/svg', name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
};
/** A round number at or above a count, for the top of an axis. */
function roundUp(count) {
  const power = 10 ** Math.floor(Math.log10(Math.max(1, count)));
  return [1, 2, 4, 6, 8, 10].map((step) => step * power).find((top) => top >= count);
}

function bars(series, labels, every, width) {
  const top = roundUp(Math.max(1, ...series.map((counts) => counts.reduce((sum, count) => sum + count, 0))));
  const step = (width - LEFT) / series.length, height = CHART_HEIGHT - TOP - BOTTOM, y = (count) => TOP + height * (1 - count / top);
  const drawn = [0, top / 2, top].filter(Number.isInteger).flatMap((count) => [
    svg('line', { class: 'rule', x1: LEFT, x2: width, y1: y(count), y2: y(count) }),
    svg('text', { x: LEFT - 6, y: y(count) + 4, 'text-anchor': 'end' }, french(count))]);
  series.forEach((counts, at) => {
    let below = 0;
    counts.forEach((count, action) => {
      if (!count) return;
      drawn.push(svg('rect', { class: `a${action}`, x: LEFT + at * step + Math.min(2, step * .12), width: Math.max(1, step - Math.min(4, step * .24)), y: y(below + count), height: y(below) - y(below + count) }));
      below += count;
    });
    if (at % every === 0) drawn.push(svg('text', { x: LEFT + (at + .5) * step, y: CHART_HEIGHT - 5, 'text-anchor': 'middle' }, labels[at]));
  });
  return drawn;
}

function figures(heading, names, series, actions) {
  const head = make('tr', {}, ...[heading, ...actions, 'total'].map((text) => Object.assign(make('th', {}, cell(text)), { scope: 'col' })));
  const rows = series.map((counts, at) => make('tr', {}, Object.assign(make('th', { text: names[at] }), { scope: 'row' }),
    ...[...counts, counts.reduce((sum, count) => sum + count, 0)].map((count) => make('td', { className: 'number', text: french(count) }))));
  const table = make('table', { className: 'plain' }, make('thead', {}, head), make('tbody', {}, ...rows));
  return make('details', {}, make('summary', { text: 'Les chiffres' }), region(`Chiffres : ${heading}`, table));
}

/** A chart: names are said in full, labels stand below the bars. */
function chart(heading, summary, unit, names, labels, series, actions, width) {
  const every = Math.ceil(series.length * 46 / (width - LEFT));
  const drawing = svg('svg', { viewBox: `0 0 ${width} ${CHART_HEIGHT}`, role: 'img', 'aria-label': summary }, ...bars(series, labels, every, width));
  return make('figure', {}, make('h3', { text: heading }), drawing, make('figcaption', { text: summary }), figures(unit, names, series, actions));
}

/** All but the most frequent actions count together. */
function fewer({ actions, days, hours }) {
  if (actions.length <= COLOURS) return { actions, days, hours };
  const cut = (counts) => [...counts.slice(0, COLOURS - 1), counts.slice(COLOURS - 1).reduce((sum, count) => sum + count, 0)];
  return { actions: [...actions.slice(0, COLOURS - 1), 'autres'], days: days.map(([day, counts]) => [day, cut(counts)]), hours: hours.map(cut) };
}

const DAY_NAMES = ['dim.', 'lun.', 'mar.', 'mer.', 'jeu.', 'ven.', 'sam.'];
function drawCharts(found, isSelection, width) {
  const { actions, days, hours } = fewer(found), total = (counts) => counts.reduce((sum, count) => sum + count, 0);
  const frenchDay = (day) => `${day.slice(8)}/${day.slice(5, 7)}/${day.slice(0, 4)}`;
  const legend = make('ul', { className: 'legend' }, ...actions.map((text, at) => make('li', {}, svg('svg', { viewBox: '0 0 10 10', 'aria-hidden': 'true' }, svg('rect', { class: `a${at}`, width: 10, height: 10 })), cell(text))));
  legend.setAttribute('aria-label', 'Couleurs des actions');
  if (!found.count) { element('charts').replaceChildren(make('p', { text: 'Aucune entrée à montrer.' })); return; }
  element('charts').replaceChildren(
    make('p', { text: `${plural(found.count, 'entrée')}${isSelection ? `. ${queryText()}` : ', toutes celles de l’extrait.'}` }), legend,
    chart('Par jour', `${plural(days.length, 'jour')}, du ${frenchDay(days[0][0])} au ${frenchDay(days[days.length - 1][0])} (heure de Paris) ; ${Verifier.internals.busiest(days.map(([day, counts]) => [`le ${frenchDay(day)}`, total(counts)]), 'jour')}.`,
      'jour', days.map(([day]) => `${DAY_NAMES[new Date(`${day}T00:00:00Z`).getUTCDay()]} ${frenchDay(day)}`), days.map(([day]) => `${day.slice(8)}/${day.slice(5, 7)}`), days.map(([, counts]) => counts), actions, width),
    chart('Par heure de la journée', `Heures de Paris, tous les jours ensemble ; ${Verifier.internals.busiest(hours.map((counts, hour) => [`${hour} h`, total(counts)]), 'heure')}.`,
      'heure', hours.map((_, hour) => `de ${hour} h à ${hour + 1} h`), hours.map((_, hour) => `${hour} h`), hours, actions, width));
}

let drawn = null;
async function drawActivity() {
  const isSelection = element('activity-of').value === 'selection';
  drawn = { found: await ask('activity', { query: isSelection ? query() : {} }), isSelection };
  drawAgain();
}
const drawAgain = (width = Math.max(280, element('charts').clientWidth)) => drawCharts(drawn.found, drawn.isSelection, width);
onShown.activity = drawActivity;
element('activity-of').addEventListener('change', drawActivity);
let resizing = 0;
addEventListener('resize', () => {
  clearTimeout(resizing);
  resizing = setTimeout(() => { if (drawn && !element('activity').hidden) drawAgain(); }, 200);
});
// On paper, letters are to be as large as those around them.
addEventListener('beforeprint', () => { if (drawn && !element('activity').hidden) drawAgain(PAPER_WIDTH); });
addEventListener('afterprint', () => { if (drawn && !element('activity').hidden) drawAgain(); });
onOpened.push(() => {
  drawn = null;
  element('activity-of').value = 'all';
});
