"""The agents' information notice (loi n° 78-17 art. 104; Directive (EU) 2016/680 art. 13)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from journal.document.paper import (
    Lines,
    Paper,
    Section,
    blanks,
    grid,
    named,
    note,
    paragraphs,
    plain,
    points,
    small,
    strong,
)
from journal.extract.words import PURPOSES
from journal.papers.situation import REGIMES, accessed

if TYPE_CHECKING:
    from journal.papers.situation import Situation

_SAID = (
    "le compte employé, et, si le logiciel les transmet, le nom, le rôle et l'unité ;",
    "la date, l'heure, l'opération (consultation, recherche, impression, modification…) et son résultat ;",
    "la référence de la fiche, jamais son contenu, et le motif indiqué ;",
    "le cas échéant, l'adresse, le poste ou la session.",
)
_RIGHTS = (
    (
        "demander à la commune l'accès aux données qui vous concernent (art. 105), leur rectification, leur "
        "effacement ou la limitation du traitement (art. 106) ;"
    ),
    (
        "si l'un de ces droits est restreint pour ne pas gêner une enquête ou une procédure (art. 107), l'exercer par "
        "l'intermédiaire de la CNIL (art. 108) ;"
    ),
    "introduire une réclamation auprès de la CNIL : 3 place de Fontenoy, TSA 80715, 75334 Paris Cedex 07, cnil.fr.",
)


async def notice(situation: Situation) -> Paper:
    """Return the notice of the commune to its agents."""
    # What is posted up stays on a page: categories of one rule share a row.
    rules: dict[tuple[str, str, int], Lines] = {}
    for row in accessed(situation):
        rule = (row.regime, row.legal_basis, situation.heads[row.code].retention_days)
        rules.setdefault(rule, []).extend(strong(situation.label(row.code)))
    rows = [
        [names + small(REGIMES[regime]), plain(named(basis, 200)), plain(f"{days} jours")]
        for (regime, basis, days), names in rules.items()
    ]
    late = situation.service.settings.lateness_days
    return Paper(
        title="Notice d'information des agents",
        subtitle="Vos accès aux données de la police municipale sont journalisés",
        reference=f"notice / {situation.tenant.code}",
        tenant_name=situation.tenant.name,
        lead=(
            f"« {situation.commune} » fait journaliser chaque accès aux données que ses agents traitent dans OpenEPM : "
            "qui a accédé à quelle fiche, quand et pour quel motif. C'est une obligation de la loi (art. 101 de la loi "
            "n° 78-17 du 6 janvier 1978), et une protection pour les personnes fichées comme pour les agents."
        ),
        sections=[
            Section(title="Ce qui est inscrit de vous", blocks=[points(_SAID)]),
            Section(
                title="À quoi cela peut servir, et à rien d'autre",
                blocks=[
                    points(f"{purpose} ;" for purpose in PURPOSES.values()),
                    paragraphs(
                        "Une demande qui porte sur un seul compte exige une autorisation écrite, et chaque demande est "
                        "elle-même inscrite au journal, avec le nom de qui l'a faite. Le journal ne mesure ni "
                        "l'activité ni le rendement d'un agent."
                    ),
                ],
            ),
            Section(
                title="Où, sur quel fondement et combien de temps",
                blocks=[
                    grid(["Catégorie", "Fondement", "Conservation"], rows, [52, "1", 30]),
                    note(
                        "Depuis l'inscription, qui suit l'accès de "
                        f"{late} jours au plus. La durée est celle du contrat d'hébergement, que le "
                        f"{situation.seal_name} énonce ; au terme, les entrées et leurs clés sont détruites. La "
                        "commune peut en conserver une copie chiffrée plus longtemps, sous sa responsabilité."
                    ),
                ],
            ),
            Section(
                title="Qui y accède",
                blocks=[
                    paragraphs(
                        "Les seules personnes que la commune a désignées, l'autorité judiciaire et la CNIL dans les "
                        "cas que la loi prévoit. L'hébergeur conserve des entrées chiffrées ; il n'en remet un "
                        "extrait que sur demande de la commune."
                    )
                ],
            ),
            Section(
                title="Vos droits (art. 104 à 108 de la loi n° 78-17)",
                blocks=[
                    points(_RIGHTS),
                    blanks(("Responsable de traitement, contact", "Délégué à la protection des données")),
                ],
            ),
        ],
        seals=[situation.seal],
        is_posted=True,
    )
