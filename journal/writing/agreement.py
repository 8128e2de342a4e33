"""Whether the clocks of this process and of the database agree: asked before an event is refused for its time.

Such a refusal is for good: the sender gives the event up. It must not rest on a clock that is wrong.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import structlog

from journal.clock import CLOCK_TOLERANCE, begun
from journal.writing.append import come_back

if TYPE_CHECKING:
    from datetime import datetime

    from journal.clock import Clock
    from journal.database.store import Store

log = structlog.get_logger()

FRESH_SECONDS: Final = 1.0


class Agreement:
    """Compares the two clocks; the database is asked for its own once a second at most.

    In between, its clock is taken to go on as the monotonic one does: that this process's was moved is seen at once.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        """Start without an answer."""
        self._store = store
        self._clock = clock
        self._lock = asyncio.Lock()
        self._asked_at = float("-inf")
        # When the monotonic clock began, as the database's clock has it: at the earliest, at the latest.
        self._span: tuple[datetime, datetime] | None = None

    async def check(self, then: datetime) -> None:
        """Raise BusyError if the clocks differ by more than appends allow, now or at an earlier moment; StoreError.

        `then` is what `journal.clock.begun` said at that moment.
        """
        earliest, latest = await self._ask()
        departure = max(max(earliest - own, own - latest) for own in (then, begun(self._clock)))
        if departure > CLOCK_TOLERANCE:
            seconds = round(departure.total_seconds(), 1)
            log.error("the service's clock and the database's differ", departure_seconds=seconds)
            raise come_back("the clocks of the service and of the database differ")

    async def _ask(self) -> tuple[datetime, datetime]:
        async with self._lock:
            before = self._clock.monotonic()
            if self._span is None or not 0 <= before - self._asked_at < FRESH_SECONDS:
                told = await self._store.read_now()
                after = self._clock.monotonic()
                # The database read its clock between the two, however long a busy machine takes.
                self._span = (told - timedelta(seconds=after), told - timedelta(seconds=before))
                self._asked_at = before
            return self._span
