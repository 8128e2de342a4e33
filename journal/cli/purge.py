"""`purge`: purge the days that are due, or only list them."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NoReturn

from tqdm import tqdm

from journal.cli.installation import opened
from journal.core.errors import BusyError, JournalError
from journal.core.times import format_day, format_seconds
from retention.purge import MAX_DAYS_PER_RUN
from retention.purge_plan import PlannedDay, plan
from retention.purge_steps import AFTER_DAYS, BEFORE_DAYS, OF_A_DAY, DueDay

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from journal.cli.installation import Installation
    from journal.settings import Settings
    from retention.purge_steps import Boundary

FAILED = 1
# The service purges too, at its start and every hour: a run waits for another, so that a timer does not fail.
WAIT_ATTEMPTS = 600
WAIT_PAUSE_SECONDS = 1.0


async def purge(settings: Settings, arguments: argparse.Namespace) -> int:
    """Purge what is due, or list it; 1 if a day that is due could not be purged."""
    max_days = None if arguments.all else MAX_DAYS_PER_RUN
    async with opened(settings, writes=not arguments.dry_run) as installation:
        await installation.check_clock(confirmed=arguments.clock_is_right)
        if arguments.dry_run:
            days = await _plan(installation, max_days)
            _tell_gone(days)
            for day in days:
                if not day.is_gone:
                    print(f"would purge {_describe(day)}" if day.goes else _stays(day))
            if not days:
                print("nothing is due")
            _warn_of_unsealed(days)
            problem = None
        else:
            problem = await _run(installation, max_days)
            days = await _plan(installation, max_days)
            _tell_gone(days)
            for day in days:
                if not day.is_gone:
                    print(_stays(day), file=sys.stdout if day.waits else sys.stderr)
    if problem is not None:
        print(f"openepm-journal: {problem}", file=sys.stderr)
    overdue = not arguments.dry_run and any(not day.waits and not day.is_gone for day in days)
    return FAILED if problem is not None or overdue else 0


@dataclass(slots=True, kw_only=True)
class _Watch:
    """Shows the progress of a run and remembers the days purged."""

    progress: tqdm[NoReturn]
    begun: bool = False
    gone: list[DueDay] = field(default_factory=list)

    def __call__(self, boundary: Boundary) -> None:
        """Note a step of the purge."""
        self.begun = True
        due = boundary.due
        if not boundary.is_done:
            about = f" of {due.category} {format_day(due.day)}" if due else ""
            self.progress.set_description(f"{boundary.step.value}{about}")
            return
        self.progress.update()
        if due is not None and boundary.step is OF_A_DAY[-1]:
            self.gone.append(due)


async def _run(installation: Installation, max_days: int | None) -> JournalError | OSError | None:
    """Purge, print the days purged, return the error that stopped the run. Raises BusyError if another run goes on."""
    problem: JournalError | OSError | None = None
    for attempt in range(WAIT_ATTEMPTS):
        planned = await _plan(installation, max_days)
        steps = len(BEFORE_DAYS) + len(AFTER_DAYS) + len(OF_A_DAY) * sum(day.goes for day in planned)
        with tqdm(total=steps, unit=" steps", disable=None) as progress:
            watch = _Watch(progress=progress)
            try:
                await installation.purger.run(max_days=max_days, on_step=watch)
            except (JournalError, OSError) as error:
                problem = error
        if not (isinstance(problem, BusyError) and not watch.begun):
            break
        if attempt == 0:
            print("another purge is running: waiting for it", file=sys.stderr)
        if attempt == WAIT_ATTEMPTS - 1:
            raise problem
        problem = None
        await asyncio.sleep(WAIT_PAUSE_SECONDS)
    figures = {(day.due.category, day.due.day): day for day in planned}
    for due in watch.gone:
        day = figures.get((due.category, due.day))
        if day is None or not day.is_gone:
            print(f"purged {_describe(day) if day else _name(due)}")
    if not planned and problem is None:
        print("nothing is due")
    return problem


async def _plan(installation: Installation, max_days: int | None) -> list[PlannedDay]:
    service = installation.service
    return await plan(installation.purger, service.store, service.keyring.keystore, max_days=max_days)


def _name(due: DueDay) -> str:
    return f"{due.category} {format_day(due.day)}"


def _describe(day: PlannedDay) -> str:
    """Return the size of a day and why it is due."""
    due = day.due
    why = f"kept {due.retention_days} days, must be purged before {format_seconds(day.gone_before)}"
    if due.again:
        why = "it was purged before and has come back, for example from a backup"
    elif due.begun:
        why = "an interrupted run has begun it"
    elif due.asked_for:
        why = f"a shorter retention was asked for; by the one in force, {why}"
    key = "its key" if day.has_key else "no key"
    return (
        f"{_name(due)}: {day.entries} entries in {day.compartments} compartments, {day.disk_bytes} bytes on disk, "
        f"{key}; {why}"
    )


def _stays(day: PlannedDay) -> str:
    """Return why a day that is due is not purged, and its limit."""
    if day.waits_for and day.waits_until:
        why = f"waits for {_awaited(day)}, until {format_seconds(day.waits_until)}"
    elif day.is_held:
        why = "waits for an earlier day"
    elif day.is_beyond:
        why = f"is left: a run purges {MAX_DAYS_PER_RUN} days of a category; run purge again, or with --all"
    else:
        why = "is due but could not be purged"
    return f"{_name(day.due)} {why}; it must be purged before {format_seconds(day.gone_before)}"


def _awaited(day: PlannedDay) -> str:
    """Return what the communes have not yet: the day itself, or the proof that they can open it."""
    missing = [tenant for tenant in day.waits_for if tenant not in day.unconfirmed]
    parts = [f"the hand-over to {', '.join(missing)}"] if missing else []
    if day.unconfirmed:
        parts.append(f"{', '.join(day.unconfirmed)} to confirm that what is handed over can be opened")
    return " and for ".join(parts)


def _tell_gone(days: Sequence[PlannedDay]) -> None:
    """Print, per category, the days that a pending shorter retention has already purged."""
    gone: dict[str, list[DueDay]] = {}
    for planned in days:
        if planned.is_gone:
            gone.setdefault(planned.due.category, []).append(planned.due)
    for category, dues in gone.items():
        count = (
            f"{len(dues)} day{'s' if len(dues) > 1 else ''} ({format_day(dues[0].day)} to {format_day(dues[-1].day)})"
        )
        print(f"{category}: {count} purged by a shorter retention, which seals state once all its due days are purged")


def _warn_of_unsealed(days: Sequence[PlannedDay]) -> None:
    unsealed = [day.due for day in days if not day.is_sealed]
    if unsealed:
        print(
            f"openepm-journal: {_name(unsealed[0])} has no close seal yet: run openepm-journal seal to see which days "
            "wait for a hand-over",
            file=sys.stderr,
        )
