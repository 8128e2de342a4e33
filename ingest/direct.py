"""The short way of a single event that is as it should be: without a task, a timer, a request and a response object.

`POST /v1/categories/{category}/events` with one event is nearly all that the service is asked. What arrives in one
piece, with nothing unusual in its head, from a credential that is known, and holds no fault, goes to the writer at
once, and is answered when the writer has. What finds no place is refused this way too, at a pace that leaves the time
to record. Whatever else there is to a request, `app` answers it. The caller cannot tell the two ways apart.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Any, Final

import structlog
from aiohttp import hdrs
from aiohttp.helpers import rfc822_formatted_time
from multidict import CIMultiDict

from ingest import assistance, context
from ingest.app import DRAINS, EVENTS, MODULE, failed
from ingest.edge import EDGE
from ingest.events import read_usual
from ingest.problems import ProblemError, about, problem_of, response_of
from ingest.readers import Readers
from journal.core.entry import JOURNAL_CATEGORY
from journal.core.errors import BusyError, JournalError, SubmissionError
from journal.writing.deadlines import Deadlines
from journal.writing.queue import OVERLOAD_RETRY_SECONDS
from journal.writing.remote import Given, given_of, named_compartment

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp import web

    from ingest.heads import Head
    from ingest.server import Connection
    from journal.database.ingest import CredentialRow

log = structlog.get_logger()

# What the writer is given beyond, so that it is not the one to tell that the time is up.
MARGIN_SECONDS: Final = 0.5
# So many single events of a commune wait for the writer; or so few, while the first of them has waited longer than is
# patient, as the last would be answered too late, or while others submit and it submits much.
WAITING_MOST: Final = 1_024
WAITING_FEW: Final = 64
PATIENCE_SECONDS: Final = 1.5
# Refusals are sent so many in each step: five hundred a second, and fewer where the event loop is late.
STEP_REFUSALS: Final = 1
STEP_SECONDS: Final = 0.002
# While a light request waits for its answer, the next refusal is put off, so long at most: looked for this often.
STEP_MOST_SECONDS: Final = 0.003
LOOK_SECONDS: Final = 0.001
_REASONS: Final = {200: "OK", 201: "Created"}
_RECEIPT: Final[Mapping[str, str]] = {hdrs.CONTENT_TYPE: "application/json"}


class Direct:
    """Answers single events as `app` does."""

    def __init__(self, app: web.Application) -> None:
        """Answer for this application."""
        self.drains = app[DRAINS]
        self.edge = app[EDGE]
        self.deadlines: Deadlines[Asked] = Deadlines(Asked.expire)
        # By commune, oldest first: what the writer has.
        self.waiting: dict[str, OrderedDict[Asked, None]] = {}
        # How many of them are of communes that do not submit much while others do: they are answered first.
        self.light = 0
        self.readers = Readers(self.edge.service.writer.burden, lambda: self.light > 0)
        self._refused: deque[tuple[Asked, BaseException]] = deque()
        self._refused_at = 0.0

    def caller(self, head: Head) -> CredentialRow | None:
        """Return the credential of a request, if it may be answered here. Raises UnavailableError if none is known."""
        if self.drains.is_set():
            return None
        caller = self.edge.gate.recognise(head.bearer)
        return caller if caller is not None and caller.role in MODULE else None

    def take(self, connection: Connection, head: Head, body: bytes, caller: CredentialRow) -> Asked | None:
        """Give the writer the event of a caller's request; None, and nothing done, leaves it to the application."""
        service = self.edge.service
        category = head.category
        if (
            category not in caller.categories
            or category == JOURNAL_CATEGORY
            or service.snapshot.category(category) is None
            or not self.edge.bodies.fits(caller.tenant, len(body))
        ):
            return None
        try:
            self._check_place(connection, caller.tenant)
            self.edge.count(caller)
        except (BusyError, ProblemError) as error:
            return self.turn_away(connection, head, body, error, caller.id)
        asked = Asked(self, connection, head, body, caller.id)
        event = read_usual(body, service.clock.now(), caller.source_prefix or "")
        if event is not None and not assistance.check(category, [event]):
            compartment = named_compartment(service.name, caller.tenant, category)
            try:
                answer = service.offer(compartment, caller.id, [event], len(body), asked.seconds + MARGIN_SECONDS)
            except BusyError as error:
                self.refuse(asked, error)
                return asked
            except Exception:  # noqa: BLE001  (raised again where it is answered)
                answer = None
            if answer is not None:
                is_light = not service.writer.takes_turns(caller.tenant)
                asked.wait(self.waiting.setdefault(caller.tenant, OrderedDict()), is_light=is_light)
                answer.add_done_callback(asked.settle)
                return asked
        self.edge.rate.give_back(caller.id)
        return None

    def turn_away(
        self,
        connection: Connection,
        head: Head,
        body: bytes,
        error: JournalError | ProblemError,
        caller: str | None = None,
    ) -> Asked:
        """Refuse a request whose body was not looked at."""
        asked = Asked(self, connection, head, body, caller, count=None)
        self.refuse(asked, error)
        return asked

    def _check_place(self, connection: Connection, commune: str) -> None:
        """Raise BusyError if no more requests may wait to be read, or no more of a commune's events for the writer."""
        if connection.is_beyond:
            raise BusyError("too many requests wait to be read", retry_after_seconds=OVERLOAD_RETRY_SECONDS)
        waiting = self.waiting.get(commune)
        if not waiting or len(waiting) < WAITING_FEW:
            return
        is_late = next(iter(waiting)).age_seconds > PATIENCE_SECONDS
        few = is_late or self.edge.service.writer.takes_turns(commune)
        if few or len(waiting) >= WAITING_MOST:
            raise BusyError("too many events of this commune wait", retry_after_seconds=OVERLOAD_RETRY_SECONDS)

    def refuse(self, asked: Asked, error: BaseException) -> None:
        """Refuse in turn: a flood of refusals leaves the time to record, and who asks again at once waits here.

        None is sent between a light request and its answer, but as often as STEP_MOST_SECONDS say.
        """
        self._refused.append((asked, error))
        if len(self._refused) == 1:
            asyncio.get_running_loop().call_later(STEP_SECONDS, self._send_refusals)

    def _send_refusals(self) -> None:
        loop = asyncio.get_running_loop()
        if self.light and loop.time() < self._refused_at + STEP_MOST_SECONDS:
            loop.call_later(LOOK_SECONDS, self._send_refusals)
            return
        self._refused_at = loop.time()
        due = [self._refused.popleft() for _ in range(min(STEP_REFUSALS, len(self._refused)))]
        if self._refused:
            loop.call_later(STEP_SECONDS, self._send_refusals)
        for asked, error in due:
            asked.refuse(error)


class Asked:
    """A request that waits: the writer has its event, or its refusal is due."""

    __slots__ = (
        "_among",
        "_body",
        "_caller",
        "_connection",
        "_count",
        "_direct",
        "_head",
        "_is_light",
        "_is_settled",
        "_request_id",
        "_started_at",
        "_waits_among",
    )

    def __init__(
        self,
        direct: Direct,
        connection: Connection,
        head: Head,
        body: bytes,
        caller: str | None,
        *,
        count: int | None = 1,
    ) -> None:
        """Keep what the answer needs; `count` is of the events, if they were read."""
        self._direct = direct
        self._connection = connection
        self._head = head
        self._body = body
        self._caller = caller
        self._count = count
        self._started_at = direct.edge.service.clock.monotonic()
        self._request_id = head.request_id or context.new_identifier()
        self._is_light = False
        self._is_settled = False
        self._among: OrderedDict[Asked, None] = OrderedDict()
        self._waits_among: set[Asked] = set()

    @property
    def seconds(self) -> int:
        """How long the caller waits."""
        return self._head.wait or context.WAIT_SECONDS

    @property
    def age_seconds(self) -> float:
        """How long it has waited."""
        return self._direct.edge.service.clock.monotonic() - self._started_at

    def wait(self, among: OrderedDict[Asked, None], *, is_light: bool) -> None:
        """Wait among these, for as long as the caller does."""
        self._is_light = is_light
        self._direct.light += is_light
        self._among = among
        among[self] = None
        self._waits_among = self._direct.deadlines.add(self, self.seconds - context.ANSWERING_SECONDS)

    def settle(self, answer: asyncio.Future[Any]) -> None:
        """Answer what the writer answers."""
        error = asyncio.CancelledError() if answer.cancelled() else answer.exception()  # retrieved in any case
        if self._is_settled:
            return
        self._leave()
        if error is None:
            found = answer.result()
            given = found if type(found) is Given else given_of(found)
            instruments = self._direct.edge.instruments
            instruments.received("single", len(self._body))
            instruments.settled(given)
            self._answer(201 if given.recorded else 200, _RECEIPT, given.body)
        elif isinstance(error, SubmissionError) and not self._connection.ends:
            # Asked again, it is refused again: with every fault there is.
            assert self._caller is not None
            self._direct.edge.rate.give_back(self._caller)
            self._connection.leave_to_application(self._head.message(len(self._body)), self._body)
        else:
            self._direct.refuse(self, error)

    def expire(self) -> None:
        """Tell the caller that it has waited long enough."""
        self._leave()
        self._direct.refuse(self, context.no_answer(self.seconds))

    def refuse(self, error: BaseException) -> None:
        """Answer with the problem that an error is."""
        edge = self._direct.edge
        problem = problem_of(error) if isinstance(error, Exception) else None
        if problem is None:
            problem = failed(error, self._request_id)
        elif isinstance(error, JournalError) and not isinstance(error, BusyError):
            log.warning("a request was not served", **about(error))
        if self._count:
            edge.instruments.received("single", len(self._body))
        response = response_of(problem, request_id=self._request_id)
        assert isinstance(response.body, bytes)
        self._answer(response.status, response.headers, response.body, response.reason)
        edge.instruments.refused(problem.kind.name, self._count or 0)

    def _leave(self) -> None:
        self._direct.light -= self._is_light
        self._is_light = False
        self._is_settled = True
        self._waits_among.discard(self)
        self._among.pop(self, None)

    def _answer(self, status: int, headers: Mapping[str, str], body: bytes, reason: str | None = None) -> None:
        ends = self._direct.drains.is_set()
        trace = self._head.trace
        if headers is _RECEIPT and trace is None and self._head.wait is None and not ends:
            # What is made below, for nearly all answers there are.
            head = (
                f"HTTP/1.1 {status} {_REASONS[status]}\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(body)}\r\nDate: {rfc822_formatted_time()}\r\nServer: {context.SERVER}\r\n"
                f"{context.REQUEST_ID_HEADER}: {self._request_id}\r\nCache-Control: no-store\r\n"
                "X-Content-Type-Options: nosniff\r\n\r\n"
            )
        else:
            head = self._spell_head(status, headers, len(body), reason, ends=ends)
        edge = self._direct.edge
        edge.tell(
            method="POST",
            route=EVENTS,
            status=status,
            seconds=self.age_seconds,
            credential=self._caller,
            count=self._count,
            request_id=self._request_id,
            trace=trace,
        )
        self._connection.answer(head.encode() + body, ends=ends)

    def _spell_head(
        self, status: int, headers: Mapping[str, str], size_bytes: int, reason: str | None, *, ends: bool
    ) -> str:
        sent = CIMultiDict(headers)
        sent[hdrs.CONTENT_LENGTH] = str(size_bytes)
        sent[hdrs.DATE] = rfc822_formatted_time()
        sent[hdrs.SERVER] = context.SERVER
        if ends:
            sent[hdrs.CONNECTION] = "close"
        context.accompany(sent, self._request_id, self._head.trace, self._head.wait)
        return "\r\n".join([f"HTTP/1.1 {status} {reason or _REASONS[status]}", *map(": ".join, sent.items()), "\r\n"])
