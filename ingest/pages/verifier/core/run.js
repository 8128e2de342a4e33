// A run over files that were chosen, which always ends with a report.

const blobSource = (blob) => ({
  size: blob.size,
  read: async (from, to) => {
    try { return new Uint8Array(await blob.slice(from, to).arrayBuffer()); } catch {
      throw new Unusable('Le fichier a changé ou n’est plus lisible : choisissez-le de nouveau.');
    }
  },
});
const bytesSource = (bytes) => ({ size: bytes.length, read: async (from, to) => bytes.subarray(from, to) });

/** Verify files: {extract, trust, stampers, known, receipts}, lists but the first, which may be left out where there are
    receipts. Always answers with a report, never throws; with what was verified beside it, where an extract was and may
    be read. */
async function run({ extract, trust, stampers, known, receipts = [], ports = [] }, progress) {
  try {
    if (!globalThis.crypto?.subtle) throw new Unusable('Ce navigateur ne donne pas accès à la cryptographie ici : ouvrez cette page depuis votre disque, ou par HTTPS.');
    try { new DecompressionStream('deflate-raw'); } catch { throw new Unusable('Ce navigateur est trop ancien pour lire un extrait : mettez-le à jour, ou utilisez journal-verify.'); }
    const certificates = async (files) => readAnchors((await Promise.all(files.map((file) => file.text()))).join('\n'));
    const trusted = { anchors: await certificates(trust), stampers: stampers.length ? await certificates(stampers) : null };
    const named = (files) => files.map((file) => ({ name: file.name, source: blobSource(file) }));
    const answers = await readAllReceipts(named(receipts), trusted.anchors);
    if (!extract) {
      const judged = [...answers.judged, ...await judgeBySeals(answers.receipts, named(known), trusted)];
      return { report: tellReceipts({ outcome: 'verified', sentence: `${plural(judged.length, 'reçu')} ${judged.length < 2 ? 'vérifié' : 'vérifiés'}.` }, judged) };
    }
    const result = await verify(blobSource(extract), trusted, named(known), progress, answers.receipts, ports.map(helperAt));
    const report = receipts.length ? tellReceipts(tell(result), [...answers.judged, ...result.judged]) : tell(result);
    // What is refused is never shown, whatever it is refused for.
    return { report, verified: report.outcome === 'verified' || report.outcome === 'incomplete' ? result : null };
  } catch (failure) {
    if (failure instanceof Refusal) {
      const [label, meaning] = VERDICTS[failure.verdict];
      return { report: { outcome: 'refused', verdict: failure.verdict, label, meaning, part: failure.part, reason: failure.reason } };
    }
    return { report: { outcome: 'unusable', reason: failure instanceof Unusable ? failure.message : `La vérification n’a pas pu aboutir (${failure}).` } };
  }
}
