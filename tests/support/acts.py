"""What an outsider does to a running service: SQL as a superuser of PostgreSQL, with no key and no certificate."""

from __future__ import annotations

import hashlib
import secrets
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import asyncpg

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from journal.service import Service


@asynccontextmanager
async def intruder(superuser_dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """Lend a superuser's connection that no trigger stops; afterwards, every process is told to read again."""
    connection = await asyncpg.connect(superuser_dsn)
    try:
        await connection.execute("SET session_replication_role = replica")
        yield connection
        await connection.execute("UPDATE journal.service SET snapshot_version = snapshot_version + 1")
    finally:
        await connection.close()


async def notice(service: Service) -> str:
    """Let the service read what was written, as it does by itself every 20 s; return what readiness says of facts."""
    service.snapshot._read_all_at = float("-inf")
    await service.snapshot.refresh()
    checks = await service.checks.run()
    return checks.get("facts") or ""


def forge_token() -> tuple[str, str, bytes]:
    """Return an id, a token and the hash of its secret, as the service would make them."""
    identifier, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
    return identifier, f"oej_{identifier}_{secret}", hashlib.sha256(secret.encode()).digest()


async def insert(connection: asyncpg.Connection, table: str, **values: Any) -> None:
    """Insert a row; columns that must not be null and are not given get bytes, a text or a moment of some kind."""
    rows = await connection.fetch(
        "SELECT column_name, udt_name FROM information_schema.columns WHERE table_schema = 'journal' "
        "AND table_name = $1 AND is_nullable = 'NO' AND column_default IS NULL AND is_identity = 'NO'",
        table,
    )
    fill = {"bytea": bytes(32), "text": "x"}
    given = {row["column_name"]: fill[row["udt_name"]] for row in rows if row["udt_name"] in fill} | values
    names = ", ".join(given)
    places = ", ".join(f"${number}" for number in range(1, len(given) + 1))
    await connection.execute(f"INSERT INTO journal.{table} ({names}) VALUES ({places})", *given.values())
