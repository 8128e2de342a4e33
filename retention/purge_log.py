"""The purge log: the `purge` entries that tell which days of a tenant were purged, written and read back."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from journal.core import canonical
from journal.core.times import format_day, parse_day, parse_time

if TYPE_CHECKING:
    from datetime import date, datetime

    from journal.database.purge import PurgeSpan
    from journal.service import Service
    from journal.writing.chronicle import Chronicle

# An entry of this many is far below the size limit of a record.
SPANS_PER_ENTRY = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedPurge:
    """A purge that an entry records: indexes `first_index` ≤ i < `end_index` of one chain and day, gone by `at`."""

    category: str
    day: date
    first_index: int
    end_index: int
    retention_days: int
    at: datetime


class PurgeLog:
    """Writes the entries of what was purged and is not recorded yet; a run cut short is finished by the next."""

    def __init__(self, service: Service) -> None:
        """Record the purges of this service."""
        self._store = service.store
        self._chronicle = service.chronicle

    async def is_owed(self) -> bool:
        """Tell whether something was purged that no entry records."""
        return bool(await self._store.read_purge_spans())

    async def write(self) -> None:
        """Write one `purge` entry per tenant; more where there are many spans."""
        spans = await self._store.read_purge_spans()
        for tenant, group in groupby(spans, key=attrgetter("tenant")):
            gone = list(group)
            at = max(span.moved_at for span in gone)
            for start in range(0, len(gone), SPANS_PER_ENTRY):
                days = [_describe(span) for span in gone[start : start + SPANS_PER_ENTRY]]
                # A run cut short here finds the same spans, hence the same event: it is recorded once.
                digest = hashlib.sha256(canonical.encode([tenant, days])).hexdigest()
                await self._chronicle.write_once(
                    "purge",
                    tenant=tenant,
                    subject=tenant,
                    data={"days": days},
                    event_id=f"purge-{digest[:32]}",
                    at=at,
                    owed=True,
                )
            await self._store.forget_purge_spans(tenant, at)


async def read_recorded_purges(chronicle: Chronicle, tenant: str, since: date) -> dict[tuple[str, date], RecordedPurge]:
    """Return every purge of the tenant's that an entry recorded from `since` on tells, by category and day."""
    found: dict[tuple[str, date], RecordedPurge] = {}
    async for entry in chronicle.entries(tenant, "purge", since=since):
        at = parse_time(entry.event["time"])
        for told in entry.event["data"]["days"]:
            purge = _read(told, at)
            found.setdefault((purge.category, purge.day), purge)
    return found


def _describe(span: PurgeSpan) -> dict[str, Any]:
    return {
        "category": span.category,
        "count": span.end_index - span.first_index,
        "day": format_day(span.day),
        "first_index": span.first_index,
        "last_index": span.end_index - 1,
        "retention_days": span.retention_days,
        "seal": span.seal_number,
    }


def _read(told: dict[str, Any], at: datetime) -> RecordedPurge:
    return RecordedPurge(
        category=told["category"],
        day=parse_day(told["day"]),
        first_index=told["first_index"],
        end_index=told["last_index"] + 1,
        retention_days=told["retention_days"],
        at=at,
    )
