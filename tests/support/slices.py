"""Days in slices without the hundreds of megabytes that it takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncpg


async def use_slices(owner: asyncpg.Connection, count: int) -> None:
    """Let every day that is made from now on have so many slices."""
    await owner.execute(
        "CREATE OR REPLACE FUNCTION journal.slices_needed(category_id smallint) RETURNS integer "
        f"LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp RETURN {count}"
    )
