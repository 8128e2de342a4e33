"""The purge: a day's rows are dropped, its key is destroyed, and both are recorded where everyone can check.

`purge_steps` defines the steps and their order; this module runs them.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

import structlog

from journal.admin.rules import RuleChanges, is_asked_for
from journal.core.errors import JournalError, KeyStoreError, StoreError
from journal.core.times import day_of, format_day, purgeable_through
from retention.alarms import (
    FORGOTTEN_DETAIL,
    FORGOTTEN_REASON,
    LAPSED_DETAIL,
    LAPSED_REASON,
    UNCONFIRMED_DETAIL,
    UNCONFIRMED_REASON,
    enter_alarms,
)
from retention.maintenance import politely
from retention.policy import goes_at, waits_until
from retention.purge_log import PurgeLog
from retention.purge_steps import AFTER_DAYS, BEFORE_DAYS, OF_A_DAY, Boundary, Choice, DueDay, Step

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from datetime import date, datetime

    from journal.service import Service
    from retention.purge_steps import OnStep

__all__ = ["DueDay", "Purger"]

log = structlog.get_logger()

MAX_DAYS_PER_RUN = 3
INTERVAL_SECONDS = 3600
REST_SECONDS = 0.1


def _tell_nobody(_: Boundary) -> None:
    """Report nothing."""


@dataclass(slots=True, kw_only=True)
class _Run:
    """One run: its options, and its results so far."""

    max_days: int | None
    to_the_limit: bool
    on_step: OnStep
    done: list[DueDay] = field(default_factory=list)
    failures: list[JournalError | OSError] = field(default_factory=list)

    def note(self, error: JournalError | OSError, **about: str) -> None:
        """Log and keep a failure; the rest of the run goes on."""
        log.error("a step of the purge failed", kind=type(error).__name__, reason=str(error), **about)
        self.failures.append(error)


class Purger:
    """Purges what is due; the next run finishes one that was cut short."""

    def __init__(self, service: Service) -> None:
        """Purge this service's database and key store."""
        self._store = service.store
        self._keyring = service.keyring
        self._sealer = service.sealer
        self._clock = service.clock
        self._guard = service.guard
        self._log = PurgeLog(service)
        rules = RuleChanges(service)
        self._of_the_run: dict[Step, Callable[[_Run], Awaitable[object]]] = {
            Step.RECORD_EARLIER: self._record_earlier,
            Step.RECORD_CHANGES: lambda _: rules.enter(),
            Step.CLOSE_DAYS: lambda _: self._sealer.close_due_days(),
            Step.SETTLE_RULES: lambda _: rules.settle(),
            Step.SEAL: self._seal,
            Step.RECORD: lambda _: self._log.write(),
            Step.RECORD_ALARMS: lambda _: enter_alarms(service),
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
        """Return the days that may be purged now, oldest first: with rows or a key, or whose purge was cut short.

        This includes days that the key store knows to be destroyed and a restored database does not.
        """
        # Both clocks must agree that a day may be purged.
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
                # A complete purge is repeated whatever the rule is now. One that was only begun waits if the rule was
                # made longer meanwhile: seals with the longer rule could not show that the purge obeyed its rule.
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
        """Return the key store's fence; None where it cannot be read: only the purge of this category then fails."""
        try:
            return self._keyring.keystore.fence(category)
        except KeyStoreError:
            return None

    async def waiting(self, due: DueDay) -> list[str]:
        """Return the communes to which a day is still to be handed over before its purge, or that are to confirm it.

        A hand-over is relied on once its commune has confirmed that it could open one made to its certificate.
        """
        return [row.tenant for row in await self._store.handover_due(due.category, due.day, only_confirmed=True)]

    async def unconfirmed(self, due: DueDay) -> list[str]:
        """Return those of `waiting` to which the day is handed over: their confirmation alone is missing."""
        missing = {row.tenant for row in await self._store.handover_due(due.category, due.day)}
        return [tenant for tenant in await self.waiting(due) if tenant not in missing]

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

        Days behind their fence do not count: their purge does not depend on a clock. With 0, only they are purged.

        A day that is still to be handed over stays until two hours before its limit, or until the limit itself with
        `to_the_limit`, for callers about to try the hand-over. While a shorter rule is pending, the limit is that of
        the rule in force. `on_step` is called before and after every step.

        Raises BusyError while another run is under way. Where a day or a category fails, the others are purged, and
        the first failure is raised at the end.
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
        """Purge every hour: most days fall due at midnight, and failures are retried."""
        while True:
            await self._clock.sleep(INTERVAL_SECONDS)
            try:
                await self.run()
            except (JournalError, OSError) as error:
                log.error("the purge failed", kind=type(error).__name__, reason=str(error))

    async def _try(self, run: _Run, step: Step) -> None:
        """Take a step of the run; a failure is noted and the run goes on."""
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
        """Take the steps of a day; False, with the day unchanged, where it waits for its hand-over."""
        for step in OF_A_DAY:
            run.on_step(Boundary(step=step, due=due, is_done=False))
            if step is Step.HAND_OVER and await self._waits(run, due):
                return False
            await self._of_a_day[step](due)
            run.on_step(Boundary(step=step, due=due, is_done=True))
        log.info("a day was purged", category=due.category, day=format_day(due.day))
        return True

    async def _record_earlier(self, run: _Run) -> None:
        """Seal and record what an earlier run purged but did not record."""
        if await self._log.is_owed():
            await self._try(run, Step.SEAL)
            await self._log.write()

    async def _seal(self, run: _Run) -> None:
        """Make the seal that shows the purge."""
        if run.done or await self._log.is_owed():
            await self._sealer.seal_open(even_if_still=False)

    async def _check_seal(self, due: DueDay) -> None:
        if await self._store.close_seal(due.day) is None:
            raise StoreError(f"{due.category} {due.day} is not closed: nothing could prove its purge")

    async def _waits(self, run: _Run, due: DueDay) -> bool:
        """Tell whether a day waits for its hand-over, or for its confirmation."""
        until = await self.waits_until(due, to_the_limit=run.to_the_limit)
        if until is None:
            return False
        about = {"category": due.category, "day": format_day(due.day), "tenants": await self.waiting(due)}
        unconfirmed = await self.unconfirmed(due)
        log.warning("a purge waits for its hand-over", **about, unconfirmed=unconfirmed, until=until.isoformat())
        return True

    async def _lapse(self, due: DueDay) -> None:
        """Note the communes to which the day is not handed over: its limit is reached, or a backup brought it back.

        Then those that have not confirmed that they can open what was handed over to them.
        """
        about = {"category": due.category, "day": format_day(due.day)}
        reason, detail = (FORGOTTEN_REASON, FORGOTTEN_DETAIL) if due.forgotten else (LAPSED_REASON, LAPSED_DETAIL)
        if tenants := await self._store.lapse_handovers(due.category, due.day, reason, detail):
            log.error("a day is purged without hand-over", **about, tenants=tenants, detail=detail)
        reason, detail = UNCONFIRMED_REASON, UNCONFIRMED_DETAIL
        lapse = self._store.lapse_handovers
        if tenants := await lapse(due.category, due.day, reason, detail, only_confirmed=True):
            log.error("a day is purged whose hand-over is not confirmed", **about, tenants=tenants, detail=detail)

    async def _fence_keys(self, due: DueDay) -> None:
        # In a thread: making files durable would delay requests.
        await asyncio.to_thread(self._keyring.keystore.raise_fence, due.category, due.day)
        self._keyring.learn_fence(due.category, due.day)

    async def _drop(self, due: DueDay) -> None:
        """Drop the day table by table, with rests: writers wait while the file system drops one."""
        while not await politely(self._clock, lambda: self._store.drop_day(due.category, due.day)):
            await self._clock.sleep(REST_SECONDS)

    async def _shred(self, due: DueDay) -> None:
        await asyncio.to_thread(self._keyring.keystore.shred_day_key, due.category, due.day)

    async def _move_base(self, due: DueDay) -> None:
        if not due.again:
            await self._store.move_kept_from(due.category, due.day)


def _days(first: date, last: date) -> Iterator[date]:
    return (first + timedelta(days=number) for number in range((last - first).days + 1))
