// What a worker does: take files, tell progress ten times a second, answer with a report; then, of an extract that may be
// read, answer what is asked of its entries. Or check slices for another worker.

const READINGS = { facets, page, references, activity, who, csv, letter, selfCheck };

/** Tell at most ten times a second how far a work is. */
function teller(name) {
  let told = 0;
  return (done, total) => {
    const now = performance.now();
    if (now - told > 100) { told = now; postMessage({ [name]: Math.min(1, done / total) }); }
  };
}

let opened = null;
async function work(files) {
  const { report, verified } = await run(files, teller('done'));
  postMessage({ report, isReadable: Boolean(verified) });
  if (!verified) return;
  try {
    opened = await readRows(verified, teller('read'));
    postMessage({ opened: facets(opened) });
    prepare(opened, 0);
  } catch (failure) { postMessage({ unreadable: failure instanceof Unusable ? failure.message : `Les entrées n’ont pas pu être lues (${failure}).` }); }
}

/** Spell the columns for searches while nothing is asked, one after the other, so that the first search finds them so. */
function prepare(rows, place) {
  if (rows !== opened || place === rows.columns.length) return;
  rows.columns[place].folded;
  setTimeout(prepare, 0, rows, place + 1);
}

async function answer({ ask, about, number }) {
  try { postMessage({ number, value: await READINGS[ask](opened, about) }); } catch (failure) { postMessage({ number, failure: String(failure) }); }
}

function check({ port }) {
  port.onmessage = ({ data }) => port.postMessage(checkSlice(data));
}

if (globalThis.WorkerGlobalScope)
  globalThis.onmessage = ({ data }) => { (data.port ? check : data.ask ? answer : work)(data); };

globalThis.Verifier = { run, verify, checkSlice, tell, readAllReceipts, judgeBySeals, readAnchors, bytesSource, Refusal, readRows, visible, frenchCell, withParis, compartmentText, extractText, Unusable, makeKey, openKey, openHandover, PASSPHRASE_CHARACTERS, HANDOVER_LIMIT_BYTES, readings: READINGS, internals: { decode, parse, readRecord, readSeal, rootOf, genesisOf, sha256, Sha256, crc32, writeRow, readListed, verifySignature, verifyTimestamp, checkTree, spell, toHex, fromHex, holidays, busiest } };
