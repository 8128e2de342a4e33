"""The purge: a day's rows dropped, its key destroyed, and both recorded where everyone can check.

Steps for one category and day, each safe to repeat, in this order:
close seal made → handed over where a commune wants that, or its limit come → fence raised (database, then key store)
→ partition dropped → key shredded in every copy → `kept_from` moved, which the next seals show → one `purge` entry per
tenant and run.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import structlog

from journal.clock import Clock, ClockGuard
from journal.core import canonical
from journal.core.entry import JOURNAL_CATEGORY, RESERVED_TENANT, Compartment
from journal.core.errors import JournalError, KeyStoreError, LockedError, PurgedDayError, StoreError
from journal.core.rule import purgeable_through
from journal.core.times import day_of, format_day
from journal.service_event import SUBMITTED_BY, service_event
from retention.alarms import FORGOTTEN_DETAIL, FORGOTTEN_REASON, LAPSED_DETAIL, LAPSED_REASON, enter_alarms
from retention.policy import goes_at, waits_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Iterator, Sequence
    from datetime import date, datetime

    from journal.core.entry import Event
    from journal.keyring import Keyring
    from journal.sealer import Sealer
    from journal.store import PurgeSpan, Store
    from journal.writer import Writer

log = structlog.get_logger()

MAX_DAYS_PER_RUN = 3
LOCK_ATTEMPTS = 200
LOCK_PAUSE_SECONDS = 0.05
INTERVAL_SECONDS = 3600
# An entry of so many is well below what a record may hold.
SPANS_PER_ENTRY = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class DueDay:
    """A day of a category that the rule allows to go."""

    category: str
    day: date
    retention_days: int
    begun: bool = False  # behind the fence already: nothing can be read of it any more
    again: bool = False  # wholly purged once: a backup has brought back rows or a key
    forgotten: bool = False  # the key store alone knows that it is destroyed: a backup has brought back the database


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
        """Return what may go now, oldest first: days with rows or a key, and days whose purge was cut short.

        Days that the key store knows to be destroyed, and a restored database does not, are among them.
        """
        # Both clocks must agree that a day may go.
        today = day_of(min(self._guard.check(), await self._store.read_now()))
        unfinished: dict[str, set[date]] = {}
        for row in await self._store.unfinished_purges():
            unfinished[row.category] = set(_days(row.first_day, row.last_day))
        kept: dict[str, set[date]] = {}
        for leaf in await self._store.partitions():
            kept.setdefault(leaf.category, set()).add(leaf.day)
        found: list[DueDay] = []
        for category in await self._store.read_categories():
            last = purgeable_through(today, category.retention_days)
            cut_short = unfinished.get(category.code, set())
            known = category.fence or category.first_day - timedelta(days=1)
            fence = self._destroyed_through(category.code) or known
            days = kept.get(category.code, set()) | set(self._keyring.keystore.day_keys(category.code))
            found += [
                DueDay(
                    category=category.code,
                    day=day,
                    retention_days=category.retention_days,
                    begun=day <= max(known, fence),
                    again=day <= known and day not in cut_short,
                    forgotten=known < day <= fence,
                )
                for day in days | cut_short
                if category.first_day <= day <= last
            ]
        return sorted(found, key=lambda due: (due.day, due.category))

    def _destroyed_through(self, category: str) -> date | None:
        """Return the key store's fence; where it cannot be read, the category's own purge fails, and no other."""
        try:
            return self._keyring.keystore.fence(category)
        except KeyStoreError:
            return None

    async def waiting(self, due: DueDay) -> list[str]:
        """Return the communes to which a day is still to be handed over before it goes."""
        return [row.tenant for row in await self._store.handover_due(due.category, due.day)]

    async def run(self, *, max_days: int | None = MAX_DAYS_PER_RUN, to_the_limit: bool = False) -> list[DueDay]:
        """Purge what is due, at most `max_days` days of each category (None: all), and record it.

        Days behind their fence do not count: no clock can be wrong about them. With 0, they alone go.

        A day that is still to be handed over stays until two hours before its limit; with `to_the_limit`, where a
        hand-over is about to be tried, until the limit itself.

        One run at a time: BusyError where there is another. Where a day or a category fails, the others go all the
        same, and the first failure is raised at the end.
        """
        with self._keyring.keystore.destroying():
            # What an interrupted run has not written comes first: it must not be mixed with what goes now.
            failures: list[JournalError | OSError] = []
            await self._try(self._record(), failures)
            await self._try(self._sealer.close_due_days(), failures)
            done = [due async for due in self._purge_due(max_days, failures, to_the_limit=to_the_limit)]
            if done:
                await self._try(self._sealer.seal_open(even_if_still=False), failures)
            await self._try(self._record(), failures)
            alarms = enter_alarms(store=self._store, writer=self._writer, service_name=self._service_name)
            await self._try(alarms, failures)
            if failures:
                raise failures[0]
            return done

    async def _purge_due(
        self, max_days: int | None, failures: list[JournalError | OSError], *, to_the_limit: bool
    ) -> AsyncIterator[DueDay]:
        taken: Counter[str] = Counter()
        # A fence has all days before it behind it: what is later than a day that stays, stays as well.
        held: set[str] = set()
        for due in await self.due():
            taken[due.category] += not due.begun
            if due.category in held or (max_days is not None and taken[due.category] > max_days):
                continue
            try:
                if await self._waits(due, to_the_limit=to_the_limit):
                    held.add(due.category)
                    continue
                await self._purge(due)
            except (JournalError, OSError) as error:
                held.add(due.category)
                self._note(error, failures, category=due.category, day=format_day(due.day))
            else:
                yield due

    async def _try(self, work: Awaitable[object], failures: list[JournalError | OSError]) -> None:
        """Do what the purge can go on without."""
        try:
            await work
        except (JournalError, OSError) as error:
            self._note(error, failures)

    def _note(self, error: JournalError | OSError, failures: list[JournalError | OSError], **about: str) -> None:
        log.error("a step of the purge failed", kind=type(error).__name__, reason=str(error), **about)
        failures.append(error)

    async def run_forever(self) -> None:
        """Purge every hour: nightly work, done again while anything is due."""
        while True:
            await self._clock.sleep(INTERVAL_SECONDS)
            try:
                await self.run()
            except (JournalError, OSError) as error:
                log.error("the purge failed", kind=type(error).__name__, reason=str(error))

    async def _waits(self, due: DueDay, *, to_the_limit: bool) -> bool:
        """Tell whether a day is kept for its hand-over; where its time is up, note that it goes without."""
        if not (tenants := await self.waiting(due)):
            return False
        limit = goes_at if to_the_limit else waits_until
        until = limit(due.day, due.retention_days)
        about = {"category": due.category, "day": format_day(due.day), "tenants": tenants}
        if not due.begun and self._guard.check() < until:
            log.warning("a purge waits for its hand-over", **about, until=until.isoformat())
            return True
        reason, detail = (FORGOTTEN_REASON, FORGOTTEN_DETAIL) if due.forgotten else (LAPSED_REASON, LAPSED_DETAIL)
        await self._store.lapse_handovers(due.category, due.day, reason, detail)
        log.error("a day goes without hand-over", **about, detail=detail)
        return False

    async def _purge(self, due: DueDay) -> None:
        if await self._store.close_seal(due.day) is None:
            raise StoreError(f"{due.category} {due.day} is not closed: nothing could prove its purge")
        await self._store.raise_fence(due.category, due.day)
        self._keyring.keystore.raise_fence(due.category, due.day)
        self._keyring.learn_fence(due.category, due.day)
        await self._drop(due)
        self._keyring.keystore.shred_day_key(due.category, due.day)
        if not due.again:
            await self._store.move_kept_from(due.category, due.day)
        log.info("a day was purged", category=due.category, day=format_day(due.day))

    async def _drop(self, due: DueDay) -> None:
        """Drop the partition, politely: each attempt waits a moment for the lock, then lets others pass."""
        for attempt in range(LOCK_ATTEMPTS):
            try:
                await self._store.drop_day(due.category, due.day)
            except LockedError:
                if attempt == LOCK_ATTEMPTS - 1:
                    raise
                await self._clock.sleep(LOCK_PAUSE_SECONDS)
            else:
                return

    async def _record(self) -> None:
        """Write one `purge` entry per tenant for what went and is not recorded yet; more where it is very much."""
        spans = await self._store.read_purge_spans()
        closed = {tenant.code for tenant in await self._store.read_tenants() if tenant.closed}
        for tenant, group in groupby(spans, key=attrgetter("tenant")):
            gone = list(group)
            # A closed tenant's chains take nothing more.
            owner = RESERVED_TENANT if tenant in closed else tenant
            compartment = Compartment(self._service_name, owner, JOURNAL_CATEGORY)
            parts = [gone[start : start + SPANS_PER_ENTRY] for start in range(0, len(gone), SPANS_PER_ENTRY)]
            at = max(span.moved_at for span in gone)
            try:
                await self._submit(compartment, tenant, parts, at)
            except PurgedDayError:
                # So late that an earlier copy, if there was one, is gone as well.
                await self._submit(compartment, tenant, parts, self._clock.now())
            await self._store.forget_purge_spans(tenant, at)

    async def _submit(
        self, compartment: Compartment, tenant: str, parts: Sequence[Sequence[PurgeSpan]], at: datetime
    ) -> None:
        events = [self._event(tenant, [_describe(span) for span in part], at) for part in parts]
        await self._writer.submit(compartment, SUBMITTED_BY, events, sum(len(event.canonical) for event in events))

    def _event(self, tenant: str, days: list[dict[str, Any]], at: datetime) -> Event:
        # A run cut short here finds the same spans, hence the same event: recorded once.
        digest = hashlib.sha256(canonical.encode([tenant, days])).hexdigest()
        return service_event(
            service=self._service_name,
            kind="purge",
            event_id=f"purge-{digest[:32]}",
            at=at,
            subject=tenant,
            data={"days": days},
        )


def _days(first: date, last: date) -> Iterator[date]:
    return (first + timedelta(days=number) for number in range((last - first).days + 1))


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
