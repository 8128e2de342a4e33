"""The power cut under load: PostgreSQL, keys and the signer's memory lose what they had not synced, nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import subprocess
import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import asyncpg
import pytest

from journal.cli.installation import open_service
from journal.clock import SystemClock
from journal.core.errors import OperatorError
from journal.database import cluster
from journal.database.cluster import Cluster
from journal.database.embedded import EmbeddedPostgres
from tests.faults.auditing import audit
from tests.faults.disk import disk
from tests.faults.ledger import Ledger
from tests.faults.load import CUT_OFF, NOT_SENT, Load
from tests.faults.oracle import Judgement, judge
from tests.faults.postmaster import restart
from tests.faults.shown import show
from tests.support.clusters import MAKE
from tests.support.rig import SOURCE
from tests.support.serving import CATEGORIES, Serving, found_site

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tests.faults.disk import Disk
    from tests.faults.shown import Record
    from tests.support.serving import Site

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system"),
    pytest.mark.needs("mkfs.ext4"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
FAULT = "power cut: un-synced pages of data, WAL, keys and the signer's memory dropped"
CLIENTS = 8
LOAD_SECONDS, AFTER_SECONDS = 0.5, 0.3
SEED = 20261127


@dataclass(slots=True, kw_only=True)
class Host:
    """What has its power cut: a disk with everything on it, and the PostgreSQL that runs there."""

    disk: Disk
    database: EmbeddedPostgres

    def cut(self) -> int:
        """Cut the power; return the postmaster's process id, which cannot be read afterwards."""
        pid = self.database.pid
        assert pid is not None
        self.disk.cut()
        return pid

    async def revive(self, pid: int) -> None:
        """End what still runs of the database, have the power back, and start it again."""
        with contextlib.suppress(ProcessLookupError):  # it may have ended: no write of it succeeds any more
            os.kill(pid, signal.SIGKILL)
        await asyncio.to_thread(self.database.stop)
        await asyncio.to_thread(self.disk.come_back)
        await restart(self.database)


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    """A PostgreSQL on a disk of its own, made as the product does: what copies one for tests syncs nothing."""
    monkeypatch.setattr(Cluster, "make", MAKE)
    with disk("3G") as made:
        database = EmbeddedPostgres(made.place)
        database.start()
        try:
            yield Host(disk=made, database=database)
        finally:
            database.stop()


@pytest.mark.campaign
@pytest.mark.parametrize("part", range(5))
async def test_the_power_is_cut(part: int, seed: int, host: Host, tmp_path: Path, record_property: Record) -> None:
    """What was acknowledged is there when the power is back, and the service goes on, whatever it had not synced."""
    cuts, seed = 10, SEED + seed + part
    site = await found(host, tmp_path)
    load, added = await campaign(host, site, tmp_path, cuts, seed=seed)
    verdict = await judge(ledger=tmp_path / "ledger", superuser_dsn=site.superuser_dsn, home=site.home)
    counts = {"cut off": load.cut_off, "communes added": len(added)}
    show(record_property, FAULT, cuts, verdict, seed=seed, counts=counts)
    assert verdict.faults == []
    assert set(load.statuses) <= {NOT_SENT, CUT_OFF, 200, 201, 400, 409, 503}
    assert added <= await communes(site)
    assert await audit(site) == []


@pytest.mark.campaign
async def test_the_power_is_cut_under_a_database_that_does_not_sync(
    host: Host, seed: int, tmp_path: Path, record_property: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Control: with fsync=off, and a service that does not look, what was acknowledged is lost."""
    site = await found(host, tmp_path)
    host.database.stop()
    monkeypatch.setitem(cluster.SETTINGS, "fsync", "off")
    host.database.start()
    host.disk.sync()
    program = ("-m", "tests.faults.broken_service", "careless")
    verdict = await lose(host, site, tmp_path, SEED + seed, program)
    show(record_property, FAULT, 1, verdict, broken="PostgreSQL with fsync=off", seed=SEED + seed)
    assert verdict.lost


@pytest.mark.campaign
async def test_the_power_is_cut_under_keys_that_are_not_synced(
    host: Host, seed: int, tmp_path: Path, record_property: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Control: where a new commune's key is not synced before it is used, what it opens is lost."""
    site = await found(host, tmp_path)
    added = replace(site, modules={}, clients={})
    ledger = Ledger(tmp_path / "ledger")
    async with await Serving.start(site) as serving:
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", lambda _: None)
            async with open_service(site.dsn, site.settings, SystemClock()) as installation:
                await installation.administration.add_tenant("toulouse", "Toulouse")
                _, added.modules["toulouse"] = await installation.administration.credentials.add(
                    role="module", tenant="toulouse", categories=CATEGORIES, source_prefix=SOURCE
                )
        async with Load(added, ledger, clients=CLIENTS, seed=SEED + seed) as load:
            await load.acknowledgements(3)
            pid = host.cut()
        await serving.kill()
    ledger.close()
    await host.revive(pid)
    verdict = await judge(ledger=ledger.path, superuser_dsn=site.superuser_dsn, home=site.home, resolved=False)
    show(record_property, FAULT, 1, verdict, broken="keys that are not synced", seed=SEED + seed)
    assert verdict.lost


async def found(host: Host, outside: Path) -> Site:
    """Make an installation on the disk; only its log is outside."""
    home = host.disk.place / "journal"
    home.mkdir(0o700)
    (home / "serve.log").symlink_to(outside / "serve.log")
    return await found_site(home, host.database.dsn())


async def campaign(host: Host, site: Site, outside: Path, cuts: int, *, seed: int) -> tuple[Load, set[str]]:
    """Cut the power at random instants; return the load, and the communes whose addition was acknowledged."""
    draw = random.Random(seed)
    ledger, added = Ledger(outside / "ledger"), set[str]()
    async with Load(site, ledger, clients=CLIENTS, seed=seed) as load:
        for number in range(cuts):
            serving = await Serving.start(site, workers=1 + number % 2)
            await serving.ready()
            await load.acknowledgements(1)
            adding = asyncio.create_task(asyncio.to_thread(add, site, f"c{number}"))
            await asyncio.sleep(draw.random() * LOAD_SECONDS)
            if number % 2:
                await adding
            pid = host.cut()
            # What is acknowledged from here on would be lost.
            await asyncio.sleep(draw.random() * AFTER_SECONDS)
            await serving.kill()
            if await adding:
                added.add(f"c{number}")
            await host.revive(pid)
        async with await Serving.start(site) as serving:
            await load.finish()
            assert await serving.stop() == 0
    ledger.close()
    return load, added


def add(site: Site, tenant: str) -> bool:
    """Add a commune by the command; return whether it said that it did."""
    line = [sys.executable, "-m", "journal.cli.main", "tenant", "add", tenant, "--name", tenant]
    return subprocess.run(line, env=site.environment, capture_output=True, check=False).returncode == 0


async def communes(site: Site) -> set[str]:
    """Return the communes that are in the database."""
    connection = await asyncpg.connect(site.superuser_dsn)
    try:
        return {row["code"] for row in await connection.fetch("SELECT code FROM journal.tenant")}
    finally:
        await connection.close()


async def lose(host: Host, site: Site, outside: Path, seed: int, program: Sequence[str]) -> Judgement:
    """Cut the power once, and judge; where the database does not even start, all that was acknowledged is lost."""
    ledger = Ledger(outside / "ledger")
    async with await Serving.start(site, program=program) as serving:
        async with Load(site, ledger, clients=CLIENTS, seed=seed) as load:
            await load.acknowledgements(50)
            pid = host.cut()
        await serving.kill()
    ledger.close()
    try:
        await host.revive(pid)
    except OperatorError as error:
        return Judgement(lost=[f"the database does not start: {error}"])
    return await judge(ledger=ledger.path, superuser_dsn=site.superuser_dsn, home=site.home, resolved=False)
