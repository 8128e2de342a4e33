"""`make bench`: each figure several times, its median, and its ratio to a floor taken in the same run.

Machines differ and are noisy: only the ratios travel. Nothing here is asserted.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import uvloop

from journal.cli.installation import open_database, open_service, prepare
from journal.clock import SystemClock
from journal.settings import Settings
from tests.bench.append import Appends, measure_appends
from tests.bench.connector import measure_connector
from tests.bench.extract import Extracts, measure_extracts
from tests.bench.purge import LARGE_ENTRIES, SMALL_ENTRIES, measure_purges
from tests.bench.site import CHAINS, Site

RUNS = 5
SUBJECTS = ("append", "extract", "purge", "connector")


async def measure_service(events: int, entries: int, runs: int, subjects: set[str]) -> None:
    """Measure what a running service does, in a temporary installation."""
    with tempfile.TemporaryDirectory(prefix="oej-bench-") as home:
        settings = Settings(home=home, queue_events=10 * (events + entries), queue_bytes=1 << 40)
        clock = SystemClock()
        async with open_database(settings) as dsn:
            await prepare(dsn, settings, clock)
            async with open_service(dsn, settings, clock) as installation:
                site = Site(installation, dsn)
                await site.add_communes(CHAINS)
                appends = Appends(site, events)
                if "append" in subjects:
                    await measure_appends(appends, runs)
                if "extract" in subjects:
                    await appends.fill(entries)
                    await measure_extracts(Extracts(site, Path(home) / "bench.asice"), runs)


async def run(arguments: argparse.Namespace) -> None:
    """Measure what was asked for."""
    subjects = set(arguments.only or SUBJECTS)
    runs = arguments.runs
    print(f"{datetime.now(UTC):%Y-%m-%d}, {runs} runs each{'':<21} {'least':>10} {'median':>10} {'most':>10}")
    if subjects & {"append", "extract"}:
        await measure_service(arguments.events, arguments.entries, runs, subjects)
    if "purge" in subjects:
        await measure_purges(arguments.small, arguments.large, runs)
    if "connector" in subjects and shutil.which("php"):
        await measure_connector(arguments.pages)


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--only", action="append", choices=SUBJECTS, help="this subject alone; may be given again")
    parser.add_argument("--events", type=int, default=20_000, help="events of one append run")
    parser.add_argument("--entries", type=int, default=200_000, help="entries extracted and verified")
    parser.add_argument("--small", type=int, default=SMALL_ENTRIES, help="entries of a small day that is purged")
    parser.add_argument("--large", type=int, default=LARGE_ENTRIES, help="entries of a large one")
    parser.add_argument("--pages", type=int, default=1_000, help="pages of a module, in each state of the journal")
    parser.add_argument("--runs", type=int, default=RUNS)
    uvloop.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
