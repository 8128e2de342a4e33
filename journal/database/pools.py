"""Connections, one pool per database role, and the translation of database errors into ours.

No `command_timeout`: it cancels, and a COMMIT cancelled while it waits for the standby *succeeds* locally with only a
warning. On timeout the connection is terminated instead, without a message to the server, which may be gone. That
warning terminates the connection too, before its statement returns, so that nothing is acknowledged that the standby
may not have.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, Final, Literal, Self

import asyncpg

import sql
from journal.core.errors import LockedError, NoRoomError, StoreError, UnavailableError
from journal.database.refusals import describe_no_primary, describe_refusal, describe_silence, read_place
from journal.database.servers import CONNECT_LIMIT_SECONDS, Servers
from journal.database.types import Connection

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

    from journal.database.facts import Facts
    from journal.database.refusals import Place

Role = Literal["ingest", "read", "seal", "purge", "admin", "owner"]
ROLES: Final[tuple[Role, ...]] = ("ingest", "read", "seal", "purge", "admin", "owner")

POOL_SIZES: Final[Mapping[Role, int]] = {"ingest": 4, "read": 4, "seal": 2, "purge": 1, "admin": 1, "owner": 2}
# How long a connection may be used before it is considered dead: a network may silently drop all packets.
LENT_LIMITS_SECONDS: Final[Mapping[Role, float]] = {
    "ingest": 20,
    "read": 60,
    "seal": 120,
    "purge": 600,
    "admin": 60,
    "owner": 60,
}

# The same on the server's side: a client that is gone holds no lock for long.
SERVER_SETTINGS: Final = {
    "client_connection_check_interval": "5000",
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "25000",
    "idle_in_transaction_session_timeout": "10000",
    "default_transaction_isolation": "read committed",
    "timezone": "UTC",
}
# The owner's sessions read tables to check what functions answer. A policy that hides rows is an error, a plan is made
# for the one partition asked for.
OWNER_SETTINGS: Final = {
    "default_transaction_read_only": "on",
    "search_path": "pg_catalog, pg_temp",
    "row_security": "off",
    "plan_cache_mode": "force_custom_plan",
    "enable_seqscan": "off",
    "jit": "off",
}

# The meaning of each constraint's violation; PostgreSQL's own message would quote the row.
CONSTRAINTS: Final[Mapping[str, str]] = {
    "service_pkey": "the service is already created",
    "service_name_check": "the service's name is not a lower-case DNS name",
    "tenant_pkey": "there is already a tenant of this code; codes are never reused",
    "tenant_code_check": "the tenant's code is not a slug",
    "category_pkey": "there is already a category of this code",
    "slug_check": "the code is not a slug",
    "category_regime_check": "the regime is LED or GDPR",
    "category_retention_days_check": "retention is between 2 and 60 days",
    "credential_pkey": "there is already a credential of this id",
    "credential_role_check": "a credential's role is module, client, auditor or operator",
    "credential_tenant_fkey": "there is no such tenant",
    "person_tenant_fkey": "there is no such tenant",
    "person_login": "somebody signs in with this login already: persons have one each, of one commune or of the host",
}

UNREPLICATED: Final = (
    "synchronous_standby_names is empty, and JOURNAL_DSN names several servers: what is acknowledged would be lost "
    "with the primary; turn synchronous_mode and synchronous_mode_strict on (patronictl edit-config)"
)

# 08 connection, 40 rolled back (deadlock, serialization), 53 resources, 57P0x shutdown, 57014 cancelled by hand.
_TRANSIENT: Final = ("08", "40", "53", "57P", "57014")
_NO_ROOM: Final = ("53100", "53200")
_LOCK_NOT_AVAILABLE: Final = "55P03"
_DATA: Final = "22"


@contextmanager
def translated(place: Place) -> Iterator[None]:
    """Turn every error of the driver into a StoreError, without the values that PostgreSQL's details may quote."""
    try:
        yield
    except asyncpg.PostgresError as error:
        raise _translate(error, place) from error
    except asyncpg.TargetServerAttributeNotMatched as error:
        raise UnavailableError(describe_no_primary(place)) from error
    except (asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError) as error:
        raise UnavailableError(f"{describe_silence(place)} ({type(error).__name__})") from error


@contextmanager
def readable() -> Iterator[None]:
    """Raise StoreError for a value that Python cannot represent, such as a date in the year 20000."""
    try:
        yield
    except asyncpg.InterfaceError:
        raise  # a subclass is a ValueError, about the arguments
    except (ValueError, OverflowError) as error:
        raise StoreError("a value in the database is out of range") from error


def _translate(error: asyncpg.PostgresError, place: Place) -> StoreError:
    """Return the error of the project for this one."""
    state = error.sqlstate or ""
    constraint = getattr(error, "constraint_name", None) or ""
    if state.startswith("OJ"):  # raised by our own functions, whose sentences hold nothing personal
        return StoreError(error.args[0])
    if state == _LOCK_NOT_AVAILABLE:
        return LockedError("locked by another transaction")
    told = f"{state} {type(error).__name__}"
    sentence = describe_refusal(state, place)
    if state.startswith(_TRANSIENT):
        kind = NoRoomError if state in _NO_ROOM else UnavailableError
        return kind(f"{sentence or 'the database is unavailable'} ({told})")
    if state.startswith(_DATA):  # the driver's own refusals too
        return StoreError(f"a value does not fit the database ({state})")
    if constraint in CONSTRAINTS:
        return StoreError(CONSTRAINTS[constraint])
    return StoreError(f"{sentence or 'the database refused'} ({f'{told} {constraint}'.strip()})")


def end_if_unreplicated(connection: asyncpg.Connection, message: asyncpg.PostgresLogMessage) -> None:
    """Terminate the connection if a COMMIT did not wait for its standby.

    asyncpg calls a synchronous listener before it wakes the task that awaits the statement, so `borrow` sees the closed
    connection before the result is used.
    """
    if getattr(message, "severity_en", None) == "WARNING" and "synchronous replication" in message.message:
        connection.terminate()


async def make_durable(connection: asyncpg.Connection, role: Role, *, must_replicate: bool) -> None:
    """Return once what the connection wrote or read is durable; on a standby too, where it `must_replicate`.

    Raises UnavailableError if no commit waits for a standby: another server may take this one's place without it.
    """
    standbys = await connection.fetchval(sql.load(role)["flush"])
    if must_replicate and not standbys:
        raise UnavailableError(UNREPLICATED)


async def _reset(_: asyncpg.Connection) -> None:
    """Save a round trip: no statement of ours sets anything that outlives its transaction."""


class Pools:
    """One lazy pool per role on one address; passwords, if any, come from the usual password file."""

    def __init__(  # noqa: PLR0917 - `connect` alone calls it
        self,
        pools: Mapping[Role, asyncpg.Pool],
        limits_seconds: Mapping[Role, float],
        servers: Servers,
        places: Mapping[Role, Place],
        options: Mapping[Role, Mapping[str, Any]],
        facts: Facts | None = None,
    ) -> None:
        """Keep the pools; use `connect`."""
        self._servers = servers
        self._options = options
        self._places = places
        self._pools = pools
        self._limits_seconds = limits_seconds
        self._is_silent = False
        self.facts = facts

    @classmethod
    async def connect(
        cls,
        dsn: str,
        *,
        application: str,
        facts: Facts | None = None,
        pool_sizes: Mapping[Role, int] | None = None,
        limits_seconds: Mapping[Role, float] | None = None,
    ) -> Self:
        """Prepare a pool per role on `dsn`, the owner's. Nothing connects until a statement needs it.

        `facts` judges the administrative rows that are read; without it they are given as they are, for tests of the
        SQL alone. `pool_sizes` and `limits_seconds` override, for the roles they name, the number of connections and
        how long one may be used.
        """
        sizes = {**POOL_SIZES, **(pool_sizes or {})}
        limits = {**LENT_LIMITS_SECONDS, **(limits_seconds or {})}
        options: dict[Role, dict[str, Any]] = {
            role: {
                "connection_class": Connection,
                "user": None if role == "owner" else f"journal_{role}",
                "timeout": CONNECT_LIMIT_SECONDS,
                "server_settings": SERVER_SETTINGS
                | (OWNER_SETTINGS if role == "owner" else {})
                | {"application_name": f"{application} {role}"},
            }
            for role in ROLES
        }
        servers = Servers(dsn)
        places = {role: read_place(dsn, options[role]["user"]) for role in ROLES}
        with translated(read_place(dsn)):
            pools = {
                role: await asyncpg.create_pool(
                    dsn, connect=servers.connect, min_size=0, max_size=sizes[role], reset=_reset, **options[role]
                )
                for role in ROLES
            }
        return cls(pools, limits, servers, places, options, facts)

    @property
    def roles(self) -> tuple[Role, ...]:
        """Return every role."""
        return ROLES

    @property
    def must_replicate(self) -> bool:
        """Tell whether what is acknowledged must be on a standby: another server may take the primary's place."""
        return self._servers.are_several

    def place(self, role: Role) -> Place:
        """Return where a role connects."""
        return self._places[role]

    async def close(self) -> None:
        """Wait for running statements, then close every connection."""
        with translated(self._places["owner"]):
            for pool in self._pools.values():
                await pool.close()

    async def __aenter__(self) -> Self:
        """Return itself."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close."""
        await self.close()

    async def _leave_silent(self) -> None:
        """Lend no connection again that is as old as one that had no answer: its server may be silent for all."""
        if self._is_silent:
            self._is_silent = False
            for pool in self._pools.values():
                await pool.expire_connections()

    @asynccontextmanager
    async def borrow(self, role: Role) -> AsyncIterator[asyncpg.Connection]:
        """Lend a connection of a role; UnavailableError if it was lost meanwhile, even after a result."""
        limit = self._limits_seconds[role]

        def give_up(connection: asyncpg.Connection) -> None:
            self._is_silent = True
            connection.terminate()

        with translated(self._places[role]):
            await self._leave_silent()
            async with self._pools[role].acquire(timeout=limit) as connection:
                connection.add_log_listener(end_if_unreplicated)
                alarm = asyncio.get_running_loop().call_later(limit, give_up, connection)
                try:
                    yield connection
                    if connection.is_closed():
                        raise UnavailableError("the connection ended before its result could be trusted")
                finally:
                    alarm.cancel()
                    connection.remove_log_listener(end_if_unreplicated)

    @asynccontextmanager
    async def connect_anew(self, role: Role) -> AsyncIterator[asyncpg.Connection]:
        """Lend a connection of its own, made now: a pooled one shows nothing of what new ones are refused."""
        with translated(self._places[role]):
            connection = await self._servers.connect(**self._options[role])
            alarm = asyncio.get_running_loop().call_later(CONNECT_LIMIT_SECONDS, connection.terminate)
            try:
                yield connection
            except AttributeError as error:
                # asyncpg has no protocol any more where a connection ends between preparing a statement and running it.
                if not connection.is_closed():
                    raise
                raise UnavailableError("the connection ended before its statement ran") from error
            finally:
                alarm.cancel()
                await connection.close(timeout=CONNECT_LIMIT_SECONDS)

    async def _fetch(self, role: Role, name: str, *arguments: Any) -> list[asyncpg.Record]:
        """Run one named statement in its own transaction."""
        async with self.borrow(role) as connection:
            with readable():
                rows: list[asyncpg.Record] = await connection.fetch(sql.load(role)[name], *arguments)
            return rows

    async def _fetch_value(self, role: Role, name: str, *arguments: Any) -> Any:
        """Run one named statement that returns one value."""
        async with self.borrow(role) as connection:
            with readable():
                return await connection.fetchval(sql.load(role)[name], *arguments)

    async def _read_facts(self, role: Role, kind: str, name: str | None = None) -> list[Mapping[str, Any]]:
        """Return the vouched rows of a kind, or the one of that name; see `journal.database.facts`."""
        since = self.facts.mark() if self.facts is not None else 0
        async with self.borrow(role) as connection:
            with readable():
                rows = await connection.fetch(sql.load("facts")[kind], name)
        return list(rows) if self.facts is None else self.facts.judge(kind, rows, since, name)
