"""Readiness means that entries can be recorded now: what changes under a running service is named within a minute.

The kinds of KINDS.md about settings, clocks and programs, on a server whose settings a reload can change.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import pytest

from journal.cli.serve import watch_database
from journal.clock import SimulatedClock
from journal.database import binaries, cluster
from journal.database.embedded import SUPERUSER, EmbeddedPostgres
from journal.database.migrate import migrate
from journal.status import probe
from tests.support.memory import choose_directory
from tests.support.programs import copy_programs, replace_program
from tests.support.rig import open_rig

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.support.rig import Rig

READY_SECONDS = 60
FRESH_SECONDS = probe.FRESH_SECONDS
FIXED = ("fsync", "full_page_writes", "synchronous_commit", "data_sync_retry")


@pytest.fixture(scope="module")
def postgres() -> Iterator[EmbeddedPostgres]:
    """Run a server as an operator's own would be: its settings are in files, not in its command line."""
    with (
        tempfile.TemporaryDirectory(prefix="oej-test-", dir=choose_directory()) as home,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(cluster, "SETTINGS", {k: v for k, v in cluster.SETTINGS.items() if k not in FIXED})
        with EmbeddedPostgres(Path(home)) as server, ThreadPoolExecutor(1) as other_thread:
            other_thread.submit(asyncio.run, migrate(server.dsn())).result()
            yield server


@pytest.fixture
async def rig(dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Rig]:
    """A service that is ready, has looked once, and looks again at every question: no success counts for a while."""
    monkeypatch.setattr(probe, "FRESH_SECONDS", 0.0)
    async with open_rig(dsn, tmp_path) as running:
        await running.submit(running.events("first"))
        await running.service.snapshot.refresh()
        assert await said(running) == ""
        yield running


@pytest.fixture
async def attacker(postgres: EmbeddedPostgres, superuser: asyncpg.Connection) -> AsyncIterator[asyncpg.Connection]:
    """Somebody who changes the server; what was changed of it is undone."""
    hba = await superuser.fetchval("SHOW hba_file")
    before = prepend(hba, "")
    yield superuser
    write(hba, before)
    fresh = await asyncpg.connect(postgres.dsn(SUPERUSER, database="postgres"))
    await fresh.execute("SET default_transaction_read_only = off")
    await fresh.execute("ALTER SYSTEM RESET ALL")
    await fresh.execute("SELECT pg_reload_conf()")
    for role in ("ingest", "seal"):
        await fresh.execute(f"ALTER ROLE journal_{role} LOGIN PASSWORD NULL; ALTER ROLE journal_{role} RESET ALL")
    await fresh.close()


def write(file: str, text: str) -> None:
    """Write a file."""
    Path(file).write_text(text, encoding="utf-8")


def prepend(file: str, line: str) -> str:
    """Put a line at the beginning of a file; return what it held before."""
    before = Path(file).read_text(encoding="utf-8")
    write(file, line + before)
    return before


async def said(rig: Rig) -> str:
    """Return what readiness says of database and clock."""
    checks = await rig.service.checks.run()
    return "; ".join(filter(None, (checks["database"], checks["clock"])))


async def problem(rig: Rig, *words: str) -> None:
    """Assert that readiness says these words within a minute; a connection that was lost may be told first."""
    told = ""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(READY_SECONDS):
            while not told or not all(word in told for word in words):
                told = await said(rig)
                await asyncio.sleep(0.1)
    for word in words:
        assert word in told, told
    assert told


async def fine(rig: Rig) -> None:
    """Assert that readiness says nothing any more, once what was done is undone."""
    async with asyncio.timeout(READY_SECONDS):
        while await said(rig):  # noqa: ASYNC110 - nothing rings
            await asyncio.sleep(0.1)


@pytest.mark.parametrize("setting", ["fsync", "full_page_writes"])
async def test_durability_off_by_reload(rig: Rig, attacker: asyncpg.Connection, setting: str) -> None:
    """T01, T03: what is acknowledged can be lost."""
    await attacker.execute(f"ALTER SYSTEM SET {setting} = off")
    await attacker.execute("SELECT pg_reload_conf()")
    await problem(rig, f"{setting} is off")
    await attacker.execute(f"ALTER SYSTEM RESET {setting}")
    await attacker.execute("SELECT pg_reload_conf()")
    await fine(rig)


async def test_a_success_counts_for_ten_seconds(
    rig: Rig, attacker: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the service runs: a setting is named within a minute, not at once, and its end at once."""
    monkeypatch.setattr(probe, "FRESH_SECONDS", FRESH_SECONDS)
    # What the service found at its start, a while ago, counts no more.
    looked, passed = rig.clock.monotonic() + FRESH_SECONDS, 0.0
    monkeypatch.setattr(rig.clock, "monotonic", lambda: looked + passed)
    await rig.service.snapshot.refresh()
    assert await said(rig) == ""
    await attacker.execute("ALTER ROLE journal_ingest SET synchronous_commit = off")
    passed = 9.0
    await rig.service.snapshot.refresh()
    assert await said(rig) == ""
    passed = 11.0
    await rig.service.snapshot.refresh()
    assert "synchronous_commit is off" in await said(rig)
    await attacker.execute("ALTER ROLE journal_ingest RESET synchronous_commit")
    assert await said(rig) == ""


@pytest.mark.parametrize("role", ["ingest", "seal"])
async def test_commits_that_do_not_wait(rig: Rig, attacker: asyncpg.Connection, role: str) -> None:
    """T02: for one role, which the sessions of the pool do not show."""
    await attacker.execute(f"ALTER ROLE journal_{role} SET synchronous_commit = off")
    await problem(rig, "synchronous_commit is off")
    await attacker.execute(f"ALTER ROLE journal_{role} RESET synchronous_commit")
    await fine(rig)


@pytest.mark.parametrize("whose", ["DATABASE", "ROLE", "SYSTEM"])
async def test_a_database_that_takes_no_writes(rig: Rig, attacker: asyncpg.Connection, whose: str) -> None:
    """T04: for the database, the role, the server."""
    name = await attacker.fetchval("SELECT current_database()")
    subject = {"DATABASE": f"DATABASE {name}", "ROLE": "ROLE journal_ingest", "SYSTEM": "SYSTEM"}[whose]
    await attacker.execute(f"ALTER {subject} SET default_transaction_read_only = on")
    await attacker.execute("SELECT pg_reload_conf()")
    await problem(rig, "default_transaction_read_only is on")


async def test_the_clock_of_the_database(rig: Rig, owner: asyncpg.Connection) -> None:
    """T05: ten minutes ahead, while nobody writes."""
    await owner.execute("UPDATE journal.simulated_clock SET ahead = ahead + interval '10 minutes'")
    await problem(rig, "the clocks of this machine and of database", "differ by", "timedatectl")
    await owner.execute("UPDATE journal.simulated_clock SET ahead = ahead - interval '10 minutes'")
    await fine(rig)


async def test_the_clock_of_the_machine(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """T06: three hours ahead."""
    ahead = SimulatedClock(rig.clock.offset + timedelta(hours=3))
    monkeypatch.setattr(rig.clock, "now", ahead.now)
    await problem(rig, "the system clock was moved by")


@pytest.mark.parametrize("role", ["ingest", "read", "seal", "purge", "admin", "owner"])
async def test_a_role_that_is_refused(rig: Rig, attacker: asyncpg.Connection, role: str) -> None:
    """T07: by pg_hba.conf, which sessions that exist survive; the role, the database and the host are named."""
    hba = await attacker.fetchval("SHOW hba_file")
    before = prepend(hba, f"local all journal_{role} reject\n")
    await attacker.execute("SELECT pg_reload_conf()")
    name = await attacker.fetchval("SELECT current_database()")
    host = rig.service.store.place("ingest").host
    await problem(rig, f"journal_{role} may not connect to database {name} on {host}", "pg_hba.conf", "28000")
    write(hba, before)
    await attacker.execute("SELECT pg_reload_conf()")
    await fine(rig)


async def test_a_role_that_may_not_log_in(rig: Rig, attacker: asyncpg.Connection) -> None:
    """T08: its role changed."""
    await attacker.execute("ALTER ROLE journal_seal NOLOGIN")
    await problem(rig, "journal_seal may not connect", "LOGIN")


async def test_a_password_that_was_changed(rig: Rig, attacker: asyncpg.Connection) -> None:
    """T08: its password changed."""
    hba = await attacker.fetchval("SHOW hba_file")
    await attacker.execute("ALTER ROLE journal_ingest PASSWORD 'another'")
    prepend(hba, "local all journal_ingest scram-sha-256\n")
    await attacker.execute("SELECT pg_reload_conf()")
    await problem(rig, "journal_ingest", "password")


@pytest.mark.parametrize(("function", "role"), [("append", "ingest"), ("now", "ingest")], ids=["append", "now"])
async def test_a_grant_that_is_lost(rig: Rig, attacker: asyncpg.Connection, function: str, role: str) -> None:
    """K07: named with the role."""
    await attacker.execute(f"REVOKE EXECUTE ON FUNCTION journal.{function} FROM journal_{role}")
    await problem(rig, f"journal_{role} lacks a right in database", "GRANT", "42501")
    await attacker.execute(f"GRANT EXECUTE ON FUNCTION journal.{function} TO journal_{role}")
    await fine(rig)


async def test_a_function_that_is_gone(rig: Rig, attacker: asyncpg.Connection) -> None:
    """The append is dropped."""
    await attacker.execute("DROP FUNCTION journal.append")
    await problem(rig, "a function is missing", "verify-store", "42883")


@pytest.mark.parametrize(
    ("state", "words"),
    [("53100", "the disk of database"), ("53300", "has no connection left"), ("58030", "cannot read or write")],
)
async def test_refusals_of_an_append(rig: Rig, attacker: asyncpg.Connection, state: str, words: str) -> None:
    """T10 and its like: nobody writes, and it is known."""
    await attacker.execute(
        f"CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE SQLSTATE '{state}'; END$$;"
        "CREATE TRIGGER refuse BEFORE INSERT ON journal.entry FOR EACH ROW EXECUTE FUNCTION refuse()"
    )
    await problem(rig, "no entry could be written", words, state)
    await attacker.execute("DROP TRIGGER refuse ON journal.entry")
    await fine(rig)


async def test_a_database_that_was_dropped(rig: Rig, postgres: EmbeddedPostgres) -> None:
    """The sentence says which one, where."""
    name = rig.service.store.place("owner").database
    other = await asyncpg.connect(postgres.dsn(SUPERUSER, database="postgres"))
    await other.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
    await other.execute("SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = $1", name)
    await other.execute(f"ALTER DATABASE {name} RENAME TO {name}_away")
    try:
        await problem(rig, f"database {name} on", "does not exist", "JOURNAL_DSN")
    finally:
        await other.execute(f"ALTER DATABASE {name}_away RENAME TO {name}")
        await other.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        await other.close()


async def test_an_attempt_leaves_nothing(rig: Rig, owner: asyncpg.Connection) -> None:
    """Control: however often it is asked, chains, entries and counters are as they were."""
    tables = ("journal.head", "journal.entry", "journal.activity", "journal.source_span", "journal.seal")
    before = [await owner.fetch(f"SELECT * FROM {table} ORDER BY 1, 2, 3, 4") for table in tables]
    for _ in range(3):
        rig.service.checks._probe._tried_at = float("-inf")
        assert await said(rig) == ""
    assert [await owner.fetch(f"SELECT * FROM {table} ORDER BY 1, 2, 3, 4") for table in tables] == before


async def answers(dsn: str) -> bool:
    """Tell whether a server accepts a connection."""
    try:
        connection = await asyncpg.connect(dsn)
    except (OSError, asyncpg.PostgresError):
        return False
    await connection.close()
    return True


async def test_programs_that_were_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """T09: an embedded server whose programs are replaced restarts with the new ones; one that is not, does not."""
    copied = copy_programs(tmp_path)
    monkeypatch.setattr(binaries, "_candidates", lambda _: [copied.directory])
    monkeypatch.setattr("journal.database.embedded.SETTLED_SECONDS", 1.0)
    with tempfile.TemporaryDirectory(prefix="oej-test-") as home:
        server = EmbeddedPostgres(Path(home))
        await asyncio.to_thread(server.start)
        first = server.pid
        watching = asyncio.create_task(watch_database(server))
        await asyncio.sleep(3)
        assert server.pid == first
        replace_program(copied.directory)
        async with asyncio.timeout(READY_SECONDS):
            while server.pid in {None, first} or not await answers(server.dsn(SUPERUSER, database="postgres")):  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        assert not watching.done()
        watching.cancel()
        await asyncio.to_thread(server.stop)
