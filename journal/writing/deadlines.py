"""What has to be done by a moment, on one timer for each tenth of a second instead of one for each thing."""

from __future__ import annotations

import asyncio
from itertools import chain
from typing import TYPE_CHECKING, Final, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TICK_SECONDS: Final = 0.1

Thing = TypeVar("Thing")


class Deadlines(Generic[Thing]):
    """Things that wait, each until its deadline, to the next tenth of a second."""

    def __init__(self, expire: Callable[[Thing], None]) -> None:
        """Call `expire` with each thing that still waits at its deadline."""
        self._expire = expire
        self._waiting: dict[int, set[Thing]] = {}

    def add(self, thing: Thing, seconds: float) -> set[Thing]:
        """Let it wait so long; return the set from which it is discarded once it waits no more."""
        loop = asyncio.get_running_loop()
        tick = int((loop.time() + seconds) / TICK_SECONDS) + 1
        together = self._waiting.get(tick)
        if together is None:
            together = self._waiting[tick] = set()
            loop.call_at(tick * TICK_SECONDS, self._end, tick)
        together.add(thing)
        return together

    def __iter__(self) -> Iterator[Thing]:
        """Iterate over what waits, as it is now."""
        return iter([*chain.from_iterable(self._waiting.values())])

    def _end(self, tick: int) -> None:
        for thing in [*self._waiting.pop(tick)]:
            self._expire(thing)
