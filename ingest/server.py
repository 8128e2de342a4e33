"""aiohttp as we run it: no access log, no decompression, bounded waits, problems in place of its own error pages.

aiohttp answers input that is not HTTP, and failures outside the application, with plain text, and logs what it
received. Both may quote confidential content, so they are replaced here.
"""

from __future__ import annotations

import asyncio
import re
import sys
from typing import TYPE_CHECKING, Any, cast
from uuid import uuid4

import aiohttp
import structlog
from aiohttp import StreamReader, hdrs, http_parser, web
from aiohttp.http_exceptions import LineTooLong
from aiohttp.web_protocol import RequestHandler

from ingest.app import DRAINS
from ingest.connections import Connections
from ingest.context import REQUEST_ID_HEADER, SERVER
from ingest.direct import Asked, Direct
from ingest.edge import EDGE
from ingest.heads import Head, Known
from ingest.problems import (
    BAD_REQUEST,
    BUSY,
    HEAD_TOO_LARGE,
    INTERNAL,
    MEDIA_TYPE,
    ProblemError,
    problem_of,
    response_of,
)
from ingest.readers import UNKNOWN
from journal.core.errors import OperatorError, UnavailableError
from journal.core.faults import HEADER, HEADER_TOO_LARGE, Fault

if TYPE_CHECKING:
    from aiohttp.http_parser import RawRequestMessage
    from aiohttp.web_request import BaseRequest

log = structlog.get_logger()

# aiohttp's own limit; and how its parser names the header at fault.
HEADER_LIMIT_BYTES = 8190
_TOO_MANY_HEADERS = "Too many headers"
_NAMED_HEADER = re.compile(r"Duplicate '([A-Za-z0-9-]{1,64})' header|b'([A-Za-z0-9-]{1,64})\s*:").search
OLDEST_AIOHTTP = (3, 14, 3)
# Also the deadline for the first complete request of a connection: until then it counts as idle.
KEEPALIVE_SECONDS = 75.0
# How long the rest of a refused body is read, so that the sender receives the answer.
LINGERING_SECONDS = 2.0
SHUTDOWN_SECONDS = 20.0
# How long the event loop waits for a thread that decodes a batch; Python's default is 5 ms, each time.
SWITCH_SECONDS = 0.001
TOO_MANY_RETRY_SECONDS = 5
# Connections that were refused and may still read their answer: each has a descriptor of the reserve.
REFUSED_HELD = 256
# aiohttp's own.
READ_BUFFER_BYTES = 2**16
# How long open connections may bring one more request, which is answered with "Connection: close".
DRAIN_SECONDS = 3.0
DRAIN_LOOK_SECONDS = 0.05


class _Parser:
    """aiohttp's parser, with an eye on what `direct` takes."""

    __slots__ = ("_connection", "_is_between", "_known", "_parser")

    def __init__(self, parser: Any, connection: Connection) -> None:
        self._parser = parser
        self._connection = connection
        # Whether the parser has been fed whole requests alone, and the head of the last of them.
        self._is_between = True
        self._known: Known | None = None

    def feed_data(self, data: bytes) -> tuple[Any, bool, bytes]:
        """Parse, and keep from the application what needs it no more."""
        is_declined = False
        if self._known is not None and (body := self._known.body(data)) is not None:
            if self._connection.take(self._known.head, body):
                return (), False, b""
            # The application answers it, from what the parser makes of it.
            is_declined = True
        was_between, self._is_between, self._known = self._is_between, False, None
        parsed: tuple[Any, bool, bytes] = self._parser.feed_data(data)
        messages, upgraded, tail = parsed
        if len(messages) != 1 or upgraded or tail:
            return parsed
        message, payload = messages[0]
        head = Head.read(message) if payload.is_eof() else None
        if head is None:
            return parsed
        body = payload.read_nowait()
        if was_between:
            self._known = Known.of(data, head, body)
            self._is_between = self._known is not None
        if not is_declined and self._connection.take(head, body):
            self._parser.message_consumed()
            return (), False, b""
        return ((message, self._connection.whole(body)),), False, b""

    def __getattr__(self, name: str) -> Any:
        """Be aiohttp's parser in all else."""
        return getattr(self._parser, name)


class Connection(RequestHandler):
    """One connection; input that is not HTTP is answered with a problem and logged without its content."""

    __slots__ = ("_asked", "_connections", "_direct", "_held", "_refused", "is_beyond", "speaker")

    def __init__(
        self, manager: Server, connections: Connections, refused: Refused, direct: Direct, **kwargs: Any
    ) -> None:
        """Be counted among these connections, or end as one that was refused."""
        super().__init__(manager, **kwargs)
        self._connections = connections
        self._refused = refused
        self._direct = direct
        self._asked: Asked | None = None
        # What came while a request was answered directly, just before the next is waited for, or without time.
        self._held = b""
        # Whose its last request was, and whether so many wait to be read that the next one is refused.
        self.speaker = UNKNOWN
        self.is_beyond = False
        self._parser: Any = _Parser(self._parser, self)

    def data_received(self, data: bytes) -> None:
        """Parse, once what came before is answered, and there is time.

        A caller may be quicker with its next request than aiohttp's task with waiting for it, by a turn of the event
        loop. Taken before, that request would be the application's, and so, all too often, the one after it.
        """
        if self._asked is not None or self._held:
            self._held += data
            self._pause_reading_for_buffer()
        elif not data or self._request_in_progress:
            # aiohttp asks with nothing to parse on; a request that is being answered reads its body at once.
            super().data_received(data)
        else:
            self._held = data
            if self._waits_soon():
                self._loop.call_soon(self._read_in_turn)
            else:
                self._read_in_turn()

    def _read_in_turn(self) -> None:
        """Parse what is held now, or in a later turn; where too many wait for theirs, it is refused."""
        readers = self._direct.readers
        is_full = readers.is_full(self.speaker)
        if is_full and readers.has_place(self.speaker):
            readers.hold(self)
            self._put_off_end()
            self._pause_reading_for_buffer()
            return
        self.is_beyond = is_full
        self.read_held()
        self.is_beyond = False

    def _waits_soon(self) -> bool:
        """Tell whether aiohttp does not wait for the next request yet, and answers none."""
        return self._waiter is None and not self._messages

    def read_held(self) -> None:
        """Parse what was held."""
        if self._held and self._asked is None and self.transport is not None:
            held, self._held = self._held, b""
            self._resume_reading_for_buffer()
            super().data_received(held)

    def resume_reading(self, resume_parser: bool = True) -> None:  # noqa: FBT001, FBT002  (aiohttp's own)
        """Go on reading, if that was stopped: aiohttp asks at each body."""
        if self._reading_paused:
            super().resume_reading(resume_parser)

    def take(self, head: Head, body: bytes) -> bool:
        """Answer a request without the application, if that can be done and aiohttp waits for the next one.

        It does not while it answers one, nor reads the rest of a refused one: the connection may then be about to end.
        Else tell that the application is to answer it.
        """
        if self._waiter is None or self._waiter.done() or self._paused:
            return False
        try:
            caller = self._direct.caller(head)
        except UnavailableError as error:
            self._asked = self._direct.turn_away(self, head, body, error)
        else:
            if caller is None:
                return False
            self.speaker = caller.tenant
            self._asked = self._direct.take(self, head, body, caller)
            if self._asked is None:
                return False
        self._request_in_progress = True
        # The application does this where it answers.
        self._keepalive = True
        self._put_off_end()
        return True

    def answer(self, answer: bytes, *, ends: bool) -> None:
        """Send the answer to the request that was taken; the connection ends with it, or goes on."""
        transport = self.transport
        if transport is not None and not transport.is_closing():
            transport.write(answer)
            if ends:
                self.close()
                transport.close()
        self._go_on()

    def leave_to_application(self, message: RawRequestMessage, body: bytes) -> None:
        """Have the application answer the request that was taken."""
        if self.transport is not None:
            self._messages.append((message, self.whole(body)))
            if self._waiter is not None and not self._waiter.done():
                self._waiter.set_result(None)
        self._go_on()

    def whole(self, body: bytes) -> StreamReader:
        """Return a body as the application reads it."""
        payload = StreamReader(self, READ_BUFFER_BYTES, loop=self._loop)
        payload.feed_data(body)
        payload.feed_eof()
        return payload

    def _go_on(self) -> None:
        self._asked = None
        self._request_in_progress = False
        self._put_off_end()
        if self._handler_waiter is not None and not self._handler_waiter.done():
            self._handler_waiter.set_result(None)
        if self._held:
            self._direct.readers.hold(self)

    def _put_off_end(self) -> None:
        if self._force_close:
            return
        self._next_keepalive_close_time = self._loop.time() + KEEPALIVE_SECONDS
        if self._keepalive_handle is None:
            self._keepalive_handle = self._loop.call_at(self._next_keepalive_close_time, self._process_keepalive)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, or refuse the connection before anything of it is read."""
        peer = transport.get_extra_info("peername")
        if self._connections.enter(self, peer[0] if peer else None):
            self.speaker = UNKNOWN + self._connections.caller(self)
            super().connection_made(transport)
            return
        # uvloop's is one without being an instance of it.
        refused = cast("asyncio.Transport", transport)
        refused.write(TOO_MANY)
        self._refused.hold(refused)

    def connection_lost(self, exc: BaseException | None) -> None:
        """End."""
        self._connections.leave(self)
        super().connection_lost(exc)

    @property
    def is_idle(self) -> bool:
        """Tell whether no request is being answered."""
        return not self._request_in_progress and not self._held

    @property
    def ends(self) -> bool:
        """Tell whether the application answers nothing more here: the service stops."""
        return self._close or self._force_close

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
        request_id = uuid4().hex
        log.warning("a connection was refused", status=status, kind=type(exc).__name__, request_id=request_id)
        if request.writer.output_size > 0:
            raise ConnectionError("part of an answer has been sent and cannot be replaced")
        if status == BAD_REQUEST.status:
            problem = _of_head(exc)
        else:
            problem = ProblemError(INTERNAL, "The request could not be handled.", close=True)
        return _bare(problem, request_id)

    def log_exception(self, *_: Any, **fields: Any) -> None:
        """Log that a connection failed, without its content."""
        log.error("a connection failed", kind=type(fields.get("exc_info")).__name__)


class Refused:
    """Connections that were told to come back: what they bring is thrown away for a moment.

    Closed with a request unread, a connection is reset, and its caller may lose the answer.
    """

    def __init__(self) -> None:
        """Hold none yet."""
        self._held: set[asyncio.Transport] = set()

    def hold(self, transport: asyncio.Transport) -> None:
        """Close a connection once its caller has, or a moment later; at once where too many are held."""
        if len(self._held) >= REFUSED_HELD:
            transport.set_protocol(asyncio.Protocol())
            transport.close()
            return
        self._held.add(transport)
        transport.set_protocol(_Ending(self._held, transport))
        transport.write_eof()
        asyncio.get_running_loop().call_later(LINGERING_SECONDS, transport.close)

    def drop(self) -> None:
        """Close those that are left at once."""
        for transport in [*self._held]:
            transport.abort()


class _Ending(asyncio.Protocol):
    """One of them."""

    def __init__(self, held: set[asyncio.Transport], transport: asyncio.Transport) -> None:
        self._held = held
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  (that it ended is what counts)
        """Count no more."""
        self._held.discard(self._transport)


class Server(web.Server):
    """A server that uses our Connection."""

    room: Connections
    refused: Refused
    direct: Direct

    def __call__(self) -> RequestHandler:
        """Return the protocol of a new connection."""
        return Connection(self, self.room, self.refused, self.direct, loop=self._loop, **self._kwargs)

    async def shutdown(self, timeout: float | None = None) -> None:  # noqa: ASYNC109  (aiohttp's own)
        """End every connection."""
        self.refused.drop()
        await super().shutdown(timeout)


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
                return _bare(problem, uuid4().hex)

        server = Server(answer, request_factory=made.request_factory, loop=made._loop, **made._kwargs)  # noqa: SLF001  (no public way to set the class of connections)
        edge = self.app[EDGE]
        server.direct = Direct(self.app)
        server.refused = Refused()
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


def _of_head(error: BaseException | None) -> ProblemError:
    """Return what is wrong with the head of a request, with the name of the header if the parser tells it."""
    told = str(error)
    named = _NAMED_HEADER(told)
    header = next((name for name in named.groups() if name), "") if named else ""
    if isinstance(error, LineTooLong) or _TOO_MANY_HEADERS in told:
        reason = f"is larger than {HEADER_LIMIT_BYTES:,} bytes, or one of too many"
        found = [Fault(0, "", HEADER_TOO_LARGE, reason, header=header)]
        return ProblemError(HEAD_TOO_LARGE, "The target or the headers are too large.", faults=found, close=True)
    faults = [Fault(0, "", HEADER, "cannot be parsed, or is given twice", header=header)] if header else []
    return ProblemError(BAD_REQUEST, "We cannot parse this HTTP request.", faults=faults, close=True)


def _bare(problem: ProblemError, request_id: str) -> web.Response:
    response = response_of(problem, request_id=request_id)
    response.headers[REQUEST_ID_HEADER] = request_id
    response.headers[hdrs.SERVER] = SERVER
    return response


def check_aiohttp(installed: str = aiohttp.__version__) -> None:
    """Refuse an aiohttp with known request smuggling, or without its C parser. Raises OperatorError."""
    version = tuple(int(part) for part in re.findall("[0-9]+", installed)[:3])
    if version < OLDEST_AIOHTTP:
        raise OperatorError(f"aiohttp {installed} is too old: install the version of requirements.lock")
    if http_parser.HttpRequestParser is http_parser.HttpRequestParserPy:
        raise OperatorError("aiohttp runs without its C parser: install the wheel of requirements.lock")
