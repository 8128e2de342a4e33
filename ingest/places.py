"""Places for what few may do at a time, shared fairly between communes; turns for what few may begin at once."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from journal.core.errors import BusyError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

WAITING_EACH = 4


class Places:
    """A commune holds at most half of the places; a free one goes to the waiting commune that holds the fewest."""

    def __init__(
        self,
        total: int,
        *,
        reason: str,
        patience_seconds: float,
        retry_after_seconds: int,
        waiting_each: int = WAITING_EACH,
    ) -> None:
        """Set the number of places, how many of a commune wait for one and how long, and the error they then get."""
        self._total = total
        self._each = max(1, total // 2)
        self._waiting_each = waiting_each
        self._reason = reason
        self._patience_seconds = patience_seconds
        self._retry_after_seconds = retry_after_seconds
        self._held: Counter[str] = Counter()
        self._waiting: list[tuple[str, asyncio.Future[None]]] = []  # in the order they came

    @asynccontextmanager
    async def hold(self, commune: str) -> AsyncIterator[None]:
        """Hold a place for the duration of the block. Raises BusyError if there was none in time."""
        await self._enter(commune)
        try:
            yield
        finally:
            self._leave(commune)

    async def _enter(self, commune: str) -> None:
        if [waits for waits, _ in self._waiting].count(commune) >= self._waiting_each:
            raise BusyError(self._reason, retry_after_seconds=self._retry_after_seconds)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((commune, turn))
        self._give()
        try:
            async with asyncio.timeout(self._patience_seconds):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                self._leave(commune)  # it came too late
            else:
                self._waiting.remove((commune, turn))
            if isinstance(error, TimeoutError):
                raise BusyError(self._reason, retry_after_seconds=self._retry_after_seconds) from error
            raise

    def _leave(self, commune: str) -> None:
        self._held[commune] -= 1
        self._give()

    def _give(self) -> None:
        """Give every free place to whoever is next."""
        while self._held.total() < self._total:
            # One whose time is over is done, and has not yet taken itself out.
            entitled = [
                (commune, turn)
                for commune, turn in self._waiting
                if not turn.done() and self._held[commune] < self._each
            ]
            if not entitled:
                return
            chosen = min(entitled, key=lambda waits: self._held[waits[0]])
            self._waiting.remove(chosen)
            commune, turn = chosen
            self._held[commune] += 1
            turn.set_result(None)


class Turns:
    """Lets few begin in a turn of the event loop, in the order they came: between them it has time for all else."""

    def __init__(self, each: int) -> None:
        """Let so many begin in each turn."""
        self._each = each
        self._left = each
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def wait(self) -> None:
        """Return in the caller's turn."""
        loop = asyncio.get_running_loop()
        if self._left == self._each:
            loop.call_soon(self._go_on)
        if self._left:
            self._left -= 1
            return
        turn: asyncio.Future[None] = loop.create_future()
        self._waiting.append(turn)
        await turn

    def _go_on(self) -> None:
        self._left = self._each
        while self._waiting and self._left:
            turn = self._waiting.popleft()
            if not turn.done():  # else its caller waited too long
                turn.set_result(None)
                self._left -= 1
        if self._left < self._each:
            asyncio.get_running_loop().call_soon(self._go_on)
