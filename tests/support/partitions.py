"""The days of a category on disk: counted, dropped."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.chains import CATEGORY

if TYPE_CHECKING:
    from datetime import date

    import asyncpg

    from journal.database.store import Store


async def drop(store: Store, day: date, category: str = CATEGORY) -> int:
    """Drop a day to its end; return in how many steps."""
    steps = 1
    while not await store.drop_day(category, day):
        steps += 1
    return steps


async def rows_of(owner: asyncpg.Connection, day: date) -> int:
    """Count what is on disk of a day, attached or not."""
    return sum([await owner.fetchval(f"SELECT count(*) FROM {name}") for name in await tables_of(owner, day)])


async def tables_of(owner: asyncpg.Connection, day: date, category: int = 1) -> list[str]:
    """Return the tables that hold a day's rows."""
    rows = await owner.fetch(
        "SELECT oid::regclass::text FROM pg_class WHERE relname ~ $1 AND relkind = 'r' ORDER BY oid",
        f"^entry_{category}_{day:%Y%m%d}(_[0-9]+)?$",
    )
    return [name for (name,) in rows]


async def days_of(store: Store, category: str = CATEGORY) -> list[date]:
    """Return a category's days on disk, all attached."""
    rows = [row for row in await store.partitions() if row.category == category]
    assert all(row.attached for row in rows)
    return [row.day for row in rows]
