"""What the key store remembers of the last seal: the latest, in every copy, and no reason to stop for any damage."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from journal.cli.installation import check_restored
from journal.core.entry import RESERVED_TENANT
from journal.core.errors import KeyStoreError, OperatorError
from journal.keys.last_seal import NAME, SealMoment, remember, remembered
from journal.keys.ring import Keyring
from journal.keys.store import KeyStore, open_keystore
from journal.keys.wrapped import read_master_key
from retention.maintenance import DAYS_AHEAD, Maintenance
from tests.support.world import CATEGORY, new_world, settings_of

if TYPE_CHECKING:
    from pathlib import Path

    from journal.database.embedded import EmbeddedPostgres
    from tests.support.world import World

FIRST = SealMoment(datetime(2026, 3, 2, 12, tzinfo=UTC), 7)
LATER = SealMoment(FIRST.sealed_at + timedelta(minutes=1), 3)  # numbered anew since a restore
TWIN = SealMoment(FIRST.sealed_at, 8)


@pytest.fixture
def keystore(tmp_path: Path) -> KeyStore:
    """A key store with a replica."""
    made = KeyStore(tmp_path / "keys", bytes(32), [tmp_path / "replica"])
    made.make_tenant_key(RESERVED_TENANT)
    return made


def test_the_latest_counts(keystore: KeyStore) -> None:
    """By its moment, then by its number; it goes back only where that is said."""
    assert remembered(keystore) is None
    for moment, known in [(FIRST, FIRST), (TWIN, TWIN), (FIRST, TWIN), (LATER, LATER), (TWIN, LATER)]:
        remember(keystore, moment)
        assert remembered(keystore) == known
    remember(keystore, FIRST, goes_back=True)
    assert remembered(keystore) == FIRST
    assert {(path / NAME).read_text() for path in keystore.directories} == {"2026-03-02T12:00:00Z 7\n"}


@pytest.mark.parametrize("content", [b"", b"\xff", b"2026-03-02T12:00:00Z", b"yesterday 7", b"2026-03-02T12:00:00Z x"])
def test_a_damaged_copy(keystore: KeyStore, content: bytes) -> None:
    """It says nothing; the other is believed, and the next seal mends both."""
    remember(keystore, FIRST)
    (keystore.directories[0] / NAME).write_bytes(content)
    assert remembered(keystore) == FIRST
    remember(keystore, LATER)
    assert {(path / NAME).read_text() for path in keystore.directories} == {"2026-03-02T12:01:00Z 3\n"}


def test_a_copy_that_is_away(keystore: KeyStore, tmp_path: Path) -> None:
    """Nothing is written into the place where it is mounted; the other has it."""
    shutil.rmtree(tmp_path / "replica")
    with pytest.raises(KeyStoreError, match="mount it"):
        remember(keystore, FIRST)
    assert not (tmp_path / "replica").exists()
    assert remembered(keystore) == FIRST


async def test_a_seal_without_its_memory(postgres: EmbeddedPostgres, tmp_path: Path) -> None:
    """A seal is made though the key store cannot be told; every later one is remembered again, whoever makes it."""
    async with new_world(postgres, tmp_path, start=datetime.now(UTC)) as world:
        place = world.settings.keystore_path / NAME
        place.unlink(missing_ok=True)
        place.mkdir(parents=True)
        await world.record(1)
        await world.seal()
        assert remembered(open_keystore(world.settings)) is None
        place.rmdir()
        await world.record(1)
        await world.seal()
        seal = await world.service.store.latest_seal()
        assert seal is not None
        assert remembered(open_keystore(world.settings)) == SealMoment(seal.sealed_at, seal.number)
        await check_restored(world.dsn, settings_of(world))
        # A second with two seals: the later of them is the one with the higher number.
        remember(open_keystore(world.settings), SealMoment(seal.sealed_at, seal.number + 1))
        with pytest.raises(OperatorError, match=f"has lost seal {seal.number + 1} of .*declare-loss {seal.number};"):
            await check_restored(world.dsn, settings_of(world))


async def test_an_older_copy_that_is_used_beside_it(world: World, tmp_path: Path) -> None:
    """It makes no key for a day that was prepared with the other, until it knows of the last seal."""
    await world.seal()
    settings = settings_of(world)
    shutil.copytree(settings.keystore_path, tmp_path / "older")
    await world.travel_to(world.today + timedelta(days=1))
    await world.installation.maintenance.prepare()
    await world.seal()
    service = world.service
    older = KeyStore(tmp_path / "older", read_master_key(settings.master_key_path))
    made = Maintenance(store=service.store, keyring=Keyring(older), clock=service.clock)
    day = world.today + timedelta(days=DAYS_AHEAD)
    await made.prepare()
    assert day in service.keyring.keystore.day_keys(CATEGORY)
    assert day not in older.day_keys(CATEGORY)
    last = remembered(service.keyring.keystore)
    assert last is not None
    remember(older, last)
    await made.prepare()
    assert day in older.day_keys(CATEGORY)
