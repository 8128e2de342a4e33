"""The content of the document of an extract, as plain data: words and figures without layout or markup."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any

from journal.core.entry import ACTIONS, SERVICE_PREFIX
from journal.document.french import (
    TRIALS,
    bounded,
    cell,
    french_day,
    french_moment,
    french_number,
    french_range,
    typeset,
)
from journal.document.purged import period, purge_sentence, purge_text, rule_text
from journal.extract import table
from journal.extract.identities import Identities
from journal.extract.manifest import Filter, action_of
from journal.extract.numbering import ranges_text
from journal.extract.shapes import count_kinds, names_of
from journal.extract.words import MEMBERS, PURPOSES

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from journal.core.entry import Entry
    from journal.extract.manifest import Manifest
    from journal.extract.purges import PurgedDays
    from journal.extract.shapes import Read
    from journal.pki.trust import Anchor

MAX_ROWS = 2_000
MAX_CELL_CHARACTERS = 240
MAX_NAME_CHARACTERS = 120
# Of entries that share source and identifier, at other times.
MAX_GROUPS, MAX_INDEXES = 5, 10

# The words of extrait.csv.
COLUMNS = ("N°", "Survenu le (heure de Paris)", "Action", "Compte", "Objet", "Motif", "Destinataires", "Résultat")
CHART_DAYS = 92


@dataclass(slots=True)
class Gathered:
    """What the document needs of the disclosed entries; bounded, whatever their number."""

    by_action: Counter[str] = field(default_factory=Counter)
    by_day: Counter[date] = field(default_factory=Counter)
    rows: list[list[str]] = field(default_factory=list)
    identities: Identities = field(default_factory=Identities)

    def add(self, entry: Entry) -> None:
        """Add one disclosed entry."""
        self.count([entry], [entry.index])
        if self.has_room:
            self.rows.append(_row(entry))

    @property
    def has_room(self) -> bool:
        """Whether another entry is shown."""
        return len(self.rows) < MAX_ROWS

    def count(self, read: Sequence[Read], indexes: Sequence[int]) -> None:
        """Count disclosed entries that are not shown."""
        for kind, number in count_kinds(read).items():
            self.by_action[kind.action] += number
            self.by_day[date.fromisoformat(kind.day)] += number
        names = names_of(read)
        if indexes and indexes[-1] - indexes[0] == len(names) - 1:
            self.identities.extend(indexes[0], names)
            return
        for index, name in zip(indexes, names, strict=True):
            self.identities.extend(index, [name])


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """What the document states besides the manifest and the entries."""

    tenant_name: str
    category_label: str
    service: str
    signer: str
    anchor: Anchor | None
    manifest_sha256: str
    first_seal: int
    last_seal: int
    sealed_at: datetime
    covered_at: datetime | None
    purged: Sequence[PurgedDays]
    retention_days: int


def action_cell(action: str) -> str:
    """Return an action's French word with a capital letter, as a cell begins; the code where it has none."""
    word = ACTIONS.get(action)
    return word[0].upper() + word[1:] if word else action


def document_content(manifest: Manifest, gathered: Gathered, circumstances: Circumstances) -> dict[str, Any]:
    """Return everything the template shows, in French; equal arguments give equal content."""
    days = _days_shown(manifest)
    return {
        "title": "Extrait du journal des accès",
        "service": circumstances.service,
        "tenant_name": bounded(circumstances.tenant_name, MAX_NAME_CHARACTERS),
        "category_label": bounded(circumstances.category_label, MAX_NAME_CHARACTERS),
        "period": period(manifest.first_day, manifest.last_day),
        "origin": manifest.origin,
        "warning": typeset(TRIALS) if circumstances.anchor and circumstances.anchor.is_development else "",
        "summary": typeset(_summary(manifest, circumstances)),
        "request": _request(manifest),
        "disclosed": manifest.disclosed,
        "by_action": [
            [action_cell(action), count]
            for action, count in sorted(gathered.by_action.items(), key=lambda item: (-item[1], item[0]))
        ],
        "by_day": [[f"{day:%d/%m}", gathered.by_day[day], _is_purged(day, circumstances)] for day in days],
        "chart_alt": typeset(_chart_alt(days, gathered, circumstances)),
        "chart_title": _chart_title(days, manifest),
        "integrity": [*_integrity(manifest, circumstances), *_numbering(manifest), *_repeated(gathered)],
        "steps": [
            typeset(step)
            for step in (
                "Obtenez le certificat de confiance (trust.pem) par une autre voie que cet extrait.",
                "Dans un navigateur, même hors ligne : déposez l'extrait et ce certificat sur la page verifier.html.",
                "Ou en ligne de commande : journal-verify FICHIER --trust trust.pem",
                "Ou, sans notre logiciel, avec openssl, comme l'explique LISEZMOI.txt.",
            )
        ],
        "caution": typeset(
            "Ce document est une vue, signée mais établie pour la lecture. Font foi les entrées (entries.ndjson) et "
            "leur preuve, que la vérification contrôle une à une. Jours et heures en temps universel (UTC), "
            "sauf dans le tableau des entrées. Les jours de l'extrait sont ceux de l'enregistrement, qui peut suivre "
            f"l'accès de {manifest.lateness.days} jours. Ce qui finit ici par […] est entier dans manifest.json."
        ),
        "truncated": typeset("Les suivantes se trouvent dans extrait.csv et entries.ndjson, dans le même fichier."),
        "columns": list(COLUMNS),
        "rows": gathered.rows,
    }


def _count(count: int) -> str:
    return "une entrée" if count == 1 else f"{french_number(count)} entrées"


def _not_sent(count: int) -> str:
    return "n'est pas communiquée" if count == 1 else "ne sont pas communiquées"


def _summary(manifest: Manifest, circumstances: Circumstances) -> str:
    sentences: list[str] = []
    if manifest.filter.withhold_all:
        sentences.append(
            f"Cet extrait d'audit prouve l'existence et l'ordre de {_count(manifest.withheld)}, sans en communiquer "
            "le contenu."
        )
    elif manifest.filter != Filter() and manifest.disclosed + manifest.withheld:
        sentences.append(_filtered_summary(manifest))
    elif manifest.disclosed:
        sentences.append(
            f"Cet extrait communique l'intégralité des entrées conservées de la période, soit "
            f"{_count(manifest.disclosed)} : la suite des empreintes prouve qu'aucune ne manque."
        )
    else:
        sentences.append("Aucune entrée n'est conservée pour cette période, et la suite des empreintes le prouve.")
    if circumstances.purged:
        said = purge_sentence(circumstances.purged, manifest.rule, circumstances.retention_days)
        sentences.append(said)
    if circumstances.covered_at is not None:
        sentences.append(f"Le dernier jour n'est couvert que jusqu'au {french_moment(circumstances.covered_at)}.")
    return " ".join(sentences)


def _filtered_summary(manifest: Manifest) -> str:
    answering = f"Cet extrait communique {_count(manifest.disclosed)} répondant à la demande"
    if not manifest.withheld:
        return f"{answering}, soit toutes celles de la période."
    if not manifest.disclosed:
        answering = "Aucune entrée de la période ne répond à la demande"
    others = f"{_count(manifest.withheld)} de la période {_not_sent(manifest.withheld)}"
    return f"{answering} ; {others}, mais leur nombre est prouvé."


def _fact(text: str) -> str:
    return bounded(text, MAX_CELL_CHARACTERS)


def _request(manifest: Manifest) -> list[list[str]]:
    asked = manifest.filter.as_json()
    if "action" in asked:
        asked["action"] = ACTIONS.get(asked["action"], asked["action"])
    scope = " ; ".join(f"{MEMBERS[name]} : {_fact(value)}" for name, value in asked.items())
    if manifest.filter.withhold_all:
        scope = "preuve sans contenu"
    return [
        ["Demandeur", _requester(manifest)],
        ["Finalité", PURPOSES[manifest.purpose]],
        ["Référence de la demande", _fact(manifest.request.reference or "sans")],
        ["Autorisation", _authorisation(manifest)],
        ["Portée", scope or "toutes les entrées"],
        ["Inscription de la demande", f"entrée n° {french_number(manifest.request.index)} de la catégorie « journal »"],
        ["Établi le", french_moment(manifest.issued_at)],
    ]


def _requester(manifest: Manifest) -> str:
    person = manifest.person
    if person is None:
        return _fact(manifest.requester)
    named = f"{_fact(person.name)}, {_fact(person.function)}"
    return named if person.name == manifest.requester else f"{_fact(manifest.requester)} ({named})"


def _authorisation(manifest: Manifest) -> str:
    given = manifest.authorisation
    if given is None:
        return "aucune"
    return f"{_fact(given.issuer)}, le {french_day(given.day)}, réf. {_fact(given.reference)}"


def _integrity(manifest: Manifest, circumstances: Circumstances) -> list[list[str]]:
    purged = purge_text(circumstances.purged) or "aucune dans la période"
    rule = rule_text(manifest.rule, circumstances.retention_days)
    covered = manifest.head.size - manifest.base.size
    indexes = french_range(manifest.base.size, manifest.head.size - 1) if covered else "aucune"
    return [
        ["Entrées couvertes", indexes],
        ["Communiquées", french_number(manifest.disclosed)],
        ["Non communiquées", french_number(manifest.withheld)],
        ["Empreinte avant la première", manifest.base.chain_hash.hex()],
        ["Empreinte après la dernière", manifest.head.chain_hash.hex()],
        ["Sceaux", french_range(circumstances.first_seal, circumstances.last_seal)],
        ["Dernier sceau", french_moment(circumstances.sealed_at)],
        ["Accès d'autres jours, enregistrés ici", _late(manifest.lateness.here)],
        ["Accès de ces jours, enregistrés d'autres jours", _late(manifest.lateness.elsewhere)],
        ["Purge", typeset(f"{purged} ; règle : {rule}")],
        ["Empreinte du manifeste", circumstances.manifest_sha256],
        ["Signataire", _fact(circumstances.signer)],
        ["Certificat de confiance", _fact(circumstances.anchor.subject if circumstances.anchor else "inconnu")],
        ["Son SHA-256, à comparer", circumstances.anchor.sha256.hex() if circumstances.anchor else "inconnu"],
        ["Logiciel", _fact(manifest.software)],
    ]


def _repeated(gathered: Gathered) -> list[list[str]]:
    groups = gathered.identities.groups()
    if not groups:
        return []
    shown = " ; ".join(", ".join(map(french_number, group[:MAX_INDEXES])) for group in groups[:MAX_GROUPS])
    more = " ; …" if len(groups) > MAX_GROUPS or any(len(group) > MAX_INDEXES for group in groups) else ""
    return [["Identifiants répétés, à d'autres heures", f"entrées n° {shown}{more}"]]


def _days_shown(manifest: Manifest) -> list[date]:
    """Return the days of the period, of a long one the last."""
    last = manifest.last_day.toordinal()
    first = max(manifest.first_day.toordinal(), last - CHART_DAYS + 1)
    return [manifest.last_day.fromordinal(number) for number in range(first, last + 1)]


def _is_purged(day: date, circumstances: Circumstances) -> bool:
    return any(purged.first <= day <= purged.last for purged in circumstances.purged)


def _chart_title(days: list[date], manifest: Manifest) -> str:
    shown = "" if days[0] == manifest.first_day else f", depuis le {french_day(days[0])}"
    return f"Entrées communiquées par jour d'enregistrement (temps universel){shown}"


def _chart_alt(days: list[date], gathered: Gathered, circumstances: Circumstances) -> str:
    purged = sum(_is_purged(day, circumstances) for day in days)
    empty = sum(not gathered.by_day[day] and not _is_purged(day, circumstances) for day in days)
    return (
        f"Histogramme des entrées communiquées par jour, {period(days[0], days[-1])} : "
        f"{len(days)} jours, dont {empty} sans entrée et {purged} purgés."
    )


def _numbering(manifest: Manifest) -> list[list[str]]:
    """Say what is missing of what sources numbered, a line each."""
    rows: list[list[str]] = []
    for one in manifest.numbering:
        parts = [f"dernier n° {french_number(one.last)}"]
        if one.missing:
            parts.append(f"{french_number(one.missing)} manquants ({ranges_text(one.gaps)})")
        if one.declared:
            parts.append(f"{french_number(one.declared)} déclarés perdus")
        if one.repeated:
            parts.append(f"{french_number(one.repeated)} répétés")
        name = f"{_fact(one.source or 'une source')}{f', époque {_fact(one.epoch)}' if one.epoch else ''}"
        rows.append(["Numéros d'une source", f"{name} : {', '.join(parts)}"])
    return rows


def _late(count: int | None) -> str:
    if count is None:
        return "non comptés"
    return f"{french_number(count)} à l'établissement de l'extrait" if count else "aucun"


def _row(entry: Entry) -> list[str]:
    said = dict(zip(table.COLUMNS, table.texts(entry), strict=True))
    is_own = action_of(entry).startswith(SERVICE_PREFIX)
    done = ", ".join(filter(None, (said["opération"], said["nombre"])))
    action = action_cell(action_of(entry))
    cells = (
        french_number(entry.index),
        said["survenu le (heure de Paris)"],
        f"{action} ({done})" if done else action,
        said["compte"] or said["nom"],
        said["objet"],
        " ; ".join(filter(None, (said["motif"], said["détails"]))) if is_own else said["motif"],
        said["destinataires"],
        said["résultat"],
    )
    return [cell(text, MAX_CELL_CHARACTERS) for text in cells]
