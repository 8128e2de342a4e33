"""The server under everything: what is not quite HTTP, what is too much, what the log may say."""

from __future__ import annotations

import asyncio
import json
import logging
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
import structlog

from ingest import server
from ingest.access import Limits
from ingest.edge import EDGE
from journal.core.errors import OperatorError
from tests.support.clocks import hold_time
from tests.support.edge import CATEGORY, EVENTS, HEAD, OTHER_TENANT, SINGLE, TENANT, RunningEdge, running_edge
from tests.support.raw import raw, request_head
from tests.support.refused_events import valid_event

if TYPE_CHECKING:
    from pathlib import Path

    from journal.database.embedded import EmbeddedPostgres

pytestmark = pytest.mark.asyncio(loop_scope="module")

PROBLEM = "application/problem+json"


def fresh(name: str, **members: Any) -> dict[str, Any]:
    """Return a valid event of a moment ago."""
    moment = datetime.now(UTC) - timedelta(seconds=1)
    return valid_event(id=name, time=moment.isoformat(), **members)


async def hang_up(edge: RunningEdge, data: bytes) -> None:
    """Send bytes, and close without reading the answer."""
    _, writer = await asyncio.open_connection("127.0.0.1", edge.port)
    writer.write(data)
    await writer.drain()
    writer.close()
    await writer.wait_closed()


class TestNotQuiteHttp:
    """What a connection may bring; each is answered by a problem, and the service goes on."""

    @pytest.mark.parametrize(
        "data",
        [
            b"HELO journal\r\n\r\n",
            b"GET / HTTP/9.9\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
            b"GET /v1/trust HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            b"GET /v1/trust HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n",
            b"GET /v1/trust HTTP/1.1\r\nHost: a\r\n X: folded\r\n\r\n",
            b"GET /v1/trust HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 10_000 + b"\r\n\r\n",
            b"GET /v1/trust HTTP/1.1\r\nHost: a\r\n" + b"X: x\r\n" * 200 + b"\r\n",
            b"GET /" + b"x" * 10_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
            b"POST /v1/trust HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
            b"POST /v1/trust HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\nx",
            b"POST /v1/trust HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"POST /v1/trust HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked, chunked\r\n\r\n0\r\n\r\n",
        ],
        ids=[
            "another protocol",
            "another version",
            "TLS",
            "two hosts",
            "NUL in a header",
            "a folded header",
            "a long header",
            "many headers",
            "a long path",
            "two lengths",
            "a signed length",
            "a length and chunks",
            "chunks of chunks",
        ],
    )
    async def test_it_is_refused(self, edge: RunningEdge, data: bytes) -> None:
        """400 as a problem that quotes nothing, 431 where it is the size, and the connection ends."""
        status, headers, body = await raw(edge, data, ends=True)
        is_large = len(data) > 1_000
        assert (status, headers["content-type"]) == (431 if is_large else 400, PROBLEM)
        kind = "head-too-large" if is_large else "bad-request"
        assert json.loads(body)["type"] == f"urn:openepm-journal:problem:{kind}"
        assert headers["server"] == "openepm-journal"
        assert (await edge.ask("GET", "/healthz")).status == 200

    async def test_chunks(self, edge: RunningEdge) -> None:
        """A body announces its length: there is one way to say where it ends."""
        head = request_head(edge, f"Content-Type: {SINGLE}", "Transfer-Encoding: chunked")
        status, headers, _ = await raw(edge, head + b"1\r\n{\r\n0\r\n\r\n")
        assert (status, headers["content-type"]) == (411, PROBLEM)

    async def test_no_length(self, edge: RunningEdge) -> None:
        """A body that is not announced is not looked for."""
        status, _, body = await raw(edge, request_head(edge, f"Content-Type: {SINGLE}"))
        assert status == 411
        assert json.loads(body)["type"].endswith(":length-required")

    @pytest.mark.parametrize("protocol", ["websocket", "h2c"])
    async def test_upgrades(self, edge: RunningEdge, protocol: str) -> None:
        """No other protocol begins on this connection."""
        head = request_head(edge, "Connection: Upgrade", f"Upgrade: {protocol}", method="GET", path=HEAD)
        status, headers, _ = await raw(edge, head, ends=True)
        assert (status, headers["connection"]) == (400, "close")

    @pytest.mark.parametrize("path", [EVENTS, "/nowhere"])
    async def test_an_expectation(self, edge: RunningEdge, path: str) -> None:
        """Only leave to send the body can be expected."""
        head = request_head(edge, f"Content-Type: {SINGLE}", "Content-Length: 2", "Expect: miracles", path=path)
        status, headers, _ = await raw(edge, head + b"{}")
        assert (status, headers["content-type"]) == (417, PROBLEM)

    async def test_leave_to_send(self, edge: RunningEdge) -> None:
        """A sender that waits for leave gets it, then its answer."""
        body = json.dumps(fresh("leave")).encode()
        head = request_head(edge, f"Content-Type: {SINGLE}", f"Content-Length: {len(body)}", "Expect: 100-continue")
        status, _, answer = await raw(edge, head + body)
        assert (status, json.loads(answer)["receipts"][0]["index"]) == (201, await edge.size() - 1)

    @pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "PUT", "DELETE", "PATCH", "TRACE", "GET"])
    async def test_other_methods(self, edge: RunningEdge, method: str) -> None:
        """What is not offered is refused, with what is."""
        answer = await edge.ask(method, EVENTS, token="module")
        assert (answer.status, answer.headers["Allow"]) == (405, "POST")
        assert answer.headers["Content-Type"] == PROBLEM

    @pytest.mark.parametrize("query", ["?tenant=castres", "?after=1", "?=", "?%00=1"])
    async def test_unknown_parameters(self, edge: RunningEdge, query: str) -> None:
        """A parameter that means nothing here is refused, not ignored."""
        assert (await edge.ask("GET", HEAD + query, token="client")).status == 400

    @pytest.mark.parametrize("after", ["-1", "x", "1.0", "", "9" * 16, "1&after=2", "%D9%A1"])
    async def test_a_number_that_is_none(self, edge: RunningEdge, after: str) -> None:
        """`after` is a number in decimal digits, given once."""
        assert (await edge.ask("GET", f"/v1/seals?after={after}", token="client")).status == 400

    async def test_answers_give_nothing_away(self, edge: RunningEdge) -> None:
        """Every answer is for its caller alone, and says no version of anything."""
        for path in ("/healthz", "/nowhere", HEAD):
            headers = (await edge.ask("GET", path)).headers
            assert headers["Server"] == "openepm-journal"
            assert headers["Cache-Control"] == "no-store"
            assert headers["X-Content-Type-Options"] == "nosniff"


class TestTooMuch:
    """Bounds, and the way back from them."""

    async def test_a_slow_body(self, postgres: EmbeddedPostgres, tmp_path: Path) -> None:
        """A body that does not arrive in time is given up, and its connection with it."""
        async with running_edge(postgres, tmp_path, limits=Limits(body_seconds=0.2)) as edge:
            head = request_head(edge, f"Content-Type: {SINGLE}", "Content-Length: 1000")
            status, headers, _ = await raw(edge, head + b"{", ends=True)
            assert (status, headers["connection"]) == (408, "close")
            assert edge.app[EDGE].bodies._held == {}

    async def test_a_credential_that_is_too_fast(
        self, postgres: EmbeddedPostgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It is told when to come back; another credential does not notice, and time restores it."""
        limits = Limits(requests_per_second=1, burst_requests=3)
        async with running_edge(postgres, tmp_path, limits=limits) as edge:
            hold_time(edge.clock, monkeypatch)
            statuses = [(await edge.ask("GET", "/v1/trust", token="client")).status for _ in range(4)]
            assert statuses == [200, 200, 200, 429]
            refused = await edge.ask("GET", "/v1/trust", token="client")
            assert (refused.status, refused.headers["Retry-After"]) == (429, "2")
            assert (await edge.ask("GET", "/v1/trust", token="auditor")).status == 200
            edge.clock.offset += timedelta(seconds=1)
            assert (await edge.ask("GET", "/v1/trust", token="client")).status == 200

    @pytest.mark.parametrize("is_late", [False, True])
    async def test_a_module_that_is_fast(
        self, postgres: EmbeddedPostgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_late: bool
    ) -> None:
        """A module is held to its rate only while the process is late; then another one does not notice."""
        limits = Limits(requests_per_second=1, burst_requests=3, late_seconds=0 if is_late else 3600)
        async with running_edge(postgres, tmp_path, limits=limits) as edge:
            await edge.add_credential("castres", role="module", tenant=OTHER_TENANT)
            hold_time(edge.clock, monkeypatch)
            statuses = [(await edge.post(fresh(f"fast {number}"))).status for number in range(5)]
            assert statuses == [201, 201, 201] + ([429, 429] if is_late else [201, 201])
            assert (await edge.post(fresh("calm"), token="castres")).status == 201
            # Of other callers, none is exempt.
            asked = [(await edge.ask("GET", "/v1/trust", token="client")).status for _ in range(4)]
            assert asked == [200, 200, 200, 429]

    async def test_a_full_queue(self, postgres: EmbeddedPostgres, tmp_path: Path) -> None:
        """What does not fit now is refused with a moment to come back at; what fits is recorded."""
        async with running_edge(postgres, tmp_path, queue_events=10) as edge:
            connection = await asyncpg.connect(edge.superuser_dsn)
            async with connection.transaction():
                await connection.execute("LOCK TABLE journal.head IN ACCESS EXCLUSIVE MODE")
                waiting: list[asyncio.Task[Any]] = []
                while edge.service.writer._queue.events < 5:
                    waiting.append(asyncio.create_task(edge.post(fresh(f"first {len(waiting)}"))))
                    await edge.ask("GET", "/healthz")
                answer = await edge.post([fresh(f"{number}") for number in range(10)])
                assert (answer.status, answer.json["type"]) == (503, "urn:openepm-journal:problem:busy")
                assert 2 <= int(answer.headers["Retry-After"]) <= 4
            await connection.close()
            await asyncio.gather(*waiting)
            async with asyncio.timeout(60):
                while (await edge.post([fresh(f"{number}") for number in range(10)])).status != 201:
                    pass

    async def test_too_many_bodies(self, postgres: EmbeddedPostgres, tmp_path: Path) -> None:
        """Memory for bodies is shared: one commune cannot take another's part, with however many credentials."""
        limits = Limits(bodies_bytes=20_000, bodies_bytes_per_commune=10_000)
        async with running_edge(postgres, tmp_path, limits=limits) as edge:
            await edge.add_credential("second", role="module")
            await edge.add_credential("castres", role="module", tenant=OTHER_TENANT)
            shares = edge.app[EDGE].bodies
            with shares.hold(TENANT, 10_000):
                assert (await edge.post(fresh("a"))).status == 503
                assert (await edge.post(fresh("a"), token="second")).status == 503
                assert (await edge.post(fresh("a"), token="castres")).status == 201
                with shares.hold("a third", 10_000):
                    assert (await edge.post(fresh("b"), token="castres")).status == 503
            assert (await edge.post(fresh("c"))).status == 201

    async def test_a_caller_that_hangs_up(self, edge: RunningEdge) -> None:
        """What was received whole is recorded, whether or not anybody waits for the receipt."""
        before = await edge.size()
        event = fresh("hung up")
        body = json.dumps(event).encode()
        head = request_head(edge, f"Content-Type: {SINGLE}", f"Content-Length: {len(body)}")
        await hang_up(edge, head + body)
        async with asyncio.timeout(60):
            while await edge.size() == before:
                pass
        assert (await edge.post(event)).status == 200

    async def test_a_body_cut_short(self, edge: RunningEdge) -> None:
        """What was not received whole is nothing."""
        before = await edge.size()
        body = json.dumps(fresh("cut")).encode()
        head = request_head(edge, f"Content-Type: {SINGLE}", f"Content-Length: {len(body) + 1}")
        await hang_up(edge, head + body)
        assert (await edge.post(fresh("whole"))).status == 201
        assert await edge.size() == before + 1


class TestFailure:
    """The service itself is at fault."""

    async def test_what_nobody_foresaw(self, own_edge: RunningEdge) -> None:
        """500 with an identifier that the log has too; neither says what was asked or what was met."""
        own_edge.service.settings.trust_path.unlink()
        with structlog.testing.capture_logs() as lines:
            answer = await own_edge.ask("GET", "/v1/trust", token="client")
        assert (answer.status, answer.headers["Content-Type"]) == (500, PROBLEM)
        (line,) = [line for line in lines if line["event"] == "a request failed"]
        assert line["request_id"] == answer.json["request_id"] == answer.headers["X-Request-Id"]
        assert str(own_edge.service.settings.trust_path) not in answer.body.decode() + str(lines)

    async def test_the_database_is_gone(self, own_edge: RunningEdge) -> None:
        """503 with a moment to come back at; no detail of the database reaches the caller."""
        await own_edge.service.store.close()
        for answer in (await own_edge.ask("GET", "/v1/seals", token="client"), await own_edge.post(fresh("x"))):
            assert (answer.status, answer.headers["Content-Type"]) == (503, PROBLEM)
            assert int(answer.headers["Retry-After"]) >= 1

    async def test_no_seal_yet(self, own_edge: RunningEdge) -> None:
        """Before the first seal there is no head to state, and readiness says so."""
        assert (await own_edge.ask("GET", HEAD, token="client")).status == 503
        answer = await own_edge.ask("GET", "/readyz")
        assert (answer.status, answer.headers["Content-Type"]) == (503, PROBLEM)
        assert answer.json["checks"]["seals"] == "failing"
        assert answer.json["checks"]["database"] == "ok"

    async def test_ready(self, edge: RunningEdge) -> None:
        """Everything that must hold is named; the reasons of what fails are for the log alone."""
        await edge.service.sealer.seal_open(even_if_still=True)
        answer = await edge.ask("GET", "/readyz")
        assert (answer.status, answer.json["status"]) == (200, "ready")
        assert set(answer.json["checks"].values()) == {"ok"}
        assert {"clock", "database", "keys", "seals"} <= set(answer.json["checks"])

    @pytest.mark.parametrize(("path", "status"), [("/healthz", 200), ("/readyz", 503)])
    async def test_a_probe_that_wants_no_body(self, own_edge: RunningEdge, path: str, status: int) -> None:
        """HEAD is answered as GET is, but for the body; the connection goes on being used."""
        for _ in range(2):
            answer, told = await own_edge.ask("HEAD", path), await own_edge.ask("GET", path)
            assert (answer.status, answer.body) == (told.status, b"") == (status, b"")
            for name in ("Content-Type", "Content-Length", "Cache-Control"):
                assert answer.headers[name] == told.headers[name]
        answer = await own_edge.ask("HEAD", f"{path}?unknown=1")
        assert (answer.status, answer.body) == (400, b"")
        assert (await own_edge.ask("POST", path)).headers["Allow"] == "GET,HEAD"

    async def test_readiness_is_asked_once_a_second(
        self, own_edge: RunningEdge, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A probe that anyone may call costs little: the answer is kept, and renewed."""
        hold_time(own_edge.clock, monkeypatch)
        assert (await own_edge.ask("GET", "/readyz")).status == 503
        await own_edge.service.sealer.seal_open(even_if_still=True)
        assert (await own_edge.ask("GET", "/readyz")).status == 503
        own_edge.clock.offset += timedelta(seconds=1)
        await own_edge.service.snapshot.refresh()
        assert (await own_edge.ask("GET", "/readyz")).status == 200

    @pytest.mark.parametrize("version", ["3.14.2", "3.9.5"])
    async def test_an_old_aiohttp(self, version: str) -> None:
        """A version with known request smuggling is refused."""
        with pytest.raises(OperatorError, match=version):
            server.check_aiohttp(version)


class TestLog:
    """One line a request, and nothing personal."""

    async def test_one_line(self, edge: RunningEdge) -> None:
        """Method, pattern of the path, status, duration, credential, count of events."""
        with structlog.testing.capture_logs() as lines:
            answer = await edge.post([fresh("logged 1"), fresh("logged 2")])
        (line,) = [line for line in lines if line["event"] == "request answered"]
        assert line.pop("duration_seconds") > 0
        assert line == {
            "event": "request answered",
            "log_level": "info",
            "method": "POST",
            "route": "/v1/categories/{category}/events",
            "status": 201,
            "credential": edge.ids["module"],
            "count": 2,
            "request_id": answer.headers["X-Request-Id"],
            "traceparent": None,
        }

    async def test_nothing_that_was_sent(self, edge: RunningEdge, caplog: pytest.LogCaptureFixture) -> None:
        """No path, query, header, body or secret is ever logged, by us or by aiohttp, whatever comes of it."""
        caplog.set_level(logging.DEBUG)
        mark = "dupont"
        with structlog.testing.capture_logs() as lines:
            await edge.ask("GET", f"/v1/{mark}")
            await edge.ask("GET", f"/v1/categories/{mark}/head?{mark}={mark}", token="client", X_Mark=mark)
            await edge.ask("GET", "/v1/seals", Authorization=f"Bearer oej_{mark}_{mark}")
            await edge.ask(mark.upper(), EVENTS)
            await edge.post(fresh(mark, **{mark: mark}), User_Agent=mark)
            await edge.post(mark.encode())
            await raw(edge, request_head(edge, method="GET", path=f"/v1/seals?{mark}={mark}"))
            await raw(edge, f"GET /{mark} HTTP/1.1\r\n{mark}\x00: {mark}\r\n\r\n".encode())
        assert len(lines) >= 7
        assert mark not in (str(lines) + caplog.text).lower()
        assert edge.tokens["client"] not in str(lines)


async def test_many_at_once(edge: RunningEdge) -> None:
    """Requests on many connections are answered each with its own receipts."""
    before = await edge.size()

    async def one(name: str) -> set[int]:
        answer = await edge.post([fresh(f"{name} {number}") for number in range(5)])
        return {receipt["index"] for receipt in answer.json["receipts"]}

    answers = await asyncio.gather(*(one(f"many {number}") for number in range(40)))
    assert set().union(*answers) == set(range(before, before + 200))
    assert await edge.size(CATEGORY) == before + 200
