"""Time as an argument: the system's clock, and one that tests and the demo move by hand.

What a wrong clock can do, and what stands against it:

- **Moved while a process runs**, by more than 15 minutes at once or in all: its wall clock departs from its monotonic
  one, and it writes, seals and purges nothing more (`ClockGuard`). A machine that was suspended looks the same: start
  the service again.
- **Wrong from the start**: nothing in the process shows it. `Installation.check_clock` compares with the last seal: a
  clock before it, or more than 7 days after it, waits for the operator's word. Where a time-stamping authority is
  configured and answers, it decides, from 15 minutes on; this is what closes the gap below.
- **The service's clock alone**, the database on a machine whose clock is right: a day goes, and is closed, only where
  both say so, appends more than 2 s apart are refused, and reads are refused as soon as either says that a day is over.
- **The database's clock alone**: the same; nothing is sealed while the two are on different days.
- **Backwards**: nothing goes early. What a clock ahead has sealed or recorded stays ahead: until the true time has
  caught up, its chains take nothing, its days stay closed, and callers are told to come back.

What does not hold: without an authority, and with a database that goes by the same wrong clock, a start up to 7 days
ahead is believed, its days are sealed, and up to that many days of each category go early, three a run and so three an
hour; each further start may add as many, for the last seal moves along. Nothing on one machine can tell that from a
week without power. The entries' own times, the seals' gaps and every auditor's known seal show it afterwards; only an
outside clock prevents it. A confirmation given wrongly (`--clock-is-right`) is bounded by the brake of three days a run
alone.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

from journal.core.errors import OperatorError

CLOCK_DEPARTURE_LIMIT = timedelta(minutes=15)


class Clock(Protocol):
    """Where the service takes its time from."""

    def now(self) -> datetime:
        """Return the wall clock, aware, in UTC."""
        ...

    def monotonic(self) -> float:
        """Return seconds that never go back, from an arbitrary start."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait that long on this clock."""
        ...


class ClockGuard:
    """Notices a wall clock that was moved: it then departs from the monotonic one.

    A process that has noticed stops appending, sealing and purging until it is started again: by then
    an operator has looked at the clock.
    """

    def __init__(self, clock: Clock, limit: timedelta = CLOCK_DEPARTURE_LIMIT) -> None:
        """Take the two clocks as they stand now for the truth."""
        self._clock = clock
        self._limit = limit
        self._start = clock.now() - timedelta(seconds=clock.monotonic())

    def departure(self) -> timedelta:
        """Return by how much the wall clock was moved, either way."""
        return abs(self._clock.now() - timedelta(seconds=self._clock.monotonic()) - self._start)

    def check(self) -> datetime:
        """Return the wall clock's time. Raises OperatorError once it has departed by more than the limit."""
        now = self._clock.now()
        departure = self.departure()
        if departure > self._limit:
            minutes = int(departure.total_seconds() // 60)
            raise OperatorError(
                f"the system clock was moved by {minutes} minutes while the service ran: nothing is written, "
                "sealed or purged any more; put the clock right (timedatectl), then start the service again"
            )
        return now


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        """Return the wall clock, aware, in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait that long."""
        await asyncio.sleep(seconds)


class SimulatedClock:
    """The system's clock moved by an offset that only its owner changes.

    It runs at the real speed, so that the database's clock, moved by the same offset, agrees with it.
    Both its readings move together: a jump made here on purpose is not a clock fault.
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
