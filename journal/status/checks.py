"""The readiness checks: what must hold, and what to do if it does not."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import time, timedelta
from functools import partial
from typing import TYPE_CHECKING

from journal.core.errors import JournalError, KeyStoreError, LockedError, UnavailableError
from journal.core.times import day_of, format_day, format_seconds, overdue_through, purgeable_through
from journal.keys.files import MAKE_WRITABLE, describe, why_unwritable
from journal.status.probe import Probe
from journal.status.restored import communes_back, describe_back, describe_lost, forgotten_purges, forgotten_seal

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable
    from datetime import datetime
    from pathlib import Path

    from journal.clock import Clock, ClockGuard
    from journal.database.store import Store
    from journal.keys.store import KeyStore
    from journal.seals.receipt_key import ReceiptKeys
    from journal.seals.sealer import Sealer
    from journal.seals.stamper import Stamper
    from journal.settings import Settings
    from journal.signer.identity import Certified
    from journal.snapshot import Snapshot
    from journal.status.alarms import Alarms
    from journal.status.figures import Status
    from journal.writing.instruments import Instruments
    from journal.writing.writer import Writer

DAYS_AHEAD_WANTED = 3
# A day that is purged tonight must be handed over by this hour; most were handed over the day before.
HANDOVER_BY = time(3)
STALE_SNAPSHOT_SECONDS = 5.0
STALE_SEAL = timedelta(minutes=10)
UNANSWERED = "the database does not answer"
SAME = "the same as of the database"


class Checks:
    """Runs every readiness check."""

    def __init__(
        self,
        *,
        store: Store,
        snapshot: Snapshot,
        keystore: KeyStore,
        writer: Writer,
        instruments: Instruments,
        sealer: Sealer,
        alarms: Alarms,
        identity: Certified,
        stamper: Stamper | None,
        receipt_keys: ReceiptKeys,
        clock: Clock,
        guard: ClockGuard,
        settings: Settings,
    ) -> None:
        """Check these parts of a service."""
        self._store = store
        self._snapshot = snapshot
        self._keystore = keystore
        self._writer = writer
        self._instruments = instruments
        self._alarms = alarms
        self._probe = Probe(store, clock, instruments)
        self._sealer = sealer
        self._identity = identity
        self._stamper = stamper
        self._receipt_keys = receipt_keys
        self._clock = clock
        self._guard = guard
        self._settings = settings
        # Number of the last seal, and since when heads have changed after it.
        self._unsealed: tuple[int, datetime] | None = None

    async def run(self, status: Status | None = None) -> dict[str, str | None]:
        """Return each check's problem, or None; a `status` just read saves a query."""
        checks: dict[str, Callable[[], Coroutine[None, None, str | None]]] = {
            "audit": self._check_audit,
            "certificate": self._check_certificate,
            "clock": self._check_clock,
            "database": self._check_database,
            "facts": self._check_facts,
            "handover": self._check_handover,
            "keys": self._check_keys,
            "partitions": self._check_partitions,
            "receipts": self._check_receipts,
            "retention": self._check_retention,
            "seals": partial(self._check_seals, status),
            "timestamps": self._check_timestamps,
        }
        answers: dict[str, str | None] = {}
        for name, check in checks.items():
            try:
                answers[name] = await check()
            except UnavailableError as error:
                # Why is said once, by the check of the database, which may have been fine a moment before.
                answers["database"] = answers.get("database") or str(error)
                answers.setdefault(name, UNANSWERED)
            except (JournalError, OSError) as error:
                told = describe(error)
                answers[name] = SAME if told in (answers.get("database") or "") else told
        return answers

    def lacks_keys(self) -> bool:
        """Tell whether today's key of some category cannot be read here."""
        today = day_of(self._clock.now())
        try:
            marks = [self._keystore.mark_of_day_key(row.code, today) for row in self._snapshot.categories()]
        except (KeyStoreError, OSError):
            return True
        return None in marks

    async def _check_audit(self) -> str | None:
        return self._alarms.problem()

    async def _check_certificate(self) -> str | None:
        now = self._clock.now().replace(microsecond=0)
        if self._identity.not_before <= now <= self._identity.not_after:
            return None
        if now < self._identity.not_before:
            return (
                f"the signing certificate is valid only from {format_seconds(self._identity.not_before)}, and this "
                f"machine says {format_seconds(now)}: nothing is sealed or extracted; correct the clock (timedatectl)"
            )
        return (
            f"the signing certificate is valid from {format_seconds(self._identity.not_before)} to "
            f"{format_seconds(self._identity.not_after)}: nothing is sealed or extracted until it is renewed"
        )

    async def _check_clock(self) -> str | None:
        self._guard.check()
        return None

    async def _check_database(self) -> str | None:
        appender = self._writer.appender
        age = self._snapshot.age_seconds()
        problem = await self._probe.find_problem(anew=age > STALE_SNAPSHOT_SECONDS)
        if age > STALE_SNAPSHOT_SECONDS:
            return f"no answer for {age:.0f} s" + (f": {problem}" if problem else "")
        if problem := appender.problem() or appender.memory.problem() or problem:
            return problem
        stopped = self._instruments.metrics.total("openepm_journal_stopped_chains")
        return f"{stopped:.0f} chains accept nothing, in another process: its log names them" if stopped else None

    async def _check_facts(self) -> str | None:
        problems = self._snapshot.problems()
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        return f"{problems[0]}{more}" if problems else None

    async def _check_handover(self) -> str | None:
        if faults := await self._store.read_handover_faults():
            more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
            return f"since {faults[0].since:%Y-%m-%d %H:%M} UTC: {faults[0].detail}{more}"
        tenants = [row.tenant for row in await self._store.read_recipients()]
        # In a thread: a network file system that hangs must not block the event loop.
        if tenants and (problem := await asyncio.to_thread(_check_outboxes, self._settings, tenants)):
            return problem
        now = self._clock.now()
        if now.time() < HANDOVER_BY:
            return None
        for category in self._snapshot.categories():
            day = purgeable_through(day_of(now), category.stated_days)
            if late := await self._store.handover_due(category.code, day):
                which = f"{late[0].tenant} {category.code} {format_day(day)}"
                return f"{which} is purged tonight but not handed over yet: run openepm-journal handover"
        return None

    async def _check_keys(self) -> str | None:
        today = day_of(self._clock.now())
        with suppress(LockedError):  # a table is being rewritten: the next call asks again
            self._keystore.confirm_used(await self._store.recorded_days())
        for tenant in self._snapshot.tenants():
            try:
                self._keystore.confirm_tenant_key(tenant.code)
            except KeyStoreError as error:
                if not tenant.closed:
                    return str(error)
        for category in self._snapshot.categories():
            for ahead in range(DAYS_AHEAD_WANTED + 1):
                day = today + timedelta(days=ahead)
                try:
                    self._keystore.confirm_day_key(category.code, day)
                except KeyStoreError as error:
                    return str(error)
        # Before the next key is to be made, days ahead. In a thread, as of the hand-over.
        return await asyncio.to_thread(_check_copies, self._keystore.directories)

    async def _check_partitions(self) -> str | None:
        made = {(row.category, row.day) for row in await self._store.partitions()}
        today = day_of(self._clock.now())
        for category in self._snapshot.categories():
            for ahead in range(DAYS_AHEAD_WANTED + 1):
                day = today + timedelta(days=ahead)
                if (category.code, day) not in made:
                    return f"no partition for {category.code} {format_day(day)}"
        return None

    async def _check_receipts(self) -> str | None:
        return self._receipt_keys.problem()

    async def _check_retention(self) -> str | None:
        limits = {
            category.code: overdue_through(day_of(self._clock.now()), category.stated_days)
            for category in self._snapshot.categories()
        }
        if forgotten := await forgotten_purges(self._store, self._keystore):
            through = format_day(forgotten[0].destroyed)
            return f"{forgotten[0].category} is purged up to {through}, but the database has lost that"
        if back := await communes_back(self._store, self._keystore):
            return describe_back(back[0])
        for row in await self._store.partitions():
            if row.category in limits and row.day <= limits[row.category]:
                return f"{row.category} {format_day(row.day)} is kept past its limit: run openepm-journal purge"
        yesterday = day_of(self._clock.now()) - timedelta(days=1)
        for category in self._snapshot.categories():
            days, since, start = category.next_retention_days, category.next_since, category.next_from
            is_late = since is not None and start is not None and start < yesterday
            if days is not None and days < category.stated_days and since is not None and is_late:
                asked = f"the retention of {days} days, asked for on {format_day(since)}"
                return f"{category.code}: {asked}, is pending: run openepm-journal handover, then openepm-journal purge"
        return None

    async def _check_timestamps(self) -> str | None:
        return await self._stamper.problem() if self._stamper is not None else None

    async def _check_seals(self, status: Status | None) -> str | None:
        row = status.row if status is not None else await self._store.read_status()
        if lost := await forgotten_seal(self._store, self._keystore):
            return describe_lost(lost)
        if problems := await self._sealer.problems():
            return "; ".join(problems)
        if row.number is None:
            return "no seal has been made yet"
        # An unsealed head may change again, which resets `unsealed_since`: keep the earliest time between calls.
        waiting = row.unsealed_since
        if waiting is None or self._unsealed is None or self._unsealed[0] != row.number:
            self._unsealed = (row.number, waiting) if waiting else None
        if self._unsealed is not None and waiting and row.at - min(self._unsealed[1], waiting) > STALE_SEAL:
            return f"heads changed more than 10 minutes ago and seal {row.number} is still the last"
        return None


def _check_copies(directories: Iterable[Path]) -> str | None:
    """Return a problem with a copy of the key store that can be read alone: no new key is made, and no purge ends."""
    for directory in directories:
        if why := why_unwritable(directory):
            return f"{directory}: {why}: {MAKE_WRITABLE}"
    return None


def _check_outboxes(settings: Settings, tenants: list[str]) -> str | None:
    """Return a problem with the directories of the hand-over, found before a day is due."""
    root = settings.handover_path
    if settings.handover_directory is None and not root.exists():
        return None  # the first hand-over makes it
    boxes = [root / tenant for tenant in tenants]
    for directory in (root, *(box for box in boxes if box.exists())):
        if why := why_unwritable(directory):
            return (
                f"{directory}: {why}: mount it, make it writable for the service, or set JOURNAL_HANDOVER_DIRECTORY to "
                "another directory"
            )
    return None
