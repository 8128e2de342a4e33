// The files: chosen, dropped, verified by workers.

const KINDS = ['extract', 'trust', 'known', 'receipts', 'stampers'];
const chosen = { extract: [], trust: [], stampers: [], known: [], receipts: [] };
let helpers = [], verifier = null;

const say = (text) => { element('status').textContent = text; element('status').hidden = !text; };

function refresh() {
  for (const kind of KINDS) {
    const names = chosen[kind].map((file) => file.name).join(', ');
    element(`${kind}-name`).textContent = names;
    document.querySelector(`[data-file=${kind}]`).classList.toggle('full', names !== '');
  }
}

function stop() {
  for (const worker of [...helpers, ...verifier ? [verifier] : []]) worker.terminate();
  helpers = [];
  verifier = null;
  element('waiting').hidden = true;
  element('start').disabled = false;
}

/** Show nothing of what was verified before. */
function forget() {
  beginReading(null);
  for (const name of ['verdict', 'details']) element(name).replaceChildren();
  element('keys-card').open = true;
}

function start() {
  const missing = !chosen.extract.length && !chosen.receipts.length ? 'extract' : !chosen.trust.length ? 'trust' : null;
  if (missing) {
    say(missing === 'extract' ? 'Choisissez d’abord l’extrait à vérifier.' : 'Choisissez aussi le certificat de confiance.');
    element(missing).focus();
    element('status').scrollIntoView({ block: 'nearest' });
    return;
  }
  stop();
  forget();
  say('Vérification en cours.');
  element('bar').value = 0;
  element('percent').textContent = '';
  element('waiting').hidden = false;
  element('start').disabled = true;
  const names = KINDS.flatMap((kind) => chosen[kind].map((file) => file.name));
  const address = URL.createObjectURL(new Blob([element('core').textContent], { type: 'text/javascript' }));
  const finish = (report, isReadable = false) => {
    URL.revokeObjectURL(address);
    const worker = verifier;
    if (isReadable) verifier = null;
    stop();
    say('');
    show(report, names);
    if (isReadable) beginReading(worker);
  };
  const begin = () => {
    const worker = new Worker(address);
    worker.onerror = (event) => {
      event.preventDefault();
      if (worker === reader.worker) endReading(`La lecture s’est interrompue (${event.message}).`);
      else finish({ outcome: 'unusable', reason: `La vérification s’est interrompue (${event.message}).` });
    };
    return worker;
  };
  const worker = verifier = begin(), ports = [];
  // A small extract is verified before another worker would have begun.
  for (let count = (chosen.extract[0]?.size ?? 0) > 1e6 ? Math.min(8, navigator.hardwareConcurrency || 2) : 0; count > 0; count--) {
    const { port1, port2 } = new MessageChannel(), helper = begin();
    helpers.push(helper);
    helper.postMessage({ port: port1 }, [port1]);
    ports.push(port2);
  }
  worker.onmessage = ({ data }) => {
    if (data.report) finish(data.report, data.isReadable);
    else if (data.number) hear(data);
    else if (data.opened) open(data.opened);
    else if (data.unreadable) endReading(data.unreadable);
    else if (data.read !== undefined) tellReading(data.read);
    else {
      element('bar').value = data.done;
      element('percent').textContent = `${Math.floor(100 * data.done)} %`;
    }
  };
  worker.postMessage({ extract: chosen.extract[0], trust: chosen.trust, stampers: chosen.stampers, known: chosen.known, receipts: chosen.receipts, ports }, ports);
}

const kindOf = (file) => /\.(pem|crt|cer)$/i.test(file.name) ? (chosen.trust.length ? 'stampers' : 'trust') : /\.json$/i.test(file.name) || chosen.extract.length ? 'known' : 'extract';
function take(files, kind) {
  let isOther = false;
  for (const file of files) {
    if (/\.p7m$/i.test(file.name)) { takeHandover(file); continue; }
    const place = kind ?? kindOf(file);
    chosen[place] = place === 'extract' ? [file] : [...chosen[place], file];
    isOther = true;
  }
  // A verdict is of the files that it was made from: beside others it would be taken for theirs.
  const isUndone = isOther && (verifier !== null || element('verdict').childElementCount > 0);
  if (isOther) { stop(); forget(); }
  say(isUndone ? 'Les fichiers ont changé : appuyez sur « Vérifier » pour avoir leur verdict.' : '');
  refresh();
  // The files are seen there.
  choose('details');
}

for (const kind of KINDS)
  element(kind).addEventListener('change', ({ target }) => {
    chosen[kind] = [];
    take(target.files, kind);
    // Else a file that changed could not be chosen again under its name.
    target.value = '';
  });
element('form').addEventListener('submit', (event) => { event.preventDefault(); start(); });
element('form').addEventListener('reset', () => {
  stop();
  for (const kind of KINDS) chosen[kind] = [];
  forget();
  say('');
  refresh();
});
element('stop').addEventListener('click', () => { stop(); say('Vérification interrompue.'); element('start').focus(); });
const zoneOf = (event) => event.target.closest?.('[data-file]');
addEventListener('dragover', (event) => {
  event.preventDefault();
  for (const zone of document.querySelectorAll('[data-file]')) zone.classList.toggle('over', zone === zoneOf(event));
});
addEventListener('drop', (event) => {
  event.preventDefault();
  for (const zone of document.querySelectorAll('[data-file]')) zone.classList.remove('over');
  take(event.dataTransfer.files, zoneOf(event)?.dataset.file);
});
