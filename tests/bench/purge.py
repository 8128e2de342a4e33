"""The cost of purging a day: time under its lock, time beside it, and latency of events submitted meanwhile.

Days of two sizes are purged in turn, in one installation whose clocks are moved, while an open-loop generator submits
single events at a fixed rate in the same process, as in `serve`.

A first large day, not measured, teaches the database how many slices a day of the category needs; seven empty ones
follow, which were made before it was there.

Time under lock: a second connection samples `pg_locks` every fifth of a millisecond or so, from the server's side,
and takes the longest time from a look that finds the day's partition or its parent locked in access exclusive mode to
the next that does not, which is the longest that anybody may have waited; 0 where it fell between two looks. It holds
one commit, and so the time the disk takes for that. The rest of the drop is the step's time without it, and without
the rests between two slices; its floor is the time it takes to unlink files of the sizes of that day's, written as
PostgreSQL writes and made durable, on the same file system, all at once.

What submitters notice is held against the quiet moments between, and against the moments in which those files are
unlinked: what the file system makes everyone wait for then, no purge can spare them.

The rows are put straight into the partition: the purge looks at no row, which is the point. Some entries of every day
are recorded as entries are.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median, quantiles
from typing import TYPE_CHECKING

import asyncpg

from journal.admin.administration import NewCategory
from journal.cli.installation import open_database, open_service, prepare
from journal.clock import SimulatedClock
from journal.database.embedded import OWNER, SUPERUSER
from journal.settings import Settings
from retention.maintenance import DAYS_AHEAD
from retention.purge import REST_SECONDS
from retention.purge_steps import Step
from tests.bench.figures import say, show
from tests.bench.generator import RATE_PER_SECOND, Generator
from tests.bench.past_days import TABLES, fill_day, find_leaf, travel
from tests.bench.site import Site
from tests.support.relations import table_files

if TYPE_CHECKING:
    from retention.purge_steps import Boundary

SMALL_ENTRIES = 10_000
LARGE_ENTRIES = 1_000_000
CATEGORY = "breve"
RETENTION_DAYS = 2
WRITER = 0  # the commune that submits
BASELINE_SECONDS = 3.0
# PostgreSQL's: what was written in large pieces is unlinked sooner.
PAGE_BYTES = 8192
DAY = timedelta(days=1)
# Made ahead, before the first large day was there.
DAYS_WITHOUT_SLICES = DAYS_AHEAD

WATCH = """
CREATE FUNCTION pg_temp.seconds_under_lock(leaf oid, parent oid) RETURNS double precision LANGUAGE plpgsql AS $$
DECLARE
  since timestamptz;
  held boolean;
  longest double precision := 0;
BEGIN
  LOOP
    held := EXISTS (SELECT FROM pg_locks AS l
                     WHERE l.relation IN (leaf, parent) AND l.mode = 'AccessExclusiveLock' AND l.granted);
    IF held THEN
      since := coalesce(since, clock_timestamp());
    ELSIF since IS NOT NULL THEN
      longest := greatest(longest, extract(epoch FROM clock_timestamp() - since));
      since := NULL;
    ELSIF NOT EXISTS (SELECT FROM pg_class AS c WHERE c.oid = leaf) THEN
      RETURN longest;
    END IF;
    PERFORM pg_sleep(0.0001);
  END LOOP;
END
$$
"""


@dataclass(slots=True, kw_only=True)
class Purges:
    """What was measured of the days of one size, in milliseconds; `latencies` of events submitted meanwhile."""

    entries: int
    slices: list[int] = field(default_factory=list)
    whole: list[float] = field(default_factory=list)
    under_lock: list[float] = field(default_factory=list)
    rest_of_drop: list[float] = field(default_factory=list)
    files_bytes: list[list[int]] = field(default_factory=list)
    unlinking: list[float] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    latencies_unlinking: list[float] = field(default_factory=list)

    def show(self) -> tuple[float, float, float]:
        """Print it; return the medians of the time under lock, of the drop's rest, and of unlinking."""
        say(f"purge of a day of {self.entries:,} entries, in {median(self.slices):.0f} slices")
        show("  the whole run", "ms", self.whole, digits=1)
        under_lock = show("  under the lock", "ms", self.under_lock, digits=2)
        unlinking = show("  unlinking files of that size (floor)", "ms", self.unlinking, digits=1)
        rest = show("  the rest of the drop", "ms", self.rest_of_drop, unlinking, digits=1)
        return under_lock, rest, unlinking


class PurgeBench:
    """An installation with days to be purged."""

    def __init__(self, site: Site, clock: SimulatedClock, superuser: asyncpg.Connection, directory: Path) -> None:
        """Purge there; look through the superuser's connection, write files in that directory."""
        self._site = site
        self._clock = clock
        self._superuser = superuser
        self._directory = directory

    async def live(self, sizes: list[int]) -> None:
        """Live days of these sizes, oldest first, up to this morning, when all of them are due."""
        await self._site.add_communes(1)
        category = NewCategory(code=CATEGORY, label="Brève", retention_days=RETENTION_DAYS)
        await self._site.installation.administration.add_category(category)
        start = datetime.now(UTC) - len(sizes) * DAY
        for number, entries in enumerate(sizes):
            await travel(self._site, self._clock, start + number * DAY)
            await self._site.submit(self._site.compartment(WRITER, CATEGORY), self._site.make(10))
            await self._site.service.sealer.seal_open(even_if_still=False)
            await fill_day(self._superuser, CATEGORY, (start + number * DAY).date(), entries)
        await travel(self._site, self._clock, datetime.now(UTC))
        await self._site.service.sealer.seal_open(even_if_still=False)

    async def purge(self, entries: int, generator: Generator, into: Purges) -> list[float]:
        """Purge the oldest day, and note what that took; return the latencies of the moment before."""
        [due, *_] = await self._site.installation.purger.due()
        leaf = await find_leaf(self._superuser, CATEGORY, due.day)
        tables = await self._superuser.fetch(TABLES, leaf)
        files = await table_files(self._superuser, leaf)
        await self._superuser.execute("CHECKPOINT")
        into.files_bytes.append([file.stat().st_size for file in files])
        await generator.settle(time.perf_counter())
        quiet_since = time.perf_counter()
        await asyncio.sleep(BASELINE_SECONDS)
        watching = asyncio.create_task(
            self._superuser.fetchval(
                "SELECT pg_temp.seconds_under_lock(i.inhrelid, i.inhparent) FROM pg_inherits AS i "
                "WHERE i.inhrelid = $1::text::regclass",
                leaf,
            )
        )
        await asyncio.sleep(0.1)
        moments: dict[tuple[Step, bool], float] = {}

        def watch(boundary: Boundary) -> None:
            moments[boundary.step, boundary.is_done] = time.perf_counter()

        since = time.perf_counter()
        done = await self._site.installation.purger.run(max_days=1, on_step=watch)
        until = time.perf_counter()
        assert [row.day for row in done] == [due.day], entries
        under_lock = 1000 * await watching
        drop = 1000 * (moments[Step.DROP_ROWS, True] - moments[Step.DROP_ROWS, False])
        into.slices.append(len(tables))
        into.whole.append(1000 * (until - since))
        into.under_lock.append(under_lock)
        into.rest_of_drop.append(drop - under_lock - 1000 * REST_SECONDS * (len(tables) if len(tables) > 1 else 0))
        await generator.settle(until)
        into.latencies += generator.latencies(since, until)
        return generator.latencies(quiet_since, quiet_since + BASELINE_SECONDS)

    async def unlink(self, generator: Generator, into: Purges) -> None:
        """Unlink files like those of the days that were purged, and note what that took."""
        for sizes in into.files_bytes:
            since, until = await asyncio.to_thread(self._unlink_files, sizes)
            into.unlinking.append(1000 * (until - since))
            await generator.settle(until)
            into.latencies_unlinking += generator.latencies(since, until)

    def _unlink_files(self, sizes: list[int]) -> tuple[float, float]:
        """Write files of these sizes page by page, make them durable, unlink them; return when that began and ended."""
        files = [self._directory / f"file-{number}" for number in range(len(sizes))]
        page = os.urandom(PAGE_BYTES)
        for path, size in zip(files, sizes, strict=True):
            with path.open("wb", buffering=0) as file:
                for _ in range(size // PAGE_BYTES):
                    file.write(page)
                os.fsync(file.fileno())
        time.sleep(BASELINE_SECONDS)
        started = time.perf_counter()
        for path in files:
            path.unlink()
        return started, time.perf_counter()


async def measure_purges(small: int, large: int, runs: int) -> None:
    """Print what there is to say about the purge."""
    taught = [large, *[0] * DAYS_WITHOUT_SLICES]
    measured_sizes = [size for _ in range(runs) for size in (small, large)]
    sizes = [*taught, *measured_sizes]
    with tempfile.TemporaryDirectory(prefix="oej-bench-") as home:
        settings = Settings(home=home)
        clock = SimulatedClock(-len(sizes) * DAY)
        async with open_database(settings) as dsn:
            await prepare(dsn, settings, clock, simulate=clock.offset)
            superuser = await asyncpg.connect(dsn.replace(OWNER, SUPERUSER, 1))
            await superuser.execute("SET session_replication_role = replica")
            await superuser.execute(WATCH)
            async with open_service(dsn, settings, clock) as installation:
                site = Site(installation, dsn)
                bench = PurgeBench(site, clock, superuser, Path(home))
                await bench.live(sizes)
                await installation.purger.run(max_days=len(taught))
                measured = {size: Purges(entries=size) for size in (small, large)}
                quiet: list[float] = []
                generator = Generator(site, site.compartment(WRITER, CATEGORY))
                async with generator.running():
                    for size in measured_sizes:
                        quiet += await bench.purge(size, generator, measured[size])
                    # Afterwards: what the disk has to do for it would be under way during the next purge.
                    for purges in measured.values():
                        await bench.unlink(generator, purges)
            await superuser.close()
    _report(measured[small], measured[large], quiet)


def _report(small: Purges, large: Purges, quiet: list[float]) -> None:
    lock_small, _, _ = small.show()
    lock_large, rest, unlinking = large.show()
    say(f"time under lock, {large.entries:,} entries to {small.entries:,}: {lock_large / lock_small:.2f}")
    say(f"the rest of dropping {large.entries:,} entries, to unlinking such files: {rest / unlinking:.2f}")
    say(
        f"events submitted one by one, {RATE_PER_SECOND}/s, answered after (ms)         median      p99     most     of"
    )
    before = _quantiles("between purges", quiet)
    floor = _quantiles(f"while files of {large.entries:,} entries are unlinked (floor)", large.latencies_unlinking)
    _quantiles(f"during the purge of {small.entries:,} entries", small.latencies)
    during = _quantiles(f"during the purge of {large.entries:,} entries", large.latencies)
    say(f"p99 during the purge of {large.entries:,} entries, to that between purges: {during / before:.2f}")
    say(f"to that while such files are unlinked: {during / floor:.2f}")


def _quantiles(title: str, latencies: list[float]) -> float:
    p99 = quantiles(latencies, n=100, method="inclusive")[98]
    say(f"  {title:<58} {median(latencies):>8.2f} {p99:>8.2f} {max(latencies):>8.2f} {len(latencies):>6}")
    return p99
