"""Between the service and PostgreSQL: passes their messages on, and cuts a connection at one of them when asked to.

A message has a type, a length and content; the first of a connection has no type. The names are those of PostgreSQL's
protocol. What a message belongs to is the statement that was parsed or asked for last on its connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, Self
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.support.serving import Site

Side = Literal["service", "database"]
When = Literal["before", "inside", "after"]
SOCKET: Final = ".s.PGSQL.5432"
LENGTH: Final = 4
CONNECT: Final = "connect"
OTHER: Final = "other"
# What a statement is, by words that are in no other.
KINDS: Final = {
    "journal.append(": "append",
    "journal.flush()": "flush",
    "journal.lock_heads(": "lock",
    "COMMIT": "commit",
    "BEGIN": "begin",
}
SERVICE: Final = {"P": "Parse", "B": "Bind", "E": "Execute", "S": "Sync", "Q": "Query", "D": "Describe", "H": "Flush"}
DATABASE: Final = {
    "1": "ParseComplete",
    "T": "RowDescription",
    "2": "BindComplete",
    "D": "DataRow",
    "C": "CommandComplete",
    "s": "PortalSuspended",
    "Z": "ReadyForQuery",
    "R": "Authentication",
    "S": "ParameterStatus",
}
STARTUP: Final = "StartupMessage"


@dataclass(frozen=True, slots=True, kw_only=True)
class Boundary:
    """Where a connection is cut: before, inside or after a message of a statement."""

    statement: str
    side: Side
    message: str
    when: When

    def __str__(self) -> str:
        """Return its name."""
        return f"{self.when} {self.message}"


@dataclass(slots=True, eq=False)
class Connection:
    """One connection through here: both its ends, and what is asked on it."""

    service: asyncio.StreamWriter
    database: asyncio.StreamWriter
    current: str = CONNECT
    is_cut: bool = False
    statements: dict[bytes, str] = field(default_factory=dict)

    def follow(self, message: str, content: bytes) -> None:
        """Note which statement a message of the service is about."""
        if message == "Parse":
            name, query, _ = content.split(b"\0", 2)
            self.current = self.statements[name] = kind(query)
        elif message == "Bind":
            self.current = self.statements.get(content.split(b"\0", 2)[1], OTHER)
        elif message == "Query":
            self.current = kind(content)

    def cut(self) -> None:
        """Close both ends; what was passed on arrives."""
        self.is_cut = True
        self.service.close()
        self.database.close()


def kind(query: bytes) -> str:
    """Return what a statement is."""
    text = query.decode()
    return next((name for words, name in KINDS.items() if words in text), OTHER)


class Wire:
    """A socket in `directory` that stands for the one in `target`."""

    def __init__(self, directory: Path, target: str, *, seed: int) -> None:
        """Listen from `async with` on; `seed` draws where inside a message it is cut."""
        self.directory = directory
        self._target = target
        self._draw = random.Random(seed)
        self._connections: set[Connection] = set()
        self._armed: tuple[Boundary, asyncio.Event] | None = None
        self._passes = asyncio.Event()
        self._passes.set()
        # How long a message takes from one end to the other.
        self.delay_seconds = 0.0
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        """Listen."""
        self._server = await asyncio.start_unix_server(self._connect, self.directory / SOCKET)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Cut everything."""
        self._server.close()
        self.cut_all()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut_all(self) -> None:
        """Cut every connection, wherever it is."""
        for connection in list(self._connections):
            connection.cut()

    def part(self) -> None:
        """Pass nothing on any more: both ends hear nothing, not even of a connection that is closed."""
        self._passes.clear()

    def join(self) -> None:
        """Pass on what was kept, also of connections that one end has given up, and what comes."""
        self._passes.set()

    def arm(self, boundary: Boundary) -> asyncio.Event:
        """Cut the first connection that comes there; the event tells that it was cut."""
        event = asyncio.Event()
        self._armed = (boundary, event)
        return event

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            database_reader, database = await asyncio.open_unix_connection(f"{self._target}/{SOCKET}")
        except OSError:
            writer.close()
            return
        connection = Connection(writer, database)
        self._connections.add(connection)
        flows = (
            asyncio.create_task(self._flow(connection, "service", reader, database)),
            asyncio.create_task(self._flow(connection, "database", database_reader, writer)),
        )
        self._tasks.update(flows)
        await asyncio.wait(flows)
        self._tasks.difference_update(flows)
        self._connections.discard(connection)

    async def _flow(
        self, connection: Connection, side: Side, reader: asyncio.StreamReader, to: asyncio.StreamWriter
    ) -> None:
        """Pass one direction on, message by message, until an end closes or it is cut."""
        names = SERVICE if side == "service" else DATABASE
        is_first = side == "service"
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while not connection.is_cut:
                letter = b"" if is_first else await reader.readexactly(1)
                length = await reader.readexactly(LENGTH)
                content = await reader.readexactly(int.from_bytes(length) - LENGTH)
                message = STARTUP if is_first else names.get(letter.decode(), letter.decode())
                is_first = False
                if side == "service":
                    connection.follow(message, content)
                await self._pass(connection, side, message, letter + length + content, to)
                if connection.current == CONNECT and message == "ReadyForQuery":
                    connection.current = OTHER
        connection.cut()

    async def _pass(
        self, connection: Connection, side: Side, message: str, whole: bytes, to: asyncio.StreamWriter
    ) -> None:
        """Pass a message on, or what is to be passed on of the one where the connection is cut."""
        await asyncio.sleep(self.delay_seconds)
        await self._passes.wait()
        when = self._when(connection, side, message)
        if when == "before":
            return
        to.write(whole[: self._draw.randrange(1, len(whole))] if when == "inside" else whole)
        if when is None:
            await to.drain()

    def _when(self, connection: Connection, side: Side, message: str) -> When | None:
        """Return how the connection is cut at this message, and cut it when the message was passed on."""
        if self._armed is None:
            return None
        boundary, event = self._armed
        if (boundary.statement, boundary.side, boundary.message) != (connection.current, side, message):
            return None
        self._armed = None
        asyncio.get_running_loop().call_soon(connection.cut)
        connection.is_cut = True
        event.set()
        return boundary.when


@contextlib.asynccontextmanager
async def wired(site: Site, seed: int) -> AsyncIterator[tuple[Site, Wire]]:
    """Give the site as its service is to have it, with a wire to its database."""
    # A socket's path has at most 107 bytes.
    with tempfile.TemporaryDirectory(prefix="oej-wire-") as directory:
        host = site.dsn.partition("host=")[2].partition("&")[0]
        async with Wire(Path(directory), unquote(host), seed=seed) as wire:
            yield replace(site, dsn=site.dsn.replace(host, directory)), wire


def boundaries(statement: str, service: str, database: str) -> Iterator[Boundary]:
    """Name every boundary of a statement: before and inside each of its messages, and after the last of each side."""
    sides: tuple[tuple[Side, str], ...] = (("service", service), ("database", database))
    for side, names in sides:
        messages = names.split()
        for message in messages:
            for when in ("before", "inside"):
                yield Boundary(statement=statement, side=side, message=message, when=when)
        yield Boundary(statement=statement, side=side, message=messages[-1], when="after")
