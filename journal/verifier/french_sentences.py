"""The French of every sentence of a report: the English, then, after "=", the French; a blank line between them.

A place in braces stands for what differs: `n` and `count` are numbers, `day`, `time`, `moment` and `seal` are put into
French, `sentence` is translated in its turn, anything else is left as it is. A test holds that no sentence is without
its French; the words are those of the page, ingest/pages/verifier/core/report.js.
"""

from __future__ import annotations

REPORT = """
The parts are whole and signed by {text}, certified by {text2}.
= Les parties sont entières et signées par {text}, certifié par {text2}.

The certificate leads to one that you trust: {text}, SHA-256 {hash}.
= Le certificat mène à celui que vous tenez pour sûr : {text}, SHA-256 {hash}.

1 seals, from {seal} to {seal2}, are signed and belong to one history.
= 1 sceau signé : {seal}.

{count} seals, from {seal} to {seal2}, are signed and belong to one history.
= {count} sceaux signés, d’une même histoire : du {seal}, au {seal2}.

The period holds no entry: the chain has size {n} before and after it.
= La période ne contient aucune entrée : la chaîne est à la taille {n} avant et après elle.

Every index from {n} to {n2} is present once, in its chain, on its day.
= Chaque numéro de {n} à {n2} est là une fois, dans sa chaîne, à son jour.

The chain passes through its head in each of these seals.
= La chaîne passe par ce que chacun de ces sceaux montre d’elle.

No day was purged before its time, and none is kept past it: the retention is {n} days by the last seal.
= Aucun jour n’a disparu avant son terme, aucun n’est conservé au-delà : {n} jours selon le dernier sceau.

The table matches the entries disclosed.
= Le tableau extrait.csv dit la même chose que les entrées.

{text} attests {count} of the seals by time-stamps, checked at their own times: {seal} at {moment}.
= {text} atteste {count} sceau par horodatage, vérifié à sa propre date : {seal}, horodaté le {moment}.

{text} attests {count} of the seals by time-stamps, checked at their own times: {seal} at {moment} to {seal2} at
{moment2}.
= {text} atteste {count} sceaux par horodatage, vérifié à sa propre date : {seal}, horodaté le {moment} ; … ; {seal2},
horodaté le {moment2}.

Days up to {day} are purged under their rule ({text}): all entries of the period, before index {n}, are gone.
= Purge au terme de la règle de conservation ({text}) : les jours jusqu’au {day} sont purgés ; toutes les entrées de
la période avant le n° {n} ont été supprimées.

Days up to {day} are purged under their rule ({text}): {count} entries of the period, before index {n}, are gone.
= Purge au terme de la règle de conservation ({text}) : les jours jusqu’au {day} sont purgés ; {count} entrée(s) de la
période avant le n° {n} supprimée(s).

{days}: purged in time.
= Purge dans le délai : {days}.

{days}: entries purged late, by {late}.
= Purge en retard de {late} : {days}.

{days}: {count} entries purged late, by {late}.
= Purge en retard de {late} : {days} ({count} entrée(s)).

Whether {days} were purged in time: the seals here do not show when it was.
= Si la purge a eu lieu dans le délai : les sceaux de cet extrait ne le montrent pas ({days}).

{count} entries of the period are of accesses on other days: its days are those of recording.
= {count} entrées de la période sont d’accès d’autres jours : ses jours sont ceux de l’enregistrement.

1 entries of the period are of accesses on other days: its days are those of recording.
= 1 entrée de la période est d’un accès d’autres jours : ses jours sont ceux de l’enregistrement.

{count} entries of accesses on these days were recorded on other days, and are not in this extract; an extract of those
days holds them, by the filter occurred_from and occurred_to.
= {count} entrées d’accès de ces jours ont été enregistrées d’autres jours et ne sont pas dans cet extrait : un extrait
de ces autres jours, avec le filtre occurred_from et occurred_to, les contient.

1 entries of accesses on these days were recorded on other days, and are not in this extract; an extract of those days
holds them, by the filter occurred_from and occurred_to.
= 1 entrée d’un accès de ces jours a été enregistrée d’autres jours et n’est pas dans cet extrait : un extrait de ces
autres jours, avec le filtre occurred_from et occurred_to, la contient.

How many entries of accesses on these days were recorded on other days is the service's word; up to {day}, {n} days
late, more could be, or can.
= Combien d’accès de ces jours ont été enregistrés d’autres jours est déclaré par le service ; jusqu’au {day}, {n} jours
après, d’autres ont pu l’être, ou peuvent l’être.

A source gave numbers up to {n}: {numbers}.
= Une source a numéroté jusqu’à {n} : {numbers}.

A source in the epoch {text} of its counter gave numbers up to {n}: {numbers}.
= Une source, dans l’époque {text} de son compteur, a numéroté jusqu’à {n} : {numbers}.

The source {text} gave numbers up to {n}: {numbers}.
= La source {text} a numéroté jusqu’à {n} : {numbers}.

The source {text} in the epoch {text2} of its counter gave numbers up to {n}: {numbers}.
= La source {text}, dans l’époque {text2} de son compteur, a numéroté jusqu’à {n} : {numbers}.

The service names no instruction for the change of the retention.
= Le service ne nomme aucune instruction pour le changement de la durée de conservation.

By the service's word, instruction {text} of {day} asked for {n} days.
= Selon le service, l’instruction {text} du {day} a demandé {n} jours.

Every entry disclosed matches the filter.
= Chaque entrée communiquée est de celles que le filtre demande.

{text} seal {n2} agrees: the first {n} entries of the chain are the same as then.
= {text}, sceau {n2}, concorde : ce que la chaîne contenait à la taille {n} est ce qu’elle contient encore.

FOR TRIALS ONLY: the certificate you trust is of a development authority, which the service made for itself. Nobody
else vouches for who signed.
= POUR ESSAIS SEULEMENT : le certificat que vous tenez pour sûr est d’une autorité de développement, que le service
s’est faite. Personne d’autre ne répond de qui a signé.

A purge was late, and has been done since: {sentence}.
= Une purge a été tardive, et faite depuis : {sentence}.

{seal} declares a disaster: what followed seal {n} is lost.
= Le {seal}, déclare un sinistre : ce qui suivait le sceau {n} est perdu.

From {seal} on, entries are kept {n} days; before, {n2}.
= À partir du {seal}, la durée de conservation est de {n} jours ; avant, {n2}.

From {seal} to {seal2}, the retention grows from {n} to {n2} days.
= Du {seal}, au {seal2}, la durée de conservation passe de {n} à {n2} jours.

{seal} was not time-stamped before {moment}: until then it could be rewritten.
= Le {seal}, n’a été horodaté que le {moment} : jusque-là, il a pu être réécrit.

Time-stamps name their certificate by SHA-1 alone; its path, which uses no SHA-1, was checked.
= Des horodatages ne nomment leur certificat que par SHA-1 ; rien ne repose sur cette empreinte : leur chemin de
confiance l’exclut.

{count} repeated source and id, each time at another time, hence for another event; a module that sets the time anew
when it sends again has one access recorded twice: {text}.
= {count} couple(s) source et identifiant reviennent, chaque fois à une autre heure, donc pour un autre événement ; un
logiciel qui date de nouveau ce qu’il renvoie inscrit deux fois un même accès : {text}.

Until {moment} the service could rewrite what {seal} covers and no earlier time-stamp or known seal does; entries from
index {n} on, until it issued this extract.
= Jusqu’au {moment}, le service, qui détient la clé de signature, a pu réécrire ce que couvre le {seal}, et que ne
couvre aucun horodatage ni sceau connu plus ancien ; les entrées à partir du n° {n}, jusqu’à l’établissement de cet
extrait.

No outside witness was given: the service, which holds the signing key, could have rewritten everything before it
issued this extract on {day}. Keep it, or the answer of GET …/head, as a known seal for the next one.
= Sans repère extérieur, le service, qui détient la clé de signature, a pu tout réécrire avant d’établir cet extrait le
{day}. Conservez cet extrait, ou la réponse de GET …/head : il servira de sceau connu pour le prochain.

Since you received {text}, which says it was made {time}, the service could not rewrite what that seal covers; entries
from index {n} on it could, until it issued this extract.
= Depuis que vous détenez {text}, qui se dit fait le {time}, le service ne peut plus réécrire ce que ce sceau couvre ;
il l’a pu pour les entrées à partir du n° {n} jusqu’à l’établissement de cet extrait.

{count} seals bear a time-stamp that was not checked: no certificate for it was given.
= {count} sceau(x) porte(nt) un horodatage : aucun certificat pour le vérifier n’a été fourni.

{count} close seals bear no time-stamp, the latest being {seal}.
= {count} sceau(x) de clôture ne porte(nt) pas d’horodatage, le dernier étant le {seal}.

That {text} runs {text2}: its seal names no service, and you gave no certificate that says whose seal to expect.
Compare it with what you know.
= Que {text} tient le service {text2} : son cachet ne nomme aucun service, et vous n’avez fourni aucun certificat qui
dise de qui attendre le cachet. Comparez avec ce que vous savez.

Signing times are the signer's own claim; certificates were not checked for revocation.
= Les dates de signature sont celles que le signataire déclare ; la révocation des certificats n’est pas consultée.

The content of the withheld entries, and that none of them matches the filter.
= Ce que disent les entrées non communiquées, et qu’aucune d’elles n’est de celles que le filtre demande.

The content of the purged entries.
= Ce que disaient les entrées purgées.

What was recorded on {day} after {clock}.
= Ce qui a été enregistré le {day} après {clock}.

The request: who asked ({text}), why ({purpose}), and its entry {n} in the category journal, are stated by the
service.
= La demande : qui a demandé ({text}), pourquoi ({purpose}), et son entrée {n} de la catégorie journal, sont déclarés
par le service.

{text} is signed, but was not compared with the entries.
= {text} est signé, mais n’a pas été comparé aux entrées : la preuve est dans les entrées.

That the modules submitted an event for every access: the journal holds only what it was sent.
= Que les logiciels ont bien transmis un événement pour chaque accès : le journal contient ce qu’on lui envoie.

{text}: cannot be compared: the service declares {seals} lost; ask it when and why
= {text} : non comparable, le service déclare perdu : {seals} ; demandez quand et pourquoi

{text}: cannot be compared: {seal} covers size {n}, the extract goes from {n2} to {n3}; nothing contradicts the seal,
nothing confirms it
= {text} : non comparable, le {seal} est à la taille {n}, l’extrait va de {n2} à {n3} ; rien ne le contredit, rien ne le
confirme

--tsa-trust: no time-stamp was found
= --tsa-trust : aucun horodatage à vérifier dans cet extrait
"""
