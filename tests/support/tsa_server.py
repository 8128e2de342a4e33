"""The real time-stamping authority behind HTTP on loopback, and every way it can fail."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from aiohttp import web

from journal.pki.timestamp_token import QUERY_TYPE, REPLY_TYPE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from tests.support.tsa import Authority

    Answer = Callable[["TsaServer", web.Request, bytes], Awaitable[web.StreamResponse]]


async def honest(server: TsaServer, _: web.Request, query: bytes) -> web.StreamResponse:
    """Answer what was asked, as openssl does."""
    reply = await asyncio.to_thread(server.authority.reply, query)
    return web.Response(body=reply, content_type=REPLY_TYPE)


class TsaServer:
    """An authority at `url`; `answer` says how it behaves from now on."""

    def __init__(self, authority: Authority) -> None:
        """Be honest to begin with."""
        self.authority = authority
        self.answer: Answer = honest
        self.queries: list[bytes] = []
        self.asked = asyncio.Event()
        self.url = ""

    async def respond(self, request: web.Request) -> web.StreamResponse:
        """Take a query and answer it as configured."""
        query = await request.read()
        assert request.method == "POST"
        assert request.content_type == QUERY_TYPE
        self.queries.append(query)
        self.asked.set()
        return await self.answer(self, request, query)


@asynccontextmanager
async def running_tsa(authority: Authority) -> AsyncIterator[TsaServer]:
    """Run the authority on a port of its own."""
    server = TsaServer(authority)
    app = web.Application()
    app.router.add_route("*", "/tsa", server.respond)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        server.url = f"http://{host}:{port}/tsa"
        yield server
    finally:
        await runner.cleanup()
