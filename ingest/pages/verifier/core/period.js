// Period, base, head, retention (§12.1, 4 to 6; §12.2).

/** Hold manifest and seals together: coverage, head, purge, base. Returns what is worth telling. */
function checkPeriod(manifest, listed) {
  const { from, to, base, head } = manifest, eve = from - 1;
  const closes = listed.slice(0, -1), open = listed[listed.length - 1];
  checkOrder(listed);
  const today = dayOf(open.seal.sealedAt), lastClosed = Math.min(to, today - 1);
  if (to > today) refuse('not covered', 'seals.json', `aucun sceau n’atteint le ${formatDay(to)}`);
  const first = closes[0], start = first?.seal.day === eve ? first.head.size : 0;
  const begin = Math.max(start, Math.min(open.head.keptFrom, head.size)), isAfter = first !== undefined && first.seal.day > lastClosed;
  if (isAfter && !(base.size === head.size && equal(base.chainHash, head.chainHash)))
    mismatched('seals.json', 'aucun sceau de clôture d’un jour de la période, dont il reste quelque chose');
  // What is purged is listed up to the eve of today, to show when it went.
  checkDays(closes, eve, begin > start ? today - 1 : isAfter ? first.seal.day : lastClosed, to === today);
  const end = to === today ? open : closes.find(({ seal }) => seal.day === to) ?? first;
  const remarks = checkRetention(closes, open, eve);
  if (head.size !== end.head.size || !equal(head.chainHash, end.head.chainHash)) mismatched('manifest.json', `la fin de l’extrait n’est pas celle que montre ${end.part}`);
  checkBase(manifest, closes, open, eve);
  const purged = base.size > start
    ? { through: closes.find((close) => close.head.size >= base.size).seal.day, before: base.size, count: first.seal.day === eve ? base.size - start : null, days: purgedDays(manifest, closes, open, eve) } : null;
  return { closes, open, coveredUntil: to === today ? open.seal.sealedAt : null, purged, remarks };
}

const GRACE_MICROSECONDS = 3600000000n, DAY_MICROSECONDS = 86400000000n;

/** What the seals show of the purge of each day of the period: in time, late, or not shown (§12.2). */
function purgedDays({ from, to, base }, closes, open, eve) {
  const seals = [...closes, open], first = closes[0].seal.day, isLate = first !== eve, found = [];
  const add = (one) => {
    const last = found[found.length - 1];
    if (last?.when !== one.when) { found.push(one); return; }
    last.to = one.to;
    last.entries = last.entries === null || one.entries === null ? null : last.entries + one.entries;
    if (one.when === 'late') [last.least, last.most] = [one.least < last.least ? one.least : last.least, one.most > last.most ? one.most : last.most];
  };
  if (isLate && from < first) add({ from, to: Math.min(to, first - 1), entries: null, when: 'not shown' });
  let before = isLate ? null : closes[0].head.size;
  for (const { seal, head } of closes) {
    if (seal.day >= from && seal.day <= to && head.size <= base.size && head.size !== before)
      add({ from: seal.day, to: seal.day, entries: before === null ? null : head.size - before, ...whenPurged(seal.day, head.size, seals) });
    before = head.size;
  }
  return found;
}

function whenPurged(day, size, seals) {
  const place = seals.findIndex(({ head }) => head.keptFrom >= size), around = seals.slice(Math.max(0, place - 1), place + 1);
  const end = microseconds(`${formatDay(day + Math.max(...around.map(({ head }) => head.retentionDays)))}T00:00:00Z`);
  const after = ({ seal }) => microseconds(seal.sealedAt) - end, most = after(seals[place]);
  if (place > 0 && after(seals[place - 1]) >= 0n) return { when: 'late', least: after(seals[place - 1]), most };
  return { when: most < GRACE_MICROSECONDS ? 'in time' : 'not shown' };
}

/** By how many days entries were late, at least and at most. */
const lateDays = ({ least, most }) => {
  const beyond = most - GRACE_MICROSECONDS, days = beyond < 0n ? 0 : Number(beyond / DAY_MICROSECONDS) + 1;
  return [Number(least / DAY_MICROSECONDS), Math.max(days, 1)];
};

function checkOrder(listed) {
  listed.forEach(({ seal }, place) => {
    const isLast = place === listed.length - 1, previous = listed[place - 1]?.seal;
    if ((seal.day === null) !== isLast || previous && previous.number >= seal.number)
      malformed('seals.json', 'les sceaux ne sont pas dans leur ordre, l’ouvert en dernier');
  });
}

function checkDays(closes, eve, lastClosed, toToday) {
  const notCovered = (day) => refuse('not covered', 'seals.json', `le sceau de clôture du ${formatDay(day)} manque`);
  for (const { seal } of closes)
    if (seal.day < eve || seal.day > lastClosed) mismatched('seals.json', `le sceau de clôture du ${formatDay(seal.day)} est hors de la période`);
  closes.forEach(({ seal }, place) => { if (place > 0 && seal.day !== closes[place - 1].seal.day + 1) notCovered(closes[place - 1].seal.day + 1); });
  const last = closes[closes.length - 1];
  if (last ? last.seal.day < lastClosed : !toToday) notCovered(last ? last.seal.day + 1 : lastClosed);
}

/** In seals made on day T under n days: what may be gone, what must be (§12). Returns remarks. */
function checkRetention(closes, open, eve) {
  const first = closes[0], last = closes[closes.length - 1], remarks = [];
  const at = (day) => closes[day - first.seal.day].head.size;
  const isLate = first?.seal.day !== eve;
  const mayBeGone = (day, isOpen) =>
    last && day > last.seal.day ? Infinity : first && day >= first.seal.day ? at(day) : isOpen && isLate ? 0 : first.head.size;
  const mustBeGone = (day) => !first || day < first.seal.day ? 0 : at(Math.min(day, last.seal.day));
  let excused = 0, before = null;
  for (const one of [...closes, open]) {
    const { head, seal } = one, day = dayOf(seal.sealedAt), { keptFrom, retentionDays } = head, through = day - (retentionDays - 1);
    if (keptFrom > Math.max(excused, mayBeGone(through, one === open)))
      refuse('early deletion', one.part, `des entrées ont disparu avant leur terme (${retentionDays} jours)`);
    if (!isLate || through >= first?.seal.day) excused = keptFrom;
    if (keptFrom < mustBeGone(day - retentionDays)) {
      if (one === open) refuse('over-retention', one.part, `des entrées sont conservées au-delà de ${retentionDays} jours`);
      remarks.push({ kind: 'late purge', seal: seal.number, day, from: keptFrom, retentionDays });
    }
    if (before && before.retentionDays !== retentionDays) {
      const rule = remarks.filter(({ kind }) => kind === 'rule').pop(), here = { seal: seal.number, sealedAt: seal.sealedAt };
      // While it grows, a day more each day, it is told once.
      if (rule && rule.before < rule.now && rule.now < retentionDays) Object.assign(rule, { now: retentionDays, until: here });
      else remarks.push({ kind: 'rule', ...here, now: retentionDays, before: before.retentionDays });
    }
    if (seal.recoveredFrom !== null) remarks.push({ kind: 'loss', seal: seal.number, sealedAt: seal.sealedAt, from: seal.recoveredFrom });
    before = head;
  }
  return remarks;
}

function checkBase({ base, head, issuedAt, signedAt }, closes, open, eve) {
  const first = closes[0], { keptFrom, retentionDays } = open.head;
  const start = first?.seal.day === eve ? first.head.size : 0;
  const expected = Math.min(Math.max(start, keptFrom), head.size);
  const early = (reason) => refuse('early deletion', 'manifest.json', reason);
  if (base.size > expected) early('l’extrait commence plus loin que ce que les sceaux permettent');
  if (base.size < start) mismatched('manifest.json', 'l’extrait commence avant sa période');
  if (base.size < expected) refuse('over-retention', 'manifest.json', 'l’extrait contient des entrées que les sceaux disent purgées');
  const vouching = closes.find((close) => close.head.size === base.size);
  if (vouching ? !equal(vouching.head.chainHash, base.chainHash) : base.size === 0 && !equal(base.chainHash, genesisOf(open.origin)))
    brokenChain('manifest.json', 'le début de l’extrait n’est pas celui de la chaîne');
  if (!vouching && base.size > 0) early('l’extrait commence au milieu d’un jour');
  if (`${issuedAt.slice(0, 19)}Z` < open.seal.sealedAt) mismatched('manifest.json', 'l’extrait est plus ancien que le sceau fait pour lui');
  for (const [at, part] of [[issuedAt, 'manifest.json'], [signedAt, 'META-INF/signature.p7s']]) {
    const due = closes.filter(({ seal }) => seal.day <= dayOf(at) - retentionDays).pop();
    if (due && base.size < Math.min(due.head.size, head.size)) refuse('over-retention', part, `l’extrait contient des entrées au-delà de ${retentionDays} jours`);
  }
}
