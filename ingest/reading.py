"""The calls that read: heads, seals, trust, status, the register. Modules may make none of them."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

import orjson
from aiohttp import web

from ingest.access import compartment_of
from ingest.problems import BAD_REQUEST, ProblemError
from journal.core.faults import PARAMETER, Fault
from journal.reading.register import Register

if TYPE_CHECKING:
    from ingest.edge import Edge
    from journal.database.ingest import CredentialRow

SEALS_LIMIT = 100
EXTRACTS_LIMIT = 100
_NUMBER = re.compile(r"[0-9]{1,15}").fullmatch


async def get_head(request: web.Request, edge: Edge, caller: CredentialRow) -> web.StreamResponse:
    """Answer the latest seal with this chain's head and path, which an auditor keeps as a known seal."""
    compartment = compartment_of(request, edge.service, caller)
    return web.Response(body=await edge.service.reader.head(compartment), content_type="application/json")


async def get_seals(request: web.Request, edge: Edge, _: CredentialRow) -> web.StreamResponse:
    """Answer the seals numbered above `after`, at most SEALS_LIMIT, in order."""
    after = _number(request, "after", "the number of a seal", "0")
    return _json({"seals": await edge.service.reader.seals(after, SEALS_LIMIT)})


async def get_extracts(request: web.Request, edge: Edge, caller: CredentialRow) -> web.StreamResponse:
    """Answer who asked for extracts of the credential's categories, and why, in order.

    An auditor does not learn which account or subject was asked for: that is content.
    """
    after = _number(request, "after", "the index of an entry", "0") if "after" in request.query else -1
    limit = _number(request, "limit", f"a number from 1 to {EXTRACTS_LIMIT}", str(EXTRACTS_LIMIT))
    if not 1 <= limit <= EXTRACTS_LIMIT:
        raise _refused("limit", f"a number from 1 to {EXTRACTS_LIMIT}")
    page = await Register(edge.service.chronicle).page(
        caller.tenant, caller.categories, after=after, limit=limit, values=caller.role == "client"
    )
    following = {} if page.next_after is None else {"next_after": page.next_after}
    return _json({"tenant": caller.tenant, "extracts": page.extracts} | following)


async def get_trust(_: web.Request, edge: Edge, __: CredentialRow) -> web.StreamResponse:
    """Answer the trust anchors of seals and extracts (PEM)."""
    pem = await asyncio.to_thread(edge.service.reader.trust)
    return web.Response(body=pem, content_type="application/pem-certificate-chain")


async def get_status(_: web.Request, edge: Edge, caller: CredentialRow) -> web.StreamResponse:
    """Answer the counters of the credential's categories; never per agent."""
    rows = await edge.service.reader.status(caller.tenant)
    categories = [row for row in rows if row["category"] in caller.categories]
    return _json({"tenant": caller.tenant, "categories": categories})


def _number(request: web.Request, name: str, what: str, default: str) -> int:
    """Return a numeric parameter given at most once. Raises ProblemError (400)."""
    given = request.query.getall(name, [default])
    if len(given) != 1 or not _NUMBER(given[0]):
        raise _refused(name, what)
    return int(given[0])


def _refused(name: str, what: str) -> ProblemError:
    reason = f"must be {what}, given once"
    found = [Fault(0, "", PARAMETER, reason, parameter=name)]
    return ProblemError(BAD_REQUEST, f"The parameter {name} {reason}.", faults=found)


def _json(value: object) -> web.Response:
    return web.Response(body=orjson.dumps(value), content_type="application/json")
