"""Days closed and sealed in the database alone, and transactions that wait for one another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from journal.database.heads import SealHeadRow
from tests.support.chains import midnight_after, seconds_until

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence
    from datetime import date

    import asyncpg

    from journal.database.heads import HeadRow
    from journal.database.store import Store


def sealed(head: HeadRow) -> SealHeadRow:
    """Return a head as a seal keeps it."""
    return SealHeadRow(
        tenant=head.tenant,
        category=head.category,
        size=head.size,
        chain_hash=head.chain_hash,
        kept_from=head.kept_from,
        retention_days=head.retention_days,
    )


def moved_of(heads: Sequence[HeadRow], before: Sequence[SealHeadRow]) -> list[SealHeadRow]:
    """Return the heads that differ from what the seal before saw."""
    return [row for row in map(sealed, heads) if row not in before]


async def close(store: Store, day: date) -> int:
    """Close a day that is over, seal it; return the seal's number."""
    heads = await store.close_day(day)
    state = await store.seal_state()
    moved = moved_of(heads, await store.heads_of_seal(state.number))
    assert await store.put_seal(state.number + 1, day, state.now, b"close", b"signature", moved)
    return state.number + 1


def after(day: date, seconds: float = 10) -> dict[str, float]:
    """Return what `move_clock` needs to stand some seconds after a day's end."""
    return {"seconds": seconds_until(midnight_after(day)) + seconds}


async def until_waiting(owner: asyncpg.Connection, kind: str, task: asyncio.Task[Any]) -> None:
    """Return once some transaction waits for a lock of this kind, which `task` must not do without."""
    while not await owner.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = $1", kind):
        assert not task.done()
