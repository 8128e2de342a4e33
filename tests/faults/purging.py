"""The real purge in a process of its own, on the tests' clock; it or its PostgreSQL is killed at a chosen point.

Processes are forked from one that has imported everything: what is killed is then the purge, not Python's start.
"""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from journal.cli.installation import open_service
from journal.cli.logs import configure_logs
from journal.clock import SimulatedClock
from journal.core.errors import JournalError
from journal.keys import store as keystore
from journal.keys import wrapped as wrapped_keys
from tests.support.forkserver import processes

if TYPE_CHECKING:
    from datetime import timedelta
    from multiprocessing.context import ForkServerProcess

    from journal.settings import Settings
    from retention.purge_steps import Boundary, Step

END_LIMIT_SECONDS = 60
FAILED = 1
NOT_REACHED = 3
FILE_OPERATIONS = ((keystore, "replace_durably"), (wrapped_keys, "shred_file"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """When to kill, and whom: before or after a step, or around a change of a file in the key store, counted from 1."""

    after: bool
    step: Step | None = None
    file_operation: int = 0
    postmaster: int | None = None  # None: the purge itself

    def now(self) -> None:
        """Kill."""
        os.kill(self.postmaster or os.getpid(), signal.SIGKILL)


async def purge(dsn: str, settings: Settings, offset: timedelta, kill: Kill | None) -> bool:
    """Purge what is due; tell whether the moment to kill came."""
    reached = kill is None

    def watch(boundary: Boundary) -> None:
        nonlocal reached
        if not reached and kill is not None and (boundary.step, boundary.is_done) == (kill.step, kill.after):
            reached = True
            kill.now()

    async with open_service(dsn, settings, SimulatedClock(offset)) as installation:
        if kill is not None and kill.file_operation:
            _kill_around_files(kill)
        await installation.purger.run(on_step=watch)
    return reached


def _kill_around_files(kill: Kill) -> None:
    """Let the key store's n-th change of a file be its last: one copy of several then has it, or has it not."""
    count = 0

    def around(change: Any) -> Any:
        def changed(*arguments: Any) -> None:
            nonlocal count
            count += 1
            if count == kill.file_operation and not kill.after:
                kill.now()
            change(*arguments)
            if count == kill.file_operation and kill.after:
                kill.now()

        return changed

    for module, name in FILE_OPERATIONS:
        setattr(module, name, around(getattr(module, name)))


def main(dsn: str, settings: Settings, offset: timedelta, kill: Kill | None) -> None:
    """Be the process: 0 once purged, 1 where that failed, NOT_REACHED where the moment to kill never came."""
    configure_logs(quiet=True)
    try:
        reached = asyncio.run(purge(dsn, settings, offset, kill))
    except (JournalError, OSError):
        raise SystemExit(FAILED) from None
    if not reached:
        raise SystemExit(NOT_REACHED)


def start(dsn: str, settings: Settings, offset: timedelta, kill: Kill | None = None) -> ForkServerProcess:
    """Start the purge."""
    process = processes().Process(target=main, args=(dsn, settings, offset, kill), daemon=True)
    process.start()
    return process


async def ended(process: ForkServerProcess) -> int:
    """Wait until it has ended, and return its status; one that does not end is killed."""
    await asyncio.to_thread(process.join, END_LIMIT_SECONDS)
    if process.is_alive():
        process.kill()
        await asyncio.to_thread(process.join)
    status = process.exitcode
    process.close()
    assert status is not None
    return status
