// What is asked of the entries: which, in which order, how many; by day and hour; of one reference.

const EVERY = {};

/** The rows that a query asks for: {search, action, operation, outcome, agent, subject, exactSubject, motive, from, to}. */
function matching(rows, query) {
  const tests = [];
  const equals = (place, text) => text && tests.push(rows.tester(place, (value) => value === text));
  equals(AT.action, query.action);
  equals(AT.operation, query.operation);
  equals(AT.outcome, query.outcome);
  if (query.exactSubject) tests.push(rows.tester(AT.subject, (value) => visible(value) === visible(query.exactSubject)));
  const holds = (place, wanted) => rows.tester(place, (_, code) => rows.columns[place].folded[code].includes(wanted));
  if (query.subject) tests.push(holds(AT.subject, fold(query.subject.trim())));
  if (query.agent) {
    const wanted = fold(query.agent.trim()), [account, name] = [holds(AT.account, wanted), holds(AT.name, wanted)];
    tests.push((row) => account(row) || name(row));
  }
  if (query.motive) tests.push(rows.tester(AT.motive, (text) => (text.trim() !== '') === (query.motive === 'present')));
  if (query.from || query.to)
    tests.push(rows.tester(AT.paris, (text) => !(query.from && text.slice(0, 10) < query.from) && !(query.to && text.slice(0, 10) > query.to)));
  for (const word of fold(query.search ?? '').split(/\s+/).filter((text) => text !== '')) {
    const found = rows.columns.map((_, place) => holds(place, word));
    tests.push((row) => found.some((test) => test(row)));
  }
  const chosen = new Uint32Array(rows.count);
  let count = 0;
  for (let row = 0; row < rows.count; row++) if (tests.every((test) => test(row))) chosen[count++] = row;
  return chosen.subarray(0, count);
}

/** The same in the order asked for: {sort, descending}, a column's place; equal ones stay in the order of the chain. */
function select(rows, query) {
  const key = JSON.stringify(query);
  if (rows.lastKey === key) return rows.last;
  const chosen = matching(rows, query).slice(), { codes, ranks } = rows.columns[query.sort ?? AT.index];
  const sign = query.descending ? -1 : 1;
  if (query.sort || query.descending) chosen.sort((left, right) => sign * (ranks[codes[left]] - ranks[codes[right]]) || left - right);
  Object.assign(rows, { lastKey: key, last: chosen });
  return chosen;
}

/** A page of the table: how many there are, and the cells of those from `first` on. */
function page(rows, { query, first, size }) {
  const chosen = select(rows, query);
  return { count: chosen.length, total: rows.count, first, cells: Array.from(chosen.subarray(first, first + size), (row) => rows.cells(row)) };
}

/** How often each value of a column comes, most often first; the empty one is left out. */
function tally(rows, place, chosen = null) {
  const column = rows.columns[place], counts = new Uint32Array(column.values.length);
  if (chosen) for (const row of chosen) counts[column.codes[row]]++;
  else for (const code of column.codes) counts[code]++;
  return column.values.map((text, code) => [text, counts[code]]).filter(([text, count]) => text !== '' && count > 0)
    .sort(([one, many], [other, more]) => more - many || collator.compare(one, other));
}

const AGENTS_SHOWN = 500, EACH_SHOWN = 20;
/** The first of a list that may be endless, and how many follow. */
const firstOf = (list) => ({ shown: list.slice(0, EACH_SHOWN), more: Math.max(0, list.length - EACH_SHOWN) });
/** What may be chosen in the filters, and which days there are. */
function facets(rows) {
  const days = rows.columns[AT.paris].values.map((text) => text.slice(0, 10)).filter((text) => text !== '');
  return {
    facts: rows.facts, count: rows.count, columns: COLUMNS,
    used: rows.columns.map(({ values }) => values.some((text) => text !== '')),
    actions: tally(rows, AT.action), operations: tally(rows, AT.operation), outcomes: tally(rows, AT.outcome),
    agents: tally(rows, AT.account).slice(0, AGENTS_SHOWN).map(([text]) => text),
    from: days.reduce((least, day) => day < least ? day : least, days[0] ?? ''),
    to: days.reduce((most, day) => day > most ? day : most, days[0] ?? ''),
  };
}

const SUGGESTIONS = 20;
/** References that begin as typed, then those that hold it. */
function references(rows, { typed }) {
  const { values, folded } = rows.columns[AT.subject], wanted = fold(typed.trim());
  const begins = [], holds = [];
  for (let code = 0; code < values.length && begins.length < SUGGESTIONS; code++) {
    if (values[code] === '' || !folded[code].includes(wanted)) continue;
    if (folded[code].startsWith(wanted)) begins.push(values[code]);
    else if (holds.length < SUGGESTIONS) holds.push(values[code]);
  }
  return [...begins, ...holds].slice(0, SUGGESTIONS);
}

const DAYS_SHOWN = 366;
/** How many entries by action, on each day and in each hour of the day, in Paris. */
function activity(rows, { query }) {
  const chosen = select(rows, query ?? EVERY), actions = tally(rows, AT.action, chosen).map(([text]) => text);
  const place = new Map(actions.map((text, at) => [text, at])), empty = () => new Array(actions.length).fill(0);
  const days = new Map(), hours = Array.from({ length: 24 }, empty);
  for (const row of chosen) {
    const day = rows.day(row), action = place.get(rows.text(row, AT.action));
    if (day === '') continue;
    if (!days.has(day)) days.set(day, empty());
    days.get(day)[action]++;
    hours[rows.hour(row)][action]++;
  }
  const sorted = [...days.keys()].sort(), last = sorted[sorted.length - 1];
  // A day without entries is shown too, unless a time far off would make the chart endless.
  if (sorted.length && (dateOf(last) - dateOf(sorted[0])) / ONE_DAY_MS < DAYS_SHOWN)
    for (let day = sorted[0]; day < last; day = dayAfter(day, 1)) if (!days.has(day)) days.set(day, empty());
  return { actions, count: chosen.length, days: [...days].sort(([one], [other]) => isBefore(one, other)), hours };
}

/** Which of several held most, or that none stands out. */
function busiest(counted, unit) {
  const most = Math.max(...counted.map(([, count]) => count)), first = counted.filter(([, count]) => count === most).map(([name]) => name);
  const held = plural(most, 'entrée'), [one, many] = unit === 'jour' ? ['le plus chargé est', 'les plus chargés sont'] : ['la plus chargée est', 'les plus chargées sont'];
  if (counted.length === 1) return held;
  if (first.length === counted.length) return `${held} chaque ${unit}`;
  if (first.length === 1) return `${one} ${first[0]}, avec ${held}`;
  return first.length <= 3 ? `${many} ${first.slice(0, -1).join(', ')} et ${first[first.length - 1]}, avec ${held} chacun${unit === 'jour' ? '' : 'e'}` : `${plural(first.length, unit)} en ont le plus : ${most.toLocaleString('fr-FR')}`;
}

/** Who did what with one reference: how many agents, and of the most frequent: how often, first and last, why. */
function who(rows, { subject }) {
  const chosen = select(rows, { exactSubject: subject, sort: AT.time }), agents = new Map();
  for (const row of chosen) {
    const account = rows.text(row, AT.account);
    if (!agents.has(account)) agents.set(account, { account, names: new Set(), count: 0, denied: 0, actions: new Map(), motives: new Map(), first: rows.text(row, AT.paris) });
    const agent = agents.get(account), note = (map, text) => map.set(text, (map.get(text) ?? 0) + 1);
    agent.names.add(rows.text(row, AT.name));
    agent.count++;
    agent.denied += rows.text(row, AT.outcome) === OUTCOMES.get('denied') ? 1 : 0;
    note(agent.actions, rows.text(row, AT.action));
    note(agent.motives, rows.text(row, AT.motive).trim());
    agent.last = rows.text(row, AT.paris);
  }
  const sorted = [...agents.values()].sort((one, other) => other.count - one.count || collator.compare(one.account, other.account));
  const told = sorted.slice(0, AGENTS_SHOWN).map((agent) => ({ ...agent, names: firstOf([...agent.names].filter(Boolean)), actions: firstOf([...agent.actions]), motives: firstOf([...agent.motives]) }));
  return { count: chosen.length, total: sorted.length, agents: told };
}
