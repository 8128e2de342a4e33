"""What is said of a database that has forgotten a purge; `tests/backup` restores real ones."""

from __future__ import annotations

import argparse
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

import pytest

from journal.cli import categories, doctor, recover, tenants
from journal.cli.installation import check_restored
from journal.core.errors import OperatorError
from journal.keys.store import open_keystore
from journal.status.restored import forgotten_purges
from tests.support.communes import SHORT, commune_world
from tests.support.contents import entries
from tests.support.world import CATEGORY, DAY, FIRST, OTHER_TENANT, TENANT, World, new_world, settings_of

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from journal.database.embedded import EmbeddedPostgres


def world_of_now(postgres: EmbeddedPostgres, home: Path) -> AbstractAsyncContextManager[World]:
    """A service that begins now: the real commands may open it."""
    return new_world(postgres, home, start=datetime.now(UTC))


pytestmark = pytest.mark.world(made_by=world_of_now)


async def test_what_the_database_never_had(world: World) -> None:
    """A fence before the category's first day, and that of a category it does not have, say nothing of it."""
    keystore = open_keystore(world.settings)
    keystore.raise_fence(CATEGORY, world.today - DAY)
    keystore.raise_fence("unknown", world.today)
    assert await forgotten_purges(world.service.store, keystore) == []
    await check_restored(world.dsn, settings_of(world))


async def test_a_database_without_a_seal(world: World) -> None:
    """One that holds no seal is not the one that was backed up."""
    open_keystore(world.settings).raise_fence(CATEGORY, world.today)
    with pytest.raises(OperatorError, match="in the database not at all; it holds no seal"):
        await check_restored(world.dsn, settings_of(world))


async def test_who_may_open_it(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """What writes or serves refuses; what looks tells; `recover` names what keeps a day from being purged again."""
    await world.seal()
    number = (await world.service.store.seal_state()).number
    keystore = open_keystore(world.settings)
    for category in ("ecrits", CATEGORY):
        keystore.raise_fence(category, world.today)
    settings = settings_of(world)
    message = rf"older than its key store: ecrits is purged up to {world.today}.*1 more.*--declare-loss {number};"
    with pytest.raises(OperatorError, match=message):
        await categories.category_add(
            settings, argparse.Namespace(code="x", label="X", regime="LED", retention_days=9, needs_authorisation=False)
        )
    with pytest.raises(OperatorError, match=message):
        await recover.recover(settings, argparse.Namespace(confirm_facts=None, declare_loss=None))
    assert await tenants.tenant_list(settings, argparse.Namespace()) == 0
    assert await doctor.doctor(settings, argparse.Namespace()) == 2
    assert "FAIL retention: ecrits is purged up to" in capsys.readouterr().out
    # Today cannot be purged yet, by any clock that is right.
    with pytest.raises(OperatorError, match=r"not due by this database's retention and clock: correct the clock"):
        await recover.recover(settings, argparse.Namespace(confirm_facts=None, declare_loss=number))
    assert f"declared: everything after seal {number} is lost" in capsys.readouterr().out


async def test_a_declaration_cut_short_on_a_later_day(postgres: EmbeddedPostgres, tmp_path: Path) -> None:
    """The close of the day before declares, the seals after it do not: the number is the same all the same."""
    now = datetime.now(UTC)
    async with new_world(postgres, tmp_path / "home", start=now - DAY) as world:
        await world.record(1)
        await world.seal()
        number = (await world.service.store.seal_state()).number
        await world.travel(datetime.now(UTC))
        await world.record(1)
        open_keystore(world.settings).raise_fence(CATEGORY, world.today - DAY)
        assert await world.service.sealer.declare_loss() == number
        assert (await world.service.store.seal_state()).number == number + 2
        with pytest.raises(OperatorError, match=rf"its last seal, {number}, is lost.*--declare-loss {number}; then"):
            await check_restored(world.dsn, settings_of(world))


async def test_a_commune_that_was_destroyed(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """If a restored database brings back a destroyed commune's rows, the finding names it and the remedy."""
    await world.record(1, tenant=OTHER_TENANT)
    await world.seal()
    number = (await world.service.store.seal_state()).number
    open_keystore(world.settings).destroy_tenant_key(OTHER_TENANT)
    assert await recover.recover(settings_of(world), argparse.Namespace(confirm_facts=None, declare_loss=number)) == 1
    assert capsys.readouterr().err == (
        f"openepm-journal: {OTHER_TENANT} was destroyed, but the restored database has its (unreadable) entries again: "
        f"run openepm-journal tenant close {OTHER_TENANT} --without-export, then openepm-journal tenant destroy "
        f"{OTHER_TENANT} --confirm {OTHER_TENANT} --report FILE\n"
    )
    asked = {"code": OTHER_TENANT, "certificate": None, "export_to": None, "without_export": True}
    settings = settings_of(world)
    assert await tenants.tenant_close(settings, argparse.Namespace(**asked, clock_is_right=False)) == 0
    asked = {"code": OTHER_TENANT, "confirm": OTHER_TENANT, "report": str(world.settings.home_path / "record.json")}
    assert await tenants.tenant_destroy(settings, argparse.Namespace(**asked, clock_is_right=False)) == 0
    await world.service.snapshot.refresh()
    assert await world.audit() == []


async def test_a_hand_over_that_is_forgotten(postgres: EmbeddedPostgres, tmp_path: Path) -> None:
    """A restored database does not know whether a purged day was handed over: it is purged, with a notice."""
    async with commune_world(postgres, tmp_path / "home") as world:
        await world.record(1, category=SHORT.code)
        await world.travel_to(FIRST + (SHORT.retention_days - 1) * DAY)
        open_keystore(world.settings).raise_fence(SHORT.code, FIRST)
        [due] = [due for due in await world.installation.purger.due() if due.category == SHORT.code]
        assert (due.day, due.begun, due.again, due.forgotten) == (FIRST, True, False, True)
        await world.installation.purger.run(max_days=0)
        [alarm] = await entries(world, "alarm")
        assert alarm["reason"].startswith("la base de données a été restaurée d'avant la purge")
        assert date.fromisoformat(alarm["day"]) == FIRST
        assert TENANT in {row.code for row in await world.service.store.read_tenants()}
        assert await world.audit() == []
