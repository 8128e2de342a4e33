"""The purge: a day's rows dropped, its key destroyed, and both recorded where everyone can check.

`purge_steps` has the steps in their order; here they are taken, and here is what each of them does.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

import structlog

from journal.admin.rules import RuleChanges, is_asked_for
from journal.clock import Clock, ClockGuard
from journal.core.errors import JournalError, KeyStoreError, StoreError
from journal.core.times import day_of, format_day, purgeable_through
from retention.alarms import FORGOTTEN_DETAIL, FORGOTTEN_REASON, LAPSED_DETAIL, LAPSED_REASON, enter_alarms
from retention.maintenance import politely
from retention.policy import goes_at, waits_until
from retention.purge_log import PurgeLog
from retention.purge_steps import AFTER_DAYS, BEFORE_DAYS, OF_A_DAY, Boundary, Choice, DueDay, Step

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from datetime import date, datetime

    from journal.database.store import Store
    from journal.keys.ring import Keyring
    from journal.seals.sealer import Sealer
    from journal.writing.chronicle import Chronicle
    from retention.purge_steps import OnStep

__all__ = ["DueDay", "Purger"]

log = structlog.get_logger()

MAX_DAYS_PER_RUN = 3
INTERVAL_SECONDS = 3600
REST_SECONDS = 0.1


def _tell_nobody(_: Boundary) -> None:
    """Let a run go on unseen."""


@dataclass(slots=True, kw_only=True)
class _Run:
    """One run: how it was asked for, and what came of it so far."""

    max_days: int | None
    to_the_limit: bool
    on_step: OnStep
    done: list[DueDay] = field(default_factory=list)
    failures: list[JournalError | OSError] = field(default_factory=list)

    def note(self, error: JournalError | OSError, **about: str) -> None:
        """Keep a failure that the rest of the run goes on without."""
        log.error("a step of the purge failed", kind=type(error).__name__, reason=str(error), **about)
        self.failures.append(error)


class Purger:
    """Runs the purge of whatever is due; a run cut short anywhere is finished by the next one."""

    def __init__(
        self,
        *,
        store: Store,
        keyring: Keyring,
        sealer: Sealer,
        chronicle: Chronicle,
        clock: Clock,
    ) -> None:
        """Purge this store and this key store."""
        self._store = store
        self._keyring = keyring
        self._sealer = sealer
        self._clock = clock
        self._guard = ClockGuard(clock)
        self._log = PurgeLog(store, chronicle)
        rules = RuleChanges(store=store, keystore=keyring.keystore, chronicle=chronicle)
        self._of_the_run: dict[Step, Callable[[_Run], Awaitable[object]]] = {
            Step.RECORD_EARLIER: self._record_earlier,
            Step.RECORD_CHANGES: lambda _: rules.enter(),
            Step.CLOSE_DAYS: lambda _: self._sealer.close_due_days(),
            Step.SETTLE_RULES: lambda _: rules.settle(),
            Step.SEAL: self._seal,
            Step.RECORD: lambda _: self._log.write(),
            Step.RECORD_ALARMS: lambda _: enter_alarms(store, chronicle),
        }
        self._of_a_day: dict[Step, Callable[[DueDay], Awaitable[object]]] = {
            Step.CHECK_SEAL: self._check_seal,
            Step.HAND_OVER: self._lapse,
            Step.FENCE_DATABASE: lambda due: self._store.raise_fence(due.category, due.day),
            Step.FENCE_KEYS: self._fence_keys,
            Step.DROP_ROWS: self._drop,
            Step.SHRED_KEY: self._shred,
            Step.MOVE_BASE: self._move_base,
        }

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
            for day in days | cut_short:
                again = day <= known and day not in cut_short
                # What was wholly purged goes again whatever the rule has become. What was only begun waits for a rule
                # made longer meanwhile: seals that state it could not show such a purge to be lawful.
                if category.first_day <= day and (again or day <= last):
                    found.append(
                        DueDay(
                            category=category.code,
                            day=day,
                            retention_days=category.stated_days,
                            asked_for=is_asked_for(category, day),
                            begun=day <= max(known, fence),
                            again=again,
                            forgotten=known < day <= fence,
                        )
                    )
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

    async def waits_until(self, due: DueDay, *, to_the_limit: bool = False) -> datetime | None:
        """Return until when a day waits for its hand-over; None where it does not."""
        limit = goes_at if to_the_limit else waits_until
        until = limit(due.day, due.retention_days)
        if due.begun or self._guard.check() >= until:
            return None
        return until if await self.waiting(due) else None

    async def run(
        self,
        *,
        max_days: int | None = MAX_DAYS_PER_RUN,
        to_the_limit: bool = False,
        on_step: OnStep = _tell_nobody,
    ) -> list[DueDay]:
        """Purge what is due, at most `max_days` days of each category (None: all), and record it.

        Days behind their fence do not count: no clock can be wrong about them. With 0, they alone go.

        A day that is still to be handed over stays until two hours before its limit; with `to_the_limit`, where a
        hand-over is about to be tried, until the limit itself: that of the rule in force, while a shorter one is
        pending. `on_step` is told of every step, before and after.

        One run at a time: BusyError where there is another. Where a day or a category fails, the others go all the
        same, and the first failure is raised at the end.
        """
        with self._keyring.keystore.destroying():
            run = _Run(max_days=max_days, to_the_limit=to_the_limit, on_step=on_step)
            for step in BEFORE_DAYS:
                await self._try(run, step)
            await self._purge_due(run)
            for step in AFTER_DAYS:
                await self._try(run, step)
            if run.failures:
                raise run.failures[0]
            return run.done

    async def run_forever(self) -> None:
        """Purge every hour: nightly work, done again while anything is due."""
        while True:
            await self._clock.sleep(INTERVAL_SECONDS)
            try:
                await self.run()
            except (JournalError, OSError) as error:
                log.error("the purge failed", kind=type(error).__name__, reason=str(error))

    async def _try(self, run: _Run, step: Step) -> None:
        """Take a step of the run; the others go on without it."""
        run.on_step(Boundary(step=step, due=None, is_done=False))
        try:
            await self._of_the_run[step](run)
        except (JournalError, OSError) as error:
            run.note(error)
        else:
            run.on_step(Boundary(step=step, due=None, is_done=True))

    async def _purge_due(self, run: _Run) -> None:
        choice = Choice(run.max_days)
        for due in await self.due():
            if not choice.takes(due):
                continue
            try:
                if await self._purge(run, due):
                    run.done.append(due)
                else:
                    choice.hold(due)
            except (JournalError, OSError) as error:
                choice.hold(due)
                run.note(error, category=due.category, day=format_day(due.day))

    async def _purge(self, run: _Run, due: DueDay) -> bool:
        """Take the steps of a day; False, and the day as it was, where it waits for its hand-over."""
        for step in OF_A_DAY:
            run.on_step(Boundary(step=step, due=due, is_done=False))
            if step is Step.HAND_OVER and await self._waits(run, due):
                return False
            await self._of_a_day[step](due)
            run.on_step(Boundary(step=step, due=due, is_done=True))
        log.info("a day was purged", category=due.category, day=format_day(due.day))
        return True

    async def _record_earlier(self, run: _Run) -> None:
        """Seal and record what a run that was cut short has not."""
        if await self._log.is_owed():
            await self._try(run, Step.SEAL)
            await self._log.write()

    async def _seal(self, run: _Run) -> None:
        """Make the seal that shows what moved."""
        if run.done or await self._log.is_owed():
            await self._sealer.seal_open(even_if_still=False)

    async def _check_seal(self, due: DueDay) -> None:
        if await self._store.close_seal(due.day) is None:
            raise StoreError(f"{due.category} {due.day} is not closed: nothing could prove its purge")

    async def _waits(self, run: _Run, due: DueDay) -> bool:
        """Tell whether a day is kept for its hand-over."""
        until = await self.waits_until(due, to_the_limit=run.to_the_limit)
        if until is None:
            return False
        about = {"category": due.category, "day": format_day(due.day), "tenants": await self.waiting(due)}
        log.warning("a purge waits for its hand-over", **about, until=until.isoformat())
        return True

    async def _lapse(self, due: DueDay) -> None:
        """Where a day's time is up, or a backup had brought it back, note that it goes without hand-over."""
        if tenants := await self.waiting(due):
            reason, detail = (FORGOTTEN_REASON, FORGOTTEN_DETAIL) if due.forgotten else (LAPSED_REASON, LAPSED_DETAIL)
            await self._store.lapse_handovers(due.category, due.day, reason, detail)
            about = {"category": due.category, "day": format_day(due.day), "tenants": tenants}
            log.error("a day goes without hand-over", **about, detail=detail)

    async def _fence_keys(self, due: DueDay) -> None:
        # Files are made durable: elsewhere than where requests are answered.
        await asyncio.to_thread(self._keyring.keystore.raise_fence, due.category, due.day)
        self._keyring.learn_fence(due.category, due.day)

    async def _drop(self, due: DueDay) -> None:
        """Drop the day table by table: what the file system has to do for one, those who record wait for."""
        while not await politely(self._clock, lambda: self._store.drop_day(due.category, due.day)):
            await self._clock.sleep(REST_SECONDS)

    async def _shred(self, due: DueDay) -> None:
        await asyncio.to_thread(self._keyring.keystore.shred_day_key, due.category, due.day)

    async def _move_base(self, due: DueDay) -> None:
        if not due.again:
            await self._store.move_kept_from(due.category, due.day)


def _days(first: date, last: date) -> Iterator[date]:
    return (first + timedelta(days=number) for number in range((last - first).days + 1))
