"""Clocks that tests hold still, so that what happens in the last microsecond of a day can be asked for."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from time import monotonic
from typing import TYPE_CHECKING

from journal.clock import SimulatedClock

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import pytest

    from journal.database.store import Store

    # What moves the clock of a test's database, by the keywords of a timedelta.
    MoveClock = Callable[..., Awaitable[None]]

_BEGIN = datetime(2000, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


def midnight(day: date) -> datetime:
    """Return the moment a UTC day begins."""
    return datetime.combine(day, time(), tzinfo=UTC)


def hold_time(clock: SimulatedClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let time pass for a service only as a test moves its clock's offset, however slow the machine is."""
    moment, offset = clock.monotonic(), clock.offset
    monkeypatch.setattr(clock, "monotonic", lambda: moment + (clock.offset - offset).total_seconds())


async def move_database(store: Store, ahead: timedelta) -> None:
    """Move the simulated clock of a service's database in a session of the service: one for this would cost more."""
    async with store.borrow("owner") as owner:
        await owner.execute("BEGIN READ WRITE")
        await owner.execute("UPDATE journal.simulated_clock SET ahead = $1", ahead)
        await owner.execute("COMMIT")


class StillClock(SimulatedClock):
    """A clock that runs like the simulated one, or is stopped at a test's time."""

    still: datetime | None = None

    def now(self) -> datetime:
        """Return the stopped time, or the running one."""
        return self.still or super().now()

    def monotonic(self) -> float:
        """Return seconds that agree with it: what a test does is no clock fault."""
        return (self.now() - _BEGIN).total_seconds()


class StrikingClock(StillClock):
    """A clock stopped in a day's last microsecond, which moves to midnight after so many reads."""

    def __init__(self, day: date, reads: int) -> None:
        """Stand at the end of the day."""
        super().__init__()
        self._end = midnight(day + timedelta(days=1))
        self._reads = reads

    def now(self) -> datetime:
        """Return the last microsecond, or the first."""
        self._reads -= 1
        return self._end if self._reads < 0 else self._end - MICROSECOND


class FaultyClock(SimulatedClock):
    """A clock that goes on or stands like the others, and a wall clock that may be wrong: `fault` is by how much.

    What goes wrong while a process runs, its monotonic clock shows; what was wrong when it started, nothing does.
    """

    still: datetime | None = None
    fault = timedelta(0)

    @property
    def true(self) -> datetime:
        """What time it is."""
        return self.still or super().now()

    def now(self) -> datetime:
        """Return what the wall clock says."""
        return self.true + self.fault

    def monotonic(self) -> float:
        """Return seconds of the true time."""
        return (self.true - _BEGIN).total_seconds()


class MovedClock(SimulatedClock):
    """A wall clock that somebody moves while the monotonic one goes on."""

    def monotonic(self) -> float:
        """Return the machine's own."""
        return monotonic()
