"""An extract of many entries, made by a real service: its memory stays where it was."""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp

from journal.cli.installation import open_service
from journal.clock import SystemClock
from journal.core import canonical
from journal.core.entry import Compartment, Event
from journal.core.times import format_time
from journal.extract.container import Container
from journal.extract.manifest import parse_manifest
from tests.faults.rig import SERVICE, event_body
from tests.faults.serving import Serving, Site, found_site

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ENTRIES = 200_000
BATCH = 5_000
GROWTH_LIMIT_KIB = 64 * 1024
LOOK_SECONDS = 0.02


def read_memory(pid: int) -> int:
    """Return how much memory of a process is resident, in KiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("VmRSS:")]
    return int(line.split()[1])


async def fill(site: Site) -> None:
    """Record the entries, as fast as the writer takes them."""
    async with open_service(site.dsn, site.settings, SystemClock()) as installation:
        writer = installation.service.writer
        now = datetime.now(UTC)
        compartment = Compartment(SERVICE, "albi", "main-courante")
        for start in range(0, ENTRIES, BATCH):
            events = []
            for number in range(start, start + BATCH):
                body = event_body(f"e{number}", now)
                body["time"] = format_time(now)
                encoded = canonical.encode(body)
                events.append(Event(body["source"], body["id"], now, "consultation", encoded))
            await writer.submit(compartment, "module", events, 0)


async def extract(site: Site) -> AsyncIterator[bytes]:
    """Stream an extract of the days around now."""
    now = datetime.now(UTC)
    first, last = now - timedelta(days=1), now
    request = {"from": f"{first:%Y-%m-%d}", "to": f"{last:%Y-%m-%d}", "purpose": "lawfulness", "requester": "DPD"}
    headers = {"Authorization": f"Bearer {site.clients['albi']}"}
    url = f"{site.url}/v1/categories/main-courante/extracts"
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=600)) as session,
        session.post(url, json=request, headers=headers) as response,
    ):
        assert response.status == 200
        async for chunk in response.content.iter_any():
            yield chunk


async def test_a_long_extract_takes_no_memory(dsn: str, tmp_path: Path) -> None:
    """200,000 entries are streamed, and the resident memory of the process that serves grows by less than 64 MiB."""
    site = await found_site(tmp_path / "home", dsn, ["albi"])
    await fill(site)
    async with await Serving.start(site) as serving:
        pid = serving.process.pid
        before = read_memory(pid)
        peak = before
        done = asyncio.Event()

        async def watch() -> None:
            nonlocal peak
            while not done.is_set():
                peak = max(peak, read_memory(pid))
                await asyncio.wait([waiting], timeout=LOOK_SECONDS)

        waiting = asyncio.create_task(done.wait())
        watching = asyncio.create_task(watch())
        with (tmp_path / "extract").open("wb") as file:
            async for chunk in extract(site):
                file.write(chunk)
        done.set()
        await watching
    with (tmp_path / "extract").open("rb") as file:
        assert parse_manifest(Container(file).read("manifest.json")).disclosed == ENTRIES
    growth = f"{ENTRIES} entries: {(peak - before) / 1024:.1f} MiB more"
    sys.stdout.write(growth + "\n")
    assert peak - before < GROWTH_LIMIT_KIB, growth
