// The whole (§11).

/** Read what an auditor kept: an answer of `GET …/head`, or an older extract, of which all seals are taken. */
async function readKnown({ name, source }) {
  const within = async (step) => {
    try { return await step(); } catch (failure) {
      if (failure instanceof Refusal) throw new Refusal(failure.verdict, `${name} ${failure.part}`.trim(), failure.reason);
      throw failure;
    }
  };
  return within(async () => {
    const isContainer = source.size >= 4 && equal(await source.read(0, 4), Uint8Array.of(0x50, 0x4b, 3, 4));
    if (!isContainer) {
      if (source.size > KNOWN_LIMIT_BYTES) malformed('', 'ce n’est ni une réponse de GET …/head, ni un extrait');
      return { name, ...readAnswer(await source.read(0, source.size), '') };
    }
    const members = await openContainer(source), stored = async (part) => (await readStored(source, members.get(part), () => {})).bytes;
    const manifest = readManifest(await stored(MANIFEST), MANIFEST);
    return { name, origin: manifest.origin.origin, seals: readSeals(await stored(SEALS), SEALS) };
  });
}

/** Verify an extract. `trust` is {anchors, stampers}, certificates both, the latter null where there are none;
    `known` is of {name, source}; `receipts` are authentic ones; `helpers` check slices of the entries, where there are
    any. Throws a Refusal, or tells what holds. */
async function verify(source, trust, known = [], progress = () => {}, receipts = [], helpers = []) {
  let done = 0;
  const tick = (count) => progress(done += count, source.size);
  const files = [];
  for (const file of known) files.push(await readKnown(file));
  const [members, isRewritten] = await openExtract(source), stored = new Map(), streams = new Map();
  for (const [name, member] of members)
    if (!DEFLATED.includes(name)) stored.set(name, await readStored(source, member, tick));
  const bytesOf = (name) => stored.get(name).bytes;
  if (latin1(bytesOf(MIMETYPE)) !== CONTENT_TYPE) malformed(MIMETYPE, 'ce n’est pas le type d’un extrait');
  const names = SIGNED.filter((name) => members.has(name)), digests = readDigests(bytesOf(DIGESTS), names);
  const compareDigest = (name, digest) => { if (!equal(digest, digests.get(name))) mismatched(name, 'ce n’est pas la partie qui a été signée'); };
  for (const [name, { digest }] of stored) if (digests.has(name)) compareDigest(name, digest);
  const manifest = readManifest(bytesOf(MANIFEST), MANIFEST);
  const signature = await verifySignature(bytesOf(SIGNATURE), sha256(bytesOf(DIGESTS)), trust.anchors, SIGNATURE);
  checkService(signature, manifest.origin.service, SIGNATURE);
  if (signature.time < `${manifest.issuedAt.slice(0, 19)}Z`) mismatched(SIGNATURE, 'la signature est plus ancienne que l’extrait');
  try {
    const begin = () => { for (const name of DEFLATED) { streams.get(name)?.close(); streams.set(name, new Inflating(source, members.get(name), tick)); } };
    begin();
    let result, failure = null;
    const reopen = () => new Inflating(source, members.get(ENTRIES), () => {});
    try { result = await verifyContent({ ...manifest, signedAt: signature.time }, bytesOf, { ...trust, signer: signature }, files, streams, { begin, reopen }, receipts, helpers); } catch (reason) { failure = reason; }
    if (failure && !(failure instanceof Refusal)) throw failure;
    // Nothing is said of the content of members that are not the ones signed: they are read to their end first.
    for (const [name, stream] of streams) { await stream.drain(); compareDigest(name, stream.digest); }
    if (failure) throw failure;
    if (isRewritten) refuse('rewritten', '', 'toutes les parties sont authentiques, mais un autre programme les a empaquetées de nouveau, ou quelque chose a été écrit autour d’elles ; journal-verify --repair écrit l’extrait tel qu’il a été émis');
    return { ...result, signature, isStampChecked: trust.stampers !== null, hasDocument: members.has(DOCUMENT), fingerprint: toHex(sha256(bytesOf(DIGESTS))), manifestPrint: toHex(sha256(bytesOf(MANIFEST))), entries: { reopen, digest: digests.get(ENTRIES) } };
  } finally { for (const stream of streams.values()) stream.close(); }
}

/** Steps 2 to 6: the content of the members. */
async function verifyContent(manifest, bytesOf, trust, known, streams, { begin, reopen }, receipts, helpers) {
  const { origin } = manifest;
  const listed = [];
  for (const one of readSeals(bytesOf(SEALS), SEALS)) listed.push(await verifySeal(one, origin, trust, SEALS, manifest.issuedAt));
  checkHistory(listed, []);
  const period = checkPeriod(manifest, listed), kept = [];
  for (const { name, origin: other, seals } of known) {
    if (other !== origin.origin) mismatched(name, `ce sceau est d’une autre chaîne (${other})`);
    for (const one of seals) kept.push({ ...await verifySeal(one, origin, trust, name), file: name });
  }
  const lost = checkHistory(listed, kept);
  if (!equal(bytesOf(INSTRUCTIONS), utf8(writeInstructions(manifest)))) mismatched(INSTRUCTIONS, 'ce ne sont pas les instructions de cet extrait');
  const checkpoints = new Map(), comparable = [];
  for (const one of [...listed, ...kept.filter((seal) => !lost.includes(seal))]) {
    const { size } = one.head;
    if (size < manifest.base.size || size > manifest.head.size) continue;
    checkpoints.set(size, [...checkpoints.get(size) ?? [], one]);
    if (one.known) comparable.push(one);
  }
  const names = [], wanted = new Map(receipts.map(({ index }) => [index, null]));
  const isSwept = helpers.length > 0 && await sweep(manifest, period, checkpoints, streams, names, wanted, helpers).catch((failure) => {
    if (failure instanceof Refusal) return false;
    throw failure;
  });
  if (!isSwept) {
    if (helpers.length) begin();
    names.length = 0;
    await walk(manifest, period, checkpoints, streams, names, wanted);
  }
  const held = { seals: [...listed, ...kept.filter((seal) => !lost.includes(seal))], entries: wanted };
  const judged = receipts.map((receipt) => judgeReceipt(receipt, new Map([[origin.origin, held]])));
  return { manifest, listed, period, kept, lost, comparable, judged, repeated: await findRepeated(names, reopen) };
}
