"""The coverage report (loi n° 78-17 art. 101): which module records which operation, and what does not come.

Counts only: no account and no subject.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from journal.core.entry import ACTIONS, OPERATIONS
from journal.core.times import day_of
from journal.document.french import french_number, french_range, solid_day, solid_entries, solid_moment
from journal.document.paper import (
    Lines,
    Paper,
    Section,
    bad,
    caption,
    good,
    grid,
    named,
    note,
    paragraphs,
    plain,
    small,
    strong,
)
from journal.extract.numbering import ranges_text
from journal.papers.counting import Counted, count_entries
from journal.papers.situation import accessed, entry_name
from journal.reading.sources import read_silent, read_sources

if TYPE_CHECKING:
    from datetime import date

    from journal.core.entry import Entry
    from journal.papers.counting import Kind
    from journal.papers.situation import Situation
    from journal.reading.sources import NamedSource, Silent

DEFAULT_DAYS = 30
# The actions of which the motive is wanted: by the law (loi n° 78-17 art. 101, second paragraph), or by the service.
MOTIVE_WANTED = {
    "consultation": "exigé par la loi (art. 101, deuxième alinéa)",
    "disclosure": "exigé par la loi (art. 101, deuxième alinéa)",
    "combination": "exigé par le service",
}
MANDATED = ("collection", "modification", "consultation", "disclosure", "combination", "erasure")
SOURCE_CHARACTERS = 160
SOURCES_TOLD = 60


class Share(NamedTuple):
    """Entries of the actions whose motive is wanted: those that were done, those of them without, and the others.

    What was refused, or failed, needs no motive.
    """

    wanted: int
    without: int
    not_done: int


@dataclass(frozen=True, slots=True)
class Coverage:
    """What was counted: by category, and what numbers and rhythms of sources say."""

    first: date
    last: date
    counted: dict[str, Counted]
    sources: list[NamedSource]
    silent: list[Silent]
    alarms: list[Entry]

    def actions(self) -> dict[str, int]:
        """Return how many entries there are of each action."""
        found: dict[str, int] = defaultdict(int)
        for one in self.counted.values():
            for (_, action, _), kind in one.kinds.items():
                found[action] += kind.entries
        return found

    def share(self, action: str | None = None) -> Share:
        """Return how many entries must have a motive, have none, and need none; of one action if it is given."""
        kinds = [
            kind
            for one in self.counted.values()
            for (_, done, _), kind in one.kinds.items()
            if done in MOTIVE_WANTED and action in {None, done}
        ]
        return Share(
            sum(kind.succeeded for kind in kinds),
            sum(kind.unfounded for kind in kinds),
            sum(kind.entries - kind.succeeded for kind in kinds),
        )


async def cover(situation: Situation, first: date | None, last: date | None) -> Coverage:
    """Count what was recorded on these days (UTC), by default the last 30. Raises StoreError, VerificationError."""
    service = situation.service
    until = last or day_of(situation.now)
    since = first or until - timedelta(days=DEFAULT_DAYS - 1)
    counted = {
        row.code: await count_entries(service, situation.compartment(row.code), situation.heads[row.code], since, until)
        for row in accessed(situation)
    }
    every = await read_sources(service.store, service.keyring, service.name)
    silent = await read_silent(service.store, service.keyring, service.name, every)
    return Coverage(
        since,
        until,
        counted,
        [one for one in every if one.row.tenant == situation.tenant.code and one.row.category in counted],
        [one for one in silent if one.tenant == situation.tenant.code and one.category in counted],
        await situation.entries("alarm"),
    )


async def coverage(situation: Situation, first: date | None = None, last: date | None = None) -> Paper:
    """Return the report. Raises StoreError, VerificationError."""
    found = await cover(situation, first, last)
    total = sum(one.entries for one in found.counted.values())
    period = f"du {solid_day(found.first)} au {solid_day(found.last)}"
    return Paper(
        title="Rapport de couverture",
        subtitle=f"Article 101 : ce que chaque module inscrit, jours d'inscription (UTC) {period}",
        reference=f"couverture / {situation.tenant.code}",
        tenant_name=situation.tenant.name,
        lead=(
            f"Sur ces jours, {solid_entries(total) if total else 'aucune entrée'} "
            f"{'sont inscrites' if total > 1 else 'est inscrite'} au journal de « {situation.commune} » jusqu'au "
            f"{situation.seal_name}. {told_of_motives(found)} {_order(found)}"
        ),
        sections=[
            Section(title="Les opérations que la loi énumère", blocks=[_actions(found)]),
            Section(title="Ce que chaque module inscrit", blocks=_modules(situation, found)),
            Section(title="Numéros manquants et pertes déclarées", blocks=_numbers(situation, found)),
            Section(title="Silences", blocks=_silences(situation, found)),
            Section(title="Comment ces nombres sont établis", blocks=[paragraphs(*_how(situation, found))]),
        ],
        seals=[situation.seal],
    )


def told_of_motives(found: Coverage) -> str:
    """Say how many entries need a motive and have none, and how many need none because nothing was done."""
    wanted, without, not_done = found.share()
    apart = ""
    if not_done:
        apart = (
            f"Hors {french_number(not_done)} refusées ou échouées, "
            if not_done > 1
            else "Hors une refusée ou échouée, "
        )
    if not wanted:
        told = f"{apart}aucune n'exige de motif."
    elif without:
        have = "n'en ont pas" if without > 1 else "n'en a pas"
        told = f"{apart}de celles qui exigent un motif ({french_number(wanted)}), {french_number(without)} {have}."
    elif wanted > 1:
        told = f"{apart}chacune des {french_number(wanted)} qui exigent un motif en a un."
    else:
        told = f"{apart}la seule qui exige un motif en a un."
    return _capital(told)


def _order(found: Coverage) -> str:
    missing, silent = sum(one.row.missing for one in found.sources), len(found.silent)
    numbers = "aucun numéro ne manque" if found.sources else "aucune source ne numérote ses événements"
    if missing:
        numbers = "un numéro manque" if missing == 1 else f"{french_number(missing)} numéros manquent"
    silence = "aucune source surveillée ne se tait"
    if silent:
        silence = "une source se tait" if silent == 1 else f"{french_number(silent)} sources se taisent"
    return f"{numbers[0].upper()}{numbers[1:]} ; {silence}."


def _actions(found: Coverage) -> dict[str, object]:
    actions = found.actions()
    rows = []
    for action in MANDATED:
        count = actions.get(action, 0)
        state = good(french_number(count)) if count else bad("aucune entrée")
        rows.append([strong(_capital(ACTIONS[action])), state, motive_told(found, action)])
    other = actions.get("access", 0)
    rows.append([strong("Autres accès"), plain(french_number(other) if other else "aucune entrée"), plain("–")])
    return grid(["Action", "Entrées de la période", "Motif"], rows, [44, 44, "1"])


def motive_told(found: Coverage, action: str) -> Lines:
    """Write whether an action wants a motive, and of how many entries: with those apart, they are all of the action."""
    if action not in MOTIVE_WANTED:
        return plain("–")
    lines = plain(MOTIVE_WANTED[action])
    wanted, without, not_done = found.share(action)
    if wanted or not_done:
        told = f"exigé de {french_number(wanted)}, dont {french_number(without)} sans motif"
        apart = f" ; non exigé de {french_number(not_done)} (accès refusés ou échoués)" if not_done else ""
        lines += small(told + apart)
    return lines


def _modules(situation: Situation, found: Coverage) -> list[dict[str, object]]:
    blocks: list[dict[str, object]] = []
    for code, counted in found.counted.items():
        blocks.append(caption(situation.label(code), f"{_support(situation, counted)}."))
        if not counted.kinds:
            continue
        kinds = sorted(counted.kinds.items(), key=lambda item: (item[0][0], -item[1].entries, item[0]))
        rows = [_kind(key, kind) for key, kind in kinds[:SOURCES_TOLD]]
        blocks.append(
            grid(
                ["Module (source)", "Opération", "Entrées", "Avec motif", "Dernière (UTC)"], rows, ["1", 38, 18, 30, 40]
            )
        )
        if len(kinds) > SOURCES_TOLD:
            blocks.append(
                note(f"{len(kinds) - SOURCES_TOLD} autres lignes ne sont pas montrées ; elles sont comptées.")
            )
    return blocks


def _support(situation: Situation, counted: Counted) -> str:
    if counted.first_index is None or counted.last_index is None:
        return f"aucune entrée ({situation.seal_name})"
    indexes = french_range(counted.first_index, counted.last_index)
    return f"{solid_entries(counted.entries)}, {indexes}, couvertes par le {situation.seal_name}"


def _kind(key: tuple[str, str, str], kind: Kind) -> list[Lines]:
    source, action, operation = key
    assert kind.last_at is not None
    word = ACTIONS.get(action, action)
    did = small(OPERATIONS.get(operation, operation)) if operation else []
    motive = plain(french_number(kind.with_motive) if kind.with_motive else "–")
    if action in MOTIVE_WANTED:
        motive = bad(f"manque à {french_number(kind.unfounded)}") if kind.unfounded else motive
        if not_done := kind.entries - kind.succeeded:
            motive += small(
                f"{french_number(not_done)} refusées ou échouées" if not_done > 1 else "une refusée ou échouée"
            )
    return [
        plain(named(source, SOURCE_CHARACTERS)),
        plain(_capital(word)) + did,
        plain(french_number(kind.entries)),
        motive,
        plain(solid_moment(kind.last_at)) + small(f"entrée n° {french_number(kind.last_index)}"),
    ]


def _numbers(situation: Situation, found: Coverage) -> list[dict[str, object]]:
    if not found.sources:
        return [
            paragraphs(
                "Aucune source ne numérote ses événements : rien ne montre si l'un d'eux s'est perdu avant d'arriver. "
                "Les modules qui numérotent (membre sequence) rendent une perte visible."
            )
        ]
    rows = []
    for one in found.sources[:SOURCES_TOLD]:
        row = one.row
        epoch = small(f"époque {named(one.epoch)}") if one.epoch else []
        gaps = ranges_text(one.numbers.gaps)
        missing = bad(french_number(row.missing)) + small(gaps) if row.missing else good("aucun")
        rows.append(
            [
                plain(named(one.source, SOURCE_CHARACTERS)) + epoch + small(situation.label(row.category)),
                plain(french_number(row.last)),
                missing,
                plain(french_number(row.declared) if row.declared else "aucune"),
                plain(french_number(row.repeated) if row.repeated else "aucun"),
                plain(solid_moment(row.last_at.replace(microsecond=0))),
            ]
        )
    columns = ["Source", "Dernier n°", "Manquants", "Pertes déclarées", "Répétés", "Dernier reçu (UTC)"]
    told = [one for one in found.alarms if one.event.get("data", {}).get("alarm") == "numbers lost"]
    support = ", ".join(entry_name(entry.index) for entry in told[-5:])
    blocks: list[dict[str, object]] = [grid(columns, rows, ["1", 20, 30, 20, 18, 36])]
    if support:
        blocks.append(note(f"Pertes déclarées par l'hébergeur, avec leur raison : {support}."))
    return blocks


def _silences(situation: Situation, found: Coverage) -> list[dict[str, object]]:
    if not found.silent:
        told = "Aucune source dont le rythme est déclaré ne se tait au-delà de ce rythme."
        return [paragraphs(told)]
    rows = [
        [
            plain(named(one.source, SOURCE_CHARACTERS)) + small(situation.label(one.category)),
            _since(one),
            plain(f"{french_number(one.minutes)} minutes au plus"),
        ]
        for one in found.silent[:SOURCES_TOLD]
    ]
    return [grid(["Source", "Dernier reçu (UTC)", "Rythme déclaré"], rows, ["1", 58, 40])]


def _since(one: Silent) -> Lines:
    """Write what the numbers above say was received last, and from when its rhythm counts, where that is later."""
    last = bad(solid_moment(one.last_at.replace(microsecond=0)) if one.last_at else "aucun, jamais")
    if one.since == one.last_at:
        return last
    return last + small(f"compté depuis la déclaration, le {solid_moment(one.since.replace(microsecond=0))}")


def _how(situation: Situation, found: Coverage) -> list[str]:
    heads = [situation.heads[code] for code in found.counted]
    purged = sum(head.kept_from for head in heads)
    said = [
        (
            "Le service a relu les entrées une à une, en mémoire, et n'en garde que des nombres : ni compte, ni "
            f"fiche, ni motif ne figure ici. Chaque plage de numéros est couverte par le {situation.seal_name} : un "
            "extrait des mêmes jours, demandé par la commune, contient ces entrées et le prouve. Celles inscrites "
            "depuis ce sceau ne sont pas comptées. Les numéros des sources valent depuis toujours, purge comprise."
        )
    ]
    overdue = sum(one.overdue for one in found.counted.values())
    if overdue:
        which = "qui devraient être détruites" if overdue > 1 else "qui devrait être détruite"
        said.append(f"Hors ces nombres : {solid_entries(overdue)} {which}, au-delà du terme, que rien ne lit plus.")
    if purged:
        which = "plus ancienne est déjà détruite" if purged == 1 else "plus anciennes sont déjà détruites"
        said.append(f"{solid_entries(purged)} {which}.")
    return said


def _capital(word: str) -> str:
    return word[0].upper() + word[1:]
