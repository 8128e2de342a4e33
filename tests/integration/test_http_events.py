"""Posting events: receipts, repetition, and every refusal with nothing stored."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from unicodedata import normalize

import pytest

from journal.core import canonical
from journal.core.chain import extend, genesis
from journal.core.entry import Compartment
from journal.core.times import normalise_time
from tests.support.edge import CATEGORY, SERVICE, SINGLE, TENANT, RunningEdge
from tests.support.refused_events import REFUSED, Refused, batch_of, full_event, valid_event

if TYPE_CHECKING:
    from collections.abc import Iterable

pytestmark = pytest.mark.asyncio(loop_scope="module")

ORIGIN = Compartment(SERVICE, TENANT, CATEGORY).origin


def fresh(name: str, **members: Any) -> dict[str, Any]:
    """Return a valid event of a moment ago."""
    moment = datetime.now(UTC) - timedelta(seconds=1)
    return valid_event(id=name, time=moment.isoformat(), **members)


def recent(case: Refused) -> Refused:
    """Date a refused event of today, so that its age is not what it is refused for."""
    today = datetime.now(UTC).date().isoformat().encode()
    return Refused(
        name=case.name,
        body=case.body.replace(b"2026-03-01T10:00:00.123456Z", today + b"T00:00:00.123456Z"),
        status=case.status,
        pointer=case.pointer,
    )


class TestReceipts:
    """What a module gets back."""

    async def test_one_event(self, edge: RunningEdge) -> None:
        """201 and one receipt, of exactly eight members, which names the event; signed by a key that is vouched for."""
        before, event = await edge.size(), fresh("one")
        answer = await edge.post(event)
        assert (answer.status, answer.headers["Content-Type"]) == (201, "application/json")
        (receipt,) = answer.json["receipts"]
        members = ["chain_hash", "id", "index", "leaf_hash", "origin", "recorded_at", "source", "time"]
        assert list(receipt) == members
        assert (receipt["origin"], receipt["index"]) == (ORIGIN, before)
        assert (receipt["source"], receipt["id"]) == (event["source"], event["id"])
        assert receipt["time"] == normalise_time(event["time"])
        assert list(answer.json) == ["key", "path", "receipts", "signature", "signed_at"]
        assert answer.body == canonical.encode(answer.json)
        assert await edge.size() == before + 1

    async def test_the_same_event_again(self, edge: RunningEdge) -> None:
        """A retry gets the first receipt, with 200, however it is spelt; nothing is stored twice."""
        event = fresh("again")
        first = await edge.post(event)
        before = await edge.size()
        event["time"] = event["time"].replace("+00:00", "000+00:00")
        spelt = json.dumps(dict(reversed(event.items())) | {"sequence": None}, indent=3, ensure_ascii=False)
        second = await edge.post(normalize("NFD", spelt).encode())
        assert (first.status, second.status) == (201, 200)
        assert second.json["receipts"] == first.json["receipts"]
        assert await edge.size() == before

    async def test_a_batch(self, edge: RunningEdge) -> None:
        """Receipts come in order, and each chain hash follows from the one before."""
        events = [fresh(f"batch {number}", sequence=str(number)) for number in range(100)]
        answer = await edge.post(events)
        receipts = answer.json["receipts"]
        first = receipts[0]["index"]
        assert answer.status == 201
        assert [receipt["index"] for receipt in receipts] == list(range(first, first + 100))
        head = bytes.fromhex(receipts[0]["chain_hash"])
        for receipt in receipts[1:]:
            head = extend(head, bytes.fromhex(receipt["leaf_hash"]))
            assert receipt["chain_hash"] == head.hex()

    async def test_a_batch_with_known_events(self, edge: RunningEdge) -> None:
        """Known events get their first receipts among the new ones; 200 only if nothing is new."""
        known, new = [fresh("known 1"), fresh("known 2")], fresh("new")
        first = (await edge.post(known)).json["receipts"]
        mixed = await edge.post([known[1], new, known[0]])
        again = await edge.post([*known, known[0]])
        assert mixed.status == 201
        assert [mixed.json["receipts"][0], mixed.json["receipts"][2]] == [first[1], first[0]]
        assert again.status == 200
        assert again.json["receipts"] == [*first, first[0]]

    async def test_an_empty_batch(self, edge: RunningEdge) -> None:
        """Nothing is recorded, and that is no error: a sender that has nothing to say need not know it."""
        before = await edge.size()
        answer = await edge.post([])
        assert (answer.status, answer.json) == (200, {"receipts": []})
        assert await edge.size() == before

    async def test_an_event_twice_in_a_batch(self, edge: RunningEdge) -> None:
        """It is recorded once, and both places get the same receipt."""
        event, before = fresh("twice"), await edge.size()
        receipts = (await edge.post([event, event])).json["receipts"]
        assert receipts[0] == receipts[1]
        assert await edge.size() == before + 1

    async def test_the_first_entry_follows_genesis(self, own_edge: RunningEdge) -> None:
        """The first chain hash follows from the chain's own beginning and the leaf alone."""
        (receipt,) = (await own_edge.post(fresh("first"))).json["receipts"]
        start = genesis(ORIGIN).chain_hash
        assert receipt["index"] == 0
        assert receipt["chain_hash"] == extend(start, bytes.fromhex(receipt["leaf_hash"])).hex()


class TestKnownWithOtherContent:
    """The same source, id and time, and something else."""

    async def test_recorded_before(self, edge: RunningEdge) -> None:
        """409 names the event; the first content stays."""
        event = fresh("conflict")
        await edge.post(event)
        before = await edge.size()
        event["data"]["outcome"] = "denied"
        answer = await edge.post([fresh("bystander"), event])
        assert answer.status == 409
        assert answer.json["type"] == "urn:openepm-journal:problem:known"
        assert [position for position, _ in answer.faults] == [1]
        assert await edge.size() == before

    async def test_within_one_batch(self, edge: RunningEdge) -> None:
        """A batch that contradicts itself is refused whole."""
        before = await edge.size()
        event = fresh("self")
        answer = await edge.post([event, event | {"subject": "other"}])
        assert (answer.status, answer.faults) == (409, [(1, "/id")])
        assert await edge.size() == before


async def refused(edge: RunningEdge, body: bytes, media_type: str, **headers: str) -> Any:
    """Post what must be refused; return the problem after seeing that nothing was stored."""
    before = await edge.size()
    answer = await edge.post(body, media_type=media_type, **headers)
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json["status"] == answer.status
    assert set(answer.json) <= {"type", "title", "status", "detail", "retryable", "request_id", "faults", "more_faults"}
    assert await edge.size() == before
    return answer


class TestRefused:
    """Every shape that is refused, with its status and its pointer, and nothing stored."""

    @pytest.mark.parametrize("case", REFUSED, ids=str)
    async def test_alone(self, edge: RunningEdge, case: Refused) -> None:
        """The pointer leads to the member at fault."""
        answer = await refused(edge, recent(case).body, SINGLE)
        assert answer.status == case.status
        assert (0, case.pointer) in answer.faults

    @pytest.mark.parametrize("case", [case for case in REFUSED if case.pointer], ids=str)
    async def test_in_a_batch(self, edge: RunningEdge, case: Refused) -> None:
        """The batch is refused whole; the position and the pointer lead to the fault."""
        answer = await refused(edge, batch_of(recent(case)), "application/cloudevents-batch+json")
        assert answer.status == case.status
        assert (2, case.pointer) in answer.faults

    async def test_too_old(self, edge: RunningEdge) -> None:
        """An event old enough to have been recorded and purged is refused: a second copy could not be recognised."""
        old = (datetime.now(UTC) - timedelta(days=61)).isoformat()
        answer = await refused(edge, json.dumps(valid_event(time=old)).encode(), SINGLE)
        assert (answer.status, answer.faults) == (422, [(0, "/time")])
        assert answer.json["type"] == "urn:openepm-journal:problem:purged"

    @pytest.mark.parametrize(
        ("body", "status"),
        [
            (b"{}", 400),
            (json.dumps(valid_event()).encode(), 400),
            (b"[" + b",".join([json.dumps(full_event()).encode()] * 10_001) + b"]", 413),
            (b" " * (16 * 1024 * 1024 + 1), 413),
        ],
        ids=["an object", "a single event", "10,001 events", "more than 16 MiB"],
    )
    async def test_not_a_batch(self, edge: RunningEdge, body: bytes, status: int) -> None:
        """A batch is a list of at most 10,000 events, of at most 16 MiB."""
        answer = await refused(edge, body, "application/cloudevents-batch+json")
        assert (answer.status, answer.faults[0][1]) == (status, "")

    async def test_a_single_that_is_mostly_white_space(self, edge: RunningEdge) -> None:
        """An event is weighed in canonical form, but nobody may send white space without end."""
        body = json.dumps(fresh("spacious")).encode()
        kind = f'{SINGLE}; charset="UTF-8"; profile=x'
        assert (await edge.post(body.ljust(64 * 1024), media_type=kind)).status == 201
        assert (await refused(edge, body.ljust(64 * 1024 + 1), SINGLE)).status == 413

    @pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "identity"])
    async def test_compressed(self, edge: RunningEdge, encoding: str) -> None:
        """No compressed body is unpacked, so that none can be a bomb."""
        answer = await refused(edge, gzip.compress(b"0" * 10_000_000), SINGLE, Content_Encoding=encoding)
        assert answer.status == 415

    @pytest.mark.parametrize(
        "media_type",
        [
            "application/json",
            "text/plain",
            "application/cloudevents",
            "application/cloudevents+avro",
            "application/cloudevents+json; charset=iso-8859-1",
            "multipart/form-data; boundary=x",
            "",
        ],
    )
    async def test_another_media_type(self, edge: RunningEdge, media_type: str) -> None:
        """The two media types of CloudEvents in JSON are taken, in UTF-8."""
        answer = await refused(edge, json.dumps(fresh("media")).encode(), media_type)
        assert answer.status == 415
        assert answer.headers["Accept"] == "application/cloudevents+json, application/cloudevents-batch+json"

    async def test_ten_thousand_events(self, own_edge: RunningEdge) -> None:
        """The largest batch is recorded whole; one fault in it, and nothing is."""
        events = [fresh(f"e{number}") for number in range(10_000)]
        events[7_777]["subject"] = ""
        answer = await own_edge.post(events, Prefer="wait=30")
        assert (answer.status, answer.faults, await own_edge.size()) == (400, [(7_777, "/subject")], 0)
        events[7_777]["subject"] = "MC-1"
        answer = await own_edge.post(events, Prefer="wait=30")
        assert answer.status == 201
        assert indexes(answer.json["receipts"]) == list(range(10_000))
        assert await own_edge.size() == 10_000


def indexes(receipts: Iterable[dict[str, Any]]) -> list[int]:
    """Return the indexes of receipts."""
    return [receipt["index"] for receipt in receipts]
