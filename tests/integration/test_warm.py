"""What a service keeps in memory, and what it reads at once: heads of chains touched first, trees of seals."""

from __future__ import annotations

import asyncio
import gc
import socket
import struct
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from journal.cli.serve import BACKLOG, COLLECTIONS, bind, listening
from journal.core.entry import Compartment
from journal.database.heads import SealHeadRow
from journal.reading import reader
from journal.settings import Settings
from tests.support.rig import CATEGORY, SERVICE, TENANTS, Rig, open_rig
from tests.support.world import CATEGORY as WORLD_CATEGORY
from tests.support.world import SERVICE as WORLD_SERVICE
from tests.support.world import TENANT, new_world

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    import asyncpg

    from journal.database.embedded import EmbeddedPostgres

HEADS = 5_000
MOST_WAITING = int(Path("/proc/sys/net/core/somaxconn").read_text(encoding="ascii"))


@pytest.fixture
async def rig(dsn: str, tmp_path: Path) -> AsyncIterator[Rig]:
    """A service that has touched no chain of its communes."""
    async with open_rig(dsn, tmp_path) as opened:
        yield opened


async def test_heads_of_all_that_waits_are_read_at_once(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many chains are touched for the first time, one call reads them, and each goes on from its own."""
    other = await rig.open_another()
    pairs = [(tenant, category) for tenant in TENANTS for category in (CATEGORY, "ecrits")]
    for number, (tenant, category) in enumerate(pairs, 1):
        events = rig.events(*(f"{number}-{event}" for event in range(number)))
        await rig.submit(events, tenant=tenant, category=category)
    asked: list[int] = []
    read = other.service.store.read_heads

    async def counted(tenants: list[str], categories: list[str]) -> Any:
        asked.append(len(tenants))
        return await read(tenants, categories)

    monkeypatch.setattr(other.service.store, "read_heads", counted)
    given = [
        other.submit(other.events(f"{tenant}-{category}"), tenant=tenant, category=category)
        for tenant, category in pairs
    ]
    done = await asyncio.gather(*given)
    assert asked == [len(pairs)]
    assert [answer[0].receipt.index for answer in done] == list(range(1, len(pairs) + 1))


async def test_trees_are_bounded_in_bytes(
    postgres: EmbeddedPostgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many as fit are kept; the one just used is, however large."""
    compartment = Compartment(WORLD_SERVICE, TENANT, WORLD_CATEGORY)
    async with new_world(postgres, tmp_path) as world:
        numbers = []
        for _ in range(4):
            await world.record(1)
            await world.seal()
            seal = await world.service.store.latest_seal()
            assert seal is not None
            numbers.append(seal.number)
        own = world.service.reader
        rows = {row.number: row for row in await world.service.store.read_seals(0, 100)}
        await own.chain_seal(rows[numbers[0]], compartment)
        (one,) = map(reader._size_bytes, own._trees.values())
        for room, kept in ((3 * one, 3), (0, 1)):
            monkeypatch.setattr(reader, "CACHED_BYTES", room)
            for number in numbers:
                assert await own.chain_seal(rows[number], compartment) is not None
            assert list(own._trees) == numbers[-kept:]


def test_the_size_of_a_tree_is_known() -> None:
    """What is counted is what is taken, within a fifth."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        rows = [SealHeadRow(f"t{n // 4}", f"c{n % 4}", n, n.to_bytes(32, "big"), 0, 30) for n in range(HEADS)]
        grown = reader.grow(SERVICE, rows)
        del rows
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert 0.8 < reader._size_bytes(grown) / taken < 1.25


@pytest.fixture
def collecting() -> Iterator[None]:
    """Leave the collector as it was."""
    threshold = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*threshold)


@pytest.mark.usefixtures("collecting")
async def test_a_service_that_listens_collects_rarely(rig: Rig) -> None:
    """What the start has made is walked by no collection, and collections are few."""
    async with listening(rig.installation, bind(Settings(listen="127.0.0.1:0"))):
        assert gc.get_freeze_count() > 10_000
        assert gc.get_threshold() == COLLECTIONS


@pytest.mark.usefixtures("collecting")
async def test_connections_wait_to_be_accepted(rig: Rig) -> None:
    """As many as the host allows: one beyond looks open to its caller, and is answered minutes later."""
    listener = bind(Settings(listen="127.0.0.1:0"))
    async with listening(rig.installation, listener):
        facts = listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
        # Of a socket that listens, the seventh number (tcpi_sacked) is how many may wait.
        assert struct.unpack_from("=8x6I", facts)[5] == min(BACKLOG, MOST_WAITING)


async def test_one_plan_of_the_append(superuser: asyncpg.Connection) -> None:
    """It is not planned again at each call."""
    settings = await superuser.fetchval("SELECT proconfig FROM pg_proc WHERE oid = 'journal.append'::regproc")
    assert "plan_cache_mode=force_generic_plan" in settings
