"""Days of a category that writes much: several tables each, of which a purge drops one after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from journal.admin.administration import NewCategory
from journal.core.errors import StoreError
from tests.support.chains import CATEGORY, add_chains, append, fresh, read_chain
from tests.support.closing import after, close
from tests.support.partitions import days_of, drop, rows_of, tables_of
from tests.support.slices import use_slices
from tests.support.world import DAY, OTHER_TENANT, TENANT, make_event, new_world

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    import asyncpg

    from journal.database.embedded import EmbeddedPostgres
    from journal.database.store import Store

pytestmark = pytest.mark.usefixtures("no_documents")

MIB = 2**20


async def test_a_detached_slice_is_still_seen_and_dropped(
    store: Store, owner: asyncpg.Connection, move_clock: Callable[..., Awaitable[None]]
) -> None:
    """It is its day's, with the rows it holds, wherever somebody has put it."""
    await use_slices(owner, 3)
    heads = await add_chains(store, ["albi", "castres"])
    day = (await store.read_now()).date()
    for head in heads:
        await append(store, head, fresh(2))
    await move_clock(**after(day))
    await close(store, day)
    for name in await tables_of(owner, day):
        await owner.execute(f"ALTER TABLE journal.entry_1_{day:%Y%m%d} DETACH PARTITION {name}")
    assert [row.day for row in await store.partitions() if not row.attached] == [day]
    assert await read_chain(store, heads[0], day) == []
    await store.raise_fence(CATEGORY, day)
    # The day's own goes first: what is left of it is still known by its name.
    await owner.execute(f"DROP TABLE journal.entry_1_{day:%Y%m%d}")
    assert await rows_of(owner, day) == 4
    await drop(store, day)
    assert await tables_of(owner, day) == []
    assert day not in await days_of(store)


async def test_a_detached_slice_gives_up_a_destroyed_tenant(store: Store, owner: asyncpg.Connection) -> None:
    """What somebody has put aside is looked for as well: a head that says it is empty must not lie."""
    await use_slices(owner, 3)
    for head in await add_chains(store, ["albi", "castres"]):
        await append(store, head, fresh(3))
    now = await store.read_now()
    day = now.date()
    assert await store.put_seal(1, None, now, b"open", b"", [])
    assert await store.close_tenant("albi")
    assert await store.begin_destruction("albi", 1, bytes(32))
    for name in await tables_of(owner, day):
        await owner.execute(f"ALTER TABLE journal.entry_1_{day:%Y%m%d} DETACH PARTITION {name}")
    with pytest.raises(StoreError, match="entries of albi are still kept"):
        await store.empty_heads("albi")
    assert [await store.remove_entries("albi", CATEGORY, day, 2) for _ in range(3)] == [2, 1, 0]
    assert await store.empty_heads("albi") == 1
    assert await rows_of(owner, day) == 3


async def slices_by_day(owner: asyncpg.Connection) -> list[int]:
    """Return how many slices each day of the first category has, in order."""
    rows = await owner.fetch(
        "SELECT (SELECT count(*) FROM pg_inherits AS i WHERE i.inhparent = r.oid) FROM pg_class AS r "
        "WHERE r.relname ~ '^entry_1_[0-9]{8}$' ORDER BY r.relname"
    )
    return [count for (count,) in rows]


async def test_as_many_as_the_largest_day_would_need(
    store: Store, owner: asyncpg.Connection, move_clock: Callable[..., Awaitable[None]]
) -> None:
    """One for every 128 MiB of it, indexes and all; the days that were made before stay as they are."""
    await add_chains(store, ["albi"])
    assert await slices_by_day(owner) == [0] * 8
    leaf = f"journal.entry_1_{(await store.read_now()).date():%Y%m%d}"
    assert await owner.fetchval("SELECT journal.slices_needed(1::smallint)") == 1
    await owner.execute(
        f"INSERT INTO {leaf} (index, day, tenant, category, event_key, leaf_hash, chain_hash, ciphertext) "
        "SELECT 0, $1, 'albi', $2, $3, $4, $4, decode(repeat('00', $5), 'hex')",
        (await store.read_now()).date(),
        CATEGORY,
        bytes(16),
        bytes(32),
        129 * MIB,
    )
    await move_clock(days=2)
    await store.ensure_partitions(7)
    assert await slices_by_day(owner) == [0] * 8 + [2] * 2


async def test_a_life_in_slices(postgres: EmbeddedPostgres, tmp_path: Path) -> None:
    """Recorded, known again, extracted, checked, purged by a run that is cut short between two and by the next one."""
    communes = [TENANT, OTHER_TENANT, *(f"commune-{number}" for number in range(4))]
    async with new_world(postgres, tmp_path) as world:
        async with world.superuser() as superuser:
            await use_slices(superuser, 3)
        administration, store = world.installation.administration, world.service.store
        brief = NewCategory(code="breve", label="Brève", retention_days=3)
        await administration.add_category(brief)
        for tenant in communes[2:]:
            await administration.add_tenant(tenant, tenant)
        await world.installation.maintenance.prepare()
        await world.service.snapshot.refresh()
        again = [make_event(world.clock.now()) for _ in range(3)]
        for tenant in communes:
            receipts = await world.record(3, tenant=tenant, category=brief.code, events=again)
            assert await world.record(3, tenant=tenant, category=brief.code, events=again) == receipts
        first = world.today
        await world.travel_to(first + DAY)
        for tenant in communes:
            await world.record(2, tenant=tenant, category=brief.code)
        await world.seal()
        async with world.superuser() as superuser:
            used = [
                await superuser.fetchval(f"SELECT count(*) FROM {name}")
                for name in await tables_of(superuser, first, 6)
            ]
        assert len(used) == 3
        assert min(used) > 0, "each slice holds somebody's rows"
        assert await world.audit() == []
        for tenant in communes:
            report = world.verify(await world.extract(first, world.today, tenant=tenant, category=brief.code))
            assert report.manifest.disclosed == 5
        await world.travel_to(first + 2 * DAY)
        await world.seal()
        await store.raise_fence(brief.code, first)
        world.service.keyring.keystore.raise_fence(brief.code, first)
        assert not await store.drop_day(brief.code, first)
        found = await world.audit()
        assert {finding.verdict for finding in found} == {"gap", "over-retention"}
        assert all(finding.reason.endswith("run the purge") for finding in found)
        assert (await store.day_figures(brief.code, first)).count in range(1, 3 * len(communes))
        async with world.another_process() as other:
            assert [(due.category, due.day) for due in await other.purger.run()] == [(brief.code, first)]
        assert await world.audit() == []
        for tenant in communes:
            report = world.verify(await world.extract(first, world.today, tenant=tenant, category=brief.code))
            assert report.purged is not None
            assert report.manifest.disclosed == 2
