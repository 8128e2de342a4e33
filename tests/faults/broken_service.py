"""The service with one deliberate fault, chosen by its first argument: what the campaigns must find out.

    hasty        acknowledges, and commits a moment later; nor does it look whether the tables have it
    forgetful    does not know again what it has recorded

Run as a program in place of `journal.cli.main`; nothing of the service itself knows of it.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING

import sql
from journal.cli.main import main
from journal.database.ingest import _arguments, _read_result
from journal.database.store import Store
from journal.writing import rules
from journal.writing.memory import Memory

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractAsyncContextManager

    import asyncpg

    from journal.core.entry import Compartment
    from journal.database.ingest import AppendBatch, AppendResult
    from journal.writing.draft import HeadState

LATE_SECONDS = 0.1

_late: set[asyncio.Task[None]] = set()


async def append_hastily(store: Store, batch: AppendBatch) -> AppendResult:
    """Return what the append said before its transaction is committed."""
    borrowed = store.borrow("ingest")
    connection = await borrowed.__aenter__()
    await connection.execute("BEGIN")
    result = _read_result(await connection.fetch(sql.load("ingest")["append"], *_arguments(batch)))
    _late.add(asyncio.create_task(commit_late(connection, borrowed)))
    return result


async def commit_late(
    connection: asyncpg.Connection, borrowed: AbstractAsyncContextManager[asyncpg.Connection]
) -> None:
    """Commit, and give the connection back."""
    await asyncio.sleep(LATE_SECONDS)
    await connection.execute("COMMIT")
    await borrowed.__aexit__(None, None, None)


async def believe(memory: Memory, heads: Mapping[Compartment, HeadState]) -> list[Compartment]:
    """Let every append be acknowledged: the comparison with the tables would stop a chain that is committed late."""
    del memory, heads
    return []


def forget(key: bytes, source: str, event_id: str, time: str) -> bytes:
    """Return another key for the same event every time."""
    del key, source, event_id, time
    return os.urandom(16)


if __name__ == "__main__":
    if sys.argv.pop(1) == "hasty":
        Store.append = append_hastily  # type: ignore[method-assign, assignment]  # the fault
        Memory.accept = believe  # type: ignore[method-assign, assignment]  # else the fault would do no harm
    else:
        rules.event_key = forget  # type: ignore[attr-defined, assignment]  # the fault
    sys.exit(main())
