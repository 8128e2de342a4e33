"""`make bench`: each figure several times, its median, and its ratio to a floor taken in the same run.

Machines differ and are noisy: only the ratios travel. Nothing here is asserted.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from datetime import UTC, date, datetime
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import uvloop

from journal.cli.installation import Installation, open_database, open_service, prepare
from journal.clock import SystemClock
from journal.core import canonical
from journal.core.certificates import pem_to_der
from journal.core.entry import Compartment, Event
from journal.core.times import day_of, format_time
from journal.extract.verify import verify_extract
from journal.extraction import ExtractRequest
from journal.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

BATCH_EVENTS = 1_000
CHAINS = 500
RUNS = 5


class Bench:
    """One installation, measured."""

    def __init__(self, installation: Installation, dsn: str, events: int) -> None:
        """Measure with that many events a run."""
        self._installation = installation
        self._service = installation.service
        self._dsn = dsn
        self._events = events
        self._number = 0

    async def append_one_chain(self) -> float:
        """Return events/s appended to one chain, batches of 1,000 submitted together."""
        compartment = self._compartment(0)
        batches = [self._make(BATCH_EVENTS) for _ in range(self._events // BATCH_EVENTS)]
        started = time.perf_counter()
        await asyncio.gather(*(self._submit(compartment, batch) for batch in batches))
        return self._events / (time.perf_counter() - started)

    async def append_many_chains(self) -> float:
        """Return events/s appended over 500 chains, a batch of equal size to each."""
        each = self._events // CHAINS
        batches = [self._make(each) for _ in range(CHAINS)]
        started = time.perf_counter()
        await asyncio.gather(*(self._submit(self._compartment(n), batch) for n, batch in enumerate(batches)))
        return each * CHAINS / (time.perf_counter() - started)

    async def append_singles(self) -> float:
        """Return events/s where each of 2,000 requests under way carries one event."""
        events = self._make(min(self._events, 2_000))
        started = time.perf_counter()
        await asyncio.gather(*(self._submit(self._compartment(0), [event]) for event in events))
        return len(events) / (time.perf_counter() - started)

    async def copy_floor(self) -> float:
        """Return rows/s of a raw COPY of rows of that size into a table like a day's partition, indexes included."""
        connection = await asyncpg.connect(self._dsn)
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

    async def extract(self, path: Path) -> float:
        """Return entries/s of an extract of one compartment's day, written to a file."""
        today = day_of(self._service.clock.now())
        request = ExtractRequest(from_day=today, to_day=today, purpose="lawfulness", requester="bench")
        entries = await self._size()
        started = time.perf_counter()
        chunks = await self._service.extraction.extract(
            self._compartment(0), request, requested_by="bench", disclose=True
        )
        with path.open("wb") as file:
            async for chunk in chunks:
                file.write(chunk)
        return entries / (time.perf_counter() - started)

    async def cursor_floor(self) -> float:
        """Return rows/s of a database cursor alone over the same rows."""
        entries = await self._size()
        connection = await asyncpg.connect(self._dsn)
        try:
            started = time.perf_counter()
            async with connection.transaction():
                statement = "SELECT index, leaf_hash, sealed FROM journal.entry WHERE tenant = $1 AND category = $2"
                async for _ in connection.cursor(statement, "t0", "ecrits", prefetch=BATCH_EVENTS):
                    pass
            return entries / (time.perf_counter() - started)
        finally:
            await connection.close()

    async def verify(self, path: Path) -> float:
        """Return entries/s verified offline."""
        anchors = pem_to_der(self._service.settings.trust_path.read_bytes())
        entries = await self._size()
        started = time.perf_counter()
        with path.open("rb") as file:
            verify_extract(file, anchors=anchors)
        return entries / (time.perf_counter() - started)

    async def sha256_floor(self) -> float:
        """Return entries/s of hashing alone: a leaf and a chain hash each, in a Python loop."""
        entries = await self._size()
        record, chain = bytes(420), bytes(32)
        started = time.perf_counter()
        for _ in range(entries):
            chain = sha256(b"\x01" + chain + sha256(record).digest()).digest()
        return entries / (time.perf_counter() - started)

    async def prepare(self) -> None:
        """Make the communes."""
        await self._installation.maintenance.prepare()
        for number in range(CHAINS):
            await self._installation.administration.add_tenant(f"t{number}", f"Commune {number}")

    def _compartment(self, number: int) -> Compartment:
        return Compartment(self._service.name, f"t{number}", "ecrits")

    async def _submit(self, compartment: Compartment, events: list[Event]) -> None:
        # As the edge does when the queue is full: the caller comes again.
        await self._service.writer.submit(compartment, "bench", events, 0)

    async def _size(self) -> int:
        rows = await self._service.store.read_heads(["t0"], ["ecrits"])
        return rows[0].size

    def _make(self, count: int) -> list[Event]:
        now = self._service.clock.now()
        events = []
        for _ in range(count):
            self._number += 1
            identifier = f"e{self._number:09d}"
            body = {
                "data": {
                    "actor": {"account": "z.vidal", "name": "Zoé Vidal", "role": "agent"},
                    "justification": "Relecture avant transmission au chef de service",
                    "outcome": "success",
                },
                "id": identifier,
                "source": "/openepm/bench",
                "specversion": "1.0",
                "subject": "MC-2026-0001",
                "time": format_time(now),
                "type": "fr.openepm.journal.consultation",
            }
            events.append(Event("/openepm/bench", identifier, now, "consultation", canonical.encode(body)))
        return events


async def measure(title: str, unit: str, work: Callable[[], Awaitable[float]], runs: int, floor: float = 0) -> float:
    """Run the work several times, print minimum, median, maximum and the ratio to its floor; return the median."""
    figures = [await work() for _ in range(runs)]
    median = statistics.median(figures)
    ratio = f"  {median / floor:5.2f} of its floor" if floor else ""
    print(f"{title:<44} {min(figures):>10,.0f} {median:>10,.0f} {max(figures):>10,.0f} {unit}{ratio}", flush=True)
    return median


async def run(events: int, entries: int, runs: int) -> None:
    """Measure everything, in a temporary installation."""
    with tempfile.TemporaryDirectory(prefix="oej-bench-") as home:
        settings = Settings(home=home, queue_events=10 * (events + entries), queue_bytes=1 << 40)
        clock = SystemClock()
        async with open_database(settings) as dsn:
            await prepare(dsn, settings, clock)
            async with open_service(dsn, settings, clock) as installation:
                bench = Bench(installation, dsn, events)
                await bench.prepare()
                await _measure_all(bench, Path(home) / "bench.asice", entries, runs)


async def _measure_all(bench: Bench, path: Path, entries: int, runs: int) -> None:
    print(f"{datetime.now(UTC):%Y-%m-%d}, {runs} runs each{'':<21} {'least':>10} {'median':>10} {'most':>10}")
    copy = await measure("COPY into a table like a day's (floor)", "rows/s", bench.copy_floor, runs)
    await measure("append, 1 chain, batches of 1,000", "events/s", bench.append_one_chain, runs, copy)
    await measure(f"append, {CHAINS} chains", "events/s", bench.append_many_chains, runs, copy)
    await measure("append, single events", "events/s", bench.append_singles, runs)
    while await bench.append_one_chain() and await bench._size() < entries:
        pass
    cursor = await measure("database cursor alone (floor)", "rows/s", bench.cursor_floor, runs)
    await measure("extract", "entries/s", lambda: bench.extract(path), runs, cursor)
    hashing = await measure("SHA-256 loop alone (floor)", "entries/s", bench.sha256_floor, runs)
    await measure("journal-verify", "entries/s", lambda: bench.verify(path), runs, hashing)


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--events", type=int, default=20_000, help="events of one append run")
    parser.add_argument("--entries", type=int, default=200_000, help="entries extracted and verified")
    parser.add_argument("--runs", type=int, default=RUNS)
    arguments = parser.parse_args()
    uvloop.run(run(arguments.events, arguments.entries, arguments.runs))


if __name__ == "__main__":
    main()
