"""`POST /v1/categories/{category}/extracts`: the request checked, journaled, then the container streamed."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, cast

import structlog
from aiohttp import hdrs, web

from ingest.auth import compartment_of
from ingest.bodies import media_type, read_body
from ingest.edge import CALLER
from ingest.extract_request import decode_request
from ingest.problems import about
from journal.core.times import format_day

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from datetime import date

    from ingest.edge import Edge
    from journal.core.entry import Compartment
    from journal.store import CredentialRow

log = structlog.get_logger()

MEDIA_TYPE = "application/vnd.etsi.asic-e+zip"
BODY_LIMIT_BYTES = 16 * 1024


async def post_extract(request: web.Request, edge: Edge, caller: CredentialRow) -> web.StreamResponse:
    """Stream an extract; an auditor's withholds every entry. What ends early was cut off, and does not verify."""
    compartment = compartment_of(request, edge.service, caller)
    media_type(request, ("application/json",))
    body = await read_body(
        request, limit_bytes=BODY_LIMIT_BYTES, limits=edge.limits, bodies=edge.bodies, credential=caller.id
    )
    wanted = decode_request(body)
    with edge.extracts.hold(caller.id, 1):
        chunks = await edge.service.extraction.extract(
            compartment, wanted, requested_by=caller.id, disclose=caller.role == "client"
        )
        # A generator: closing it, whatever happens, is what gives back what it holds.
        container = cast("AsyncGenerator[bytes, None]", chunks)
        return await _stream(request, container, _file_name(compartment, wanted.from_day, wanted.to_day), edge)


def _file_name(compartment: Compartment, first: date, last: date) -> str:
    return f"{compartment.tenant}_{compartment.category}_{format_day(first)}_{format_day(last)}.asice"


async def _stream(
    request: web.Request, chunks: AsyncGenerator[bytes, None], file_name: str, edge: Edge
) -> web.StreamResponse:
    response = web.StreamResponse(
        headers={
            hdrs.CONTENT_TYPE: MEDIA_TYPE,
            hdrs.CONTENT_DISPOSITION: f'attachment; filename="{file_name}"',
        }
    )
    await response.prepare(request)
    try:
        async with aclosing(chunks):
            async for chunk in chunks:
                async with asyncio.timeout(edge.limits.chunk_seconds):
                    await response.write(chunk)
        await response.write_eof()
    except ConnectionError:
        pass  # the caller has gone away: there is nobody to tell
    except Exception as error:  # noqa: BLE001  (whatever it is, the answer must not end as if it were whole)
        log.error("an extract was cut off", **about(error), credential=request[CALLER].id)
        if request.transport is not None:
            request.transport.abort()
    return response
