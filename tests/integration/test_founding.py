"""The first start on a configured database: nothing is fixed for ever before everything is right."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING

import asyncpg
import msgspec
import pytest

from journal.cli.founding import found
from journal.cli.installation import prepare
from journal.clock import SystemClock
from journal.core.errors import OperatorError
from journal.keys.wrapped import make_master_key
from journal.seals.dev_authority import make_development_authority
from journal.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

NAME = "journal.example.fr"


async def service_names(dsn: str) -> list[str]:
    """Return the names that are fixed, none in an empty database."""
    connection = await asyncpg.connect(dsn)
    try:
        if await connection.fetchval("SELECT to_regclass('journal.service')") is None:
            return []
        return [row["name"] for row in await connection.fetch("SELECT name FROM journal.service")]
    finally:
        await connection.close()


@pytest.fixture
def settings(dsn: str, tmp_path: Path) -> Settings:
    """Settings of a journal that is not founded yet, with nothing there but its directory."""
    (tmp_path / "replica").mkdir()
    return Settings(home=str(tmp_path), dsn=dsn, service_name=NAME, keystore_replicas=(str(tmp_path / "replica"),))


async def test_no_name_is_fixed_before_every_check_passes(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each check that fails is named with its file and what to do, all in one go; put right, the journal is made."""
    assert await found(settings, Namespace()) == 1
    told = capsys.readouterr().out
    assert f"FAIL master key: master key {settings.master_key_path} is missing" in told
    assert f"FAIL signing identity: signing certificate {settings.signing_cert_path} cannot be read" in told
    assert "ok   database" in told
    assert await service_names(str(settings.dsn)) == []
    make_master_key(settings.master_key_path)
    make_development_authority(
        settings.signing_key_path.parent, "other.example.fr", SystemClock().now(), trust_path=settings.trust_path
    )
    assert await found(settings, Namespace()) == 1
    assert "is for other.example.fr, but the journal is to be journal.example.fr" in capsys.readouterr().out
    # Not only this command: nothing that opens the database founds a journal that could not sign.
    with pytest.raises(OperatorError, match=r"is for other\.example\.fr"):
        await prepare(str(settings.dsn), settings, SystemClock())
    assert await service_names(str(settings.dsn)) == []
    right = msgspec.structs.replace(settings, service_name="other.example.fr")
    for _ in range(2):
        assert await found(right, Namespace()) == 0
        assert "the journal other.example.fr is made" in capsys.readouterr().out
    assert await service_names(str(settings.dsn)) == ["other.example.fr"]


async def test_a_configured_database_gets_no_default_name(settings: Settings) -> None:
    """A first start without a name says which setting is missing, and fixes none."""
    make_master_key(settings.master_key_path)
    nameless = msgspec.structs.replace(settings, service_name=None)
    with pytest.raises(OperatorError, match="set JOURNAL_SERVICE_NAME"):
        await prepare(str(settings.dsn), nameless, SystemClock())
    assert await service_names(str(settings.dsn)) == []


async def test_what_vouches_is_checked_first(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    """An identity whose root is not in the trust anchors founds nothing."""
    make_master_key(settings.master_key_path)
    make_development_authority(settings.signing_key_path.parent, NAME, SystemClock().now())
    assert await found(settings, Namespace()) == 1
    assert f"no certificate in {settings.trust_path} vouches for" in capsys.readouterr().out
