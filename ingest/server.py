"""aiohttp as we run it: no access log, no decompression, bounded waits, problems in place of its own error pages.

aiohttp answers input that is not HTTP, and failures outside the application, with plain text, and logs what it
received. Both may quote confidential content, so they are replaced here.
"""

from __future__ import annotations

import asyncio
import re
import sys
from typing import TYPE_CHECKING, Any

import aiohttp
import structlog
from aiohttp import hdrs, http_parser, web
from aiohttp.web_protocol import RequestHandler

from ingest.app import DRAINS, SERVER
from ingest.connections import Connections
from ingest.edge import EDGE
from ingest.problems import BAD_REQUEST, BUSY, INTERNAL, MEDIA_TYPE, ProblemError, problem_of, response_of
from journal.core.errors import OperatorError

if TYPE_CHECKING:
    from aiohttp.web_request import BaseRequest

log = structlog.get_logger()

OLDEST_AIOHTTP = (3, 14, 3)
# Also the deadline for the first complete request of a connection: until then it counts as idle.
KEEPALIVE_SECONDS = 75.0
# How long the rest of a refused body is read, so that the sender receives the answer.
LINGERING_SECONDS = 2.0
SHUTDOWN_SECONDS = 20.0
# How long the event loop waits for a thread that decodes a batch; Python's default is 5 ms, each time.
SWITCH_SECONDS = 0.001
TOO_MANY_RETRY_SECONDS = 5
# How long open connections may bring one more request, which is answered with "Connection: close".
DRAIN_SECONDS = 3.0
DRAIN_LOOK_SECONDS = 0.05


class Connection(RequestHandler):
    """One connection; input that is not HTTP is answered with a problem and logged without its content."""

    __slots__ = ("_connections",)

    def __init__(self, manager: Server, connections: Connections, **kwargs: Any) -> None:
        """Be counted among these connections."""
        super().__init__(manager, **kwargs)
        self._connections = connections

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, or refuse the connection before anything of it is read."""
        peer = transport.get_extra_info("peername")
        if self._connections.enter(self, peer[0] if peer else None):
            super().connection_made(transport)
            return
        assert isinstance(transport, asyncio.Transport)
        transport.set_protocol(asyncio.Protocol())
        transport.write(TOO_MANY)
        transport.close()

    def connection_lost(self, exc: BaseException | None) -> None:
        """End."""
        self._connections.leave(self)
        super().connection_lost(exc)

    @property
    def is_idle(self) -> bool:
        """Tell whether no request is being answered."""
        return not self._request_in_progress

    def drop(self) -> None:
        """Close it at once."""
        if self.transport is not None:
            self.transport.abort()

    def handle_error(
        self,
        request: BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002  (it quotes the request)
    ) -> web.StreamResponse:
        """Answer an error raised outside the application."""
        log.warning("a connection was refused", status=status, kind=type(exc).__name__)
        if request.writer.output_size > 0:
            raise ConnectionError("part of an answer has been sent and cannot be replaced")
        if status == BAD_REQUEST.status:
            problem = ProblemError(BAD_REQUEST, "We cannot parse this HTTP request.", close=True)
        else:
            problem = ProblemError(INTERNAL, "The request could not be handled.", close=True)
        return _bare(problem)

    def log_exception(self, *_: Any, **fields: Any) -> None:
        """Log that a connection failed, without its content."""
        log.error("a connection failed", kind=type(fields.get("exc_info")).__name__)


class Server(web.Server):
    """A server that uses our Connection."""

    room: Connections

    def __call__(self) -> RequestHandler:
        """Return the protocol of a new connection."""
        return Connection(self, self.room, loop=self._loop, **self._kwargs)


class Runner(web.AppRunner):
    """Runs the edge's application."""

    def __init__(self, app: web.Application) -> None:
        """Configure aiohttp. Raises OperatorError if its version or build is refused."""
        check_aiohttp()
        sys.setswitchinterval(SWITCH_SECONDS)
        super().__init__(
            app,
            access_log=None,
            auto_decompress=False,
            keepalive_timeout=KEEPALIVE_SECONDS,
            lingering_time=LINGERING_SECONDS,
            shutdown_timeout=SHUTDOWN_SECONDS,
        )

    async def drain(self) -> None:
        """Answer what open connections still bring, and end each with its answer; those that stay idle are left."""
        self.app[DRAINS].set()
        server = self.server
        assert server is not None
        deadline = asyncio.get_running_loop().time() + DRAIN_SECONDS
        while server.connections and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110  (aiohttp tells nobody)
            await asyncio.sleep(DRAIN_LOOK_SECONDS)

    async def _make_server(self) -> Server:
        made = await super()._make_server()
        handle = made.request_handler

        async def answer(request: BaseRequest) -> web.StreamResponse:
            try:
                return await handle(request)
            except web.HTTPException as error:
                # Raised outside the application, for an Expect header on an unknown path.
                problem = problem_of(error)
                assert problem is not None
                return _bare(problem)

        server = Server(answer, request_factory=made.request_factory, loop=made._loop, **made._kwargs)  # noqa: SLF001  (no public way to set the class of connections)
        edge = self.app[EDGE]
        server.room = Connections(edge.limits.connections, edge.proxies, edge.instruments)
        return server


def _too_many() -> bytes:
    problem = ProblemError(BUSY, "Too many connections are open.")
    body = response_of(problem).body
    assert isinstance(body, bytes)
    head = (
        f"HTTP/1.1 503 Service Unavailable\r\nContent-Type: {MEDIA_TYPE}\r\nContent-Length: {len(body)}\r\n"
        f"Retry-After: {TOO_MANY_RETRY_SECONDS}\r\nServer: {SERVER}\r\nConnection: close\r\n\r\n"
    )
    return head.encode("ascii") + body


TOO_MANY = _too_many()


def _bare(problem: ProblemError) -> web.Response:
    response = response_of(problem)
    response.headers[hdrs.SERVER] = SERVER
    return response


def check_aiohttp(installed: str = aiohttp.__version__) -> None:
    """Refuse an aiohttp with known request smuggling, or without its C parser. Raises OperatorError."""
    version = tuple(int(part) for part in re.findall("[0-9]+", installed)[:3])
    if version < OLDEST_AIOHTTP:
        raise OperatorError(f"aiohttp {installed} is too old: install the version of requirements.lock")
    if http_parser.HttpRequestParser is http_parser.HttpRequestParserPy:
        raise OperatorError("aiohttp runs without its C parser: install the wheel of requirements.lock")
