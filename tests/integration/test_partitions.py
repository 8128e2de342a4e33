"""Partitions: made ahead, dropped whole once fenced and sealed, and never in the way of appends and reads."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

import asyncpg
import pytest

import sql
from journal.clock import SystemClock
from journal.core.errors import LockedError, StoreError
from journal.database.ingest import append_arguments
from journal.database.purge import DayFigures
from journal.database.store import Store
from retention.maintenance import politely
from tests.support.chains import (
    CATEGORY,
    add_chains,
    append,
    batch,
    fresh,
    genesis_of,
    midnight_after,
    read_chain,
    seconds_until,
)
from tests.support.closing import after, close, until_waiting
from tests.support.partitions import days_of, drop, rows_of, tables_of
from tests.support.slices import use_slices

if TYPE_CHECKING:
    from datetime import date

    from journal.database.heads import HeadRow
    from tests.support.clocks import MoveClock


@pytest.fixture(autouse=True, params=[1, 3], ids=["whole", "sliced"])
async def slices(request: pytest.FixtureRequest, store: Store, owner: asyncpg.Connection) -> int:
    """Make every day a table, or three: everything holds of both."""
    assert store  # the schema is there
    count: int = request.param
    await use_slices(owner, count)
    return count


async def day_of(store: Store) -> date:
    """Return the database's day."""
    return (await store.read_now()).date()


@pytest.fixture
async def past_day(store: Store, move_clock: MoveClock) -> tuple[list[HeadRow], date]:
    """Give two chains with entries of a day that is closed and sealed; it is the next day now."""
    albi, castres = await add_chains(store, ["albi", "castres"])
    day = await day_of(store)
    heads = [await append(store, albi, fresh(3)), await append(store, castres, fresh(2))]
    await move_clock(**after(day))
    await close(store, day)
    return heads, day


async def test_partitions_are_made_from_the_first_day_to_some_days_ahead(store: Store, move_clock: MoveClock) -> None:
    """Once each; after a long stop, the days gone by too, for a day without partition cannot be closed."""
    await add_chains(store, ["albi"])
    day = await day_of(store)
    assert await days_of(store) == [day + timedelta(days=number) for number in range(8)]
    assert await store.ensure_partitions(7) == []
    await move_clock(days=20)
    made = await store.ensure_partitions(0)
    assert len(made) == 13
    assert await days_of(store) == [day + timedelta(days=number) for number in range(21)]


async def test_two_maintainers_at_once_are_harmless(store: Store, dsn: str) -> None:
    """Together they make each partition once."""
    await add_chains(store, ["albi"])
    async with await Store.connect(dsn, application="other") as other:
        clock = SystemClock()
        made = await asyncio.gather(
            *(politely(clock, partial(maintainer.ensure_partitions, 30)) for maintainer in (store, other))
        )
    assert len(await days_of(store)) == 31
    assert sum(len(names) for names in made) <= 23


async def test_a_destroyed_day_is_never_made_again(store: Store, move_clock: MoveClock) -> None:
    """Partitions begin after the fence."""
    await add_chains(store, ["albi"])
    day = await day_of(store)
    await move_clock(days=10)
    await store.raise_fence(CATEGORY, day + timedelta(days=12))
    await store.ensure_partitions(14)
    days = await days_of(store)
    assert day + timedelta(days=12) not in days
    assert day + timedelta(days=13) in days


async def test_every_partition_is_a_whole_one(store: Store, owner: asyncpg.Connection, slices: int) -> None:
    """Each leaf has its two unique indexes, its append-only triggers, its checks, and uncompressed ciphertext."""
    await add_chains(store, ["albi"], ["ecrits", "main-courante"])
    leaves = await owner.fetch("SELECT relid::oid FROM pg_partition_tree('journal.entry') WHERE level >= 2")
    assert len(leaves) == 16 * (slices + (slices > 1))
    for (relid,) in leaves:
        indexes = await owner.fetch(
            "SELECT pg_get_indexdef(indexrelid, 0, true) AS text FROM pg_index WHERE indrelid = $1 AND indisunique",
            relid,
        )
        assert {row["text"].rpartition(" USING ")[2] for row in indexes} == {
            "btree (tenant, index)",
            "btree (event_key, tenant)",
        }
        triggers = await owner.fetch("SELECT tgname, tgenabled FROM pg_trigger WHERE tgrelid = $1", relid)
        assert {tuple(row) for row in triggers} == {("entry_append_only", b"O"), ("entry_kept", b"O")}
        assert (
            await owner.fetchval("SELECT count(*) FROM pg_constraint WHERE conrelid = $1 AND contype = 'c'", relid) == 4
        )
        storage = "SELECT attstorage FROM pg_attribute WHERE attrelid = $1 AND attname = 'ciphertext'"
        assert await owner.fetchval(storage, relid) == b"e"
    default = "SELECT count(*) FROM pg_partitioned_table WHERE partdefid <> 0"
    assert await owner.fetchval(default) == 0


async def test_making_partitions_stops_neither_appends_nor_reads(store: Store, owner: asyncpg.Connection) -> None:
    """While a transaction that makes them is open, entries are appended and read."""
    (head,) = await add_chains(store, ["albi"])
    async with owner.transaction():
        assert len(await owner.fetch("SELECT journal.ensure_partitions(9)")) == 2
        head = await append(store, head, fresh(1))
        assert len(await read_chain(store, head, await day_of(store))) == 1


async def test_a_sealed_fenced_day_is_dropped(store: Store, past_day: tuple[list[HeadRow], date], slices: int) -> None:
    """Rows, counters and partition go; the next day and other categories stay; again is harmless."""
    heads, day = past_day
    head = await append(store, heads[0], fresh(1))
    await store.raise_fence(CATEGORY, day)
    assert await drop(store, day) == slices + (slices > 1)
    assert await days_of(store) == [day + timedelta(days=number) for number in range(1, 8)]
    assert len(await read_chain(store, head, day + timedelta(days=1))) == 1
    assert [row.day for row in await store.read_activity("albi")] == [day + timedelta(days=1)]
    assert await store.read_activity("castres") == []
    assert await store.drop_day(CATEGORY, day)


async def test_two_purgers_at_once_drop_a_day_once(
    store: Store, dsn: str, past_day: tuple[list[HeadRow], date], slices: int
) -> None:
    """Each table is dropped by one; the others find it gone or are told to come back."""
    _, day = past_day
    await store.raise_fence(CATEGORY, day)
    async with await Store.connect(dsn, application="other", pool_sizes={"purge": 4}) as other:
        results = await asyncio.gather(
            *(other.drop_day(CATEGORY, day) for _ in range(4 * slices)), return_exceptions=True
        )
        assert all(isinstance(result, bool | LockedError) for result in results)
        await drop(other, day)
    assert day not in await days_of(store)


async def test_a_day_is_not_dropped_before_its_fence_and_its_seal(
    store: Store, past_day: tuple[list[HeadRow], date]
) -> None:
    """Without the fence it could be written again, without the seal nothing would show what went."""
    _, day = past_day
    today = day + timedelta(days=1)
    with pytest.raises(StoreError, match="fence"):
        await store.drop_day(CATEGORY, day)
    await store.raise_fence(CATEGORY, day)
    with pytest.raises(StoreError, match="fence"):
        await store.drop_day(CATEGORY, today)
    await store.raise_fence(CATEGORY, today)
    with pytest.raises(StoreError, match="no close seal"):
        await store.drop_day(CATEGORY, today)
    with pytest.raises(StoreError, match="no such category"):
        await store.drop_day("ghost", day)


async def test_a_fence_never_goes_back(store: Store) -> None:
    """A lower one changes nothing, and says where it stands."""
    await add_chains(store, ["albi"])
    day = await day_of(store)
    assert await store.raise_fence(CATEGORY, day) == day
    assert await store.raise_fence(CATEGORY, day - timedelta(days=3)) == day
    (category,) = await store.read_categories()
    assert category.fence == day
    with pytest.raises(StoreError, match="no such category"):
        await store.raise_fence("ghost", day)


async def test_a_fenced_day_is_read_no_more(store: Store, past_day: tuple[list[HeadRow], date]) -> None:
    """Between the fence and the drop, the rows on disk are already nobody's."""
    heads, day = past_day
    assert len(await read_chain(store, heads[0], day)) == 3
    await store.raise_fence(CATEGORY, day)
    with pytest.raises(StoreError, match="purged"):
        await read_chain(store, heads[0], day)


async def test_reading_days_that_are_not_there(store: Store, owner: asyncpg.Connection) -> None:
    """Before the category existed there is nothing; a partition that should be there and is not is an error."""
    (head,) = await add_chains(store, ["albi"])
    day = await day_of(store)
    assert await read_chain(store, head, day - timedelta(days=1)) == []
    assert await read_chain(store, head, day) == []
    with pytest.raises(StoreError, match="there is no partition"):
        await read_chain(store, head, day + timedelta(days=8))
    await owner.execute(f"DROP TABLE journal.entry_1_{day:%Y%m%d}")
    with pytest.raises(StoreError, match="there is no partition"):
        await read_chain(store, head, day)
    with pytest.raises(StoreError, match="no such category"):
        await store.read_entries("albi", "ghost", day, 0, 10)


async def test_pages_are_keyset_pages(store: Store) -> None:
    """A page starts at an index, whatever its place, and is as short as asked."""
    (head,) = await add_chains(store, ["albi"])
    await append(store, head, fresh(10))
    day = await day_of(store)
    for first, limit in ((0, 4), (4, 4), (8, 4), (10, 4)):
        rows = await store.read_entries("albi", CATEGORY, day, first, limit)
        assert [row.index for row in rows] == list(range(first, min(first + limit, 10)))


async def test_a_page_costs_what_it_holds(store: Store, dsn: str) -> None:
    """It is found by its index, not among all that follow, also while the planner knows nothing of a new day."""
    (head,) = await add_chains(store, ["albi"])
    await append(store, head, fresh(3000))
    day = await day_of(store)
    connection = await asyncpg.connect(dsn)
    try:
        for call in ("read_entries('albi', $1, $2, 0, 10)", "scan_entries($1, $2, '', -1, 10)"):
            # What is read of the catalog, too, is read the first time.
            for _ in range(2):
                explained = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT * FROM journal.{call}"
                plan = json.loads(await connection.fetchval(explained, CATEGORY, day))[0]["Plan"]
            assert plan["Actual Rows"] == 10
            # All that follow are on a hundred.
            assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < 30
    finally:
        await connection.close()


async def test_a_read_under_way_delays_the_drop(store: Store, dsn: str, past_day: tuple[list[HeadRow], date]) -> None:
    """The purge does not queue behind a reader, with everyone else behind it: it gives up at once and comes back."""
    _, day = past_day
    await store.raise_fence(CATEGORY, day)
    reader = await asyncpg.connect(dsn)
    async with reader.transaction():
        await reader.fetch(f"SELECT FROM journal.entry_1_{day:%Y%m%d} LIMIT 1")
        with pytest.raises(LockedError):
            await store.drop_day(CATEGORY, day)
        assert day in await days_of(store)
    await reader.close()
    await drop(store, day)
    assert day not in await days_of(store)


async def test_a_drop_that_waits_stops_no_other_day(
    store: Store, owner: asyncpg.Connection, dsn: str, past_day: tuple[list[HeadRow], date]
) -> None:
    """While it waits for whoever reads the day, the table that all days share is free."""
    _, day = past_day
    await store.raise_fence(CATEGORY, day)
    reader = await asyncpg.connect(dsn)
    async with reader.transaction():
        await reader.fetch(f"SELECT FROM journal.entry_1_{day:%Y%m%d} LIMIT 1")
        dropping = asyncio.create_task(store.drop_day(CATEGORY, day))
        await until_waiting(owner, "relation", dropping)
        await owner.execute("SET lock_timeout = '20ms'")
        await owner.fetch(f"SELECT FROM journal.entry_1 WHERE day = '{day + timedelta(days=1)}' LIMIT 1")
        with pytest.raises(LockedError):
            await dropping
    await reader.close()


async def test_an_append_under_way_delays_the_drop(
    store: Store, owner: asyncpg.Connection, dsn: str, past_day: tuple[list[HeadRow], date]
) -> None:
    """It goes by the table that all days share: the purge gives up at once, what queued behind it is recorded."""
    (albi, castres), day = past_day
    await store.raise_fence(CATEGORY, day)
    made = batch([(albi, fresh(4))], await store.read_now())
    writer = await asyncpg.connect(dsn)
    async with writer.transaction():
        await writer.fetch(sql.load("ingest")["append"], *append_arguments(made))
        dropping = asyncio.create_task(drop(store, day))
        await until_waiting(owner, "relation", dropping)
        assert (await append(store, castres, fresh(2))).size == castres.size + 2
        with pytest.raises(LockedError):
            await dropping
    await writer.close()
    await drop(store, day)
    assert day not in await days_of(store)
    assert len(await read_chain(store, albi, day + timedelta(days=1))) == 4


async def test_how_much_of_a_day_there_is(
    store: Store, owner: asyncpg.Connection, past_day: tuple[list[HeadRow], date]
) -> None:
    """Rows, chains and bytes of what is on disk, whoever shows it; nothing of a day that is not there."""
    heads, day = past_day
    leaf = f"journal.entry_1_{day:%Y%m%d}"
    sizes = "SELECT sum(pg_total_relation_size(name::regclass)) FROM unnest($1::text[]) AS name"
    size = await owner.fetchval(sizes, await tables_of(owner, day))
    assert size > 0
    assert await store.day_figures(CATEGORY, day) == DayFigures(count=5, chains=2, disk_bytes=size)
    await append(store, heads[0], fresh(4))
    assert (await store.day_figures(CATEGORY, day + timedelta(days=1))).count == 4
    await owner.execute(f"ALTER TABLE journal.entry_1 DETACH PARTITION {leaf}")
    assert await store.day_figures(CATEGORY, day) == DayFigures(count=5, chains=2, disk_bytes=size)
    nothing = DayFigures(count=0, chains=0, disk_bytes=0)
    assert await store.day_figures(CATEGORY, day - timedelta(days=1)) == nothing
    assert await store.day_figures("ghost", day) == nothing


async def test_the_fence_waits_for_the_appends_under_way(store: Store, owner: asyncpg.Connection) -> None:
    """Once it is raised, nobody is still looking for copies in what will be dropped."""
    await add_chains(store, ["albi"])
    day = await day_of(store)
    async with owner.transaction():
        await owner.execute("SELECT journal.lock_heads('{albi}', '{main-courante}')")
        raising = asyncio.create_task(store.raise_fence(CATEGORY, day))
        await until_waiting(owner, "advisory", raising)
    assert await raising == day


async def test_the_base_moves_to_the_close_of_the_last_purged_day(
    store: Store, past_day: tuple[list[HeadRow], date]
) -> None:
    """For every chain of the category, and only once nothing of those days is kept."""
    heads, day = past_day
    await append(store, heads[0], fresh(4))
    with pytest.raises(StoreError, match="still kept"):
        await store.move_kept_from(CATEGORY, day)
    with pytest.raises(StoreError, match="no close seal"):
        await store.move_kept_from(CATEGORY, day + timedelta(days=1))
    await store.raise_fence(CATEGORY, day)
    while not await store.drop_day(CATEGORY, day):
        with pytest.raises(StoreError, match="still kept"):
            await store.move_kept_from(CATEGORY, day)
    assert await store.move_kept_from(CATEGORY, day) == 2
    rows = await store.read_heads(["albi", "castres"], [CATEGORY] * 2)
    assert [(row.size, row.kept_from) for row in rows] == [(7, 3), (2, 2)]
    assert await store.move_kept_from(CATEGORY, day) == 0


async def test_a_purge_is_resumed_after_any_step(store: Store, move_clock: MoveClock) -> None:
    """Each step again, and the steps after it, end in the same state."""
    (head,) = await add_chains(store, ["albi"], retention_days=2)
    day = await day_of(store)
    head = await append(store, head, fresh(2))
    await move_clock(**after(day))
    await close(store, day)
    for _ in range(2):
        await store.raise_fence(CATEGORY, day)
    for _ in range(2):
        await drop(store, day)
    for _ in range(2):
        await store.move_kept_from(CATEGORY, day)
    (row,) = await store.read_heads(["albi"], [CATEGORY])
    assert (row.size, row.kept_from, row.chain_hash) == (2, 2, head.chain_hash)
    await append(store, row, fresh(1))


async def test_a_detached_partition_is_still_seen_and_dropped(
    store: Store, owner: asyncpg.Connection, past_day: tuple[list[HeadRow], date]
) -> None:
    """An interrupted operation may leave one: the parent no longer shows it, the disk still holds it."""
    _, day = past_day
    await owner.execute(f"ALTER TABLE journal.entry_1 DETACH PARTITION journal.entry_1_{day:%Y%m%d}")
    assert [row.day for row in await store.partitions() if not row.attached] == [day]
    await store.raise_fence(CATEGORY, day)
    assert await rows_of(owner, day) == 5
    await drop(store, day)
    assert day not in await days_of(store)
    assert await tables_of(owner, day) == []


async def test_an_interrupted_detachment_is_seen_and_dropped(
    store: Store, owner: asyncpg.Connection, dsn: str, past_day: tuple[list[HeadRow], date]
) -> None:
    """Pending for ever, it would hide the rows from the parent and leave them on disk."""
    _, day = past_day
    leaf = f"entry_1_{day:%Y%m%d}"
    reader, detacher = await asyncpg.connect(dsn), await asyncpg.connect(dsn)
    async with reader.transaction():
        await reader.fetch("SELECT FROM journal.entry_1 LIMIT 1")
        detaching = asyncio.create_task(
            detacher.execute(f"ALTER TABLE journal.entry_1 DETACH PARTITION journal.{leaf} CONCURRENTLY")
        )
        await until_waiting(owner, "virtualxid", detaching)
        await owner.execute("SELECT pg_cancel_backend($1)", detacher.get_server_pid())
        with pytest.raises(asyncpg.QueryCanceledError):
            await detaching
    await reader.close()
    await detacher.close()
    pending = "SELECT count(*) FROM pg_inherits WHERE inhdetachpending"
    assert await owner.fetchval(pending) == 1
    assert [row.day for row in await store.partitions() if not row.attached] == [day]
    await store.raise_fence(CATEGORY, day)
    assert await rows_of(owner, day) == 5
    await drop(store, day)
    assert await tables_of(owner, day) == []
    assert await owner.fetchval(pending) == 0
    assert await owner.fetchval("SELECT to_regclass($1)", f"journal.{leaf}") is None


async def test_a_category_made_later_has_its_own_first_day(store: Store, move_clock: MoveClock) -> None:
    """Days before it need no partition, no seal of their own, and have nothing to purge."""
    await add_chains(store, ["albi"])
    day = await day_of(store)
    await move_clock(seconds=seconds_until(midnight_after(day)) + 60)
    await store.add_category(
        "ecrits",
        label="e",
        regime="LED",
        retention_days=2,
        needs_authorisation=True,
        genesis={"albi": genesis_of("albi", "ecrits")},
    )
    await store.ensure_partitions(0)
    assert await days_of(store, "ecrits") == [day + timedelta(days=1)]
    await store.raise_fence("ecrits", day)
    assert await store.drop_day("ecrits", day)
