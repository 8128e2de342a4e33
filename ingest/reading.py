"""What clients, auditors and operators read: heads, seals, trust, status. Modules read nothing."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

import orjson
from aiohttp import web

from ingest.auth import compartment_of
from ingest.problems import BAD_REQUEST, ProblemError

if TYPE_CHECKING:
    from ingest.edge import Edge
    from journal.store import CredentialRow

SEALS_LIMIT = 100
_NUMBER = re.compile(r"[0-9]{1,15}").fullmatch


async def get_head(request: web.Request, edge: Edge, caller: CredentialRow) -> web.StreamResponse:
    """Answer the latest seal with this chain's head and path: what an auditor keeps as a known seal."""
    compartment = compartment_of(request, edge.service, caller)
    return web.Response(body=await edge.service.reader.head(compartment), content_type="application/json")


async def get_seals(request: web.Request, edge: Edge, _: CredentialRow) -> web.StreamResponse:
    """Answer the seals numbered above `after`, at most SEALS_LIMIT, in order."""
    given = request.query.getall("after", ["0"])
    if len(given) != 1 or not _NUMBER(given[0]):
        raise ProblemError(BAD_REQUEST, "The parameter after is the number of a seal, given once.")
    return _json({"seals": await edge.service.reader.seals(int(given[0]), SEALS_LIMIT)})


async def get_trust(_: web.Request, edge: Edge, __: CredentialRow) -> web.StreamResponse:
    """Answer the certificates that seals and extracts lead to (PEM)."""
    pem = await asyncio.to_thread(edge.service.reader.trust)
    return web.Response(body=pem, content_type="application/pem-certificate-chain")


async def get_status(_: web.Request, edge: Edge, caller: CredentialRow) -> web.StreamResponse:
    """Answer plain counters of the tenant's categories this credential may see; never by agent."""
    rows = await edge.service.reader.status(caller.tenant)
    categories = [row for row in rows if row["category"] in caller.categories]
    return _json({"tenant": caller.tenant, "categories": categories})


def _json(value: object) -> web.Response:
    return web.Response(body=orjson.dumps(value), content_type="application/json")
