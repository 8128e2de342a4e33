"""How long a module waits for its answer while the database is stopped, frozen or full, or the service is restarted.

Every request is answered within the wait it asks for, and what was not acknowledged is recorded when it is sent again.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import tempfile
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import quantiles
from typing import TYPE_CHECKING

import aiohttp
import asyncpg
import orjson
import pytest

from journal.database.embedded import DATABASE, SUPERUSER
from tests.faults.postmaster import kill, restart
from tests.support.rig import event_body
from tests.support.serving import Serving, Site, found_site

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from journal.database.embedded import EmbeddedPostgres

pytestmark = pytest.mark.campaign

WAIT_SECONDS = 2
# Only a hang takes longer, whatever else the machine does: without a bound it is 20 to 30 s.
MARGIN_SECONDS = 10
CLIENTS = 4
REQUESTS = 60
# Refused connections are answers too, but say nothing about the service.
NOBODY = 0


@dataclass
class Asking:
    """Clients that post events one by one, each until it is acknowledged, and note how long each answer took."""

    site: Site
    seconds: list[float] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    waiting: list[bytes] = field(default_factory=list)

    async def post(self, session: aiohttp.ClientSession, body: bytes) -> int:
        """Post an event; return the status."""
        started_at = asyncio.get_running_loop().time()
        status = NOBODY
        headers = {
            "Authorization": f"Bearer {next(iter(self.site.modules.values()))}",
            "Content-Type": "application/cloudevents+json",
            "Prefer": f"wait={WAIT_SECONDS}",
        }
        url = f"{self.site.url}/v1/categories/main-courante/events"
        with suppress(aiohttp.ClientError):
            async with session.post(url, data=body, headers=headers) as answer:
                await answer.read()
                status = answer.status
        self.seconds.append(asyncio.get_running_loop().time() - started_at)
        self.statuses.append(status)
        return status

    async def ask(self, name: str, count: int) -> None:
        """Post so many events, from several clients at once; keep those that were not acknowledged."""
        numbers = iter(range(count))

        async def client(session: aiohttp.ClientSession) -> None:
            for number in numbers:
                body = orjson.dumps(event_body(f"{name} {number}", datetime.now(UTC)))
                if await self.post(session, body) not in (200, 201):
                    self.waiting.append(body)

        async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as group:
            for _ in range(CLIENTS):
                group.create_task(client(session))

    async def send_again(self) -> None:
        """Post what was not acknowledged until it is."""
        async with aiohttp.ClientSession() as session, asyncio.timeout(120):
            for body in self.waiting:
                while await self.post(session, body) not in (200, 201):
                    pass
        self.waiting.clear()


@contextmanager
def small_disk(cluster: EmbeddedPostgres) -> Iterator[Path]:
    """Give a directory of the server's on a file system of its own; the server is stopped at the end."""
    place = Path(tempfile.mkdtemp(prefix="oej-small-"))
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=200m", "tmpfs", str(place)], capture_output=True, check=False
    )
    if done.returncode != 0:
        pytest.skip("may not mount")
    try:
        inside = place / "tables"
        inside.mkdir()
        owner = Path(f"/proc/{cluster.pid}").stat()
        for path in (place, inside):
            os.chown(path, owner.st_uid, owner.st_gid)
        yield inside
    finally:
        cluster.stop()
        subprocess.run(["umount", "-l", str(place)], check=True)
        shutil.rmtree(place, ignore_errors=True)


async def move(cluster: EmbeddedPostgres, place: Path) -> None:
    """Move the database, but not its WAL, to a directory."""
    connection = await asyncpg.connect(cluster.dsn(SUPERUSER, database="postgres"))
    await connection.execute(f"CREATE TABLESPACE small LOCATION '{place}'")
    await connection.execute(f"ALTER DATABASE {DATABASE} SET TABLESPACE small")
    await connection.close()


def processes_of(cluster: EmbeddedPostgres) -> list[int]:
    """Return the postmaster and all that it has started."""
    assert cluster.pid is not None
    children = Path(f"/proc/{cluster.pid}/task/{cluster.pid}/children").read_text(encoding="ascii").split()
    return [cluster.pid, *map(int, children)]


@pytest.mark.parametrize("how", ["stopped", "frozen", "full", "restarted"])
async def test_no_answer_takes_longer_than_the_wait(
    how: str, mortal_cluster: EmbeddedPostgres, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """While it lasts, and after it; then everything is there."""
    site = await found_site(tmp_path, mortal_cluster.dsn())
    asking = Asking(site)
    if how == "full":
        with small_disk(mortal_cluster) as place:
            await move(mortal_cluster, place)
            async with await Serving.start(site):
                await asking.ask("before", CLIENTS)
                filler = place.with_name("filler")
                subprocess.run(["dd", "if=/dev/zero", f"of={filler}", "bs=4k"], capture_output=True, check=False)
                async with asyncio.timeout(300):
                    while 503 not in asking.statuses:  # until the pages that are there are full
                        await asking.ask(f"filling {len(asking.statuses)}", 100)
                await asking.ask(how, REQUESTS)
                await asyncio.to_thread(filler.unlink)
                await asking.send_again()
    elif how == "restarted":
        async with await Serving.start(site) as serving:
            posting = asyncio.create_task(asking.ask(how, 20 * REQUESTS))
            assert await serving.stop() == 0
        async with await Serving.start(site):
            await posting
            await asking.send_again()
    else:
        async with await Serving.start(site):
            await asking.ask("before", CLIENTS)
            frozen = processes_of(mortal_cluster)
            if how == "frozen":
                for pid in frozen:
                    os.kill(pid, signal.SIGSTOP)
            else:
                await kill(mortal_cluster)
            await asking.ask(how, REQUESTS)
            if how == "frozen":
                for pid in frozen:
                    os.kill(pid, signal.SIGCONT)
            else:
                await restart(mortal_cluster)
            await asking.send_again()
    told = sorted(asking.seconds)
    counts = {status: asking.statuses.count(status) for status in sorted(set(asking.statuses))}
    record_property(
        "evidence",
        f"{how}: {len(told)} answers, p50 {quantiles(told, n=100)[49]:.3f} s, p99 {quantiles(told, n=100)[98]:.3f} s, "
        f"longest {told[-1]:.3f} s, of a wait of {WAIT_SECONDS} s; by status {counts}",
    )
    assert told[-1] < WAIT_SECONDS + MARGIN_SECONDS
    assert set(counts) <= {NOBODY, 200, 201, 503}
    assert asking.waiting == []
