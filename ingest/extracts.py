"""`POST /v1/categories/{category}/extracts`: check the request, journal it, stream the container."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, cast

import structlog
from aiohttp import hdrs, web
from msgspec import UNSET, Struct, UnsetType

from ingest import diagnosis
from ingest.access import compartment_of, media_type, read_body
from ingest.context import bound_of
from ingest.problems import MISSHAPEN, ProblemError, about
from ingest.shapes import Day, Text128, Text256  # noqa: TC001  (msgspec reads the annotations)
from journal.core.entry import ACTIONS
from journal.core.errors import EmptyError
from journal.core.faults import Fault
from journal.core.times import format_day, parse_day
from journal.extract.grounds import Authorisation
from journal.reading.plan import ExtractRequest

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from datetime import date

    from ingest.edge import Edge
    from journal.core.entry import Compartment
    from journal.database.ingest import CredentialRow


log = structlog.get_logger()

MEDIA_TYPE = "application/vnd.etsi.asic-e+zip"
BODY_LIMIT_BYTES = 16 * 1024


async def post_extract(request: web.Request, edge: Edge, caller: CredentialRow) -> web.StreamResponse:
    """Stream an extract; an auditor's withholds every entry. One that was cut off does not verify."""
    compartment = compartment_of(request, edge.service, caller)
    media_type(request, ("application/json",))
    body = await read_body(
        request, limit_bytes=BODY_LIMIT_BYTES, limits=edge.limits, bodies=edge.bodies, commune=caller.tenant
    )
    extraction = edge.service.extraction
    person = edge.service.persons.open(caller.tenant, caller.id, caller.person)
    async with edge.extracts.hold(caller.tenant):
        try:
            wanted = replace(decode_request(body), person=person)
        except ProblemError as problem:
            said = {"credential": caller.id, "person": person.as_json() if person is not None else None}
            await extraction.record_refusal(compartment, caller.id, _fault_of(problem), said)
            raise
        disclose = caller.role == "client" and not wanted.withhold_all
        return await answer(request, edge, compartment, wanted, requested_by=caller.id, disclose=disclose)


def _fault_of(problem: ProblemError) -> str:
    """Return the first fault of a body that is no request: where it is and why, never what was sent."""
    return next((f"{fault.pointer}: {fault.reason}" for fault in problem.faults), problem.detail)


async def answer(
    request: web.Request,
    edge: Edge,
    compartment: Compartment,
    wanted: ExtractRequest,
    *,
    requested_by: str,
    disclose: bool,
) -> web.StreamResponse:
    """Record a request and answer its extract; where nothing matches, that is recorded too, and EmptyError raised."""
    extraction = edge.service.extraction
    made = await extraction.open(compartment, wanted, requested_by=requested_by, disclose=disclose)
    # A generator: it must be closed in any case, which releases what it holds.
    container = cast("AsyncGenerator[bytes, None]", made.chunks())
    name = file_name(compartment, wanted, made.request.index, disclose=disclose)
    try:
        return await stream(request, container, name, edge, requested_by)
    except EmptyError as error:
        await extraction.record_empty(compartment, wanted, requested_by, made.request.index, error)
        raise


def file_name(compartment: Compartment, wanted: ExtractRequest, index: int, *, disclose: bool) -> str:
    """Return the name of an extract's file: days, what kind it is, and the entry of its request; nothing personal."""
    first, last = format_day(wanted.from_day), format_day(wanted.to_day)
    kinds = {"un-compte": wanted.account, "une-fiche": wanted.subject, "une-action": wanted.action}
    kind = "".join(f"-{word}" for word, value in kinds.items() if value is not None) if disclose else "-preuve"
    return f"{compartment.tenant}_{compartment.category}_{first}_{last}{kind}_n{index}.asice"


async def stream(
    request: web.Request,
    chunks: AsyncGenerator[bytes, None],
    name: str,
    edge: Edge,
    asked_by: str,
    *,
    kind: str = MEDIA_TYPE,
    size_bytes: int | None = None,
) -> web.StreamResponse:
    """Answer a container, or a file of another kind, under this name; one that was cut off does not verify."""
    # Before the answer begins: whether anything is disclosed is known with the first bytes.
    first = await anext(chunks)
    bound_of(request).stop()
    response = web.StreamResponse(
        headers={
            hdrs.CONTENT_TYPE: kind,
            hdrs.CONTENT_DISPOSITION: f'attachment; filename="{name}"',
        }
    )
    response.content_length = size_bytes
    await response.prepare(request)
    try:
        async with aclosing(chunks):
            await _write(response, first, edge)
            async for chunk in chunks:
                await _write(response, chunk, edge)
        await response.write_eof()
    except ConnectionError:
        pass  # the caller has disconnected
    except Exception as error:  # noqa: BLE001  (after any error the answer must not look complete)
        log.error("a download was cut off", **about(error), credential=asked_by)
        if request.transport is not None:
            request.transport.abort()
    return response


async def _write(response: web.StreamResponse, chunk: bytes, edge: Edge) -> None:
    async with asyncio.timeout(edge.limits.chunk_seconds):
        await response.write(chunk)


if TYPE_CHECKING:
    Action = str
else:  # msgspec reads the literals of the one table; mypy reads no computed ones
    Action = Literal[tuple(ACTIONS)]


class ExtractFilter(Struct, forbid_unknown_fields=True, kw_only=True):
    """Disclose only the entries equal in every member given, of accesses on these days; the others are withheld.

    `withhold`, alone: all are.
    """

    account: Text128 | UnsetType = UNSET
    action: Action | UnsetType = UNSET
    occurred_from: Day | UnsetType = UNSET
    occurred_to: Day | UnsetType = UNSET
    subject: Text256 | UnsetType = UNSET
    withhold: Literal["all"] | UnsetType = UNSET


class AuthorisationBody(Struct, forbid_unknown_fields=True, kw_only=True):
    """Who authorised the extract, on which day, under which reference."""

    date: Day
    issuer: Text256
    reference: Text256


class ExtractBody(Struct, forbid_unknown_fields=True, kw_only=True, rename={"from_day": "from", "to_day": "to"}):
    """Whole UTC days of recording, both included; who asks, and for which of the purposes the law allows.

    `even_if_empty`: sign an extract also where no entry matches the filter, instead of answering `empty`.
    """

    authorisation: AuthorisationBody | UnsetType = UNSET
    even_if_empty: bool | UnsetType = UNSET
    filter: ExtractFilter | UnsetType = UNSET
    from_day: Day
    purpose: Literal["lawfulness", "self-monitoring", "integrity-security", "criminal-proceedings"]
    request_reference: Text256 | UnsetType = UNSET
    requester: Text256
    to_day: Day


_SHAPE = diagnosis.shape_of(ExtractBody)


def _day(text: str | None) -> date | None:
    return None if text is None else parse_day(text)


def decode_request(body: bytes) -> ExtractRequest:
    """Decode a request. Raises ProblemError (400) with every fault of its shape."""
    value: dict[str, Any] = diagnosis.parse(body)
    if faults := diagnosis.check(value, _SHAPE):
        detail = "The body is not a valid request for an extract."
        raise ProblemError(MISSHAPEN, detail, faults=[Fault(0, *fault) for fault in faults])
    wanted, given = value.get("filter", {}), value.get("authorisation")
    return ExtractRequest(
        from_day=parse_day(value["from"]),
        to_day=parse_day(value["to"]),
        purpose=value["purpose"],
        requester=value["requester"],
        account=wanted.get("account"),
        subject=wanted.get("subject"),
        action=wanted.get("action"),
        occurred_from=_day(wanted.get("occurred_from")),
        occurred_to=_day(wanted.get("occurred_to")),
        request_reference=value.get("request_reference"),
        withhold_all="withhold" in wanted,
        even_if_empty=value.get("even_if_empty", False),
        authorisation=Authorisation(given["issuer"], parse_day(given["date"]), given["reference"]) if given else None,
    )
