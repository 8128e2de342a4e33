"""The manifest of an extract (FORMAT.md, "Extract"): what was asked, by whom, and what the extract holds.

Members without a value are left out: canonical JSON has no null.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

from journal.core import canonical
from journal.core.chain import HASH_BYTES, Head
from journal.core.entry import TYPE_PREFIX, parse_origin
from journal.core.errors import MalformedError
from journal.core.times import format_day, format_time, parse_day, parse_time
from journal.extract.grounds import (
    Authorisation,
    Person,
    Rule,
    check_text,
    parse_authorisation,
    parse_person,
    parse_rule,
    take,
)
from journal.extract.layout import LIMITS_BYTES, MANIFEST
from journal.extract.numbering import SOURCES_LIMIT, SourceNumbers, parse_numbering

if TYPE_CHECKING:
    from datetime import datetime

    from journal.core.entry import Entry

FORMAT = "openepm-journal/extract/v1"
PURPOSES = ("lawfulness", "self-monitoring", "integrity-security", "criminal-proceedings")
# No journal is older, and the day before is still a valid date.
FIRST_DAY = date(1970, 1, 1)
LATENESS_LIMIT_DAYS = 60

_WITHHOLD_ALL = "all"
_TEXT_MEMBERS = ("account", "subject", "action")
_DAY_MEMBERS = ("occurred_from", "occurred_to")
_FILTER_MEMBERS = (*_TEXT_MEMBERS, *_DAY_MEMBERS)


def _given(members: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}


@dataclass(frozen=True)
class Filter:
    """Which entries an extract discloses: those that match every member given, or none at all.

    `occurred_from` and `occurred_to` are days (UTC) of the access, both included. `withhold_all` asks for the proof
    without content. ValueError if it is combined with another member, or the days are not in their order.
    """

    account: str | None = None
    subject: str | None = None
    action: str | None = None
    occurred_from: date | None = None
    occurred_to: date | None = None
    withhold_all: bool = False

    def __post_init__(self) -> None:
        """Refuse a second spelling of the same meaning."""
        for name in _TEXT_MEMBERS:
            check_text(name, getattr(self, name))
        if self.occurred_from and self.occurred_to and self.occurred_from > self.occurred_to:
            raise ValueError("the days of the access are not in their order")
        if self.withhold_all and any(getattr(self, name) is not None for name in _FILTER_MEMBERS):
            raise ValueError("a filter that withholds all has no other member")

    def as_json(self) -> dict[str, str]:
        """Return the "filter" object: empty where every entry is disclosed."""
        if self.withhold_all:
            return {"withhold": _WITHHOLD_ALL}
        days = {name: format_day(day) for name in _DAY_MEMBERS if (day := getattr(self, name)) is not None}
        return _given({name: getattr(self, name) for name in _TEXT_MEMBERS}) | days

    def matches(self, entry: Entry) -> bool:
        """Tell whether the extract discloses this entry."""
        return (
            not self.withhold_all
            and (self.account is None or account_of(entry) == self.account)
            and (self.subject is None or entry.event.get("subject") == self.subject)
            and (self.action is None or action_of(entry) == self.action)
            and (self.occurred_from is None or occurred(entry) >= self.occurred_from)
            and (self.occurred_to is None or occurred(entry) <= self.occurred_to)
        )


def account_of(entry: Entry) -> Any:
    """Return the account that acted, None if the event names none."""
    data = entry.event.get("data")
    actor = data.get("actor") if isinstance(data, dict) else None
    return actor.get("account") if isinstance(actor, dict) else None


def action_of(entry: Entry) -> str:
    """Return the type without the prefix they all share, e.g. `access` or `service.purge`."""
    kind: str = entry.event["type"]
    return kind.removeprefix(TYPE_PREFIX)


def occurred(entry: Entry) -> date:
    """Return the day (UTC) of the access; an entry's own day is that of its recording."""
    return parse_day(entry.event["time"][:10])


@dataclass(frozen=True)
class Lateness:
    """Accesses that were recorded on another day. ValueError if a number is out of its range.

    `days` is how many days late the service records an access. `here` counts the entries of the extract whose access
    was outside its period, None where it withholds all; `elsewhere` the entries of accesses in its period that were
    recorded outside of it and are kept, as far as the service knew when it made the extract.
    """

    days: int
    elsewhere: int
    here: int | None = None

    def __post_init__(self) -> None:
        """Refuse what no service counts."""
        if not 1 <= self.days <= LATENESS_LIMIT_DAYS or min(self.elsewhere, self.here or 0) < 0:
            raise ValueError("lateness is 1 to 60 days, and counts are not negative")


@dataclass(frozen=True)
class Request:
    """The entry of the tenant's `journal` category that recorded the request.

    `reference` is the requester's own reference, if one was given.
    """

    index: int
    leaf: bytes
    reference: str | None = None

    def __post_init__(self) -> None:
        """Refuse values that no entry has."""
        check_text("request.reference", self.reference)
        if not 0 <= self.index <= canonical.INTEGER_LIMIT or len(self.leaf) != HASH_BYTES:
            raise ValueError("a request has an index and a leaf hash")


@dataclass(frozen=True)
class Manifest:
    """The content of manifest.json. ValueError if it contradicts itself."""

    origin: str
    first_day: date
    last_day: date
    base: Head
    head: Head
    disclosed: int
    withheld: int
    filter: Filter
    purpose: str
    requester: str
    lateness: Lateness
    request: Request
    issued_at: datetime
    software: str
    rule: Rule
    authorisation: Authorisation | None = None
    person: Person | None = None
    numbering: tuple[SourceNumbers, ...] = ()

    def __post_init__(self) -> None:
        """Refuse values that no correct builder writes."""
        try:
            parse_origin(self.origin)
        except MalformedError as error:
            raise ValueError("an extract needs an origin") from error
        if not FIRST_DAY <= self.first_day <= self.last_day:
            raise ValueError("an extract covers days in order, from 1970 on")
        if not 0 <= self.base.size <= self.head.size <= canonical.INTEGER_LIMIT:
            raise ValueError("an extract goes from its base to its head")
        if not len(self.base.chain_hash) == len(self.head.chain_hash) == HASH_BYTES:
            raise ValueError("a hash is 32 bytes")
        self._check_counts()
        if self.purpose not in PURPOSES:
            raise ValueError("an extract needs one of the purposes the law allows")
        if len(self.numbering) > SOURCES_LIMIT:
            raise ValueError(f"the numbers of {SOURCES_LIMIT} sources are told at most")
        for name in ("requester", "software"):
            check_text(name, getattr(self, name))

    def _check_counts(self) -> None:
        if min(self.disclosed, self.withheld) < 0:
            raise ValueError("a count is not negative")
        if self.disclosed + self.withheld != self.head.size - self.base.size:
            raise ValueError("the counts do not add up to the entries between base and head")
        if self.filter == Filter() and self.withheld:
            raise ValueError("an unfiltered extract withholds nothing")
        if self.filter.withhold_all and self.disclosed:
            raise ValueError("an extract that withholds all discloses nothing")
        if self.filter.withhold_all != (self.lateness.here is None):
            raise ValueError("lateness.here is counted, unless all entries are withheld")

    def encode(self) -> bytes:
        """Write the bytes of manifest.json."""
        request = {
            "index": self.request.index,
            "leaf": self.request.leaf.hex(),
            "reference": self.request.reference,
        }
        members = {
            "authorisation": self.authorisation.as_json() if self.authorisation is not None else None,
            "base": {"chain_hash": self.base.chain_hash.hex(), "size": self.base.size},
            "disclosed": self.disclosed,
            "filter": self.filter.as_json(),
            "format": FORMAT,
            "from": format_day(self.first_day),
            "head": {"chain_hash": self.head.chain_hash.hex(), "size": self.head.size},
            "issued_at": format_time(self.issued_at),
            "lateness": _given(
                {"days": self.lateness.days, "elsewhere": self.lateness.elsewhere, "here": self.lateness.here}
            ),
            "numbering": [one.as_json() for one in self.numbering] or None,
            "origin": self.origin,
            "person": self.person.as_json() if self.person is not None else None,
            "purpose": self.purpose,
            "request": _given(request),
            "requester": self.requester,
            "rule": self.rule.as_json(),
            "software": self.software,
            "to": format_day(self.last_day),
            "withheld": self.withheld,
        }
        return canonical.encode(_given(members))


_TEXTS = ("format", "from", "issued_at", "origin", "purpose", "requester", "software", "to")
_INTEGERS = ("disclosed", "withheld")
_OBJECTS = ("base", "filter", "head", "lateness", "request", "rule")


def _unhex(text: str, pointer: str) -> bytes:
    try:
        data = bytes.fromhex(text)
    except ValueError as error:
        raise MalformedError("not hexadecimal", part=pointer) from error
    if data.hex() != text:
        raise MalformedError("not lower-case hexadecimal", part=pointer)
    return data


def _parse_head(value: Any, pointer: str) -> Head:
    members = take(value, {"chain_hash": str, "size": int}, {}, pointer)
    return Head(members["size"], _unhex(members["chain_hash"], f"{pointer}/chain_hash"))


def _parse_day_at(text: str, pointer: str) -> date:
    try:
        return parse_day(text)
    except MalformedError as error:
        raise error.within(pointer) from error


def _parse_filter(value: Any) -> Filter:
    members = take(value, {}, dict.fromkeys((*_FILTER_MEMBERS, "withhold"), str), "/filter")
    texts = {name: members.get(name) for name in _TEXT_MEMBERS}
    first, last = (
        _parse_day_at(members[name], f"/filter/{name}") if name in members else None for name in _DAY_MEMBERS
    )
    if members.get("withhold", _WITHHOLD_ALL) != _WITHHOLD_ALL:
        raise MalformedError('not "all"', part="/filter/withhold")
    return Filter(withhold_all="withhold" in members, occurred_from=first, occurred_to=last, **texts)


def parse_manifest(data: bytes) -> Manifest:
    """Read manifest.json strictly; MalformedError names the member at fault."""
    value = canonical.decode(data, limit_bytes=LIMITS_BYTES[MANIFEST])
    kinds = {**dict.fromkeys(_TEXTS, str), **dict.fromkeys(_INTEGERS, int), **dict.fromkeys(_OBJECTS, dict)}
    members = take(value, kinds, {"authorisation": dict, "numbering": list, "person": dict})
    if members["format"] != FORMAT:
        raise MalformedError(f"not {FORMAT}", part="/format")
    late = take(members["lateness"], {"days": int, "elsewhere": int}, {"here": int}, "/lateness")
    request = take(members["request"], {"index": int, "leaf": str}, {"reference": str}, "/request")
    try:
        return Manifest(
            origin=members["origin"],
            first_day=parse_day(members["from"]),
            last_day=parse_day(members["to"]),
            base=_parse_head(members["base"], "/base"),
            head=_parse_head(members["head"], "/head"),
            disclosed=members["disclosed"],
            withheld=members["withheld"],
            filter=_parse_filter(members["filter"]),
            purpose=members["purpose"],
            requester=members["requester"],
            lateness=Lateness(late["days"], late["elsewhere"], late.get("here")),
            request=Request(request["index"], _unhex(request["leaf"], "/request/leaf"), request.get("reference")),
            issued_at=parse_time(members["issued_at"]),
            software=members["software"],
            rule=parse_rule(members["rule"]),
            authorisation=parse_authorisation(members["authorisation"]) if "authorisation" in members else None,
            person=parse_person(members["person"]) if "person" in members else None,
            numbering=parse_numbering(members["numbering"]) if "numbering" in members else (),
        )
    except ValueError as error:
        raise MalformedError(str(error)) from error
