"""CloudEvents conformance: each feature of the public suite behaves as it says, or is refused by a named rule."""

from __future__ import annotations

import io
import json
import zipfile
from datetime import UTC, datetime

import pytest
import pytest_asyncio

from journal.core.times import normalise_time
from tests.support.cloudevents import CASES, EARTH, Case, graft
from tests.support.edge import EVENTS, EXTRACTS, SINGLE, RunningEdge

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("no_documents")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def anywhere(edge: RunningEdge) -> RunningEdge:
    """Let a module post with the suite's own sources, which are paths."""
    await edge.add_credential("/", role="module", source_prefix="/")
    return edge


@pytest.mark.parametrize("case", CASES, ids=str)
async def test_feature(anywhere: RunningEdge, case: Case) -> None:
    """Accepted with all its attributes, or refused where a stricter rule of ours says so."""
    event = case.event()
    if "id" in event:
        event["id"] += f" {case.feature}"
    token = "/" if event.get("source", "").startswith("/") else "module"
    before = await anywhere.size()
    body = json.dumps(event).encode()
    answer = await anywhere.ask("POST", EVENTS, token=token, body=body, Content_Type=case.media_type, **case.headers)
    assert answer.status == case.status, answer.body
    if case.pointer is not None:
        assert (0, case.pointer) in answer.faults
    assert await anywhere.size() == before + (case.status == 201)


async def test_what_is_accepted_comes_back_whole(anywhere: RunningEdge) -> None:
    """An extract holds every attribute as it was sent, the time in the journal's one spelling."""
    event = graft(id="whole", source="/mycontext/subcontext", datacontenttype="application/json")
    event["data"]["justification"] = f"Hello, {EARTH}!"
    assert (await anywhere.post(event, token="/")).status == 201
    records = [json.loads(line) for line in await disclosed(anywhere)]
    event["time"] = normalise_time(event["time"])
    assert event in [record["event"] for record in records]


async def disclosed(edge: RunningEdge) -> list[bytes]:
    """Return the records of today's extract."""
    today = datetime.now(UTC).date().isoformat()
    wanted = {"from": today, "to": today, "purpose": "lawfulness", "requester": "DPD"}
    answer = await edge.post(wanted, token="client", path=EXTRACTS, media_type="application/json")
    assert answer.status == 200, answer.body
    with zipfile.ZipFile(io.BytesIO(answer.body)) as container:
        return container.read("entries.ndjson").splitlines()


async def test_binary_mode_is_refused_in_words(edge: RunningEdge) -> None:
    """CloudEvents in headers are refused with the mode to use."""
    case = next(case for case in CASES if case.feature == "binary mode, JSON")
    answer = await edge.ask("POST", EVENTS, token="module", body=b"{}", Content_Type=case.media_type, **case.headers)
    assert answer.status == 415
    assert "structured mode" in answer.json["detail"]
    assert SINGLE in answer.json["detail"]
