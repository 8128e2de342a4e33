"""Many writers, in several processes, on the same chains at once: one history, each event once."""

from __future__ import annotations

import asyncio
import random
import sys
from asyncio.subprocess import PIPE
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import orjson
import pytest

from journal.audit.run import Audit
from journal.cli.installation import open_service
from journal.clock import SystemClock
from tests.faults.concurrent_writer import WRITERS
from tests.support.serving import Site, found_site

if TYPE_CHECKING:
    from pathlib import Path

CATEGORIES = ("main-courante", "ecrits")


async def run_writers(site: Site, shares: list[list[tuple[str, str, str]]], moment: datetime) -> list[list[str]]:
    """Give each process its two shares, and return every receipt it printed."""

    async def run(number: int) -> list[str]:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.faults.concurrent_writer", stdin=PIPE, stdout=PIPE, env=site.environment
        )
        own = shares[number * WRITERS : (number + 1) * WRITERS]
        request = orjson.dumps({"shares": own, "seed": number, "moment": moment.isoformat()})
        output, _ = await process.communicate(request)
        assert process.returncode == 0, f"process {number} met an error"
        return output.decode().split("\n")[:-1]

    done = await asyncio.gather(*(run(number) for number in range(len(shares) // WRITERS)))
    return [line.split() for lines in done for line in lines]


@pytest.mark.parametrize(
    ("events", "communes", "processes"), [(1_000, 10, 2), pytest.param(40_000, 100, 4, marks=pytest.mark.campaign)]
)
async def test_many_writers_make_one_history(
    dsn: str, tmp_path: Path, events: int, communes: int, processes: int
) -> None:
    """Each index and event occurs once, with one receipt for all its senders; no error; everything verifies.

    Two writers in each process, two chains a commune, events of which 10 % are sent by two writers.
    """
    repeated = events // 10
    tenants = [f"commune-{number}" for number in range(communes)]
    site = await found_site(tmp_path, dsn, tenants)
    chains = [(tenant, category) for tenant in tenants for category in CATEGORIES]
    distinct = [(*chains[number % len(chains)], f"e{number}") for number in range(events - repeated)]
    draw = random.Random(3)
    writers = processes * WRITERS
    shares = [distinct[number::writers] for number in range(writers)]
    for item in draw.sample(distinct, repeated):
        owner = int(item[2].removeprefix("e")) % writers
        shares[(owner + draw.randrange(1, writers)) % writers].append(item)
    lines = await run_writers(site, shares, datetime.now(UTC))
    assert len(lines) == events
    receipts: dict[tuple[str, str, str], set[tuple[str, str]]] = {}
    for tenant, category, event_id, index, chain_hash in lines:
        receipts.setdefault((tenant, category, event_id), set()).add((index, chain_hash))
    assert len(receipts) == len(distinct)
    assert all(len(found) == 1 for found in receipts.values()), "two receipts for one event"
    for chain in chains:
        indexes = sorted(int(next(iter(found))[0]) for key, found in receipts.items() if key[:2] == chain)
        assert indexes == list(range(len(distinct) // len(chains)))
    async with open_service(dsn, site.settings, SystemClock()) as installation:
        await installation.service.sealer.seal_open(even_if_still=True)
        audit = Audit(installation.service)
        assert await audit.run(lambda _: None) == []
        assert audit.entries >= len(distinct)
