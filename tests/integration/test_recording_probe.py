"""What a balancer is told: 200 from a host that can record, 503 from one that cannot, 200 again once it can."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import asyncpg
import pytest

from ingest import readiness
from journal.status import probe

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.edge import RunningEdge

pytestmark = pytest.mark.asyncio(loop_scope="module")

PATIENCE_SECONDS = 60
LOOK_SECONDS = 0.1
BREAKAGES = ("a database that is read-only", "a database that is out of reach", "a key store that is not mounted")


@asynccontextmanager
async def broken(edge: RunningEdge, what: str) -> AsyncIterator[None]:
    """Keep the host from recording, for the block."""
    keys = edge.service.settings.keystore_path
    if what == BREAKAGES[2]:
        away = keys.rename(keys.with_name("away"))
        yield
        away.rename(keys)
        return
    superuser = await asyncpg.connect(edge.superuser_dsn, database="postgres")
    name = edge.superuser_dsn.partition("?")[0].rpartition("/")[2]
    begin, end = {
        BREAKAGES[0]: ("SET default_transaction_read_only = on", "RESET default_transaction_read_only"),
        BREAKAGES[1]: ("ALLOW_CONNECTIONS false", "ALLOW_CONNECTIONS true"),
    }[what]
    await superuser.execute(f"ALTER DATABASE {name} {begin}")
    await superuser.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name)
    yield
    await superuser.execute(f"ALTER DATABASE {name} {end}")
    await superuser.close()


async def answered(edge: RunningEdge, status: int) -> None:
    """Wait for this answer to both methods."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            if {(await edge.ask(method, "/recordz")).status for method in ("GET", "HEAD")} == {status}:
                return
            await asyncio.sleep(LOOK_SECONDS)


@pytest.mark.parametrize("what", BREAKAGES)
async def test_a_host_that_cannot_record(own_edge: RunningEdge, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    """It says so, without saying why; and it is asked though `/readyz` has failed all along, for want of a seal."""
    # Asked anew each time.
    monkeypatch.setattr(probe, "FRESH_SECONDS", 0.0)
    monkeypatch.setattr(readiness, "FRESH_SECONDS", 0.0)
    assert (await own_edge.ask("GET", "/readyz")).status == 503
    await answered(own_edge, 200)
    async with broken(own_edge, what):
        await answered(own_edge, 503)
        answer = await own_edge.ask("GET", "/recordz")
        assert str(own_edge.service.settings.home_path) not in answer.body.decode()
        assert answer.json["detail"] == "Nothing can be recorded here now: another host may record."
    await answered(own_edge, 200)
