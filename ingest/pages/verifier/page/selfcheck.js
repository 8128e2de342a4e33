// The self-check as a report to print, with room for what the chief answers and signs.

const ROOM = 'Justification';
/** Of each kind of indication: its title, when it is one, what often explains it, and its columns. */
const KINDS_OF_INDICATION = {
  hours: {
    name: 'Consultations en dehors des heures de service', rule: ({ opens, closes, weekends, publicHolidays, alsaceMoselle }) =>
      `Consultations avant ${opens} ou à partir de ${closes}${weekends ? ', les samedis et dimanches' : ''}${publicHolidays ? `, les jours fériés${alsaceMoselle ? ' (Alsace et Moselle comprises)' : ''}` : ''} ; une ligne par agent et par jour. Un service de nuit, une astreinte ou une intervention en sont des raisons fréquentes.`,
    night: ({ opens, closes }) => `Consultations hors de ${opens} à ${closes} le lendemain`,
    heads: ['Agent', 'Jour', 'De … à', 'Nombre', 'Fiches'],
  },
  denials: {
    name: 'Accès refusés par le logiciel', rule: ({ denied }) => `Agents qui ont au moins ${plural(denied, 'refus', 'refus')}, refus par refus. Une erreur de saisie ou un droit qui n’est pas à jour en sont des raisons fréquentes.`,
    heads: ['Agent', 'Survenu le', 'Fiche', 'Acte', 'Motif'],
  },
  repeated: {
    name: 'Même fiche, même agent', rule: ({ repeats }) => `Au moins ${repeats} consultations d’une même fiche par un même agent ; ce qui est inscrit au même instant compte une fois. Le suivi d’une affaire en est une raison fréquente.`,
    heads: ['Agent', 'Fiche', 'Nombre', 'Première et dernière', 'Motifs'],
  },
  bursts: {
    name: 'Beaucoup de consultations en peu de temps', rule: ({ burst, minutes }) => `Au moins ${burst} consultations d’un agent en ${plural(minutes, 'minute')} ; ce qui est inscrit au même instant compte une fois. Une relecture de la main courante ou un rapprochement en sont des raisons fréquentes.`,
    heads: ['Agent', 'Début', 'Fin', 'Nombre', 'Fiches'],
  },
  motives: {
    name: 'Consultations sans motif', rule: () => 'Agents qui ont consulté sans qu’un motif soit inscrit. Le logiciel ne le demande peut-être pas.',
    heads: ['Agent', 'Sans motif', 'Fiches', 'Première et dernière'],
  },
};

function asked() {
  const form = element('selfcheck-form').elements, values = {};
  for (const name of ['opens', 'closes', 'seed']) values[name] = form[name].value;
  for (const name of ['denied', 'repeats', 'burst', 'minutes', 'size']) values[name] = Number(form[name].value);
  for (const name of ['weekends', 'publicHolidays', 'alsaceMoselle']) values[name] = form[name].checked;
  return values;
}

function indications(kind, { total, lines }, thresholds) {
  const { name, rule, night, heads } = KINDS_OF_INDICATION[kind], { opens, closes } = thresholds;
  const said = night && opens > closes ? rule(thresholds).replace(`Consultations avant ${opens} ou à partir de ${closes}`, night(thresholds)) : rule(thresholds);
  const made = make('section', { className: 'indication' }, make('h3', { text: `${name} : ${total ? plural(total, 'ligne') : 'aucune indication'}` }), make('p', { className: 'soft', text: said }));
  if (total > lines.length) made.append(make('p', { text: `Seules les ${french(lines.length)} premières lignes sur ${french(total)} figurent ici : des seuils plus hauts en laissent moins.` }));
  if (total) made.append(listing(name, heads, lines, ROOM));
  return made;
}

function sampleSection({ total, lines }, { seed, size }) {
  const formula = 'Tirage : de chaque consultation, SHA-256 de la graine, de l’empreinte de l’extrait et du numéro de l’entrée, séparés par un saut de ligne (U+000A) ; sont tirées celles dont le résultat est le plus petit. Avec la même graine, chacun tire les mêmes.';
  const made = make('section', { className: 'indication' }, make('h3', { text: `Échantillon à faire justifier : ${french(lines.length)} sur ${plural(total, 'consultation')}` }),
    make('p', {}, 'Graine : ', make('code', {}, cell(seed)), size > total ? '. Il n’y a pas davantage de consultations.' : '.'), make('p', { className: 'soft', text: formula }));
  if (lines.length) made.append(listing('Consultations tirées au sort', ['N°', 'Agent', 'Survenue le', 'Fiche', 'Opération', 'Motif inscrit'], lines, ROOM));
  return made;
}

const signature = () => make('section', { className: 'signature' }, make('h3', { text: 'Observations et signature' }), make('p', { className: 'room', text: 'Observations du chef de service :' }),
  make('div', { className: 'pair' }, make('p', { text: 'Nom et fonction :' }), make('p', { text: 'Date :' }), make('p', { className: 'tall', text: 'Signature :' })));

element('selfcheck-form').addEventListener('submit', async (event) => {
  event.preventDefault();
  element('selfcheck-report').replaceChildren(make('p', { text: 'Calcul en cours…' }));
  const thresholds = asked(), found = await ask('selfCheck', thresholds), { facts } = reader.facets;
  const made = new Date().toLocaleString('fr-FR', { dateStyle: 'long', timeStyle: 'short', timeZone: 'Europe/Paris' });
  element('selfcheck-report').replaceChildren(
    make('h3', { text: `Relevé d’autocontrôle ${facts.days}` }),
    make('p', { text: `${plural(found.consultations, 'consultation')} de ${plural(found.agents, 'agent')}, parmi ${plural(found.entries, 'entrée communiquée', 'entrées communiquées')} ; heures de Paris. Établi le ${made}. Un refus n’est pas compté comme une consultation.` }),
    ...Object.keys(KINDS_OF_INDICATION).map((kind) => indications(kind, found[kind], thresholds)), sampleSection(found.sample, thresholds), signature());
  element('selfcheck-actions').hidden = false;
  element('selfcheck-report').focus();
});

onOpened.push(({ facts }) => {
  element('selfcheck-report').replaceChildren();
  element('selfcheck-actions').hidden = true;
  element('seed').value ||= [...crypto.getRandomValues(new Uint8Array(4))].map((byte) => byte.toString(16).padStart(2, '0')).join('');
  const other = facts.isSelfMonitoring ? '' : `Cet extrait a été demandé pour une autre finalité (${facts.purpose}). Pour un autocontrôle, demandez-en un avec la finalité « autocontrôle ». `;
  const part = facts.filter ? 'Cet extrait ne contient que les entrées d’un filtre : ce relevé ne porte que sur elles.' : '';
  element('selfcheck-purpose').textContent = other + part;
  element('selfcheck-purpose').hidden = !other && !part;
});
