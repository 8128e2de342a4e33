"""What a commune's own journal says of its purges: the `purge` entries, as long as they are kept themselves."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from journal.core.entry import JOURNAL_CATEGORY, RESERVED_TENANT, Compartment
from journal.core.errors import AbsentKeyError
from journal.core.times import day_of, parse_day, parse_time
from journal.reading.register import open_service_entries

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import date, datetime

    from journal.core.entry import Entry
    from journal.database.ingest import TenantRow
    from journal.service import Service

PAGE_ENTRIES = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedPurge:
    """Entries of one chain and day that an entry says went: `first_index` ≤ i < `end_index`, not later than `at`."""

    category: str
    day: date
    first_index: int
    end_index: int
    retention_days: int
    at: datetime


async def read_recorded_purges(
    service: Service, tenant: TenantRow, since: date
) -> dict[tuple[str, date], RecordedPurge]:
    """Return every purge of the tenant's that an entry recorded from `since` on tells, by category and day.

    Those of a tenant whose contract has ended are in the service's own journal.
    """
    found: dict[tuple[str, date], RecordedPurge] = {}
    owners = [tenant.code, RESERVED_TENANT] if tenant.closed else [tenant.code]
    for owner in owners:
        async for entry in _entries(service, owner, since):
            if entry.event["subject"] != tenant.code:
                continue
            at = parse_time(entry.event["time"])
            for told in entry.event["data"]["days"]:
                purge = _read(told, at)
                found.setdefault((purge.category, purge.day), purge)
    return found


async def _entries(service: Service, owner: str, since: date) -> AsyncIterator[Entry]:
    """Yield the purge entries of one journal, day by day, from the first that is still kept."""
    compartment = Compartment(service.name, owner, JOURNAL_CATEGORY)
    (category,) = [row for row in await service.store.read_categories() if row.code == JOURNAL_CATEGORY]
    day = max(since, category.first_day)
    if category.fence is not None:
        day = max(day, category.fence + timedelta(days=1))
    today = day_of(service.clock.now())
    after = -1
    while day <= today:
        rows = await service.store.read_entries(owner, JOURNAL_CATEGORY, day, after + 1, PAGE_ENTRIES)
        if rows:
            try:
                box = service.keyring.box(compartment, day)
            except AbsentKeyError:
                return  # the contract's end took the tenant's key: nobody reads these any more
            for entry in await asyncio.to_thread(open_service_entries, box, rows, "purge"):
                yield entry
            after = rows[-1].index
        if len(rows) < PAGE_ENTRIES:
            day += timedelta(days=1)


def _read(told: dict[str, Any], at: datetime) -> RecordedPurge:
    return RecordedPurge(
        category=told["category"],
        day=parse_day(told["day"]),
        first_index=told["first_index"],
        end_index=told["last_index"] + 1,
        retention_days=told["retention_days"],
        at=at,
    )
