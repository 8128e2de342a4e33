"""A single event is answered by the short way where nothing is unusual: nobody can tell it from the application's."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from ingest import direct, readers
from ingest.access import SNAPSHOT_LIMIT_SECONDS, Limits
from ingest.app import DRAINS
from ingest.connections import EACH
from ingest.direct import Direct
from ingest.heads import Head
from ingest.readers import Readers
from ingest.server import KEEPALIVE_SECONDS, Connection
from journal.core.errors import BusyError, UnavailableError
from tests.support.edge import SINGLE, TENANT, RunningEdge, running_edge
from tests.support.raw import raw, request_head
from tests.support.refused_events import valid_event

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from journal.database.embedded import EmbeddedPostgres

pytestmark = pytest.mark.asyncio(loop_scope="module")

# The same media type, in a spelling that the short way leaves to the application.
UNUSUAL = "Application/CloudEvents+JSON"
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def fresh(name: str, **members: Any) -> dict[str, Any]:
    """Return a valid event of a moment ago."""
    moment = datetime.now(UTC) - timedelta(seconds=1)
    return valid_event(id=name, time=moment.isoformat(), **members)


def whole(edge: RunningEdge, event: Any, *headers: str, kind: str = SINGLE) -> bytes:
    """Return a request in one piece."""
    body = json.dumps(event).encode()
    return request_head(edge, f"Content-Type: {kind}", f"Content-Length: {len(body)}", *headers) + body


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Note of each request that comes to the short way whether it is taken."""
    noted: list[bool] = []
    take = Direct.take

    def noting(direct: Direct, *given: Any) -> Any:
        asked = take(direct, *given)
        noted.append(asked is not None)
        return asked

    monkeypatch.setattr(Direct, "take", noting)
    return noted


async def connect(edge: RunningEdge) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a connection."""
    return await asyncio.open_connection("127.0.0.1", edge.port)


async def answer_of(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], Any]:
    """Read one answer: status, headers, body."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode().splitlines()
    headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
    return int(head[0].split()[1]), headers, json.loads(await reader.readexactly(int(headers["content-length"])))


async def waiting(edge: RunningEdge, count: int) -> None:
    """Wait until the writer holds so many submissions."""
    while len([*edge.service.writer._open]) != count:  # noqa: ASYNC110  (nobody is told)
        await asyncio.sleep(0.01)


def ids(body: Any) -> list[str]:
    """Return the ids of an answer's receipts."""
    return [receipt["id"] for receipt in body["receipts"]]


@pytest.mark.parametrize(
    "headers",
    [
        (),
        ("X-Request-Id: 0123456789abcdef0123",),
        ("X-Request-Id: not hexadecimal",),
        (f"traceparent: {TRACE}", "Prefer: wait=7"),
        ("traceparent: nonsense", "Prefer: respond-async"),
        ("Connection: keep-alive", "Accept: */*"),
    ],
)
@pytest.mark.parametrize("case", ["new", "known", "other content", "misshapen", "too far ahead", "too late"])
async def test_both_ways_answer_alike(
    edge: RunningEdge, taken: list[bool], headers: tuple[str, ...], case: str
) -> None:
    """Status line, names and order of headers, members of the body: the same, whichever way a request goes."""
    marks: dict[str, Any] = {
        "misshapen": {"subject": 7},
        "too far ahead": {"time": (datetime.now(UTC) + timedelta(hours=1)).isoformat()},
        "too late": {"time": (datetime.now(UTC) - timedelta(days=40)).isoformat()},
    }
    found = []
    for kind in (SINGLE, UNUSUAL):
        event = fresh(f"{case} {len(kind)} {' '.join(headers)[:40]}".strip()) | marks.get(case, {})
        if case in {"known", "other content"}:
            assert (await raw(edge, whole(edge, event)))[0] == 201
        if case == "other content":
            event["subject"] = "MC-2026-0002"
        taken.clear()
        status, told, body = await raw(edge, whole(edge, event, *headers, kind=kind))
        assert bool(taken) == (kind == SINGLE)
        # What is refused at once is refused by the application.
        assert taken != [True] or case in {"new", "known", "other content"}
        varying = {name: len(told[name]) for name in ("date", "content-length", "x-request-id")}
        assert "X-Request-Id: 0123456789abcdef0123" not in headers or told["x-request-id"] == "0123456789abcdef0123"
        varying["content-length"] = 0  # identifiers and paths differ
        members = sorted(json.loads(body))
        faults = [{**fault, "reason": ""} for fault in json.loads(body).get("faults", ())]  # which tells the moment
        found.append((status, [*told], {**told, **varying}, members, faults))
    assert found[0] == found[1]


@pytest.mark.parametrize("reading_seconds", [0, readers.READING_SECONDS])
async def test_pipelined_requests_are_answered_in_order(
    own_edge: RunningEdge, taken: list[bool], monkeypatch: pytest.MonkeyPatch, reading_seconds: float
) -> None:
    """What comes while one is being answered waits, however it comes, and whichever way it goes."""
    monkeypatch.setattr(readers, "READING_SECONDS", reading_seconds)
    names = [f"piped {number}" for number in range(8)]
    sent = [
        whole(own_edge, fresh(name), kind=UNUSUAL if number % 3 == 2 else SINGLE) for number, name in enumerate(names)
    ]
    reader, writer = await connect(own_edge)
    connection = await asyncpg.connect(own_edge.superuser_dsn)
    try:
        async with connection.transaction():
            await connection.execute("LOCK TABLE journal.head IN ACCESS EXCLUSIVE MODE")
            writer.write(sent[0])
            await waiting(own_edge, 1)
            for request in sent[1:]:
                writer.write(request[:400])
                await asyncio.sleep(0)
                writer.write(request[400:])
    finally:
        await connection.close()
    answers = [await answer_of(reader) for _ in names]
    assert [ids(body) for _, _, body in answers] == [[name] for name in names]
    assert taken[0]
    writer.close()


@pytest.mark.parametrize("is_in_pieces", [False, True])
async def test_a_request_that_comes_before_it_is_waited_for(
    edge: RunningEdge, taken: list[bool], monkeypatch: pytest.MonkeyPatch, *, is_in_pieces: bool
) -> None:
    """A caller that is quicker than aiohttp's task goes the short way too, and so do those after it."""
    name = f"quick {is_in_pieces}"
    quick = whole(edge, fresh(name))
    pieces = (quick[:300], quick[300:]) if is_in_pieces else (quick,)
    handle = Connection._handle_request

    async def handling(connection: Connection, *given: Any) -> Any:
        handled = await handle(connection, *given)
        # As if they came in this turn of the event loop, in which the task of the connection does not wait yet.
        for piece in pieces:
            asyncio.get_running_loop().call_soon(connection.data_received, piece)
        return handled

    monkeypatch.setattr(Connection, "_handle_request", handling)
    reader, writer = await connect(edge)
    writer.write(whole(edge, fresh(f"before {name}"), kind=UNUSUAL))
    answers = [await answer_of(reader) for _ in range(2)]
    assert [ids(body) for _, _, body in answers] == [[f"before {name}"], [name]]
    writer.write(whole(edge, fresh(f"after {name}")))
    assert ids((await answer_of(reader))[2]) == [f"after {name}"]
    assert taken == [True, True]
    writer.close()


async def test_a_head_that_comes_again_is_read_once(
    edge: RunningEdge, taken: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On one connection, where only the length differs; its answers are those of connections of their own."""
    heads: list[Any] = []
    read = Head.read
    monkeypatch.setattr(Head, "read", lambda message: heads.append(message) or read(message))
    received = asyncio.Event()
    data_received = Connection.data_received

    def noting(connection: Connection, data: bytes) -> None:
        data_received(connection, data)
        received.set()

    monkeypatch.setattr(Connection, "data_received", noting)
    reader, writer = await connect(edge)

    async def answers(*pieces: bytes) -> tuple[int, Any]:
        for piece in pieces:
            received.clear()
            writer.write(piece)
            await received.wait()
        status, _, body = await answer_of(reader)
        return status, body

    for length in range(5):
        name = f"again {'x' * 30 * length}"
        status, body = await answers(whole(edge, fresh(name)))
        assert (status, ids(body)) == (201, [name])
    assert len(heads) == 1
    known = fresh("again known")
    assert (await answers(whole(edge, known)))[0] == 201
    assert (await answers(whole(edge, known)))[0] == 200
    assert len(heads) == 1
    # The application answers what is refused, of a length of its own.
    status, body = await answers(whole(edge, known | {"subject": "MC-2026-0002 and more of it"}))
    assert (status, body["faults"][0]["code"]) == (409, "id-reused")
    assert taken == [True] * 8
    status, body = await answers(whole(edge, fresh("again misshapen", subject=7)))
    assert (status, body["faults"][0]["pointer"]) == (400, "/subject")
    assert (taken.pop(), len(heads)) == (False, 2)
    # Known anew; then a head that says more, and one that comes in pieces.
    assert (await answers(whole(edge, fresh("again and again"))))[0] == 201
    assert (await answers(whole(edge, fresh("again with more"), "Prefer: wait=7")))[0] == 201
    whole_one = whole(edge, fresh("again in pieces"), "Prefer: wait=7")
    assert (await answers(whole_one[:-9], whole_one[-9:]))[0] == 201
    assert (await answers(whole(edge, fresh("again whole"), "Prefer: wait=7")))[0] == 201
    writer.close()


async def test_a_credential_is_looked_at_again_on_each_request(own_edge: RunningEdge, taken: list[bool]) -> None:
    """That its head came before says nothing of what became of the credential meanwhile."""
    reader, writer = await connect(own_edge)
    for name in ("first", "second"):
        writer.write(whole(own_edge, fresh(name)))
        assert (await answer_of(reader))[0] == 201
    assert await own_edge.service.store.revoke_credential(own_edge.ids["module"])
    await own_edge.service.snapshot.refresh()
    writer.write(whole(own_edge, fresh("third")))
    assert (await answer_of(reader))[0] == 401
    assert taken == [True, True]
    writer.close()


async def test_nothing_is_taken_after_the_last_answer(edge: RunningEdge, taken: list[bool]) -> None:
    """What follows an answer with `Connection: close` is not looked at (RFC 9112 section 9.6)."""
    before = await edge.size()
    reader, writer = await connect(edge)
    writer.write(request_head(edge, f"Content-Type: {SINGLE}", "Transfer-Encoding: chunked"))
    status, headers, _ = await answer_of(reader)
    assert (status, headers["connection"]) == (411, "close")
    writer.write(b"0\r\n\r\n" + whole(edge, fresh("after the end")))
    assert await reader.read() == b""
    assert taken == []
    assert await edge.size() == before
    writer.close()


async def test_a_writer_that_does_not_answer(own_edge: RunningEdge, taken: list[bool]) -> None:
    """After the time that the caller waits: 503, as the application; the events are recorded once it can."""
    connection = await asyncpg.connect(own_edge.superuser_dsn)
    try:
        async with connection.transaction():
            await connection.execute("LOCK TABLE journal.head IN ACCESS EXCLUSIVE MODE")
            event = fresh("waiting")
            answers = await asyncio.gather(
                *(raw(own_edge, whole(own_edge, event, "Prefer: wait=1", kind=kind)) for kind in (SINGLE, UNUSUAL))
            )
    finally:
        await connection.close()
    assert True in taken
    for status, headers, body in answers:
        assert (status, headers["preference-applied"]) == (503, "wait=1")
        problem = json.loads(body)
        assert (problem["type"], problem["retryable"]) == ("urn:openepm-journal:problem:unavailable", True)
        assert problem["detail"].startswith("No answer within 1 s;")
        assert int(headers["retry-after"]) >= 1
    assert (await own_edge.post(event)).status in {200, 201}
    assert await own_edge.size() == 1


async def test_a_caller_that_goes_away(own_edge: RunningEdge, taken: list[bool]) -> None:
    """What the writer was given is recorded, whoever waits for the answer."""
    connection = await asyncpg.connect(own_edge.superuser_dsn)
    try:
        async with connection.transaction():
            await connection.execute("LOCK TABLE journal.head IN ACCESS EXCLUSIVE MODE")
            _, writer = await connect(own_edge)
            writer.write(whole(own_edge, fresh("left")))
            await waiting(own_edge, 1)
            writer.transport.abort()
    finally:
        await connection.close()
    await waiting(own_edge, 0)
    assert taken == [True]
    assert await own_edge.size() == 1


async def test_a_service_that_ends(own_edge: RunningEdge, taken: list[bool]) -> None:
    """An answer under way when another process takes over ends its connection, and says so."""
    connection = await asyncpg.connect(own_edge.superuser_dsn)
    try:
        async with connection.transaction():
            await connection.execute("LOCK TABLE journal.head IN ACCESS EXCLUSIVE MODE")
            reader, writer = await connect(own_edge)
            writer.write(whole(own_edge, fresh("last")))
            await waiting(own_edge, 1)
            own_edge.app[DRAINS].set()
    finally:
        await connection.close()
    status, headers, body = await answer_of(reader)
    assert (status, headers["connection"], ids(body)) == (201, "close", ["last"])
    assert await reader.read() == b""
    assert taken == [True]
    writer.close()


async def test_the_database_is_gone(own_edge: RunningEdge, taken: list[bool]) -> None:
    """503, with a moment to come back at, and one log line that counts it as refused."""
    await own_edge.service.store.close()
    status, headers, body = await raw(own_edge, whole(own_edge, fresh("nowhere")))
    assert (status, headers["content-type"]) == (503, "application/problem+json")
    assert json.loads(body)["request_id"] == headers["x-request-id"]
    assert taken == [True]


async def test_a_queue_without_room(own_edge: RunningEdge, taken: list[bool], monkeypatch: pytest.MonkeyPatch) -> None:
    """The same 503 by both ways, with when to come back; the connection goes on, and once there is room so does all."""

    def no_room(*_: object) -> bool:
        raise BusyError("too many events wait", retry_after_seconds=2)

    told = []
    reader, writer = await connect(own_edge)
    with monkeypatch.context() as patch:
        patch.setattr(own_edge.service.writer._queue, "put", no_room)
        for kind in (SINGLE, UNUSUAL):
            writer.write(whole(own_edge, fresh("no room"), kind=kind))
            status, headers, body = await answer_of(reader)
            assert int(headers["retry-after"]) >= 2  # and a little more, by chance
            told.append((status, [*headers], body["type"], sorted(body)))
    assert told[0] == told[1]
    assert told[0][0] == 503
    assert taken == [True]
    writer.write(whole(own_edge, fresh("no room")))
    status, _, body = await answer_of(reader)
    assert (status, ids(body)) == (201, ["no room"])
    writer.close()


@asynccontextmanager
async def locked(edge: RunningEdge) -> AsyncIterator[None]:
    """Keep the database from recording for the block."""
    connection = await asyncpg.connect(edge.superuser_dsn)
    try:
        async with connection.transaction():
            await connection.execute("LOCK TABLE journal.head IN ACCESS EXCLUSIVE MODE")
            yield
    finally:
        await connection.close()


async def refusals(edge: RunningEdge, event: Any, kinds: tuple[str, ...]) -> list[tuple[int, list[str], Any]]:
    """Send an event in each spelling of its kind on one connection; return the refusals, each with when to come."""
    told = []
    reader, writer = await connect(edge)
    for kind in kinds:
        writer.write(whole(edge, event, "X-Request-Id: 0123456789abcdef0123", kind=kind))
        status, headers, body = await answer_of(reader)
        assert int(headers["retry-after"]) >= 1
        assert headers["content-type"] == "application/problem+json"
        assert headers["x-request-id"] == body["request_id"] == "0123456789abcdef0123"
        assert body["retryable"]
        told.append((status, [*headers], {**body, "request_id": ""}))
    writer.close()
    return told


async def test_credentials_that_cannot_be_checked(
    own_edge: RunningEdge, taken: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same 503 by both ways, and nothing is recorded; once the database answers again, the event is."""
    snapshot = own_edge.service.snapshot

    async def silent() -> int:
        raise UnavailableError("no answer")

    with monkeypatch.context() as patch:
        patch.setattr(snapshot._store, "snapshot_version", silent)
        async with snapshot._refreshing:  # none is under way
            snapshot._read_at -= SNAPSHOT_LIMIT_SECONDS + 1
        told = await refusals(own_edge, fresh("stale"), (SINGLE, UNUSUAL))
    assert told[0] == told[1]
    assert (told[0][0], told[0][2]["type"]) == (503, "urn:openepm-journal:problem:unavailable")
    assert taken == []
    await snapshot.refresh()
    assert (await own_edge.post(fresh("stale"))).status == 201
    assert await own_edge.size() == 1


async def test_a_late_process_holds_a_credential_to_its_rate(
    postgres: EmbeddedPostgres, tmp_path: Path, taken: list[bool]
) -> None:
    """The same 429 by both ways; what was refused is recorded once the rate allows."""
    limits = Limits(late_seconds=0, requests_per_second=2, burst_requests=1)
    async with running_edge(postgres, tmp_path, limits=limits) as edge:
        assert (await edge.post(fresh("first"))).status == 201
        told = await refusals(edge, fresh("second"), (SINGLE, UNUSUAL))
        assert told[0] == told[1]
        assert (told[0][0], told[0][2]["type"]) == (429, "urn:openepm-journal:problem:rate")
        assert taken == [True, True]
        async with asyncio.timeout(60):
            while (await edge.post(fresh("second"))).status == 429:
                pass
        assert await edge.size() == 2


@pytest.mark.parametrize("why", ["many wait", "it takes turns", "the first waits long"])
async def test_a_commune_of_which_too_much_waits(
    own_edge: RunningEdge, taken: list[bool], monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    """What is beyond is refused at once, its body unread; other communes are not, and what waited is recorded."""
    monkeypatch.setattr(direct, "WAITING_FEW", 2)
    monkeypatch.setattr(direct, "WAITING_MOST", 2 if why == "many wait" else 1_000)
    if why == "it takes turns":
        monkeypatch.setattr(own_edge.service.writer, "takes_turns", lambda tenant: tenant == TENANT)
    if why == "the first waits long":
        monkeypatch.setattr(direct, "PATIENCE_SECONDS", -1)
    async with locked(own_edge):
        waits = [asyncio.create_task(raw(own_edge, whole(own_edge, fresh(f"waits {n}")))) for n in range(2)]
        await waiting(own_edge, 2)
        taken.clear()
        ((status, _, body),) = await refusals(own_edge, fresh("beyond"), (SINGLE,))
        assert (status, body["type"]) == (503, "urn:openepm-journal:problem:busy")
        assert taken == [True]
        await waiting(own_edge, 2)
    assert [(await wait)[0] for wait in waits] == [201, 201]
    assert (await own_edge.post(fresh("beyond"))).status == 201
    assert await own_edge.size() == 3


async def test_a_turn_without_time(own_edge: RunningEdge, taken: list[bool], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each turn of the event loop reads one request then: all are answered, also those that come in pieces."""
    monkeypatch.setattr(readers, "READING_SECONDS", 0)

    async def ask(number: int) -> None:
        reader, writer = await connect(own_edge)
        for cut in (100, 400, None):
            request = whole(own_edge, fresh(f"held {number} {cut}"))
            writer.write(request[:cut])
            await asyncio.sleep(0)
            writer.write(request[len(request[:cut]) :])
            _, _, body = await answer_of(reader)
            assert ids(body) == [f"held {number} {cut}"]
        writer.close()

    await asyncio.gather(*(ask(number) for number in range(8)))
    assert await own_edge.size() == 24
    assert True in taken


class Speaker:
    """What is read in turn, by the name of who speaks."""

    def __init__(self, speaker: str, heard: list[str]) -> None:
        """Note in `heard` when it is read."""
        self.speaker = speaker
        self._heard = heard

    def read_held(self) -> None:
        """Be read."""
        self._heard.append(self.speaker)


class Line:
    """Requests that wait to be read, and which were read in each turn of the event loop."""

    def __init__(self) -> None:
        """Begin with none."""
        self.heard: list[str] = []
        self.burdened: set[str] = set()
        # Whether another commune waits for an answer.
        self.is_serving = False
        self.readers = Readers(self.burdened.add, lambda: self.is_serving)

    def hold(self, *speakers: str) -> None:
        """Have these wait."""
        for speaker in speakers:
            self.readers.hold(Speaker(speaker, self.heard))  # type: ignore[arg-type]

    async def turns(self, count: int) -> list[list[str]]:
        """Wait until so many more were read."""
        turns = []
        until = len(self.heard) + count
        while len(self.heard) < until:
            before = len(self.heard)
            await asyncio.sleep(0)
            turns.append(self.heard[before:])
        return [turn for turn in turns if turn]


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch) -> Line:
    """Three make a flood; time is no matter."""
    monkeypatch.setattr(readers, "READING_SECONDS", 60)
    monkeypatch.setattr(readers, "FLOOD_FROM", 3)
    monkeypatch.setattr(readers, "FLOOD_TIMES", 3)
    monkeypatch.setattr(readers, "FLOOD_SHARE", 1e9)
    monkeypatch.setattr(readers, "PAUSE_SECONDS", 0)
    return Line()


async def test_communes_are_read_in_turn(line: Line) -> None:
    """One that floods keeps no other waiting: few of it are read in a turn of the event loop."""
    line.hold(*["albi"] * 10, "castres", "castres", "sete")
    assert line.readers.is_full("sete")
    assert await line.turns(13) == [
        ["albi", "castres", "sete", "albi", "castres", "albi"],
        ["albi"] * 2,
        ["albi"] * 2,
        ["albi"] * 3,
    ]
    assert line.burdened == {"albi"}


async def test_a_commune_that_is_alone_does_not_flood(line: Line) -> None:
    """All of it is read at once."""
    line.hold(*["albi"] * 10)
    assert await line.turns(10) == [["albi"] * 10]
    assert line.burdened == set()


async def test_communes_that_crowd_alike_do_not_flood(line: Line) -> None:
    """Where every commune has much waiting, nobody is kept waiting for another; one that has little changes that."""
    line.hold(*["albi", "castres"] * 10)
    assert await line.turns(20) == [["albi", "castres"] * 10]
    assert line.burdened == set()
    line.hold(*["albi", "castres"] * 10, "sete")
    first, *_ = await line.turns(21)
    assert first == ["albi", "castres", "sete", *["albi", "castres"] * readers.READ_OF_FLOOD]
    assert line.burdened == {"albi", "castres"}


async def test_what_crowded_long_ago_counts_no_more(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    """A commune that once had much waiting is protected again a while later."""
    line.hold(*["albi", "castres"] * 10)
    await line.turns(20)
    monkeypatch.setattr(readers, "RECENT_SECONDS", 0)
    line.hold("castres")
    await line.turns(1)
    monkeypatch.undo()
    assert line.readers._recent["castres"][1] == 1
    assert line.readers._floods("albi", range(readers.FLOOD_FROM))


async def test_what_floods_waits_for_its_share_of_the_processor(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others are read in the meantime, and it is read in the end."""
    monkeypatch.setattr(readers, "FLOOD_SHARE", 1e-9)
    monkeypatch.setattr(readers, "PAUSE_MOST_SECONDS", 3600)
    line.hold("castres", *["albi"] * 10)
    await line.turns(3)
    for _ in range(5):
        line.hold("castres")
        assert await line.turns(1) == [["castres"]]
    assert line.heard.count("albi") == readers.READ_OF_FLOOD
    line.readers._flood_at = 0  # an hour later
    monkeypatch.setattr(readers, "FLOOD_SHARE", 1e9)
    line.hold("castres")
    await line.turns(9)
    assert line.heard.count("albi") == 10


async def test_what_floods_is_read_however_busy_the_others_are(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    """None of an address's connections waits to be read until it is closed as idle."""
    monkeypatch.setattr(readers, "FLOOD_SHARE", 1e-9)
    line.hold("castres", *["@127.0.0.2"] * 10)
    async with asyncio.timeout(KEEPALIVE_SECONDS):
        await line.turns(11)
    slowest = KEEPALIVE_SECONDS / readers.PAUSE_MOST_SECONDS * readers.READ_OF_FLOOD
    assert slowest > 3 * Limits().connections // EACH


async def test_what_floods_is_not_read_before_the_answer_of_another(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others are; it is read once that is answered, or where that takes long."""
    monkeypatch.setattr(readers, "PAUSE_MOST_SECONDS", 3600)
    line.readers._last = time.monotonic(), 0
    line.hold("castres")
    await line.turns(1)
    line.is_serving = True
    line.hold(*["albi"] * 10)
    for _ in range(5):
        line.hold("castres")
        assert await line.turns(1) == [["castres"]]
    line.is_serving = False
    await line.turns(10)
    assert line.heard.count("albi") == 10
    line.is_serving = True
    line.hold("castres", *["albi"] * 10)
    monkeypatch.setattr(readers, "PAUSE_MOST_SECONDS", 0)
    await line.turns(11)
    assert line.heard.count("albi") == 20


async def test_no_refusal_is_sent_before_the_answer_of_another(
    own_edge: RunningEdge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is once that is answered, or where that takes long; who is answered waits no more."""
    looks: asyncio.Queue[Direct] = asyncio.Queue()
    send = Direct._send_refusals

    def look(found: Direct) -> None:
        send(found)
        looks.put_nowait(found)

    monkeypatch.setattr(Direct, "_send_refusals", look)
    with monkeypatch.context() as crowd:
        crowd.setattr(Readers, "is_full", lambda *_: True)
        crowd.setattr(Readers, "has_place", lambda *_: False)
        assert await refusals(own_edge, fresh("beyond"), (SINGLE,))
        found = looks.get_nowait()
        crowd.setattr(direct, "STEP_MOST_SECONDS", 3600)
        found.light += 1
        refused = asyncio.create_task(refusals(own_edge, fresh("beyond"), (SINGLE,)))
        async with asyncio.timeout(60):
            for _ in range(3):
                await looks.get()
            assert not refused.done()
            assert len(found._refused) == 1
            found.light -= 1
            assert [status for status, *_ in await refused] == [503]
            found.light += 1
            crowd.setattr(direct, "STEP_MOST_SECONDS", 0)
            assert [status for status, *_ in await refusals(own_edge, fresh("beyond"), (SINGLE,))] == [503]
            found.light -= 1
    assert (await own_edge.post(fresh("within"))).status == 201
    assert found.light == 0


async def test_an_address_that_has_not_spoken_yet_floods_too(line: Line) -> None:
    """Its connections are read as those of one commune; a proxy's, which are of many, are read at once."""
    line.hold("castres", *["@proxy"] * 5, *["@127.0.0.2"] * 5)
    assert await line.turns(11) == [
        ["castres", "@proxy", "@127.0.0.2", *["@proxy", "@127.0.0.2"] * 1, "@proxy", "@proxy", "@proxy"],
        ["@127.0.0.2"] * 3,
    ]
    assert line.burdened == set()


async def test_where_too_many_wait_to_be_read(
    own_edge: RunningEdge, taken: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next request is refused at once, its body unread; a few of each commune have a place in any case."""
    monkeypatch.setattr(readers, "HELD_MOST", 2)
    monkeypatch.setattr(readers, "HELD_FEW", 1)
    line = Readers(lambda _: None, lambda: False)
    for commune in ("albi", "albi"):
        assert line.has_place(commune)
        line.hold(Speaker(commune, []))  # type: ignore[arg-type]
    assert (line.has_place("albi"), line.has_place("castres")) == (False, True)
    monkeypatch.setattr(readers, "READING_SECONDS", 0)
    with monkeypatch.context() as crowd:
        crowd.setattr(Readers, "has_place", lambda *_: False)
        ((status, _, body),) = await refusals(own_edge, fresh("beyond"), (SINGLE,))
    assert (status, body["type"]) == (503, "urn:openepm-journal:problem:busy")
    assert taken == [True]
    assert (await own_edge.post(fresh("beyond"))).status == 201
    assert await own_edge.size() == 1
