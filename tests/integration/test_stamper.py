"""Close seals time-stamped by a real authority, and by one that is down, slow, or lies."""

from __future__ import annotations

import argparse
import asyncio
import socket
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
from aiohttp import web
from structlog.testing import capture_logs

from journal.cli import commands, doctor, serve
from journal.clock import SimulatedClock
from journal.core.entry import RESERVED_TENANT, Compartment
from journal.core.errors import NotStampedError, OperatorError
from journal.database.store import Store
from journal.extract.listing import parse_head_answer
from journal.pki import der, timestamp
from journal.pki.certificates import der_to_pem, pem_to_der
from journal.pki.timestamp_token import REPLY_LIMIT_BYTES, REPLY_TYPE
from journal.seals.stamper import FAILING_LIMIT, INTERVAL_SECONDS, RETRY_LIMIT_SECONDS, Stamper
from journal.seals.tsa_client import TsaClient
from journal.settings import Settings
from journal.verifier.cli import main as verify_main
from tests.support import authority as made
from tests.support import stamps
from tests.support.copies import original
from tests.support.tsa import Authority
from tests.support.tsa_server import TsaServer, honest, running_tsa
from tests.support.world import CATEGORY, DAY, SERVICE, TENANT, World, new_world, open_copy, settings_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from journal.database.embedded import EmbeddedPostgres
    from tests.support.tsa_server import Answer

pytestmark = [
    pytest.mark.needs("openssl"),
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.usefixtures("no_documents"),
]

SHORT_SECONDS = 0.5
COMPARTMENT = Compartment(SERVICE, TENANT, CATEGORY)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Make one authority for all: it keeps nothing of who asked."""
    return Authority(tmp_path_factory.mktemp("tsa"))


@asynccontextmanager
async def stamped_world(
    postgres: EmbeddedPostgres, home: Path, tsa: TsaServer, **settings: Any
) -> AsyncIterator[World]:
    """Give a journal that recorded something yesterday, by the real time, and has closed the day: a copy of one."""
    trusted = {"tsa_url": tsa.url, "tsa_trust": str(tsa.authority.trust_path), **settings}
    chosen = Settings(home=str(home), service_name=SERVICE, rule_delay_days=0, **trusted)
    today = datetime.now(UTC).date()
    kept = await original(postgres, ("stamped", today), lambda place: closed_world(postgres, place))
    async with open_copy(postgres, kept, chosen) as world:
        await world.travel(datetime.now(UTC))
        yield world


@asynccontextmanager
async def closed_world(postgres: EmbeddedPostgres, home: Path) -> AsyncIterator[World]:
    """Make it; it knows no authority yet."""
    async with new_world(postgres, home, start=datetime.now(UTC) - DAY, tenants=[TENANT]) as world:
        await world.record(3)
        await world.travel(datetime.now(UTC))
        (close,) = await world.service.sealer.close_due_days()
        assert close.timestamp is None
        yield world


@pytest_asyncio.fixture(loop_scope="module")
async def tsa(authority: Authority) -> AsyncIterator[TsaServer]:
    """Run the authority for one test."""
    async with running_tsa(authority) as server:
        yield server


@pytest_asyncio.fixture(loop_scope="module")
async def world(postgres: EmbeddedPostgres, tmp_path: Path, tsa: TsaServer) -> AsyncIterator[World]:
    """Give a journal whose close seal of yesterday waits for its time-stamp."""
    async with stamped_world(postgres, tmp_path / "home", tsa) as world:
        yield world


def stamper_of(world: World) -> Stamper:
    """Return the service's stamper."""
    assert world.service.stamper is not None
    return world.service.stamper


async def stamp(stamper: Stamper) -> list[int]:
    """Have stamped what waits; return the seals' numbers."""
    return [stamped.number async for stamped in stamper.stamp_waiting()]


async def waiting(world: World) -> list[int]:
    """Return the numbers of the seals that wait."""
    return [row.number for row in await stamper_of(world).waiting()]


def verify_command(home: Path, extract: bytes, world: World, tsa: TsaServer, capsys: Any) -> tuple[int, str]:
    """Run journal-verify with both kinds of certificates; return its exit status and what it printed."""
    (home / "extract").write_bytes(extract)
    status = verify_main(
        [
            str(home / "extract"),
            "--trust",
            str(world.settings.trust_path),
            "--tsa-trust",
            str(tsa.authority.trust_path),
        ]
    )
    return status, capsys.readouterr().out


@pytest.mark.documents
async def test_a_seal_is_stamped_and_everyone_sees_it(
    world: World, tsa: TsaServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The extract carries the token, the head and the list of seals too, and journal-verify says what it proves."""
    yesterday = world.today - DAY
    before = await world.extract(yesterday, yesterday)
    assert await stamp(stamper_of(world)) == [1]
    assert await waiting(world) == []
    status, out = verify_command(tmp_path, before, world, tsa, capsys)
    assert status == 2
    assert "--tsa-trust: no time-stamp was found" in out
    status, out = verify_command(tmp_path, await world.extract(yesterday, yesterday), world, tsa, capsys)
    assert status == 0
    close = await world.service.store.close_seal(yesterday)
    assert close is not None
    assert close.timestamp is not None
    found = timestamp.verify(
        close.timestamp, sha256(close.text).digest(), anchors=tsa.authority.anchors, made_at=close.sealed_at
    )
    assert f"covers could not be rewritten after {timestamp.time_text(found.stamped_at)} (± 1 s)" in out.splitlines()[0]
    first, *_ = await world.service.reader.seals(0, 10)
    assert first["number"] == 1
    assert "timestamp" in first


async def test_the_head_of_a_close_seal_carries_its_token(world: World) -> None:
    """Where the latest seal is one."""
    assert parse_head_answer(await world.service.reader.head(COMPARTMENT)).timestamp is None
    await stamp(stamper_of(world))
    known = parse_head_answer(await world.service.reader.head(COMPARTMENT))
    assert known.timestamp is not None
    await world.record(1)
    await world.seal()
    assert parse_head_answer(await world.service.reader.head(COMPARTMENT)).timestamp is None


def fixed(body: bytes, **options: Any) -> Answer:
    """Return an authority that always answers the same."""

    async def answer(_: TsaServer, __: web.Request, ___: bytes) -> web.StreamResponse:
        return web.Response(body=body, **{"content_type": REPLY_TYPE, **options})

    return answer


async def silent(_: TsaServer, __: web.Request, ___: bytes) -> web.StreamResponse:
    """Take the query and say nothing."""
    await asyncio.Event().wait()
    raise AssertionError


async def dripping(_: TsaServer, request: web.Request, __: bytes) -> web.StreamResponse:
    """Answer byte by byte, for ever."""
    response = web.StreamResponse(headers={"Content-Type": REPLY_TYPE})
    await response.prepare(request)
    while True:
        await response.write(b"0")
        await asyncio.sleep(SHORT_SECONDS / 10)


async def endless(_: TsaServer, request: web.Request, __: bytes) -> web.StreamResponse:
    """Answer every query at once."""
    response = web.StreamResponse(headers={"Content-Type": REPLY_TYPE})
    await response.prepare(request)
    while True:
        await response.write(bytes(64 * 1024))


async def cut_short(_: TsaServer, request: web.Request, __: bytes) -> web.StreamResponse:
    """Hang up in the middle."""
    response = web.StreamResponse(headers={"Content-Type": REPLY_TYPE, "Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b"0")
    assert request.transport is not None
    request.transport.abort()
    return response


async def redirecting(server: TsaServer, _: web.Request, __: bytes) -> web.StreamResponse:
    """Send elsewhere: there it would be answered."""
    raise web.HTTPTemporaryRedirect(server.url)


def twisting(twist: Callable[[bytes], bytes]) -> Answer:
    """Return an authority that answers, honestly, something else than what was asked."""

    async def answer(server: TsaServer, request: web.Request, query: bytes) -> web.StreamResponse:
        return await honest(server, request, twist(query))

    return answer


def with_options(**options: str) -> Answer:
    """Return an authority configured otherwise."""

    async def answer(server: TsaServer, _: web.Request, query: bytes) -> web.StreamResponse:
        reply = await asyncio.to_thread(server.authority.reply, query, **options)
        return web.Response(body=reply, content_type=REPLY_TYPE)

    return answer


FAILURES: dict[str, tuple[Answer, str]] = {
    "silent": (silent, "did not answer within 0.5 s"),
    "dripping": (dripping, "did not answer within 0.5 s"),
    "endless": (endless, f"more than {REPLY_LIMIT_BYTES} bytes"),
    "10 MB": (fixed(bytes(10_000_000)), f"more than {REPLY_LIMIT_BYTES} bytes"),
    "hanging up": (cut_short, "could not be asked (ClientPayloadError)"),
    "an error": (fixed(b"", status=503), "status 503"),
    "redirecting": (redirecting, "status 307"),
    "another type": (fixed(b"<html>", content_type="text/html"), "something else than application/timestamp-reply"),
    "compressed": (fixed(b"", headers={"Content-Encoding": "gzip"}), "something else than application/timestamp-reply"),
    "empty": (fixed(b""), "malformed: a DER value is cut short"),
    "garbage": (fixed(b"\x30\x80" * 20), "malformed: "),
    "refusing": (with_options(digests="sha512"), "the authority refused: rejection (algorithm not accepted)"),
    "another imprint": (
        twisting(lambda query: query.replace(query[24:56], bytes(32))),
        "mismatched part: the time-stamp is of other content",
    ),
    "another nonce": (
        twisting(lambda query: query[:-4] + bytes([query[-4] ^ 1]) + query[-3:]),
        "mismatched part: the time-stamp answers another request",
    ),
    "without certificates": (
        twisting(lambda query: bytes([0x30, query[1] - 3]) + query[2:-3]),
        "malformed: ",
    ),
}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def failing(
    postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory, authority: Authority
) -> AsyncIterator[tuple[World, TsaServer]]:
    """Share a journal among authorities that give it nothing: its seal waits through all of them."""
    async with (
        running_tsa(authority) as server,
        stamped_world(postgres, tmp_path_factory.mktemp("failing"), server, tsa_timeout_seconds=SHORT_SECONDS) as world,
    ):
        yield world, server


@pytest.mark.parametrize(("answer", "reason"), FAILURES.values(), ids=list(FAILURES))
async def test_an_authority_that_fails_is_asked_again(
    failing: tuple[World, TsaServer], answer: Answer, reason: str
) -> None:
    """Nothing of what it says is kept, the seal goes on waiting, and what is recorded meanwhile is sealed."""
    world, server = failing
    server.answer, asked = answer, len(server.queries)
    with pytest.raises(NotStampedError) as caught:
        await stamp(stamper_of(world))
    assert reason in str(caught.value)
    assert server.url not in str(caught.value)
    assert len(server.queries) == asked + 1
    assert await waiting(world) == [1]
    await world.record(2)
    await world.seal()
    assert await world.service.store.stamping_failed_since() is not None


async def test_an_authority_that_is_not_there_is_asked_again(failing: tuple[World, TsaServer]) -> None:
    """Nobody listens; somebody listens and speaks another language; the name is none."""
    world, _ = failing
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    listener.close()

    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(lines.pop())
        writer.close()

    start = f"HTTP/1.1 200 OK\r\nContent-Type: {REPLY_TYPE}\r\n".encode()
    lines = [
        start + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n0\r\n",
        start + b"Content-Length: -1\r\n\r\n",
        start + b"X: " + b"x" * 1_000_000 + b"\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"",
    ]
    babbler = await asyncio.start_server(babble, "127.0.0.1", 0)
    async with babbler:
        address = "http://{}:{}/".format(*babbler.sockets[0].getsockname()[:2])
        nobody = f"http://127.0.0.1:{port}/"
        for url in (nobody, "http://127.0.0.1:1/\udcff", "http://-/", *[address] * len(lines)):
            with pytest.raises(NotStampedError, match="the authority could not be asked"):
                await TsaClient(url, SHORT_SECONDS).ask(b"query")
    assert lines == []
    assert await waiting(world) == [1]


async def test_a_token_of_somebody_else_is_refused(failing: tuple[World, TsaServer], tmp_path: Path) -> None:
    """Well made and rightly signed, under a root that is not the one we were given."""
    world, server = failing
    other = Authority(tmp_path)

    async def answer(_: TsaServer, __: web.Request, query: bytes) -> web.StreamResponse:
        return web.Response(body=await asyncio.to_thread(other.reply, query), content_type=REPLY_TYPE)

    server.answer = answer
    with pytest.raises(NotStampedError, match="untrusted: CN=Time authority: it was not issued by a certificate"):
        await stamp(stamper_of(world))


async def test_a_clock_that_is_ahead_of_ours_is_refused(
    postgres: EmbeddedPostgres, tmp_path: Path, tsa: TsaServer
) -> None:
    """By more than a minute: a verifier would let pass five, and the token is kept for ever."""
    now = datetime.now(UTC).replace(microsecond=0)
    life = {"begin": now - DAY, "end": now + DAY}
    root = made.issue("Root", made.new_key(81), extensions=made.AUTHORITY, **life)
    clock = made.issue("Clock", made.new_key(82), issuer=root, extensions=stamps.STAMPER, **life)
    (tmp_path / "tsa.pem").write_bytes(der_to_pem([root.certificate]))
    ahead = timedelta(minutes=2)

    async def answer(_: TsaServer, __: web.Request, query: bytes) -> web.StreamResponse:
        members = der.decode(query, limit_bytes=100).children
        content = stamps.tst_info(
            members[1].children[1].content, at=datetime.now(UTC) + ahead, nonce=members[2].integer()
        )
        token = stamps.Stamp(content, chain=(clock,)).encode()
        reply = der.sequence(der.sequence(der.integer(0)), token)
        return web.Response(body=reply, content_type=REPLY_TYPE)

    tsa.answer = answer
    async with stamped_world(postgres, tmp_path / "home", tsa, tsa_trust=str(tmp_path / "tsa.pem")) as world:
        with pytest.raises(NotStampedError, match="the authority's clock is ahead of ours"):
            await stamp(stamper_of(world))
        ahead = -timedelta(minutes=10)
        with pytest.raises(NotStampedError, match=r"mismatched part: the time-stamp, of .*, is older than its content"):
            await stamp(stamper_of(world))
        ahead = timedelta(seconds=30)
        assert await stamp(stamper_of(world)) == [1]


async def test_nobody_waits_for_the_authority(world: World, tsa: TsaServer) -> None:
    """While it thinks, entries are recorded, seals made, extracts handed out."""
    tsa.answer = silent
    asked = asyncio.create_task(stamp(stamper_of(world)))
    await tsa.asked.wait()
    await world.record(20)
    await world.seal()
    assert world.verify(await world.extract(world.today - DAY, world.today)).manifest.disclosed == 23
    assert not asked.done()
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    tsa.answer = honest
    assert await stamp(stamper_of(world)) == [1]


class PacedClock(SimulatedClock):
    """A clock on which waiting takes no time, until it has been done so many times."""

    def __init__(self, times: int) -> None:
        """Keep how long each wait was to be."""
        super().__init__()
        self.waits: list[float] = []
        self.is_enough = asyncio.Event()
        self._times = times

    async def sleep(self, seconds: float) -> None:
        """Wait for nothing, or for ever."""
        self.waits.append(seconds)
        if len(self.waits) == self._times:
            self.is_enough.set()
            await asyncio.Event().wait()


async def run_rounds(world: World, tsa: TsaServer, store: Store, rounds: int) -> tuple[list[float], list[Any]]:
    """Run a stamper of its own for so many rounds; return what it waited between them, and what it logged."""
    clock = PacedClock(rounds)
    stamper = Stamper(
        store=store,
        client=TsaClient(tsa.url, SHORT_SECONDS),
        tsa_anchors=tsa.authority.anchors,
        trust_path=world.settings.trust_path,
        service_name=SERVICE,
        clock=clock,
    )
    with capture_logs() as logs:
        task = asyncio.create_task(stamper.run())
        await clock.is_enough.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    return clock.waits, logs


async def test_a_failure_is_told_once_and_ends_by_itself(world: World, tsa: TsaServer) -> None:
    """The stamper asks again, later and later up to an hour; the log holds one line for it, one when it is over."""
    failures = 9

    async def answer(server: TsaServer, request: web.Request, query: bytes) -> web.StreamResponse:
        if len(server.queries) <= failures:
            raise web.HTTPServiceUnavailable
        return await honest(server, request, query)

    tsa.answer = answer
    waits, logs = await run_rounds(world, tsa, world.service.store, failures + 2)
    assert [(line["event"], line.get("reason")) for line in logs] == [
        ("not time-stamped yet", "the authority answered with status 503"),
        ("seal time-stamped", None),
    ]
    assert len(set(tsa.queries)) == failures + 1, "each query has a nonce of its own"
    longest = [min(INTERVAL_SECONDS * 2**count, RETRY_LIMIT_SECONDS) for count in range(1, failures + 1)]
    for wait, limit in zip(waits, [*longest, INTERVAL_SECONDS, INTERVAL_SECONDS], strict=True):
        assert limit / 2 <= wait <= limit
    assert await waiting(world) == []
    assert await world.service.store.stamping_failed_since() is None


async def test_a_database_that_is_away_ends_nothing(world: World, tsa: TsaServer) -> None:
    """The stamper waits for it as for its authority."""
    async with await Store.connect("postgresql://journal_owner@127.0.0.1:1/nothing", application="test") as store:
        _, logs = await run_rounds(world, tsa, store, 2)
    assert [line["kind"] for line in logs] == ["UnavailableError"]


async def test_the_service_stamps_by_itself(world: World, tsa: TsaServer) -> None:
    """A serve process does it as one of its watched tasks, at once."""
    serve.run_forever(world.installation)
    assert "stamper" in [task.get_name() for task in world.service._tasks]
    async with asyncio.timeout(30):
        await tsa.asked.wait()


async def test_readiness_tells_an_authority_that_fails_for_a_day(world: World, tsa: TsaServer) -> None:
    """Not before; in every process, after a restart too; no more once a time-stamp was had."""
    service, store = world.service, world.service.store
    assert (await service.checks.run())["timestamps"] is None
    tsa.answer = fixed(b"", status=500)
    for _ in range(2):
        with pytest.raises(NotStampedError):
            await stamp(stamper_of(world))
    failed_since = await store.stamping_failed_since()
    assert failed_since is not None
    await world.travel(failed_since + FAILING_LIMIT - timedelta(minutes=5))
    assert (await service.checks.run())["timestamps"] is None
    await world.travel(failed_since + FAILING_LIMIT + timedelta(seconds=5))
    async with world.another_process() as restarted:
        problem = (await restarted.service.checks.run())["timestamps"]
    assert problem is not None
    (close,) = await store.unstamped_seals()
    assert close.day is not None
    assert problem.startswith(
        f"1 close seals wait for a time-stamp, the first of {close.day}: the authority has failed since"
    )
    assert await store.put_timestamp(close.number, world.clock.now(), b"token")
    assert (await service.checks.run())["timestamps"] is None
    assert await store.stamping_failed_since() is None
    await store.note_stamping_failure()
    await world.travel(world.clock.now() + timedelta(hours=30))
    assert (await service.checks.run())["timestamps"] is None, "nothing waits"
    assert await service.sealer.close_due_days()
    assert (await service.checks.run())["timestamps"] is None, "what waits has not waited for long"


async def test_without_an_authority_nothing_changes(postgres: EmbeddedPostgres, tmp_path: Path) -> None:
    """No task, no check that could fail, and nothing is stamped."""
    async with new_world(postgres, tmp_path) as world:
        assert world.service.stamper is None
        assert (await world.service.checks.run())["timestamps"] is None
        serve.run_forever(world.installation)
        assert "stamper" not in [task.get_name() for task in world.service._tasks]


async def test_two_processes_keep_one_token(world: World, tsa: TsaServer) -> None:
    """The second finds the work done."""
    both = asyncio.Barrier(2)

    async def together(server: TsaServer, request: web.Request, query: bytes) -> web.StreamResponse:
        await both.wait()
        return await honest(server, request, query)

    tsa.answer = together
    async with world.another_process() as other:
        assert other.service.stamper is not None
        done = await asyncio.gather(stamp(stamper_of(world)), stamp(other.service.stamper))
    assert sorted(done) == [[], [1]]


async def test_what_no_auditor_could_check_is_not_stamped(world: World, tsa: TsaServer) -> None:
    """A seal whose certificate has expired meanwhile, or leads nowhere: a token would only make it fail."""
    offset = world.clock.offset
    world.clock.offset += timedelta(days=3 * 365)
    assert await waiting(world) == []
    world.clock.offset = offset
    assert await waiting(world) == [1]
    trust = world.settings.trust_path.read_bytes()
    world.settings.trust_path.write_bytes(der_to_pem(tsa.authority.anchors))
    assert await stamp(stamper_of(world)) == []
    world.settings.trust_path.write_bytes(trust)
    assert pem_to_der(trust)
    assert tsa.queries == []


async def test_the_commands_stamp_and_count(world: World, tsa: TsaServer, capsys: pytest.CaptureFixture[str]) -> None:
    """`seal` stamps what waits, and says what could not be; `doctor` asks the authority, and says how many wait."""
    settings = settings_of(world)
    tsa.answer = fixed(b"", status=500)
    assert await commands.seal(settings, argparse.Namespace(clock_is_right=False)) == 0
    out, err = capsys.readouterr()
    assert out == "nothing has changed since the last seal\n"
    assert err == "openepm-journal: 1 close seals not time-stamped yet: the authority answered with status 500\n"
    await doctor.doctor(settings, argparse.Namespace(clock_is_right=False))
    out, _ = capsys.readouterr()
    assert "ok   timestamps\n" in out
    host = tsa.url.split("/")[2]
    wait = "1 close seals wait for a time-stamp"
    assert f"WARN time-stamping: {host}: the authority answered with status 500, since 20" in out
    assert f"; {wait}; nothing else waits for it, and it is asked again by itself" in out
    tsa.answer = honest
    assert await commands.seal(settings, argparse.Namespace(clock_is_right=False)) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.startswith("nothing has changed since the last seal\nseal 1\ttime-stamped ")
    assert out.endswith("Z\tCN=Time stamper\n")
    await doctor.doctor(settings, argparse.Namespace(clock_is_right=False))
    assert f"ok   time-stamping: {host} answers; {wait.replace('1', '0')}\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"tsa_url": "ftp://example.fr/"}, "JOURNAL_TSA_URL"),
        ({"tsa_url": "http:///tsa"}, "JOURNAL_TSA_URL"),
        ({"tsa_url": "http://[::1/"}, "JOURNAL_TSA_URL"),
        ({"tsa_url": "http://example.fr:99999/"}, "JOURNAL_TSA_URL"),
        ({"tsa_timeout_seconds": 0.0}, "JOURNAL_TSA_TIMEOUT_SECONDS"),
        ({"tsa_timeout_seconds": float("nan")}, "JOURNAL_TSA_TIMEOUT_SECONDS"),
        ({"tsa_trust": None}, "JOURNAL_TSA_TRUST must name the authority's root"),
        ({"tsa_trust": "/absent.pem"}, "/absent.pem cannot be read"),
        ({"tsa_trust": __file__}, "no certificate in PEM form"),
    ],
)
async def test_a_setting_that_cannot_be_is_named(world: World, changes: dict[str, Any], reason: str) -> None:
    """At the start, not at midnight."""
    values = {"tsa_url": "http://127.0.0.1/", "tsa_trust": world.settings.tsa_trust, **changes}
    with pytest.raises(OperatorError, match=reason):
        Stamper.configured(Settings(**values), store=world.service.store, service_name=SERVICE, clock=world.clock)


@pytest.mark.parametrize("ahead", [timedelta(days=6), timedelta(minutes=20), -timedelta(days=1), timedelta(days=3650)])
async def test_a_clock_that_the_authority_belies(world: World, tsa: TsaServer, ahead: timedelta) -> None:
    """A process that starts with a wrong clock neither seals nor purges, however near the last seal is."""
    async with world.another_process(SimulatedClock(world.clock.offset + ahead)) as installation:
        with pytest.raises(OperatorError, match="the time-stamping authority"):
            await installation.check_clock(confirmed=False)
        asked = len(tsa.queries)
        assert asked == 1
        await installation.check_clock(confirmed=True)
        assert len(tsa.queries) == asked


async def test_a_clock_that_the_authority_confirms(postgres: EmbeddedPostgres, tmp_path: Path, tsa: TsaServer) -> None:
    """After a fortnight's downtime the authority's word does instead of the operator's; a minute's needs neither."""
    trusted = {"tsa_url": tsa.url, "tsa_trust": str(tsa.authority.trust_path)}
    now = datetime.now(UTC)
    async with new_world(postgres, tmp_path / "home", start=now - 14 * DAY, tenants=[TENANT], **trusted) as world:
        await world.seal()
        await world.installation.check_clock(confirmed=False)
        assert tsa.queries == []
        await world.travel(datetime.now(UTC))
        await world.installation.check_clock(confirmed=False)
        assert len(tsa.queries) == 1


async def test_a_clock_that_nobody_confirms(world: World, tsa: TsaServer) -> None:
    """An authority that is down is told, and the last seal decides as if there were none."""
    tsa.answer = refuse_all
    for ahead, is_believed in ((timedelta(days=6), True), (timedelta(days=8), False), (-timedelta(hours=1), False)):
        async with world.another_process(SimulatedClock(world.clock.offset + ahead)) as installation:
            with capture_logs() as logs:
                if is_believed:
                    await installation.check_clock(confirmed=False)
                else:
                    with pytest.raises(OperatorError, match="the last seal"):
                        await installation.check_clock(confirmed=False)
            assert [line["event"] for line in logs] == ["no time-stamp confirms this machine's clock"]


async def refuse_all(_: TsaServer, __: web.Request, ___: bytes) -> web.StreamResponse:
    """Answer as an authority that is out of order."""
    return web.Response(status=503)


async def test_a_time_stamp_that_was_removed(postgres: EmbeddedPostgres, tmp_path: Path, tsa: TsaServer) -> None:
    """S05: the audit names it; where another one is obtained, an alarm entry tells that the first is lost."""
    trusted = {"tsa_url": tsa.url, "tsa_trust": str(tsa.authority.trust_path)}
    start = datetime.now(UTC) - 3 * DAY
    async with new_world(postgres, tmp_path / "home", start=start, tenants=[TENANT], **trusted) as world:
        await world.record(1)
        await world.travel(datetime.now(UTC))
        await world.service.sealer.close_due_days()
        first, second, _ = await stamp(stamper_of(world))
        assert await world.audit() == []
        async with world.superuser() as superuser:
            await superuser.execute("DELETE FROM journal.seal_timestamp WHERE number = $1", second)
        (finding,) = await world.audit()
        assert finding.reason == "missing, and a later seal has one"
        assert await stamp(stamper_of(world)) == [second]
        assert await world.audit() == []
        assert stamper_of(world).lost == [start.date() + DAY]
        assert first < second
        await world.service.alarms.look()
        entries = [e async for e in world.service.chronicle.entries(RESERVED_TENANT, "alarm", since=world.today)]
        assert [entry.event["data"]["what"] for entry in entries] == ["time-stamps"]
