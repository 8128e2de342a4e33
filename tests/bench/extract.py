"""How fast an extract is made and verified, and the store is, against a cursor and a loop of hashes."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from hashlib import sha256
from typing import TYPE_CHECKING

import asyncpg

from journal.audit.run import Audit
from journal.core.times import day_of
from journal.extract.grounds import Authorisation
from journal.extract.verify import verify_extract
from journal.pki.certificates import pem_to_der
from journal.reading.plan import ExtractRequest
from journal.verifier.processes import spread
from tests.bench.append import BATCH_EVENTS
from tests.bench.figures import say, show
from tests.bench.processor import seconds_of
from tests.browser.chromium import CHROMIUM
from tests.support.world import PERSON

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    from journal.extract.sweep import Run
    from tests.bench.site import Site

FEW = 10
# So long takes the process that makes the next document to begin.
PAUSE_SECONDS = 2.0
RARE_EACH = 10_000
RARE = "agent.rare"


class Extracts:
    """Extracts of compartments' day. What is measured returns how many entries that were, and in how many seconds."""

    def __init__(self, site: Site, path: Path, postmaster: int) -> None:
        """Write them there."""
        self._site = site
        self._path = path
        self._postmaster = postmaster
        self._page_costs: list[float] = []

    async def prepare(self) -> None:
        """Record what a filter looks for, and a chain of a few entries."""
        rare = max(1, await self._site.size() // RARE_EACH)
        await self._site.submit(self._site.compartment(0), self._site.make(rare, account=RARE))
        await self._site.submit(self._site.compartment(1), self._site.make(FEW))

    def processor_seconds(self) -> float:
        """Return what this process and those it started have had, without PostgreSQL."""
        return seconds_of(os.getpid()) - seconds_of(self._postmaster)

    def database_seconds(self) -> float:
        """Return what PostgreSQL has had."""
        return seconds_of(self._postmaster)

    async def extract(self, number: int = 0, account: str | None = None) -> tuple[int, float]:
        """Make an extract of one compartment's day, written to a file."""
        service = self._site.service
        today = day_of(service.clock.now())
        authorisation = Authorisation("Parquet", today, "OP-1") if account else None
        request = ExtractRequest(
            from_day=today,
            to_day=today,
            purpose="lawfulness",
            requester="bench",
            person=PERSON,
            account=account,
            authorisation=authorisation,
        )
        entries = await self._site.size(number)
        started = time.perf_counter()
        chunks = (
            await service.extraction.open(self._site.compartment(number), request, requested_by="bench", disclose=True)
        ).chunks()
        path = self._path if not (number or account) else self._path.with_suffix(".other")
        with path.open("wb") as file:
            async for chunk in chunks:
                file.write(chunk)
        return entries, time.perf_counter() - started

    async def cursor_floor(self) -> tuple[int, float]:
        """Read the same rows with a database cursor alone."""
        entries = await self._site.size()
        connection = await asyncpg.connect(self._site.dsn)
        try:
            started = time.perf_counter()
            async with connection.transaction():
                statement = "SELECT index, leaf_hash, ciphertext FROM journal.entry WHERE tenant = $1 AND category = $2"
                async for _ in connection.cursor(statement, "t0", "ecrits", prefetch=BATCH_EVENTS):
                    pass
            return entries, time.perf_counter() - started
        finally:
            await connection.close()

    async def verify(self, run: Run | None = map) -> tuple[int, float]:
        """Verify offline."""
        anchors = pem_to_der(self._site.service.settings.trust_path.read_bytes())
        entries = await self._site.size()
        started = time.perf_counter()
        with self._path.open("rb") as file:
            verify_extract(file, anchors=anchors, run=run)
        return entries, time.perf_counter() - started

    async def page(self) -> tuple[int, float]:
        """Verify in Chromium."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.bench.page", self._path, self._site.service.settings.trust_path),
            stdout=asyncio.subprocess.PIPE,
        )
        output, _ = await process.communicate()
        seconds, processor = map(float, output.split())
        self._page_costs.append(processor)
        return await self._site.size(), seconds

    def page_seconds(self) -> float:
        """Return what the browser has had between the press of the button and the verdict, over all runs."""
        return sum(self._page_costs)

    async def verify_store(self) -> tuple[int, float]:
        """Check the whole store, as `verify-store` does."""
        audit, started = Audit(self._site.service, processes=os.cpu_count() or 1), time.perf_counter()
        found = await audit.run(lambda _: None)
        assert not found, found
        return audit.entries, time.perf_counter() - started

    async def sha256_floor(self) -> tuple[int, float]:
        """Hash alone: a leaf and a chain hash each, in a Python loop."""
        entries = await self._site.size()
        record, chain = bytes(420), bytes(32)
        started = time.perf_counter()
        for _ in range(entries):
            chain = sha256(b"\x01" + chain + sha256(record).digest()).digest()
        return entries, time.perf_counter() - started


class Costs:
    """What the rows that were printed cost in µs of processor an entry; printed after them."""

    def __init__(self, extracts: Extracts) -> None:
        """Begin with none."""
        self._extracts = extracts
        self._rows: list[tuple[str, float, float]] = []

    async def measure(
        self,
        title: str,
        work: Callable[[], Awaitable[tuple[int, float]]],
        runs: int,
        compared: Sequence[tuple[float, str]] = (),
        *,
        here: Callable[[], float] | None = None,
    ) -> float:
        """Print the rates of several runs; return the median."""
        here = here or self._extracts.processor_seconds
        before = here(), self._extracts.database_seconds()
        done = [await work() for _ in range(runs)]
        entries = sum(count for count, _ in done)
        after = here(), self._extracts.database_seconds()
        own, database = (1e6 * (end - begin) / entries for begin, end in zip(before, after, strict=True))
        self._rows.append((title, own, database))
        return show(title, "entries/s", [count / seconds for count, seconds in done], compared=compared)

    def say(self) -> None:
        """Print the costs, and how many entries/s one processor allows, and how many all of them."""
        processors = os.cpu_count() or 1
        say(f"{'µs of processor an entry':<44} {'itself':>10} {'PostgreSQL':>10} {'on one':>10} {'on all':>10}")
        for title, own, database in self._rows:
            one, every = 1e6 / (own + database), processors * 1e6 / (own + database)
            say(f"{title:<44} {own:>10.1f} {database:>10.1f} {one:>10,.0f} {every:>10,.0f}")


async def measure_extracts(extracts: Extracts, runs: int) -> None:
    """Print what there is to say about extracts."""
    await extracts.prepare()
    costs = Costs(extracts)
    cursor = await costs.measure("database cursor alone (floor)", extracts.cursor_floor, runs)
    floor = [(cursor, "its floor")]
    whole = await costs.measure("extract", extracts.extract, runs, floor)
    compared = [*floor, (whole, "the whole")]
    await costs.measure("extract filtered, 1 in 10,000", lambda: extracts.extract(0, RARE), runs, compared)
    floor = [(await costs.measure("SHA-256 loop alone (floor)", extracts.sha256_floor, runs), "its floor")]
    await costs.measure("journal-verify on one processor", extracts.verify, runs, floor)
    await costs.measure("journal-verify on all", lambda: extracts.verify(spread), runs, floor)
    await costs.measure("journal-verify --strict", lambda: extracts.verify(None), runs, floor)
    if CHROMIUM is not None:
        await costs.measure("the page, in Chromium", extracts.page, runs, floor, here=extracts.page_seconds)
    await costs.measure("verify-store", extracts.verify_store, runs, floor)
    costs.say()
    before = extracts.processor_seconds()
    alone = []
    for _ in range(runs):
        await asyncio.sleep(PAUSE_SECONDS)
        alone.append((await extracts.extract(1))[1])
    show("extract of 10 entries, to its last byte", "ms", [1e3 * each for each in alone])
    show("the same, of processor", "ms", [1e3 * (extracts.processor_seconds() - before) / runs])
    following = [(await extracts.extract(1))[1] for _ in range(runs)]
    show("the same, one right after another", "ms", [1e3 * each for each in following])
