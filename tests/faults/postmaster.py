"""A PostgreSQL that is killed and started again, and its processes."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING

import asyncpg

from journal.core.errors import OperatorError

if TYPE_CHECKING:
    from journal.database.embedded import EmbeddedPostgres
    from tests.support.serving import Site


RESTART_LIMIT_SECONDS = 60
BACKENDS = {
    "a backend that appends": "usename = 'journal_ingest'",
    "the WAL writer": "backend_type = 'walwriter'",
    "the checkpointer": "backend_type = 'checkpointer'",
}


async def kill(cluster: EmbeddedPostgres) -> None:
    """Kill the postmaster; its backends end by themselves when they notice."""
    assert cluster.pid is not None
    os.kill(cluster.pid, signal.SIGKILL)
    await asyncio.to_thread(cluster.stop)


async def restart(cluster: EmbeddedPostgres) -> None:
    """Start the database again, once the last backend of the old one has released its shared memory."""
    async with asyncio.timeout(RESTART_LIMIT_SECONDS):
        while True:
            try:
                await asyncio.to_thread(cluster.start)
            except OperatorError as error:
                if "shared memory" not in str(error):
                    raise
            else:
                return


async def backends(site: Site, which: str) -> list[int]:
    """Return the processes of the database of this kind, those that work first."""
    query = (
        f"SELECT pid FROM pg_stat_activity WHERE {which} ORDER BY state = 'active' DESC NULLS LAST, query_start DESC"
    )
    try:
        connection = await asyncpg.connect(site.superuser_dsn)
    except (OSError, asyncpg.PostgresError):
        return []
    try:
        return [row["pid"] for row in await connection.fetch(query)]
    finally:
        await connection.close()
