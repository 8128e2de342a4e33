"""Rows are never changed and never removed, but for the one function that drops a whole day."""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncpg
import pytest

from tests.chains import add_chains, append, fresh, midnight_after, seconds_until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from journal.store import Store

    MoveClock = Callable[..., Awaitable[None]]

# What may not be done to a table's rows even by its owner, who could still disable the triggers, or drop the table:
# against the owner stand the seals.
FIXED = ("migration", "chain", "entry", "seal_timestamp")
KEPT = ("service", "tenant", "category", "head", "seal", "credential")


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
        await refused(owner, f"UPDATE {table} SET sealed = ''")
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
    """A close seal stays for ever, an open one for a week."""
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
