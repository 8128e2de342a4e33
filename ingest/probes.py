"""What needs no credential: liveness, readiness, the description of the calls."""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING

import orjson
from aiohttp import web

from ingest.problems import UNAVAILABLE, ProblemError, response_of

if TYPE_CHECKING:
    from ingest.edge import Edge

OPENAPI = resources.files("ingest").joinpath("openapi.json").read_bytes()


async def get_health(_: web.Request, __: Edge) -> web.StreamResponse:
    """Answer that the process lives and its loop turns; nothing else is asked."""
    return web.Response(body=b'{"status":"alive"}', content_type="application/json")


async def get_readiness(_: web.Request, edge: Edge) -> web.StreamResponse:
    """Answer, by name, what holds and what fails; the reasons go to the log, for the operator alone."""
    answers = await edge.readiness.ask()
    checks = {name: "failing" if reason else "ok" for name, reason in answers.items()}
    if any(answers.values()):
        failing = ", ".join(name for name, reason in answers.items() if reason)
        return response_of(ProblemError(UNAVAILABLE, f"Not ready: {failing}."), checks=checks)
    return web.Response(body=orjson.dumps({"status": "ready", "checks": checks}), content_type="application/json")


async def get_openapi(_: web.Request, __: Edge) -> web.StreamResponse:
    """Answer the description of every call (OpenAPI 3.1)."""
    return web.Response(body=OPENAPI, content_type="application/json")
