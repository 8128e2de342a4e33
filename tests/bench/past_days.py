"""Days that are over, as years leave them: their partitions and keys are made as time passes, their rows are put in.

The rows are those of chains of communes that nobody knows, so neither do the seals.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

from journal.cli.installation import simulate_clock

if TYPE_CHECKING:
    import asyncpg

    from journal.clock import SimulatedClock
    from tests.bench.site import Site

COMMUNES = 200  # more than a day has slices, so that none of them is much larger
FILL = """
INSERT INTO journal.{leaf} (index, day, tenant, category, event_key, leaf_hash, chain_hash, ciphertext)
SELECT n / {communes}, $2, $3 || n % {communes}, $4, decode(md5(n::text), 'hex'), sha256(n::text::bytea),
       sha256(n::text::bytea), decode(repeat(md5(n::text), 27), 'hex')
  FROM generate_series(0::bigint, $1::bigint - 1) AS n
"""
TABLES = """
SELECT relid::regclass::text FROM pg_partition_tree($1::text::regclass) WHERE isleaf
"""


async def travel(site: Site, clock: SimulatedClock, moment: datetime) -> None:
    """Have it be this moment, for the service and for its database, and make what the next days need."""
    clock.offset = moment - datetime.now(UTC)
    await simulate_clock(site.dsn, clock.offset)
    await site.service.snapshot.refresh()
    await site.installation.maintenance.prepare()


async def find_leaf(superuser: asyncpg.Connection, category: str, day: date) -> str:
    """Return the table of a day of a category."""
    number = await superuser.fetchval("SELECT id FROM journal.category WHERE code = $1", category)
    return f"journal.entry_{number}_{day:%Y%m%d}"


async def fill_day(superuser: asyncpg.Connection, category: str, day: date, entries: int) -> None:
    """Put so many entries into a day of a category; the superuser's session ignores triggers."""
    leaf = await find_leaf(superuser, category, day)
    # A day two months old was vacuumed long ago: a vacuum that begins now would only be in the way.
    for (table,) in await superuser.fetch(TABLES, leaf):
        await superuser.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = off)")
    fill = FILL.format(leaf=leaf.removeprefix("journal."), communes=COMMUNES)
    await superuser.execute(fill, entries, day, "bulk", category)
