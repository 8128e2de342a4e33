"""Fresh databases, made from a template of a test process's server."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from uuid import uuid4

import asyncpg

import sql
from journal.database.embedded import DATABASE, OWNER, SUPERUSER

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import timedelta

    from journal.database.embedded import EmbeddedPostgres


@asynccontextmanager
async def fresh_database(
    postgres: EmbeddedPostgres, template: str = DATABASE, *, ahead: timedelta | None = None
) -> AsyncIterator[str]:
    """Give the name of a fresh copy of the template, for as long as the block lasts: migrated and empty by default.

    `ahead` moves its clock, where the template's is simulated.
    """
    name = f"edge_{uuid4().hex}"
    superuser = await asyncpg.connect(postgres.dsn(SUPERUSER, database="postgres"))
    try:
        await copy_database(superuser, template, name)
        # A copy has the template's tables, not its access list. Said from here: a connection costs a quarter of a copy.
        await superuser.execute(sql.read("database.sql").replace("pg_catalog.current_database()", f"'{name}'"))
        if ahead is not None:
            owner = await asyncpg.connect(postgres.dsn(database=name))
            await owner.execute("UPDATE journal.simulated_clock SET ahead = $1", ahead)
            await owner.close()
        yield name
        await superuser.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await superuser.close()


async def copy_database(superuser: asyncpg.Connection, template: str, name: str) -> None:
    """Copy a database to which nobody is connected, file by file: half the work of copying through the log."""
    await superuser.execute(f"CREATE DATABASE {name} TEMPLATE {template} OWNER {OWNER} STRATEGY file_copy")
