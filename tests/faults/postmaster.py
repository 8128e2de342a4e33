"""A PostgreSQL that is killed and started again."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING

from journal.core.errors import OperatorError

if TYPE_CHECKING:
    from journal.database.embedded import EmbeddedPostgres


RESTART_LIMIT_SECONDS = 60


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
