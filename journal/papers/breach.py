"""What a thief could read, by what is suspected stolen and by the real hierarchy of keys: counts, never names.

- an entry opens with its day's key and its tenant's key together, and both are wrapped by the master key: a backup of
  the database alone opens nothing, nor does whoever writes the database;
- with the key store and the master key as well, whatever was kept in the period opens; what was purged before does not;
- a module's credential appends and reads nothing; a client's has extracts made, and each request is an entry;
- root reads what is kept while it is on the host.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from journal.core.entry import JOURNAL_CATEGORY, RESERVED_TENANT
from journal.core.errors import OperatorError
from journal.core.times import day_of, format_day, format_seconds, parse_day
from journal.papers.counting import Counted, count_entries
from journal.papers.situation import accessed

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from journal.core.entry import Entry
    from journal.papers.situation import Situation

Suspicion = Literal["credential", "backup", "database", "root"]
SUSPICIONS: tuple[Suspicion, ...] = ("credential", "backup", "database", "root")
NOTIFY_WITHIN = timedelta(hours=72)
# The entries that tell of accesses opened, replaced and ended since.
CHANGES = frozenset(
    {
        *("added", "revoked", "rotated", "invited", "invitation accepted", "key copied"),
        *("hand-over certificate registered", "hand-over ended", "confirmed after a restore"),
    }
)
ONE_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspected:
    """What is feared, and when: `first` to `last` are the days (UTC) on which a thief may have had it.

    `holder` is the id of a stolen credential, or of a person of the console; `with_keys` whether the key store and the
    master key went as well; `known_at` when whoever reports it learnt of it.
    """

    suspicion: Suspicion
    first: date
    last: date
    known_at: datetime
    holder: str | None = None
    with_keys: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """Entries of one compartment: those that are still kept, counted, and those purged since, by the purge's entries.

    `readable` whether a thief could read them, or has appended them only; `overdue` are still kept besides, past their
    limit, and in no other figure.
    """

    category: str
    readable: bool
    entries: int
    overdue: int
    subjects: int
    accounts: int
    first_day: date | None
    last_day: date | None
    first_index: int | None
    last_index: int | None
    purged_since: int

    @property
    def total(self) -> int:
        """How many entries in all."""
        return self.entries + self.overdue + self.purged_since


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """What was added, replaced or ended since the first day, by the entry that tells of it, and its subject."""

    index: int
    subject: str
    at: datetime
    change: str
    about: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Breach:
    """What is known of a suspicion about one commune."""

    suspected: Suspected
    role: str | None
    revoked_at: datetime | None
    exposures: list[Exposure]
    requests: int
    refused: int
    changed: list[Changed]
    alarms: list[int]
    failing: list[str] = field(default_factory=list)

    @property
    def deadline(self) -> datetime:
        """Return until when the CNIL is to be told (GDPR art. 33(1))."""
        return self.suspected.known_at + NOTIFY_WITHIN

    @property
    def ended(self) -> list[Changed]:
        """Return what was revoked or replaced since: of a stolen credential or person, that one alone."""
        ended = [one for one in self.changed if one.change in {"revoked", "rotated"}]
        holder = self.suspected.holder
        return [one for one in ended if holder is None or one.subject == holder]

    @property
    def readable(self) -> list[Exposure]:
        """Return the compartments of which entries could be read."""
        return [one for one in self.exposures if one.readable and one.total]

    def as_json(self, situation: Situation) -> dict[str, Any]:
        """Return the same as a document for programs: counts, days, indexes; nothing that entries say."""
        told = self.suspected
        return {
            "alarms": self.alarms,
            "changes": [asdict(one) | {"at": format_seconds(one.at.replace(microsecond=0))} for one in self.changed],
            "compartments": [_exposed(one) for one in self.exposures],
            "failing_checks": self.failing,
            "from": format_day(told.first),
            "holder": told.holder,
            "known_at": format_seconds(told.known_at),
            "notify_before": format_seconds(self.deadline),
            "refused_requests": self.refused,
            "requests": self.requests,
            "revoked_at": format_seconds(self.revoked_at.replace(microsecond=0)) if self.revoked_at else None,
            "role": self.role,
            "seal": {"number": situation.seal.number, "sha256": situation.seal.digest.hex()},
            "service": situation.service.name,
            "suspicion": told.suspicion,
            "tenant": situation.tenant.code,
            "to": format_day(told.last),
            "with_keys": told.with_keys,
        }


def _exposed(one: Exposure) -> dict[str, Any]:
    days = {name: format_day(day) if day else None for name, day in (("first", one.first_day), ("last", one.last_day))}
    return asdict(one) | {"first_day": days["first"], "last_day": days["last"]}


async def examine(situation: Situation, suspected: Suspected) -> Breach:
    """Return what a thief could read of a commune, and what was changed since. Raises OperatorError, StoreError."""
    role, revoked_at = _holder_of(situation, suspected)
    asked: list[Entry] = []
    if suspected.suspicion == "credential":
        requests = await situation.entries("extract", since=suspected.first)
        asked = [entry for entry in requests if entry.submitted_by == suspected.holder and _within(entry, suspected)]
    granted = [entry for entry in asked if entry.event["data"].get("outcome") != "denied"]
    since = await situation.entries("credential", "person", "setting", "alarm", since=suspected.first)
    answers = await situation.service.checks.run()
    return Breach(
        suspected=suspected,
        role=role,
        revoked_at=revoked_at,
        exposures=await _exposures(situation, suspected, role, granted),
        requests=len(granted),
        refused=len(asked) - len(granted),
        changed=[_changed(entry) for entry in since if entry.event["data"].get("change") in CHANGES],
        alarms=[entry.index for entry in since if entry.event["type"].endswith(".alarm")],
        failing=[name for name, told in answers.items() if told is not None],
    )


def _holder_of(situation: Situation, suspected: Suspected) -> tuple[str | None, datetime | None]:
    """Return the role of the stolen credential or person, and when it was revoked. Raises OperatorError."""
    if suspected.suspicion != "credential":
        return None, None
    holder = suspected.holder or ""
    snapshot = situation.service.snapshot
    found = snapshot.credential(holder) or snapshot.person(holder)
    if found is None or found.tenant not in {situation.tenant.code, RESERVED_TENANT}:
        raise OperatorError(
            f"there is no credential or person {holder} of {situation.tenant.code}: see openepm-journal credential "
            "list, and person list"
        )
    return found.role, found.revoked_at


async def _exposures(
    situation: Situation, suspected: Suspected, role: str | None, granted: Sequence[Entry]
) -> list[Exposure]:
    if suspected.suspicion != "credential":
        readable = suspected.suspicion == "root" or suspected.with_keys
        return [await _kept(situation, suspected, row.code, readable=readable) for row in situation.categories]
    if role == "module":
        return [await _appended(situation, suspected, row.code) for row in accessed(situation)]
    found = []
    for row in situation.categories:
        days = _asked_days(granted, row.code)
        if days:
            found.append(await _disclosed(situation, row.code, days))
    return found


async def _kept(situation: Situation, suspected: Suspected, code: str, *, readable: bool) -> Exposure:
    """Count what was kept at some moment of the period: also what was recorded before it, however late its purge."""
    head = situation.heads[code]
    counted = await count_entries(situation.service, situation.compartment(code), head, date.min, suspected.last)
    gone = await _purged(situation, code, lambda day: day <= suspected.last, after=suspected.first)
    return _expose(code, counted, gone, readable=readable)


async def _appended(situation: Situation, suspected: Suspected, code: str) -> Exposure:
    """Count what the module's credential appended in the period: it reads nothing."""
    counted = await count_entries(
        situation.service,
        situation.compartment(code),
        situation.heads[code],
        suspected.first,
        suspected.last,
        submitted_by={suspected.holder or ""},
    )
    return _expose(code, counted, 0, readable=False)


async def _disclosed(situation: Situation, code: str, days: Collection[date]) -> Exposure:
    """Count the entries of the days that extracts were made of: with a filter, some of them were withheld."""
    counted = Counted()
    for first, last in _ranges(days):
        compartment, head = situation.compartment(code), situation.heads[code]
        await count_entries(situation.service, compartment, head, first, last, into=counted)
    gone = await _purged(situation, code, days.__contains__, after=min(days))
    return _expose(code, counted, gone, readable=True)


def _expose(code: str, counted: Counted, gone: int, *, readable: bool) -> Exposure:
    return Exposure(
        category=code,
        readable=readable,
        entries=counted.entries,
        overdue=counted.overdue,
        subjects=counted.subjects,
        accounts=counted.accounts,
        first_day=counted.first_day,
        last_day=counted.last_day,
        first_index=counted.first_index,
        last_index=counted.last_index,
        purged_since=gone,
    )


def _asked_days(granted: Iterable[Entry], code: str) -> set[date]:
    """Return the days whose content extracts gave, of one category."""
    found: set[date] = set()
    for entry in granted:
        data = entry.event["data"]
        if data.get("category") == code and not data.get("filter", {}).get("withhold"):
            found.update(_days(parse_day(data["from"]), parse_day(data["to"])))
    return found


async def _purged(situation: Situation, code: str, is_meant: Callable[[date], bool], *, after: date) -> int:
    """Return how many entries of the days that are meant were purged from a day on, as entries of purges tell."""
    count = 0
    for entry in await situation.entries("purge", since=after):
        for told in entry.event["data"]["days"]:
            if told["category"] == code and is_meant(parse_day(told["day"])):
                count += told["last_index"] - told["first_index"] + 1
    return count


def _changed(entry: Entry) -> Changed:
    kind = entry.event["type"].rpartition(".")[2]
    event = entry.event
    subject = event["subject"]
    return Changed(index=entry.index, subject=subject, at=entry.recorded_at, change=event["data"]["change"], about=kind)


def _within(entry: Entry, suspected: Suspected) -> bool:
    return suspected.first <= day_of(entry.recorded_at) <= suspected.last


def _days(first: date, last: date) -> set[date]:
    return {first + ONE_DAY * number for number in range((last - first).days + 1)}


def _ranges(days: Collection[date]) -> list[tuple[date, date]]:
    ordered = sorted(days)
    found = [(ordered[0], ordered[0])]
    for day in ordered[1:]:
        first, last = found[-1]
        if day == last + ONE_DAY:
            found[-1] = (first, day)
        else:
            found.append((day, day))
    return found


def is_own(code: str) -> bool:
    """Tell whether a category is the service's own journal, whose subjects and accounts are not agents'."""
    return code == JOURNAL_CATEGORY
