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
from journal.core.errors import FencedDayError, StoreError
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
    no other figure. That is what the counters of the day say, whoever submitted them.
    """

    entries: int = 0
    overdue: int = 0
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
        self.first_index = entry.index if self.first_index is None else self.first_index
        self.last_index = entry.index
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
) -> Counted:
    """Count the entries recorded on these days (UTC) that are still kept and that the seal of `head` covers.

    With `submitted_by`, only those that one of these credentials or persons submitted. Raises StoreError for rows that
    are missing, VerificationError for those that do not open.
    """
    counted = into or Counted()
    chain = _Chain(service, compartment, head)
    category = service.snapshot.category(compartment.category)
    if category is None:
        return counted
    fence = category.fence
    overdue = overdue_through(day_of(service.clock.now()), category.stated_days)
    counted.overdue += sum(
        row.count
        for row in await service.store.read_activity(compartment.tenant)
        if row.category == category.code
        and first <= row.day <= min(last, overdue)
        and (fence is None or row.day > fence)
    )
    after = head.kept_from - 1
    day = max(first, category.first_day, overdue + timedelta(days=1))
    while day <= last:
        if fence is None or day > fence:
            after = await _count_day(chain, day, after, counted, submitted_by)
        day += timedelta(days=1)
    return counted


@dataclass(frozen=True, slots=True)
class _Chain:
    service: Service
    compartment: Compartment
    head: SealedHead


async def _count_day(chain: _Chain, day: date, after: int, counted: Counted, submitted_by: Collection[str]) -> int:
    """Count a day's entries with an index above `after`; return the last index that was seen."""
    service, compartment, head = chain.service, chain.compartment, chain.head
    while True:
        try:
            rows = await service.store.read_page(compartment.tenant, compartment.category, day, after + 1, PAGE_ENTRIES)
            box = service.keyring.box(compartment, day) if rows else None
        except FencedDayError:
            return after  # purged since
        except StoreError:
            await service.snapshot.refresh(whole=True)
            category = service.snapshot.category(compartment.category)
            if category is None or category.fence is None or day > category.fence:
                raise
            return after  # purged since
        covered = [row for row in rows if row[0] < head.size]
        if covered:
            assert box is not None
            for entry in await asyncio.to_thread(_open, box, covered):
                if not submitted_by or entry.submitted_by in submitted_by:
                    counted.add(entry, day)
            after = covered[-1][0]
        if len(covered) < PAGE_ENTRIES:
            return after


def _open(box: Box, rows: list[Row]) -> list[Entry]:
    _, records = box.open_all(rows)
    return [parse_record(record) for record in records]
