"""`make bench`: each figure several times, its median, and its ratio to a floor taken in the same run.

Machines differ and are noisy: only the ratios travel. Nothing here is asserted. What is printed is kept in RESULTS.md.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

import uvloop

from journal.cli.installation import open_server, open_service, prepare
from journal.clock import SystemClock
from journal.settings import Settings
from tests.bench.append import Appends, measure_appends
from tests.bench.connector import measure_connector
from tests.bench.extract import Extracts, measure_extracts
from tests.bench.figures import take_printed
from tests.bench.http import measure_http
from tests.bench.purge import LARGE_ENTRIES, SMALL_ENTRIES, measure_purges
from tests.bench.receipts import measure_receipts
from tests.bench.report import write_section
from tests.bench.scale import CHAINS as CHAINS_OF_ALL
from tests.bench.scale import ENTRIES, measure_days, measure_scale
from tests.bench.site import CHAINS, Site

RUNS = 3
SECONDS = 2.0
SUBJECTS = ("http", "append", "receipts", "extract", "purge", "connector", "scale", "days")
SHORT = ("http", "append", "extract")


async def measure_service(events: int, entries: int, runs: int, subjects: set[str]) -> None:
    """Measure what a running service does, in a temporary installation."""
    with tempfile.TemporaryDirectory(prefix="oej-bench-") as home:
        settings = Settings(home=home, queue_events=10 * (events + entries), queue_bytes=1 << 40)
        clock = SystemClock()
        async with open_server(settings) as (dsn, server):
            assert server is not None
            await prepare(dsn, settings, clock)
            async with open_service(dsn, settings, clock) as installation:
                site = Site(installation, dsn)
                await site.add_communes(CHAINS if "append" in subjects else 2)
                appends = Appends(site, events)
                await installation.service.receipt_keys.prepare()  # receipts are signed, as in `serve`
                if "append" in subjects:
                    await measure_appends(appends, dsn, server.pid or 0, runs, SECONDS)
                    write_section("append", take_printed())
                if "receipts" in subjects:
                    await measure_receipts(site, server.pid or 0, runs)
                if "extract" in subjects:
                    await appends.fill(entries)
                    await measure_extracts(Extracts(site, Path(home) / "bench.asice", server.pid or 0), runs)
                    write_section("extract", take_printed())


async def run(arguments: argparse.Namespace) -> None:
    """Measure what was asked for."""
    subjects = set(arguments.only or (SUBJECTS if arguments.long else SHORT))
    runs = arguments.runs
    print(f"{runs} runs each{'':<33} {'least':>10} {'median':>10} {'most':>10}")
    if "http" in subjects:
        await measure_http(runs, SECONDS)
        write_section("http", take_printed())
    if subjects & {"append", "receipts", "extract"}:
        await measure_service(arguments.events, arguments.entries, runs, subjects)
    if "purge" in subjects:
        await measure_purges(arguments.small, arguments.large, runs)
        write_section("purge", take_printed())
    if "scale" in subjects:
        await measure_scale(arguments.chains, arguments.filled, runs)
        write_section("scale", take_printed())
    if "days" in subjects:
        await measure_days(arguments.chains, arguments.filled, runs)
        write_section("days", take_printed())
    if "connector" in subjects and shutil.which("php"):
        await measure_connector(arguments.pages)
        write_section("connector", take_printed())


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--long", action="store_true", help="every subject (an hour); without it, five minutes")
    parser.add_argument("--only", action="append", choices=SUBJECTS, help="this subject alone; may be given again")
    parser.add_argument("--events", type=int, default=20_000, help="events of one append run")
    parser.add_argument("--entries", type=int, default=200_000, help="entries extracted and verified")
    parser.add_argument("--small", type=int, default=SMALL_ENTRIES, help="entries of a small day that is purged")
    parser.add_argument("--large", type=int, default=LARGE_ENTRIES, help="entries of a large one")
    parser.add_argument("--pages", type=int, default=1_000, help="pages of a module, in each state of the journal")
    parser.add_argument("--chains", type=int, default=CHAINS_OF_ALL, help="chains of the largest installation")
    parser.add_argument(
        "--filled", type=int, default=ENTRIES, help="entries that one of its days, or all of them, hold"
    )
    parser.add_argument("--runs", type=int, default=RUNS)
    uvloop.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
