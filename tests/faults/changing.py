"""An administrative change in a process of its own, killed where it is told: before or after each of its operations.

The operations are counted as they come: each piece written to a copy of the ledger (whole, or torn in the middle), each
statement of the change's transaction, its commit among them.
"""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from journal.clock import SystemClock
from journal.database import change as changes
from journal.database.admin import NewCredential
from journal.database.store import Store
from journal.keys.store import open_facts, open_keystore
from tests.support.forkserver import processes

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerProcess

    from journal.settings import Settings

CATEGORY = "assistance"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """Kill the process at its n-th operation: before it, after it, or in the middle of a write."""

    operation: int
    when: str


class _Counter:
    """Counts operations; kills."""

    def __init__(self, kill: Kill | None) -> None:
        self.kill = kill
        self.count = 0

    def reach(self, when: str) -> bool:
        return self.kill is not None and (self.kill.operation, self.kill.when) == (self.count, when)

    def die_if(self, when: str) -> None:
        if self.reach(when):
            os.kill(os.getpid(), signal.SIGKILL)


def _count_operations(counter: _Counter) -> None:
    pwrite, commit, read = os.pwrite, changes.ChangeStatements._commit, changes._read

    def counted_write(descriptor: int, content: bytes, offset: int) -> int:
        counter.count += 1
        counter.die_if("before")
        if counter.reach("torn"):
            pwrite(descriptor, content[: len(content) // 2], offset)
            counter.die_if("torn")
        written = pwrite(descriptor, content, offset)
        counter.die_if("after")
        return written

    def counted(work: Any) -> Any:
        async def run(*arguments: Any) -> Any:
            counter.count += 1
            counter.die_if("before")
            result = await work(*arguments)
            counter.die_if("after")
            return result

        return run

    os.pwrite = counted_write  # type: ignore[assignment]  # called with bytes alone
    changes.ChangeStatements._commit = staticmethod(counted(commit))  # type: ignore[method-assign]
    changes._read = counted(read)


async def make(store: Store, what: str, name: str) -> None:
    """Make one change of a kind, about this name."""
    if what == "credential":
        await store.add_credential(
            NewCredential(id=name, secret_hash=bytes(31) + b"x", role="auditor", tenant="albi", categories=[CATEGORY])
        )
    elif what == "revocation":
        await store.revoke_credential(name)
    elif what == "category":
        await store.set_category(CATEGORY, label=name, instruction="I-1")
    elif what == "closing":
        await store.close_tenant(name)
    else:
        raise ValueError(what)


async def _run(dsn: str, settings: Settings, what: str, name: str, kill: Kill | None) -> int:
    facts = open_facts(open_keystore(settings), SystemClock())
    async with await Store.connect(dsn, application="changing", facts=facts) as store:
        await store.read_categories()
        counter = _Counter(kill)
        _count_operations(counter)
        await make(store, what, name)
        return counter.count


def main(dsn: str, settings: Settings, what: str, name: str, kill: Kill | None) -> None:
    """Be the process; its status is the number of operations."""
    raise SystemExit(asyncio.run(_run(dsn, settings, what, name, kill)))


def start(dsn: str, settings: Settings, what: str, name: str, kill: Kill | None = None) -> ForkServerProcess:
    """Start a change."""
    process = processes().Process(target=main, args=(dsn, settings, what, name, kill), daemon=True)
    process.start()
    return process
