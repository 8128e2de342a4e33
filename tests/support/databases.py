"""Fresh databases, made from the migrated template of a test process's server."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from uuid import uuid4

import asyncpg

import sql
from journal.database.embedded import DATABASE, OWNER, SUPERUSER

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from journal.database.embedded import EmbeddedPostgres


@asynccontextmanager
async def fresh_database(postgres: EmbeddedPostgres) -> AsyncIterator[str]:
    """Give the name of a fresh, migrated, empty database, for as long as the block lasts."""
    name = f"edge_{uuid4().hex}"
    superuser = await asyncpg.connect(postgres.dsn(SUPERUSER, database="postgres"))
    try:
        await superuser.execute(f"CREATE DATABASE {name} TEMPLATE {DATABASE} OWNER {OWNER}")
        owner = await asyncpg.connect(postgres.dsn(database=name))
        await owner.execute(sql.read("database.sql"))
        await owner.close()
        yield name
        await superuser.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await superuser.close()
