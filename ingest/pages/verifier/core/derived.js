// What is a function of something else (§11).

const MIME_TYPES = {
  [ENTRIES]: 'application/x-ndjson', [PROOF]: 'application/x-ndjson', [SEALS]: 'application/json', [MANIFEST]: 'application/json',
  [TABLE]: 'text/csv', [DOCUMENT]: 'application/pdf', [INSTRUCTIONS]: 'text/plain',
};
/** ASiCManifest.xml of these digests, [name, base64] each. */
const writeDigests = (digests) => `<?xml version="1.0" encoding="UTF-8"?>
<asic:ASiCManifest xmlns:asic="http://uri.etsi.org/02918/v1.2.1#" xmlns:ds="http://www.w3.org/2000/09/xmldsig#">
  <asic:SigReference MimeType="application/pkcs7-signature" URI="META-INF/signature.p7s"/>
${digests.map(([name, digest]) => `  <asic:DataObjectReference MimeType="${MIME_TYPES[name]}" URI="${name}">
    <ds:DigestMethod Algorithm="http://www.w3.org/2001/04/xmlenc#sha256"/>
    <ds:DigestValue>${digest}</ds:DigestValue>
  </asic:DataObjectReference>
`).join('')}</asic:ASiCManifest>
`;
function readDigests(bytes, names) {
  const found = [...latin1(bytes).matchAll(/<ds:DigestValue>([^<]*)<\/ds:DigestValue>/g)].map(([, digest]) => digest);
  const digests = names.map((name, place) => [name, found[place] ?? '']);
  if (!equal(utf8(writeDigests(digests)), bytes)) malformed(DIGESTS, 'ce n’est pas le texte attendu');
  return new Map(digests.map(([name, digest]) => {
    const value = fromBase64(digest);
    return [name, value?.length === 32 ? value : malformed(DIGESTS, 'ce n’est pas une empreinte')];
  }));
}

const writeInstructions = (manifest) => `Extrait du journal des accès ${manifest.origin.origin}
Jours entiers (UTC) du ${formatDay(manifest.from)} au ${formatDay(manifest.to)}, établi le ${manifest.issuedAt}

Conservez ce fichier tel quel : c'est un conteneur ASiC-E signé ; modifié, même recompressé, il ne vaut rien.
entries.ndjson contient les entrées, extrait.csv les mêmes pour un tableur ; proof.ndjson et seals.json en sont la preuve.

1. Obtenez le certificat de confiance (trust.pem) par une autre voie que cet extrait.
2. Vérifiez tout, hors ligne (signatures, sceaux, chaîne, lacunes, durées de conservation) :
     journal-verify FICHIER --trust trust.pem
3. Ou, sans notre logiciel, après décompression, la signature :
     openssl cms -verify -binary -inform DER -in META-INF/signature.p7s \\
       -content META-INF/ASiCManifest.xml -CAfile trust.pem -purpose any -attime ${secondsSince1970(manifest.issuedAt)} -out /dev/null
   puis l'empreinte de chaque fichier, à comparer avec celle que donne META-INF/ASiCManifest.xml :
     for f in *.*; do echo "$f $(openssl dgst -sha256 -binary "$f" | openssl base64)"; done
`;

/* The table. Cells are made safe: what hides or reorders is shown, and no cell begins a formula, a number or a date. */
const COLUMNS = [
  'n°', 'survenu le (heure de Paris)', 'survenu le (UTC)', 'enregistré le (UTC)', 'action', 'opération', 'nombre', 'résultat',
  'compte', 'nom', 'rôle et unité', 'objet', 'motif', 'destinataires', 'champs', 'poste', 'événement', 'détails',
];
const ACTIONS = new Map(Object.entries({
  access: 'accès', consultation: 'consultation', collection: 'collecte', modification: 'modification',
  disclosure: 'communication', combination: 'interconnexion', erasure: 'effacement', 'service.extract': 'demande d\'extrait',
  'service.purge': 'purge', 'service.credential': 'jeton d\'accès', 'service.setting': 'réglage', 'service.tenant': 'commune',
  'service.alarm': 'alarme', 'service.person': 'personne',
}));
const OPERATIONS = new Map(Object.entries({
  login: 'connexion', logout: 'déconnexion', 'login-failed': 'connexion refusée', search: 'recherche', list: 'liste',
  view: 'affichage', history: 'historique', attachment: 'pièce jointe', print: 'impression', export: 'export',
  statistics: 'statistiques', create: 'création', import: 'import', copy: 'copie', update: 'mise à jour',
  attach: 'ajout de pièce jointe', link: 'rattachement', assign: 'attribution', validate: 'validation', reject: 'renvoi',
  sign: 'signature', close: 'clôture', reopen: 'réouverture', archive: 'archivage', restore: 'restauration',
  delete: 'suppression', rights: 'droits', password: 'mot de passe', lock: 'verrouillage', unlock: 'déverrouillage',
  transmit: 'transmission',
}));
const OUTCOMES = new Map(Object.entries({
  success: 'succès', denied: 'refusé', failure: 'échec',
}));
const PURPOSE_WORDS = new Map(Object.entries({
  lawfulness: 'vérification de la licéité du traitement', 'self-monitoring': 'autocontrôle',
  'integrity-security': 'intégrité et sécurité des données', 'criminal-proceedings': 'procédure pénale',
}));
const CHANGES = new Map(Object.entries({
  added: 'ajout', 'not added': 'ajout abandonné', revoked: 'révocation', rotated: 'remplacement',
  'category added': 'ajout d\'une catégorie', 'category changed': 'changement d\'une catégorie', closed: 'fin de contrat',
  'export begun': 'début de l\'export', exported: 'export remis', 'export waived': 'renoncement à l\'export',
  destroyed: 'destruction', 'hand-over certificate registered': 'certificat de remise enregistré',
  'hand-over ended': 'fin des remises', 'attestation made': 'attestation établie', 'key copied': 'copie de la clé',
  'confirmed after a restore': 'confirmation après une restauration', invited: 'invitation',
  'invitation accepted': 'invitation acceptée', 'signed in': 'connexion', 'sign-in refused': 'connexion refusée',
  'hand-over confirmed': 'remise ouverte par la commune', 'document made': 'document établi',
  'preservation asked': 'conservation demandée',
  continued: 'suite d\'un autre journal', moved: 'départ vers un autre service',
}));
const ALARMS = new Map(Object.entries({
  'chain not sealed': 'chaîne non scellée', 'declared loss': 'perte déclarée', 'numbers lost': 'numéros déclarés perdus',
  'signer learned': 'mémoire du signataire refaite', 'future seal accepted': 'sceau postdaté accepté',
  'hand-over not of this service removed': 'remise étrangère au service retirée',
  'lapse not of this service removed': 'abandon étranger au service retiré',
}));
const ROLES = new Map(Object.entries({
  module: 'module', client: 'client', auditor: 'auditeur', operator: 'exploitant', referent: 'référent', reader: 'lecteur',
}));
/* Members without a column, in the order in which they are told. */
const MEMBERS = new Map(Object.entries({
  act: 'acte', change: 'changement', alarm: 'alarme', what: 'concerne', from: 'du', to: 'au', day: 'jour', days: 'jours',
  reference: 'référence', authorisation: 'autorisation', filter: 'filtre', account: 'compte', subject: 'objet',
  action: 'action', occurred_from: 'accès à partir du', occurred_to: 'accès jusqu\'au', withhold: 'sans contenu', tenant: 'commune', category: 'catégorie', categories: 'catégories', name: 'nom',
  label: 'libellé', role: 'rôle', credential: 'jeton d\'accès', successor: 'remplacé par', expires_at: 'expire le',
  not_after: 'valable jusqu\'au', certificate_sha256: 'empreinte du certificat', recipient: 'empreinte du destinataire',
  sha256: 'empreinte', export: 'export', inventory: 'inventaire', report: 'rapport', count: 'nombre', first_index: 'première',
  last_index: 'dernière', entries: 'entrées', chains: 'chaînes', seal: 'sceau', seal_before: 'sceau avant',
  seal_after: 'sceau après', recovered_from: 'dernier sceau gardé', regime: 'régime',
  retention_days: 'durée de conservation en jours', retention_days_before: 'durée précédente',
  effective_from: 'en vigueur le', needs_authorisation: 'autorisation exigée', basis: 'fondement', instruction: 'instruction',
  fact: 'fait', is_there: 'présent', more: 'autres', until: 'jusqu\'au', detail: 'précision', source: 'source', minutes: 'minutes',
  first_number: 'premier numéro', last_number: 'dernier numéro', sequence: 'séquence', epoch: 'époque',
  traceparent: 'trace', tracestate: 'état de la trace', person: 'personne', function: 'fonction', issuer: 'émise par',
  date: 'le', operator: 'opérateur',
}));
const NO_CODES = new Map();
const CODES = new Map(Object.entries({ action: ACTIONS, alarm: ALARMS, change: CHANGES, outcome: OUTCOMES, purpose: PURPOSE_WORDS, role: ROLES }));
const DATE_WORDS = ('lundi lun mardi mar mercredi mer jeudi jeu vendredi ven samedi sam dimanche dim monday mon tuesday tue wednesday ' +
  'wed thursday thu friday fri saturday sat sunday sun ' +
  'janvier janv january jan février fevrier févr fevr fév fev february feb mars march mar avril avr april apr mai ' +
  'may juin june jun juillet juill juil july jul août aout aoû aou august aug septembre september sept sep octobre ' +
  'october oct novembre november nov décembre decembre december déc dec ').trim().split(' ');
/* In upper and lower case letter by letter: what a flag would call equal is not fixed. */
const anyCase = (words) => words.map((word) => [...word].map((letter) => `[${letter}${letter.toUpperCase()}]`).join('')).join('|');
const BLANK = ' \\xa0\\u1680\\u2000-\\u200a\\u202f\\u205f\\u3000', SIGN = '[=+\\-@\\u2212\\ufe62\\ufe63\\ufe66\\ufe6b\\uff0b\\uff0d\\uff1d\\uff20]';
const TYPE_PREFIX = 'fr.openepm.journal.';
const HIDDEN = /[\0-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\u{e0000}-\u{e0fff}]/gu;
const WITHIN = new RegExp(`([,;|])(?=[${BLANK}"']*${SIGN})`, 'g');
const GUARDED = new RegExp(`^(?:'|[${BLANK}"']*${SIGN}|[${BLANK}"'.,(%€$£¥]*(?:[#0-9\\uff10-\\uff19]` +
  `|(?:(?:${anyCase(DATE_WORDS)})[${BLANK}.,/"'-]*){1,2}[0-9\\uff10-\\uff19]|(?:${anyCase(['true', 'false', 'vrai', 'faux'])})[${BLANK}"']*$))`);
const shown = (character) => {
  const code = character.codePointAt(0);
  return code < 0x20 ? String.fromCharCode(0x2400 + code) : code === 0x7f ? '\u2421' : `⟦U+${code.toString(16).toUpperCase().padStart(4, '0')}⟧`;
};
const PLAIN = /^[^\0- "'(,;|=+\-@.%$#0-9\x7f-\uffff][^\0-\x1f",;|\x7f-\xa0\xad\u0250-\uffff]*$/;
const safe = (text) => {
  if (text === '') return text;
  if (PLAIN.test(text)) return GUARDED.test(text) ? `'${text}` : text;
  const visible = text.replace(HIDDEN, shown);
  return (GUARDED.test(visible) || /^[\0\t\r\n]/.test(text) ? "'" : '') + visible.replace(WITHIN, "$1'").replaceAll('"', '""');
};
const wordOf = (words, code) => words.get(code) ?? code;
const say = (value) =>
  value === undefined ? '' : typeof value === 'string' ? value : value === true ? 'oui' : value === false ? 'non'
    : typeof value === 'number' ? String(value) : Array.isArray(value) ? value.map(say).join(', ') : `(${sayMembers(value)})`;
/** Members with their names, in the order of the words, then of the names. */
function sayMembers(members) {
  const known = [...MEMBERS.keys()].filter((name) => Object.hasOwn(members, name));
  const others = Object.keys(members).filter((name) => !MEMBERS.has(name)).sort();
  return [...known, ...others].map((name) => `${wordOf(MEMBERS, name)} : ${wordOf(CODES.get(name) ?? NO_CODES, say(members[name]))}`).join(' ; ');
}
const actionOf = (event) => event.type.startsWith(TYPE_PREFIX) ? event.type.slice(TYPE_PREFIX.length) : event.type;
const together = (...texts) => texts.filter((text) => text !== '').join(', ');
const TABLE_HEADER = `\ufeff"${COLUMNS.join('";"')}"\r\n`;

/** An hour of UTC in Paris: two hours ahead from the last Sunday of March to that of October, 01:00 UTC both, else one. */
const parisHours = new Map();
function parisHour(hour) {
  const changeOf = (month) => {
    const last = new Date(`${hour.slice(0, 4)}-${month}-31T01:00:00Z`);
    return last.setUTCDate(31 - last.getUTCDay());
  };
  const moment = Date.parse(`${hour}:00:00Z`), ends = changeOf('10');
  const local = new Date(moment + (moment >= changeOf('03') && moment < ends ? 2 : 1) * 3600e3).toISOString();
  return local.startsWith('+') ? '' : `${local.slice(0, 10)} à ${local.slice(11, 13)}${moment === ends ? 'bis' : ''}`;
}
function parisTime(text) {
  const hour = text.slice(0, 13);
  if (!parisHours.has(hour)) {
    if (parisHours.size > 4096) parisHours.clear();
    parisHours.set(hour, parisHour(hour));
  }
  return parisHours.get(hour) && parisHours.get(hour) + text.slice(13, 19);
}

/** What no column shows of an object. */
const restOf = (value, columns) => Object.fromEntries(Object.entries(value).filter(([name]) => !columns.includes(name)));
const EVENT_COLUMNS = ['data', 'datacontenttype', 'id', 'source', 'specversion', 'subject', 'time', 'type'];
const DATA_COLUMNS = ['actor', 'client', 'count', 'fields', 'justification', 'operation', 'outcome', 'purpose', 'reason', 'recipients', 'requester'];
function detailsOf(event) {
  const rest = restOf(event, EVENT_COLUMNS), { data } = event;
  if (!isObject(data)) return sayMembers(data === undefined ? rest : { ...rest, data });
  const ofData = restOf(data, DATA_COLUMNS);
  const put = (name, columns) => {
    const hidden = isObject(data[name]) ? restOf(data[name], columns) : data[name];
    if (hidden !== undefined && !(isObject(hidden) && Object.keys(hidden).length === 0)) ofData[name] = hidden;
  };
  put('actor', ['account', 'name', 'role', 'unit']);
  put('client', ['address', 'session', 'workstation']);
  return [sayMembers(rest), sayMembers(ofData)].filter((text) => text !== '').join(' ; ');
}
const memberOf = (value, name) => isObject(value) && Object.hasOwn(value, name) ? value[name] : undefined;
/** An entry's cells, one for each column. */
function cellsOf({ index, recorded_at: recordedAt, submitted_by: submittedBy, event }) {
  const { data } = event, actor = memberOf(data, 'actor'), client = memberOf(data, 'client');
  const of = (value, name) => say(memberOf(value, name));
  const said = (value, ...names) => names.filter((name) => memberOf(value, name) !== undefined).map((name) => of(value, name)).join(', ');
  return [String(index), parisTime(event.time), event.time, recordedAt, wordOf(ACTIONS, actionOf(event)),
    wordOf(OPERATIONS, of(data, 'operation')), of(data, 'count'), wordOf(OUTCOMES, of(data, 'outcome')),
    of(actor, 'account'), together(of(actor, 'name'), of(data, 'requester')), said(actor, 'role', 'unit'), of(event, 'subject'),
    together(of(data, 'justification'), wordOf(PURPOSE_WORDS, of(data, 'purpose')), of(data, 'reason')), of(data, 'recipients'), of(data, 'fields'),
    said(client, 'workstation', 'address', 'session'), `${event.source} ${event.id}, transmis par ${submittedBy}`, detailsOf(event)];
}
/** A number as it is where a spreadsheet shows it so. */
const numberOf = (text) => /^(?:0|[1-9][0-9]{0,10})$/.test(text) ? text : safe(text);
const asIs = (text) => text;
/** How each column is made safe; times are in our own writing. */
const GUARDS = COLUMNS.map((_, place) => place === 0 || place === 6 ? numberOf : place < 4 ? asIs : safe);
function writeRow(record) {
  const cells = cellsOf(record);
  for (let place = 0; place < cells.length; place++) cells[place] = GUARDS[place](cells[place]);
  return `"${cells.join('";"')}"\r\n`;
}
