"""Fresh databases, made from a template of a test process's server."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, contextmanager
from threading import Thread
from typing import TYPE_CHECKING
from uuid import uuid4

import asyncpg

import sql
from journal.database.embedded import DATABASE, OWNER, SUPERUSER

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from datetime import timedelta

    from journal.database.embedded import EmbeddedPostgres


class Superuser:
    """A session that outlives each test's event loop: a new one would cost a quarter of a copy."""

    def __init__(self, address: str) -> None:
        """Start the thread whose loop it lives in."""
        self._address = address
        self._connection: asyncpg.Connection | None = None
        self._loop = asyncio.new_event_loop()
        self._one_at_a_time = asyncio.Lock()
        self._thread = Thread(target=self._loop.run_forever, name="superuser", daemon=True)
        self._thread.start()

    async def execute(self, statement: str) -> None:
        """Execute a statement, from any loop."""
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._execute(statement), self._loop))

    def close(self) -> None:
        """End the session and the thread."""
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _execute(self, statement: str) -> None:
        async with self._one_at_a_time:
            if self._connection is None or self._connection.is_closed():
                self._connection = await asyncpg.connect(self._address)
            await self._connection.execute(statement)

    async def _close(self) -> None:
        if self._connection is not None:
            await self._connection.close()


# By the server's address.
_kept: dict[str, Superuser] = {}


@contextmanager
def kept_superuser(postgres: EmbeddedPostgres) -> Iterator[None]:
    """Keep a superuser's session for as long as the block lasts, for all databases that are made meanwhile."""
    address = postgres.dsn(SUPERUSER, database="postgres")
    _kept[address] = Superuser(address)
    try:
        yield
    finally:
        _kept.pop(address).close()


@asynccontextmanager
async def superuser_of(postgres: EmbeddedPostgres) -> AsyncIterator[Superuser | asyncpg.Connection]:
    """Lend the session that is kept for a server, or one of its own."""
    address = postgres.dsn(SUPERUSER, database="postgres")
    if address in _kept:
        yield _kept[address]
        return
    connection = await asyncpg.connect(address)
    try:
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def fresh_database(
    postgres: EmbeddedPostgres, template: str = DATABASE, *, ahead: timedelta | None = None
) -> AsyncIterator[str]:
    """Give the name of a fresh copy of the template, for as long as the block lasts: migrated and empty by default.

    `ahead` moves its clock, where the template's is simulated.
    """
    name = f"edge_{uuid4().hex}"
    async with superuser_of(postgres) as superuser:
        await copy_database(superuser, template, name)
        # A copy has the template's tables, not its access list. Said from here, for want of a session in it.
        await superuser.execute(sql.read("database.sql").replace("pg_catalog.current_database()", f"'{name}'"))
        if ahead is not None:
            owner = await asyncpg.connect(postgres.dsn(database=name))
            await owner.execute("UPDATE journal.simulated_clock SET ahead = $1", ahead)
            await owner.close()
        yield name
        await superuser.execute(f"DROP DATABASE {name} WITH (FORCE)")


async def copy_database(superuser: Superuser | asyncpg.Connection, template: str, name: str) -> None:
    """Copy a database to which nobody is connected, file by file: half the work of copying through the log."""
    await superuser.execute(f"CREATE DATABASE {name} TEMPLATE {template} OWNER {OWNER} STRATEGY file_copy")
