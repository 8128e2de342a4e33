"""Migrations: forward only, each file once and whole, none edited after the fact."""

from __future__ import annotations

import asyncio
from hashlib import sha256
from typing import TYPE_CHECKING

import asyncpg
import pytest

import sql
from journal.core.errors import OperatorError
from journal.database.catalog import compare_catalogs, read_catalog
from journal.database.embedded import OWNER, SUPERUSER
from journal.database.migrate import choose_pending, list_migrations, migrate
from tests.support.roles import ROLES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from journal.database.embedded import EmbeddedPostgres

FILES = sql.read_migrations()
NAMES = [name for name, _ in FILES]
# Those of releases, with their SHA-256: each new one is added here.
RELEASED = {"0001_baseline.sql": "f8ada9bec9a9bfb6bf7ddca8a6de7c9a84dc3a5536ca72aa1f220f6bdcc93dbf"}
# With what later releases bring.
LATER = [
    *FILES,
    *((f"{len(FILES) + n:04d}_more.sql", b"CREATE TABLE journal.more_%d ();" % n) for n in (1, 2)),
]


@pytest.fixture
async def empty(postgres: EmbeddedPostgres) -> AsyncIterator[str]:
    """Give the owner's address of a database that has seen no migration."""
    superuser = await asyncpg.connect(postgres.dsn(SUPERUSER, database="postgres"))
    await superuser.execute(f"CREATE DATABASE empty TEMPLATE template0 OWNER {OWNER}")
    yield postgres.dsn(database="empty")
    await superuser.execute("DROP DATABASE empty WITH (FORCE)")
    await superuser.close()


def test_no_released_file_changes() -> None:
    """A database that one of them made would be refused."""
    assert {name: sha256(content).hexdigest() for name, content in FILES} == RELEASED


async def test_every_file_is_applied_once(empty: str) -> None:
    """The second run finds nothing to do, and the database says which files made it."""
    assert await migrate(empty) == NAMES
    assert await migrate(empty) == []
    connection = await asyncpg.connect(empty)
    applied = await connection.fetch("SELECT number, name FROM journal.migration ORDER BY number")
    await connection.close()
    assert [tuple(row) for row in applied] == list(enumerate(NAMES, start=1))


async def test_runners_at_once_are_harmless(empty: str) -> None:
    """One does it all, the others wait and find nothing to do."""
    results = await asyncio.gather(*(migrate(empty) for _ in range(4)))
    assert sorted(results) == [[], [], [], NAMES]


async def test_version_by_version_or_at_once_makes_the_same(empty: str, dsn: str) -> None:
    """A database brought forward file by file is the one brought forward by all of them."""
    for number, (name, _) in enumerate(LATER, start=1):
        assert await migrate(empty, files=LATER[:number]) == [name]
    assert await migrate(dsn, files=LATER) == [name for name, _ in LATER[len(FILES) :]]
    connections = [await asyncpg.connect(empty), await asyncpg.connect(dsn)]
    by_version, at_once = [await read_catalog(connection) for connection in connections]
    for connection in connections:
        await connection.close()
    assert "table journal.more_2" in by_version
    assert compare_catalogs(by_version, at_once) == []


async def test_an_edited_file_is_refused(empty: str) -> None:
    """Even by a space: two installations of one version would differ."""
    await migrate(empty, files=LATER)
    *before, (name, content), last = LATER
    with pytest.raises(OperatorError, match=rf"migration {len(LATER) - 1} .*applied files never change"):
        await migrate(empty, files=[*before, (name, content + b" "), last])


async def test_a_renamed_file_is_refused(empty: str) -> None:
    """The same content under another name is not the same history."""
    await migrate(empty)
    renamed = [("0001_other.sql", FILES[0][1]), *FILES[1:]]
    with pytest.raises(OperatorError, match="applied files never change"):
        await migrate(empty, files=renamed)


async def test_a_database_newer_than_the_software_is_refused(empty: str) -> None:
    """An old release does not run on a schema it does not know."""
    await migrate(empty, files=LATER)
    with pytest.raises(OperatorError, match="newer than this software"):
        await migrate(empty, files=LATER[:-1])


async def test_a_file_that_fails_leaves_nothing(empty: str, postgres: EmbeddedPostgres) -> None:
    """The files before it stay, it is wholly undone, and a corrected one is applied."""
    name = f"{len(FILES) + 1:04d}_more.sql"
    broken = (name, b"CREATE TABLE journal.more (); SELECT 1 / 0;")
    with pytest.raises(asyncpg.DivisionByZeroError):
        await migrate(empty, files=[*FILES, broken])
    superuser = await asyncpg.connect(postgres.dsn(SUPERUSER, database="empty"))
    assert await superuser.fetchval("SELECT to_regclass('journal.more')") is None
    assert await migrate(empty, files=[*FILES, (name, b"CREATE TABLE journal.more ();")]) == [name]
    assert await superuser.fetchval("SELECT to_regclass('journal.more')") == "journal.more"
    await superuser.close()


@pytest.mark.parametrize("names", [["0002_a.sql"], ["0001_a.sql", "0003_b.sql"], ["1_a.sql"], ["0001_a.txt"]], ids=str)
def test_files_are_numbered_without_a_hole(names: list[str]) -> None:
    """A missing file is named, not passed over."""
    with pytest.raises(OperatorError, match="was expected"):
        list_migrations([(name, b"") for name in names])


def test_what_is_pending_follows_what_is_applied() -> None:
    """Only the files after the last applied one."""
    known = list_migrations([("0001_a.sql", b"a"), ("0002_b.sql", b"b")])
    first = (1, "0001_a.sql", known[0].sha256)
    assert choose_pending(known, []) == known
    assert choose_pending(known, [first]) == known[1:]
    assert choose_pending(known, [first, (2, "0002_b.sql", known[1].sha256)]) == []


def test_an_older_release_comes_back_to_what_was_only_added() -> None:
    """It runs on migrations that expand the schema; one among the later ones that does more is refused."""
    known = list_migrations([("0001_a.sql", b"a")])
    first = (1, "0001_a.sql", known[0].sha256)
    added = [(2, "0002_expand_b.sql", b""), (3, "0003_expand_c.sql", b"")]
    assert choose_pending(known, [first, *added]) == []
    with pytest.raises(OperatorError, match="at migration 4, newer than this software's 1: update the software"):
        choose_pending(known, [first, *added, (4, "0004_d.sql", b"")])
    with pytest.raises(OperatorError, match="applied files never change"):
        choose_pending(known, [(1, "0001_a.sql", bytes(32)), *added])


async def test_a_superuser_is_no_owner(empty: str, postgres: EmbeddedPostgres) -> None:
    """Functions run with their owner's rights: a mistake in one must not give them all."""
    with pytest.raises(OperatorError, match="the database's owner is a superuser"):
        await migrate(postgres.dsn(SUPERUSER, database="empty"))
    assert await migrate(empty) == NAMES


async def test_a_role_with_too_much_power_is_refused(empty: str, postgres: EmbeddedPostgres) -> None:
    """An owner that may not change roles says which one, and what to run: a superuser takes the power away."""
    superuser = await asyncpg.connect(postgres.dsn(SUPERUSER, database="postgres"))
    await superuser.execute("ALTER ROLE journal_read CREATEDB")
    try:
        with pytest.raises(OperatorError, match=r"journal_read\. Run sql/roles\.sql as a superuser"):
            await migrate(empty)
        await superuser.execute(sql.read("roles.sql"))
        assert not await superuser.fetchval("SELECT rolcreatedb FROM pg_roles WHERE rolname = 'journal_read'")
        assert await migrate(empty) == NAMES
    finally:
        await superuser.execute("ALTER ROLE journal_read NOCREATEDB")
        await superuser.close()


async def test_a_role_that_belongs_to_another_is_refused(empty: str, postgres: EmbeddedPostgres) -> None:
    """Membership would give it the other's rights; whoever granted it must take it back."""
    superuser = await asyncpg.connect(postgres.dsn(SUPERUSER, database="postgres"))
    await superuser.execute("GRANT pg_read_all_data TO journal_ingest")
    try:
        with pytest.raises(OperatorError, match=r"journal_ingest"):
            await migrate(empty)
    finally:
        await superuser.execute("REVOKE pg_read_all_data FROM journal_ingest")
        await superuser.close()


async def test_what_a_restore_forgets_is_asserted_again(dsn: str) -> None:
    """Who may connect is the database's own list: every run says it anew."""
    owner = await asyncpg.connect(dsn)
    name = await owner.fetchval("SELECT current_database()")
    await owner.execute(f"GRANT ALL ON DATABASE {name} TO PUBLIC")
    await owner.execute(f"REVOKE ALL ON DATABASE {name} FROM journal_ingest")
    assert await migrate(dsn) == []
    acl = "SELECT has_database_privilege($1, current_database(), $2)"
    for role in ROLES:
        assert await owner.fetchval(acl, role, "CONNECT")
        assert not await owner.fetchval(acl, role, "TEMPORARY")
    await owner.close()


def test_statements_are_named_blocks_with_their_intent() -> None:
    """Every statement of every role's file is found under its name, and none is empty."""
    for role in ("ingest", "read", "seal", "purge", "admin", "migrate", "catalog"):
        statements = sql.load(role)
        assert len(statements) == sql.read(f"{role}.sql").count("-- name: ")
        assert all(statements.values())
