"""Taking a lock that appends and reads want too: each attempt waits a moment for it, then lets others pass."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from journal.core.errors import LockedError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from journal.clock import Clock

T = TypeVar("T")

LOCK_ATTEMPTS = 200
LOCK_PAUSE_SECONDS = 0.05


async def politely(clock: Clock, attempt: Callable[[], Awaitable[T]]) -> T:
    """Do something that may find a lock taken, again until it does not. LockedError where it always does."""
    for _ in range(LOCK_ATTEMPTS - 1):
        try:
            return await attempt()
        except LockedError:
            await clock.sleep(LOCK_PAUSE_SECONDS)
    return await attempt()
