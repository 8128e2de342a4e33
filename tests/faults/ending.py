"""A process that ends a contract, on the tests' clock, to be killed; its extracts have no documents."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from journal.cli.installation import open_service
from journal.cli.logs import configure_logs
from journal.clock import SimulatedClock
from journal.document import makers
from tests.support.documents import start_nothing
from tests.support.ending import PEM
from tests.support.forkserver import processes
from tests.support.world import TENANT

if TYPE_CHECKING:
    from datetime import timedelta
    from multiprocessing.connection import Connection
    from multiprocessing.context import ForkServerProcess
    from pathlib import Path

    from journal.settings import Settings


async def end(dsn: str, settings: Settings, offset: timedelta, step: str, root: Path, begins: Connection) -> None:
    """Say that it begins, then close the commune or destroy it."""
    async with open_service(dsn, settings, SimulatedClock(offset)) as installation:
        begins.send_bytes(b"begins")
        if step == "close":
            await installation.closing.close(TENANT, root, PEM)
        else:
            await installation.destruction.run(TENANT, lambda _: None)


def main(dsn: str, settings: Settings, offset: timedelta, step: str, root: Path, begins: Connection) -> None:
    """Be the process."""
    configure_logs(quiet=True)
    makers.start_origin = start_nothing
    asyncio.run(end(dsn, settings, offset, step, root, begins))


async def start(dsn: str, settings: Settings, offset: timedelta, step: str, root: Path) -> ForkServerProcess:
    """Start a step, from a process that has imported everything; return it once it begins."""
    context = processes()
    ours, theirs = context.Pipe(duplex=False)
    arguments = (dsn, settings, offset, step, root, theirs)
    process = context.Process(target=main, args=arguments, daemon=True)
    process.start()
    theirs.close()
    assert await asyncio.to_thread(ours.recv_bytes) == b"begins"
    ours.close()
    return process
