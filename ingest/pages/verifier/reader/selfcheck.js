// The self-check: what lies beyond thresholds that people chose. Everything is counted here, on the commune's computer.

const LINES_SHOWN = 200;
/** Who it was: texts apart, so that neither can move the other. */
const agentText = (rows, row) => [rows.text(row, AT.account), rows.text(row, AT.name)].filter((text) => text !== '');
const times = (count) => plural(count, 'fois', 'fois');
const clockOf = (rows, row) => rows.text(row, AT.paris).slice(13, 18 + (rows.text(row, AT.paris)[15] === 'b' ? 3 : 0));
const frenchDate = (day) => `${day.slice(8)}/${day.slice(5, 7)}/${day.slice(0, 4)}`;
const referencesOf = (rows, group) => plural(new Set(group.map((row) => rows.text(row, AT.subject))).size, 'fiche', 'fiches');

function grouped(rows, chosen, keyOf) {
  const groups = new Map();
  for (const row of chosen) {
    const key = keyOf(row);
    if (groups.has(key)) groups.get(key).push(row); else groups.set(key, [row]);
  }
  return [...groups.values()];
}
/** How many acts a group is: what is recorded for one account at one moment (a list, say, reference by reference) is one. */
const acts = (rows, group) => new Set(group.map((row) => rows.text(row, AT.time))).size;

function outOfHours(rows, consultations, asked) {
  const [from, to] = [minuteOf(asked.opens), minuteOf(asked.closes)];
  const out = consultations.filter((row) => dayOff(rows.day(row), asked) || isOutOfHours(rows.minute(row), from, to));
  return grouped(rows, out, (row) => `${rows.text(row, AT.account)}\0${rows.day(row)}`).map((group) => {
    const [first] = group, day = rows.day(first), weekday = WEEKDAYS[dateOf(day).getUTCDay()], off = dayOff(day, asked);
    return [agentText(rows, first), `${weekday} ${frenchDate(day)}${off && off !== weekday ? ` (${off})` : ''}`,
      `${clockOf(rows, first)} à ${clockOf(rows, group[group.length - 1])}`, plural(group.length, 'consultation', 'consultations'), referencesOf(rows, group)];
  });
}

function denials(rows, ordered, { denied }) {
  const refused = ordered.filter((row) => rows.text(row, AT.outcome) === OUTCOMES.get('denied'));
  return grouped(rows, refused, (row) => rows.text(row, AT.account)).filter((group) => group.length >= denied)
    .flatMap((group) => group.map((row) => [agentText(rows, row), frenchCell(rows.text(row, AT.paris)), rows.text(row, AT.subject) || 'aucune',
      together(rows.text(row, AT.action), rows.text(row, AT.operation)), rows.text(row, AT.motive) || 'aucun']));
}

function repeated(rows, consultations, { repeats }) {
  return grouped(rows, consultations.filter((row) => rows.text(row, AT.subject) !== ''), (row) => `${rows.text(row, AT.account)}\0${rows.text(row, AT.subject)}`)
    .map((group) => [group, acts(rows, group)]).filter(([, count]) => count >= repeats).sort(([, one], [, other]) => other - one)
    .map(([group, count]) => [agentText(rows, group[0]), rows.text(group[0], AT.subject), times(count),
      `${frenchCell(rows.text(group[0], AT.paris))} – ${frenchCell(rows.text(group[group.length - 1], AT.paris))}`,
      [...new Set(group.map((row) => rows.text(row, AT.motive).trim()))].filter(Boolean).slice(0, 5).join(' ; ') || 'aucun']);
}

/** Stretches of at least `burst` acts of one agent, any `minutes` of which hold so many. */
function bursts(rows, consultations, { burst, minutes }) {
  const found = [];
  for (const group of grouped(rows, consultations, (row) => rows.text(row, AT.account))) {
    const moments = [];
    for (const row of group)
      if (!moments.length || rows.text(moments[moments.length - 1], AT.time) !== rows.text(row, AT.time)) moments.push(row);
    const stretches = [];
    for (let end = burst - 1; end < moments.length; end++) {
      const start = end - burst + 1, last = stretches[stretches.length - 1];
      if (rows.seconds(moments[end]) - rows.seconds(moments[start]) > 60 * minutes) continue;
      if (last && start <= last.end) last.end = end; else stretches.push({ start, end });
    }
    for (const { start, end } of stretches) {
      const held = moments.slice(start, end + 1);
      found.push([agentText(rows, held[0]), frenchCell(rows.text(held[0], AT.paris)), frenchCell(rows.text(held[held.length - 1], AT.paris)),
        plural(held.length, 'consultation', 'consultations'), referencesOf(rows, held)]);
    }
  }
  return found;
}

function withoutMotive(rows, consultations) {
  return grouped(rows, consultations, (row) => rows.text(row, AT.account)).map((group) => [group, group.filter((row) => rows.text(row, AT.motive).trim() === '')])
    .filter(([, bare]) => bare.length).sort(([, one], [, other]) => other.length - one.length)
    .map(([group, bare]) => [agentText(rows, group[0]), `${bare.length.toLocaleString('fr-FR')} sur ${group.length.toLocaleString('fr-FR')}`, referencesOf(rows, bare),
      `${frenchCell(rows.text(bare[0], AT.paris))} – ${frenchCell(rows.text(bare[bare.length - 1], AT.paris))}`]);
}

/** Draw entries that anybody draws again: those whose SHA-256 of seed, fingerprint and number is least. */
function drawn(rows, consultations, { seed, size }) {
  const weighed = consultations.map((row) => ({ row, weight: toHex(sha256(utf8(`${seed}\n${rows.facts.fingerprint}\n${rows.text(row, AT.index)}`))) }));
  return weighed.sort((one, other) => isBefore(one.weight, other.weight)).slice(0, size)
    .map(({ row }) => [rows.text(row, AT.index), agentText(rows, row), frenchCell(rows.text(row, AT.paris)), rows.text(row, AT.subject) || 'aucune',
      rows.text(row, AT.operation), rows.text(row, AT.motive) || 'aucun']);
}

/** Everything of the report: {opens, closes, weekends, publicHolidays, alsaceMoselle, denied, repeats, burst, minutes,
    seed, size}. */
function selfCheck(rows, asked) {
  // A time that no day of Paris has is beyond any calendar.
  const ordered = [...select(rows, { sort: AT.time })].filter((row) => rows.day(row) !== '');
  const isConsultation = rows.tester(AT.action, (text) => text === ACTIONS.get('consultation'));
  const consultations = ordered.filter((row) => isConsultation(row) && rows.text(row, AT.outcome) !== OUTCOMES.get('denied'));
  const cut = (lines) => ({ total: lines.length, lines: lines.slice(0, LINES_SHOWN) });
  return {
    entries: rows.count, consultations: consultations.length, agents: new Set(consultations.map((row) => rows.text(row, AT.account))).size,
    hours: cut(outOfHours(rows, consultations, asked)), denials: cut(denials(rows, ordered, asked)),
    repeated: cut(repeated(rows, consultations, asked)), bursts: cut(bursts(rows, consultations, asked)),
    motives: cut(withoutMotive(rows, consultations)), sample: { total: consultations.length, lines: drawn(rows, consultations, asked) },
  };
}
