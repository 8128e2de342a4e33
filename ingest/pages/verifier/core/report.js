// The report, in French.

const VERDICTS = {
  malformed: ['Malformé', 'Ce fichier n’est pas dans l’unique écriture que le format admet : il est abîmé, modifié, ou n’est pas un extrait.'],
  rewritten: ['Empaqueté de nouveau', 'Ce que contient ce fichier est authentique, mais ce n’est plus le fichier qui a été émis : un programme l’a ouvert et enregistré, ou l’a compressé de nouveau.'],
  'bad signature': ['Signature invalide', 'Une signature ne porte pas sur ces données, ou n’a pas été faite par cette clé.'],
  untrusted: ['Signataire non reconnu', 'La signature tient, mais son certificat ne mène à aucun de ceux auxquels vous faites confiance.'],
  'mismatched part': ['Parties discordantes', 'Deux parties de l’extrait qui devraient concorder ne concordent pas.'],
  'broken chain': ['Chaîne rompue', 'Une empreinte ne découle pas de la précédente : des entrées ont été changées.'],
  gap: ['Lacune', 'Il manque au moins une entrée à l’intérieur de l’extrait.'],
  'foreign entry': ['Entrée étrangère', 'L’extrait contient une entrée d’une autre chaîne, d’un autre jour ou d’une autre place.'],
  fork: ['Histoire divergente', 'Deux histoires différentes du même journal ont été montrées.'],
  'early deletion': ['Suppression prématurée', 'Des entrées ont disparu avant leur terme, ou sans que les sceaux le justifient.'],
  'over-retention': ['Conservation excessive', 'Des données étaient conservées au-delà de leur durée quand l’extrait a été établi.'],
  missing: ['Entrée manquante', 'Le service a accusé réception d’un événement qu’il ne montre pas : le reçu et ce qui est montré, ensemble, le prouvent.'],
  'not covered': ['Période non couverte', 'Les sceaux de l’extrait n’atteignent pas toute la période demandée.'],
};
const MONTHS = ['janvier', 'février', 'mars', 'avril', 'mai', 'juin', 'juillet', 'août', 'septembre', 'octobre', 'novembre', 'décembre'];
const frenchDay = (number) => {
  const [year, month, day] = formatDay(number).split('-').map(Number);
  return `${day === 1 ? '1er' : day} ${MONTHS[month - 1]} ${year}`;
};
const frenchTime = (text) => `${frenchDay(dayOf(text))} à ${text.slice(11, 19)} UTC`;
const plural = (count, one, many = `${one}s`) => `${count.toLocaleString('fr-FR')} ${count < 2 ? one : many}`;
const sealName = ({ seal }) => `sceau ${seal.number}, ${seal.day === null ? 'ouvert' : `clôture du ${frenchDay(seal.day)}`}, fait le ${frenchTime(seal.sealedAt)}`;
const frenchPeriod = (from, to) => {
  if (from === to) return `du ${frenchDay(from)}`;
  const [first, last] = [frenchDay(from).split(' '), frenchDay(to).split(' ')];
  const kept = first[2] !== last[2] ? 3 : first[1] !== last[1] ? 2 : 1;
  return `du ${first.slice(0, kept).join(' ')} au ${last.join(' ')}`;
};
/** A fingerprint by fours, as it is read on the telephone. */
const fours = (text) => text.replace(/.{4}(?=.)/g, '$& ');
const accuracyText = ({ accuracy }) => accuracy === null ? '' : ` (± ${(accuracy / 1e6).toLocaleString('fr-FR')} s)`;
const stampText = ({ stamp }) => `${frenchTime(stamp.at)}${accuracyText(stamp)}`;
const LATE_MICROSECONDS = 86400000000n;
/** Text of the extract, made harmless for the eye: controls and bidirectional characters are shown. */
const visible = (text) => text.replace(HIDDEN, shown);

const authorisationText = ({ issuer, date, reference }) => `${visible(issuer)}, ${frenchDay(parseDay(date))}, référence ${visible(reference)}`;

const filterText = ({ filter, withholdsAll }) => {
  if (withholdsAll) return 'aucune entrée n’est communiquée (preuve sans contenu)';
  const asked = Object.entries(filter)
    .map(([name, value]) => `${MEMBERS.get(name)} = « ${visible(wordOf(CODES.get(name) ?? NO_CODES, value))} »`);
  return asked.length ? asked.join(' et ') : 'aucun : toutes les entrées sont communiquées';
};

/** A result as plain texts: sentence, attestation by time-stamps, facts, checked, remarks, unanswered, unchecked. */
function tell(result) {
  const { manifest, listed, period, kept, lost, comparable, signature } = result;
  const { origin, from, to, base, head, disclosed, withheld } = manifest, total = disclosed + withheld;
  const days = frenchPeriod(from, to);
  const until = period.coveredUntil ? `, jusqu’au ${frenchTime(period.coveredUntil)}` : '';
  const lately = period.purged?.days.some(({ when }) => when === 'late') ? ' ; des jours ont été purgés en retard' : '';
  const still = period.purged ? ' encore conservées' : '';
  const stamped = listed.filter(({ stamp }) => stamp), attested = stamped[stamped.length - 1];
  const attestation = attested ? `Ce que couvre le sceau ${attested.seal.number} n’a pas pu être réécrit après le ${stampText(attested)}.` : '';
  const sentence = withheld === 0 && !manifest.withholdsAll && !Object.keys(manifest.filter).length
    ? `Authentique et complet : ${total === 0 ? `aucune entrée${period.purged ? ' n’est encore conservée pour la période' : ''}` : `toutes les entrées${still} (${total.toLocaleString('fr-FR')})`} ${days}${until}${lately}.`
    : `Authentique : ${plural(disclosed, 'entrée communiquée', 'entrées communiquées')} ${days}${until}, ${plural(withheld, 'non communiquée')}, aucune manquante${period.purged ? ' parmi celles encore conservées' : ''}${lately}.`;
  const last = listed[listed.length - 1];
  const facts = [
    ['Code de la commune', origin.tenant], ['Code de la catégorie', origin.category], ['Service', origin.service],
    ['Période', `${days}, jours entiers UTC${until}`],
    ['Entrées', `${plural(disclosed, 'communiquée')}, ${plural(withheld, 'non communiquée')}${total ? ` (n° ${base.size} à ${head.size - 1})` : ''}`],
    ['Filtre', filterText(manifest)], ['Demandeur', visible(manifest.requester)],
    ['Finalité', `${PURPOSE_WORDS.get(manifest.purpose)}`],
    ...(manifest.person ? [['Demandé par', `${visible(manifest.person.name)}, ${visible(manifest.person.function)}`]] : []),
    ...(manifest.authorisation ? [['Autorisation', authorisationText(manifest.authorisation)]] : []),
    ['Demande', `entrée ${manifest.request.index} de la catégorie journal${manifest.request.reference ? `, référence ${visible(manifest.request.reference)}` : ''}`],
    ['Établi', `le ${frenchTime(manifest.issuedAt)}, par ${visible(manifest.software)}`],
    ['Signé par', `${visible(signature.subject)}, certifié par ${visible(signature.issuer)}`],
    ...(signature.organisation ? [['Cachet de', visible(organisationText(signature.organisation))]] : []),
    ['Certificat de confiance', `${visible(signature.anchor.subject)} ; empreinte du certificat (SHA-256), telle que la donnent l’hébergeur et son bureau : ${fours(signature.anchor.fingerprint)}. Comparez-la à celle que l’on vous a donnée`],
    ['Date de signature', `${frenchTime(signature.time)}, déclarée par le signataire`],
    ['Certificat', `n° ${signature.serial}, valable du ${frenchDay(dayOf(signature.begin))} au ${frenchDay(dayOf(signature.end))}`],
    ['Sceaux', `${plural(listed.length, 'sceau', 'sceaux')}, du n° ${listed[0].seal.number} au n° ${last.seal.number}`],
    ...(result.sums ?? []).map(([name, sum]) => ['Empreinte du fichier', `${visible(name)} : ${fours(sum)} (SHA-256 du fichier, celui de sha256sum)`]),
    ['Empreinte du manifeste', `${fours(result.manifestPrint)} (SHA-256 de ${MANIFEST}, celui d’extrait.pdf)`],
    ['Empreinte de ce qui est signé', `${fours(result.fingerprint)} (SHA-256 de ${DIGESTS}, celui de ce que cette page imprime)`],
  ];
  const checked = [
    `Les parties sont entières et signées par ${visible(signature.subject)}, certifié par ${visible(signature.issuer)}.`,
    `Le certificat mène à celui que vous tenez pour sûr : ${visible(signature.anchor.subject)}, SHA-256 ${signature.anchor.fingerprint}.`,
    `${plural(listed.length, 'sceau signé', 'sceaux signés')}${listed.length > 1 ? `, d’une même histoire : du ${sealName(listed[0])}, au ${sealName(last)}` : ` : ${sealName(last)}`}.`,
    total ? `Chaque numéro de ${base.size} à ${head.size - 1} est là une fois, dans sa chaîne, à son jour.`
      : `La période ne contient aucune entrée : la chaîne est à la taille ${base.size} avant et après elle.`,
    'La chaîne passe par ce que chacun de ces sceaux montre d’elle.',
    `Aucun jour n’a disparu avant son terme, aucun n’est conservé au-delà : ${last.head.retentionDays} jours selon le dernier sceau.`,
    'Le tableau extrait.csv dit la même chose que les entrées.',
  ];
  if (Object.keys(manifest.filter).length && !manifest.withholdsAll) checked.push('Chaque entrée communiquée est de celles que le filtre demande.');
  for (const authority of new Set(stamped.map(({ stamp }) => stamp.authority))) {
    const mine = stamped.filter(({ stamp }) => stamp.authority === authority), first = mine[0], latest = mine[mine.length - 1];
    checked.push(`${visible(authority)} atteste ${plural(mine.length, 'sceau', 'sceaux')} par horodatage, vérifié à sa propre date : ${sealName(first)}, horodaté le ${stampText(first)}${mine.length > 1 ? ` ; … ; ${sealName(latest)}, horodaté le ${stampText(latest)}` : ''}.`);
  }
  const remarks = [];
  for (const one of stamped)
    if (microseconds(one.stamp.at) - microseconds(one.seal.sealedAt) > LATE_MICROSECONDS)
      remarks.push(`Le ${sealName(one)}, n’a été horodaté que le ${stampText(one)} : jusque-là, il a pu être réécrit.`);
  if (stamped.some(({ stamp }) => stamp.isBySha1Alone)) remarks.push('Des horodatages ne nomment leur certificat que par SHA-1 ; rien ne repose sur cette empreinte : leur chemin de confiance l’exclut.');
  const late = period.purged ? period.purged.days.filter(({ when }) => when === 'late') : [];
  const spanned = (one) => one.from === one.to ? `le ${frenchDay(one.from)}` : `${frenchPeriod(one.from, one.to)}`;
  if (period.purged) {
    const { through, before, count, days: gone } = period.purged;
    remarks.push(`Purge au terme de la règle de conservation (${visible(manifest.rule.basis)}) : les jours jusqu’au ${frenchDay(through)} sont purgés ; ${count === null ? 'toutes les entrées' : plural(count, 'entrée')} de la période avant le n° ${before} ${count !== null && count < 2 ? 'a' : 'ont'} été ${count === null ? 'supprimées' : count < 2 ? 'supprimée' : 'supprimées'}.`);
    for (const one of gone) {
      if (one.when === 'in time') remarks.push(`Purge dans le délai : ${spanned(one)}.`);
      if (one.when === 'late') {
        const [least, most] = lateDays(one);
        const span = least === 0 ? `${plural(most, 'jour')} au plus` : least === most ? plural(most, 'jour') : `${least} à ${plural(most, 'jour')}`;
        remarks.push(`Purge en retard de ${span} : ${spanned(one)}${one.entries === null ? '' : ` (${plural(one.entries, 'entrée')})`}.`);
      }
    }
  }
  for (const { changed_at: changedAt, instruction, retention_days: asked } of manifest.rule.changes)
    remarks.push(`Selon le service, l’instruction ${visible(instruction)} du ${frenchDay(dayOf(changedAt))} a demandé ${asked} jours.`);
  if (!manifest.rule.changes.length && period.remarks.some(({ kind }) => kind === 'rule')) remarks.push('Le service ne nomme aucune instruction pour le changement de la durée de conservation.');
  for (const remark of period.remarks) {
    if (remark.kind === 'rule') {
      const { seal, sealedAt, until, before, now } = remark;
      remarks.push(until
        ? `Du sceau ${seal} (${frenchTime(sealedAt)}) au sceau ${until.seal} (${frenchTime(until.sealedAt)}), la durée de conservation passe de ${before} à ${now} jours.`
        : `À partir du sceau ${seal} (${frenchTime(sealedAt)}), la durée de conservation est de ${now} jours ; avant, ${before}.`);
    }
    if (remark.kind === 'late purge' && !late.length) remarks.push(`Une purge a été tardive, et faite depuis : le ${frenchDay(remark.day)}, les entrées à partir du n° ${remark.from} étaient encore conservées ; à ${remark.retentionDays} jours, celles du ${frenchDay(remark.day - remark.retentionDays)} devaient avoir disparu.`);
    if (remark.kind === 'loss') remarks.push(`Le sceau ${remark.seal} (${frenchTime(remark.sealedAt)}) déclare un sinistre : ce qui suivait le sceau ${remark.from} est perdu.`);
  }
  for (const one of manifest.numbering) remarks.push(numberingText(one));
  const { here, elsewhere } = manifest.lateness;
  if (here) remarks.push(`${plural(here, 'entrée de la période est d’un accès', 'entrées de la période sont d’accès')} d’autres jours : ses jours sont ceux de l’enregistrement.`);
  if (elsewhere) remarks.push(`${plural(elsewhere, 'entrée d’un accès de ces jours a été enregistrée', 'entrées d’accès de ces jours ont été enregistrées')} d’autres jours et ${elsewhere < 2 ? 'n’est' : 'ne sont'} pas dans cet extrait : un extrait de ces autres jours, avec le filtre occurred_from et occurred_to, ${elsewhere < 2 ? 'la' : 'les'} contient.`);
  if (result.repeated.length) remarks.push(repeatedText(result.repeated));
  const byFile = new Map(kept.map((one) => [one.file, []]));
  for (const one of comparable) byFile.get(one.file).push(one);
  const unanswered = [];
  let latest = null;
  for (const [file, seals] of byFile) {
    const mine = kept.filter((one) => one.file === file), best = seals.reduce((left, right) => left && left.head.size >= right.head.size ? left : right, null);
    if (best) {
      checked.push(`${file}, sceau ${best.seal.number}, concorde : ce que la chaîne contenait à la taille ${best.head.size} est ce qu’elle contient encore.`);
      if (!latest || best.head.size > latest.head.size) latest = best;
    } else if (mine.every((one) => lost.includes(one)))
      unanswered.push(`${file} : non comparable, le service déclare perdu le ${sealName(mine[mine.length - 1])} ; demandez quand et pourquoi.`);
    else {
      const one = mine.filter((seal) => !lost.includes(seal)).pop();
      unanswered.push(`${file} : non comparable, le ${sealName(one)} est à la taille ${one.head.size}, l’extrait va de ${base.size} à ${head.size} ; rien ne le contredit, rien ne le confirme.`);
    }
  }
  const requestIsHere = origin.category === 'journal' && manifest.request.index >= base.size && manifest.request.index < head.size;
  const bearing = listed.filter(({ timestamp }) => timestamp).length, bare = listed.filter(({ seal, timestamp }) => seal.day !== null && !timestamp);
  if (result.isStampChecked && !stamped.length) unanswered.push('Certificat d’horodatage : aucun horodatage à vérifier dans cet extrait.');
  const unchecked = [
    rewritable(manifest, latest, attested),
    ...(bearing && !result.isStampChecked ? [`${plural(bearing, 'sceau porte', 'sceaux portent')} un horodatage : aucun certificat pour le vérifier n’a été fourni.`] : []),
    ...(stamped.length && bare.length ? [`${plural(bare.length, 'sceau de clôture ne porte', 'sceaux de clôture ne portent')} pas d’horodatage, le dernier étant le ${sealName(bare[bare.length - 1])}.`] : []),
    ...(signature.services.length || signature.isExpected ? [] : [`Que ${visible(organisationText(signature.organisation))} tient le service ${origin.service} : son cachet ne nomme aucun service, et vous n’avez fourni aucun certificat qui dise de qui attendre le cachet. Comparez avec ce que vous savez.`]),
    'Les dates de signature sont celles que le signataire déclare ; la révocation des certificats n’est pas consultée.',
    ...(withheld ? ['Ce que disent les entrées non communiquées, et qu’aucune d’elles n’est de celles que le filtre demande.'] : []),
    ...(period.purged ? ['Ce que disaient les entrées purgées.'] : []),
    ...(period.purged?.days ?? []).filter(({ when }) => when === 'not shown').map((one) => `Si la purge a eu lieu dans le délai : les sceaux de cet extrait ne le montrent pas (${spanned(one)}).`),
    ...(period.coveredUntil ? [`Ce qui a été enregistré le ${frenchDay(to)} après ${period.coveredUntil.slice(11, 19)} UTC.`] : []),
    `Combien d’accès de ces jours ont été enregistrés d’autres jours est déclaré par le service ; jusqu’au ${frenchDay(to + manifest.lateness.days)}, ${manifest.lateness.days} jours après, d’autres ont pu l’être, ou peuvent l’être.`,
    ...(requestIsHere ? [] : [`La demande : qui a demandé (${visible(manifest.requester)}), pourquoi (${PURPOSE_WORDS.get(manifest.purpose)}), et son entrée ${manifest.request.index} de la catégorie journal, sont déclarés par le service.`]),
    ...(result.hasDocument ? ['extrait.pdf est signé, mais n’a pas été comparé aux entrées : la preuve est dans les entrées.'] : []),
    'Que les logiciels ont bien transmis un événement pour chaque accès : le journal contient ce qu’on lui envoie.',
  ];
  const day = (one) => ({ from: formatDay(one.from), to: formatDay(one.to), when: one.when, ...(one.entries === null ? {} : { entries: one.entries }), ...(one.when === 'late' ? { late_days: lateDays(one) } : {}) });
  const warnings = signature.anchor.isDevelopment
    ? ['POUR ESSAIS SEULEMENT : le certificat que vous tenez pour sûr est d’une autorité de développement, que le service s’est faite. Personne d’autre ne répond de qui a signé.'] : [];
  const scope = Object.keys(manifest.filter).length
    ? [['Filtre', `${filterText(manifest)} ; ${plural(withheld, 'entrée de la période n’est pas communiquée', 'entrées de la période ne sont pas communiquées')}`],
      ['Autorisation', manifest.authorisation ? authorisationText(manifest.authorisation) : 'aucune n’est indiquée']] : [];
  return { outcome: unanswered.length ? 'incomplete' : 'verified', purged: (period.purged?.days ?? []).map(day), sentence, attestation, warnings, scope, facts, checked, remarks, unanswered, unchecked };
}

function numberingText({ source, epoch, last, missing, gaps, declared, repeated }) {
  const listed = gaps.map(([low, high]) => low === high ? `${low}` : `${low} à ${high}`).join(', ');
  const isAll = missing === gaps.reduce((sum, [low, high]) => sum + high - low + 1, 0);
  const parts = [
    ...(missing ? [`${plural(missing, 'numéro manque', 'numéros manquent')} (${listed}${isAll ? '' : ', et d’autres'})`] : []),
    ...(declared ? [plural(declared, 'est déclaré perdu', 'sont déclarés perdus')] : []),
    ...(repeated ? [plural(repeated, 'événement répète un numéro', 'événements répètent un numéro')] : []),
  ];
  return `${source === undefined ? 'Une source' : `La source ${visible(source)}`}${epoch === undefined ? '' : `, dans l’époque ${visible(epoch)} de son compteur,`} a numéroté jusqu’à ${last} : ${parts.join(', ') || 'aucun ne manque'}.`;
}

const REPEATED_SHOWN = 5, INDEXES_SHOWN = 100;
function repeatedText(repeated) {
  const shown = repeated.slice(0, REPEATED_SHOWN).map(([name, indexes]) => {
    const [source, id] = name.split('\0');
    return `${visible(source)} ${visible(id)} (entrées ${indexes.slice(0, INDEXES_SHOWN).join(', ')})`;
  });
  const more = repeated.length > REPEATED_SHOWN ? ` ; et ${repeated.length - REPEATED_SHOWN} autres` : '';
  return `${plural(repeated.length, 'couple source et identifiant revient', 'couples source et identifiant reviennent')}, chaque fois à une autre heure, donc pour un autre événement ; un logiciel qui date de nouveau ce qu’il renvoie inscrit deux fois un même accès : ${shown.join(' ; ')}${more}.`;
}

/** What the service could have rewritten, for all that an auditor holds. */
function rewritable(manifest, known, attested) {
  const issued = frenchDay(dayOf(manifest.issuedAt)), since = [];
  if (known) since.push(`ce qui précède le n° ${known.head.size} depuis que vous détenez ${known.file}`);
  if (attested) since.push(`ce que couvre le sceau ${attested.seal.number} depuis le ${stampText(attested)}`);
  const size = Math.max(known?.head.size ?? 0, attested?.head.size ?? 0);
  return since.length
    ? `Le service, qui détient la clé de signature, ne peut plus réécrire ${since.join(', ni ')} ; avant cela il l’a pu, et il l’a pu pour les entrées à partir du n° ${size} jusqu’à l’établissement de cet extrait le ${issued}.`
    : `Sans repère extérieur, le service, qui détient la clé de signature, a pu tout réécrire avant d’établir cet extrait le ${issued}. Conservez cet extrait : il servira de sceau connu pour le prochain.`;
}

const RECEIPT_VERDICTS = {
  covered: 'couvert', purged: 'purgé selon sa règle', authentic: 'authentique', missing: 'manquant', 'declared lost': 'déclaré perdu',
  foreign: 'étranger', 'not shown': 'non montré', 'not yet sealed': 'pas encore scellé',
};
const UNANSWERED = ['declared lost', 'foreign', 'not shown', 'not yet sealed'], UPHELD = ['covered', 'purged', 'authentic'];
const judgedText = ({ receipt, part, verdict, reason }) => {
  const label = RECEIPT_VERDICTS[verdict] ?? VERDICTS[verdict][0].toLowerCase();
  return receipt ? `${part}, entrée ${receipt.index} du ${frenchTime(receipt.recorded_at)} (événement ${visible(receipt.id)} de ${visible(receipt.source)}) : ${label} ; ${reason}.`
    : `${part} : ${label} ; ${reason}.`;
};

/** A report with what became of receipts: one that is missing, or not authentic, decides it. */
function tellReceipts(report, judged) {
  const bad = judged.find(({ verdict }) => verdict === 'missing') ?? judged.find(({ verdict }) => !UPHELD.includes(verdict) && !UNANSWERED.includes(verdict));
  const receipts = judged.map(judgedText), open = judged.filter(({ verdict }) => UNANSWERED.includes(verdict)).map(judgedText);
  if (!bad) return { ...report, outcome: open.length ? 'incomplete' : report.outcome, receipts, unanswered: [...report.unanswered ?? [], ...open] };
  const [label, meaning] = VERDICTS[bad.verdict];
  const advice = bad.verdict === 'missing'
    ? 'Conservez le reçu et l’extrait tels quels : à eux deux, ils suffisent à le montrer à qui a le même certificat de confiance.'
    : 'Un reçu qui n’est pas authentique ne dit rien du service, ni de l’extrait.';
  return { outcome: 'refused', verdict: bad.verdict, label, meaning, part: bad.part, reason: bad.reason, advice, receipts };
}
