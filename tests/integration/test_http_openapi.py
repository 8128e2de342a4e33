"""Every answer follows the published description: status, media type, schema."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.support.edge import EVENTS, EXTRACTS, HEAD, Answer, RunningEdge
from tests.support.published import OPERATIONS, follows, resolve
from tests.support.refused_events import valid_event

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("no_documents")]


def check(method: str, path: str, answer: Answer) -> None:
    """Hold an answer against the description of its call."""
    described = resolve(OPERATIONS[method, path]["responses"][str(answer.status)])
    media_type = answer.headers["Content-Type"].split(";")[0]
    content = described["content"][media_type]
    if media_type.endswith("json"):
        assert follows(answer.json, content["schema"]), answer.body


@pytest.mark.parametrize(("method", "path"), [call for call in OPERATIONS if call[0] == "GET"])
async def test_what_is_read(edge: RunningEdge, method: str, path: str) -> None:
    """With the right credential, the wrong one, none, and an unknown parameter."""
    await edge.post(valid_event(id="read", time=datetime.now(UTC).isoformat(), sequence="7"))
    await edge.service.sealer.seal_open(even_if_still=False)
    where = path.replace("{category}", "main-courante")
    for token in ("client", "auditor", "operator", "module", "oej_0_0", None):
        check(method, path, await edge.ask(method, where, token=token))
    check(method, path, await edge.ask(method, f"{where}?unknown=1", token="client"))


@pytest.mark.parametrize("batch", [False, True], ids=["single", "batch"])
async def test_what_is_posted(edge: RunningEdge, *, batch: bool) -> None:
    """Created, known, in conflict, misshapen, too large, too old, of another media type, unsigned."""
    path = "/v1/categories/{category}/events"
    now = datetime.now(UTC).isoformat()

    async def post(value: dict[str, Any], status: int, **how: Any) -> None:
        answer = await edge.post([value] if batch else value, **how)
        assert answer.status == status
        check("POST", path, answer)

    await post(valid_event(id=f"posted {batch}", time=now), 201)
    await post(valid_event(id=f"posted {batch}", time=now), 200)
    await post(valid_event(id=f"posted {batch}", time=now, subject="other"), 409)
    await post({}, 400)
    await post(valid_event(time=now, subject="s" * 17_000), 413)
    await post(valid_event(), 422)
    await post(valid_event(), 415, media_type="text/xml")
    await post(valid_event(), 401, token="oej_0_0")
    await post(valid_event(), 404, token="client")


async def test_extracts(edge: RunningEdge) -> None:
    """Served, misshapen, refused, forbidden."""
    path = "/v1/categories/{category}/extracts"
    today = datetime.now(UTC).date().isoformat()
    wanted = {"from": today, "to": today, "purpose": "lawfulness", "requester": "DPD"}
    changes: list[tuple[dict[str, Any], str, int]] = [
        ({}, "client", 200),
        ({"purpose": ""}, "client", 400),
        ({"to": "2999-01-01"}, "client", 422),
        ({}, "module", 404),
    ]
    for change, token, status in changes:
        body = json.dumps(wanted | change).encode()
        answer = await edge.post(body, token=token, path=EXTRACTS, media_type="application/json")
        assert answer.status == status
        check("POST", path, answer)


async def test_paths_of_the_description_are_the_ones_used_here(edge: RunningEdge) -> None:
    """Another method answers as a problem too."""
    for path in (EVENTS, EXTRACTS, HEAD):
        answer = await edge.ask("PUT", path)
        assert (answer.status, follows(answer.json, {"$ref": "#/components/schemas/Problem"})) == (405, True)
