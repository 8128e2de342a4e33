"""A database that is behind what the writer acknowledged: the chain stops, readiness names it, an entry tells of it.

The kinds of KINDS.md that the writer must notice, each done by a superuser to a running service.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import asyncpg
import pytest

from journal.core.entry import RESERVED_TENANT
from journal.core.errors import BusyError
from journal.database.embedded import SUPERUSER
from tests.support.catalog_harm import FEIGNED
from tests.support.rig import CATEGORY, TENANTS, open_rig

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from journal.database.embedded import EmbeddedPostgres
    from tests.support.rig import Rig

ALBI, CASTRES = TENANTS
PATIENCE_SECONDS = 60
READY_SECONDS = 60
MOVE_HEADS = """
UPDATE journal.head AS h SET size = c.size, chain_hash = c.head, recorded_at = c.at
  FROM unnest(chain_tenant, chain_category, next_size, next_head, chain_recorded_at)
         AS c (tenant, category, size, head, at) WHERE h.tenant = c.tenant AND h.category = c.category;
"""


@pytest.fixture
async def rig(dsn: str, tmp_path: Path) -> AsyncIterator[Rig]:
    """A service of two communes whose writer runs."""
    async with open_rig(dsn, tmp_path) as running:
        yield running


@pytest.fixture
async def attacker(superuser: asyncpg.Connection) -> asyncpg.Connection:
    """Somebody whom no trigger stops."""
    await superuser.execute("SET session_replication_role = replica")
    return superuser


async def problem(rig: Rig) -> str:
    """Return what readiness says of the database as soon as it says something, within a minute."""
    async with asyncio.timeout(READY_SECONDS):
        while (said := (await rig.service.checks.run())["database"]) is None:  # noqa: ASYNC110 - nothing rings
            await asyncio.sleep(0.1)
    return said


async def alarms(rig: Rig, tenant: str = RESERVED_TENANT) -> list[str]:
    """Return the reasons of the alarms about the database in a journal, once there is one."""
    first = await rig.service.chronicle.first_day()
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            found = [
                entry.event["data"]["reason"]
                async for entry in rig.service.chronicle.entries(tenant, "alarm", since=first)
                if entry.event["data"]["what"] == "database"
            ]
            if found:
                return found
            await asyncio.sleep(0.1)


async def refused(rig: Rig, name: str, tenant: str = ALBI) -> None:
    """Assert that an event gets no receipt."""
    with pytest.raises(BusyError, match="does not hold what was acknowledged"):
        await rig.submit(rig.events(name), tenant=tenant)


async def remove_newest(attacker: asyncpg.Connection, rows: int) -> None:
    """Delete the newest rows of the chain, and move its head to where it was before them."""
    async with attacker.transaction():
        await _remove_newest(attacker, rows)


async def _remove_newest(attacker: asyncpg.Connection, rows: int) -> None:
    await attacker.execute(
        "DELETE FROM journal.entry WHERE tenant = $1 AND category = $2 AND index >= (SELECT size FROM journal.head"
        " WHERE tenant = $1 AND category = $2) - $3",
        ALBI,
        CATEGORY,
        rows,
    )
    await attacker.execute(
        "UPDATE journal.head AS h SET size = e.index + 1, chain_hash = e.chain_hash FROM (SELECT index, chain_hash"
        " FROM journal.entry WHERE tenant = $1 AND category = $2 ORDER BY index DESC LIMIT 1) AS e"
        " WHERE h.tenant = $1 AND h.category = $2",
        ALBI,
        CATEGORY,
    )


async def replay_head(attacker: asyncpg.Connection, size: int) -> None:
    """Put the head back to what it was at this size; the entries stay."""
    await attacker.execute(
        "UPDATE journal.head AS h SET size = $3, chain_hash = e.chain_hash FROM journal.entry AS e"
        " WHERE h.tenant = $1 AND h.category = $2 AND e.tenant = $1 AND e.category = $2 AND e.index = $3 - 1",
        ALBI,
        CATEGORY,
        size,
    )


async def test_newest_rows_removed_and_written_to_at_once(rig: Rig, attacker: asyncpg.Connection) -> None:
    """E09: the next event finds it out and gets no receipt for an index that another holds; others go on."""
    await rig.submit(rig.events(*range(10)))
    await remove_newest(attacker, 3)
    await refused(rig, "next")
    said = await problem(rig)
    assert f"{ALBI}/{CATEGORY}" in said
    assert "7 entries" in said
    assert "10 were acknowledged" in said
    assert [answer.receipt.index for answer in await rig.submit(rig.events("other"), tenant=CASTRES)] == [0]
    assert len(await alarms(rig)) == 1
    assert len(await alarms(rig, ALBI)) == 1


async def test_newest_rows_removed_and_nobody_writes(rig: Rig, attacker: asyncpg.Connection) -> None:
    """E09: readiness is red within a minute though nothing is submitted; it is one alarm."""
    await rig.submit(rig.events(*range(5)))
    await remove_newest(attacker, 1)
    assert "5 were acknowledged" in await problem(rig)
    await refused(rig, "next")
    assert len(await alarms(rig)) == 1


async def test_newest_rows_replaced_by_another_process(rig: Rig, attacker: asyncpg.Connection) -> None:
    """E09, then another process writes on: the size is larger again, but the entry is another."""
    await rig.submit(rig.events(*range(5)))
    await remove_newest(attacker, 2)
    other = await rig.open_another()
    await other.submit(rig.events("a", "b", "c", "d"))
    assert "entry 4, which was acknowledged, is not in its table" in await problem(rig)
    await refused(rig, "next")


async def test_newest_row_removed_after_flushes_that_end_in_another_order(
    rig: Rig, attacker: asyncpg.Connection
) -> None:
    """Of two appends, the first may be the last that is durable: the later one is remembered none the less."""
    memory, chain = rig.service.writer.appender.memory, rig.compartment()
    await rig.submit(rig.events(*range(4)))
    base = memory.acknowledged([chain])
    await rig.submit(rig.events("first"))
    first = memory.acknowledged([chain])
    await rig.submit(rig.events("second"))
    assert await memory.accept(first, base) == []
    await remove_newest(attacker, 1)
    await refused(rig, "next")
    assert "5 entries, but 6 were acknowledged" in await problem(rig)


async def test_newest_row_replaced_by_an_append_on_its_way(rig: Rig, attacker: asyncpg.Connection) -> None:
    """An append that began before what was acknowledged, and is written in its place, is not acknowledged."""
    memory, chain = rig.service.writer.appender.memory, rig.compartment()
    await rig.submit(rig.events(*range(4)))
    base = memory.acknowledged([chain])
    await rig.submit(rig.events("lost"))
    await remove_newest(attacker, 1)
    other = await rig.open_another()
    await other.submit(rig.events("instead"))
    instead = other.service.writer.appender.memory.acknowledged([chain])
    assert await memory.accept(instead, base) == [chain]
    await refused(rig, "next")


async def test_newest_row_removed_that_was_acknowledged_again(rig: Rig, attacker: asyncpg.Connection) -> None:
    """A process that gave the receipt of an entry of another process remembers it too."""
    other = await rig.open_another()
    await other.submit(rig.events(*range(5)))
    await rig.submit(rig.events(4))
    await remove_newest(attacker, 1)
    await refused(rig, "next")


async def test_head_moved_back(rig: Rig, attacker: asyncpg.Connection) -> None:
    """H01: the size alone."""
    await rig.submit(rig.events(*range(5)))
    await attacker.execute(
        "UPDATE journal.head SET size = size - 2 WHERE tenant = $1 AND category = $2", ALBI, CATEGORY
    )
    await refused(rig, "next")
    assert "3 entries" in await problem(rig)


async def test_head_replayed(rig: Rig, attacker: asyncpg.Connection) -> None:
    """H10: a head that was right once; put right again, the chain goes on by itself."""
    await rig.submit(rig.events(*range(5)))
    await replay_head(attacker, 3)
    await refused(rig, "next")
    await problem(rig)
    await replay_head(attacker, 5)
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (await rig.service.checks.run())["database"] is not None:  # noqa: ASYNC110 - nothing rings
            await asyncio.sleep(0.1)
    assert [answer.receipt.index for answer in await rig.submit(rig.events("next"))] == [5]


async def test_chain_hash_of_head_changed(rig: Rig, attacker: asyncpg.Connection) -> None:
    """H03: the same size, another hash."""
    await rig.submit(rig.events(*range(5)))
    await attacker.execute(
        "UPDATE journal.head SET chain_hash = sha256(chain_hash) WHERE tenant = $1 AND category = $2", ALBI, CATEGORY
    )
    await refused(rig, "next")
    assert "not the acknowledged one" in await problem(rig)


async def test_head_deleted(rig: Rig, attacker: asyncpg.Connection) -> None:
    """H06: the row is gone."""
    await rig.submit(rig.events(*range(5)))
    await attacker.execute("DELETE FROM journal.head WHERE tenant = $1 AND category = $2", ALBI, CATEGORY)
    assert "its head is gone" in await problem(rig)


@pytest.mark.parametrize("moves", ["", MOVE_HEADS], ids=["nothing", "heads"])
async def test_an_append_that_only_answers(rig: Rig, attacker: asyncpg.Connection, moves: str) -> None:
    """K01: no receipt for an entry that does not exist, however many events are sent, and the process says so."""
    await rig.submit(rig.events(*range(5)))
    await asyncio.sleep(1)  # what is within a second of a confirmed append is found a second later
    await attacker.execute(FEIGNED % moves)
    for number in range(4):
        await refused(rig, f"feigned-{number}", tenant=TENANTS[number % 2])
    assert "an append claimed to have written" in await problem(rig)


async def test_an_append_that_only_answers_is_found_after_a_second(rig: Rig, attacker: asyncpg.Connection) -> None:
    """K01 under load: what was acknowledged in between is found by itself."""
    await rig.submit(rig.events("before"))
    await attacker.execute(FEIGNED % "")
    await asyncio.gather(*(rig.submit(rig.events(number)) for number in range(3)), return_exceptions=True)
    await problem(rig)
    await refused(rig, "next")


@asynccontextmanager
async def undisturbed(postgres: EmbeddedPostgres, dsn: str) -> AsyncIterator[tuple[asyncpg.Connection, str]]:
    """Keep everyone out of the test's database for the block."""
    name = urlsplit(dsn).path[1:]
    superuser = await asyncpg.connect(postgres.dsn(SUPERUSER, database="postgres"))
    try:
        await superuser.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        await superuser.execute(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = $1", name
        )
        yield superuser, name
        await superuser.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
    finally:
        await superuser.close()


async def test_database_restored_under_the_service(
    rig: Rig, postgres: EmbeddedPostgres, dsn: str, owner: asyncpg.Connection
) -> None:
    """B01: a database of an hour ago in its place, complete and consistent."""
    await owner.close()
    await rig.submit(rig.events(*range(5)))
    async with undisturbed(postgres, dsn) as (superuser, name):
        await superuser.execute(f"CREATE DATABASE {name}_backup TEMPLATE {name}")
    await rig.submit(rig.events("lost"))
    async with undisturbed(postgres, dsn) as (superuser, name):
        await superuser.execute(f"DROP DATABASE {name}")
        await superuser.execute(f"ALTER DATABASE {name}_backup RENAME TO {name}")
    await refused(rig, "next")
    assert "5 entries, but 6 were acknowledged" in await problem(rig)


async def test_nothing_is_said_of_what_is_right(rig: Rig) -> None:
    """Control: two processes that write to one chain in turn."""
    other = await rig.open_another()
    for number in range(20):
        await (rig if number % 2 else other).submit(rig.events(number))
    for each in (rig, other):
        await each.service.writer.appender.memory.look(everything=True)
        assert (await each.service.checks.run())["database"] is None
        assert each.service.writer.appender.memory.faults == {}
