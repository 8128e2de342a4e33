"""aiohttp as we run it: no access log, no decompression, bounded waits, and problems where it writes prose.

aiohttp answers what is not HTTP, and what fails around the application, with plain text and a log of what it
met. Both may hold what must not leave: they are replaced here.
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
# Also the deadline for a first request to arrive whole: a connection on which none has come is idle.
KEEPALIVE_SECONDS = 75.0
# How long the rest of a refused body is read, so that its sender hears why.
LINGERING_SECONDS = 2.0
SHUTDOWN_SECONDS = 20.0


class Connection(RequestHandler):
    """One connection; what it cannot read is answered as a problem, and logged without its content."""

    __slots__ = ()

    def handle_error(
        self,
        request: BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002  (it quotes the request)
    ) -> web.StreamResponse:
        """Answer an error that never reached the application."""
        log.warning("a connection was refused", status=status, kind=type(exc).__name__)
        if request.writer.output_size > 0:
            raise ConnectionError("an answer is under way and cannot be replaced")
        if status == BAD_REQUEST.status:
            problem = ProblemError(BAD_REQUEST, "This is no HTTP request we can read.", close=True)
        else:
            problem = ProblemError(INTERNAL, "The request could not be handled.", close=True)
        return _bare(problem)

    def log_exception(self, *_: Any, **fields: Any) -> None:
        """Log that a connection failed, without what it carried."""
        log.error("a connection failed", kind=type(fields.get("exc_info")).__name__)


class Server(web.Server):
    """Makes our connections."""

    def __call__(self) -> RequestHandler:
        """Return the protocol of a new connection."""
        return Connection(self, loop=self._loop, **self._kwargs)


class Runner(web.AppRunner):
    """Runs the edge's application. Raises OperatorError where aiohttp is not one it may be run on."""

    def __init__(self, app: web.Application) -> None:
        """Choose aiohttp's settings."""
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
                # Raised outside the application's own border, for an expectation on a path there is not.
                problem = problem_of(error)
                assert problem is not None
                return _bare(problem)

        return Server(answer, request_factory=made.request_factory, loop=made._loop, **made._kwargs)  # noqa: SLF001  (no public way to name the connection's class)


def _bare(problem: ProblemError) -> web.Response:
    response = response_of(problem)
    response.headers[hdrs.SERVER] = SERVER
    return response


def check_aiohttp(installed: str = aiohttp.__version__) -> None:
    """Refuse an aiohttp with known request smuggling, or without its parser in C. Raises OperatorError."""
    version = tuple(int(part) for part in re.findall("[0-9]+", installed)[:3])
    if version < OLDEST_AIOHTTP:
        raise OperatorError(f"aiohttp {installed} is too old: install what requirements.lock names")
    if http_parser.HttpRequestParser is http_parser.HttpRequestParserPy:
        raise OperatorError("aiohttp runs without its C parser: install its wheel, as requirements.lock names it")
