"""Errors that a program can act on: every code is raised, a batch names all its faults at once, nothing hangs."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
import pytest_asyncio
import structlog

from journal.core.faults import CODES, Code
from journal.core.times import format_time
from tests.support.edge import BATCH, CATEGORY, EVENTS, EXTRACTS, SINGLE, Answer, RunningEdge, running_edge
from tests.support.raw import raw, request_head
from tests.support.refused_events import REFUSED, SOURCE_PREFIX, TRACEPARENT, valid_event

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from journal.database.embedded import EmbeddedPostgres

    Ways = dict[str, Callable[[RunningEdge], Awaitable[Answer]]]

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("no_documents")]

ASSISTANCE = "/v1/categories/assistance/events"
GRANTED = {"issuer": "Juge", "date": "2026-01-01", "reference": "A-1"}


def at(name: str, *, days_ago: float = 0, **members: Any) -> dict[str, Any]:
    """Return a valid event of so many days and a minute ago."""
    moment = datetime.now(UTC) - timedelta(days=days_ago, minutes=1)
    return valid_event(id=name, time=moment.isoformat(), **members)


def extract(**members: Any) -> dict[str, Any]:
    """Return a request for an extract of today."""
    today = datetime.now(UTC).date().isoformat()
    return {"from": today, "to": today, "purpose": "lawfulness", "requester": "DPD"} | members


def sends(body: Any, **how: Any) -> Callable[[RunningEdge], Awaitable[Answer]]:
    """Post a body."""
    return lambda edge: edge.post(body, **how)


def asks(wanted: dict[str, Any], token: str = "client") -> Callable[[RunningEdge], Awaitable[Answer]]:
    """Ask for an extract."""
    return lambda edge: edge.post(wanted, token=token, path=EXTRACTS, media_type="application/json")


def case(name: str) -> Callable[[RunningEdge], Awaitable[Answer]]:
    """Post one of the events that must be refused."""
    (found,) = [each for each in REFUSED if each.name == name]
    return sends(found.body, media_type=SINGLE)


def head(*headers: str) -> Callable[[RunningEdge], Awaitable[Answer]]:
    """Send the head of a request by the module, and read the answer."""

    async def send(edge: RunningEdge) -> Answer:
        status, got, body = await raw(edge, request_head(edge, *headers))
        return Answer(status=status, headers=got, body=body)

    return send


async def reuse(edge: RunningEdge) -> Answer:
    """Use an id again at the same time."""
    event = at("reused")
    await edge.post(event)
    return await edge.post(event | {"subject": "other"})


WAYS: Ways = {
    "not-json": case("not JSON"),
    "not-utf8": case("not UTF-8"),
    "wrong-type": case("id a number"),
    "missing": case("consultation without /data/justification"),
    "unknown-member": case("unknown member of data"),
    "duplicate-member": case("duplicate member"),
    "unknown-value": case("an outcome there is not"),
    "blank": case("blank justification"),
    "too-long": case("id too long"),
    "out-of-range": case("count below zero"),
    "character": case("control character in an account"),
    "malformed": case("naive time"),
    "operation": case("login of consultation"),
    "event-too-large": case("event of 17 KiB"),
    "batch-too-large": sends([{}] * 10_001),
    "body-too-large": sends(b" " * (64 * 1024 + 1), media_type=SINGLE),
    "time-ahead": case("future time"),
    "source-prefix": case("source outside the prefix"),
    "category-rule": lambda edge: edge.post(at("support", subject="MC-1"), token="support", path=ASSISTANCE),
    "time-too-old": sends(at("late", days_ago=8)),
    "time-purged": sends(at("gone", days_ago=61)),
    "id-reused": reuse,
    "day": asks(extract(to="2026-01-01")),
    "filter": asks(extract(filter={"withhold": "all", "account": "j"})),
    "no-person": asks(extract(), token="nobody"),
    "authorisation": asks(extract(filter={"account": "j"})),
    "nothing-matches": asks(extract(filter={"account": "nobody at all"}, authorisation=GRANTED)),
    "header": head("Connection: Upgrade", "Upgrade: websocket"),
    "header-too-large": head("X-Large: " + "x" * 10_000),
    "parameter": lambda edge: edge.ask("GET", "/v1/seals?after=x", token="client"),
    "length": head(f"Content-Type: {SINGLE}", "Transfer-Encoding: chunked"),
    "content-type": sends(b"{}", media_type="text/plain"),
    "content-encoding": sends(b"{}", media_type=SINGLE, Content_Encoding="gzip"),
    "binary-mode": lambda edge: edge.post(b"{}", media_type="application/json", ce_id="1"),
    "expect": head(f"Content-Type: {SINGLE}", "Content-Length: 2", "Expect: miracles"),
}
# A request between the end of a contract and the end of its credentials: tests/integration/test_extraction.py.
ELSEWHERE = {"contract-ended"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def prepared(edge: RunningEdge) -> RunningEdge:
    """Add the credentials that some ways need, and a seal."""
    await edge.add_credential("support", role="module", categories=["assistance"])
    await edge.add_credential("nobody", role="client", person=None)
    await edge.service.sealer.seal_open(even_if_still=True)
    return edge


async def test_every_code_has_a_way() -> None:
    """The table of codes is the one that is raised: no code more, none less."""
    assert set(WAYS) | ELSEWHERE == {code.name for code in CODES}
    assert len({code.name for code in CODES}) == len(CODES)


@pytest.mark.parametrize("code", [code for code in CODES if code.name in WAYS], ids=lambda code: code.name)
async def test_code(prepared: RunningEdge, code: Code) -> None:
    """It is answered with the kind of problem that the table says, and with whether it is worth another try."""
    answer = await WAYS[code.name](prepared)
    problem = answer.json
    (fault,) = [fault for fault in problem["faults"] if fault["code"] == code.name]
    assert problem["type"] == f"urn:openepm-journal:problem:{code.kind}"
    assert (fault["retryable"], problem["retryable"]) == (code.retryable, code.retryable)
    (request_id,) = [value for name, value in answer.headers.items() if name.lower() == "x-request-id"]
    assert problem["request_id"] == request_id


async def test_a_batch_names_all_its_faults_at_once(edge: RunningEdge) -> None:
    """Structure, size, times, prefix, ids used again: one answer, and what remains is recorded at the second try."""
    known = at("known")
    await edge.post(known)
    bad: dict[str, dict[str, Any]] = {
        "unknown-member": at("a", extra=1),
        "missing": at("b", data={"actor": {"account": "j"}, "outcome": "success"}),
        "time-ahead": at("c", days_ago=-1),
        "time-too-old": at("d", days_ago=9),
        "time-purged": at("e", days_ago=70),
        "source-prefix": at("f") | {"source": "urn:elsewhere"},
        "id-reused": known | {"subject": "other"},
        "event-too-large": at("g", subject="s" * 17_000),
    }
    good = [at(f"good {number}") for number in range(20)]
    twice = good[5] | {"subject": "other"}
    before = await edge.size()
    answer = await edge.post([*good[:10], *bad.values(), twice, *good[10:]])
    found = [(fault["position"], fault["code"]) for fault in answer.json["faults"]]
    assert sorted(found) == [(10 + place, code) for place, code in enumerate([*bad, "id-reused"])]
    assert (answer.status, answer.json["retryable"], "more_faults" in answer.json) == (400, False, False)
    assert await edge.size() == before
    assert (await edge.post(good)).status == 201


async def test_faults_that_are_not_listed_are_counted(edge: RunningEdge) -> None:
    """A thousand are listed, the first."""
    answer = await edge.post([at(str(number), days_ago=-1) for number in range(1_200)])
    assert (answer.status, len(answer.json["faults"]), answer.json["more_faults"]) == (422, 1_000, 200)
    assert answer.json["faults"][-1]["position"] == 999
    assert answer.json["retryable"]


async def test_me(edge: RunningEdge) -> None:
    """Who a credential is: what it may do is what it is told."""
    module = (await edge.ask("GET", "/v1/me", token="module")).json
    assert (module["role"], module["tenant"]) == ("module", {"code": "albi", "name": "Albi"})
    assert (module["source_prefix"], module["credential"]) == (SOURCE_PREFIX, edge.ids["module"])
    (category,) = module["categories"]
    assert (category["code"], category["accepts_events"], category["retention_days"]) == (CATEGORY, True, 60)
    assert module["limits"]["batch_events"] == 10_000
    assert abs(datetime.fromisoformat(module["now"]) - edge.clock.now()) < timedelta(minutes=5)
    # The oldest time is what an event is taken from on: a dry run says the same.
    oldest = datetime.fromisoformat(category["oldest_time"])
    assert oldest + timedelta(days=category["lateness_days"]) == datetime.fromisoformat(module["now"])
    event, path = at("oldest"), f"{EVENTS}?dry_run=true"
    for late, codes in ((timedelta(minutes=1), []), (-timedelta(microseconds=1), ["time-too-old"])):
        answer = await edge.post(event | {"time": format_time(oldest + late)}, path=path)
        assert [fault["code"] for fault in answer.json.get("faults", [])] == codes
    for role in ("client", "auditor", "operator"):
        other = (await edge.ask("GET", "/v1/me", token=role)).json
        assert (other["role"], other["categories"][0]["accepts_events"]) == (role, False)


async def test_a_dry_run(edge: RunningEdge) -> None:
    """Every check is made, with the same problems; nothing is stored."""
    known, new = at("dry known"), at("dry new")
    await edge.post(known)
    before = await edge.size()
    path = f"{EVENTS}?dry_run=true"
    answer = await edge.post([known, new, new], path=path)
    assert (answer.status, answer.json) == (200, {"dry_run": True, "outcomes": ["known", "new", "known"]})
    assert (await edge.post(new, path=path)).json["outcomes"] == ["new"]
    refused = await edge.post([known | {"subject": "other"}, at("x", days_ago=9), at("y", extra=1)], path=path)
    assert [fault["code"] for fault in refused.json["faults"]] == ["id-reused", "time-too-old", "unknown-member"]
    assert (await edge.post(new, path=f"{EVENTS}?dry_run=1")).json["faults"][0]["parameter"] == "dry_run"
    assert await edge.size() == before
    assert (await edge.post(new, path=f"{EVENTS}?dry_run=false")).status == 201


class TestContext:
    """Identifiers, traces, preferences."""

    @pytest.mark.parametrize("given", ["2f1c7a52-0b1e-4c39-9d0a-6f6f3f0f1b7e", "0af7651916cd43dd8448eb211c80319c"])
    async def test_an_identifier_is_carried_over(self, edge: RunningEdge, given: str) -> None:
        """To the answer, the problem and the log; so is the trace."""
        with structlog.testing.capture_logs() as lines:
            answer = await edge.ask("GET", "/v1/me", X_Request_Id=given, traceparent=TRACEPARENT)
        assert (answer.headers["X-Request-Id"], answer.json["request_id"]) == (given, given)
        assert answer.headers["traceparent"] == TRACEPARENT
        (line,) = [line for line in lines if line["event"] == "request answered"]
        assert (line["request_id"], line["traceparent"]) == (given, TRACEPARENT)

    @pytest.mark.parametrize("given", ["jean.dupont", "c.martin-2026-000001", "0" * 65, "short", ""])
    async def test_another_form_is_not(self, edge: RunningEdge, given: str) -> None:
        """It could be a name: a new one is made, and the log never sees it."""
        with structlog.testing.capture_logs() as lines:
            answer = await edge.ask("GET", "/v1/me", X_Request_Id=given, traceparent="x")
        assert answer.headers["X-Request-Id"] == answer.json["request_id"] != given
        assert "traceparent" not in answer.headers
        assert not given or given not in str(lines)

    @pytest.mark.parametrize(
        ("given", "applied"),
        [
            ("wait=7", "wait=7"),
            ('respond-async, Wait="3"; x=1', "wait=3"),
            ("wait=0", "wait=1"),
            ("wait=100000", "wait=30"),
            ("wait=-1", None),
            ("wait", None),
            ("handling=lenient; wait=2", None),
            ("await=2", None),
        ],
    )
    async def test_a_preference_is_confirmed(self, edge: RunningEdge, given: str, applied: str | None) -> None:
        """One that is not understood is ignored (RFC 7240 section 2)."""
        answer = await edge.ask("GET", "/v1/me", token="module", Prefer=given)
        assert answer.headers.get("Preference-Applied") == applied

    @pytest.mark.parametrize(
        ("headers", "named"),
        [
            (["Host: again"], "Host"),
            (["Content-Length: 1", "Content-Length: 2"], "Content-Length"),
            (["X-Odd: a\0b"], "X-Odd"),
        ],
    )
    async def test_the_header_at_fault_is_named(self, edge: RunningEdge, headers: list[str], named: str) -> None:
        """By its name alone: what is in it is not repeated."""
        status, _, body = await raw(edge, request_head(edge, *headers))
        (fault,) = json.loads(body)["faults"]
        assert (status, fault["code"], fault["header"]) == (400, "header", named)
        assert edge.tokens["module"] not in body.decode()

    async def test_binary_mode_says_how_to_switch(self, edge: RunningEdge) -> None:
        """The line of each SDK."""
        answer = await edge.post(b"{}", media_type="application/json", ce_id="1")
        assert set(answer.json["structured_mode"]) == {"php", "python", "javascript"}


async def test_a_batch_that_never_fits(postgres: EmbeddedPostgres, tmp_path: Path) -> None:
    """It is too large, not too early: no wait would help."""
    async with running_edge(postgres, tmp_path, queue_events=10) as edge:
        answer = await edge.post([at(f"{number}") for number in range(11)])
        assert (answer.status, answer.json["faults"][0]["code"]) == (413, "batch-too-large")
        assert not answer.json["retryable"]
        assert (await edge.ask("GET", "/v1/me", token="module")).json["limits"]["batch_events"] == 10


async def test_a_database_that_does_not_answer(own_edge: RunningEdge) -> None:
    """Every call is answered within the wait asked for, and what was not recorded is recorded later."""
    loop, event = asyncio.get_running_loop(), at("patient")
    connection = await asyncpg.connect(own_edge.superuser_dsn)
    try:
        async with connection.transaction():
            await connection.execute("LOCK TABLE journal.head, journal.seal IN ACCESS EXCLUSIVE MODE")
            for ask in (
                own_edge.post(event, Prefer="wait=1"),
                own_edge.ask("GET", "/v1/seals", token="client", Prefer="wait=1"),
                own_edge.post(extract(), token="client", path=EXTRACTS, media_type="application/json", Prefer="wait=1"),
            ):
                started_at = loop.time()
                answer = await ask
                # Without the bound it would be 20 s and more.
                assert loop.time() - started_at < 1 + 10
                assert (answer.status, answer.json["retryable"]) == (503, True)
                assert int(answer.headers["Retry-After"]) >= 1
    finally:
        await connection.close()
    async with asyncio.timeout(60):
        while (await own_edge.post(event)).status not in (200, 201):
            pass
    assert await own_edge.size() == 1


@pytest.mark.parametrize(
    ("mistake", "statuses", "code"),
    [
        ("time set at sending", (201, 201), None),
        ("id used again for another access", (201, 201), None),
        ("id used again at the same time", (201, 409), "id-reused"),
        ("sequence restarted", (201, 201), None),
        ("clock 10 minutes ahead", (422,), "time-ahead"),
        ("Latin-1", (400,), "not-utf8"),
        ("batch of 20,000", (413,), "batch-too-large"),
        ("expired token", (401,), None),
        ("wrong category", (404,), None),
    ],
)
async def test_a_usual_mistake(
    edge: RunningEdge, monkeypatch: pytest.MonkeyPatch, mistake: str, statuses: tuple[int, ...], code: str | None
) -> None:
    """Nothing is lost, nothing is recorded twice in silence, and the author is told what to do."""
    source = f"{SOURCE_PREFIX}{mistake.replace(' ', '-').replace(',', '')}"
    event = at(mistake, source=source, sequence="1")
    anew = at(mistake, source=source, sequence="1")
    other = event | {"subject": "MC-2"}
    sent: list[Callable[[], Awaitable[Answer]]] = {
        "time set at sending": [lambda: edge.post(event), lambda: edge.post(anew)],
        "id used again for another access": [lambda: edge.post(event), lambda: edge.post(anew | {"subject": "MC-2"})],
        "id used again at the same time": [lambda: edge.post(event), lambda: edge.post(other)],
        "sequence restarted": [lambda: edge.post(event), lambda: edge.post(anew | {"id": "second"})],
        "clock 10 minutes ahead": [lambda: edge.post(at("ahead", days_ago=-11 / 1440))],
        "Latin-1": [lambda: edge.post('{"id": "é"}'.encode("latin-1"), media_type=SINGLE)],
        "batch of 20,000": [lambda: edge.post(b"[" + b",".join([b"{}"] * 20_000) + b"]", media_type=BATCH)],
        "expired token": [lambda: edge.post(event, token="expired")],
        "wrong category": [lambda: edge.post(event, path="/v1/categories/ecrits/events")],
    }[mistake]
    if mistake == "expired token":
        await edge.add_credential("expired", role="module", expires_at=edge.clock.now() + timedelta(seconds=1))
        monkeypatch.setattr(edge.clock, "offset", edge.clock.offset + timedelta(seconds=2))
    before = await edge.size()
    answers = [await send() for send in sent]
    assert tuple(answer.status for answer in answers) == statuses
    problem = answers[-1].json
    if code is not None:
        assert problem["faults"][0]["code"] == code
        assert problem["retryable"] == (code == "time-ahead")
    assert await edge.size() - before == sum(status == 201 for status in statuses)
    if statuses == (201, 201):  # recorded both, and the number that came twice is told
        (category,) = (await edge.ask("GET", "/v1/status", token="client")).json["categories"]
        (told,) = [one for one in category["sources"] if one["source"] == source]
        assert (told["last"], told["repeated"], told["missing"]) == (1, 1, 0)
