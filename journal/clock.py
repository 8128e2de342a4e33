"""Time as an argument: the system's clock, and a simulated one for tests and the demo.

Faults of the clock, and the protection against each:

- **Moved while a process runs**, by more than 15 minutes in all: the wall clock departs from the monotonic one, and the
  process stops writing, sealing and purging (`ClockGuard`). A suspended machine looks the same: restart the service.
- **Wrong at the start**: the process cannot notice it. `Installation.check_clock` compares the clock with the last
  seal: if it is earlier, or more than 7 days later, the operator must confirm it. If a time-stamping authority is
  configured and answers, its time decides instead, with a tolerance of 15 minutes; this closes the gap described below.
- **Only the service's clock is wrong**: a day is purged or closed only if both clocks say that it is due; appends are
  refused if they differ by more than 2 s, and so is, for now, what would be refused for its time for good; reads are
  refused as soon as either clock says that a day is over.
- **Only the database's clock is wrong**: the same; and nothing is sealed while the two are on different days.
- **Behind**: nothing is purged early. After a clock was ahead, its seals and entries stay ahead: until the true time
  has passed them, their chains accept nothing, their days stay closed, and callers are told to try again.

The gap: without an authority, and if the database has the same wrong clock, a start up to 7 days ahead is accepted. Its
days are sealed, and as many days of each category are purged early, three per run and thus three per hour; each further
start may add as many, because the last seal moves along. One machine cannot distinguish this from a week without power.
The times of the entries, the gaps between seals and every auditor's known seal show it afterwards; only an outside
clock prevents it. After a wrong confirmation (`--clock-is-right`) only the limit of three days per run protects.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

from journal.core.errors import OperatorError

CLOCK_DEPARTURE_LIMIT = timedelta(minutes=15)
# The appender's: an entry may be that much ahead of the database's clock.
CLOCK_TOLERANCE = timedelta(seconds=2)
# After midnight, until all clocks within the tolerance of appends agree that the day is over.
CLOSE_GRACE = timedelta(seconds=5)
# How long after midnight a refusal may still be due to midnight, on a slow machine.
MIDNIGHT_MARGIN = timedelta(minutes=1)


class Clock(Protocol):
    """The source of time of the service."""

    def now(self) -> datetime:
        """Return the wall clock, aware, in UTC."""
        ...

    def monotonic(self) -> float:
        """Return seconds from an arbitrary start; they never decrease."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait that long on this clock."""
        ...


def begun(clock: Clock) -> datetime:
    """Return when the monotonic clock began, as the wall clock has it: the same until the wall clock is moved."""
    return clock.now() - timedelta(seconds=clock.monotonic())


class ClockGuard:
    """Detects that the wall clock was moved, by its departure from the monotonic one.

    The process then stops appending, sealing and purging until it is restarted by an operator, who has checked the
    clock.
    """

    def __init__(self, clock: Clock) -> None:
        """Take the present difference of the two clocks as correct."""
        self._clock = clock
        self._start = begun(clock)

    def departure(self) -> timedelta:
        """Return by how much the wall clock was moved, in either direction."""
        return abs(begun(self._clock) - self._start)

    def check(self) -> datetime:
        """Return the wall clock's time. Raises OperatorError if it has departed by more than the limit."""
        now = self._clock.now()
        departure = abs(now - timedelta(seconds=self._clock.monotonic()) - self._start)
        if departure > CLOCK_DEPARTURE_LIMIT:
            minutes = int(departure.total_seconds() // 60)
            raise OperatorError(
                f"the system clock was moved by {minutes} minutes while the service ran: nothing more "
                "is written, sealed or purged; correct the clock (timedatectl), and it goes on; if it is right now and "
                "was wrong before, restart the service"
            )
        return now


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        """Return the wall clock, aware, in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return seconds that never decrease."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait that long."""
        await asyncio.sleep(seconds)


class SimulatedClock:
    """The system's clock plus an offset that its owner sets.

    It runs at real speed, so that the database's clock with the same offset agrees with it. The offset moves wall
    clock and monotonic clock together, so that ClockGuard does not see it as a fault.
    """

    def __init__(self, offset: timedelta = timedelta(0)) -> None:
        """Start `offset` away from the system's clock."""
        self.offset = offset

    def now(self) -> datetime:
        """Return the moved wall clock, aware, in UTC."""
        return datetime.now(UTC) + self.offset

    def monotonic(self) -> float:
        """Return the moved monotonic clock, in seconds."""
        return time.monotonic() + self.offset.total_seconds()

    async def sleep(self, seconds: float) -> None:
        """Wait that long."""
        await asyncio.sleep(seconds)
