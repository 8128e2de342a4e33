"""The short way of a single event that is as it should be: without a task, a timer, a request and a response object.

`POST /v1/categories/{category}/events` with one event is nearly all that the service is asked. What arrives in one
piece, with nothing unusual in its head, from a credential that is known, and holds no fault, goes to the writer at
once, and is answered when the writer has, or when it has no room. Whatever else there is to a request, `app` answers
it. The caller cannot tell the two ways apart.
"""

from __future__ import annotations

import asyncio
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import structlog
from aiohttp import HttpVersion11, hdrs
from aiohttp.helpers import rfc822_formatted_time
from multidict import CIMultiDict

from ingest import assistance, context
from ingest.app import DRAINS, EVENTS, MODULE, failed
from ingest.edge import EDGE
from ingest.events import SINGLE_LIMIT_BYTES, read_usual
from ingest.problems import about, problem_of, response_of
from ingest.submissions import SINGLE
from journal.core.entry import JOURNAL_CATEGORY, Compartment
from journal.core.errors import BusyError, JournalError, SubmissionError
from journal.writing.deadlines import Deadlines
from journal.writing.remote import Given, given_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp import web
    from aiohttp.http_parser import RawRequestMessage

    from ingest.server import Connection
    from journal.database.ingest import CredentialRow

log = structlog.get_logger()

_BEFORE, _AFTER = EVENTS.split("{category}")
_KINDS: Final = frozenset({SINGLE, f"{SINGLE}; charset=utf-8", f"{SINGLE};charset=utf-8"})
# What the writer is given beyond, so that it is not the one to tell that the time is up.
MARGIN_SECONDS: Final = 0.5
_REASONS: Final = {200: "OK", 201: "Created"}
_compartment = lru_cache(maxsize=32_768)(Compartment)


class Direct:
    """Answers single events as `app` does."""

    def __init__(self, app: web.Application) -> None:
        """Answer for this application."""
        self.drains = app[DRAINS]
        self.edge = app[EDGE]
        self.deadlines: Deadlines[Asked] = Deadlines(Asked.expire)

    def caller(self, message: RawRequestMessage) -> CredentialRow | None:
        """Return the credential of a request for what is done here; None if it asks for anything else."""
        path, headers = message.path, message.headers
        kinds = headers.getall(hdrs.CONTENT_TYPE, ())
        if (
            message.method != "POST"
            or not path.startswith(_BEFORE)
            or not path.endswith(_AFTER)
            or message.version != HttpVersion11
            or message.should_close
            or len(kinds) != 1
            or kinds[0] not in _KINDS
            # What a head holds for `app` alone.
            or hdrs.UPGRADE in headers
            or hdrs.EXPECT in headers
            or hdrs.CONTENT_ENCODING in headers
            or hdrs.TRANSFER_ENCODING in headers
            or not 0 < int(headers.get(hdrs.CONTENT_LENGTH, 0)) <= SINGLE_LIMIT_BYTES
            or self.drains.is_set()
        ):
            return None
        caller = self.edge.gate.recognise(headers.getall(hdrs.AUTHORIZATION, ()))
        return caller if caller is not None and caller.role in MODULE else None

    def take(
        self, connection: Connection, message: RawRequestMessage, body: bytes, caller: CredentialRow
    ) -> Asked | None:
        """Give the writer the event of a caller's request; None, and nothing done, leaves it to the application."""
        service, rate = self.edge.service, self.edge.rate
        category = message.path[len(_BEFORE) : -len(_AFTER)]
        if (
            category not in caller.categories
            or category == JOURNAL_CATEGORY
            or service.snapshot.category(category) is None
            or service.writer.takes_turns(caller.tenant)
            or not self.edge.bodies.fits(caller.tenant, len(body))
            or self.edge.wait_seconds(caller)
        ):
            return None
        asked = Asked(self, connection, message, body, caller.id)
        event = read_usual(body, service.clock.now(), caller.source_prefix or "")
        if event is not None and not assistance.check(category, [event]):
            compartment = _compartment(service.name, caller.tenant, category)
            try:
                answer = service.offer(compartment, caller.id, [event], len(body), asked.seconds + MARGIN_SECONDS)
            except BusyError as error:
                # Cheaply, or a flood of refusals would leave no time to record. Not before the connection knows of it.
                asyncio.get_running_loop().call_soon(asked.refuse, error)
                return asked
            except Exception:  # noqa: BLE001  (raised again where it is answered)
                answer = None
            if answer is not None:
                asked.waits_among = self.deadlines.add(asked, asked.seconds - context.ANSWERING_SECONDS)
                answer.add_done_callback(asked.settle)
                return asked
        rate.give_back(caller.id)
        return None


class Asked:
    """A request whose event the writer has."""

    __slots__ = (
        "_body",
        "_caller",
        "_connection",
        "_direct",
        "_is_answered",
        "_message",
        "_request_id",
        "_started_at",
        "_trace",
        "_wait",
        "waits_among",
    )

    def __init__(
        self, direct: Direct, connection: Connection, message: RawRequestMessage, body: bytes, caller: str
    ) -> None:
        """Keep what the answer needs."""
        headers = message.headers
        self._direct = direct
        self._connection = connection
        self._message = message
        self._body = body
        self._caller = caller
        self._started_at = direct.edge.service.clock.monotonic()
        self._request_id = context.identify(headers)
        self._trace = context.traceparent(headers)
        self._wait = context.preferred_wait(headers)
        self._is_answered = False
        self.waits_among: set[Asked] = set()

    @property
    def seconds(self) -> int:
        """How long the caller waits."""
        return self._wait or context.WAIT_SECONDS

    def settle(self, answer: asyncio.Future[Any]) -> None:
        """Answer what the writer answers."""
        error = asyncio.CancelledError() if answer.cancelled() else answer.exception()  # retrieved in any case
        if self._is_answered:
            return
        self.waits_among.discard(self)
        if error is None:
            found = answer.result()
            given = found if type(found) is Given else given_of(found)
            instruments = self._direct.edge.instruments
            instruments.received("single", len(self._body))
            instruments.settled(given)
            self._answer(201 if given.recorded else 200, {hdrs.CONTENT_TYPE: "application/json"}, given.body)
        elif isinstance(error, SubmissionError) and not self._connection.ends:
            # Asked again, it is refused again: with every fault there is.
            self._direct.edge.rate.give_back(self._caller)
            self._is_answered = True
            self._connection.leave_to_application(self._message, self._body)
        else:
            self.refuse(error)

    def expire(self) -> None:
        """Tell the caller that it has waited long enough."""
        self.refuse(context.no_answer(self.seconds))

    def refuse(self, error: BaseException) -> None:
        """Answer with the problem that an error is."""
        edge = self._direct.edge
        problem = problem_of(error) if isinstance(error, Exception) else None
        if problem is None:
            problem = failed(error, self._request_id)
        elif isinstance(error, JournalError) and not isinstance(error, BusyError):
            log.warning("a request was not served", **about(error))
        edge.instruments.received("single", len(self._body))
        response = response_of(problem, request_id=self._request_id)
        assert isinstance(response.body, bytes)
        self._answer(response.status, response.headers, response.body, response.reason)
        edge.instruments.refused(problem.kind.name, 1)

    def _answer(self, status: int, headers: Mapping[str, str], body: bytes, reason: str | None = None) -> None:
        self._is_answered = True
        sent = CIMultiDict(headers)
        sent[hdrs.CONTENT_LENGTH] = str(len(body))
        sent[hdrs.DATE] = rfc822_formatted_time()
        sent[hdrs.SERVER] = context.SERVER
        ends = self._direct.drains.is_set()
        if ends:
            sent[hdrs.CONNECTION] = "close"
        context.accompany(sent, self._request_id, self._trace, self._wait)
        head = [f"HTTP/1.1 {status} {reason or _REASONS[status]}", *map(": ".join, sent.items()), "\r\n"]
        edge = self._direct.edge
        edge.tell(
            method="POST",
            route=EVENTS,
            status=status,
            seconds=edge.service.clock.monotonic() - self._started_at,
            credential=self._caller,
            count=1,
            request_id=self._request_id,
            trace=self._trace,
        )
        self._connection.answer("\r\n".join(head).encode() + body, ends=ends)
