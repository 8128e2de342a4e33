"""An append is visible before it is durable: meanwhile nothing that rests on it is told to anybody."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from journal.core.entry import Compartment
from journal.writing.commits import LARGE_DRAFT_EVENTS
from tests.support.rig import CATEGORY, TENANTS, open_rig

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import asyncpg

    from tests.support.rig import Rig

PATIENCE_SECONDS = 60


@pytest.fixture
async def rig(dsn: str, tmp_path: Path) -> AsyncIterator[Rig]:
    """A service of two communes whose writer runs."""
    async with open_rig(dsn, tmp_path) as running:
        yield running


@asynccontextmanager
async def absent_standby(superuser: asyncpg.Connection) -> AsyncIterator[None]:
    """Let every commit that must be durable wait for a standby that is not there, to the end of the block."""
    await superuser.execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
    await superuser.execute("SELECT pg_reload_conf()")
    try:
        while await superuser.fetchval("SHOW synchronous_standby_names") != "nobody":
            pass
        yield
    finally:
        await superuser.execute("ALTER SYSTEM RESET synchronous_standby_names")
        await superuser.execute("SELECT pg_reload_conf()")


async def waiting_as(superuser: asyncpg.Connection, role: str) -> None:
    """Wait until a session of the role waits for the standby."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not await superuser.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE usename = $1 AND wait_event = 'SyncRep'", role
        ):
            pass


async def test_nothing_is_told_before_it_is_durable(rig: Rig, superuser: asyncpg.Connection) -> None:
    """Of an entry that the standby has not, there is no receipt, no seal, and no memory of a head."""
    chain = Compartment(rig.service.name, TENANTS[0], CATEGORY)
    memory = rig.service.writer.appender.memory
    async with absent_standby(superuser):
        recording = asyncio.create_task(rig.submit(rig.events("a")))
        await waiting_as(superuser, "journal_ingest")
        assert await rig.size() == 1
        sealing = asyncio.create_task(rig.service.sealer.seal_open(even_if_still=False))
        await waiting_as(superuser, "journal_seal")
        assert not recording.done()
        assert not sealing.done()
        assert not await superuser.fetchval("SELECT count(*) FROM journal.seal_head WHERE size > 0")
        assert memory.acknowledged([chain]) == {}
    (answer,) = await recording
    assert answer.created
    assert await sealing
    assert memory.acknowledged([chain])[chain].size == 1


async def test_what_waits_is_appended_before_the_one_before_it_is_durable(
    rig: Rig, superuser: asyncpg.Connection
) -> None:
    """Single events do not wait for each other's way to the disk, where enough of them wait; nor is one answered."""
    async with absent_standby(superuser):
        recording = [asyncio.create_task(rig.submit(rig.events("first")))]
        await waiting_as(superuser, "journal_ingest")
        names = [f"next {number}" for number in range(LARGE_DRAFT_EVENTS)]
        recording += [asyncio.create_task(rig.submit(rig.events(name))) for name in names]
        async with asyncio.timeout(PATIENCE_SECONDS):
            while await rig.size() != 1 + LARGE_DRAFT_EVENTS:
                pass
        assert not any(task.done() for task in recording)
    answers = await asyncio.gather(*recording)
    assert [answer.receipt.index for (answer,) in answers] == [*range(1 + LARGE_DRAFT_EVENTS)]


async def test_a_flush_that_fails_is_an_unknown_outcome(rig: Rig, superuser: asyncpg.Connection) -> None:
    """The same events are asked for again: the receipt is that of the entry which was there all along."""
    async with absent_standby(superuser):
        recording = asyncio.create_task(rig.submit(rig.events("a", "b")))
        await waiting_as(superuser, "journal_ingest")
        ended = await superuser.fetchval(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
            "WHERE usename = 'journal_ingest' AND wait_event = 'SyncRep'"
        )
        assert ended == 1
        # Asked again it is found, which waits as well.
        await waiting_as(superuser, "journal_ingest")
        assert not recording.done()
    answers = await recording
    assert [answer.receipt.index for answer in answers] == [0, 1]
    assert await rig.size() == 2


async def test_a_change_is_not_settled_before_it_is_durable(rig: Rig, superuser: asyncpg.Connection) -> None:
    """What became of a change that was cut short is said once the standby has the row that shows it.

    A failover would take the row back, and leave a fact that the key store does not vouch for.
    """
    store = rig.service.store
    assert store.facts is not None
    ledger, key = store.facts.ledger, ("category", CATEGORY)
    with ledger.writing():
        ledger.set({key: "0" * 64})
    async with absent_standby(superuser):
        settling = asyncio.create_task(store.settle_facts())
        await waiting_as(superuser, "journal_seal")
        assert not settling.done()
        assert set(ledger.pending()) == {key}
    await settling
    assert ledger.pending() == {}
    assert store.facts.problems() == []
