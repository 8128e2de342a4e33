"""Time as an argument: the system's clock, and one that tests and the demo move by hand."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol


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
