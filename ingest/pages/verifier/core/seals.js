// Seals and their tree (§8, §9).

const INTEGER_TEXT = '(?:0|[1-9]\\d{0,15})', HASH_TEXT = '[A-Za-z0-9+/]{43}=';
const SEAL = new RegExp(`^openepm-journal/seal/v1\\n([^\\n]+)\\n(${INTEGER_TEXT})\\n([^\\n]+)\\n(open|close ([^\\n]+))\\n`
  + `(${INTEGER_TEXT})\\n(${HASH_TEXT})\\n(${HASH_TEXT})\\n(${HASH_TEXT})\\n(?:recovered-from (${INTEGER_TEXT})\\n)?$`);
const SEAL_LIMIT_BYTES = 1024;

function readSeal(text, part) {
  const found = text.length <= SEAL_LIMIT_BYTES ? SEAL.exec(text) : null;
  if (!found) malformed(part, 'ce n’est pas le texte d’un sceau');
  const [, service, number, sealedAt, kind, day, chains, root, previous, previousClose, recoveredFrom] = found;
  const bytes = utf8(text);
  const seal = {
    service, number: +number, sealedAt, day: kind === 'open' ? null : parseDay(day), chains: +chains,
    root: fromBase64(root), previous: fromBase64(previous), previousClose: fromBase64(previousClose),
    recoveredFrom: recoveredFrom === undefined ? null : +recoveredFrom, text, digest: sha256(bytes), bytes,
  };
  const isFirst = equal(seal.previous ?? ZEROS, NOTHING_HASH);
  if (!isService(service) || !isSealTime(sealedAt) || kind !== 'open' && seal.day === null
    || ![seal.number, seal.chains, seal.recoveredFrom ?? 0].every(Number.isSafeInteger)
    || !seal.root || !seal.previous || !seal.previousClose || seal.number < 1
    || (seal.number === 1) !== isFirst || isFirst && !equal(seal.previousClose, NOTHING_HASH)
    || (seal.chains === 0) !== equal(seal.root, ZEROS)
    || seal.day !== null && seal.day >= dayOf(sealedAt)
    || seal.recoveredFrom !== null && (seal.recoveredFrom < 1 || seal.recoveredFrom >= seal.number))
    malformed(part, 'le texte d’un sceau se contredit ou est mal écrit');
  return seal;
}

function readHead(value, part) {
  expectMembers(value, part, ['chain_hash', 'kept_from', 'retention_days', 'size']);
  const head = { size: value.size, chainHash: hash(value.chain_hash, part), keptFrom: value.kept_from, retentionDays: value.retention_days };
  if (!isWhole(head.size) || !isWhole(head.keptFrom) || head.keptFrom > head.size
    || !isWhole(head.retentionDays) || head.retentionDays < 2 || head.retentionDays > 60)
    malformed(part, 'la tête d’une chaîne n’a pas de tels nombres');
  return head;
}

const readDer = (text, limit, part) => {
  const bytes = fromBase64(text);
  return bytes && bytes.length <= limit ? bytes : malformed(part, 'du DER en base64 est attendu');
};

/** A seal with the head and the path of one chain, as `seals.json` lists it or as `GET …/head` answers it. */
function readListed({ head, path, signature, text, timestamp }, part) {
  if (!Array.isArray(path) || path.length > 256) malformed(part, 'un chemin est attendu');
  if (typeof text !== 'string') malformed(part, 'le texte d’un sceau est attendu');
  const listed = {
    head: readHead(head, part), path: path.map((item) => hash(item, part)), seal: readSeal(text, part),
    signature: readDer(signature, SIGNATURE_LIMIT_BYTES, part),
    timestamp: timestamp === undefined ? null : readDer(timestamp, TIMESTAMP_LIMIT_BYTES, part),
  };
  if (listed.path.length && equal(listed.path[listed.path.length - 1], ZEROS)) malformed(part, 'un chemin finit par le vide');
  return listed;
}

function readSeals(bytes, part) {
  const value = decode(bytes, part);
  expectMembers(value, part, ['seals']);
  if (!Array.isArray(value.seals) || !value.seals.length) malformed(part, 'une liste de sceaux est attendue');
  return value.seals.map((item) => {
    expectMembers(item, part, ['head', 'path', 'signature', 'text'], ['timestamp']);
    return readListed(item, part);
  });
}

const KNOWN_LIMIT_BYTES = 215808;
/** What `GET …/head` answered, in any spelling of JSON. */
function readAnswer(bytes, part) {
  if (bytes.length > KNOWN_LIMIT_BYTES) malformed(part, 'ce n’est ni une réponse de GET …/head, ni un extrait');
  const value = parse(bytes, part);
  expectMembers(value, part, ['head', 'origin', 'path', 'seal']);
  expectMembers(value.seal, part, ['signature', 'text'], ['timestamp']);
  if (!parseOrigin(value.origin)) malformed(part, 'une origine est attendue');
  return { origin: value.origin, seals: [readListed({ ...value.seal, head: value.head, path: value.path }, part)] };
}

const genesisOf = (origin) => sha256(GENESIS_TAG, utf8(origin));

function rootOf(origin, head, path) {
  const key = sha256(utf8(origin));
  const text = `${origin}\n${head.size}\n${toBase64(head.chainHash)}\n${head.keptFrom}\n${head.retentionDays}\n`;
  let node = sha256(TREE_LEAF_TAG, key, utf8(text));
  for (let depth = path.length - 1; depth >= 0; depth--)
    node = key[depth >> 3] & 0x80 >> (depth & 7) ? sha256(TREE_NODE_TAG, path[depth], node) : sha256(TREE_NODE_TAG, node, path[depth]);
  return node;
}

/** One seal by itself (§12.1, 2). `trust` is {anchors, stampers, signer}: without stampers no time-stamp is checked;
    `signer` is the extract's signature. */
async function verifySeal(listed, { origin, service }, trust, place, seenAt = null) {
  const { seal, head, path, timestamp } = listed, part = `${place} seal ${seal.number}`;
  if (seal.service !== service) mismatched(part, `le sceau est d’un autre service (${seal.service})`);
  if (seal.day === null && timestamp) malformed(part, 'un sceau ouvert ne porte pas d’horodatage');
  const stamp = timestamp && trust.stampers
    ? await verifyTimestamp(timestamp, seal.digest, trust.stampers, seal.sealedAt, seenAt, `${part} time-stamp`) : null;
  const signature = await verifySignature(listed.signature, seal.digest, trust.anchors, part, stamp?.at);
  checkService(signature, service, part);
  if (trust.signer) checkSameSigner(signature, trust.signer, part);
  if (signature.time !== seal.sealedAt) mismatched(part, 'le sceau a été signé à un autre moment qu’il ne dit');
  if (!equal(rootOf(origin, head, path), seal.root)) brokenChain(part, 'la tête de la chaîne et son chemin ne mènent pas à la racine scellée');
  return { ...listed, origin, part, signature, stamp, known: place !== 'seals.json' };
}

/** All seals as one history: nothing goes back, links hold (§12.1, 3). Known seals that a seal declares lost are of
    another, and returned (§12.3). */
function checkHistory(listed, known) {
  const every = [...listed, ...known];
  const losses = every.filter(({ seal }) => seal.recoveredFrom !== null);
  const lost = known.filter((one) => losses.some(({ seal }) =>
    one.seal.number > seal.recoveredFrom && one.seal.sealedAt < seal.sealedAt
      && (one.seal.recoveredFrom !== seal.recoveredFrom || one.seal.number >= seal.number)));
  const texts = new Set(), sorted = every
    .filter((one) => !lost.includes(one) && !texts.has(one.seal.text) && texts.add(one.seal.text))
    .sort((left, right) => left.seal.number - right.seal.number);
  sorted.slice(1).forEach((later, place) => {
    checkPair(sorted[place], later);
    checkLink(sorted[place], later);
  });
  checkCloseLinks(sorted);
  for (const { head, origin, part } of sorted)
    if (head.size === 0 && !equal(head.chainHash, genesisOf(origin))) brokenChain(part, 'la chaîne vide n’a pas son empreinte d’origine');
  return lost;
}
const fork = (earlier, later, reason) => refuse('fork', `${earlier.part}, ${later.part}`, reason);

function checkPair(earlier, later) {
  const [one, other] = [earlier.seal, later.seal];
  if (one.number === other.number) fork(earlier, later, 'deux sceaux sous un même numéro');
  if (other.sealedAt < one.sealedAt) fork(earlier, later, 'le temps recule d’un sceau au suivant');
  if (other.chains < one.chains) fork(earlier, later, 'des chaînes disparaissent');
  const [before, after] = [earlier.head, later.head];
  if (after.size < before.size) fork(earlier, later, 'la chaîne est plus courte dans le second');
  if (after.size === before.size && !equal(after.chainHash, before.chainHash)) fork(earlier, later, `deux empreintes de chaîne à la taille ${after.size}`);
  if (after.keptFrom < before.keptFrom) fork(earlier, later, 'ce qui était purgé dans le premier ne l’est plus dans le second');
}

const broken = (one, later, reason) =>
  one.known || later.known ? fork(one, later, reason) : brokenChain(`${one.part}, ${later.part}`, reason);

/** A seal names the one before it, and the same close seal that leads to. */
function checkLink(earlier, later) {
  if (earlier.seal.number !== later.seal.number - 1) return;
  const close = earlier.seal.day === null ? earlier.seal.previousClose : earlier.seal.digest;
  if (!equal(later.seal.previous, earlier.seal.digest)) broken(earlier, later, 'le second suit le premier et ne le nomme pas');
  if (!equal(later.seal.previousClose, close)) broken(earlier, later, 'le second suit le premier et ne nomme pas la même clôture');
}

/** A seal names the close seal of its eve, and never one older than the latest listed before it. */
function checkCloseLinks(sorted) {
  const older = new Set([toHex(NOTHING_HASH)]);
  let close = null;
  for (const later of sorted) {
    const { seal } = later;
    if (close) {
      if (seal.day !== null && seal.day <= close.seal.day) fork(close, later, `le ${formatDay(seal.day)} est clos après le ${formatDay(close.seal.day)}`);
      const eve = (seal.day ?? dayOf(seal.sealedAt)) - 1;
      if (close.seal.day >= eve && !equal(seal.previousClose, close.seal.digest)) broken(close, later, 'le second ne nomme pas la clôture de la veille');
      if (older.has(toHex(seal.previousClose))) broken(close, later, 'le second nomme une clôture plus ancienne que le premier');
    }
    if (seal.day === null) continue;
    if (close) older.add(toHex(close.seal.digest));
    close = later;
  }
}
