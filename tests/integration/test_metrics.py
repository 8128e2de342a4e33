"""The metrics of a running service: they move by what was done, and say nothing of whom it concerns."""

from __future__ import annotations

import asyncio
import math
import os
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
import structlog

from ingest.app import CALLS
from ingest.exposition import OPEN_METRICS, PLAIN
from ingest.instruments import STATUSES
from ingest.problems import KINDS
from ingest.readiness import LATE
from journal import __version__
from journal.cli.installation import open_service
from journal.clock import ClockGuard, SimulatedClock
from journal.core.entry import Compartment
from journal.database.embedded import OWNER, SUPERUSER
from journal.metrics import Metrics, make_shared_memory
from journal.writing.instruments import APPEND_RESULTS, PULSE_SECONDS, Instruments
from tests.support.clocks import hold_time
from tests.support.edge import BATCH, CATEGORY, EVENTS, OTHER_TENANT, SERVICE, TENANT, RunningEdge, running_edge
from tests.support.refused_events import SOURCE_PREFIX, full_event, valid_event
from tests.support.scrape import Scrape, growth, scrape
from tests.support.world import make_event

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from journal.database.embedded import EmbeddedPostgres
    from journal.metrics import Family
    from tests.support.edge import Answer

pytestmark = pytest.mark.asyncio(loop_scope="module")

COUNTED = ("events_total", "submissions_total", "submissions_refused_total", "request_duration_seconds_count")
ROUTE = "/v1/categories/{category}/events"


def fresh(name: str, **members: Any) -> dict[str, Any]:
    """Return a valid event of a moment ago."""
    return valid_event(id=name, time=(datetime.now(UTC) - timedelta(seconds=1)).isoformat(), **members)


def family(metrics: Metrics, name: str) -> Family:
    """Return one metric over all processes."""
    (found,) = [family for family in metrics.collect() if family.name == name]
    return found


class TestSharedMemory:
    """Rows of several processes, here in one."""

    @pytest.fixture
    def rows(self) -> Iterator[list[Metrics]]:
        """Give three processes' metrics over one memory."""
        descriptor = make_shared_memory(3)
        yield [Metrics(descriptor, row) for row in range(3)]
        os.close(descriptor)

    async def test_sums(self, rows: list[Metrics]) -> None:
        """Counters, gauges and histograms are added up, whoever is asked; the largest is taken where that is wanted."""
        for number, metrics in enumerate(rows, start=1):
            metrics.counter("c", "", a=("x", "y"), b=("z",)).add(number, "y", "z")
            metrics.gauge("g", "").set(number)
            metrics.gauge("m", "", merge="max").set(-number)
            metrics.histogram("h", "", (1, 2)).observe(number)
        for metrics in rows:
            assert metrics.processes() == 3
            assert [(row.labels, row.value) for row in family(metrics, "c").samples] == [
                (("x", "z"), 0),
                (("y", "z"), 6),
            ]
            assert [row.value for row in family(metrics, "g").samples] == [6]
            assert [row.value for row in family(metrics, "m").samples] == [-1]
            (row,) = family(metrics, "h").samples
            assert (row.value, row.buckets) == (6, ((1, 1), (2, 2), (math.inf, 3)))

    async def test_who_is_not_as_far(self, rows: list[Metrics]) -> None:
        """A process that has declared less, or is not there, is passed over rather than read wrongly."""
        ahead, behind, _ = rows
        for metrics in (ahead, behind):
            metrics.counter("c", "").add(1)
        ahead.gauge("g", "").set(1)
        assert (ahead.processes(), behind.processes()) == (1, 1)
        assert [row.value for row in family(ahead, "c").samples] == [1]
        behind.gauge("g", "")
        assert (ahead.processes(), behind.processes()) == (2, 2)
        assert [row.value for row in family(behind, "c").samples] == [2]

    async def test_declared_twice(self) -> None:
        """It is the same metric, and goes on counting."""
        metrics = Metrics()
        for _ in range(2):
            metrics.counter("c", "").add(1)
        assert [row.value for row in family(metrics, "c").samples] == [2]

    async def test_a_label_that_was_not_declared(self) -> None:
        """What a request brings cannot become a label."""
        counter = Metrics().counter("c", "", a=("x",))
        with pytest.raises(KeyError):
            counter.add(1, "dupont")

    async def test_a_bound_belongs_to_its_bucket(self) -> None:
        """`le` means: less or equal."""
        metrics = Metrics()
        metrics.histogram("h", "", (1, 2)).observe(1)
        assert family(metrics, "h").samples[0].buckets == ((1, 1), (2, 1), (math.inf, 1))


async def test_what_was_posted_is_counted(own_edge: RunningEdge) -> None:
    """Events, submissions and refusals move by exactly what was posted, and by nothing else."""
    edge = own_edge
    before = await scrape(edge.session)
    batch = [fresh(f"b{number}") for number in range(5)]
    assert (await edge.post(batch)).status == 201
    assert (await edge.post([*batch[:2], twice := fresh("b5"), twice])).status == 201
    assert (await edge.post(batch[0])).status == 200
    assert (await edge.post(fresh("single"))).status == 201
    assert (await edge.post(batch[0] | {"subject": "other"})).status == 409
    assert (await edge.post([fresh("beside"), valid_event(id="old")])).status == 422
    assert (await edge.post({})).status == 400
    assert (await edge.post(b"[]", media_type="text/xml")).status == 415
    assert (await edge.post(fresh("x"), token="oej_0_0")).status == 401
    assert (await edge.post(fresh("x"), token="client")).status == 404
    grown = growth(before, await scrape(edge.session), (*COUNTED, "entries_appended_total"))
    assert grown["events_total"] == {("recorded",): 5 + 1 + 1, ("known",): 2 + 1 + 1, ("refused",): 1 + 2}
    assert grown["submissions_total"] == {("batch",): 3, ("single",): 4}
    reasons = ("known", "purged", "misshapen", "media-type", "unauthenticated", "absent")
    assert grown["submissions_refused_total"] == {(reason,): 1 for reason in reasons}
    assert grown["request_duration_seconds_count"] == {(ROUTE, "2xx"): 4, (ROUTE, "4xx"): 6, ("/metrics", "2xx"): 1}
    assert grown["entries_appended_total"] == {(): 7}


async def test_bytes_are_those_of_the_bodies(edge: RunningEdge) -> None:
    """As they were sent."""
    before = await scrape(edge.session)
    for body in (b"{}", b"[{}]" + b" " * 100):
        await edge.post(body, media_type=BATCH)
    grown = growth(before, await scrape(edge.session), ["submitted_bytes_total"])
    assert grown["submitted_bytes_total"] == {(): 106}


async def test_a_request_for_nothing_known(edge: RunningEdge) -> None:
    """Whatever its path and method, it counts as unknown."""
    before = await scrape(edge.session)
    await edge.ask("GET", "/v1/dupont")
    await edge.ask("PUT", EVENTS)
    grown = growth(before, await scrape(edge.session), COUNTED)
    assert grown["request_duration_seconds_count"]["unknown", "4xx"] == 2
    assert grown["submissions_refused_total"] == {}


async def test_what_waits_shows(postgres: EmbeddedPostgres, tmp_path: Path) -> None:
    """The queue and its limits are there to compare, while the database holds appends up; beyond, it is busy."""
    async with running_edge(postgres, tmp_path, queue_events=40) as edge:
        holder = await asyncpg.connect(edge.superuser_dsn)
        await holder.execute("SELECT pg_advisory_lock(7304680770881318763)")
        posts: list[asyncio.Task[Answer]] = []
        async with asyncio.timeout(30):
            # One append is under way, the next is drafted: what comes after them waits. A scrape would wait too.
            while edge.service.writer._queue.events < 3:
                posts.append(asyncio.create_task(edge.post(fresh(f"{len(posts)}"), Prefer="wait=30")))
                # Three that came at once may still be drafted.
                for _ in range(2):
                    await edge.ask("GET", "/healthz")
        found = await scrape(edge.session)
        assert found.value("queue_limit_events") == 40
        waiting = found.value("queue_events")
        assert 3 <= waiting < 40
        assert waiting * 300 < found.value("queue_bytes") < waiting * 1000
        assert (await edge.post([fresh(f"more {number}") for number in range(40)])).status == 503
        await holder.close()
        assert {(await post).status for post in posts} == {201}
        found = await scrape(edge.session)
        assert (found.value("queue_events"), found.value("queue_bytes")) == (0, 0)
        assert found.value("submissions_refused_total", "busy") == 1
        assert found.value("events_total", "refused") == 40


async def test_an_append_that_is_overtaken(own_edge: RunningEdge) -> None:
    """Two processes on one chain: the conflict is counted where it was met, and each entry once."""
    edge = own_edge
    dsn = edge.superuser_dsn.replace(f"//{SUPERUSER}@", f"//{OWNER}@")
    async with open_service(dsn, edge.service.settings, edge.clock) as other:
        await edge.post(fresh("first"))
        compartment = Compartment(SERVICE, TENANT, CATEGORY)
        event = make_event(edge.clock.now())
        for _ in range(2):
            await other.service.writer.submit(compartment, "test", [event], 100)
        before = await scrape(edge.session)
        assert (await edge.post(fresh("second"))).status == 201
        grown = growth(before, await scrape(edge.session), ["appends_total", "append_duration_seconds_count"])
    assert grown == {
        "appends_total": {("conflict",): 1, ("appended",): 1},
        "append_duration_seconds_count": {(): 1},
    }


async def test_a_loop_that_comes_late() -> None:
    """What holds the loop up shows as lag, at least as long as it lasted."""
    metrics = Metrics()
    clock = SimulatedClock()
    guard = ClockGuard(clock)
    pulse = asyncio.create_task(Instruments(metrics).pulse(guard))
    async with asyncio.timeout(30):
        await asyncio.sleep(0)
        time.sleep(PULSE_SECONDS + 0.2)  # noqa: ASYNC251  # the very fault
        while not family(metrics, "openepm_journal_event_loop_lag_seconds").samples[0].buckets[-1][1]:  # noqa: ASYNC110
            await asyncio.sleep(0)
    pulse.cancel()
    (lag,) = family(metrics, "openepm_journal_event_loop_lag_seconds").samples
    assert lag.value >= 0.2
    assert dict(lag.buckets)[0.1] == 0


class Drifting(SimulatedClock):
    """A wall clock that is moved while the monotonic one goes on."""

    drift = timedelta(0)

    def now(self) -> datetime:
        """Return the wall clock."""
        return super().now() + self.drift


async def test_a_clock_that_is_moved() -> None:
    """By how much, either way."""
    metrics = Metrics()
    clock = Drifting()
    guard = ClockGuard(clock)
    clock.drift = timedelta(minutes=-10)
    pulse = asyncio.create_task(Instruments(metrics).pulse(guard))
    await asyncio.sleep(0)
    pulse.cancel()
    (departure,) = family(metrics, "openepm_journal_clock_departure_seconds").samples
    assert departure.value == pytest.approx(600, abs=1)


async def test_nothing_says_whose_it_is(own_edge: RunningEdge) -> None:
    """No tenant, account, subject, source, credential, path: whatever is sent, and wherever it is refused."""
    edge, mark = own_edge, "dupont"
    event = full_event() | {"id": mark, "source": SOURCE_PREFIX + mark, "subject": mark, "sequence": "1"}
    event |= {"time": datetime.now(UTC).isoformat()}
    assert (await edge.post(event)).status == 201
    assert (await edge.post(event | {mark: mark})).status == 400
    assert (await edge.post(event, path=f"/v1/categories/{mark}/events")).status == 404
    await edge.ask("GET", f"/v1/{mark}?{mark}={mark}", token="client")
    await edge.ask(mark.upper(), EVENTS, token=f"oej_{mark}_{mark}", User_Agent=mark)
    said = ""
    for path, accept in (("/metrics", "*/*"), ("/metrics", OPEN_METRICS), ("/readyz", "*/*")):
        said += (await edge.ask("GET", path, Accept=accept)).body.decode().lower()
    secrets = [mark, "brigade", "10.0.0.12", SOURCE_PREFIX, TENANT, OTHER_TENANT, "mc-2026", SERVICE]
    assert [secret for secret in (*secrets, *edge.ids.values()) if secret.lower() in said] == []


async def test_every_label_is_one_of_few(edge: RunningEdge) -> None:
    """Categories, checks, and what the code declares: nothing that could grow, or be somebody."""
    await edge.post([fresh("labelled")])
    found = (await scrape(edge.session)).labels()
    checks = set((await edge.ask("GET", "/readyz")).json["checks"])
    assert found.pop("category") == {"assistance", "comptes", "ecrits", "journal", "main-courante"}
    assert found.pop("check") == checks
    assert found.pop("route") <= {call.path for call in CALLS} | {"unknown"}
    assert found.pop("status") <= set(STATUSES)
    assert found.pop("reason") == {kind.name for kind in KINDS}
    assert found.pop("result") == {*APPEND_RESULTS, "recorded", "known", "refused"}
    assert found.pop("shape") == {"single", "batch"}
    assert found.pop("version") == {__version__}
    assert all(float(bound) > 0 for bound in found.pop("le"))
    assert found.pop("place") <= {"home", "keys", "handover", "signer", "database", "WAL"}
    assert found == {}


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("", PLAIN),
        ("*/*", PLAIN),
        ("text/plain;version=0.0.4;q=0.2", PLAIN),
        ("application/openmetrics-text; version=1.0.0; escaping=allow-utf-8; q=0.6, text/plain;q=0.5", OPEN_METRICS),
        ("application/openmetrics-text;version=\x80nonsense;escaping=,text/plain", OPEN_METRICS),
    ],
)
async def test_both_formats(edge: RunningEdge, accept: str, kind: str) -> None:
    """Whoever names OpenMetrics gets it, everybody else the plain text; nothing of what was asked is repeated."""
    answer = await edge.ask("GET", "/metrics", Accept=accept)
    assert answer.status == 200
    text = answer.body.decode()
    if kind == PLAIN:
        assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        found = Scrape.read(text)
    else:
        assert answer.headers["Content-Type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
        found = Scrape.read_open(text)
    assert len(found.families) > 30
    for metric in found.families:
        assert metric.name.startswith("openepm_journal_")
        assert metric.documentation.endswith(".")
        assert metric.type in {"counter", "gauge", "histogram", "info"}
    assert found.names() >= {"openepm_journal_events_total", "openepm_journal_build_info"}


async def test_a_scrape_costs_little(
    own_edge: RunningEdge, record_property: Callable[[str, object], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few questions to the database, as many with twenty communes more; none within the same second."""
    store = own_edge.service.store
    asked: list[str] = []
    # The snapshot, twice a second, and the writer's memory, each second, ask as these roles and nobody else does.
    by_themselves = {"ingest", "owner"}
    borrow = store.borrow
    monkeypatch.setattr(store, "borrow", lambda role: asked.append(role) or borrow(role))

    async def cost() -> int:
        own_edge.clock.offset += timedelta(seconds=1)
        await own_edge.service.snapshot.refresh()
        asked.clear()
        await scrape(own_edge.session)
        return len([role for role in asked if role not in by_themselves])

    few = await cost()
    for number in range(20):
        await own_edge.installation.administration.add_tenant(f"commune-{number}", "x")
    await own_edge.post(fresh("costs"))
    hold_time(own_edge.clock, monkeypatch)
    many = await cost()
    asked.clear()
    for _ in range(3):
        await scrape(own_edge.session)
    assert [role for role in asked if role not in by_themselves] == []
    record_property("evidence", f"a scrape asks the database {many} questions, with 2 communes or 22")
    assert few == many <= 24


async def test_while_the_database_is_gone(own_edge: RunningEdge) -> None:
    """What was counted and which checks fail are still told; of the rest nothing, rather than something old."""
    await own_edge.post(fresh("before"))
    assert (await scrape(own_edge.session)).value("last_seal_number") == 0
    await own_edge.service.store.close()
    own_edge.clock.offset += timedelta(seconds=6)
    found = await scrape(own_edge.session)
    assert found.value("ready", "database") == 0
    assert found.value("events_total", "recorded") == 1
    assert found.series("last_seal_number") == found.series("overdue_days") == {}
    answer = await own_edge.ask("GET", "/readyz")
    assert (answer.status, answer.json["checks"]["database"], "facts" in answer.json) == (503, "failing", False)


async def test_while_the_database_keeps_one_waiting(own_edge: RunningEdge) -> None:
    """A scrape is answered all the same, and says that the database is late; once it answers, all is as before."""
    await own_edge.service.sealer.seal_open(even_if_still=True)
    holder = await asyncpg.connect(own_edge.superuser_dsn)
    await holder.execute("BEGIN; LOCK TABLE journal.seal IN ACCESS EXCLUSIVE MODE")
    with structlog.testing.capture_logs() as lines:
        found = await scrape(own_edge.session)
        assert found.value("ready", "database") == 0
        assert found.series("last_seal_number") == {}
        assert (await own_edge.ask("GET", "/readyz")).status == 503
    assert [line["database"] for line in lines if line["event"] == "not ready"] == [LATE["database"]]
    await holder.close()
    async with asyncio.timeout(30):
        while (await own_edge.ask("GET", "/readyz")).status != 200:
            own_edge.clock.offset += timedelta(seconds=1)
            await own_edge.service.snapshot.refresh()
    assert (await scrape(own_edge.session)).value("last_seal_number") == 1
