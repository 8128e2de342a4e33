"""How fast events are recorded, against a raw COPY of rows of their size."""

from __future__ import annotations

import asyncio
import time
from datetime import date
from hashlib import sha256
from typing import TYPE_CHECKING

import asyncpg

from tests.bench.figures import measure
from tests.bench.site import CHAINS

if TYPE_CHECKING:
    from tests.bench.site import Site

BATCH_EVENTS = 1_000


class Appends:
    """Appends of so many events a run."""

    def __init__(self, site: Site, events: int) -> None:
        """Measure with that many events a run."""
        self._site = site
        self._events = events

    async def one_chain(self) -> float:
        """Return events/s appended to one chain, batches of 1,000 submitted together."""
        compartment = self._site.compartment(0)
        batches = [self._site.make(BATCH_EVENTS) for _ in range(self._events // BATCH_EVENTS)]
        started = time.perf_counter()
        await asyncio.gather(*(self._site.submit(compartment, batch) for batch in batches))
        return self._events / (time.perf_counter() - started)

    async def many_chains(self) -> float:
        """Return events/s appended over 500 chains, a batch of equal size to each."""
        each = self._events // CHAINS
        batches = [self._site.make(each) for _ in range(CHAINS)]
        started = time.perf_counter()
        await asyncio.gather(*(self._site.submit(self._site.compartment(n), batch) for n, batch in enumerate(batches)))
        return each * CHAINS / (time.perf_counter() - started)

    async def singles(self) -> float:
        """Return events/s where each of 2,000 requests under way carries one event."""
        events = self._site.make(min(self._events, 2_000))
        started = time.perf_counter()
        await asyncio.gather(*(self._site.submit(self._site.compartment(0), [event]) for event in events))
        return len(events) / (time.perf_counter() - started)

    async def copy_floor(self) -> float:
        """Return rows/s of a raw COPY of rows of that size into a table like a day's partition, indexes included."""
        connection = await asyncpg.connect(self._site.dsn)
        try:
            await connection.execute(
                "CREATE TABLE journal.copy_floor (LIKE journal.entry, "
                "PRIMARY KEY (tenant, index), UNIQUE (tenant, event_key))"
            )
            day, sealed = date.today(), bytes(420)  # noqa: DTZ011 - any day serves
            rows = [
                (n, day, "t0", "ecrits", sha256(b"%d" % n).digest()[:16], bytes(32), bytes(32), sealed)
                for n in range(self._events)
            ]
            started = time.perf_counter()
            await connection.copy_records_to_table("copy_floor", schema_name="journal", records=rows)
            return self._events / (time.perf_counter() - started)
        finally:
            await connection.execute("DROP TABLE IF EXISTS journal.copy_floor")
            await connection.close()

    async def fill(self, entries: int) -> None:
        """Append to the first chain until it has so many entries."""
        while await self._site.size() < entries:
            await self.one_chain()


async def measure_appends(appends: Appends, runs: int) -> None:
    """Print what there is to say about appending."""
    copy = await measure("COPY into a table like a day's (floor)", "rows/s", appends.copy_floor, runs)
    await measure("append, 1 chain, batches of 1,000", "events/s", appends.one_chain, runs, copy)
    await measure(f"append, {CHAINS} chains", "events/s", appends.many_chains, runs, copy)
    await measure("append, single events", "events/s", appends.singles, runs)
