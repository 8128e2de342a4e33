// Receipts that were kept (§6.1; §12.4).

const ANSWER_LIMIT_BYTES = 32 * MIB, ECDSA_LIMIT_BYTES = 80, RECEIPT_PATH_LIMIT = 64;
const RECEIPT_KEY_HEAD = fromHex('3059301306072a8648ce3d020106082a8648ce3d03010703420004');
const DELEGATION = new RegExp('^openepm-journal/receipt-key/v1\\n([^\\n]+)\\n([^\\n]+)\\n([^\\n]+)\\n([A-Za-z0-9+/]{122}==)\\n$');
const OPEN_MARGIN_MICROSECONDS = 900000000n;
const isAscii = (text) => typeof text === 'string' && /^[\0-\x7f]*$/.test(text);

/** What vouches for a receipt key: whose it is, and from when to when it signs. */
function readDelegation(text, part) {
  const [, service, from, until, written] = text.length <= SEAL_LIMIT_BYTES ? DELEGATION.exec(text) ?? [] : [];
  const key = written ? fromBase64(written) : null;
  if (!key || !equal(key.subarray(0, RECEIPT_KEY_HEAD.length), RECEIPT_KEY_HEAD) || !isService(service)
    || !isSealTime(from) || !isSealTime(until) || until < from)
    malformed(part, 'ce n’est pas la délégation d’une clé de reçus');
  return { service, from, until, key };
}

function readReceipt(value, part) {
  const texts = ['chain_hash', 'id', 'leaf_hash', 'origin', 'recorded_at', 'source', 'time'];
  expectMembers(value, part, [...texts, 'index']);
  if (texts.some((name) => typeof value[name] !== 'string' || value[name] === '') || !isWhole(value.index) || value.index >= Number.MAX_SAFE_INTEGER
    || !parseOrigin(value.origin) || !isRecordTime(value.time) || !isRecordTime(value.recorded_at))
    malformed(part, 'ce n’est pas un reçu');
  return { ...value, leaf: hash(value.leaf_hash, part), chainHash: hash(value.chain_hash, part), text: utf8(spell(value)) };
}

/** What a submission was answered, in any spelling of JSON. */
function readReceipts(bytes, part) {
  if (bytes.length > ANSWER_LIMIT_BYTES) malformed(part, 'il est trop long');
  const value = parse(bytes, part);
  if (isObject(value) && Object.keys(value).join() === 'receipts')
    malformed(part, 'il n’est pas signé : le service n’avait pas de clé de reçus quand il l’a donné ; les mêmes événements, envoyés de nouveau, en reçoivent un signé');
  expectMembers(value, part, ['key', 'path', 'receipts', 'signature', 'signed_at']);
  expectMembers(value.key, part, ['signature', 'text']);
  const { key, path, receipts, signature, signed_at: signedAt } = value;
  if (!Array.isArray(receipts) || !receipts.length || !Array.isArray(path) || path.length > RECEIPT_PATH_LIMIT) malformed(part, 'des reçus et un chemin sont attendus');
  if (!isSealTime(signedAt) || !isAscii(key.text)) malformed(part, 'une date et une délégation sont attendues');
  return {
    receipts: receipts.map((receipt) => readReceipt(receipt, part)), path: path.map((item) => hash(item, part)), signedAt,
    signature: readDer(signature, ECDSA_LIMIT_BYTES, part), text: key.text, vouching: readDer(key.signature, SIGNATURE_LIMIT_BYTES, part),
  };
}

const receiptNode = (one, other) => compare(one, other) < 0 ? sha256(RECEIPT_NODE_TAG, one, other) : sha256(RECEIPT_NODE_TAG, other, one);
function receiptsRoot(nodes) {
  while (nodes.length > 1) {
    const above = [];
    for (let place = 0; place < nodes.length; place += 2)
      above.push(place + 1 < nodes.length ? receiptNode(nodes[place], nodes[place + 1]) : nodes[place]);
    nodes = above;
  }
  return nodes[0];
}

/** Read and verify one answer by itself. */
async function verifyReceipts(bytes, anchors, part) {
  const answer = readReceipts(bytes, part), { service, from, until, key } = readDelegation(answer.text, part);
  const vouched = await verifySignature(answer.vouching, sha256(utf8(answer.text)), anchors, part);
  checkService(vouched, service, part);
  if (vouched.time !== from) mismatched(part, 'la délégation a été signée à un autre moment qu’elle ne dit');
  readEcdsa(answer.signature, part);
  try { await crypto.subtle.importKey('spki', key, { name: 'ECDSA', namedCurve: 'P-256' }, false, ['verify']); } catch { malformed(part, 'la clé de reçus n’est pas sur sa courbe'); }
  const root = answer.path.reduce(receiptNode, receiptsRoot(answer.receipts.map(({ text }) => sha256(RECEIPT_TAG, text))));
  const text = utf8(`openepm-journal/receipt/v1\n${service}\n${answer.signedAt}\n${toBase64(root)}\n`);
  if (!await keyVerifies({ kind: 'ECDSA', curve: 'P-256', width: 32, whole: key }, { hash: 'SHA-256' }, answer.signature, text))
    refuse('bad signature', part, 'ces reçus ne sont pas ce que leur clé a signé');
  if (answer.signedAt < from || answer.signedAt > until) mismatched(part, 'la clé de reçus n’était pas valide quand elle a signé');
  if (answer.receipts.some(({ origin }) => parseOrigin(origin).service !== service)) mismatched(part, 'un reçu est d’un autre service que sa clé');
  return answer.receipts.map((receipt) => ({ ...receipt, part, signer: vouched.subject, vouched }));
}

/** Verify files of {name, source} by themselves: receipts that are authentic, and what is wrong with the other files. */
async function readAllReceipts(files, anchors) {
  const receipts = [], judged = [];
  for (const { name, source } of files) {
    try {
      if (source.size > ANSWER_LIMIT_BYTES) malformed(name, 'il est trop long');
      receipts.push(...await verifyReceipts(await source.read(0, source.size), anchors, name));
    } catch (failure) {
      if (!(failure instanceof Refusal)) throw failure;
      judged.push({ receipt: null, part: name, verdict: failure.verdict, reason: failure.reason });
    }
  }
  return { receipts, judged };
}

const couldBePurged = ({ head, seal }, day) => day <= dayOf(seal.sealedAt) - (head.retentionDays - 1);

/** What, of all that is shown, cannot be if a receipt was kept; empty if everything can. */
function contradiction({ index, leaf, chainHash, recorded_at: recordedAt }, { seals, entries }) {
  const day = dayOf(recordedAt), here = entries.get(index);
  if (here && !(equal(here.leaf, leaf) && equal(here.chainHash, chainHash))) return `l’entrée ${index} est une autre`;
  for (const { head, seal, part } of seals) {
    if (head.size === index + 1 && !equal(head.chainHash, chainHash)) return `à la taille ${head.size}, ${part} a une autre empreinte de chaîne`;
    const mustHold = seal.day !== null ? day <= seal.day : microseconds(seal.sealedAt) - microseconds(recordedAt) >= OPEN_MARGIN_MICROSECONDS;
    if (head.size <= index && mustHold) return `${part}, fait après son enregistrement, ne contient que ${plural(head.size, 'entrée')}, et celle-ci est la n° ${index}`;
    if (seal.day !== null && index < head.size && seal.day < day) return `selon ${part}, l’entrée ${index} est du ${frenchDay(seal.day)} ou d’avant`;
  }
  const gone = seals.filter(({ head }) => index < head.keptFrom), listed = gone.find(({ known }) => !known);
  return listed && !gone.some((one) => couldBePurged(one, day)) ? `${listed.part} la dit purgée, alors que son jour ne pouvait pas l’être` : '';
}

/** The seal that declares lost what a receipt is about; undefined if none does. */
const lossOf = ({ index, recorded_at: recordedAt }, seals) => seals.find(({ seal }) => seal.recoveredFrom !== null && recordedAt < precise(seal.sealedAt)
  && index >= seals.reduce((most, { seal: { number }, head: { size } }) => number <= seal.recoveredFrom ? Math.max(most, size) : most, 0));

/** What becomes of a receipt in what is shown, by origin; nothing shown: it is authentic. */
function judgeReceipt(receipt, shown) {
  const { index, origin, part, recorded_at: recordedAt } = receipt, chain = shown.get(origin), day = dayOf(recordedAt);
  const say = (verdict, reason) => ({ receipt, part, verdict, reason });
  if (!shown.size) return say('authentic', `${visible(receipt.signer)} répond de sa clé ; aucun extrait n’a été fourni pour y chercher l’entrée ${index} de ${origin}`);
  if (!chain) return say('foreign', `il est de ${origin}, dont rien n’est montré ici`);
  if (!chain.seals.every(({ signature }) => mayBeBeside(receipt.vouched, signature)))
    return say('foreign', `${visible(organisationText(receipt.vouched.organisation))} répond de sa clé, et non de ce qui est montré`);
  const against = contradiction(receipt, chain), { seals, entries } = chain;
  const loss = against ? lossOf(receipt, seals) : null;
  if (loss) return say('declared lost', `${loss.part} déclare un sinistre qui peut l’avoir perdue ; demandez quand et pourquoi`);
  if (against) return say('missing', `le service a accusé réception de ce qu’il ne montre pas : ${against}`);
  if (entries.has(index) && entries.get(index)) return say('covered', `l’entrée ${index} est là, avec ses empreintes`);
  const seal = seals.find((one) => index < one.head.keptFrom && couldBePurged(one, day));
  if (seal) return say('purged', `le ${frenchDay(day)} est purgé selon la règle qu’énonce ${seal.part}`);
  const held = seals.filter(({ head }) => head.size > index), met = held.find(({ head }) => head.size === index + 1);
  if (met) return say('covered', `l’empreinte de chaîne de ${met.part} est la sienne`);
  return held.length ? say('not shown', `sa place est scellée : demandez un extrait du ${frenchDay(day)}`)
    : say('not yet sealed', 'aucun sceau montré n’a été fait après son enregistrement');
}

/** Known seals of {name, source} alone, verified: by origin, what receipts are held against. */
async function readShown(known, trust) {
  const byOrigin = new Map();
  for (const file of known) {
    const { name, origin, seals } = await readKnown(file);
    for (const one of seals) byOrigin.set(origin, [...byOrigin.get(origin) ?? [], await verifySeal(one, parseOrigin(origin), trust, name)]);
  }
  return new Map([...byOrigin].map(([origin, seals]) => {
    const lost = checkHistory([], seals);
    return [origin, { seals: seals.filter((one) => !lost.includes(one)), entries: new Map() }];
  }));
}

/** Judge receipts without an extract. */
async function judgeBySeals(receipts, known, trust) {
  const shown = await readShown(known, trust);
  return receipts.map((receipt) => judgeReceipt(receipt, shown));
}
