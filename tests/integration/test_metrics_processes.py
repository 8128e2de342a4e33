"""The metrics of `serve --workers 3`: whichever process answers gives the sums over all of them."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import aiohttp

from tests.support.databases import fresh_database
from tests.support.refused_events import valid_event
from tests.support.rig import CATEGORY, SOURCE, TENANTS
from tests.support.scrape import Scrape, scrape
from tests.support.serving import Serving, Site, found_site, workers_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from journal.database.embedded import EmbeddedPostgres

WORKERS = 3
EACH = 20
REQUESTS, EVENTS_EACH = WORKERS * EACH, 3


@asynccontextmanager
async def answering(process: int, processes: list[int], *, writing: bool = False) -> AsyncIterator[None]:
    """Let one process alone take connections: the others stand still as long as the block lasts.

    Where something is to be written, the first process goes on too: it writes for all, and takes its part.
    """
    others = [other for other in processes if other != process and not (writing and other == processes[0])]
    for other in others:
        os.kill(other, signal.SIGSTOP)
    try:
        yield
    finally:
        for other in others:
            os.kill(other, signal.SIGCONT)


async def ask_anew(site: Site) -> Scrape:
    """Scrape on a connection of its own."""
    async with aiohttp.ClientSession(site.url) as session:
        return await scrape(session)


async def post(site: Site, number: int) -> int:
    """Post a small batch on a connection of its own."""
    now = datetime.now(UTC).isoformat()
    batch = [valid_event(id=f"{number}-{place}", source=SOURCE, time=now) for place in range(EVENTS_EACH)]
    headers = {"Authorization": f"Bearer {site.modules[TENANTS[0]]}"}
    async with (
        aiohttp.ClientSession(site.url, headers=headers) as session,
        session.post(
            f"/v1/categories/{CATEGORY}/events",
            json=batch,
            headers={"Content-Type": "application/cloudevents-batch+json"},
        ) as answer,
    ):
        return answer.status


async def test_every_process_gives_the_sums(
    postgres: EmbeddedPostgres, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """Each of them counts its part of what was posted, and each of them tells the whole."""
    async with fresh_database(postgres) as name:
        site = await found_site(tmp_path, postgres.dsn(database=name))
        serving = await Serving.start(site, workers=WORKERS)
        async with serving:
            async with asyncio.timeout(60):
                while (await ask_anew(site)).value("processes") < WORKERS:  # noqa: ASYNC110  (they tell nobody)
                    await asyncio.sleep(0.1)
            processes = [serving.process.pid, *workers_of(serving.process.pid)]
            assert len(processes) == WORKERS
            for number, process in enumerate(processes):
                async with answering(process, processes, writing=True), asyncio.timeout(60):
                    numbers = range(number * EACH, (number + 1) * EACH)
                    assert await asyncio.gather(*(post(site, one) for one in numbers)) == [201] * EACH
            found = []
            for process in processes:
                async with answering(process, processes), asyncio.timeout(60):
                    found.append(await ask_anew(site))
            assert await serving.stop() == 0
    for one in found:
        assert one.value("processes") == WORKERS
        assert one.value("events_total", "recorded") == REQUESTS * EVENTS_EACH
        assert one.value("submissions_total", "batch") == REQUESTS
        route = "/v1/categories/{category}/events"
        assert one.value("request_duration_seconds_count", route, "2xx") == REQUESTS
        assert one.value("entries_appended_total") >= REQUESTS * EVENTS_EACH
        assert one.value("queue_limit_events") == WORKERS * site.settings.queue_events
        for gauge in ("overdue_days", "next_purge_timestamp_seconds", "keys_ready_days"):
            assert one.series(gauge) == found[0].series(gauge)
        # While others stand still, seals do too: what readiness says of them changes from one to the next.
        assert one.series("ready").keys() == found[0].series("ready").keys()
    # Each scrape counts itself where it was answered: the sums go on from one process to the next.
    scrapes = [one.value("request_duration_seconds_count", "/metrics", "2xx") for one in found]
    assert scrapes == [scrapes[0], scrapes[0] + 1, scrapes[0] + 2]
    record_property(
        "evidence",
        f"{WORKERS} processes, {REQUESTS} requests of {EVENTS_EACH} events: each scraped alone tells "
        f"{found[0].value('events_total', 'recorded'):.0f} events",
    )
