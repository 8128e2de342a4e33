"""`kill -9` at every operation of an administrative change, and changes at once: none lost, none half made."""

from __future__ import annotations

import asyncio
import shutil
import signal
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import asyncpg
import msgspec
import pytest

from journal.admin.persons import People
from journal.cli.installation import open_service, prepare
from journal.cli.parser import make_parser
from journal.clock import SystemClock
from journal.database.embedded import SUPERUSER
from journal.database.store import Store
from journal.keys.persons import Identity
from journal.keys.store import open_facts, open_keystore
from journal.settings import Settings
from tests.faults.changing import CATEGORY, Kill, make, start
from tests.faults.purging import ended
from tests.support.databases import fresh_database

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from journal.cli.installation import Installation
    from journal.database.embedded import EmbeddedPostgres

READER = Identity(name="Anne Martin", function="agent", login="a.martin@albi.example")
WHENS = ("before", "torn", "after")


@asynccontextmanager
async def founded(postgres: EmbeddedPostgres, home: Path) -> AsyncIterator[tuple[str, Settings]]:
    """Make an installation with one commune, whose key store has two copies; give its database and settings."""
    settings = Settings(home=str(home), service_name="journal.test", keystore_replicas=(str(home / "replica"),))
    async with fresh_database(postgres) as name:
        dsn = postgres.dsn(database=name)
        await prepare(dsn, settings, SystemClock())
        async with open_service(dsn, settings, SystemClock()) as installation:
            await installation.maintenance.prepare()
            await installation.administration.add_tenant("albi", "Albi")
        yield dsn, settings


@asynccontextmanager
async def a_store(dsn: str, settings: Settings) -> AsyncIterator[Store]:
    """Open the store as a process does that knows nothing of what was."""
    async with await Store.connect(
        dsn, application="test", facts=open_facts(open_keystore(settings), SystemClock())
    ) as store:
        yield store


async def is_made(store: Store, what: str, name: str) -> bool:
    """Tell whether a change was made, all of it."""
    if what == "category":
        return name in {row.label for row in await store.read_categories()}
    if what == "closing":
        (tenant,) = await store.read_tenants(name)
        assert tenant.closed == (await store.read_ending(name) is not None)
        return tenant.closed
    rows = [row for row in await store.list_credentials() if row.id == name]
    return bool(rows) and (what == "credential" or rows[0].revoked_at is not None)


async def ready_for(dsn: str, settings: Settings, what: str, name: str) -> None:
    """Make what a change is about."""
    async with a_store(dsn, settings) as store:
        if what == "revocation":
            await make(store, "credential", name)
    if what == "closing":
        async with open_service(dsn, settings, SystemClock()) as installation:
            await installation.administration.add_tenant(name, name)


async def problems(dsn: str, settings: Settings) -> list[str]:
    """Start as `serve` does, and return what it says of the facts."""
    await prepare(dsn, settings, SystemClock())
    async with open_service(dsn, settings, SystemClock()) as installation:
        return installation.service.snapshot.problems()


@pytest.mark.parametrize("step", [5, pytest.param(1, marks=pytest.mark.campaign)])
@pytest.mark.parametrize("what", ["credential", "revocation", "category", "closing"])
async def test_killed_at_every_operation(
    what: str, step: int, postgres: EmbeddedPostgres, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """Before the commit the old row counts, after it the new one; a start settles it, and it can be repeated."""
    async with founded(postgres, tmp_path) as (dsn, settings):
        await ready_for(dsn, settings, what, "a0")
        operations = await ended(start(dsn, settings, what, "a0"))
        assert operations >= 7, operations
        count = made = 0
        for number in range(1, operations + 1, step):
            for when in WHENS:
                name = f"a{number}{when}"
                await ready_for(dsn, settings, what, name)
                status = await ended(start(dsn, settings, what, name, Kill(operation=number, when=when)))
                if when == "torn" and status != -signal.SIGKILL:
                    continue  # not a write
                assert status == -signal.SIGKILL, (number, when)
                async with a_store(dsn, settings) as store:
                    was_made = await is_made(store, what, name)
                    assert store.facts is not None
                    assert store.facts.problems() == [] or "behind the other copies" in store.facts.problems()[0]
                assert await problems(dsn, settings) == [], (number, when)
                assert not open_keystore(settings).ledger.pending()
                async with a_store(dsn, settings) as store:
                    assert await is_made(store, what, name) == was_made, (number, when)
                    if not was_made:
                        await make(store, what, name)
                    assert await is_made(store, what, name)
                    await asyncio.to_thread(open_keystore(settings).ledger.repair)
                ledgers = [path / "facts" / "ledger" for path in (settings.keystore_path, tmp_path / "replica")]
                assert ledgers[0].read_bytes() == ledgers[1].read_bytes()
                count, made = count + 1, made + was_made
        assert 0 < made < count
        record_property("evidence", f"kill -9 at {count} places of the change of a {what}: none lost, none half made")


async def test_two_hosts_at_once(postgres: EmbeddedPostgres, tmp_path: Path) -> None:
    """Each has its own key store, whose replica is the other's: every change is in both, in one order."""
    async with founded(postgres, tmp_path) as (dsn, settings):
        first, second = settings.keystore_path, tmp_path / "replica"
        other = msgspec.structs.replace(settings, keystore=str(second), keystore_replicas=(str(first),))
        async with a_store(dsn, settings) as one, a_store(dsn, other) as two:
            names = [f"b{number}" for number in range(40)]

            async def change(store: Store, mine: list[str]) -> None:
                for name in mine:
                    await make(store, "credential", name)
                    await make(store, "category", name)

            await asyncio.gather(change(one, names[::2]), change(two, names[1::2]))
            for store in (one, two):
                assert {row.id for row in await store.list_credentials()} == set(names)
                assert len(await store.read_categories()) == 5
                assert store.facts is not None
                assert store.facts.problems() == []
        assert (first / "facts" / "ledger").read_bytes() == (second / "facts" / "ledger").read_bytes()


async def test_a_copy_that_is_not_there(postgres: EmbeddedPostgres, tmp_path: Path) -> None:
    """Nothing is changed while a copy is not mounted, or its ledger is damaged; named, and repaired by a start."""
    async with founded(postgres, tmp_path) as (dsn, settings):
        replica = tmp_path / "replica"
        replica.rename(tmp_path / "away")
        async with a_store(dsn, settings) as store:
            with pytest.raises(Exception, match=f"{replica} is not a copy"):
                await make(store, "credential", "c1")
            (tmp_path / "away").rename(replica)
            await make(store, "credential", "c1")
        ledger = replica / "facts" / "ledger"
        content = ledger.read_bytes()
        ledger.write_bytes(content.replace(b" set category assistance ", b" set category assistanse ", 1))
        async with a_store(dsn, settings) as store:
            with pytest.raises(Exception, match=f"{ledger} is damaged in line"):
                await make(store, "credential", "c2")
        await asyncio.to_thread(open_keystore(settings).ledger.repair)
        assert ledger.read_bytes() == content
        async with a_store(dsn, settings) as store:
            await make(store, "credential", "c2")


async def database_name(dsn: str) -> str:
    """Return the name of a database."""
    connection = await asyncpg.connect(dsn)
    try:
        return str(await connection.fetchval("SELECT current_database()"))
    finally:
        await connection.close()


async def confirm(settings: Settings, *code: str) -> int:
    """Run `recover --confirm-facts`."""
    arguments = make_parser().parse_args(["recover", "--confirm-facts", *code])
    return int(await arguments.run(settings, arguments))


async def live_on(installation: Installation, revoked: str, person: str) -> None:
    """Make the changes that a restore loses; the person's password, known to somebody else, is replaced."""
    administration = installation.administration
    await administration.add_tenant("sete", "Sète")
    await administration.credentials.revoke(revoked)
    await administration.credentials.add(role="auditor", tenant="albi", categories=[CATEGORY])
    await People(installation.service).invite_again(person)
    await administration.set_category(CATEGORY, instruction="I-1", label="Plus tard")


@pytest.mark.parametrize("what", ["database", "key store", "both"])
async def test_restored(
    what: str, postgres: EmbeddedPostgres, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What differs is suspended and named; confirmed, it is obeyed.

    But a credential that was revoked stays so, and nobody signs in with a password that was replaced.
    """
    async with founded(postgres, tmp_path / "home") as (dsn, settings):
        async with open_service(dsn, settings, SystemClock()) as installation:
            made = await installation.administration.credentials.add(
                role="client", tenant="albi", categories=[CATEGORY]
            )
            person, _ = await People(installation.service).invite(
                tenant="albi", role="reader", categories=[CATEGORY], identity=READER
            )
        copies = [settings.keystore_path, tmp_path / "home" / "replica"]
        for number, path in enumerate(copies):
            shutil.copytree(path, tmp_path / f"copy{number}")
        name = await database_name(dsn)
        superuser = await asyncpg.connect(postgres.dsn(SUPERUSER, database="postgres"))
        await superuser.execute(f"CREATE DATABASE {name}_copy TEMPLATE {name}")
        try:
            async with open_service(dsn, settings, SystemClock()) as installation:
                await live_on(installation, made[0], person.id)
            restored = postgres.dsn(database=f"{name}_copy") if what in {"database", "both"} else dsn
            if what != "database":
                for number, path in enumerate(copies):
                    # The keys stay: what is asked here is the ledger's.
                    shutil.copy(tmp_path / f"copy{number}" / "facts" / "ledger", path / "facts" / "ledger")
            with_dsn = msgspec.structs.replace(settings, dsn=restored, signer_socket="none")
            named = await problems(restored, settings)
            if what == "both":
                assert named == []
                return
            about = {f"category {CATEGORY}", f"credential {made[0]}", f"person {person.id}", "tenant sete"}
            assert {found for found in about for line in named if line.startswith(f"{found}:")} == about
            async with open_service(restored, settings, SystemClock()) as installation:
                assert installation.service.snapshot.credential(made[0]) is None
                assert installation.service.snapshot.person(person.id) is None
                assert "category assistance" in str((await installation.service.checks.run())["facts"])
            capsys.readouterr()
            assert await confirm(with_dsn) == 1
            listed = capsys.readouterr().out
            code = listed.split("--confirm-facts ")[1][:12]
            assert await confirm(with_dsn, "0" * 12) == 1
            assert await confirm(with_dsn, code) == 0
            assert await problems(restored, settings) == []
            async with open_service(restored, settings, SystemClock()) as installation:
                credential = installation.service.snapshot.credential(made[0])
                assert credential is not None
                assert credential.revoked_at is not None
                known = installation.service.snapshot.person(person.id)
                assert known is not None
                assert known.revoked_at is not None
                assert (installation.service.snapshot.tenant("sete") is None) == (what == "database")
                assert (await installation.service.checks.run())["facts"] is None
        finally:
            await superuser.execute(f"DROP DATABASE {name}_copy WITH (FORCE)")
            await superuser.close()
