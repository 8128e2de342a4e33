"""A process that hands over what is due, on the tests' clock, to be killed; its extracts have no documents."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from journal.cli.installation import open_service
from journal.cli.logs import configure_logs
from journal.clock import SimulatedClock
from journal.document import makers
from tests.support.documents import start_nothing
from tests.support.forkserver import processes

if TYPE_CHECKING:
    from datetime import timedelta
    from multiprocessing.connection import Connection
    from multiprocessing.context import ForkServerProcess

    from journal.settings import Settings


async def hand_over(dsn: str, settings: Settings, offset: timedelta, begins: Connection) -> None:
    """Say that it begins, then hand over."""
    async with open_service(dsn, settings, SimulatedClock(offset)) as installation:
        begins.send_bytes(b"begins")
        await installation.handover.run()


def main(dsn: str, settings: Settings, offset: timedelta, begins: Connection) -> None:
    """Be the process."""
    configure_logs(quiet=True)
    makers.start_origin = start_nothing
    asyncio.run(hand_over(dsn, settings, offset, begins))


async def start(dsn: str, settings: Settings, offset: timedelta) -> ForkServerProcess:
    """Start a hand-over, from a process that has imported everything; return it once it begins."""
    context = processes()
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=main, args=(dsn, settings, offset, theirs), daemon=True)
    process.start()
    theirs.close()
    assert await asyncio.to_thread(ours.recv_bytes) == b"begins"
    ours.close()
    return process
