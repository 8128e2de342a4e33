// The self-check as a report to print, with room for what the chief answers and signs.

const ROOM = 'Justification';
/** Of each kind of indication: its title, when it is one, what often explains it, and its columns. */
const KINDS_OF_INDICATION = {
  hours: {
    name: 'Accès en dehors des heures de service', rule: ({ opens, closes, weekends, publicHolidays, alsaceMoselle, changes, exports, prints }) =>
      `Consultations${changes ? ', modifications' : ''}${exports ? ', exports' : ''}${prints ? ', impressions' : ''} ${opens > closes ? `hors de ${opens} à ${closes} le lendemain` : `avant ${opens} ou à partir de ${closes}`}${weekends ? ', les samedis et dimanches' : ''}${publicHolidays ? `, les jours fériés${alsaceMoselle ? ' (Alsace et Moselle comprises)' : ''}` : ''}, réussis ou non ; une ligne par agent, par jour et par raison. Les moments sont ceux des accès : entre deux, rien ne dit que l’agent était là. Un service de nuit, une astreinte ou une intervention en sont des raisons fréquentes.`,
    heads: ['Agent', 'Jour', 'Raison', 'Moments', 'Actes', 'Fiches', 'Résultat'],
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
  for (const name of ['opens', 'closes', 'seed', 'order', 'agent']) values[name] = form[name].value;
  for (const name of ['denied', 'repeats', 'burst', 'minutes', 'size']) values[name] = Number(form[name].value);
  for (const name of ['weekends', 'publicHolidays', 'alsaceMoselle', 'changes', 'exports', 'prints']) values[name] = form[name].checked;
  return values;
}

function indications(kind, { total, lines }, thresholds) {
  const { name, rule, heads } = KINDS_OF_INDICATION[kind];
  const made = make('section', { className: 'indication' }, make('h3', { text: `${name} : ${total ? plural(total, 'ligne') : 'aucune indication'}` }), make('p', { className: 'soft', text: rule(thresholds) }));
  if (total > lines.length) made.append(make('p', { text: `Seules les ${french(lines.length)} premières lignes sur ${french(total)} figurent ici : des seuils plus hauts, ou un seul agent, en laissent moins.` }));
  if (total) made.append(listing(name, heads, lines, ROOM));
  return made;
}

const SAMPLE = 'Consultations tirées au sort', SAMPLE_HEADS = ['Agent', 'N°', 'Survenue le', 'Fiche', 'Opération', 'Motif inscrit', 'Résultat'];
function sampleSection({ total, lines }, { seed, size }) {
  const formula = 'Tirage, parmi les consultations abouties : de chacune, SHA-256 de la graine, de l’origine de sa chaîne et du numéro de l’entrée, séparés par un saut de ligne (U+000A) ; sont tirées celles dont le résultat est le plus petit. Il ne dépend de rien d’autre : de deux extraits qui communiquent les mêmes consultations, la même graine tire les mêmes.';
  const made = make('section', { className: 'indication' }, make('h3', { text: `Échantillon à faire justifier : ${french(lines.length)} sur ${plural(total, 'consultation aboutie', 'consultations abouties')}` }),
    make('p', {}, 'Graine : ', make('code', {}, cell(seed)), ' ; origine : ', make('code', {}, cell(reader.facets.facts.origin)), size > total ? '. Il n’y a pas davantage de consultations.' : '.'), make('p', { className: 'soft', text: formula }));
  if (lines.length) made.append(listing(SAMPLE, SAMPLE_HEADS, lines, ROOM));
  return made;
}

const signature = (of, by) => make('section', { className: 'signature' }, make('h3', { text: `${of} et signature` }), make('p', { className: 'room', text: by }),
  make('div', { className: 'pair' }, make('p', { text: 'Nom et fonction :' }), make('p', { text: 'Date :' }), make('p', { className: 'tall', text: 'Signature :' })));

/** A sheet for each agent: what concerns that agent alone, with room to answer and sign. */
function sheets(found, title) {
  const tables = [...Object.entries(KINDS_OF_INDICATION).map(([kind, { name, heads }]) => [name, heads, found[kind].lines]), [SAMPLE, SAMPLE_HEADS, found.sample.lines]];
  const agents = new Map(tables.flatMap(([,, lines]) => lines).map(([agent]) => [agent[0] ?? '', agent]));
  return [...agents].sort(([one], [other]) => one.localeCompare(other, 'fr')).map(([account, agent]) => make('article', { className: 'sheet' },
    make('h3', {}, 'Feuille de ', cell(agent.length ? agent : 'sans compte')), make('p', { text: `${title} ; heures de Paris. Une indication n’est pas une accusation : elle demande une explication.` }),
    ...tables.map(([name, heads, lines]) => [name, heads, lines.filter(([one]) => (one[0] ?? '') === account).map((line) => line.slice(1))])
      .filter(([,, lines]) => lines.length).map(([name, heads, lines]) => make('section', { className: 'indication' }, make('h4', { text: name }), listing(name, heads.slice(1), lines, ROOM))),
    signature('Justification', 'Explications de l’agent :'), signature('Observations', 'Observations du chef de service :')));
}

/** What was counted: what succeeded; failures and refusals apart. */
function countedText({ consultations, agents, entries, failed, denied }, agent) {
  const apart = [failed ? plural(failed, 'échec') : '', denied ? plural(denied, 'refus', 'refus') : ''].filter(Boolean).join(' et ');
  return `${plural(consultations, 'consultation aboutie', 'consultations abouties')} de ${plural(agents, 'agent')}${apart ? ` ; à part, ${apart} de consultation` : ''} ; parmi ${plural(entries, 'entrée communiquée', 'entrées communiquées')}${agent ? `, celles de ${visible(agent)} seulement` : ''}.`;
}

element('selfcheck-form').addEventListener('submit', async (event) => {
  event.preventDefault();
  element('selfcheck-report').replaceChildren(make('p', { text: 'Calcul en cours…' }));
  const thresholds = asked(), found = await ask('selfCheck', thresholds), { facts } = reader.facets;
  const made = new Date().toLocaleString('fr-FR', { dateStyle: 'long', timeStyle: 'short', timeZone: 'Europe/Paris' }), title = `Relevé d’autocontrôle ${facts.days}`;
  element('selfcheck-report').replaceChildren(
    make('h3', { text: title }), make('p', { text: `${countedText(found, thresholds.agent)} Heures de Paris. Établi le ${made}.` }),
    ...Object.keys(KINDS_OF_INDICATION).map((kind) => indications(kind, found[kind], thresholds)), sampleSection(found.sample, thresholds), signature('Observations', 'Observations du chef de service :'));
  element('selfcheck-sheets').replaceChildren(...sheets(found, `${title}, établi le ${made}`));
  element('selfcheck-actions').hidden = false;
  element('sheets-print').hidden = !element('selfcheck-sheets').childElementCount;
  // To focus what is higher than the window would show its middle.
  element('selfcheck-report').focus({ preventScroll: true });
  element('selfcheck-actions').scrollIntoView();
});
element('sheets-print').addEventListener('click', () => { document.body.classList.add('sheets'); window.print(); });
addEventListener('afterprint', () => document.body.classList.remove('sheets'));

onOpened.push(({ facts, agents }) => {
  for (const name of ['selfcheck-report', 'selfcheck-sheets']) element(name).replaceChildren();
  element('selfcheck-actions').hidden = true;
  element('of-agent').replaceChildren(new Option('tous', ''), ...[...agents].sort((one, other) => one.localeCompare(other, 'fr')).map((text) => new Option(visible(text), text)));
  element('seed').value ||= [...crypto.getRandomValues(new Uint8Array(4))].map((byte) => byte.toString(16).padStart(2, '0')).join('');
  const other = facts.isSelfMonitoring ? '' : `Cet extrait a été demandé pour une autre finalité (${facts.purpose}). Pour un autocontrôle, demandez-en un avec la finalité « autocontrôle ». `;
  const part = facts.filter ? 'Cet extrait ne contient que les entrées d’un filtre : ce relevé ne porte que sur elles.' : '';
  element('selfcheck-purpose').textContent = other + part;
  element('selfcheck-purpose').hidden = !other && !part;
});
