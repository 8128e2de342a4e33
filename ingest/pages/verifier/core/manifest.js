// Manifest (§11.4).

const PURPOSES = ['lawfulness', 'self-monitoring', 'integrity-security', 'criminal-proceedings'];
const TEXT_LIMIT = 1024;
const isText = (value) => typeof value === 'string' && value.length > 0 && value.length <= 2 * TEXT_LIMIT && [...value].length <= TEXT_LIMIT;

const SOURCES_LIMIT = 30, GAPS_LIMIT = 10;
function readNumbering(value, part) {
  if (value === undefined) return [];
  if (!Array.isArray(value) || value.length < 1 || value.length > SOURCES_LIMIT) malformed(part, 'numbering');
  for (const one of value) {
    expectMembers(one, part, ['declared', 'gaps', 'last', 'missing', 'repeated'], ['epoch', 'source']);
    let end = -1, missing = 0;
    const isRange = (gap) => Array.isArray(gap) && gap.length === 2 && gap.every(isWhole) && gap[0] > end && gap[1] >= gap[0]
      && (end = gap[1] + 1, missing += gap[1] - gap[0] + 1, true);
    if (![one.declared, one.last, one.missing, one.repeated].every(isWhole) || !Array.isArray(one.gaps) || one.gaps.length > GAPS_LIMIT
      || !one.gaps.every(isRange) || missing > one.missing || ![one.epoch, one.source].every((text) => text === undefined || isText(text)))
      malformed(part, 'numbering');
  }
  return value;
}

function readManifest(bytes, part) {
  const value = decode(bytes, part);
  expectMembers(value, part, ['base', 'disclosed', 'filter', 'format', 'from', 'head', 'issued_at', 'lateness', 'origin', 'purpose', 'request', 'requester', 'rule', 'software', 'to', 'withheld'], ['authorisation', 'numbering', 'person']);
  const check = (holds, name) => { if (!holds) malformed(part, `le membre ${name} n’est pas admis`); };
  const point = (name) => {
    expectMembers(value[name], part, ['chain_hash', 'size']);
    check(isWhole(value[name].size), name);
    return { size: value[name].size, chainHash: hash(value[name].chain_hash, part) };
  };
  check(value.format === 'openepm-journal/extract/v1', 'format');
  const origin = parseOrigin(value.origin), from = parseDay(value.from), to = parseDay(value.to), base = point('base'), head = point('head');
  check(origin !== null, 'origin');
  check(from !== null && to !== null && 0 <= from && from <= to, 'from');
  check(base.size <= head.size, 'base');
  check(isWhole(value.disclosed) && isWhole(value.withheld) && value.disclosed + value.withheld === head.size - base.size, 'disclosed');
  const filter = value.filter;
  expectMembers(filter, part, [], ['account', 'action', 'occurred_from', 'occurred_to', 'subject', 'withhold']);
  const asked = Object.keys(filter), withholdsAll = asked.includes('withhold');
  if (withholdsAll) check(asked.length === 1 && filter.withhold === 'all' && value.disclosed === 0, 'filter');
  else check(asked.every((name) => name.startsWith('occurred_') ? isDay(filter[name]) : isText(filter[name])) && !(filter.occurred_from > filter.occurred_to) && (asked.length > 0 || value.withheld === 0), 'filter');
  check(PURPOSES.includes(value.purpose), 'purpose');
  const late = value.lateness;
  expectMembers(late, part, ['days', 'elsewhere'], ['here']);
  check(isWhole(late.days) && late.days >= 1 && late.days <= 60 && isWhole(late.elsewhere)
    && (withholdsAll ? late.here === undefined : isWhole(late.here)), 'lateness');
  check(isText(value.requester) && isText(value.software), 'requester');
  if (value.authorisation !== undefined) {
    expectMembers(value.authorisation, part, ['date', 'issuer', 'reference']);
    check(isText(value.authorisation.issuer) && isText(value.authorisation.reference) && parseDay(value.authorisation.date) !== null, 'authorisation');
  }
  if (value.person !== undefined) {
    expectMembers(value.person, part, ['function', 'name']);
    check(isText(value.person.function) && isText(value.person.name), 'person');
  }
  checkRule(value.rule, part, check);
  check(isRecordTime(value.issued_at), 'issued_at');
  const request = value.request;
  expectMembers(request, part, ['index', 'leaf'], ['reference']);
  check(isWhole(request.index) && (request.reference === undefined || isText(request.reference)), 'request');
  return {
    origin, from, to, base, head, filter, withholdsAll, disclosed: value.disclosed, withheld: value.withheld, purpose: value.purpose,
    requester: value.requester, authorisation: value.authorisation ?? null, person: value.person ?? null, rule: { basis: value.rule.basis, changes: value.rule.changes ?? [] }, issuedAt: value.issued_at, software: value.software,
    numbering: readNumbering(value.numbering, part),
    lateness: { days: late.days, elsewhere: late.elsewhere, here: late.here ?? null },
    request: { index: request.index, leaf: hash(request.leaf, part), reference: request.reference ?? null },
  };
}

const RULE_CHANGES_LIMIT = 32;
/** What the retention rests on, and its changes in their order. */
function checkRule(rule, part, check) {
  expectMembers(rule, part, ['basis'], ['changes']);
  check(isText(rule.basis), 'rule');
  if (rule.changes === undefined) return;
  check(Array.isArray(rule.changes) && rule.changes.length > 0 && rule.changes.length <= RULE_CHANGES_LIMIT, 'rule');
  rule.changes.forEach((change, place) => {
    expectMembers(change, part, ['changed_at', 'instruction', 'retention_days']);
    check(isRecordTime(change.changed_at) && isText(change.instruction) && isWhole(change.retention_days) && change.retention_days >= 2 && change.retention_days <= 60, 'rule');
    check(place === 0 || rule.changes[place - 1].changed_at <= change.changed_at, 'rule');
  });
}
