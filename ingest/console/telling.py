"""How the register tells an entry: who acted first, in French words, days and moments as in Paris, labels for codes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from ingest.console.rendering import moment
from ingest.console.texts import REFUSED, USES
from journal.core.errors import JournalError
from journal.document.french import french_day, french_number, french_range
from journal.extract.manifest import action_of
from journal.extract.words import CHANGES, CODES, MEMBERS, PURPOSES
from journal.writing.alarm_reasons import french_reason
from journal.writing.chronicle import AUTOMATIC, SUBMITTED_BY

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from journal.core.entry import Entry
    from journal.database.persons import PersonRow
    from journal.keys.persons import Identity
    from journal.snapshot import Snapshot

TITLES = {
    "service.extract": "demande d’extrait",
    "service.purge": "destruction",
    "service.credential": "accès d’un logiciel",
    "service.setting": "réglage",
    "service.tenant": "contrat",
    "service.alarm": "alarme",
    "service.person": "personne",
}
# What an entry is about where that is no commune, category, person or access of a program.
SUBJECTS = {"attestation": "attestation", "document": "document", "handover": "remises"}
WHAT = SUBJECTS | {
    "clock": "horloge",
    "facts": "réglages",
    "ledger": "registre des clés",
    "purge": "destruction",
    "row": "ligne de la base de données",
    "seal": "sceau",
    "sources": "logiciels",
    "stamp": "horodatage",
    "verification": "contrôle de l’intégrité",
}
# The person of these entries is whom it is about: somebody else acted, whom the entry names apart.
_ABOUT_PERSON = frozenset({"invited", "revoked"})
_IN_TITLE = frozenset({"change", "outcome", "person", "operator", "purpose", "reason", "requester", "role"})
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}").fullmatch
_MOMENT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}(?:\.[0-9]+)?Z").fullmatch
_POINTER = re.compile(r"(/[a-z_/]*)?: ").match
_EMPTY = re.compile(r"/filter: no entry of these days .*\(request ([0-9]+)\)").fullmatch


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """An entry as the register shows it; `details` are pairs of a name and what it says."""

    entry: Entry
    title: str
    who: str
    about: str
    reason: str
    state: str
    details: list[tuple[str, str]]


class Teller:
    """Tells entries of one commune."""

    def __init__(self, snapshot: Snapshot, identity: Callable[[PersonRow], Identity], tenant: str) -> None:
        """Take labels and names from what the service knows now."""
        self._snapshot = snapshot
        self._identity = identity
        self._labels = {row.code: f"« {row.label} »" for row in snapshot.categories()}
        known = [self._known(row) for row in snapshot.persons() if row.tenant == tenant]
        self._persons = {identity.name: _named(identity) for identity in known if identity is not None}

    def tell(self, entry: Entry) -> Told:
        """Return what is shown of an entry."""
        data = entry.event.get("data", {})
        title = TITLES.get(action_of(entry), action_of(entry))
        change = CHANGES.get(data.get("change", ""), data.get("change", ""))
        reason, state = self._reason(data)
        who, asked = self._who(entry, data), str(data.get("requester", ""))
        # An account that asked for itself is told as who acted.
        is_own = data.get("credential") == entry.submitted_by
        details = self._details({name: data[name] for name in data if not (is_own and name == "credential")})
        return Told(
            entry=entry,
            title=f"{title} : {change}" if change else title,
            who=who,
            about=self._about(entry, data),
            reason=reason,
            state=state,
            details=[("demandeur", asked), *details] if asked and asked not in who else details,
        )

    def _who(self, entry: Entry, data: Mapping[str, Any]) -> str:
        if data.get("person") and data.get("change") not in _ABOUT_PERSON and self._acted(entry):
            return _person(data["person"])
        if operator := data.get("operator"):
            # Of a person, the référent may have acted; all else is the host's.
            own = self._persons.get(str(operator)) if action_of(entry) == "service.person" else None
            return own or f"l’hébergeur ({operator})"
        if data.get("change") in _ABOUT_PERSON:
            return "l’hébergeur"
        if entry.submitted_by != SUBMITTED_BY:
            return self._account(entry.submitted_by)
        asked = data.get("requester")
        return f"le service ({asked})" if asked in AUTOMATIC else str(asked or "le service, de lui-même")

    def _acted(self, entry: Entry) -> bool:
        """Tell whether the person named in an entry is who acted: who gives a program its access names its user."""
        return action_of(entry) != "service.credential"

    def _account(self, identifier: str) -> str:
        credential = self._snapshot.credential(identifier)
        return f"logiciel « {credential.label or identifier} »" if credential is not None else f"compte {identifier}"

    def _about(self, entry: Entry, data: Mapping[str, Any]) -> str:
        subject = str(entry.event["subject"])
        if action_of(entry) == "service.person":
            role = CODES["role"].get(data.get("role", ""), "")
            named = _person(data.get("person") or {}) or self._name(subject)
            # Who did it by themselves is told as who acted.
            told = f"{named} (rôle : {role})" if named and role else named or role
            return "" if entry.submitted_by == subject else told
        if action_of(entry) == "service.credential":
            label = self._account(subject) if self._snapshot.credential(subject) else f"accès {subject}"
            return ", ".join(filter(None, (label, USES.get(data.get("role", ""), ""))))
        if (tenant := self._snapshot.tenant(subject)) is not None:
            return "" if action_of(entry) in {"service.purge", "service.setting"} else tenant.name
        return self._labels.get(subject) or SUBJECTS.get(subject, subject)

    def _name(self, identifier: str) -> str:
        row = self._snapshot.person(identifier)
        identity = self._known(row) if row is not None else None
        return _named(identity) if identity is not None else ""

    def _known(self, row: PersonRow) -> Identity | None:
        try:
            return self._identity(row)
        except JournalError:
            return None

    def _reason(self, data: Mapping[str, Any]) -> tuple[str, str]:
        """Return why, in French, and how it ended where it did not end well."""
        reason, purpose = str(data.get("reason", "")), PURPOSES.get(data.get("purpose", ""), "")
        if data.get("outcome") != "denied":
            return " ; ".join(filter(None, (purpose, french_reason(reason)))), ""
        if found := _EMPTY(reason):
            number = french_number(int(found[1]))
            return f"suite de la demande n° {number} : aucune entrée ne correspondait", "sans fichier"
        pointer = _POINTER(reason)
        refused = REFUSED.get(pointer[1] or "", reason).partition(". ")[0] if pointer is not None else reason
        return " – ".join(filter(None, (purpose, refused))), "refusée"

    def _details(self, data: Mapping[str, Any]) -> list[tuple[str, str]]:
        names = sorted(data.keys() - _IN_TITLE, key=lambda name: list(MEMBERS).index(name) if name in MEMBERS else 99)
        return [
            (MEMBERS.get(name, name), said) for name in names if (said := self._say(name, data[name])) and said != "()"
        ]

    def _say(self, name: str, value: Any) -> str:  # noqa: PLR0911  (a line for each kind of value)
        if name == "filter" and isinstance(value, dict) and "withhold" in value:
            return "aucun contenu : la preuve seule"
        if name == "days" and isinstance(value, list):
            return " ; ".join(self._purged(told) for told in value)
        if name in {"category", "categories"} and not isinstance(value, list):
            return self._labels.get(str(value), str(value))
        if name == "what":
            return WHAT.get(str(value), str(value))
        if isinstance(value, bool):
            return "oui" if value else "non"
        if isinstance(value, int):
            return french_number(value)
        if isinstance(value, list):
            return ", ".join(self._say(name, one) for one in value)
        if isinstance(value, dict):
            return ", ".join(f"{MEMBERS.get(key, key)} {self._say(key, one)}" for key, one in value.items())
        return _text(CODES.get(name, {}).get(str(value), str(value)))

    def _purged(self, told: Mapping[str, Any]) -> str:
        label = self._labels.get(str(told.get("category")), str(told.get("category")))
        said = f"entrées du {_text(str(told.get('day')))}, {label}"
        if isinstance(count := told.get("count"), int):
            said += f" : {french_number(count)}"
        first, last = told.get("first_index"), told.get("last_index")
        return f"{said} ({french_range(first, last)})" if isinstance(first, int) and isinstance(last, int) else said


def unanswered(entry: Entry) -> int | None:
    """Return the index of the request that an entry says to have matched nothing."""
    found = _EMPTY(str(entry.event.get("data", {}).get("reason", "")))
    return int(found[1]) if found is not None else None


def _named(identity: Identity) -> str:
    return _person({"name": identity.name, "function": identity.function})


def _person(person: Mapping[str, Any]) -> str:
    return ", ".join(filter(None, (person.get("name"), person.get("function"))))


def _text(text: str) -> str:
    if _MOMENT(text):
        return moment(datetime.fromisoformat(text))
    if _DAY(text):
        return french_day(date.fromisoformat(text))
    return text
