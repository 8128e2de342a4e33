"""`kill -9` at every operation of a provisioning: a repeat completes it, and nothing is lost, doubled or left over."""

from __future__ import annotations

import hashlib
import shutil
import signal
from typing import TYPE_CHECKING

import pytest

from journal.admin.credentials import Token
from journal.cli.installation import open_service, prepare
from journal.clock import SystemClock
from journal.core.entry import RESERVED_TENANT
from journal.pki.certificates import der_to_pem
from journal.settings import Settings
from tests.faults.provisioning import provision, start
from tests.faults.purging import ended
from tests.support.communes import commune
from tests.support.databases import fresh_database

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from journal.cli.installation import Installation
    from journal.database.embedded import EmbeddedPostgres

STATEMENT = """
[[category]]
code = "fourriere{n}"
label = "Fourrière"
regime = "GDPR"
retention_days = 30

[[tenant]]
code = "albi{n}"
name = "Ville d'Albi"

[[tenant]]
code = "sete{n}"
name = "Ville de Sète"

[[credential]]
tenant = "albi{n}"
label = "module"
role = "module"
categories = ["main-courante", "fourriere{n}"]
source_prefix = "/openepm/albi/"

[[credential]]
tenant = "sete{n}"
label = "dpd"
role = "auditor"
categories = ["journal"]

[[handover]]
tenant = "albi{n}"
certificate = "albi.pem"
"""
SAMPLED = 6


async def entries_about(installation: Installation, tenant: str) -> list[tuple[str, str]]:
    """Return (change, subject) of the entries about a tenant, sorted."""
    service = installation.service
    since = service.clock.now().date()
    found = service.chronicle.entries(tenant, "tenant", "setting", "credential", since=since)
    return sorted([(entry.event["data"]["change"], entry.event["subject"]) async for entry in found])


def tokens_in(directory: Path) -> dict[str, Token | None]:
    """Return what is in the files of a directory, each of which nobody else can read."""
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in directory.iterdir())
    return {path.name: Token.parse(path.read_text().strip()) for path in directory.iterdir()}


async def check_complete(installation: Installation, tokens: Path, n: str) -> None:
    """All that is stated is there, once, and told once; no credential is there without its token's file."""
    service = installation.service
    await service.snapshot.refresh(whole=True)
    rows = {row.id: row for row in await service.store.list_credentials() if row.tenant.endswith(n)}
    files = tokens_in(tokens)
    assert files.keys() == {f"albi{n}.module.token", f"sete{n}.dpd.token"}
    made = [token for token in files.values() if token is not None]
    assert {token.id: hashlib.sha256(token.secret.encode()).digest() for token in made} == {
        row.id: row.secret_hash for row in rows.values()
    }
    (albi,) = [row.id for row in rows.values() if row.tenant.startswith("albi")]
    (sete,) = [row.id for row in rows.values() if row.tenant.startswith("sete")]
    registered = ("hand-over certificate registered", "handover")
    assert await entries_about(installation, f"albi{n}") == sorted([("added", albi), ("added", f"albi{n}"), registered])
    assert await entries_about(installation, f"sete{n}") == sorted([("added", sete), ("added", f"sete{n}")])
    own = await entries_about(installation, RESERVED_TENANT)
    assert own.count(("category added", f"fourriere{n}")) == 1
    assert f"albi{n}" in {row.tenant for row in await service.store.list_recipients()}
    assert service.snapshot.problems() == []
    assert not service.keyring.keystore.ledger.pending()


@pytest.mark.parametrize("step", [SAMPLED, pytest.param(1, marks=pytest.mark.campaign)])
async def test_killed_at_every_operation(
    step: int, postgres: EmbeddedPostgres, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """The next run says what is left to do, does it, and the one after it changes nothing."""
    settings = Settings(
        home=str(tmp_path / "home"),
        service_name="journal.test",
        keystore_replicas=(str(tmp_path / "replica"),),
    )
    (tmp_path / "albi.pem").write_bytes(der_to_pem([commune().certificate]))
    file, tokens = tmp_path / "communes.toml", tmp_path / "tokens"
    async with fresh_database(postgres) as name:
        dsn = postgres.dsn(database=name)
        await prepare(dsn, settings, SystemClock())
        file.write_text(STATEMENT.format(n=0))
        operations = await ended(start(dsn, settings, file, tokens))
        assert operations >= 20, operations
        count = unfinished = 0
        for number in range(1, operations + 1, step):
            when = ("before", "after")[number // step % 2]
            for at in (when,) if step > 1 else ("before", "after"):
                n = f"{number}{at}"
                file.write_text(STATEMENT.format(n=n))
                shutil.rmtree(tokens, ignore_errors=True)
                assert await ended(start(dsn, settings, file, tokens, (number, at))) == -signal.SIGKILL, n
                await prepare(dsn, settings, SystemClock())  # as a command does: it settles what was cut short
                async with open_service(dsn, settings, SystemClock()) as installation:
                    await installation.maintenance.prepare()
                    plan, faults = await provision(installation, file, tokens)
                    assert faults == []
                    unfinished += any(plan.counts.values())
                    await check_complete(installation, tokens, n)
                    before = await entries_about(installation, f"albi{n}")
                    plan, faults = await provision(installation, file, tokens)
                    assert (faults, sum(plan.counts.values()), plan.unchanged) == ([], 0, 6)
                    assert await entries_about(installation, f"albi{n}") == before
                count += 1
        assert 0 < unfinished <= count
        record_property("evidence", f"kill -9 at {count} places of a provisioning: a repeat completed each")
