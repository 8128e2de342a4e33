// The letter to a person who asks who consulted what concerns them; by default it names no agent.

const LETTER_REFUSAL = {
  subject: 'Cet extrait ne porte pas sur une seule fiche : il ne peut pas servir à répondre à une personne. Demandez un extrait de la fiche de cette personne, avec l’autorisation que cela exige.',
  authorisation: 'Cet extrait porte sur une seule fiche, mais n’indique aucune autorisation : il ne peut pas servir à répondre à une personne.',
};
const NAMES_WARNING = 'Attention : le nom d’un agent est lui aussi une donnée personnelle. Ne le communiquez que si la loi l’exige dans ce cas, après l’avis du délégué à la protection des données.';

const editable = (name, text) => {
  const made = make(name, { text });
  try { made.contentEditable = 'plaintext-only'; } catch { made.contentEditable = 'true'; }
  made.setAttribute('role', 'textbox');
  made.setAttribute('aria-multiline', 'true');
  made.setAttribute('aria-label', text.slice(0, 60));
  return made;
};

function accessTable({ cells }, { names, motives }) {
  const heads = ['Date et heure (Paris)', 'Par', 'Acte', 'Résultat', ...(motives ? ['Motif'] : [])];
  const by = (line) => names ? [line[ACCOUNT], line[NAME], line[ROLE]].filter(Boolean) : line[ROLE] || 'un agent';
  return [heads, cells.map((line) => [frenchCell(line[PARIS]), by(line), [line[ACTION], line[OPERATION]].filter(Boolean).join(', '), line[OUTCOME], ...(motives ? [line[MOTIVE] || 'aucun'] : [])])];
}

/** How many accesses, by how many agents, and of how many nothing was seen. */
function countedAccesses({ count, denied, failed, agents, cells }, { days }) {
  if (!count) return `Aucun accès n’a été enregistré pour la période ${days}.`;
  const unseen = [denied ? `le logiciel en a refusé ${french(denied)}` : '', failed ? `${french(failed)} ${failed < 2 ? 'n’a pas abouti' : 'n’ont pas abouti'}` : ''].filter(Boolean).join(' et ');
  const said = count === denied + failed ? ' Aucun n’a abouti : vos données n’ont pas été montrées.' : unseen ? ` De ces accès, ${unseen} : rien n’y a été montré.` : '';
  return `Pour la période ${days}, ${plural(count, 'accès a été enregistré', 'accès ont été enregistrés')}, par ${plural(agents, 'agent')}.${said}${cells.length < count ? ` En voici les ${french(cells.length)} premiers :` : ''}`;
}
const accessHeading = ({ count, denied, failed }) => count === denied + failed ? 'Tentatives d’accès enregistrées' : denied + failed ? 'Accès et tentatives enregistrés' : 'Accès enregistrés';

function letterParts(found, facts) {
  const today = new Date().toLocaleDateString('fr-FR', { dateStyle: 'long', timeZone: 'Europe/Paris' });
  return {
    before: [
      '[Commune, service, adresse]', '[Nom et adresse de la personne]', `[Lieu], le ${today}`, 'Objet : votre demande d’accès aux données qui vous concernent, reçue le [date]', '[Madame, Monsieur],',
      `Vous avez demandé qui a consulté les données qui vous concernent. Elles sont inscrites sous la référence ${visible(facts.subject)}. Le logiciel de la police municipale note chaque accès dans un journal, conservé pour une durée limitée ; ce qui suit vient d’un extrait de ce journal, dont l’authenticité a été vérifiée.`,
      countedAccesses(found, facts),
    ],
    after: [
      `Cette réponse ne porte que sur la période ${facts.days}. Vous pouvez demander celle d’autres jours, tant que le journal les conserve.`,
      'Si vous estimez que l’un de ces accès n’était pas justifié, vous pouvez écrire à notre délégué à la protection des données : [nom et adresse]. Vous pouvez aussi saisir la Commission nationale de l’informatique et des libertés (CNIL), 3 place de Fontenoy, TSA 80715, 75334 Paris Cedex 07.',
      '[Formule de politesse]', '[Nom, fonction et signature]', `Établi d’après l’${extractText(facts)}.`,
    ],
  };
}

let lettered = null;
function drawLetter() {
  const added = { names: element('letter-names').checked, motives: element('letter-motives').checked };
  element('letter-warning').hidden = !added.names;
  element('letter-warning').textContent = added.names ? NAMES_WARNING : '';
  const [heads, lines] = accessTable(lettered, added);
  const access = lines.length ? [listing(accessHeading(lettered), heads, lines)] : [];
  const whole = element('letter-text'), held = whole.querySelector('.scroll');
  // What was corrected by hand stays when a tick changes the table.
  if (whole.childElementCount && access.length) { held.replaceWith(...access); return; }
  const { before, after } = letterParts(lettered, reader.facets.facts);
  whole.replaceChildren(...before.map((text) => editable('p', text)), ...access, ...after.map((text) => editable('p', text)));
}

onShown.letter = async () => {
  const { facts } = reader.facets, refusal = facts.subject === null ? 'subject' : facts.authorisation === null ? 'authorisation' : null;
  element('letter-refusal').textContent = LETTER_REFUSAL[refusal] ?? '';
  element('letter-refusal').hidden = !refusal;
  element('letter-choices').hidden = element('letter-text').hidden = Boolean(refusal);
  element('letter-authorisation').textContent = `Autorisation de l’extrait, qui n’est pas dans la lettre : ${facts.authorisation}.`;
  if (refusal || lettered) return;
  lettered = await ask('letter', {});
  drawLetter();
};
for (const name of ['letter-names', 'letter-motives']) element(name).addEventListener('change', drawLetter);
element('letter-save').addEventListener('click', () => {
  const text = [...element('letter-text').children].map((part) => part.matches('.scroll')
    ? [...part.querySelectorAll('tr')].map((row) => [...row.cells].map(({ textContent }) => textContent).join(' | ')).join('\r\n') : part.textContent).join('\r\n\r\n');
  save(new Blob(['\ufeff', text, '\r\n'], { type: 'text/plain;charset=utf-8' }), 'reponse-a-une-personne.txt');
});
onOpened.push(() => {
  lettered = null;
  element('letter-text').replaceChildren();
  for (const name of ['letter-names', 'letter-motives']) element(name).checked = false;
});
