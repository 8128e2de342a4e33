"""Rows are never changed and never removed, but for a whole day that drops, and a destroyed tenant's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncpg
import pytest

from journal.core.errors import StoreError
from journal.database.ending import Announcement
from journal.database.heads import SealHeadRow
from tests.support.chains import CATEGORY, add_chains, append, fresh, midnight_after, seconds_until

if TYPE_CHECKING:
    from journal.database.store import Store
    from tests.support.clocks import MoveClock

# What may not be done to a table's rows even by its owner, who could still disable the triggers, or drop the table:
# against the owner stand the seals.
FIXED = ("migration", "chain", "entry", "seal_timestamp", "ended_chain")
KEPT = ("service", "tenant", "category", "head", "seal", "credential", "ending")


async def refused(owner: asyncpg.Connection, statement: str) -> None:
    """Assert that a trigger refuses a statement."""
    with pytest.raises(asyncpg.PostgresError, match="append-only") as caught:
        await owner.execute(statement)
    assert caught.value.sqlstate == "OJ001"


async def list_entry_tables(owner: asyncpg.Connection) -> list[str]:
    """Return the entry table, its categories' and its leaves, as the catalog has them."""
    rows = await owner.fetch("SELECT relid::regclass::text AS name FROM pg_partition_tree('journal.entry')")
    return [row["name"] for row in rows]


async def test_no_partition_lets_a_row_go(store: Store, owner: asyncpg.Connection) -> None:
    """Not the parent, not a category's table, not a leaf made this moment; not an empty one either."""
    (head,) = await add_chains(store, ["albi"])
    await append(store, head, fresh(1))
    await store.ensure_partitions(8)
    tables = await list_entry_tables(owner)
    assert len(tables) == 1 + 1 + 9
    for table in tables:
        await refused(owner, f"UPDATE {table} SET ciphertext = ''")
        await refused(owner, f"DELETE FROM {table}")
        await refused(owner, f"TRUNCATE {table}")
    assert await owner.fetchval("SELECT count(*) FROM journal.entry") == 1


@pytest.mark.parametrize("table", FIXED)
async def test_what_is_recorded_once_never_changes(store: Store, owner: asyncpg.Connection, table: str) -> None:
    """Neither a row's content nor its existence."""
    await add_chains(store, ["albi"])
    (column,) = await owner.fetchrow(
        "SELECT attname FROM pg_attribute WHERE attrelid = $1::regclass AND attnum > 0 LIMIT 1", f"journal.{table}"
    )
    await refused(owner, f"UPDATE journal.{table} SET {column} = {column}")
    await refused(owner, f"DELETE FROM journal.{table}")
    await refused(owner, f"TRUNCATE journal.{table} CASCADE")


@pytest.mark.parametrize("table", KEPT)
async def test_what_may_change_is_never_removed(store: Store, owner: asyncpg.Connection, table: str) -> None:
    """A head moves, a credential is revoked: neither disappears."""
    (head,) = await add_chains(store, ["albi"])
    await append(store, head, fresh(1))
    if table != "seal":
        await refused(owner, f"DELETE FROM journal.{table}")
    await refused(owner, f"TRUNCATE journal.{table} CASCADE")


async def test_seals_are_never_rewritten_and_only_old_open_ones_go(
    store: Store, owner: asyncpg.Connection, move_clock: MoveClock
) -> None:
    """A close seal cannot be deleted, an open one only after a week."""
    await add_chains(store, ["albi"])
    now = await store.read_now()
    assert await store.put_seal(1, None, now, b"open", b"", [])
    await move_clock(seconds=seconds_until(midnight_after(now.date())) + 10)
    await store.close_day(now.date())
    assert await store.put_seal(2, now.date(), await store.read_now(), b"close", b"", [])
    await refused(owner, "UPDATE journal.seal SET text = 'forged'")
    with pytest.raises(asyncpg.PostgresError, match="only open seals older than a week"):
        await owner.execute("DELETE FROM journal.seal WHERE number = 1")
    await move_clock(days=30)
    with pytest.raises(asyncpg.PostgresError, match="only open seals older than a week"):
        await owner.execute("DELETE FROM journal.seal WHERE number = 2")
    await owner.execute("DELETE FROM journal.seal WHERE number = 1")
    await refused(owner, "TRUNCATE journal.seal_head")


async def test_no_function_removes_a_row_of_a_live_tenant(store: Store, owner: asyncpg.Connection) -> None:
    """Whether the tenant is active, or closed and not yet destroyed; for every role and function."""
    heads = await add_chains(store, ["albi", "castres"])
    for head in heads:
        await append(store, head, fresh(2))
    day = (await store.read_now()).date()
    (leaf,) = [name for name in await list_entry_tables(owner) if name.endswith(f"{day:%Y%m%d}")]
    for _ in range(2):
        for attempt in (
            store.remove_entries("albi", CATEGORY, day, 10),
            store.remove_traces("albi"),
            store.empty_heads("albi"),
            store.finish_destruction("albi", 1, bytes(32)),
        ):
            with pytest.raises(StoreError, match="albi is not destroyed"):
                await attempt
        with pytest.raises(StoreError, match="albi is not closed, or its export is neither made nor waived"):
            await store.begin_destruction("albi", 1, bytes(32))
        # What the audited function says to the first trigger, the second does not believe.
        async with owner.transaction():
            await owner.execute("SET LOCAL journal.removing = 'on'")
            for statement in (f"DELETE FROM {leaf}", f"DELETE FROM {leaf} WHERE tenant = 'castres'"):
                with pytest.raises(asyncpg.PostgresError, match="append-only"):
                    async with owner.transaction():
                        await owner.execute(statement)
            with pytest.raises(asyncpg.PostgresError, match="append-only"):
                async with owner.transaction():
                    await owner.execute(f"UPDATE {leaf} SET ciphertext = ''")
        announcement = Announcement(certificate=b"DER", index=0, leaf_hash=bytes(32))
        await store.close_tenant("albi", announcement)
    assert await owner.fetchval("SELECT count(*) FROM journal.entry") == 4


async def test_only_a_destroyed_tenants_rows_go(store: Store, owner: asyncpg.Connection) -> None:
    """In small steps, through the one function; the others' stay, and the seals must say it in the end."""
    albi, castres = await add_chains(store, ["albi", "castres"])
    await append(store, albi, fresh(5))
    await append(store, castres, fresh(2))
    now = await store.read_now()
    assert await store.put_seal(1, None, now, b"open", b"", [])
    assert await store.close_tenant("albi")
    assert await store.begin_destruction("albi", 1, bytes(32))
    assert not await store.begin_destruction("albi", 1, bytes(32))
    with pytest.raises(StoreError, match="entries of albi are still kept"):
        await store.empty_heads("albi")
    (leaf,) = [name for name in await list_entry_tables(owner) if name.endswith(f"{now:%Y%m%d}")]
    await refused(owner, f"DELETE FROM {leaf} WHERE tenant = 'albi'")
    removed = [await store.remove_entries("albi", CATEGORY, now.date(), 2) for _ in range(4)]
    assert removed == [2, 2, 1, 0]
    await store.remove_traces("albi")
    assert await store.empty_heads("albi") == 1
    with pytest.raises(StoreError, match="seal 2 does not say"):
        await add_sealed_head(store, albi.chain_hash)
    assert await owner.fetch("SELECT DISTINCT tenant FROM journal.entry") == [("castres",)]
    # Said once, it holds for this function's own deletions alone.
    await refused(owner, f"DELETE FROM {leaf}")


async def add_sealed_head(store: Store, chain_hash: bytes) -> None:
    """Say that the destruction is done under a seal that states entries."""
    head = SealHeadRow(tenant="albi", category=CATEGORY, size=5, chain_hash=chain_hash, kept_from=0, retention_days=60)
    assert await store.put_seal(2, None, await store.read_now(), b"open", b"", [head])
    await store.finish_destruction("albi", 2, bytes(32))
