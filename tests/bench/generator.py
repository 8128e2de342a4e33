"""Events submitted at a fixed rate, and how long each waits for its answer."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from journal.core.entry import Compartment
    from tests.bench.site import Site

RATE_PER_SECOND = 200


class Generator:
    """Submits an event every so often, whether or not the one before is answered; times each from when it was due."""

    def __init__(self, site: Site, compartment: Compartment) -> None:
        """Submit to this compartment."""
        self._site = site
        self._compartment = compartment
        self.answered: list[tuple[float, float]] = []  # when it was due, and how long it took, in ms

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Submit as long as the block lasts."""
        sending = asyncio.create_task(self._send())
        try:
            yield
        finally:
            sending.cancel()
            with suppress(asyncio.CancelledError):
                await sending

    def latencies(self, since: float, until: float) -> list[float]:
        """Return those of events that were due in a span of time."""
        return [took for due, took in self.answered if since <= due < until]

    async def settle(self, until: float) -> None:
        """Wait until something that was due after a moment is answered: answers come in order."""
        while not any(due >= until for due, _ in self.answered):  # noqa: ASYNC110 - each answer is an event
            await asyncio.sleep(1 / RATE_PER_SECOND)

    async def _send(self) -> None:
        begun = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            number = 0
            while True:
                due = begun + number / RATE_PER_SECOND
                if (early := due - time.perf_counter()) > 0:
                    await asyncio.sleep(early)
                group.create_task(self._one(due))
                number += 1

    async def _one(self, due: float) -> None:
        await self._site.submit(self._compartment, self._site.make(1))
        self.answered.append((due, 1000 * (time.perf_counter() - due)))
