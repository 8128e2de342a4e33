"""An installation as large as the country's: what a restart, a seal, days that fill and a look at heads then cost."""

from __future__ import annotations

import asyncio
import gc
import random
import resource
import tempfile
import time
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import quantiles
from typing import TYPE_CHECKING, Final, cast

import asyncpg

from journal.cli.installation import open_server, open_service, prepare
from journal.cli.serve import collect_seldom
from journal.clock import SimulatedClock, SystemClock
from journal.core.entry import Compartment
from journal.database.embedded import OWNER, SUPERUSER
from journal.settings import Settings
from tests.bench.costs import Found, Row, table
from tests.bench.facts import fill
from tests.bench.figures import say, show
from tests.bench.past_days import fill_day, travel
from tests.bench.site import Site

if TYPE_CHECKING:
    from collections.abc import Sequence

    from journal.core.entry import Event

CHAINS: Final = 20_000
ENTRIES: Final = 5_000_000
FEW: Final = 64
# Of every four chains three have new entries when a seal is made.
TOUCHED: Final = 0.75
BATCH_EVENTS: Final = 1_000
LOOKS: Final = 200
# No more requests wait at once: a service has 8,192 connections.
UNDER_WAY: Final = 2_000
# Days that are kept, and the categories that they are of.
DAYS: Final = 60
PACE_SECONDS: Final = 0.005
_STATUS: Final = Path("/proc/self/status")


class Country(Site):
    """A site of many communes, in every category."""

    chains: list[Compartment]

    def take_chains(self, count: int) -> None:
        """Know the chains, in an order that has nothing to do with their names."""
        categories = [row.code for row in self.service.snapshot.categories() if row.code != "assistance"]
        tenants = [row.code for row in self.service.snapshot.tenants() if not row.code.startswith("_")]
        self.chains = [Compartment(self.service.name, tenant, code) for tenant in tenants for code in categories]
        random.Random(1).shuffle(self.chains)
        del self.chains[count:]

    async def singles(self, chains: Sequence[Compartment], count: int) -> tuple[float, int]:
        """Submit so many events, UNDER_WAY at once, each to a chain in turn; return events/s, and how many."""
        begun = time.perf_counter()
        for start in range(0, count, UNDER_WAY):
            numbers = range(start, min(count, start + UNDER_WAY))
            await asyncio.gather(*(self.submit(chains[n % len(chains)], self.make(1)) for n in numbers))
        return count / (time.perf_counter() - begun), count

    async def batches(self, count: int) -> tuple[float, int]:
        """Submit so many batches, four at a time, each to a chain in turn; return events/s, and how many events."""
        begun = time.perf_counter()
        made: list[tuple[Compartment, list[Event]]] = []
        for number in range(count):
            made.append((self.chains[number % len(self.chains)], self.make(BATCH_EVENTS)))
            if len(made) == 4 or number == count - 1:
                await asyncio.gather(*(self.submit(chain, events) for chain, events in made))
                made.clear()
        return count * BATCH_EVENTS / (time.perf_counter() - begun), count * BATCH_EVENTS

    async def paced(self, ends: asyncio.Event) -> list[float]:
        """Submit an event every 5 ms until told to end; return how long each took, in ms."""
        took: list[float] = []
        tasks: list[asyncio.Task[None]] = []

        async def one(chain: Compartment) -> None:
            begun = time.perf_counter()
            await self.submit(chain, self.make(1))
            took.append(1000 * (time.perf_counter() - begun))

        while not ends.is_set() or len(tasks) < FEW:
            tasks.append(asyncio.create_task(one(self.chains[len(tasks) % FEW])))
            await asyncio.sleep(PACE_SECONDS)
        await asyncio.gather(*tasks)
        return took


async def measure_scale(chains: int, entries: int, runs: int) -> None:
    """Print what there is to say of so many chains, and of so many entries."""
    with tempfile.TemporaryDirectory(prefix="oej-bench-") as home:
        settings, clock = Settings(home=home, queue_events=max(50_000, 10 * chains), queue_bytes=1 << 40), SystemClock()
        async with AsyncExitStack() as stack:
            dsn, server = await stack.enter_async_context(open_server(settings))
            assert server is not None
            await prepare(dsn, settings, clock)
            await fill(dsn, settings, -(-chains // 4), 0)
            # The service that is measured knows no head yet.
            begun = time.perf_counter()
            installation = await stack.enter_async_context(open_service(dsn, settings, clock))
            show("ready", "ms", [1000 * (time.perf_counter() - begun)])
            await installation.maintenance.prepare()
            await installation.service.receipt_keys.prepare()
            country = Country(installation, dsn)
            country.take_chains(chains)
            collect_seldom()  # as `serve` does
            await _measure_chains(country, server.pid or 0, runs)
            await _measure_seals(country, runs)
            await _measure_looks(country)
            await _measure_filling(country, server.pid or 0, entries, runs)


async def _measure_chains(country: Country, postmaster: int, runs: int) -> None:
    touched = country.chains[: int(TOUCHED * len(country.chains))]
    begun = time.perf_counter()
    await country.singles(touched, len(touched))
    show(f"first events of {len(touched):,} chains", "ms", [1000 * (time.perf_counter() - begun)])
    few, many = Row(f"(s) singles, {FEW} chains", Found()), Row(f"singles, {len(touched):,} chains at random", Found())
    for _ in range(runs):
        count = min(len(touched), UNDER_WAY)
        start = random.randrange(len(touched))
        await few.found.measure_here(country.singles(touched[:FEW], count), postmaster, is_server=True)
        turned = touched[start:] + touched[:start]
        await many.found.measure_here(country.singles(turned, count), postmaster, is_server=True)
    table([few, many])


async def _measure_seals(country: Country, runs: int) -> None:
    touched = country.chains[: int(TOUCHED * len(country.chains))]
    begun = time.perf_counter()
    await country.service.sealer.seal_open(even_if_still=True)
    show(f"the first seal of {len(country.chains):,} chains", "ms", [1000 * (time.perf_counter() - begun)])
    took: list[float] = []
    quiet: list[float] = []
    beside: list[float] = []
    for _ in range(runs):
        await country.singles(touched, len(touched))
        ends = asyncio.Event()
        pacing = asyncio.create_task(country.paced(ends))
        await asyncio.sleep(1)
        ends.set()
        quiet += await pacing
        ends = asyncio.Event()
        pacing = asyncio.create_task(country.paced(ends))
        begun = time.perf_counter()
        await country.service.sealer.seal_open(even_if_still=True)
        took.append(1000 * (time.perf_counter() - begun))
        ends.set()
        beside += await pacing
    show(f"a later one, {len(touched):,} of them moved", "ms", took)
    calm = quantiles(quiet, n=100)[98]
    show("events every 5 ms, 99 of 100 within", "ms", [calm], digits=1)
    show("the same while a seal is made", "ms", [quantiles(beside, n=100)[98]], calm, digits=1)


async def _measure_looks(country: Country) -> None:
    for number in range(LOOKS):
        chain = country.chains[number % len(country.chains)]
        if number % 20 == 0:
            await country.singles(country.chains[:FEW], FEW)
            await country.service.sealer.seal_open(even_if_still=True)
        await country.service.reader.head(chain)
    gc.collect()
    show(f"memory after {LOOKS} looks at heads", "MiB", [_memory_mib()])
    say(f"{'at most':<44} {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:>32,.0f} MiB")


def _memory_mib() -> float:
    line = next(line for line in _STATUS.read_text(encoding="ascii").splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


async def _measure_filling(country: Country, postmaster: int, entries: int, runs: int) -> None:
    """Fill one day: nobody's days are so full, but a country's come near."""
    size = len(country.make(1)[0].canonical)
    connection = await asyncpg.connect(country.dsn)
    try:
        empty = await _size(connection)
        first, last = (
            Row("(n) batches of 1,000, at first", Found()),
            Row(f"batches, after {entries:,} entries of the day", Found()),
        )
        for _ in range(runs):
            await first.found.measure_here(country.batches(20), postmaster, is_server=True)
        count = max(0, entries // BATCH_EVENTS - 20 * runs)
        await country.batches(count)
        filled = await _size(connection)
        for _ in range(runs):
            await last.found.measure_here(country.batches(20), postmaster, is_server=True)
    finally:
        await connection.close()
    table([first, last])
    events = (count + 20 * runs) * BATCH_EVENTS
    show("bytes on disk by byte of events", "", [(filled - empty) / (events * size)], digits=2)


async def measure_days(chains: int, entries: int, runs: int) -> None:
    """Print what so many entries, in all the days that are kept, leave of an empty journal's throughput."""
    async with AsyncExitStack() as stack:
        empty, postmaster = await _live(stack, chains, 0)
        full, filled_postmaster = await _live(stack, chains, entries)
        before = Row("(n) batches of 1,000, an empty journal", Found())
        after = Row(f"batches, {entries:,} entries in {DAYS} days", Found())
        for _ in range(runs):
            await before.found.measure_here(empty.batches(20), postmaster, is_server=True)
            await after.found.measure_here(full.batches(20), filled_postmaster, is_server=True)
        table([before, after])


async def _live(stack: AsyncExitStack, chains: int, entries: int) -> tuple[Country, int]:
    """Return an installation whose days up to this morning hold so many entries, and its postmaster."""
    home = stack.enter_context(tempfile.TemporaryDirectory(prefix="oej-bench-"))
    now = datetime.now(UTC)
    days = [now - timedelta(days=ago) for ago in range(DAYS - 1, 0, -1)]
    settings, clock = Settings(home=home, queue_bytes=1 << 40), SimulatedClock(days[0] - now)
    dsn, server = await stack.enter_async_context(open_server(settings))
    assert server is not None
    await prepare(dsn, settings, clock, simulate=clock.offset)
    superuser = await asyncpg.connect(dsn.replace(OWNER, SUPERUSER, 1))
    await superuser.execute("SET session_replication_role = replica")
    async with open_service(dsn, settings, clock) as installation:
        site = Site(installation, dsn)
        categories = [row.code for row in site.service.snapshot.categories()]
        for day in days:
            await travel(site, clock, day)
            await site.service.sealer.seal_open(even_if_still=False)
            for category in categories if entries else ():
                await fill_day(superuser, category, day.date(), entries // (len(days) * len(categories)))
        await travel(site, clock, datetime.now(UTC))
        await site.service.sealer.seal_open(even_if_still=False)
    await superuser.execute("CHECKPOINT")
    await superuser.close()
    await fill(dsn, settings, -(-chains // 4), 0)
    begun = time.perf_counter()
    installation = await stack.enter_async_context(open_service(dsn, settings, SystemClock()))
    show(f"ready, {entries:,} entries in {DAYS} days", "ms", [1000 * (time.perf_counter() - begun)])
    await installation.service.receipt_keys.prepare()
    country = Country(installation, dsn)
    country.take_chains(chains)
    return country, server.pid or 0


async def _size(connection: asyncpg.Connection) -> int:
    await connection.execute("VACUUM")
    return cast("int", await connection.fetchval("SELECT pg_database_size(current_database())"))
