"""`python -m tests.support.catalog`: make `sql/catalog.json` anew from `sql/schema.sql`, on a server made for it."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import asyncpg

from journal.database.catalog import digest_catalog, read_catalog, write_expected
from journal.database.embedded import OWNER, EmbeddedPostgres
from journal.database.migrate import migrate

FILE = Path(__file__).parents[2] / "sql" / "catalog.json"


async def describe(dsn: str) -> str:
    """Return the text of the file, from a database that was migrated and nothing else."""
    connection = await asyncpg.connect(dsn)
    try:
        return write_expected(digest_catalog(await read_catalog(connection), OWNER))
    finally:
        await connection.close()


def main() -> None:
    """Write the file."""
    with tempfile.TemporaryDirectory(prefix="oej-catalog-") as home, EmbeddedPostgres(Path(home)) as server:
        asyncio.run(migrate(server.dsn()))
        FILE.write_text(asyncio.run(describe(server.dsn())), encoding="utf-8")


if __name__ == "__main__":
    main()
