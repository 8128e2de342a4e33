"""The service with one deliberate fault, chosen by its first argument: what the campaigns must find out.

    early        acknowledges what it appended before it is durable
    hasty        acknowledges, and commits a moment later; nor does it look whether the tables have it
    forgetful    does not know again what it has recorded
    hopeful      takes the loss of the connection for a commit
    alone        does not ask for a standby, though another server may take the primary's place
    careless     does not look whether its database keeps what it commits
    deaf         acknowledges whatever its flush says

Run as a program in place of `journal.cli.main`; nothing of the service itself knows of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from typing import TYPE_CHECKING

import sql
from journal.cli.main import main as run
from journal.core.errors import StoreError, UnavailableError
from journal.database import ingest
from journal.database.ingest import AppendResult, _flush, _read_result, append_arguments
from journal.database.servers import Servers
from journal.database.store import Store
from journal.writing import rules
from journal.writing.memory import Memory

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager, AsyncExitStack

    import asyncpg

    from journal.core.entry import Compartment, Event
    from journal.database.ingest import AppendBatch
    from journal.writing.draft import HeadState

# Longer than the clients post before a kill: what was acknowledged last is lost by every kill.
LATE_SECONDS = 0.5

_late: set[asyncio.Task[None]] = set()


async def append_hastily(store: Store, batch: AppendBatch) -> AppendResult:
    """Return what the append said before its transaction is committed."""
    borrowed = store.borrow("ingest")
    connection = await borrowed.__aenter__()
    await connection.execute("BEGIN")
    result = _read_result(await connection.fetch(sql.load("ingest")["append"], *append_arguments(batch)))
    _late.add(asyncio.create_task(commit_late(connection, borrowed)))
    return result


async def commit_late(
    connection: asyncpg.Connection, borrowed: AbstractAsyncContextManager[asyncpg.Connection]
) -> None:
    """Commit, and give the connection back."""
    await asyncio.sleep(LATE_SECONDS)
    await connection.execute("COMMIT")
    await borrowed.__aexit__(None, None, None)


async def append_hopefully(store: Store, batch: AppendBatch) -> AppendResult:
    """Return that it is appended, whatever became of the connection."""
    try:
        async with store.borrow("ingest") as connection:
            return _read_result(await connection.fetch(sql.load("ingest")["append"], *append_arguments(batch)))
    except UnavailableError:
        return AppendResult(answer="appended")


async def believe(
    memory: Memory, heads: Mapping[Compartment, HeadState], bases: Mapping[Compartment, HeadState]
) -> list[Compartment]:
    """Let every append be acknowledged: the comparison with the tables would stop a chain that is committed late."""
    del memory, heads, bases
    return []


async def leave_unflushed(connection: asyncpg.Connection, stack: AsyncExitStack, **_: bool) -> None:
    """Give the connection back at once."""
    del connection
    await stack.aclose()


async def flush_deafly(connection: asyncpg.Connection, stack: AsyncExitStack, *, must_replicate: bool) -> None:
    """Return, whatever is said."""
    with contextlib.suppress(StoreError):
        await _flush(connection, stack, must_replicate=must_replicate)


async def look_away(store: Store) -> list[str]:
    """Find nothing."""
    del store
    return []


def forget(key: bytes, category: str, events: Iterable[Event]) -> list[bytes]:
    """Return other keys for the same events every time."""
    del key, category
    return [os.urandom(16) for _ in events]


def main(arguments: Sequence[str]) -> int:
    """Have the fault that is named first, and be the program with the other arguments."""
    fault, *others = arguments
    if fault == "early":
        ingest._flush = leave_unflushed
    elif fault == "hasty":
        Store.append = append_hastily  # type: ignore[method-assign, assignment]  # the fault
        Memory.accept = believe  # type: ignore[method-assign, assignment]  # else the fault would do no harm
    elif fault == "hopeful":
        Store.append = append_hopefully  # type: ignore[method-assign, assignment]  # the fault
        Memory.accept = believe  # type: ignore[method-assign, assignment]  # else the fault would do no harm
    elif fault == "alone":
        Servers.are_several = False  # type: ignore[method-assign, assignment]  # the fault
    elif fault == "deaf":
        ingest._flush = flush_deafly
        Memory.accept = believe  # type: ignore[method-assign, assignment]  # else the fault would do no harm
    elif fault == "careless":
        Store.check_durability = look_away  # type: ignore[method-assign, assignment]  # the fault
    else:
        rules.event_keys = forget  # type: ignore[attr-defined]  # the fault
    return run(others)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
