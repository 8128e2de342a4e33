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
from typing import TYPE_CHECKING, Any

from journal.core.entry import JOURNAL_CATEGORY, RESERVED_TENANT
from journal.core.errors import OperatorError, StoreError, UnavailableError
from journal.core.times import day_of, format_day, format_seconds, midnight, parse_day
from journal.papers.counting import Counted, count_entries, fence_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from journal.choices import Suspicion
    from journal.core.entry import Entry
    from journal.papers.situation import Situation

    # The first and the last moment at which an extract gave a day.
    _When = tuple[datetime, datetime]

NOTIFY_WITHIN = timedelta(hours=72)
# The entries that tell of accesses opened, replaced and ended since.
CHANGES = frozenset(
    {
        *("added", "revoked", "rotated", "invited", "invitation accepted", "key copied"),
        *("hand-over certificate registered", "hand-over ended", "confirmed after a restore"),
    }
)
# Who sees the register of requests: reading it writes no entry.
SEES_REGISTER = frozenset({"client", "auditor", "reader", "referent"})
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
    limit, and in no other figure. `damaged` rows do not open, `missing` ones are gone and nothing purged them: somebody
    wrote in the database.
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
    damaged: int
    missing: int

    @property
    def total(self) -> int:
        """How many entries there were: those that a hand altered or removed since could be read before."""
        return self.entries + self.overdue + self.damaged + self.missing + self.purged_since


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request for an extract, by the entry that tells of it; no name, no filter's value."""

    index: int
    at: datetime
    category: str
    first: str
    last: str
    is_granted: bool
    is_filtered: bool


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
    """What is known of a suspicion about one commune.

    `unread` entries of its own journal were altered or removed: what they told of requests and changes is not here.
    """

    suspected: Suspected
    role: str | None
    revoked_at: datetime | None
    exposures: list[Exposure]
    asked: list[Asked]
    changed: list[Changed]
    alarms: list[int]
    unread: int
    failing: list[str] = field(default_factory=list)

    @property
    def deadline(self) -> datetime:
        """Return until when the CNIL is to be told (GDPR art. 33(1))."""
        return self.suspected.known_at + NOTIFY_WITHIN

    @property
    def requests(self) -> int:
        """Return how many of its requests were granted."""
        return sum(one.is_granted for one in self.asked)

    @property
    def refused(self) -> int:
        """Return how many of its requests were refused."""
        return len(self.asked) - self.requests

    @property
    def shows_register(self) -> bool:
        """Whether the stolen access shows who asked for extracts."""
        return self.role in SEES_REGISTER

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
            "asked": [asdict(one) | {"at": format_seconds(one.at.replace(microsecond=0))} for one in self.asked],
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
            "unread": self.unread,
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
        requests = await situation.entries("extract", since=suspected.first, without_damaged=True)
        asked = [entry for entry in requests if entry.submitted_by == suspected.holder and _within(entry, suspected)]
    granted = [entry for entry in asked if entry.event["data"].get("outcome") != "denied"]
    told = ("credential", "person", "setting", "alarm")
    since = await situation.entries(*told, since=suspected.first, without_damaged=True)
    answers = await situation.service.checks.run()
    return Breach(
        suspected=suspected,
        role=role,
        revoked_at=revoked_at,
        exposures=await _exposures(situation, suspected, role, granted),
        asked=[_asked(entry) for entry in asked],
        changed=[_changed(entry) for entry in since if entry.event["data"].get("change") in CHANGES],
        alarms=[entry.index for entry in since if entry.event["type"].endswith(".alarm")],
        unread=await _unread(situation),
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
        return [await _kept(situation, suspected, code, readable=readable) for code in situation.heads]
    if role == "module":
        return [await _appended(situation, suspected, code) for code in situation.heads if not is_own(code)]
    found = []
    for code in situation.heads:
        days = _asked_days(granted, code)
        if days:
            found.append(await _disclosed(situation, code, days))
    return found


async def _kept(situation: Situation, suspected: Suspected, code: str, *, readable: bool) -> Exposure:
    """Count what was kept at some moment of the period: also what was recorded before it, however late its purge."""
    head = situation.heads[code]
    counted = await count_entries(
        situation.service, situation.compartment(code), head, date.min, suspected.last, with_damaged=True
    )
    arrived = midnight(suspected.first)
    gone = await _purged(situation, code, lambda day: arrived if day <= suspected.last else None, since=suspected.first)
    missing = await _missing(situation, code, counted, suspected.last)
    return _expose(code, counted, gone, readable=readable, missing=missing)


async def _appended(situation: Situation, suspected: Suspected, code: str) -> Exposure:
    """Count what the module's credential appended in the period: it reads nothing."""
    counted = await count_entries(
        situation.service,
        situation.compartment(code),
        situation.heads[code],
        suspected.first,
        suspected.last,
        submitted_by={suspected.holder or ""},
        with_damaged=True,
    )
    return _expose(code, counted, 0, readable=False)


async def _disclosed(situation: Situation, code: str, days: Mapping[date, _When]) -> Exposure:
    """Count the entries that were there when extracts of their days were made: with a filter, some were withheld."""
    counted = Counted()
    compartment, head = situation.compartment(code), situation.heads[code]
    for day, (_, last) in sorted(days.items()):
        await count_entries(
            situation.service, compartment, head, day, day, into=counted, before=last, with_damaged=True
        )
    gone = await _purged(situation, code, lambda day: days[day][0] if day in days else None, since=min(days))
    return _expose(code, counted, gone, readable=True)


async def _missing(situation: Situation, code: str, counted: Counted, last: date) -> int:
    """Return how many entries there are to be, as seals state, that nothing has purged and of which no row is left."""
    head, fence = situation.heads[code], fence_of(situation.service, situation.compartment(code))
    purged = await _size_after(situation, code, fence) if fence is not None else None
    begin = max(head.kept_from, purged or 0)
    end = await _size_after(situation, code, last)
    if end is None:
        end = begin if counted.last_index is None else counted.last_index + 1
    return max(0, end - begin - counted.overdue - counted.entries - counted.damaged)


async def _unread(situation: Situation) -> int:
    """Return how many entries of the commune's own journal were altered or removed."""
    if JOURNAL_CATEGORY not in situation.heads:
        return 0
    head, today = situation.heads[JOURNAL_CATEGORY], day_of(situation.now)
    compartment = situation.compartment(JOURNAL_CATEGORY)
    counted = await count_entries(situation.service, compartment, head, date.min, today, with_damaged=True)
    return counted.damaged + await _missing(situation, JOURNAL_CATEGORY, counted, today)


async def _size_after(situation: Situation, code: str, day: date) -> int | None:
    """Return how many entries the chain had had by the end of a day, as a seal states; None where none does."""
    service = situation.service
    if day >= day_of(situation.seal.sealed_at):
        return situation.heads[code].size
    try:
        for row in await service.store.read_close_seals(day, day):
            if (stated := await service.reader.chain_seal(row, situation.compartment(code))) is not None:
                return stated.head.size
    except UnavailableError:
        raise
    except StoreError:
        pass  # its heads are forgotten, or were altered
    return None


def _expose(code: str, counted: Counted, gone: int, *, readable: bool, missing: int = 0) -> Exposure:
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
        damaged=counted.damaged,
        missing=missing,
    )


def _asked_days(granted: Iterable[Entry], code: str) -> dict[date, _When]:
    """Return the days whose content extracts gave, of one category, with the first and the last moment of each."""
    found: dict[date, _When] = {}
    for entry in granted:
        data = entry.event["data"]
        if data.get("category") == code and not data.get("filter", {}).get("withhold"):
            for day in _days(parse_day(data["from"]), min(parse_day(data["to"]), day_of(entry.recorded_at))):
                first, _ = found.get(day, (entry.recorded_at, None))
                found[day] = (first, entry.recorded_at)
    return found


async def _purged(situation: Situation, code: str, had_at: Callable[[date], datetime | None], *, since: date) -> int:
    """Return how many entries were purged after a moment, each day's its own, as entries of purges from a day on tell.

    `had_at` gives the moment at which a thief had a day's entries; None for a day that is not meant.
    """
    count = 0
    for entry in await situation.entries("purge", since=since, without_damaged=True):
        for told in entry.event["data"]["days"]:
            had = had_at(parse_day(told["day"])) if told["category"] == code else None
            if had is not None and entry.recorded_at > had:
                count += told["last_index"] - told["first_index"] + 1
    return count


def _changed(entry: Entry) -> Changed:
    kind = entry.event["type"].rpartition(".")[2]
    event = entry.event
    subject = event["subject"]
    return Changed(index=entry.index, subject=subject, at=entry.recorded_at, change=event["data"]["change"], about=kind)


def _asked(entry: Entry) -> Asked:
    data = entry.event["data"]
    return Asked(
        index=entry.index,
        at=entry.recorded_at,
        category=data["category"],
        first=data.get("from", ""),
        last=data.get("to", ""),
        is_granted=data.get("outcome") != "denied",
        is_filtered=bool(data.get("filter")),
    )


def _within(entry: Entry, suspected: Suspected) -> bool:
    return suspected.first <= day_of(entry.recorded_at) <= suspected.last


def _days(first: date, last: date) -> set[date]:
    return {first + ONE_DAY * number for number in range((last - first).days + 1)}


def is_own(code: str) -> bool:
    """Tell whether a category is the service's own journal, whose subjects and accounts are not agents'."""
    return code == JOURNAL_CATEGORY
