// Entries (§5, §6; §12.1, 8).

const RECORD_LIMIT_BYTES = 20480, PROOF_LIMIT_BYTES = 128;

const readRecord = (line, part) => checkRecord(decode(line, part), part);
function checkRecord(record, part) {
  const { event } = record;
  expectMembers(record, part, ['category', 'event', 'index', 'recorded_at', 'submitted_by', 'tenant', 'v']);
  const isName = (value) => typeof value === 'string' && value !== '';
  if (record.v !== 1 || !isWhole(record.index) || typeof record.category !== 'string' || !IS_CODE.test(record.category)
    || typeof record.tenant !== 'string' || !IS_TENANT.test(record.tenant) || !isName(record.submitted_by) || !isRecordTime(record.recorded_at))
    malformed(part, 'ce n’est pas un enregistrement');
  if (!isObject(event) || event.specversion !== '1.0' || !isName(event.source) || !isName(event.id) || !isName(event.type) || !isRecordTime(event.time))
    malformed(part, 'ce n’est pas un événement');
  return record;
}

const PROOF_LINE = new RegExp(`^\\{"index":(${INTEGER_TEXT}),"(?:salt":"([0-9a-f]{32})|leaf":"([0-9a-f]{64}))"\\}$`);

const readProofLine = (line, index) => readProofText(latin1(line), index);
const readProofText = (text, index) => {
  const found = PROOF_LINE.exec(text);
  return found && Number.isSafeInteger(+found[1]) ? found : malformed(`${PROOF} index ${index}`, 'ce n’est pas une ligne de preuve');
};

const satisfies = (event, filter) => {
  const account = memberOf(memberOf(memberOf(event, 'data'), 'actor'), 'account');
  return (filter.account === undefined || filter.account === account)
    && (filter.subject === undefined || filter.subject === event.subject)
    && (filter.action === undefined || filter.action === actionOf(event))
    && !(event.time.slice(0, 10) < filter.occurred_from) && !(event.time.slice(0, 10) > filter.occurred_to);
};

/** Walk the chain from base to head, the table beside it: of two faults, the one of the earlier entry is told. */
async function walk(manifest, period, checkpoints, streams, names, wanted) {
  const table = new Expected(streams.get(TABLE));
  const tableDiffers = () => streams.get(TABLE).ended && streams.get(TABLE).last !== 10
    ? malformed(TABLE, 'sa dernière ligne n’est pas terminée') : mismatched(TABLE, 'le tableau ne dit pas ce que disent les entrées');
  try {
    await table.add(TABLE_HEADER);
    await walkEntries(manifest, period, checkpoints, streams, table, names, wanted);
  } catch (failure) {
    if (!(failure instanceof Refusal)) throw failure;
    await table.settle();
    if (table.differs) tableDiffers();
    throw failure;
  }
  if (!await table.end()) tableDiffers();
}

async function walkEntries(manifest, period, checkpoints, streams, table, names, wanted) {
  const { base, head, origin } = manifest;
  const proof = new Lines(streams.get(PROOF), PROOF_LIMIT_BYTES), entries = new Lines(streams.get(ENTRIES), RECORD_LIMIT_BYTES);
  const salted = new Uint8Array(17);
  const days = period.closes.map(({ head: { size }, seal: { day } }) => ({ size, day }));
  days.push({ size: Infinity, day: dayOf(period.open.seal.sealedAt) });
  let chainHash = base.chainHash, disclosed = 0, here = 0, latest = '', segment = 0;
  checkpoint(checkpoints, base.size, chainHash);
  for (let index = base.size; index < head.size; index++) {
    const line = proof.take() ?? await proof.more();
    if (line === null) refuse('gap', PROOF, `l’entrée ${index} et les suivantes manquent`);
    const found = readProofLine(line, index);
    if (+found[1] > index) refuse('gap', PROOF, `l’entrée ${index} manque`);
    if (+found[1] < index) refuse('foreign entry', PROOF, `l’entrée ${found[1]} vient une seconde fois, ou n’est pas à sa place`);
    let leaf;
    if (found[3] !== undefined) leaf = fromHex(found[3]);
    else {
      const bytes = entries.take() ?? await entries.more(), part = `${ENTRIES} index ${index}`;
      if (bytes === null) mismatched(ENTRIES, `l’entrée ${index} y manque`);
      const record = readRecord(bytes, part), day = dayOf(record.recorded_at);
      while (index >= days[segment].size) segment++;
      if (record.index !== index || record.tenant !== origin.tenant || record.category !== origin.category)
        refuse('foreign entry', part, 'cette entrée est d’une autre chaîne ou d’une autre place');
      if (day !== days[segment].day) refuse('foreign entry', part, `cette entrée est du ${formatDay(day)}, les sceaux la placent le ${formatDay(days[segment].day)}`);
      if (record.recorded_at < latest) refuse('foreign entry', part, 'le temps recule d’une entrée à la suivante');
      if (manifest.withholdsAll || !satisfies(record.event, manifest.filter)) mismatched(part, 'cette entrée n’est pas de celles que le filtre demande');
      latest = record.recorded_at;
      disclosed++;
      const occurred = dayOf(record.event.time);
      if (occurred < manifest.from || occurred > manifest.to) here++;
      names.push(shortOf(nameOf(record.event)));
      salted.set(fromHex(found[2]), 1);
      leaf = sha256(salted, bytes);
      await table.add(writeRow(record));
    }
    chainHash = sha256(LINK_TAG, chainHash, leaf);
    if (wanted.has(index)) wanted.set(index, { leaf, chainHash });
    if (origin.category === 'journal' && index === manifest.request.index && !equal(leaf, manifest.request.leaf))
      mismatched(MANIFEST, `l’entrée ${index} n’est pas celle de la demande`);
    if (checkpoints.has(index + 1)) checkpoint(checkpoints, index + 1, chainHash);
  }
  if (!equal(chainHash, head.chainHash)) brokenChain(PROOF, 'la chaîne ne mène pas à la fin annoncée');
  const after = proof.take() ?? await proof.more();
  if (after !== null && readProofLine(after, head.size)) mismatched(PROOF, 'des lignes sont en trop');
  if ((entries.take() ?? await entries.more()) !== null) mismatched(ENTRIES, 'des entrées sont en trop');
  if (disclosed !== manifest.disclosed) mismatched(MANIFEST, `${disclosed} entrées sont communiquées, ${manifest.disclosed} annoncées`);
  const told = manifest.lateness.here;
  if (told !== null && (told < here || told > here + manifest.withheld))
    mismatched(MANIFEST, `${here} entrées communiquées sont d’accès d’autres jours, ${told} annoncées en tout`);
}
