"""One commune floods, another is quiet: how long the quiet one waits, against how long it waits alone."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from statistics import median, quantiles
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import aiohttp
import pytest

from tests.support.databases import fresh_database
from tests.support.rig import CATEGORY, event_body
from tests.support.serving import Serving, Site, found_site

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from journal.database.embedded import EmbeddedPostgres

SINGLE = "application/cloudevents+json"
FLOOD_CLIENTS = 16
SPACING_SECONDS = 0.02


@asynccontextmanager
async def flooding(site: Site, events: int) -> AsyncIterator[list[tuple[int, int]]]:
    """Have the first commune flood; the list fills with what was recorded and refused, a pair a second."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.faults.flooding", site.url, site.modules["albi"], str(FLOOD_CLIENTS), str(events),
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    counts: list[tuple[int, int]] = []
    begun = asyncio.Event()

    async def read() -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            words = line.split()
            counts.append((int(words[1]), int(words[3])))
            begun.set()

    reading = asyncio.create_task(read())
    try:
        async with asyncio.timeout(30):
            await begun.wait()
        counts.clear()
        yield counts
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        await reading


async def measure(session: aiohttp.ClientSession, seconds: float) -> list[float]:
    """Post an event every so often, whether or not the one before is answered; return how long each took, in ms."""
    loop = asyncio.get_running_loop()
    took: list[float] = []

    async def one() -> None:
        body = json.dumps(event_body(uuid4().hex, datetime.now(UTC) - timedelta(seconds=1)))
        began = loop.time()
        async with session.post(f"/v1/categories/{CATEGORY}/events", data=body) as answer:
            await answer.read()
            assert answer.status == 201
        took.append((loop.time() - began) * 1000)

    end = loop.time() + seconds
    async with asyncio.TaskGroup() as group:
        while loop.time() < end:
            group.create_task(one())
            await asyncio.sleep(SPACING_SECONDS)
    return took


def percentile(values: list[float], hundredth: int) -> float:
    """Return a percentile."""
    return quantiles(values, n=100)[hundredth - 1]


@pytest.mark.campaign
@pytest.mark.parametrize("events", [1, 100, 1000])
async def test_a_flood_beside_a_quiet_commune(
    postgres: EmbeddedPostgres, tmp_path: Path, record_property: Any, events: int
) -> None:
    """The quiet commune is never refused, and waits for one draft of the flood at most, not for all that waits.

    The flood's own requests wait for each other: where they are batches, the quiet commune's median is under half of
    what each of them takes.
    """
    async with fresh_database(postgres) as name:
        site = await found_site(tmp_path, postgres.dsn(database=name))
        headers = {"Authorization": f"Bearer {site.modules['castres']}", "Content-Type": SINGLE}
        async with await Serving.start(site), aiohttp.ClientSession(site.url, headers=headers) as session:
            await measure(session, 2)
            alone = await measure(session, 6)
            async with flooding(site, events) as counts:
                beside = await measure(session, 10)
            alone += await measure(session, 6)
    rate = sum(recorded for recorded, _ in counts) / len(counts)
    flood_ms = FLOOD_CLIENTS * events / rate * 1000
    record_property(
        "evidence",
        f"{FLOOD_CLIENTS} clients with batches of {events} ({rate:.0f} events/s, {flood_ms:.0f} ms each): another "
        f"commune waits {median(beside):.0f} ms (p99 {percentile(beside, 99):.0f}), alone {median(alone):.0f} ms "
        f"(p99 {percentile(alone, 99):.0f})",
    )
    if events > 1:
        assert median(beside) < flood_ms / 2
