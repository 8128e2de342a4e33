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

/** Refuse to judge a certificate that was chosen as an extract. */
async function expectExtract(file) {
  const head = latin1(await blobSource(file).read(0, 11));
  if (head === '-----BEGIN ' || /\.(pem|crt|cer)$/i.test(file.name))
    throw new Unusable(`Dans la case « L’extrait », vous avez mis un certificat (${file.name}). Mettez-le dans la case « Le certificat de confiance », et choisissez comme extrait le fichier dont le nom finit par .asice.`);
}

const SUMMED_BYTES = 2 ** 28;
/** The SHA-256 of files as they are, which sha256sum gives too; of one too large for this, none. */
async function sumsOf(files) {
  const sums = [];
  for (const file of files)
    if (file.size <= SUMMED_BYTES) sums.push([file.name, toHex(new Uint8Array(await crypto.subtle.digest('SHA-256', await blobSource(file).read(0, file.size))))]);
  return sums;
}

/** What is asked first where the trust that was chosen is not the one that certified the service. */
async function otherCertificate(trust) {
  const begins = readAnchors((await Promise.all(trust.map((file) => file.text()))).join('\n')).map(({ whole }) => `${fours(toHex(sha256(whole)).slice(0, 16))}…`);
  const [which, are] = begins.length > 1 ? ['Aucun des certificats choisis', 'n’est'] : ['Le certificat choisi', 'n’est pas'];
  return {
    hint: `${which} (SHA-256 ${begins.join(', ')}) ${are} celui de ce service : avez-vous pris le bon fichier ?`,
    advice: 'Sans le bon certificat, rien de ce que contient ce fichier n’est établi. Si c’est bien le certificat que l’hébergeur vous a donné, conservez le fichier tel quel et demandez-lui des explications.',
  };
}

/** Verify files: {extract, trust, stampers, known, receipts}, lists but the first, which may be left out where there are
    receipts. Always answers with a report, never throws; with what was verified beside it, where an extract was and may
    be read. */
async function run({ extract, trust, stampers, known, receipts = [], ports = [] }, progress) {
  try {
    if (!globalThis.crypto?.subtle) throw new Unusable('Ce navigateur ne donne pas accès à la cryptographie ici : ouvrez cette page depuis votre disque, ou par HTTPS.');
    try { new DecompressionStream('deflate-raw'); } catch { throw new Unusable('Ce navigateur est trop ancien pour lire un extrait : mettez-le à jour, ou utilisez journal-verify.'); }
    if (extract) await expectExtract(extract);
    const certificates = async (files) => readAnchors((await Promise.all(files.map((file) => file.text()))).join('\n'));
    const trusted = { anchors: await certificates(trust), stampers: stampers.length ? await certificates(stampers) : null };
    const named = (files) => files.map((file) => ({ name: file.name, source: blobSource(file) }));
    const answers = await readAllReceipts(named(receipts), trusted.anchors);
    if (!extract) {
      const judged = [...answers.judged, ...await judgeBySeals(answers.receipts, named(known), trusted)];
      return { report: tellReceipts({ outcome: 'verified', sentence: `${plural(judged.length, 'reçu')} ${judged.length < 2 ? 'vérifié' : 'vérifiés'}.` }, judged) };
    }
    const result = await verify(blobSource(extract), trusted, named(known), progress, answers.receipts, ports.map(helperAt));
    result.sums = await sumsOf([extract, ...trust]);
    const report = receipts.length ? tellReceipts(tell(result), [...answers.judged, ...result.judged]) : tell(result);
    // What is refused is never shown, whatever it is refused for.
    return { report, verified: report.outcome === 'verified' || report.outcome === 'incomplete' ? result : null };
  } catch (failure) {
    if (failure instanceof Refusal) {
      const [label, meaning] = VERDICTS[failure.verdict];
      return { report: { outcome: 'refused', verdict: failure.verdict, label, meaning, part: failure.part, reason: failure.reason, ...(failure.isOtherAnchor && failure.part === SIGNATURE ? await otherCertificate(trust) : {}) } };
    }
    return { report: { outcome: 'unusable', reason: failure instanceof Unusable ? failure.message : `La vérification n’a pas pu aboutir (${failure}).` } };
  }
}
