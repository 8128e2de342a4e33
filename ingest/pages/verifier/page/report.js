// The report: the verdict, what was checked, what could not be.

const OUTCOMES = { verified: 'Vérifié', incomplete: 'Vérifié, sauf une comparaison', refused: 'Refusé', unusable: 'Vérification impossible' };

function show(report, names) {
  const verdict = make('section', { className: `verdict ${report.outcome}` });
  const title = make('h2', {}, make('span', { text: OUTCOMES[report.outcome] }));
  title.tabIndex = -1;
  verdict.append(title);
  if (report.outcome === 'refused') {
    title.append(report.label);
    if (report.hint) verdict.append(make('p', { className: 'warning', text: report.hint }));
    const where = report.part ? ['Dans ', make('code', { text: report.part }), ' : '] : [], reason = report.part ? report.reason : `${report.reason[0].toUpperCase()}${report.reason.slice(1)}`;
    verdict.append(make('p', { text: report.meaning }), make('p', {}, ...where, `${reason}.`),
      make('p', { text: report.advice ?? (report.verdict === 'rewritten'
        ? 'Demandez le fichier d’origine à qui vous l’a transmis, ou faites réparer celui-ci par journal-verify ; puis vérifiez-le de nouveau.'
        : 'Rien de ce que contient ce fichier ne doit être tenu pour établi. Conservez-le tel quel et demandez des explications au service qui l’a émis.') }),
      make('p', { text: 'Les entrées ne sont pas montrées : cette page ne montre rien de ce que contient un extrait qu’elle refuse.' }),
      make('p', { className: 'soft' }, 'Pour l’hébergeur, nom de ce verdict dans FORMAT.md : ', make('code', { text: report.verdict }), '.'));
  } else if (report.outcome === 'unusable') {
    title.append('Aucun verdict');
    verdict.append(make('p', { text: report.reason }));
  } else {
    title.append(Verifier.withParis(report.sentence));
    for (const warning of report.warnings ?? []) verdict.append(make('p', { className: 'warning', text: warning }));
    for (const [term, text] of report.scope ?? []) verdict.append(make('p', {}, make('strong', { text: `${term} : ` }), text));
    if (report.attestation) verdict.append(make('p', { text: Verifier.withParis(report.attestation) }));
    if (report.outcome === 'incomplete') verdict.append(make('p', { text: 'Ce que vous avez demandé de comparer n’a pas pu l’être entièrement : voyez « Sans réponse ».' }));
  }
  const sections = [];
  if (report.receipts) sections.push(listSection('Les reçus', report.receipts, 'receipts'));
  if (report.unanswered?.length && !report.facts) sections.push(listSection('Sans réponse', report.unanswered, 'unanswered'));
  if (report.facts) {
    const facts = make('dl');
    for (const [term, text] of report.facts) facts.append(make('dt', { text: term }), make('dd', { text }));
    sections.push(
      ...(report.remarks.length ? [listSection('À savoir', report.remarks, 'remarks')] : []),
      ...(report.unanswered.length ? [listSection('Sans réponse', report.unanswered, 'unanswered')] : []),
      make('section', {}, make('h2', { text: 'L’extrait' }), facts),
      listSection('Ce qui a été vérifié', report.checked, 'checked'),
      listSection('Ce qui n’a pas pu l’être', report.unchecked, 'unchecked'));
  }
  const print = make('button', { text: 'Imprimer ce résultat' });
  print.type = 'button';
  print.addEventListener('click', () => window.print());
  const files = `Fichiers : ${names.join(', ')}. Vérifiés le ${new Date().toLocaleString('fr-FR', { dateStyle: 'long', timeStyle: 'short' })} (heure de cet ordinateur).`;
  sections.push(make('p', { className: 'only-print', text: files }), make('div', { className: 'actions no-print' }, print));
  element('verdict').replaceChildren(verdict);
  element('details').replaceChildren(...sections);
  // What stands below the verdict makes room for it, unless it shows a code to type.
  element('keys-card').open = !element('handover-opened').hidden;
  title.focus();
  verdict.scrollIntoView({ block: 'nearest' });
}
