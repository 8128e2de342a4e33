"""`POST /v1/categories/{category}/events`: events in, receipts out, once they are durable."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, nullcontext, suppress
from typing import TYPE_CHECKING

import orjson
from aiohttp import web

from ingest import assistance
from ingest.access import compartment_of, media_type, read_body
from ingest.context import bound_of
from ingest.edge import COUNT
from ingest.events import SINGLE_LIMIT_BYTES, read_batch, read_single, read_usual_batch
from ingest.me import BATCH_LIMIT_BYTES
from ingest.problems import BAD_REQUEST, ProblemError, absent
from journal.clock import begun
from journal.core.entry import JOURNAL_CATEGORY
from journal.core.errors import JournalError, SubmissionError
from journal.core.faults import OF_THE_CLOCK, PARAMETER, Fault

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator
    from datetime import datetime

    from ingest.edge import Edge
    from ingest.examination import Reading
    from journal.core.entry import Compartment
    from journal.database.ingest import CredentialRow
    from journal.writing.remote import Given

SINGLE = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"
# Decoding up to here, a thousand usual events, holds the event loop for a few milliseconds; larger bodies, and those in
# which faults are to be found, are decoded in a thread.
INLINE_LIMIT_BYTES = 384 * 1024


async def post_events(request: web.Request, edge: Edge, caller: CredentialRow) -> web.StreamResponse:
    """Record one event or a batch, completely or not at all; answer the receipts.

    Nothing is refused for its time while the clocks of service and database differ: the caller is asked to come back.

    A caller that disconnects does not undo its submission: handlers are not cancelled when their connection ends, and
    the writer shields what it has queued.
    """
    compartment = compartment_of(request, edge.service, caller)
    if compartment.category == JOURNAL_CATEGORY:
        raise absent()
    is_dry = _is_dry(request)
    kind = media_type(request, (SINGLE, BATCH))
    body = await read_body(
        request,
        limit_bytes=SINGLE_LIMIT_BYTES if kind == SINGLE else BATCH_LIMIT_BYTES,
        limits=edge.limits,
        bodies=edge.bodies,
        commune=caller.tenant,
    )
    edge.instruments.received("single" if kind == SINGLE else "batch", len(body))
    is_large = kind == BATCH and len(body) > INLINE_LIMIT_BYTES
    async with _turn(edge, caller.tenant, is_large=is_large) as is_alone:
        then, now, prefix = begun(edge.service.clock), edge.service.clock.now(), caller.source_prefix or ""
        if kind == SINGLE:
            reading = read_single(body, now, prefix)
        elif is_large or (usual := read_usual_batch(body, now, prefix)) is None:
            async with nullcontext() if is_alone else edge.decoding.hold(caller.tenant):
                reading = await asyncio.to_thread(read_batch, body, now, prefix)
        else:
            reading = usual
        request[COUNT] = len(reading.events)
        try:
            if is_dry:
                return await _look_ahead(edge, compartment, reading)
            given = await _record(request, edge, caller, compartment, reading)
        except SubmissionError as error:
            if any(fault.code in OF_THE_CLOCK for fault in error.faults):
                await edge.service.agreement.check(then)
            raise
    edge.instruments.settled(given)
    return web.Response(
        body=given.body,
        status=201 if given.recorded else 200,
        content_type="application/json",
    )


def _is_dry(request: web.Request) -> bool:
    given = request.query.getall("dry_run", ["false"])
    if len(given) != 1 or given[0] not in ("true", "false"):
        reason = "is true or false, given once"
        found = [Fault(0, "", PARAMETER, reason, parameter="dry_run")]
        raise ProblemError(BAD_REQUEST, f"The parameter dry_run {reason}.", faults=found)
    return given == ["true"]


async def _look_ahead(edge: Edge, compartment: Compartment, reading: Reading) -> web.StreamResponse:
    """Answer what would become of each event; nothing is stored. Raises SubmissionError with every fault there is."""
    found = reading.faults
    found.extend(_at(reading, assistance.check(compartment.category, reading.events)))
    outlook = await edge.service.writer.look_ahead(compartment, reading.events)
    found.extend(_at(reading, outlook.faults))
    if found.count:
        raise found.error()
    outcomes: dict[tuple[str, str, datetime], str] = {}
    answered: list[str] = []
    for position, event in enumerate(reading.events):
        name = (event.source, event.id, event.time)
        answered.append("known" if position in outlook.known or name in outcomes else "new")
        outcomes[name] = answered[-1]
    return web.Response(body=orjson.dumps({"dry_run": True, "outcomes": answered}), content_type="application/json")


async def _record(
    request: web.Request, edge: Edge, caller: CredentialRow, compartment: Compartment, reading: Reading
) -> Given:
    """Record what was read, if nothing is wrong with it; else raise a SubmissionError with every fault there is."""
    found = reading.faults
    found.extend(_at(reading, assistance.check(compartment.category, reading.events)))
    if not found.count:
        try:
            return await edge.service.submit(
                compartment,
                caller.id,
                reading.events,
                request.content_length or 0,
                answer_seconds=bound_of(request).left_seconds,
            )
        except SubmissionError as error:
            found.extend(_at(reading, error.faults))
    # Without an answer of the database, what is certain is told.
    with suppress(JournalError):
        outlook = await edge.service.writer.look_ahead(compartment, reading.events)
        told = {fault[:3] for fault in found.listed}
        found.extend(fault for fault in _at(reading, outlook.faults) if fault[:3] not in told)
    raise found.error()


def _at(reading: Reading, found: Iterable[Fault]) -> Iterator[Fault]:
    """Give faults of the events that were read the positions that these have in their body."""
    return (fault._replace(position=reading.positions[fault.position]) for fault in found)


@asynccontextmanager
async def _turn(edge: Edge, commune: str, *, is_large: bool) -> AsyncIterator[bool]:
    """Wait for a turn if the commune submits much while others submit; give whether nothing else is decoded meanwhile.

    Its large batches go on one at a time, from their decoding to their receipts.
    """
    if not edge.service.writer.takes_turns(commune):
        yield False
        return
    async with (edge.decoding if is_large else edge.heavy).hold(commune):
        yield is_large
