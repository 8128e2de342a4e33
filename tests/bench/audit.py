"""What the audit inside `serve` costs at full load, and how soon it finds a flipped byte.

`python -m tests.bench.audit`: a month of closed days, in one installation whose clocks are moved. Entries are appended
as fast as they are taken, in the same process as the audit, as in `serve`; the audit has its default share.

The share of the machine is what the audit checks per second at full load, times the processor time that an entry
costs: the process and PostgreSQL together, taken with the audit alone. So the figure holds on a machine that others
use too. A byte of yesterday is flipped as the day has closed; one of a month ago while a round is under way, which
takes up to a whole round: a round, and with it the time, grows with what is kept.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import time
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

import asyncpg
import uvloop

from journal.audit.run import Audit
from journal.audit.watch import Watch
from journal.cli.installation import open_server, open_service, prepare, simulate_clock
from journal.clock import SimulatedClock
from journal.core.times import format_day
from journal.database.embedded import OWNER, SUPERUSER
from journal.settings import Settings
from tests.bench.processor import seconds_of
from tests.bench.site import CATEGORY, Site

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

DAY = timedelta(days=1)
DAYS = 32
ENTRIES = 400
COMMUNES = 20
BATCH_EVENTS = 100
PATIENCE_SECONDS = 300.0
WEEK_SECONDS = 7 * 86_400
FLIP = """
UPDATE journal.entry SET ciphertext = set_byte(ciphertext, 20, 255 - get_byte(ciphertext, 20))
 WHERE category = $1 AND day = $2 AND tenant = 't0' AND index = (
       SELECT max(index) FROM journal.entry WHERE category = $1 AND day = $2 AND tenant = 't0')
"""


@dataclass(slots=True)
class Load:
    """How many events were recorded."""

    events: int = 0


class AuditBench:
    """An installation with closed days."""

    def __init__(self, site: Site, clock: SimulatedClock, superuser: asyncpg.Connection, postmaster: int) -> None:
        """Audit there."""
        self._site = site
        self._service = site.service
        self._clock = clock
        self._superuser = superuser
        self._postmaster = postmaster

    async def live(self, days: int, entries: int) -> None:
        """Live days of so many entries, up to this morning."""
        await self._site.add_communes(COMMUNES)
        for number in range(days, -1, -1):
            self._clock.offset = -number * DAY
            await simulate_clock(self._site.dsn, self._clock.offset)
            await self._service.snapshot.refresh()
            await self._site.installation.maintenance.prepare()
            if number:
                batches = [self._site.make(entries // COMMUNES) for _ in range(COMMUNES)]
                await asyncio.gather(
                    *(self._site.submit(self._site.compartment(n), batch) for n, batch in enumerate(batches))
                )
            await self._service.sealer.seal_open(even_if_still=False)

    def _processor_seconds(self) -> float:
        """Return the processor time that this process and PostgreSQL have had."""
        return time.process_time() + seconds_of(self._postmaster)

    @asynccontextmanager
    async def load(self) -> AsyncIterator[Load]:
        """Append as fast as it goes."""
        load = Load()

        async def append(number: int) -> None:
            while True:
                await self._site.submit(self._site.compartment(number), self._site.make(BATCH_EVENTS))
                load.events += BATCH_EVENTS

        tasks = [asyncio.create_task(append(number)) for number in range(COMMUNES)]
        try:
            yield load
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def cost(self) -> float:
        """Return how many seconds of a processor it takes to check an entry."""
        audit, before = Audit(self._service), self._processor_seconds()
        found = await audit.run(lambda _: None)
        assert not found, found
        return (self._processor_seconds() - before) / audit.entries

    async def rate(self, seconds: float) -> float:
        """Return events/s appended in a while."""
        async with self.load() as load:
            await asyncio.sleep(1)
            before, since = load.events, time.perf_counter()
            await asyncio.sleep(seconds)
            return (load.events - before) / (time.perf_counter() - since)

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[Watch]:
        """Run the audit as `serve` does."""
        watch = Watch(self._service)
        running = asyncio.create_task(watch.run())
        try:
            yield watch
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running

    async def flip(self, day: date) -> None:
        """Flip the bits of a byte of a day's last entry of a commune."""
        assert await self._superuser.execute(FLIP, CATEGORY, day) == "UPDATE 1"

    async def found_after(self, day: date) -> float:
        """Return after how many seconds an alarm names the day."""
        since, name = time.perf_counter(), format_day(day)
        while not any(name in alarm.reason for alarm in self._service.alarms.findings):
            assert time.perf_counter() - since < PATIENCE_SECONDS, "not found"
            await asyncio.sleep(0.01)
        return time.perf_counter() - since

    async def round(self, watch: Watch, days: int) -> float:
        """Return how many seconds the audit takes for all closed days, from the first check to the last."""
        since = time.perf_counter()
        while sum(category == CATEGORY for category, _ in watch._rounds.checked) < days:
            assert time.perf_counter() - since < PATIENCE_SECONDS, "a round does not end"
            await asyncio.sleep(0.01)
        return time.perf_counter() - since


async def run(days: int, entries: int) -> None:
    """Measure a temporary installation."""
    with tempfile.TemporaryDirectory(prefix="oej-bench-") as home:
        settings = Settings(home=home)
        clock = SimulatedClock(-days * DAY)
        async with open_server(settings) as (dsn, server):
            assert server is not None
            assert server.pid is not None
            await prepare(dsn, settings, clock, simulate=clock.offset)
            superuser = await asyncpg.connect(dsn.replace(OWNER, SUPERUSER, 1))
            await superuser.execute("SET session_replication_role = replica")
            async with open_service(dsn, settings, clock) as installation:
                site = Site(installation, dsn)
                bench = AuditBench(site, clock, superuser, server.pid)
                await bench.live(days, entries)
                await measure(bench, installation.service.settings, days, entries)
            await superuser.close()


async def measure(bench: AuditBench, settings: Settings, days: int, entries: int) -> None:
    """Print what there is to say."""
    processors, kept, today = os.cpu_count() or 1, days * entries, datetime.now(UTC).date()
    print(f"{kept:,} entries in {days} closed days; {processors} processors; audit_share {settings.audit_share}")
    each = await bench.cost()
    print(f"processor time per entry checked                {1e6 * each:>10.0f} µs")
    without = await bench.rate(10)
    await bench.flip(today - DAY)
    async with bench.load() as load:
        await asyncio.sleep(1)
        async with bench.watching() as watch:
            yesterday = await bench.found_after(today - DAY)
            await bench.flip(today - DAY)  # back as it was
            events, since = load.events, time.perf_counter()
            seconds = await bench.round(watch, days)
            beside = (load.events - events) / (time.perf_counter() - since)
            await asyncio.sleep(seconds / 2)
            await bench.flip(today - 30 * DAY)
            month = await bench.found_after(today - 30 * DAY)
    checked = kept / (seconds + yesterday)
    print(f"events/s at full load, without the audit        {without:>10,.0f}")
    print(f"events/s at full load, with it                  {beside:>10,.0f}   {beside / without:.2f} of that")
    print(f"entries/s that it checks meanwhile              {checked:>10,.0f}")
    print(f"its share of the machine                        {100 * checked * each / processors:>10.1f} %")
    print(f"a flipped byte of yesterday is found after      {yesterday:>10.1f} s")
    print(f"a flipped byte of a month ago                   {month:>10.1f} s, at most a round")
    print(f"a round of {kept:>9,} entries                    {seconds + yesterday:>10.1f} s")
    print(f"entries that a week is enough for               {checked * WEEK_SECONDS:>10,.0f}")


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.audit", description=__doc__)
    parser.add_argument("--days", type=int, default=DAYS, help="closed days")
    parser.add_argument("--entries", type=int, default=ENTRIES, help="of each day")
    arguments = parser.parse_args()
    uvloop.run(run(arguments.days, arguments.entries))


if __name__ == "__main__":
    main()
