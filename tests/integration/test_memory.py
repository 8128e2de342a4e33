"""An extract of many entries, made by a real service: its memory stays where it was."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import pytest

from journal.cli.installation import open_service
from journal.clock import SystemClock
from journal.core import canonical
from journal.core.entry import Compartment, Event
from journal.core.times import format_time
from journal.extract.container import Container
from journal.extract.manifest import parse_manifest
from tests.support.rig import SERVICE, event_body
from tests.support.serving import Serving, Site, found_site

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

BATCH = 5_000
LOOK_SECONDS = 0.02


def read_memory(pid: int) -> int:
    """Return how much memory of a process is resident, in KiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("VmRSS:")]
    return int(line.split()[1])


async def fill(site: Site, entries: int) -> None:
    """Record the entries, as fast as the writer takes them."""
    async with open_service(site.dsn, site.settings, SystemClock()) as installation:
        writer = installation.service.writer
        now = datetime.now(UTC)
        compartment = Compartment(SERVICE, "albi", "main-courante")
        for start in range(0, entries, BATCH):
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
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=1800)) as session,
        session.post(url, json=request, headers=headers) as response,
    ):
        assert response.status == 200
        async for chunk in response.content.iter_any():
            yield chunk


@pytest.mark.parametrize(
    ("entries", "limit_mib"), [(40_000, 32), pytest.param(1_000_000, 32, marks=pytest.mark.campaign)]
)
async def test_a_long_extract_takes_no_memory(
    dsn: str, tmp_path: Path, entries: int, limit_mib: int, record_property: Callable[[str, object], None]
) -> None:
    """It is streamed: the resident memory of the process that serves grows by less than the limit, in MiB."""
    site = await found_site(tmp_path / "home", dsn, ["albi"])
    await fill(site, entries)
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
        assert parse_manifest(Container(file).read("manifest.json")).disclosed == entries
    growth_mib = (peak - before) / 1024
    record_property(
        "evidence", f"an extract of {entries:,} entries over HTTP: {growth_mib:.1f} MiB more in the service"
    )
    assert growth_mib < limit_mib
