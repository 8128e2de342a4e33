// The commune's key, and hand-overs opened with it: only in the file on a disk, never on a site that a host serves.

const PASSPHRASE_SHORT = `La phrase de passe est trop courte : au moins ${Verifier.PASSPHRASE_CHARACTERS} signes.`;
const OTHER_FAILURE = 'Cela n’a pas pu être fait dans ce navigateur ; mettez-le à jour, ou employez openssl.';
const handover = { file: null, key: null, extract: null, made: null };
const PRESERVED = /_conservation-[0-9TZ-]+\.asice\.p7m$/;
const isFile = location.protocol === 'file:';
element('keys-tools').hidden = !isFile;
element('keys-online').hidden = isFile;
Object.assign(element('keys-save'), { href: location.href, download: 'verifier.html' });

/** Do what a form asks for, once at a time, and say in its place what prevents it. */
async function attempt(button, said, begun, act) {
  element(button).disabled = true;
  element(said).classList.remove('warning');
  element(said).textContent = begun;
  try { element(said).textContent = await act() ?? ''; } catch (failure) {
    element(said).classList.add('warning');
    element(said).textContent = failure instanceof Verifier.Unusable ? failure.message : OTHER_FAILURE;
  }
  element(button).disabled = false;
}
const refuseInput = (id, text) => { element(id).focus(); throw new Verifier.Unusable(text); };

function takeHandover(file) {
  handover.file = file;
  element('handover-name').textContent = file.name;
  element('keys-card').open = element('handover-part').open = true;
  element('handover-opened').hidden = true;
}
element('handover').addEventListener('change', ({ target }) => { if (target.files.length) takeHandover(target.files[0]); target.value = ''; });
element('key').addEventListener('change', ({ target }) => {
  if (target.files.length) handover.key = target.files[0];
  element('key-name').textContent = handover.key?.name ?? '';
  target.value = '';
});

element('handover-form').addEventListener('submit', (event) => {
  event.preventDefault();
  element('handover-opened').hidden = true;
  attempt('handover-open', 'handover-said', 'Ouverture en cours.', async () => {
    if (!handover.file) refuseInput('handover', 'Choisissez d’abord la remise à ouvrir.');
    if (!handover.key) refuseInput('key', 'Choisissez aussi le fichier de la clé.');
    if (handover.file.size > Verifier.HANDOVER_LIMIT_BYTES) throw new Verifier.Unusable('Cette remise est trop grande pour un navigateur : ouvrez-la avec openssl.');
    const key = await Verifier.openKey(await handover.key.text(), element('passphrase').value);
    const { extract, code } = await Verifier.openHandover(new Uint8Array(await handover.file.arrayBuffer()), key);
    element('passphrase').value = '';
    handover.extract = new File([extract], handover.file.name.replace(/\.p7m$/i, ''));
    element('code').textContent = code.replace(/.{4}(?=.)/g, '$& ');
    // Such a file is no hand-over before a purge: neither the console nor the host takes its code.
    const isPreserved = PRESERVED.test(handover.file.name);
    element('handover-preserved').hidden = !isPreserved;
    element('handover-confirmed').hidden = isPreserved;
    element('handover-opened').hidden = false;
    take([handover.extract], 'extract');
    if (chosen.trust.length) start();
    return chosen.trust.length ? 'La remise est ouverte, et sa vérification a commencé.' : 'La remise est ouverte. Choisissez en haut de la page le certificat de confiance, puis « Vérifier ».';
  });
});
element('extract-save').addEventListener('click', () => save(handover.extract, handover.extract.name));

element('making-form').addEventListener('submit', (event) => {
  event.preventDefault();
  element('made').hidden = true;
  attempt('making-start', 'making-said', 'La clé se fait.', async () => {
    const commune = element('commune').value.trim(), passphrase = element('new-passphrase').value;
    if (!commune) refuseInput('commune', 'Écrivez le nom de la commune : il sera dans le certificat.');
    if ([...passphrase].length < Verifier.PASSPHRASE_CHARACTERS) refuseInput('new-passphrase', PASSPHRASE_SHORT);
    if (passphrase !== element('repeated').value) refuseInput('repeated', 'Les deux phrases de passe ne sont pas les mêmes : écrivez-les de nouveau.');
    handover.made = { ...await Verifier.makeKey(commune, passphrase), day: new Date().toISOString().slice(0, 10) };
    for (const id of ['new-passphrase', 'repeated']) element(id).value = '';
    element('fingerprint').textContent = handover.made.fingerprint.replace(/.{4}(?=.)/g, '$& ');
    element('made-until').textContent = `Le certificat est valable jusqu’au ${new Date(handover.made.until).toLocaleDateString('fr-FR', { dateStyle: 'long', timeZone: 'UTC' })}. Avant ce jour, faites une autre clé.`;
    element('made').hidden = false;
    return 'La clé est faite. Enregistrez les deux fichiers maintenant : en fermant cette page, elle serait perdue.';
  });
});
const saveMade = (text, name) => save(new Blob([text], { type: 'application/x-pem-file' }), `${name}-${handover.made.day}-${handover.made.named}.pem`);
element('kept-save').addEventListener('click', () => saveMade(handover.made.kept, 'cle-de-remise'));
element('sent-save').addEventListener('click', () => saveMade(handover.made.sent, 'certificat-de-remise'));
