"""`openepm-journal keys`: the key store's copy, as it is typed."""

from __future__ import annotations

import argparse
import shutil
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from journal.cli import keys
from journal.cli.installation import prepare
from journal.clock import SystemClock
from journal.core.errors import JournalError, KeyStoreError, OperatorError, UnavailableError
from journal.keys.store import KeyStore, open_keystore
from journal.keys.wrapped import make_master_key, read_master_key
from journal.seals.dev_authority import make_development_authority
from journal.settings import Settings
from tests.support.commands import DONE, FAILED, command, plain_line

if TYPE_CHECKING:
    from pathlib import Path

    import asyncpg

NOBODY = "postgresql://journal_owner@127.0.0.1:1/journal"


def asked(directory: Path) -> argparse.Namespace:
    """Return what the command line gives for a directory."""
    return argparse.Namespace(directory=str(directory))


@pytest.fixture
async def settings(dsn: str, tmp_path: Path) -> Settings:
    """A service with the reserved tenant's key and another, and one day's."""
    made = Settings(home=str(tmp_path / "var"), service_name="journal.test", dsn=dsn, signer_socket="none")
    make_master_key(made.master_key_path)
    clock = SystemClock()
    make_development_authority(made.signing_key_path.parent, "journal.test", clock.now(), trust_path=made.trust_path)
    await prepare(dsn, made, clock)
    keystore = open_keystore(made)
    keystore.make_tenant_key("albi")
    keystore.make_day_key("ecrits", clock.now().date())
    return made


@pytest.fixture
async def copy(settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """A copy of its key store."""
    directory = tmp_path / "copy"
    directory.mkdir()
    assert await keys.backup(settings, asked(directory)) == DONE
    said = f"{directory}: 3 keys copied, 0 purged or destroyed keys shredded, 0 fences raised; it holds 3 keys\n"
    assert capsys.readouterr() == (said, "")
    return directory


def contents(*places: Path) -> dict[Path, bytes]:
    """Return every file below some directories."""
    return {path: path.read_bytes() for place in places for path in place.rglob("*") if path.is_file()}


def test_a_copy_and_the_way_back(tmp_path: Path) -> None:
    """A lost key store is asked for by name, and brought back whole; the master key was never in the copy."""
    home, copy = tmp_path / "var", tmp_path / "copy"
    copy.mkdir()
    assert command(home, "tenant", "add", "albi", "--name", "Ville d'Albi").returncode == DONE
    done = command(home, "keys", "backup", "--to", str(copy))
    assert (done.returncode, done.stderr) == (DONE, "")
    assert done.stdout.endswith("; it holds 42 keys\n")  # four categories a week ahead, the service, the commune
    master = (home / "master.key").read_text()
    for content in contents(copy).values():
        assert master.strip().encode() not in content
        assert bytes.fromhex(master) not in content
    shutil.rmtree(home / "keys")
    said = plain_line(command(home, "tenant", "list"))
    assert "if it is lost, bring it back from its copy with openepm-journal keys restore" in said
    # A copy is not made of a key store that is lost.
    assert "holds no service key" in plain_line(command(home, "keys", "backup", "--to", str(copy)))
    done = command(home, "keys", "restore", "--from", str(copy))
    assert (done.returncode, done.stderr) == (DONE, "")
    assert done.stdout.startswith(f"{home / 'keys'}: 42 keys copied, ")
    assert command(home, "verify-store").returncode == DONE


async def test_a_replica_as_the_guide_makes_one(settings: Settings, tmp_path: Path) -> None:
    """From a copy, also in the place of a disk that is lost; an empty directory is refused, and not filled in place."""
    replica, day = tmp_path / "replica", SystemClock().now().date() + timedelta(days=9)
    named = replace(settings, keystore_replicas=(str(replica),))
    for _ in range(2):
        replica.mkdir()
        with pytest.raises(KeyStoreError, match=f"{replica} is not a copy of this key store: mount it"):
            open_keystore(named).make_day_key("ecrits", day)
        with pytest.raises(OperatorError, match="are not separate"):
            await keys.backup(named, asked(replica))
        assert await keys.backup(settings, asked(replica)) == DONE
        open_keystore(named).make_day_key("ecrits", day)
        assert (replica / f"days/ecrits/{day}").exists()
        shutil.rmtree(replica)


async def test_what_the_key_store_has_lost(settings: Settings, copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A key that only the copy still has is told, with the command that brings it back; that ends with 1."""
    (settings.keystore_path / "tenants" / "albi").unlink()
    assert await keys.backup(settings, asked(copy)) == FAILED
    assert capsys.readouterr().err == (
        "openepm-journal: 1 keys are in this copy but no longer in the key store: restore them with openepm-journal "
        f"keys restore --from {copy}\n"
    )
    assert await keys.restore(settings, asked(copy)) == DONE
    damaged = min((settings.keystore_path / "days" / "ecrits").iterdir())
    damaged.write_bytes(b"damaged")
    assert await keys.backup(settings, asked(copy)) == FAILED
    assert f"not copied: key days/ecrits/{damaged.name} does not open" in capsys.readouterr().err
    assert await keys.restore(settings, asked(copy)) == DONE
    assert capsys.readouterr().out.startswith(f"{settings.keystore_path}: 1 keys copied")
    assert await keys.backup(settings, asked(copy)) == DONE


async def test_refused(settings: Settings, copy: Path, tmp_path: Path) -> None:
    """Another directory, another service, another master key, no database: one line each, and nothing written."""
    other, documents, empty = tmp_path / "other", tmp_path / "documents", tmp_path / "empty"
    KeyStore(other, read_master_key(settings.master_key_path)).make_tenant_key("_service")
    for directory in (documents, empty):
        directory.mkdir()
    (documents / "letter.txt").write_text("x")
    (tmp_path / "wrong.key").write_text("ab" * 32)
    values = {name: getattr(settings, name) for name in Settings.__struct_fields__}
    wrong = Settings(**values | {"master_key_file": str(tmp_path / "wrong.key")})
    unreachable = Settings(**values | {"dsn": NOBODY})
    refusals: list[tuple[Settings, str, Path, type[JournalError], str]] = [
        (settings, "backup", tmp_path / "unmounted", OperatorError, "mount it, or create it for a first copy"),
        (settings, "backup", settings.keystore_path, OperatorError, "a copy is useful only elsewhere"),
        (settings, "backup", settings.home_path, OperatorError, "a copy is useful only elsewhere"),
        (settings, "backup", documents, OperatorError, r"holds letter\.txt, which is not a key"),
        (settings, "backup", other, OperatorError, "holds the keys of another service"),
        (wrong, "backup", copy, OperatorError, "is not a key store of this master key"),
        (settings, "restore", empty, OperatorError, "holds no service key"),
        (settings, "restore", other, OperatorError, "holds the keys of another service"),
        (wrong, "restore", copy, OperatorError, "is not a key store of this master key"),
        (unreachable, "restore", copy, UnavailableError, "the database cannot be reached"),
    ]
    before = contents(tmp_path)
    for chosen, what, directory, error, reason in refusals:
        with pytest.raises(error, match=reason) as refused:
            await getattr(keys, what)(chosen, asked(directory))
        assert "\n" not in str(refused.value)
    assert contents(tmp_path) == before
    assert not (tmp_path / "unmounted").exists()


async def test_a_database_that_says_nothing(settings: Settings, copy: Path, owner: object) -> None:
    """Keys are not brought back beside a database that cannot say what is destroyed."""
    await owner.execute("DROP FUNCTION journal.read_categories")  # type: ignore[attr-defined]  # a connection
    with pytest.raises(OperatorError, match="restore it before the keys"):
        await keys.restore(settings, asked(copy))


async def test_a_restore_believes_no_row_that_nobody_vouches_for(
    settings: Settings, copy: Path, superuser: asyncpg.Connection, capsys: pytest.CaptureFixture[str]
) -> None:
    """A fence that was raised, and a commune that was marked destroyed, in the database alone destroy no key."""
    shutil.rmtree(settings.keystore_path)
    await superuser.execute("SET session_replication_role = replica")
    await superuser.execute(
        "UPDATE journal.category SET fence = current_date + 1 WHERE code = 'ecrits';"
        "INSERT INTO journal.tenant VALUES ('albi', 'Albi', now(), now(), now())"
    )
    assert await keys.restore(settings, asked(copy)) == 1
    said = capsys.readouterr().err
    assert "not believed, so no key is destroyed for it: tenant albi" in said
    assert "category ecrits: its fence in the database" in said
    assert "no key is brought back of albi" in said
    keystore = open_keystore(settings)
    assert keystore.day_keys("ecrits")
    await superuser.execute("DELETE FROM journal.tenant WHERE code = 'albi'")
    assert await keys.restore(settings, asked(copy)) == DONE
    assert keystore.read_tenant_key("albi")
