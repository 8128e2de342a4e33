"""Keys taken away: none is made in the place of one that entries need, and everything reads once it is back."""

from __future__ import annotations

import asyncio
import shutil
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from journal.core.errors import BusyError, KeyStoreError, OperatorError
from journal.keys import ring
from tests.support.commands import DONE, NOT_RUN, command, post_event, serving, status_of
from tests.support.contents import events_of
from tests.support.world import CATEGORY, OTHER_TENANT, TENANT, World, new_world

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import date
    from pathlib import Path

    from journal.cli.installation import Installation
    from journal.database.embedded import EmbeddedPostgres

pytestmark = pytest.mark.usefixtures("no_documents")

DAY = timedelta(days=1)


@pytest.fixture
async def world(postgres: EmbeddedPostgres, tmp_path: Path) -> AsyncIterator[World]:
    """An installation of one day."""
    async with new_world(postgres, tmp_path) as made:
        yield made


def key_file(world: World, day: date) -> Path:
    """Return the file of a day's key."""
    return world.settings.keystore_path / "days" / CATEGORY / day.isoformat()


async def keys_problem(installation: Installation) -> str | None:
    """Return what readiness says of the keys."""
    return (await installation.service.checks.run())["keys"]


@pytest.fixture
def watchful(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have every use of a key look at its file, instead of one use a second."""
    monkeypatch.setattr(ring, "LOOK_SECONDS", 0.0)


def test_the_day_key_of_today_removed_and_the_service_restarted(tmp_path: Path) -> None:
    """Nothing is made in its place: not ready, 503, doctor names the file; restored, all of it reads."""
    home, copy, file = tmp_path / "var", tmp_path / "copy", tmp_path / "albi.zip"
    copy.mkdir()
    key = home / "keys" / "days" / CATEGORY / f"{datetime.now(UTC):%Y-%m-%d}"
    with serving(home):
        assert command(home, "tenant", "add", "albi", "--name", "Albi").returncode == DONE
        asked = ("--role", "module", "--tenant", "albi", "--category", CATEGORY, "--source-prefix", "/openepm/")
        token = command(home, "credential", "add", *asked).stdout.strip()
    with serving(home) as (address, _):
        assert post_event(address, token) == 201
    assert command(home, "keys", "backup", "--to", str(copy)).returncode == DONE
    key.unlink()
    with serving(home) as (address, _):
        assert not key.exists()
        assert post_event(address, token) == 503
        assert status_of(f"{address}/readyz") == 503
        told = command(home, "doctor", JOURNAL_LISTEN=address.removeprefix("http://"))
        assert told.returncode == NOT_RUN
        (line,) = [line for line in told.stdout.splitlines() if line.startswith("FAIL keys")]
        assert str(key) in line
        assert "openepm-journal keys restore" in line
        assert not key.exists()
        assert command(home, "keys", "restore", "--from", str(copy)).returncode == DONE
        assert post_event(address, token) == 201
        made = command(
            home,
            *(
                "extract",
                "--tenant",
                "albi",
                "--category",
                CATEGORY,
                "--purpose",
                "lawfulness",
                "--requester",
                "DPD",
                "--request-reference",
                "R1",
            ),
            *("--from", key.name, "--to", key.name, "-o", str(file)),
        )
        assert made.returncode == DONE, made.stderr
        assert command(home, "verify-store").returncode == DONE


@pytest.mark.usefixtures("watchful")
async def test_a_running_service_goes_by_the_file(world: World) -> None:
    """A key that only the memory of a process has is used no more; another process makes none; back, all reads."""
    await world.record(3)
    key = key_file(world, world.today)
    kept = key.read_bytes()
    key.unlink()
    with pytest.raises(BusyError, match="no key for today"):
        await world.record(1)
    async with world.another_process() as other:
        await other.maintenance.prepare()
        assert not key.exists()
        for installation in (world.installation, other):
            problem = await keys_problem(installation)
            assert problem is not None
            assert str(key) in problem
    await world.record(1, tenant=OTHER_TENANT, category="ecrits")
    key.write_bytes(kept)
    await world.record(1)
    await world.seal()
    extract = await world.extract(world.today, world.today)
    world.verify(extract)
    assert len(events_of(extract)) == 4
    assert await keys_problem(world.installation) is None
    assert await world.audit() == []


@pytest.mark.usefixtures("watchful")
async def test_another_key_in_its_place(world: World) -> None:
    """A file replaced while the service runs is read again: nothing is encrypted under a key that no file holds."""
    await world.record(1)
    key = key_file(world, world.today)
    kept = key.read_bytes()
    shutil.copyfile(key_file(world, world.today + DAY), key)
    with pytest.raises(BusyError, match="no key for today"):
        await world.record(1)
    key.write_bytes(kept)
    await world.record(1)


async def test_the_day_key_of_yesterday_removed(world: World) -> None:
    """Readiness names the file until it is back, also before yesterday is read; today goes on."""
    await world.record(2)
    await world.travel(world.clock.now() + DAY)
    key = key_file(world, world.today - DAY)
    kept = key.read_bytes()
    key.unlink()
    async with world.another_process() as other:
        await other.maintenance.prepare()
        problem = await keys_problem(other)
    assert problem is not None
    assert str(key) in problem
    assert not key.exists()
    await world.record(1)
    key.write_bytes(kept)
    assert await keys_problem(world.installation) is None


@pytest.mark.usefixtures("watchful")
async def test_a_day_without_entries_gets_its_key_again(world: World) -> None:
    """Nothing is lost with a key that nothing was recorded under: another is made, and the service is ready."""
    await world.seal()
    key = key_file(world, world.today)
    key.unlink()
    async with world.another_process() as other:
        await other.maintenance.prepare()
        assert await keys_problem(other) is None
    await world.record(1)
    await world.seal()
    assert await world.audit() == []


async def test_a_purged_day_needs_no_key(postgres: EmbeddedPostgres, tmp_path: Path) -> None:
    """Its key is gone and its rows may still be there: nothing to bring back."""
    async with new_world(postgres, tmp_path) as world:
        await world.record(1)
        day = world.today
        await world.travel(world.clock.now() + DAY)
        await world.seal()
        keystore = world.service.keyring.keystore
        await world.service.store.raise_fence(CATEGORY, day)
        keystore.raise_fence(CATEGORY, day)
        keystore.shred_day_key(CATEGORY, day)
        await world.installation.maintenance.prepare()
        assert await keys_problem(world.installation) is None


@pytest.mark.usefixtures("watchful")
async def test_a_replica_that_has_it_repairs_it(postgres: EmbeddedPostgres, tmp_path: Path) -> None:
    """The key is copied back, at the start and while running, and nothing is refused meanwhile."""
    replica = tmp_path / "replica"
    async with new_world(postgres, tmp_path / "var", keystore_replicas=(str(replica),)) as world:
        await world.record(1)
        key = key_file(world, world.today)
        kept = key.read_bytes()
        key.unlink()
        await world.record(1)
        async with world.another_process() as other:
            await other.maintenance.prepare()
        assert key.read_bytes() == kept
        key.unlink()
        (replica / key.relative_to(world.settings.keystore_path)).unlink()
        await world.installation.maintenance.prepare()
        assert not key.exists()


async def test_the_key_of_a_tenant_removed(world: World) -> None:
    """Not ready; adding the tenant again makes no other key; back, it records."""
    await world.record(1)
    key = world.settings.keystore_path / "tenants" / TENANT
    kept = key.read_bytes()
    key.unlink()
    async with world.another_process() as other:
        await other.maintenance.prepare()
        problem = await keys_problem(other)
        assert problem is not None
        assert f"tenants/{TENANT}" in problem
        with pytest.raises(OperatorError, match=f"there is already a tenant {TENANT}"):
            await other.administration.add_tenant(TENANT, "Albi")
        assert not key.exists()
        with pytest.raises(KeyStoreError):
            other.service.keyring.keystore.read_tenant_key(TENANT)
        key.write_bytes(kept)
        assert await keys_problem(other) is None
    await world.record(1)


async def test_a_table_that_is_being_rewritten(world: World) -> None:
    """A lock on a day's table makes readiness wait for nothing and say nothing."""
    await world.record(1)
    async with world.superuser() as superuser:
        number = await superuser.fetchval("SELECT id FROM journal.category WHERE code = $1", CATEGORY)
        async with superuser.transaction():
            await superuser.execute(f"LOCK TABLE journal.entry_{number}_{world.today:%Y%m%d}")
            async with asyncio.timeout(60):
                assert await keys_problem(world.installation) is None
