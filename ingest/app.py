"""The HTTP edge: the table of calls, and what applies to all of them.

Around each call: one log line, one translation of errors into problems (RFC 9457), fixed headers. Before each call
that is not public: the credential, its role, its rate.
"""

from __future__ import annotations

import asyncio
import traceback
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import structlog
from aiohttp import hdrs, web

from ingest import context
from ingest.access import Limits
from ingest.console.pages import refusal_of_nobody
from ingest.console.routes import PATHS, add_console, is_of_console
from ingest.downloads import get_verifier, get_verifier_digest, get_verifier_page
from ingest.edge import CALLER, COUNT, EDGE, REFUSAL, make_edge
from ingest.extracts import post_extract
from ingest.instruments import UNKNOWN_ROUTE
from ingest.me import BATCH_LIMIT_BYTES, get_me
from ingest.probes import get_health, get_metrics, get_readiness, get_recording
from ingest.problems import (
    BAD_REQUEST,
    EXPECTATION,
    INTERNAL,
    ProblemError,
    about,
    absent,
    problem_of,
    response_of,
)
from ingest.reading import get_extracts, get_head, get_seals, get_status, get_trust
from ingest.reference import get_docs, get_openapi
from ingest.submissions import post_events
from journal.core.errors import BusyError, JournalError, SubmissionError
from journal.core.faults import EXPECT, HEADER, PARAMETER, Fault

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import date

    from ingest.edge import Handler, PublicHandler
    from journal.papers.making import Papers
    from journal.service import Service

    Make = Callable[[str, date], Awaitable[bytes]]

log = structlog.get_logger()

# Set when the service is stopped and another process will answer: every answer then ends its connection.
DRAINS: web.AppKey[asyncio.Event] = web.AppKey("DRAINS", asyncio.Event)
# Of what a caller calls a parameter, so much is repeated to it.
NAME_LIMIT = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call: method, path, its handler for these roles or `public` for everyone, the query parameters it takes.

    A call of the host alone is absent for whoever comes through a trusted proxy. It is answered within `wait_seconds`,
    or as many as the caller prefers.
    """

    method: str
    path: str
    roles: frozenset[str] = frozenset()
    handler: Handler | None = None
    public: PublicHandler | None = None
    query: frozenset[str] = frozenset()
    host_only: bool = False
    wait_seconds: float = context.WAIT_SECONDS


EVENTS = "/v1/categories/{category}/events"

MODULE = frozenset({"module"})
READERS = frozenset({"client", "auditor"})
EVERYONE = MODULE | READERS | {"operator"}
# Load balancers and monitors use either method; the server sends no body for HEAD.
PROBE = ("GET", "HEAD")

CALLS = (
    Call(method="POST", path=EVENTS, roles=MODULE, handler=post_events, query=frozenset({"dry_run"})),
    Call(method="GET", path="/v1/me", roles=EVERYONE, handler=get_me),
    Call(
        method="POST",
        path="/v1/categories/{category}/extracts",
        roles=READERS,
        handler=post_extract,
        wait_seconds=context.EXTRACT_WAIT_SECONDS,
    ),
    Call(
        method="GET",
        path="/v1/extracts",
        roles=READERS,
        handler=get_extracts,
        query=frozenset({"after", "limit"}),
    ),
    Call(method="GET", path="/v1/categories/{category}/head", roles=READERS, handler=get_head),
    Call(method="GET", path="/v1/seals", roles=READERS, handler=get_seals, query=frozenset({"after"})),
    Call(method="GET", path="/v1/trust", roles=READERS, handler=get_trust),
    Call(method="GET", path="/v1/status", roles=frozenset({"client", "operator"}), handler=get_status),
    Call(method="GET", path="/v1/openapi.json", public=get_openapi),
    Call(method="GET", path="/docs", public=get_docs),
    Call(method="GET", path="/verifier", public=get_verifier_page),
    Call(method="GET", path="/journal-verify.pyz", public=get_verifier),
    Call(method="GET", path="/journal-verify.pyz.sha256", public=get_verifier_digest),
    *(Call(method=method, path="/healthz", public=get_health) for method in PROBE),
    *(Call(method=method, path="/recordz", public=get_recording) for method in PROBE),
    *(Call(method=method, path="/readyz", public=get_readiness, host_only=True) for method in PROBE),
    Call(method="GET", path="/metrics", public=get_metrics, host_only=True),
)


def create_app(
    service: Service,
    limits: Limits | None = None,
    *,
    attest: Make | None = None,
    slip: Make | None = None,
    papers: Papers | None = None,
) -> web.Application:
    """Return the application for a started service; serve it with `server.Runner`.

    `attest` makes the document of a commune and day that says what was destroyed, `slip` that of what was handed
    over in a night, `papers` those about the journal itself.
    """
    app = web.Application(middlewares=[_observe], client_max_size=BATCH_LIMIT_BYTES)
    app[EDGE] = make_edge(service, limits or Limits(), [*(call.path for call in CALLS), *PATHS])
    app[DRAINS] = asyncio.Event()
    for call in CALLS:
        app.router.add_route(call.method, call.path, partial(_answer, call), expect_handler=_expect)
    if service.settings.console:
        add_console(app, app[EDGE], attest, slip, papers)
    app.on_response_prepare.append(_set_headers)
    # The first receipt is signed already.
    app.on_startup.append(lambda _: service.receipt_keys.prepare())
    return app


async def _answer(call: Call, request: web.Request) -> web.StreamResponse:
    """Answer a request within the time its caller waits."""
    async with context.bind(request, call.wait_seconds).running():
        await request.app[EDGE].turns.wait()
        return await _pass(call, request)


async def _pass(call: Call, request: web.Request) -> web.StreamResponse:
    """Pass a request to its handler, or refuse it."""
    edge = request.app[EDGE]
    if call.host_only and edge.proxies.passed_on(request):
        raise absent()
    if call.handler is None:
        assert call.public is not None
        _check_query(request, call)
        return await call.public(request, edge)
    caller = await edge.gate.authenticate(request)
    request[CALLER] = caller
    if caller.role not in call.roles:
        raise absent()
    edge.count(caller)
    _check_query(request, call)
    return await call.handler(request, edge, caller)


def _check_query(request: web.Request, call: Call) -> None:
    if unknown := sorted(set(request.query) - call.query):
        taken = ", ".join(sorted(call.query)) or "none"
        found = [Fault(0, "", PARAMETER, "is not known here", parameter=name[:NAME_LIMIT]) for name in unknown[:10]]
        raise ProblemError(BAD_REQUEST, f"Unknown query parameter; this call takes: {taken}.", faults=found)


@web.middleware
async def _observe(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Answer every error as a problem, and write the one log line of each request."""
    edge = request.app[EDGE]
    clock = edge.service.clock
    started_at = clock.monotonic()
    request[context.REQUEST_ID] = context.identify(request.headers)
    trace = context.traceparent(request.headers)
    status = 0  # the caller disconnected before an answer
    try:
        response = await _guarded(request, handler)
        status = response.status
    finally:
        caller = request.get(CALLER)
        resource = request.match_info.route.resource
        route = resource.canonical if resource else UNKNOWN_ROUTE
        edge.tell(
            method=request.method,
            route=route,
            status=status,
            seconds=clock.monotonic() - started_at,
            credential=caller.id if caller else None,
            count=request.get(COUNT),
            request_id=request[context.REQUEST_ID],
            trace=trace,
        )
        if route == EVENTS and (reason := request.get(REFUSAL)):
            edge.instruments.refused(reason, request.get(COUNT, 0))
    return response


async def _guarded(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    if hdrs.UPGRADE in request.headers:
        # A reverse proxy might not read what follows as HTTP (request smuggling).
        return _refuse(request, _no_upgrade())
    try:
        return await handler(request)
    except ConnectionError:
        raise
    except Exception as error:  # noqa: BLE001  (the outermost handler: every error becomes an answer)
        problem = problem_of(error)
        if problem is None:
            return _refuse(request, failed(error, request[context.REQUEST_ID]))
        if isinstance(error, JournalError) and not isinstance(error, BusyError | SubmissionError):
            log.warning("a request was not served", **about(error))
        return _refuse(request, problem)


def _no_upgrade() -> ProblemError:
    detail = "Upgrade to another protocol is not supported."
    found = [Fault(0, "", HEADER, "is not supported", header=hdrs.UPGRADE)]
    return ProblemError(BAD_REQUEST, detail, faults=found, close=True)


def _refuse(request: web.Request, problem: ProblemError) -> web.Response:
    request[REFUSAL] = problem.kind.name
    service = request.app[EDGE].service
    if is_of_console(request, service.settings):
        return refusal_of_nobody(request, problem, service.name)
    return response_of(problem, request_id=request[context.REQUEST_ID])


def failed(error: BaseException, request_id: str) -> ProblemError:
    """Return the answer to an unexpected error; its identifier is in the log too, which holds places but no values."""
    places = [f"{frame.name}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)[-6:]]
    log.error("a request failed", request_id=request_id, kind=type(error).__name__, places=places)
    detail = f"The failure is logged under {request_id}. Whether the request took effect is unknown: send it again."
    return ProblemError(INTERNAL, detail)


async def _expect(request: web.Request) -> web.StreamResponse | None:
    """Answer 100-continue; refuse any other expectation (RFC 9110 section 10.1.1)."""
    if request.headers[hdrs.EXPECT].lower() != "100-continue":
        request[context.REQUEST_ID] = context.identify(request.headers)
        detail = "The only expectation supported is 100-continue."
        found = [Fault(0, "", EXPECT, "is not supported", header=hdrs.EXPECT)]
        return _refuse(request, ProblemError(EXPECTATION, detail, faults=found, close=True))
    await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    request.writer.output_size = 0
    return None


async def _set_headers(request: web.Request, response: web.StreamResponse) -> None:
    if request.app[DRAINS].is_set():
        response.force_close()
        response.headers[hdrs.CONNECTION] = (
            "close"  # by now aiohttp has written this header for a connection that stays
        )
    headers = request.headers
    context.accompany(
        response.headers,
        request.get(context.REQUEST_ID),
        context.traceparent(headers),
        context.preferred_wait(headers),
    )
