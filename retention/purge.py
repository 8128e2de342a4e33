"""The purge: a day's rows dropped, its key destroyed, and both recorded where everyone can check.

Steps for one category and day, each safe to repeat, in this order:
close seal made → fence raised (database, then key store) → partition dropped → key shredded in every
copy → `kept_from` moved, which the next seals show → one `purge` entry per tenant and run.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import structlog

from journal.clock import Clock, ClockGuard
from journal.entry import JOURNAL_CATEGORY, Compartment
from journal.errors import StoreError
from journal.rule import purgeable_through
from journal.service_event import SUBMITTED_BY, service_event
from journal.times import day_of, format_day

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from journal.store import PurgeRow, Store

    from journal.keyring import Keyring
    from journal.sealer import Sealer
    from journal.writer import Writer

log = structlog.get_logger()

MAX_DAYS_PER_RUN = 3
LOCK_ATTEMPTS = 200
LOCK_PAUSE_SECONDS = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class DueDay:
    """A day of a category that the rule allows to go."""

    category: str
    day: date
    retention_days: int


class Purger:
    """Runs the purge of whatever is due; a run cut short anywhere is finished by the next one."""

    def __init__(
        self,
        *,
        store: Store,
        keyring: Keyring,
        sealer: Sealer,
        writer: Writer,
        service_name: str,
        clock: Clock,
    ) -> None:
        """Purge this store and this key store."""
        self._store = store
        self._keyring = keyring
        self._sealer = sealer
        self._writer = writer
        self._service_name = service_name
        self._clock = clock
        self._guard = ClockGuard(clock)

    async def due(self) -> list[DueDay]:
        """Return what may go now, oldest first: days with a partition or a key, and days half purged."""
        today = day_of(self._guard.check())
        partitions = await self._store.partitions()
        unfinished = {(row.category, row.day) for row in await self._store.read_purges() if not row.finished}
        found: list[DueDay] = []
        for category in await self._store.read_categories():
            last = purgeable_through(today, category.retention_days)
            days = {day for code, day in partitions if code == category.code}
            days |= set(self._keyring.keystore.day_keys(category.code))
            days |= {day for code, day in unfinished if code == category.code}
            found += [
                DueDay(category=category.code, day=day, retention_days=category.retention_days)
                for day in sorted(days)
                if day <= last
            ]
        return sorted(found, key=lambda due: (due.day, due.category))

    async def run(self, *, max_days: int | None = MAX_DAYS_PER_RUN) -> list[DueDay]:
        """Purge what is due, at most `max_days` days of each category (None: all), and record it."""
        await self._sealer.close_due_days()
        taken: dict[str, int] = {}
        done: list[DueDay] = []
        for due in await self.due():
            taken[due.category] = taken.get(due.category, 0) + 1
            if max_days is None or taken[due.category] <= max_days:
                await self._purge(due)
                done.append(due)
        if done:
            await self._sealer.seal_open(even_if_still=False)
        await self._record()
        return done

    async def _purge(self, due: DueDay) -> None:
        if await self._store.close_seal(due.day) is None and due.day >= await self._first_day():
            raise StoreError(f"{due.day} has no close seal yet: it cannot be purged")
        await self._store.raise_fence(due.category, due.day)
        self._keyring.keystore.raise_fence(due.category, due.day)
        self._keyring.learn_fence(due.category, due.day)
        await self._drop(due)
        self._keyring.keystore.shred_day_key(due.category, due.day)
        await self._store.move_kept_from(due.category, due.day)
        log.info("a day was purged", category=due.category, day=format_day(due.day))

    async def _first_day(self) -> date:
        service = await self._store.read_service()
        return day_of(service.created_at)

    async def _drop(self, due: DueDay) -> None:
        """Drop the partition, politely: each attempt waits a moment for the lock, then lets others pass."""
        for attempt in range(LOCK_ATTEMPTS):
            try:
                await self._store.drop_day(due.category, due.day)
            except StoreError:
                if attempt == LOCK_ATTEMPTS - 1:
                    raise
                await self._clock.sleep(LOCK_PAUSE_SECONDS)
            else:
                return

    async def _record(self) -> None:
        """Write one `purge` entry per tenant for what was purged and is not recorded yet."""
        purges = [row for row in await self._store.read_purges() if not row.recorded]
        if not purges:
            return
        at = max(row.started_at for row in purges)
        name = hashlib.sha256(repr([(row.category, row.day) for row in purges]).encode()).hexdigest()[:16]
        for tenant in await self._store.read_tenants():
            days = await self._purged_of(tenant.code, purges)
            if not days or tenant.closed:
                continue
            event = service_event(
                service=self._service_name,
                kind="purge",
                event_id=f"purge-{name}",
                at=at,
                subject=tenant.code,
                data={"days": days},
            )
            compartment = Compartment(self._service_name, tenant.code, JOURNAL_CATEGORY)
            await self._writer.submit(compartment, SUBMITTED_BY, [event], len(event.canonical))
        await self._store.mark_purges_recorded([(row.category, row.day) for row in purges])

    async def _purged_of(self, tenant: str, purges: Sequence[PurgeRow]) -> list[dict[str, Any]]:
        """Return what went of this tenant: category, day, count, first and last index, rule, seal number."""
        days: list[dict[str, Any]] = []
        for row in purges:
            for span in await self._store.read_purge_spans(row.category, row.day):
                if span.tenant != tenant:
                    continue
                purged: dict[str, Any] = {
                    "category": row.category,
                    "count": span.end - span.start,
                    "day": format_day(row.day),
                    "retention_days": row.retention_days,
                    "seal": row.seal_number,
                }
                if span.end > span.start:
                    purged |= {"first_index": span.start, "last_index": span.end - 1}
                days.append(purged)
        return days
