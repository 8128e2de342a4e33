"""A category that is kept three days: purged from the third day on, gone before the fourth."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from journal.admin.administration import NewCategory
from tests.support.world import DAY, FIRST, OTHER_TENANT, TENANT, World, copied, new_world

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import date
    from pathlib import Path

    from journal.database.embedded import EmbeddedPostgres


# Kept three days: purged from the third day on, gone before the fourth.
BRIEF, BRIEF_DAYS = "breve", 3
LEAF = "journal.entry_6_{:%Y%m%d}"


@copied
@asynccontextmanager
async def brief_world(postgres: EmbeddedPostgres, home: Path) -> AsyncIterator[World]:
    """A service of two tenants, whose key store has a replica, with a category that is kept three days."""
    async with new_world(postgres, home, keystore_replicas=(str(home / "replica"),)) as world:
        await world.installation.administration.add_category(
            NewCategory(code=BRIEF, label="Brève", retention_days=BRIEF_DAYS)
        )
        await world.installation.maintenance.prepare()
        yield world


async def live(world: World, days: int, *, category: str = BRIEF, purge: bool = False) -> None:
    """Live so many days from the first: an entry of each commune, a seal; the next morning comes, unsealed."""
    for number in range(days):
        await world.travel_to(FIRST + number * DAY)
        for tenant in (TENANT, OTHER_TENANT):
            await world.record(1 + number % 2, tenant=tenant, category=category)
        await world.seal()
        if purge:
            await world.installation.purger.run()
    await world.travel_to(FIRST + days * DAY)


def key_files(world: World, day: date, category: str = BRIEF) -> list[Path]:
    """Return where the copies of a day's key are, or would be."""
    directories = [world.settings.keystore_path, world.settings.home_path / "replica"]
    return [directory / "days" / category / day.isoformat() for directory in directories]


async def leaves(world: World, category: str = BRIEF) -> list[date]:
    """Return the days that have a partition, up to today."""
    rows = await world.service.store.partitions()
    return [row.day for row in rows if row.category == category and row.day <= world.today]
