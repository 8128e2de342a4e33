"""A category kept ten days, whose rule is changed."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from journal.admin.administration import NewCategory
from tests.support.world import DAY, FIRST, OTHER_TENANT, World, copied, new_world

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from journal.database.embedded import EmbeddedPostgres
    from journal.database.ingest import CategoryRow


LONG = NewCategory(code="longue", label="Longue", retention_days=10)


@copied
@asynccontextmanager
async def long_world(postgres: EmbeddedPostgres, home: Path) -> AsyncIterator[World]:
    """A service of two tenants with a category kept ten days."""
    async with new_world(postgres, home) as world:
        await world.installation.administration.add_category(LONG)
        await world.installation.maintenance.prepare()
        yield world


async def live(world: World, first: int, last: int, *, empty: tuple[int, ...] = ()) -> None:
    """Live from one day to another, both included, counted from 0: entries, a seal, the purge; then to the morning."""
    for number in range(first, last + 1):
        await world.travel_to(FIRST + number * DAY)
        if number not in empty:
            await world.record(2, category=LONG.code)
            await world.record(1, category=LONG.code, tenant=OTHER_TENANT)
        await world.seal()
        await world.installation.purger.run()
    await world.travel_to(FIRST + (last + 1) * DAY)
    await world.seal()
    await world.installation.purger.run()


async def row_of(world: World) -> CategoryRow:
    """Return the category."""
    return next(row for row in await world.service.store.read_categories() if row.code == LONG.code)


async def set_days(world: World, days: int) -> CategoryRow:
    """Change the rule, as the operator does."""
    return await world.installation.administration.set_category(LONG.code, instruction="I-1", retention_days=days)
