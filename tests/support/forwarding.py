"""A port at which a database's socket answers; or a server that accepts a connection and says nothing."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from tests.support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


def socket_of(dsn: str) -> str:
    """Return the path of the socket that an embedded server's address names."""
    asked = parse_qs(urlsplit(dsn).query)
    return f"{asked['host'][0]}/.s.PGSQL.{asked.get('port', ['5432'])[0]}"


@asynccontextmanager
async def listening(socket_path: str | None, host: str = "127.0.0.1") -> AsyncIterator[str]:
    """Listen on a port for a server's socket; without one, accept and say nothing, as a stopped host does."""
    tasks: set[asyncio.Task[None]] = set()
    writers: list[asyncio.StreamWriter] = []

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while content := await reader.read(65536):
            writer.write(content)
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        if socket_path is not None:
            theirs, ours = await asyncio.open_unix_connection(socket_path)
            writers.append(ours)
            for one in (copy(reader, ours), copy(theirs, writer)):
                task = asyncio.create_task(one)
                tasks.add(task)

    port = free_port()
    server = await asyncio.start_server(serve, host, port)
    try:
        yield f"{host}:{port}"
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for writer in writers:
            writer.close()
        await asyncio.sleep(0)  # asyncio closes a transport at its next round
