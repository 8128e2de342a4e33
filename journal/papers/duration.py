"""The note on how long: the contract's 60 days, what the CNIL recommends, and what a hand-over gives.

Sources: contract art. 13.2; CNIL, délibération n° 2021-122 of 14 October 2021 (recommendation on logging), point 8 and
its exceptions; loi n° 78-17 art. 101 and Directive (EU) 2016/680 art. 25, which name no duration.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from journal.admin.longer import asks_for_longer
from journal.core.times import MAX_RETENTION_DAYS
from journal.document.french import french_moment, french_number
from journal.document.paper import (
    Lines,
    Paper,
    Section,
    bad,
    facts,
    good,
    grid,
    named,
    note,
    paragraphs,
    plain,
    points,
    small,
    strong,
)
from journal.papers.situation import accessed, entry_name, last_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from journal.core.entry import Entry
    from journal.papers.situation import Situation

_TEXTS = (
    (
        "Loi n° 78-17, art. 101",
        "impose le journal et en limite l'usage ; ne fixe aucune durée. La directive (UE) 2016/680, art. 25, non plus.",
    ),
    (
        "Contrat, art. 13.2",
        (
            f"l'hébergeur conserve le journal {MAX_RETENTION_DAYS} jours au plus, puis le détruit. C'est la règle d'un "
            "contrat, non celle d'une loi."
        ),
    ),
    (
        "CNIL, délibération n° 2021-122 du 14 octobre 2021",
        (
            "recommandation relative à la journalisation (point 8) : une durée comprise entre six mois et un an. Elle "
            "n'est pas impérative. Elle admet davantage, jusqu'à trois ans dans les cas les plus courants, pour un "
            "contrôle interne dont le risque et les procédures sont documentés, ou lorsqu'une obligation le demande."
        ),
    ),
)
_GIVES = (
    (
        "chaque jour est remis avant sa destruction : extraits complets, chiffrés pour le seul certificat de la "
        "commune, et bordereau signé ;"
    ),
    "ces extraits se vérifient des années plus tard, hors ligne, sans l'hébergeur, et par openssl seul ;",
    (
        "la commune fixe leur durée (six mois à un an selon la recommandation), les détruit à son terme, et l'inscrit "
        "à son registre ;"
    ),
    "l'hébergeur, lui, détruit au terme du contrat : il ne peut ni les relire, ni les remplacer.",
)
_NEEDS = (
    "que la catégorie nomme ce fondement et le nombre de jours qu'il demande : l'hébergeur les inscrit ;",
    (
        "qu'une remise existe pour chaque commune : sans elle, la catégorie est refusée, et ensuite la remise ne peut "
        "prendre fin ;"
    ),
    "que la commune conserve les fichiers remis, et la clé privée qui les ouvre, pendant toute cette durée.",
)


async def duration(situation: Situation) -> Paper:
    """Return the note. Raises StoreError."""
    entries = await situation.entries("setting", "alarm")
    stated = sorted({situation.heads[row.code].retention_days for row in situation.categories})
    days = f"{stated[0]} jours" if len(stated) == 1 else f"{stated[0]} à {stated[-1]} jours, selon la catégorie"
    return Paper(
        title="Note sur la durée de conservation",
        subtitle="Soixante jours chez l'hébergeur ; ce que la commune peut conserver elle-même",
        reference=f"durée / {situation.tenant.code}",
        tenant_name=situation.tenant.name,
        lead=(
            f"Le service conserve le journal de « {situation.commune} » {days}, comme le {situation.seal_name} "
            "l'énonce. La CNIL recommande six mois à un an : c'est plus que ce que le contrat permet à l'hébergeur. "
            "Seule la remise avant destruction donne à la commune le moyen de conserver plus longtemps. "
            + _state(situation)
        ),
        sections=[
            Section(title="Les textes", blocks=[facts((name, plain(said)) for name, said in _TEXTS)]),
            Section(
                title="Les durées en vigueur",
                blocks=[_durations(situation), note(_LATE.format(situation.service.settings.lateness_days))],
            ),
            Section(title="La remise à la commune", blocks=_handover(situation, entries)),
            Section(title="Ce que la remise donne", blocks=[points(_GIVES)]),
            Section(
                title="Ce qu'il faut à une catégorie d'un autre fondement",
                blocks=[
                    paragraphs(
                        "Certains fichiers ont des textes propres, qui fixent la durée de leurs traces. Il faut alors :"
                    ),
                    points(_NEEDS),
                ],
            ),
        ],
        seals=[situation.seal],
    )


def _state(situation: Situation) -> str:
    if situation.recipient is None:
        return "Elle n'est pas en place."
    return "Elle est en place." if situation.is_confirmed else "Elle est prête, et la commune doit encore la confirmer."


_LATE = (
    "Comptés depuis l'inscription. Un accès peut être inscrit jusqu'à {} jours après qu'il a eu lieu, et existe "
    "d'autant plus longtemps depuis l'accès lui-même."
)


def _durations(situation: Situation) -> dict[str, object]:
    rows: list[list[Lines]] = []
    for row in accessed(situation):
        asked = plain(f"{french_number(row.required_days)} jours") if row.required_days else plain("aucune durée")
        rows.append(
            [
                strong(situation.label(row.code)),
                plain(f"{situation.heads[row.code].retention_days} jours") + small(named(row.basis, 200)),
                asked + small(named(row.legal_basis, 200)),
                (good("remise obligatoire") if asks_for_longer(row) else plain("–")),
            ]
        )
    return grid(["Catégorie", "Chez l'hébergeur", "Ce que demande le fondement", "Au-delà"], rows, [44, 44, "1", 32])


def _handover(situation: Situation, entries: Sequence[Entry]) -> list[dict[str, object]]:
    registered = last_of(entries, "hand-over certificate registered")
    lapses = [entry for entry in entries if entry.event.get("data", {}).get("what") == "handover"]
    rows: list[tuple[str, Lines]] = []
    if situation.recipient is None:
        told = bad("pas en place") + small("il suffit que la commune remette un certificat à l'hébergeur")
    else:
        known = entry_name(registered.index) if registered else "inscrit il y a plus de 60 jours"
        state = good("en place, confirmée par la commune") if situation.is_confirmed else bad("pas encore confirmée")
        told = state + small(f"certificat de la commune : {known}")
    rows.append(("État", told))
    if lapses:
        alarms = bad(french_number(len(lapses))) + small(f"la dernière : {entry_name(lapses[-1].index)}")
        rows.append(("Alarmes de remise, conservées", alarms))
    else:
        rows.append(("Alarmes de remise, conservées", plain("aucune")))
    rows.append(("Constaté le", plain(french_moment(situation.now))))
    return [facts(rows)]
