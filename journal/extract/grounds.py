"""What an extract rests on, in its manifest: who asked, on which authorisation, and the rule of retention.

All of it is the service's word (FORMAT.md, "`manifest.json`"). Constructors raise ValueError, readers MalformedError.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from journal.core.errors import MalformedError
from journal.core.times import MAX_RETENTION_DAYS, MIN_RETENTION_DAYS, format_day, format_time, parse_day, parse_time

if TYPE_CHECKING:
    from datetime import date, datetime

TEXT_LIMIT_CHARACTERS = 1024
RULE_CHANGES_LIMIT = 32


def check_text(name: str, text: str | None) -> None:
    """Refuse a text that is empty or longer than the format allows; None is no text."""
    if text is not None and not 1 <= len(text) <= TEXT_LIMIT_CHARACTERS:
        raise ValueError(f"{name} is 1 to {TEXT_LIMIT_CHARACTERS} characters")


@dataclass(frozen=True)
class Person:
    """The natural person whose credential asked, and in which function."""

    name: str
    function: str

    def __post_init__(self) -> None:
        """Refuse an empty text."""
        check_text("person.name", self.name)
        check_text("person.function", self.function)

    def as_json(self) -> dict[str, str]:
        """Return the object in the manifest."""
        return {"function": self.function, "name": self.name}


@dataclass(frozen=True)
class Authorisation:
    """Who authorised the extract, on which day, under which reference."""

    issuer: str
    day: date
    reference: str

    def __post_init__(self) -> None:
        """Refuse an empty text."""
        check_text("authorisation.issuer", self.issuer)
        check_text("authorisation.reference", self.reference)

    def as_json(self) -> dict[str, str]:
        """Return the object in the manifest."""
        return {"date": format_day(self.day), "issuer": self.issuer, "reference": self.reference}


@dataclass(frozen=True)
class RuleChange:
    """A change of the retention: when it was asked for, to how many days, by which written instruction."""

    changed_at: datetime
    retention_days: int
    instruction: str

    def __post_init__(self) -> None:
        """Refuse what no category can have."""
        check_text("rule.changes.instruction", self.instruction)
        if not MIN_RETENTION_DAYS <= self.retention_days <= MAX_RETENTION_DAYS:
            raise ValueError(f"a retention is {MIN_RETENTION_DAYS} to {MAX_RETENTION_DAYS} days")

    def as_json(self) -> dict[str, Any]:
        """Return the object in the manifest."""
        return {
            "changed_at": format_time(self.changed_at),
            "instruction": self.instruction,
            "retention_days": self.retention_days,
        }


@dataclass(frozen=True)
class Rule:
    """What the retention rests on, and the changes of it that the seals listed show or may show."""

    basis: str
    changes: tuple[RuleChange, ...] = ()

    def __post_init__(self) -> None:
        """Refuse an empty basis, and changes out of their order."""
        check_text("rule.basis", self.basis)
        times = [change.changed_at for change in self.changes]
        if len(times) > RULE_CHANGES_LIMIT or times != sorted(times):
            raise ValueError(f"the changes of a rule are in their order, {RULE_CHANGES_LIMIT} at most")

    def as_json(self) -> dict[str, Any]:
        """Return the object in the manifest."""
        changes = {"changes": [change.as_json() for change in self.changes]} if self.changes else {}
        return {"basis": self.basis, **changes}


def take(value: Any, required: dict[str, type], optional: dict[str, type], pointer: str = "") -> Any:
    """Return `value`, which must be an object of exactly these members, each of its type. Raises MalformedError."""
    if not isinstance(value, dict):
        raise MalformedError("not an object", part=pointer)
    if not required.keys() <= value.keys() <= required.keys() | optional.keys():
        raise MalformedError("its members are not those of the format", part=pointer)
    for name, member in value.items():
        # isinstance takes a boolean for an integer: the type itself is compared.
        if type(member) is not {**required, **optional}[name]:
            raise MalformedError("not of the type in the format", part=f"{pointer}/{name}")
    return value


def parse_person(value: Any) -> Person:
    """Read the member `person`."""
    members = take(value, {"function": str, "name": str}, {}, "/person")
    return Person(members["name"], members["function"])


def parse_authorisation(value: Any) -> Authorisation:
    """Read the member `authorisation`."""
    members = take(value, {"date": str, "issuer": str, "reference": str}, {}, "/authorisation")
    return Authorisation(members["issuer"], parse_day(members["date"]), members["reference"])


def parse_rule(value: Any) -> Rule:
    """Read the member `rule`."""
    members = take(value, {"basis": str}, {"changes": list}, "/rule")
    if members.get("changes") == []:
        raise MalformedError("empty", part="/rule/changes")
    kinds: dict[str, type] = {"changed_at": str, "instruction": str, "retention_days": int}
    changes = [
        take(change, kinds, {}, f"/rule/changes/{place}") for place, change in enumerate(members.get("changes", []))
    ]
    return Rule(
        members["basis"],
        tuple(
            RuleChange(parse_time(change["changed_at"]), change["retention_days"], change["instruction"])
            for change in changes
        ),
    )
