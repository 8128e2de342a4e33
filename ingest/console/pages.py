"""The table of pages, and what applies to all of them: who may see which, forms, refusals as pages.

`routes.PAGES` is the one list: a page that is not in it does not exist, and one for another role looks as if it did
not. A form is taken only from a page of this site (Fetch Metadata, Origin) and with the token of its session.
"""

from __future__ import annotations

import hmac
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

import structlog
from aiohttp import hdrs, web

from ingest import context
from ingest.access import LOOKS_PER_SECOND, SNAPSHOT_LIMIT_SECONDS, RequestRate, read_body
from ingest.console import sessions
from ingest.console.purges import Purges
from ingest.console.rendering import page
from ingest.problems import ABSENT, BAD_REQUEST, ProblemError, about, problem_of
from journal.core.errors import JournalError, StoreError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    from ingest.console.sessions import Session
    from ingest.edge import Edge
    from journal.admin.persons import People
    from journal.database.persons import PersonRow
    from journal.keys.persons import Identity
    from journal.papers.making import Papers

log = structlog.get_logger()

ROOT = "/console"
FORM_LIMIT_BYTES = 16 * 1024
FORM_LIMIT_FIELDS = 64
FORM_TYPE = "application/x-www-form-urlencoded"
ATTEMPTS_PER_SECOND = 5 / 900
ATTEMPTS = 5
LOGINS_REMEMBERED = 10_000

COMMUNE = frozenset({"referent", "reader", "auditor"})
ALL = COMMUNE | {"operator"}


@dataclass(slots=True)
class Console:
    """The console of an edge; `attest` makes the document that says what a purge destroyed, `slip` a hand-over's.

    `papers` makes those about the journal itself.
    """

    edge: Edge
    people: People
    papers: Papers
    attest: Callable[[str, Any], Awaitable[bytes]] | None = None
    slip: Callable[[str, Any], Awaitable[bytes]] | None = None
    attempts: RequestRate = field(init=False)
    attempts_from: RequestRate = field(init=False)
    looks: RequestRate = field(init=False)
    purges: Purges = field(init=False)

    def __post_init__(self) -> None:
        """Begin to count attempts to sign in, by login and by network, and to read what was destroyed."""
        clock = self.edge.service.clock
        self.attempts = RequestRate(clock, ATTEMPTS_PER_SECOND, ATTEMPTS, buckets=LOGINS_REMEMBERED)
        self.attempts_from = RequestRate(clock, 10 * ATTEMPTS_PER_SECOND, 10 * ATTEMPTS, buckets=LOGINS_REMEMBERED)
        self.looks = RequestRate(clock, LOOKS_PER_SECOND, LOOKS_PER_SECOND)
        self.purges = Purges(self.edge.service)

    async def look(self) -> None:
        """Read what has changed, a few times a second at most: another process may just have invited somebody."""
        if not self.looks.wait_seconds(""):
            with suppress(StoreError, OSError):
                await self.edge.service.snapshot.refresh()

    def check_snapshot(self) -> None:
        """Raise UnavailableError while a person who was revoked meanwhile could still pass."""
        if self.edge.service.snapshot.age_seconds() > SNAPSHOT_LIMIT_SECONDS:
            raise UnavailableError("persons cannot be checked: the database has not answered")

    def now(self) -> float:
        """Return the service's clock, in seconds since 1970."""
        return self.edge.service.clock.now().timestamp()


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """One request of a signed-in person."""

    console: Console
    request: web.Request
    session: Session
    row: PersonRow
    identity: Identity

    def turn(self) -> AbstractAsyncContextManager[None]:
        """Wait for a turn to make a document, each in a process of its own, as for an extract. Raises BusyError."""
        return self.console.edge.extracts.hold(self.row.tenant)

    def page(self, template: str, *, status: int = 200, **values: Any) -> web.Response:
        """Return a page with its head and navigation."""
        service = self.console.edge.service
        tenant = service.snapshot.tenant(self.row.tenant)
        common = {
            "commune": tenant.name if tenant is not None else "",
            "contact": service.settings.notify_contact or "",
            "identity": self.identity,
            "path": self.request.path,
            "role": self.row.role,
            "row": self.row,
            "service": service.name,
            "token": self.session.form_token(self.console.people.mac),
        }
        return page(template, common | values, status=status)


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One page for some roles: its handler is given the visit and the fields of the form or query."""

    method: str
    path: str
    roles: frozenset[str]
    handler: Callable[[Visit, dict[str, str]], Awaitable[web.StreamResponse]]


async def visit(page_: Page, console: Console, request: web.Request) -> web.StreamResponse:
    """Answer a page, or say in a page why not."""
    seen: Visit | None = None
    try:
        async with context.bind(request, context.EXTRACT_WAIT_SECONDS).running():
            seen = await _recognise(console, request)
            if seen is None:
                return _to_sign_in()
            response = await page_.handler(seen, await _fields(page_, seen))
    except (ProblemError, JournalError, web.HTTPException) as error:
        if seen is None:
            raise
        response = _refusal(seen, error)
    # Who signs out is given nothing.
    if not response.prepared and sessions.COOKIE not in response.cookies:
        seen.session.give(response, console.people.mac, console.now())
    return response


def _to_sign_in() -> web.Response:
    response = web.Response(status=303, headers={hdrs.LOCATION: f"{ROOT}/connexion"})
    sessions.forget(response)
    return response


async def _recognise(console: Console, request: web.Request) -> Visit | None:
    """Return the visit of somebody signed in; None for anybody else. Raises JournalError where that is not known."""
    people = console.people
    session = sessions.read_session(request, people.mac, console.now())
    if session is None:
        return None
    console.check_snapshot()
    row = people.current(session.person)
    if row is None or not session.is_of(row):
        await console.look()
        row = people.current(session.person)
    if row is None or not session.is_of(row) or await _is_signed_out(console, session):
        return None
    return Visit(console=console, request=request, session=session, row=row, identity=people.identity(row))


async def _fields(page_: Page, seen: Visit) -> dict[str, str]:
    """Return the fields of the form, or of the query, of somebody who may see a page. Raises ProblemError."""
    if seen.row.role not in page_.roles:
        raise ProblemError(ABSENT, "")
    if page_.method != hdrs.METH_POST:
        return dict(seen.request.query)
    fields = await read_form(seen.console.edge, seen.request, seen.row.tenant)
    expected = seen.session.form_token(seen.console.people.mac)
    # As bytes: what was sent may hold any character.
    if not hmac.compare_digest(fields.pop("token", "").encode(), expected.encode()):
        raise ProblemError(BAD_REQUEST, "")
    return fields


async def _is_signed_out(console: Console, session: Session) -> bool:
    ended = await console.edge.service.store.signed_out_at(session.person)
    return ended is not None and session.began_at <= ended.timestamp()


async def read_form(edge: Edge, request: web.Request, commune: str) -> dict[str, str]:
    """Return the fields of a form that a page of this site sent. Raises ProblemError."""
    if not _is_from_here(request):
        raise ProblemError(BAD_REQUEST, "")
    if request.content_type != FORM_TYPE:
        raise ProblemError(BAD_REQUEST, "")
    body = await read_body(
        request, limit_bytes=FORM_LIMIT_BYTES, limits=edge.limits, bodies=edge.bodies, commune=commune
    )
    try:
        pairs = parse_qsl(
            body.decode(), keep_blank_values=True, max_num_fields=FORM_LIMIT_FIELDS, encoding="utf-8", errors="strict"
        )
    except ValueError as error:
        raise ProblemError(BAD_REQUEST, "") from error
    return dict(pairs)


def _is_from_here(request: web.Request) -> bool:
    """Tell whether a page of this site sent the request; browsers say so (Fetch Metadata, or Origin, RFC 6454)."""
    if (site := request.headers.get("Sec-Fetch-Site")) is not None:
        return site == "same-origin"
    origin = urlsplit(request.headers.get(hdrs.ORIGIN, ""))
    return origin.scheme == scheme_of(request.host) and origin.netloc == request.host


def scheme_of(host: str) -> str:
    """Return what pages under this host are asked for by: browsers keep no session without TLS but on this machine."""
    is_local = host.startswith("[::1]") or host.partition(":")[0] in {"127.0.0.1", "localhost"}
    return "http" if is_local else "https"


def _refusal(seen: Visit, error: Exception) -> web.Response:
    problem = problem_of(error)
    assert problem is not None  # of the kinds that `visit` catches
    if isinstance(error, JournalError):
        log.warning("a page was not served", **about(error))
    return finish(seen.page("refus.html", status=problem.kind.status, kind=problem.kind.name), problem)


def refusal_of_nobody(request: web.Request, problem: ProblemError, service: str) -> web.Response:
    """Return a refusal as a page to whoever is not known to be signed in."""
    values = {"kind": problem.kind.name, "path": request.path, "service": service}
    return finish(page("refus.html", values, status=problem.kind.status), problem)


def finish(response: web.Response, problem: ProblemError) -> web.Response:
    """Give a page the headers of a problem, and end the connection where its next bytes may be no request."""
    response.headers.update(problem.headers)
    if problem.close:
        response.force_close()
    return response
