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

const isDenied = (rows, row) => rows.text(row, AT.outcome) === OUTCOMES.get('denied');
const isFailed = (rows, row) => rows.text(row, AT.outcome) === OUTCOMES.get('failure');
/** How often each text of a column comes in a group: « succès (2), refusé (1) ». */
const counts = (rows, place, group, otherwise) => [...tally(rows, place, group).map(([text, count]) => `${text} (${count})`),
  ...(group.some((row) => rows.text(row, place) === '') ? [otherwise] : [])].join(', ');

/** Why an act is out of hours, or the empty text. Each reason is a line of its own: what lies between two is not presence. */
function reasonOf(rows, row, asked) {
  const off = dayOff(rows.day(row), asked), [from, to] = [minuteOf(asked.opens), minuteOf(asked.closes)], minute = rows.minute(row);
  if (off) return WEEKDAYS.includes(off) ? 'fin de semaine' : `jour férié (${off})`;
  if (!isOutOfHours(minute, from, to)) return '';
  return from > to ? `entre ${asked.closes} et ${asked.opens}` : minute < from ? `avant ${asked.opens}` : `après ${asked.closes}`;
}

const MOMENTS_SHOWN = 6;
/** The moments of a group: each, or, of many, the first and the last. */
function momentsText(rows, group) {
  const clocks = [...new Set(group.map((row) => clockOf(rows, row)))];
  return clocks.length <= MOMENTS_SHOWN ? clocks.join(', ') : `${clocks.length} moments, le premier ${clocks[0]}, le dernier ${clocks[clocks.length - 1]}`;
}

/** Acts that are looked at out of hours: consultations, and those others that were asked for. */
function lookedAt(rows, asked) {
  const words = (codes, map) => codes.map((code) => map.get(code));
  const operations = words([...(asked.exports ? ['export'] : []), ...(asked.prints ? ['print'] : [])], OPERATIONS);
  const changes = words(asked.changes ? ['collection', 'modification', 'combination', 'erasure'] : [], ACTIONS);
  const apart = words(['export', 'print'], OPERATIONS);
  return (row) => {
    const action = rows.text(row, AT.action), operation = rows.text(row, AT.operation);
    if (apart.includes(operation)) return operations.includes(operation);
    return action === ACTIONS.get('consultation') || changes.includes(action);
  };
}

function outOfHours(rows, ordered, asked) {
  const found = ordered.filter(lookedAt(rows, asked)).map((row) => [row, reasonOf(rows, row, asked)]).filter(([, reason]) => reason);
  const reasons = new Map(found), rankOf = (reason) => ['avant', 'après', 'entre', 'fin', 'jour'].findIndex((word) => reason.startsWith(word));
  const groups = grouped(rows, found.map(([row]) => row), (row) => `${rows.text(row, AT.account)}\0${rows.day(row)}\0${reasons.get(row)}`);
  const place = { agent: (row) => rows.text(row, AT.account), day: (row) => rows.day(row), reason: (row) => rankOf(reasons.get(row)) }[asked.order];
  groups.sort(([one], [other]) => asked.order === 'reason' ? place(one) - place(other) : collator.compare(place(one), place(other)));
  return groups.map((group) => {
    const [first] = group, day = rows.day(first);
    return [agentText(rows, first), `${WEEKDAYS[dateOf(day).getUTCDay()]} ${frenchDate(day)}`, reasons.get(first), momentsText(rows, group),
      counts(rows, AT.operation, group, counts(rows, AT.action, group, '')), referencesOf(rows, group), counts(rows, AT.outcome, group, 'non inscrit')];
  });
}

function denials(rows, ordered, { denied }) {
  const refused = ordered.filter((row) => isDenied(rows, row));
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

/** Draw entries that anybody draws again, from any extract that communicates them: those whose SHA-256 of seed, chain
    and number is least. */
function drawn(rows, consultations, { seed, size }) {
  const weighed = consultations.map((row) => ({ row, weight: toHex(sha256(utf8(`${seed}\n${rows.facts.origin}\n${rows.text(row, AT.index)}`))) }));
  return weighed.sort((one, other) => isBefore(one.weight, other.weight)).slice(0, size)
    .map(({ row }) => [agentText(rows, row), rows.text(row, AT.index), frenchCell(rows.text(row, AT.paris)), rows.text(row, AT.subject) || 'aucune',
      rows.text(row, AT.operation), rows.text(row, AT.motive) || 'aucun', rows.text(row, AT.outcome) || 'non inscrit']);
}

/** Everything of the report: {opens, closes, weekends, publicHolidays, alsaceMoselle, changes, exports, prints, order,
    agent, denied, repeats, burst, minutes, seed, size}. What a consultation that failed or was refused would have shown
    was not seen: it is counted apart. Each line begins with its agent. */
function selfCheck(rows, asked) {
  // A time that no day of Paris has is beyond any calendar.
  const ordered = [...select(rows, { sort: AT.time })].filter((row) => rows.day(row) !== '' && (!asked.agent || rows.text(row, AT.account) === asked.agent));
  const isConsultation = rows.tester(AT.action, (text) => text === ACTIONS.get('consultation'));
  const tried = ordered.filter(isConsultation), consultations = tried.filter((row) => !isDenied(rows, row) && !isFailed(rows, row));
  const cut = (lines) => ({ total: lines.length, lines: lines.slice(0, LINES_SHOWN) });
  return {
    entries: rows.count, consultations: consultations.length, agents: new Set(consultations.map((row) => rows.text(row, AT.account))).size,
    failed: tried.filter((row) => isFailed(rows, row)).length, denied: tried.filter((row) => isDenied(rows, row)).length,
    hours: cut(outOfHours(rows, ordered, asked)), denials: cut(denials(rows, ordered, asked)),
    repeated: cut(repeated(rows, consultations, asked)), bursts: cut(bursts(rows, consultations, asked)),
    motives: cut(withoutMotive(rows, consultations)), sample: { total: consultations.length, lines: drawn(rows, consultations, asked) },
  };
}
