"""Each disk full under load, then with room again: data, WAL, keys, PostgreSQL's log, the signer's memory."""

from __future__ import annotations

import asyncio
import os
import tempfile
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import pytest

from journal.database.embedded import EmbeddedPostgres
from tests.faults.auditing import audit
from tests.faults.ledger import Ledger
from tests.faults.load import CREATED, Load
from tests.faults.oracle import judge
from tests.faults.postmaster import restart
from tests.faults.shown import show
from tests.support.broken import fill, small_disk
from tests.support.memory import choose_directory
from tests.support.serving import Serving, found_site

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.faults.shown import Record
    from tests.support.serving import Site

pytestmark = [pytest.mark.campaign, pytest.mark.skipif(os.geteuid() != 0, reason="mounts small disks")]
CLIENTS = 8
SEED = 20261201
TRIALS = 5
UNAVAILABLE = 503
STOPPED_LIMIT_SECONDS = 300
LOOK_SECONDS = 0.2
NOISE = "SELECT pg_logical_emit_message(true, 'fill', repeat(md5(random()::text), 1000000))"
# Where it is below the server's directory or the service's, its size, and whether nothing can be recorded without it.
DISKS = {
    "data": ("postgresql/data", "300m", True),
    "WAL": ("postgresql/data/pg_wal", "200m", True),
    "keys": ("keys", "2m", False),
    "PostgreSQL's log": ("postgresql/log", "2m", False),
    (MEMORY := "the signer's memory"): ("identity", "2m", False),
}
NOT_SEALED, LAST_SEAL = "no seal was made", "SELECT max(number) FROM journal.seal"


@pytest.fixture
def database() -> Iterator[EmbeddedPostgres]:
    """A PostgreSQL that does not run for a while: nothing else may take it for one that a killed test left."""
    with (
        tempfile.TemporaryDirectory(prefix="oej-full-", dir=choose_directory()) as home,
        EmbeddedPostgres(Path(home)) as server,
    ):
        yield server


@pytest.mark.parametrize("which", DISKS)
async def test_a_full_disk(
    which: str, seed: int, database: EmbeddedPostgres, tmp_path: Path, record_property: Record
) -> None:
    """Without room nothing is acknowledged that is not kept; with room again it goes on."""
    where, size, is_needed = DISKS[which]
    site = await found_site(tmp_path, database.dsn())
    site = replace(site, variables={"JOURNAL_SEAL_INTERVAL_SECONDS": "1"})
    directory = (database._root.parent if where.startswith("postgresql") else site.home) / where
    ledger = Ledger(tmp_path / "ledger")
    counts = {"answered 503": 0, "acknowledged while full": 0, "restarts of the database by hand": 0}
    with small(database, directory, size):
        async with (
            await Serving.start(site) as serving,
            Load(site, ledger, clients=CLIENTS, seed=SEED + seed) as load,
        ):
            for _ in range(TRIALS):
                await load.acknowledgements(3)
                filler = fill(directory)
                before = load.statuses.get(CREATED, 0)
                if is_needed:
                    await refused(site, load, which)
                else:
                    await load.acknowledgements(20)
                if which == MEMORY:
                    await unsealed(site)
                counts["acknowledged while full"] += load.statuses.get(CREATED, 0) - before
                filler.unlink()
                if database.pid is None:
                    # PostgreSQL ends where its WAL has no room.
                    database.stop()
                    await restart(database)
                    counts["restarts of the database by hand"] += 1
                if which == MEMORY:
                    await sealed(site)
                await load.acknowledgements(3)
            await load.finish()
            assert await serving.stop() == 0
        counts["answered 503"] = load.statuses.get(UNAVAILABLE, 0)
        ledger.close()
        verdict = await judge(ledger=ledger.path, superuser_dsn=site.superuser_dsn, home=tmp_path)
        show(record_property, f"full disk: {which}", TRIALS, verdict, seed=SEED + seed, counts=counts)
        assert verdict.faults == []
        assert set(load.statuses) <= {200, 201, 400, 409, UNAVAILABLE}
        assert bool(counts["answered 503"]) == is_needed
        assert await audit(site) == []


@contextmanager
def small(database: EmbeddedPostgres, directory: Path, size: str) -> Iterator[None]:
    """Have the directory on a small disk; where it is the data, its WAL is on another."""
    with ExitStack() as stack:
        database.stop()
        stack.callback(database.start)
        stack.enter_context(small_disk(directory, size))
        if directory.name == "data":
            stack.enter_context(small_disk(directory / "pg_wal", "1g"))
        database.start()
        stack.callback(database.stop)
        yield


async def unsealed(site: Site) -> None:
    """Wait until once more no seal could be made."""
    log = site.home / "serve.log"
    before = log.read_text().count(NOT_SEALED)
    async with asyncio.timeout(STOPPED_LIMIT_SECONDS):
        while log.read_text().count(NOT_SEALED) == before:  # noqa: ASYNC110  (a file tells nobody that it changes)
            await asyncio.sleep(LOOK_SECONDS)


async def sealed(site: Site) -> None:
    """Wait for the next seal."""
    connection = await asyncpg.connect(site.superuser_dsn)
    try:
        before = await connection.fetchval(LAST_SEAL)
        async with asyncio.timeout(STOPPED_LIMIT_SECONDS):
            while await connection.fetchval(LAST_SEAL) == before:  # noqa: ASYNC110  (the table tells nobody)
                await asyncio.sleep(LOOK_SECONDS)
    finally:
        await connection.close()


async def refused(site: Site, load: Load, which: str) -> None:
    """Wait until a client is told to come back; the last pages and the WAL's segment under way must be full first."""
    async with asyncio.timeout(STOPPED_LIMIT_SECONDS):
        answered = asyncio.create_task(load.answered_with(UNAVAILABLE))
        while which == "WAL" and not answered.done():
            with suppress(OSError, asyncpg.PostgresError):
                connection = await asyncpg.connect(site.superuser_dsn)
                try:
                    await connection.execute(NOISE)
                finally:
                    await connection.close()
            await asyncio.sleep(LOOK_SECONDS)
        await answered
