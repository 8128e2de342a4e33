"""The calls for probes, without a credential: liveness, whether this host records, readiness, metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import hdrs, web

from ingest.exposition import Exposition
from ingest.figures import facts_of
from ingest.problems import UNAVAILABLE, ProblemError, response_of

if TYPE_CHECKING:
    from ingest.edge import Edge

# The checks without which nothing is recorded; and today's keys.
RECORDS = ("clock", "database")


async def get_health(_: web.Request, __: Edge) -> web.StreamResponse:
    """Answer that the process and its event loop run; nothing else is checked."""
    return web.Response(body=b'{"status":"alive"}', content_type="application/json")


async def get_recording(__: web.Request, edge: Edge) -> web.StreamResponse:
    """Answer whether this host records now, for a balancer in front of several; why not is for `get_readiness`.

    What fails on every host at once, as a certificate, takes none of them out.
    """
    answers, _ = await edge.readiness.ask()
    if any(answers.get(name) for name in RECORDS) or edge.service.checks.lacks_keys():
        return response_of(ProblemError(UNAVAILABLE, "Nothing can be recorded here now: another host may record."))
    return web.Response(body=b'{"status":"recording"}', content_type="application/json")


async def get_readiness(_: web.Request, edge: Edge) -> web.StreamResponse:
    """Answer each check's result and the facts; the reasons go to the log, for the operator only."""
    answers, status = await edge.readiness.ask()
    members: dict[str, Any] = {"checks": {name: "failing" if reason else "ok" for name, reason in answers.items()}}
    if status is not None:
        members["facts"] = facts_of(status)
    if any(answers.values()):
        failing = ", ".join(name for name, reason in answers.items() if reason)
        return response_of(ProblemError(UNAVAILABLE, f"Not ready: {failing}."), **members)
    return web.Response(body=orjson.dumps({"status": "ready"} | members), content_type="application/json")


async def get_metrics(request: web.Request, edge: Edge) -> web.StreamResponse:
    """Answer the counters and the figures of the status, whether the service is ready or not."""
    checks, status = await edge.readiness.ask()
    exposition = Exposition(edge.service.instruments.metrics, checks, status, edge.service.settings)
    text, content_type = exposition.write(request.headers.get(hdrs.ACCEPT, ""))
    return web.Response(body=text, headers={hdrs.CONTENT_TYPE: content_type})
