"""A provisioning in a process of its own, killed where it is told: before or after each of its operations.

The operations are counted as they come: a file that gets its name (keys, tokens), a piece written to a copy of the
ledger, a set of entries, the commit of a batch.
"""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from journal.admin.provisioning import Provisioning
from journal.admin.stated import read_stated
from journal.cli.installation import open_service
from journal.clock import SystemClock
from journal.database.change import ChangeStatements
from journal.writing.chronicle import Chronicle
from tests.support.forkserver import processes

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerProcess

    from journal.admin.provisioning import Plan
    from journal.admin.stated import Fault
    from journal.cli.installation import Installation
    from journal.settings import Settings

Kill = tuple[int, str]


class _Counter:
    """Counts operations; kills."""

    def __init__(self, kill: Kill | None) -> None:
        self.kill = kill
        self.count = 0

    def enter(self) -> None:
        self.count += 1
        self.die_if("before")

    def die_if(self, when: str) -> None:
        if self.kill == (self.count, when):
            os.kill(os.getpid(), signal.SIGKILL)


def _count_operations(counter: _Counter) -> None:
    def counted(work: Any) -> Any:
        def run(*arguments: Any, **options: Any) -> Any:
            counter.enter()
            result = work(*arguments, **options)
            counter.die_if("after")
            return result

        return run

    def counted_task(work: Any) -> Any:
        async def run(*arguments: Any) -> Any:
            counter.enter()
            result = await work(*arguments)
            counter.die_if("after")
            return result

        return run

    os.pwrite = counted(os.pwrite)
    os.link = counted(os.link)
    ChangeStatements._commit = staticmethod(counted_task(ChangeStatements._commit))  # type: ignore[method-assign]
    Chronicle.write_all = counted_task(Chronicle.write_all)  # type: ignore[method-assign]


async def provision(installation: Installation, file: Path, tokens: Path) -> tuple[Plan, list[Fault]]:
    """Do what the command does in an installation that is open; return the plan it carried out, and the faults."""
    stated, faults = read_stated(file)
    provisioning = Provisioning(installation.service, installation.administration)
    plan, more = await provisioning.plan(stated, base=file.parent, tokens=tokens)
    if not (faults or more):
        await provisioning.carry_out(plan, lambda _: None)
        if plan.categories:
            await installation.maintenance.prepare()
    return plan, [*faults, *more]


async def _run(dsn: str, settings: Settings, file: Path, tokens: Path, kill: Kill | None) -> int:
    async with open_service(dsn, settings, SystemClock()) as installation:
        await installation.maintenance.prepare()
        counter = _Counter(kill)
        _count_operations(counter)
        await provision(installation, file, tokens)
        return counter.count


def main(dsn: str, settings: Settings, file: str, tokens: str, kill: Kill | None) -> None:
    """Be the process; its status is the number of operations."""
    raise SystemExit(asyncio.run(_run(dsn, settings, Path(file), Path(tokens), kill)))


def start(dsn: str, settings: Settings, file: Path, tokens: Path, kill: Kill | None = None) -> ForkServerProcess:
    """Start a provisioning."""
    process = processes().Process(target=main, args=(dsn, settings, str(file), str(tokens), kill), daemon=True)
    process.start()
    return process
