"""How fast events are recorded in process, beside a COPY of such rows and a chain made by a trigger."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import asyncpg

from journal.database.embedded import OWNER, SUPERUSER
from tests.bench.costs import Found, Row, table
from tests.bench.floors import CopyFloor, TriggerFloor
from tests.bench.http import PEERS
from tests.bench.site import CATEGORY, CHAINS

if TYPE_CHECKING:
    from journal.core.entry import Event
    from tests.bench.site import Site

BATCH_EVENTS = 1_000


class Appends:
    """Appends of so many events a run; each returns events/s, and how many that were."""

    def __init__(self, site: Site, events: int) -> None:
        """Measure with that many events a run."""
        self._site = site
        self._events = events

    async def one_chain(self) -> tuple[float, int]:
        """Append to one chain, batches of 1,000 submitted together."""
        batches = [self._site.make(BATCH_EVENTS) for _ in range(self._events // BATCH_EVENTS)]
        return await self._timed([(0, batch) for batch in batches])

    async def many_chains(self) -> tuple[float, int]:
        """Append over 500 chains, a batch of equal size to each."""
        return await self._timed([(n, self._site.make(self._events // CHAINS)) for n in range(CHAINS)])

    async def singles(self) -> tuple[float, int]:
        """Append where each of 2,000 requests under way carries one event, to one of 64 chains."""
        return await self._timed([(n % 64, self._site.make(1)) for n in range(min(self._events, 2_000))])

    async def _timed(self, submissions: list[tuple[int, list[Event]]]) -> tuple[float, int]:
        site, started = self._site, time.perf_counter()
        await asyncio.gather(*(site.submit(site.compartment(n), events) for n, events in submissions))
        events = sum(len(events) for _, events in submissions)
        return events / (time.perf_counter() - started), events

    async def fill(self, entries: int) -> None:
        """Append to the first chain until it has so many entries."""
        while await self._site.size() < entries:
            await self.one_chain()


async def measure_appends(appends: Appends, dsn: str, postmaster: int, runs: int, seconds: float) -> None:
    """Print what there is to say about appending in process, in rounds that alternate with its floors."""
    superuser = dsn.replace(f"//{OWNER}@", f"//{SUPERUSER}@")
    copy, trigger = CopyFloor(superuser, CATEGORY), TriggerFloor(superuser)
    connection = await asyncpg.connect(superuser)
    await connection.execute(PEERS.read_text(encoding="utf-8"))
    await connection.close()
    floors = [
        (Row("(b) COPY of such rows, 1,000 a transaction", Found()), copy.rate),
        (Row("(e) chain by trigger, 1,000 a statement", Found()), trigger.rate),
    ]
    measured = [
        (Row("append, 1 chain, batches of 1,000", Found()), appends.one_chain),
        (Row(f"append, {CHAINS} chains", Found()), appends.many_chains),
        (Row("append, 2,000 single events under way", Found()), appends.singles),
    ]
    for _ in range(runs):
        for row, floor in floors:
            await row.found.measure_here(floor(seconds), postmaster)
        for row, work in measured:
            await row.found.measure_here(work(), postmaster, is_server=True)
    table([row for row, _ in floors] + [row for row, _ in measured])
