"""Entries counted, never shown: by source and operation, with a motive or not, and how many subjects and accounts.

Entries are opened one page at a time, in memory, and what is kept of them is a count. Subjects and accounts are told
apart by a hash of this process alone: nothing of them leaves it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from journal.core.entry import parse_record
from journal.core.errors import FencedDayError, StoreError, UnavailableError, VerificationError
from journal.core.times import day_of, overdue_through, parse_time
from journal.extract.manifest import action_of

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import date, datetime

    from journal.core.entry import Compartment, Entry
    from journal.core.envelope import Box, Row
    from journal.core.seal import SealedHead
    from journal.service import Service

PAGE_ENTRIES = 1_000


@dataclass(slots=True)
class Kind:
    """What one source did: how many entries of one action and operation, how many with a motive, the last one.

    What was refused, or failed, needs no motive: `succeeded` did not, and `unfounded` of them have none.
    """

    entries: int = 0
    with_motive: int = 0
    succeeded: int = 0
    unfounded: int = 0
    last_at: datetime | None = None
    last_index: int = 0


@dataclass(slots=True)
class Counted:
    """The entries of one compartment on some days, up to what the latest seal covers.

    `overdue` of these days are past their limit and not purged yet: nothing reads them any more, so that they are in
    no other figure. That is what the counters of the day say, whoever submitted them. `damaged` rows do not open.
    """

    entries: int = 0
    overdue: int = 0
    damaged: int = 0
    first_index: int | None = None
    last_index: int | None = None
    first_day: date | None = None
    last_day: date | None = None
    kinds: dict[tuple[str, str, str], Kind] = field(default_factory=dict)
    submitters: Counter[str] = field(default_factory=Counter)
    _subjects: set[int] = field(default_factory=set)
    _accounts: set[int] = field(default_factory=set)

    @property
    def subjects(self) -> int:
        """How many different subjects."""
        return len(self._subjects)

    @property
    def accounts(self) -> int:
        """How many different accounts."""
        return len(self._accounts)

    def add(self, entry: Entry, day: date) -> None:
        """Count one entry."""
        event = entry.event
        data = event.get("data")
        said: dict[str, Any] = data if isinstance(data, dict) else {}
        operation = said.get("operation")
        key = (event["source"], action_of(entry), operation if isinstance(operation, str) else "")
        kind = self.kinds.setdefault(key, Kind())
        kind.entries += 1
        motive = said.get("justification")
        is_motivated = isinstance(motive, str) and bool(motive.strip())
        is_done = said.get("outcome", "success") == "success"
        kind.with_motive += is_motivated
        kind.succeeded += is_done
        kind.unfounded += is_done and not is_motivated
        at = parse_time(event["time"])
        if kind.last_at is None or at >= kind.last_at:
            kind.last_at, kind.last_index = at, entry.index
        self.submitters[entry.submitted_by] += 1
        if subject := event.get("subject"):
            self._subjects.add(hash(str(subject)))
        actor = said.get("actor")
        if isinstance(actor, dict) and (account := actor.get("account")):
            self._accounts.add(hash(str(account)))
        self.entries += 1
        self._place(entry.index, day)

    def add_damaged(self, index: int, day: date) -> None:
        """Count a row that does not open: it was altered."""
        self.damaged += 1
        self._place(index, day)

    def _place(self, index: int, day: date) -> None:
        self.first_index = index if self.first_index is None else self.first_index
        self.last_index = index
        self.first_day, self.last_day = self.first_day or day, day


async def count_entries(
    service: Service,
    compartment: Compartment,
    head: SealedHead,
    first: date,
    last: date,
    *,
    into: Counted | None = None,
    submitted_by: Collection[str] = (),
    before: datetime | None = None,
    with_damaged: bool = False,
) -> Counted:
    """Count the entries recorded on these days (UTC) that are still kept and that the seal of `head` covers.

    With `submitted_by`, only those that one of these credentials or persons submitted; with `before`, only those that
    were recorded before that moment. Raises StoreError for rows that are missing, VerificationError for those that do
    not open: `with_damaged` counts these instead, and leaves out the days that cannot be read.
    """
    counted = into or Counted()
    chain = _Chain(service, compartment, head)
    wanted = _Wanted(submitted_by, before, with_damaged)
    category = service.snapshot.category(compartment.category)
    fence = fence_of(service, compartment)
    stated_days = head.retention_days if category is None else category.stated_days
    overdue = overdue_through(day_of(service.clock.now()), stated_days)
    if first <= overdue:
        counted.overdue += sum(
            row.count
            for row in await service.store.read_activity(compartment.tenant)
            if row.category == compartment.category
            and first <= row.day <= min(last, overdue)
            and (fence is None or row.day > fence)
        )
    after = head.kept_from - 1
    day = max(first, overdue + timedelta(days=1))
    if category is not None:
        day = max(day, category.first_day)
    while day <= last:
        if fence is None or day > fence:
            after = await _count_day(chain, day, after, counted, wanted)
        day += timedelta(days=1)
    return counted


@dataclass(frozen=True, slots=True)
class _Chain:
    service: Service
    compartment: Compartment
    head: SealedHead


@dataclass(frozen=True, slots=True)
class _Wanted:
    """Which entries count."""

    submitted_by: Collection[str]
    before: datetime | None
    with_damaged: bool

    def takes(self, entry: Entry) -> bool:
        by_them = not self.submitted_by or entry.submitted_by in self.submitted_by
        return by_them and (self.before is None or entry.recorded_at < self.before)


async def _count_day(chain: _Chain, day: date, after: int, counted: Counted, wanted: _Wanted) -> int:
    """Count a day's entries with an index above `after`; return the last index that was seen."""
    while True:
        rows, box = await _read(chain, day, after + 1, with_damaged=wanted.with_damaged)
        covered = [row for row in rows if row[0] < chain.head.size]
        if covered:
            assert box is not None
            entries, damaged = await asyncio.to_thread(_open, box, covered, with_damaged=wanted.with_damaged)
            for entry in entries:
                if wanted.takes(entry):
                    counted.add(entry, day)
            for index in damaged:
                counted.add_damaged(index, day)
            after = covered[-1][0]
        if len(covered) < PAGE_ENTRIES:
            return after


async def _read(chain: _Chain, day: date, first: int, *, with_damaged: bool) -> tuple[list[Row], Box | None]:
    """Return a page of a day's rows from an index on, and what opens them; none of a day that was purged since."""
    service, compartment = chain.service, chain.compartment
    try:
        rows = await service.store.read_page(compartment.tenant, compartment.category, day, first, PAGE_ENTRIES)
        return rows, service.keyring.box(compartment, day) if rows else None
    except UnavailableError:
        raise
    except FencedDayError:
        return [], None
    except StoreError:
        await service.snapshot.refresh(whole=True)
        fence = fence_of(service, compartment)
        if (fence is None or day > fence) and not with_damaged:
            raise
        return [], None  # purged; or its partition, or the rule that it is read by, was altered


def fence_of(service: Service, compartment: Compartment) -> date | None:
    """Return the last purged day: the key store may know of purges that an altered or restored database does not."""
    category = service.snapshot.category(compartment.category)
    fences = (category.fence if category is not None else None, service.keyring.keystore.fence(compartment.category))
    return max((fence for fence in fences if fence is not None), default=None)


def _open(box: Box, rows: list[Row], *, with_damaged: bool) -> tuple[list[Entry], list[int]]:
    """Return the entries of the rows, and the indexes of those that do not open."""
    try:
        _, records = box.open_all(rows)
        return [parse_record(record) for record in records], []
    except VerificationError:
        if not with_damaged:
            raise
    entries, damaged = [], []
    for row in rows:
        try:
            _, [record] = box.open_all([row])
            entries.append(parse_record(record))
        except VerificationError:
            damaged.append(row[0])
    return entries, damaged
