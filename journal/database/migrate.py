"""Migrate a database to the schema of this code: forward only, each file once and in one transaction.

The SHA-256 of every applied file is stored in `journal.migration`. A database made by other files is refused: otherwise
two installations of one version could differ.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import asyncpg

import sql
from journal.core.errors import OperatorError
from journal.database.servers import Servers

if TYPE_CHECKING:
    from collections.abc import Sequence

_NAME: Final = re.compile(r"([0-9]{4})_[a-z0-9_]+\.sql")
# Adds only, so that the version before runs on it too: both run during an upgrade, and the older one may come back.
_EXPANDS: Final = re.compile(r"[0-9]{4}_expand_[a-z0-9_]+\.sql")


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """One file: its place in the order, its name, its exact bytes."""

    number: int
    name: str
    content: bytes

    @property
    def sha256(self) -> bytes:
        """Return the hash of the content."""
        return hashlib.sha256(self.content).digest()


def list_migrations(files: Sequence[tuple[str, bytes]]) -> list[Migration]:
    """Return the migrations in order; OperatorError unless they are numbered 1, 2, 3… without a gap."""
    migrations = []
    for place, (name, content) in enumerate(files, start=1):
        match = _NAME.fullmatch(name)
        if match is None or int(match[1]) != place:
            raise OperatorError(f"sql/migrations: {name} found where number {place:04d} was expected")
        migrations.append(Migration(number=place, name=name, content=content))
    return migrations


def choose_pending(known: Sequence[Migration], applied: Sequence[tuple[int, str, bytes]]) -> list[Migration]:
    """Return the migrations still to apply. `applied` holds (number, name, sha256) in order.

    OperatorError if the database was made by other files, or by later ones that are not named `NNNN_expand_…`.
    """
    later = [name for _, name, _ in applied[len(known) :]]
    if not all(_EXPANDS.fullmatch(name) for name in later):
        raise OperatorError(
            f"the database is at migration {len(applied)}, newer than this software's {len(known)}: update the software"
        )
    for migration, (number, name, sha256) in zip(known, applied, strict=False):
        if (migration.number, migration.name, migration.sha256) != (number, name, sha256):
            raise OperatorError(
                f"migration {number} ({name}) was applied from a file that is not this software's {migration.name}: "
                "applied files never change"
            )
    return list(known[len(applied) :])


async def read_pending(dsn: str) -> list[str]:
    """Return the names of the migrations that a database lacks, without changing it.

    OperatorError if it is newer than this code, or was made by other files.
    """
    known = list_migrations(sql.read_migrations())
    statements = sql.load("migrate")
    settings = {"application_name": "journal-migrate", "default_transaction_read_only": "on"}
    connection = await Servers(dsn).connect(server_settings=settings)
    try:
        applied = []
        if await connection.fetchval(statements["is_prepared"]):
            applied = [tuple(row) for row in await connection.fetch(statements["read_applied"])]
    finally:
        await connection.close()
    return [migration.name for migration in choose_pending(known, applied)]


async def migrate(dsn: str, *, files: Sequence[tuple[str, bytes]] | None = None) -> list[str]:
    """Apply the missing migrations as the owner that `dsn` names; return the names of the files applied.

    Concurrent runs are safe: the second waits, then finds nothing to do. OperatorError as above, if the owner is a
    superuser, or if roles are missing and it may not create them.
    """
    known = list_migrations(sql.read_migrations() if files is None else files)
    statements = sql.load("migrate")
    connection = await Servers(dsn).connect(server_settings={"application_name": "journal-migrate"})
    try:
        await connection.execute(statements["lock"])
        try:
            return await _migrate_locked(connection, known)
        finally:
            await connection.execute(statements["unlock"])
    finally:
        await connection.close()


async def _migrate_locked(connection: asyncpg.Connection, known: Sequence[Migration]) -> list[str]:
    statements = sql.load("migrate")
    if await connection.fetchval(statements["is_superuser"]):
        raise OperatorError(
            "the database's owner is a superuser, so every function would run with its rights: "
            "make an ordinary role its owner, and set that one in JOURNAL_DSN"
        )
    await _ensure_roles(connection)
    if not await connection.fetchval(statements["is_prepared"]):
        async with connection.transaction():
            await connection.execute(statements["prepare_schema"])
            await connection.execute(statements["prepare_table"])
    applied = [tuple(row) for row in await connection.fetch(statements["read_applied"])]
    pending = choose_pending(known, applied)
    for migration in pending:
        async with connection.transaction():
            await connection.execute(migration.content.decode())
            await connection.execute(statements["record"], migration.number, migration.name, migration.sha256)
    await connection.execute(sql.read("database.sql"))
    return [migration.name for migration in pending]


async def _ensure_roles(connection: asyncpg.Connection) -> None:
    """Create missing roles, if allowed; roles belong to the whole cluster.

    OperatorError if they are missing, may do more than call functions, or are members of others.
    """
    statement = sql.load("migrate")["read_role_faults"]
    if not await connection.fetch(statement):
        return
    refusal: Exception | None = None
    try:
        await connection.execute(sql.read("roles.sql"))
    except asyncpg.InsufficientPrivilegeError as error:
        refusal = error
    if faulty := await connection.fetch(statement):
        names = ", ".join(row["name"] for row in faulty)
        raise OperatorError(
            f"these roles are missing, too powerful, or members of others: {names}. "
            "Run sql/roles.sql as a superuser, and revoke what they were made members of"
        ) from refusal
