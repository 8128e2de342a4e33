"""`kill -9` of the database under load: the service survives, says so meanwhile, and goes on by itself."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from time import perf_counter
from typing import TYPE_CHECKING, Any

import aiohttp
import asyncpg
import pytest

from tests.faults.auditing import audit
from tests.faults.ledger import Ledger
from tests.faults.load import Load
from tests.faults.oracle import judge
from tests.faults.postmaster import RESTART_LIMIT_SECONDS, kill, restart
from tests.faults.shown import show
from tests.support.serving import Serving, found_site

if TYPE_CHECKING:
    from pathlib import Path

    from journal.database.embedded import EmbeddedPostgres
    from tests.faults.shown import Record

FAULT = "kill -9 of the postmaster"
CLIENTS = 8
LOAD_SECONDS = 0.3
LOOK_SECONDS = 0.1
SEED = 20261124
WRITTEN = "SELECT pg_current_wal_lsn()"


@pytest.mark.parametrize(
    ("kills", "part"), [(3, 0), *(pytest.param(25, part, marks=pytest.mark.campaign) for part in range(12))]
)
async def test_kill_9_of_the_postmaster(
    kills: int, part: int, seed: int, mortal_cluster: EmbeddedPostgres, tmp_path: Path, record_property: Record
) -> None:
    """The database killed at random instants loses nothing acknowledged, and one service outlives it every time."""
    seed += SEED + part
    draw = random.Random(seed)
    site = await found_site(tmp_path, mortal_cluster.dsn())
    ledger = Ledger(tmp_path / "ledger")
    outages: list[float] = []
    async with await Serving.start(site, workers=2) as serving, Load(site, ledger, clients=CLIENTS, seed=seed) as load:
        for number in range(kills):
            await load.acknowledgements(1)
            if number % 5 == 0:
                await load.show_heads()
            await asyncio.sleep(draw.random() * LOAD_SECONDS)
            await kill(mortal_cluster)
            await restart(mortal_cluster)
            started_at = perf_counter()
            await load.acknowledgements(1)
            outages.append(perf_counter() - started_at)
        await load.finish()
        assert await serving.stop() == 0
    ledger.close()
    verdict = await judge(ledger=ledger.path, superuser_dsn=site.superuser_dsn, home=tmp_path)
    longest = {"acknowledging again": max(outages)}
    show(record_property, FAULT, kills, verdict, seed=seed, counts={"requests": load.requests}, longest=longest)
    assert verdict.faults == []
    # The service itself neither failed nor went away.
    assert set(load.statuses) <= {200, 201, 400, 409, 503}
    assert await audit(site) == []


# Another session's flush just before the kill may save what this one lost: `test_flush` shows the order without a kill.
@pytest.mark.campaign
async def test_kill_9_of_the_postmaster_under_a_service_with_a_fault(
    mortal_cluster: EmbeddedPostgres, tmp_path: Path, record_property: Record
) -> None:
    """A service that acknowledges before the flush loses what it acknowledged: the same kill shows it."""
    site = await found_site(tmp_path, mortal_cluster.dsn())
    superuser = await asyncpg.connect(mortal_cluster.dsn("postgres"))
    # Nothing but a flush writes the log then, and the kill comes when none came after the last acknowledgements.
    log_writer = await superuser.fetchval("SELECT pid FROM pg_stat_activity WHERE backend_type = 'walwriter'")
    os.kill(log_writer, signal.SIGSTOP)
    ledger = Ledger(tmp_path / "ledger")
    program = ("-m", "tests.faults.broken_service", "early")
    async with (
        await Serving.start(site, program=program) as serving,
        Load(site, ledger, clients=CLIENTS, seed=SEED) as load,
    ):
        while True:
            written = await superuser.fetchval(WRITTEN)
            await load.acknowledgements(3)
            os.killpg(serving.process.pid, signal.SIGSTOP)
            if await superuser.fetchval(WRITTEN) == written:
                break
            os.killpg(serving.process.pid, signal.SIGCONT)
        await kill(mortal_cluster)
        os.kill(log_writer, signal.SIGKILL)
        await serving.kill()
    await restart(mortal_cluster)
    ledger.close()
    verdict = await judge(ledger=ledger.path, superuser_dsn=site.superuser_dsn, home=tmp_path, resolved=False)
    show(record_property, FAULT, 1, verdict, broken="a service that acknowledges before the flush", seed=SEED)
    assert verdict.lost


async def test_a_long_outage(mortal_cluster: EmbeddedPostgres, tmp_path: Path) -> None:
    """While the database is gone the service answers 503 and says why it is not ready; then it recovers."""
    site = await found_site(tmp_path, mortal_cluster.dsn())
    ledger = Ledger(tmp_path / "ledger")
    async with (
        await Serving.start(site) as serving,
        Load(site, ledger, clients=2, seed=SEED) as load,
        aiohttp.ClientSession(site.url) as probe,
    ):
        await load.acknowledgements(5)
        await become(probe, 200, "ok")
        await kill(mortal_cluster)
        await load.answered_with(503)
        assert (await ask(probe, "/healthz"))[0] == 200
        await become(probe, 503, "failing")
        await restart(mortal_cluster)
        await load.acknowledgements(5)
        await become(probe, 200, "ok")
        await load.finish()
        assert await serving.stop() == 0
    ledger.close()
    verdict = await judge(ledger=ledger.path, superuser_dsn=site.superuser_dsn, home=tmp_path)
    assert verdict.faults == []
    assert set(load.statuses) <= {200, 201, 400, 409, 503}


async def become(probe: aiohttp.ClientSession, status: int, database: str) -> None:
    """Wait until readiness answers so, and says so of the database: what it says may be a second old."""
    async with asyncio.timeout(RESTART_LIMIT_SECONDS):
        while True:
            found, answer = await ask(probe, "/readyz")
            if (found, answer["checks"]["database"]) == (status, database):
                return
            await asyncio.sleep(LOOK_SECONDS)


async def ask(probe: aiohttp.ClientSession, path: str) -> tuple[int, Any]:
    """Return the status and the answer of a probe."""
    async with probe.get(path) as answer:
        return answer.status, await answer.json(content_type=None)
