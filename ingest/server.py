"""aiohttp as we run it: no access log, no decompression, bounded waits, problems in place of its own error pages.

aiohttp answers input that is not HTTP, and failures outside the application, with plain text, and logs what it
received. Both may quote confidential content, so they are replaced here.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import aiohttp
import structlog
from aiohttp import hdrs, http_parser, web
from aiohttp.web_protocol import RequestHandler

from ingest.app import SERVER
from ingest.problems import BAD_REQUEST, INTERNAL, ProblemError, problem_of, response_of
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


class Connection(RequestHandler):
    """One connection; input that is not HTTP is answered with a problem and logged without its content."""

    __slots__ = ()

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

    def __call__(self) -> RequestHandler:
        """Return the protocol of a new connection."""
        return Connection(self, loop=self._loop, **self._kwargs)


class Runner(web.AppRunner):
    """Runs the edge's application."""

    def __init__(self, app: web.Application) -> None:
        """Configure aiohttp. Raises OperatorError if its version or build is refused."""
        check_aiohttp()
        super().__init__(
            app,
            access_log=None,
            auto_decompress=False,
            keepalive_timeout=KEEPALIVE_SECONDS,
            lingering_time=LINGERING_SECONDS,
            shutdown_timeout=SHUTDOWN_SECONDS,
        )

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

        return Server(answer, request_factory=made.request_factory, loop=made._loop, **made._kwargs)  # noqa: SLF001  (no public way to set the class of connections)


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
