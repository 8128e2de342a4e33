"""Rates, shares, media types and the state of a credential: what the edge decides without a database."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from hashlib import sha256
from types import SimpleNamespace
from typing import TYPE_CHECKING
from unittest.mock import Mock

import pytest
from aiohttp import web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.streams import StreamReader
from aiohttp.test_utils import make_mocked_request
from structlog.testing import capture_logs

from ingest import access
from ingest.callers import Proxies
from ingest.context import ANSWERING_SECONDS, bind
from ingest.problems import (
    ABSENT,
    BAD_REQUEST,
    LENGTH,
    MEDIA,
    OVERSIZE,
    RATE,
    TIMEOUT,
    UNAUTHENTICATED,
    UNAVAILABLE,
    ProblemError,
)
from journal.clock import SimulatedClock
from journal.core.entry import Compartment
from journal.core.errors import BusyError, StoreError, UnavailableError
from journal.core.faults import BINARY_MODE, BODY_TOO_LARGE, CONTENT_ENCODING, CONTENT_TYPE
from journal.core.faults import LENGTH as LENGTH_MISSING
from journal.database.ingest import CredentialRow, TenantRow
from journal.snapshot import Snapshot
from tests.support.clocks import StillClock, hold_time

if TYPE_CHECKING:
    from ingest.access import RequestRate
    from ingest.context import Bound

NOW = datetime(2026, 5, 20, 12, tzinfo=timezone.utc)
ACCEPTED = ("application/json", "application/cloudevents+json")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimulatedClock:
    """A clock that passes only as the test moves it."""
    held = SimulatedClock()
    hold_time(held, monkeypatch)
    return held


def _pass(clock: SimulatedClock, seconds: float) -> None:
    clock.offset += timedelta(seconds=seconds)


def _count(rate: RequestRate, caller: str) -> int:
    passed = 0
    while not rate.wait_seconds(caller):
        passed += 1
    return passed


def test_a_burst_passes_then_the_rate_does(clock: SimulatedClock) -> None:
    """Ten at once, then two a second; who is told to wait passes once that time is over."""
    rate = access.RequestRate(clock, 2, 10)
    assert _count(rate, "albi") == 10
    assert rate.wait_seconds("albi") == pytest.approx(0.5)
    _pass(clock, 0.25)
    assert rate.wait_seconds("albi") == pytest.approx(0.25)
    _pass(clock, 0.25)
    assert _count(rate, "albi") == 1
    assert _count(rate, "castres") == 10
    _pass(clock, 2)
    assert _count(rate, "albi") == 4
    _pass(clock, 3600)
    assert _count(rate, "albi") == 10


def test_a_request_given_back_may_come_again(clock: SimulatedClock) -> None:
    """What is given back is one request, and no time."""
    rate = access.RequestRate(clock, 2, 3)
    assert _count(rate, "albi") == 3
    rate.give_back("albi")
    assert _count(rate, "albi") == 1
    _pass(clock, 1)
    rate.give_back("albi")
    assert _count(rate, "albi") == 3


def test_the_caller_that_was_quiet_longest_is_forgotten(clock: SimulatedClock) -> None:
    """More callers than buckets: the one that asked longest ago starts with a full one again."""
    rate = access.RequestRate(clock, 1, 2, buckets=2)
    for caller in ("a", "b", "a"):
        assert rate.wait_seconds(caller) == 0
    assert rate.wait_seconds("c") == 0
    assert _count(rate, "a") == 0
    assert _count(rate, "b") == 2


def _shares() -> access.Shares:
    return access.Shares(total=10, each=6, reason="too much is under way", retry_after_seconds=7)


def test_a_commune_holds_its_share_and_all_together_the_total() -> None:
    """Each limit is reached exactly, and what is held is free again after the block, also after an error."""
    shares = _shares()
    with shares.hold("albi", 4):
        assert shares.fits("albi", 2)
        assert not shares.fits("albi", 3)
        with shares.hold("albi", 2), shares.hold("castres", 4):
            assert not shares.fits("gaillac", 1)
            assert shares.fits("gaillac", 0)
        assert shares.fits("castres", 6)
        assert not shares.fits("castres", 7)
        assert shares.fits("albi", 2)
        assert not shares.fits("albi", 3)
    with pytest.raises(ZeroDivisionError), shares.hold("albi", 6):
        raise ZeroDivisionError
    assert shares.fits("albi", 6)
    assert not shares.fits("albi", 7)
    assert shares._held == {}


def test_who_asks_for_more_than_is_left_is_told_when_to_come_back() -> None:
    """The refusal says why, and takes nothing."""
    shares = _shares()
    with pytest.raises(BusyError, match=r"^too much is under way$") as caught, shares.hold("albi", 7):
        pass
    assert caught.value.retry_after_seconds == 7
    assert shares._held == {}


@pytest.mark.parametrize(
    "given",
    [
        "application/json",
        "Application/JSON",
        "application/json; charset=UTF-8",
        "application/json; charset=utf-8; odata=none",
        "application/cloudevents+json",
    ],
)
def test_an_accepted_type_is_returned_in_lower_case(given: str) -> None:
    """Other parameters mean nothing."""
    request = make_mocked_request("POST", "/", headers={"Content-Type": given})
    assert access.media_type(request, ACCEPTED) == given.lower().partition(";")[0]


@pytest.mark.parametrize(
    ("headers", "code", "header"),
    [
        ([("Content-Type", "text/plain")], CONTENT_TYPE, "Content-Type"),
        ([], CONTENT_TYPE, "Content-Type"),
        ([("Content-Type", "application/json; charset=latin-1")], CONTENT_TYPE, "Content-Type"),
        ([("Content-Type", "application/json")] * 2, CONTENT_TYPE, "Content-Type"),
        ([("Content-Type", "text/plain"), ("CE-Id", "1")], BINARY_MODE, "Content-Type"),
        (
            [("Content-Type", "application/json"), ("Content-Encoding", "identity")],
            CONTENT_ENCODING,
            "Content-Encoding",
        ),
    ],
)
def test_another_type_is_refused_with_its_fault(headers: list[tuple[str, str]], code: object, header: str) -> None:
    """415: which header is at fault, which types are accepted, in words too, and how each SDK changes the mode."""
    request = make_mocked_request("POST", "/", headers=headers)
    with pytest.raises(ProblemError) as caught:
        access.media_type(request, ACCEPTED)
    problem = caught.value
    assert problem.kind is MEDIA
    (fault,) = problem.faults
    assert (fault.position, fault.pointer, fault.code, fault.header) == (0, "", code, header)
    accept = {"Accept": "application/json, application/cloudevents+json"}
    assert problem.headers == (accept if code is CONTENT_TYPE else {})
    assert (" or ".join(ACCEPTED) in problem.detail) is (code is not CONTENT_ENCODING)
    assert problem.members == ({"structured_mode": access.STRUCTURED_MODE} if code is BINARY_MODE else {})


@dataclass
class Posted:
    """A request whose body arrives as a test feeds it, and what is held for bodies meanwhile."""

    request: web.Request
    body: StreamReader
    bound: Bound
    shares: access.Shares

    async def read(self, limit_bytes: int = 5, seconds: float = 600) -> bytes:
        """Read the body, in a share of six bytes, while the time for the answer is bounded."""
        limits = access.Limits(body_seconds=seconds)
        async with asyncio.timeout(60), self.bound.running():
            return await access.read_body(
                self.request, limit_bytes=limit_bytes, limits=limits, bodies=self.shares, commune="albi"
            )

    async def refused(self, limit_bytes: int = 5, seconds: float = 600) -> ProblemError:
        """Return the problem that is the answer; nothing is held for it any more."""
        with pytest.raises(ProblemError) as caught:
            await self.read(limit_bytes, seconds)
        assert self.shares._held == {}
        return caught.value


@pytest.fixture
async def posted(request: pytest.FixtureRequest) -> Posted:
    """A request that announces five bytes, or the length that the test is parametrised with."""
    length = getattr(request, "param", 5)
    loop = asyncio.get_running_loop()
    protocol = BaseProtocol(loop)
    protocol.connection_made(asyncio.Transport())
    body = StreamReader(protocol, 2**16, loop=loop)
    headers = {} if length is None else {"Content-Length": str(length)}
    made = make_mocked_request("POST", "/", headers=headers, payload=body)
    return Posted(made, body, bind(made, 600), _shares())


async def test_only_once_the_body_is_there_the_time_for_the_answer_runs(posted: Posted) -> None:
    """While it arrives, its whole length is held for the commune, and the answer is not awaited yet."""
    posted.body.feed_data(b"ab")
    reading = asyncio.create_task(posted.read())
    await asyncio.sleep(0)  # it goes as far as it can
    assert posted.shares._held == {"albi": 5}
    assert posted.bound._timeout.when() is None
    ended = asyncio.get_running_loop().time()
    posted.body.feed_data(b"cde")
    posted.body.feed_eof()
    assert await reading == b"abcde"
    assert posted.shares._held == {}
    ends = posted.bound._timeout.when()
    assert ends is not None
    assert ends >= ended + 600 - ANSWERING_SECONDS


@pytest.mark.parametrize("posted", [None], indirect=True)
async def test_a_body_of_unknown_length_is_not_read(posted: Posted) -> None:
    """411: the header that is missing is the fault, and the connection ends."""
    problem = await posted.refused()
    assert (problem.kind, problem.close) == (LENGTH, True)
    (fault,) = problem.faults
    assert (fault.position, fault.pointer, fault.code, fault.header) == (0, "", LENGTH_MISSING, "Content-Length")


@pytest.mark.parametrize("posted", [2049], indirect=True)
async def test_a_body_beyond_the_limit_is_not_read(posted: Posted) -> None:
    """413 as soon as its length is known, with the limit, and the connection ends."""
    problem = await posted.refused(limit_bytes=2048)
    assert (problem.kind, problem.close) == (OVERSIZE, True)
    assert "larger than 2 KiB" in problem.detail
    (fault,) = problem.faults
    assert (fault.position, fault.pointer, fault.code) == (0, "", BODY_TOO_LARGE)
    assert "larger than 2 KiB" in fault.reason


async def test_a_body_that_does_not_arrive_is_given_up(posted: Posted) -> None:
    """408, with how long it was awaited, and the connection ends: its next bytes would be the rest of the body."""
    posted.body.feed_data(b"ab")
    problem = await posted.refused(seconds=0.01)
    assert (problem.kind, problem.close) == (TIMEOUT, True)
    assert "within 0.01 s" in problem.detail


async def test_a_body_that_cannot_be_read_is_refused(posted: Posted) -> None:
    """400, and the connection ends: where the next request begins is not known."""
    posted.body.set_exception(web.RequestPayloadError("broken"))
    problem = await posted.refused()
    assert (problem.kind, problem.close) == (BAD_REQUEST, True)


@pytest.mark.parametrize("posted", [7], indirect=True)
async def test_a_body_for_which_there_is_no_room_is_not_read(posted: Posted) -> None:
    """The commune's share is six bytes: it is told to come again, and its body is left where it is."""
    posted.body.feed_data(b"abcdefg")
    with pytest.raises(BusyError):
        await posted.read(limit_bytes=7)
    assert posted.body.read_nowait() == b"abcdefg"
    assert posted.shares._held == {}


SECRET = "A" * 43
SECOND = timedelta(seconds=1)
ALBI = TenantRow(code="albi", name="Albi", created_at=NOW, moved_at=None, closed_at=None, destroyed_at=None)
MODULE = CredentialRow(
    id="k7",
    secret_hash=sha256(SECRET.encode()).digest(),
    role="module",
    tenant="albi",
    categories=["main-courante"],
    source_prefix=None,
    certificate_sha256=None,
    person=None,
    label="module",
    created_at=NOW,
    expires_at=None,
    revoked_at=None,
)
# Certificates are compared by their digests: what is in them is the proxy's to check.
CERTIFICATE = b"a certificate"


@dataclass
class Edge:
    """A gate on a snapshot that a test fills; what a refresh would read is `unread`."""

    clock: StillClock
    snapshot: Snapshot
    gate: access.Gate
    service: SimpleNamespace
    unread: list[CredentialRow] = field(default_factory=list)
    refreshed: int = 0
    failure: Exception = field(default_factory=lambda: StoreError("not now"))

    def put(self, **facts: object) -> None:
        """Put a credential that differs so from the module's."""
        row = replace(MODULE, **facts)
        self.snapshot._credentials[row.id] = row

    async def refresh(self) -> None:
        """Read what is new; a database that has failed gives nothing."""
        self.refreshed += 1
        if not self.unread:
            raise self.failure
        for row in self.unread:
            self.snapshot._credentials[row.id] = row

    async def ask(self, *tokens: str, **headers: str) -> CredentialRow:
        """Ask with these `Authorization` headers, from the address of the proxy."""
        given = [("Authorization", token) for token in tokens] + list(headers.items())
        transport = Mock()
        transport.get_extra_info = {"peername": ("192.0.2.1", 4711)}.get
        named = [(name.replace("_", "-"), value) for name, value in given]
        return await self.gate.authenticate(make_mocked_request("GET", "/", headers=named, transport=transport))

    async def refused(self, *tokens: str, **headers: str) -> ProblemError:
        """Return the problem that is the answer."""
        with pytest.raises(ProblemError) as caught:
            await self.ask(*tokens, **headers)
        return caught.value


@pytest.fixture
def edge(monkeypatch: pytest.MonkeyPatch) -> Edge:
    """A gate that knows the module's credential, behind one proxy."""
    clock = StillClock()
    clock.still = NOW
    hold_time(clock, monkeypatch)
    snapshot = Snapshot(SimpleNamespace(facts=None), None, clock)
    snapshot._read_at = clock.monotonic()
    snapshot._tenants["albi"] = ALBI
    service = SimpleNamespace(name="journal.test", clock=clock, snapshot=snapshot)
    limits = access.Limits(failures_per_second=0.5, burst_failures=6)
    made = Edge(clock, snapshot, access.Gate(service, limits, Proxies(["192.0.2.1"])), service)
    made.put()
    monkeypatch.setattr(snapshot, "refresh", made.refresh)
    return made


async def test_the_right_credential_passes(edge: Edge) -> None:
    """The scheme is written in any case; nothing is read anew for it."""
    for scheme in ("Bearer", "bearer", "BEARER"):
        assert await edge.ask(f"{scheme} oej_k7_{SECRET}") == MODULE
    assert edge.gate.recognise([f"Bearer oej_k7_{SECRET}"]) == MODULE
    assert edge.refreshed == 0


@pytest.mark.parametrize(
    "tokens",
    [
        (),
        ("",),
        (f"Bearer oej_k7_{SECRET}",) * 2,
        (f"Basic oej_k7_{SECRET}",),
        (f"Bearer oej_k7_{SECRET} ",),
        (f"Bearer  oej_k7_{SECRET}",),
        (f"Bearer oej_K7_{SECRET}",),
        (f"Bearer oej_k7_{'A' * 129}",),
        (f"Bearer xoej_k7_{SECRET}",),
    ],
)
async def test_a_malformed_credential_is_refused_without_a_look(edge: Edge, tokens: tuple[str, ...]) -> None:
    """401 with the scheme that is wanted; the database is not asked."""
    problem = await edge.refused(*tokens)
    assert (problem.kind, problem.headers) == (UNAUTHENTICATED, {"WWW-Authenticate": "Bearer"})
    assert edge.gate.recognise(tokens) is None
    assert edge.refreshed == 0


@pytest.mark.parametrize(
    ("token", "facts"),
    [
        (f"Bearer oej_k8_{SECRET}", {}),
        (f"Bearer oej_k7_{'B' * 43}", {}),
        (f"Bearer oej_k7_{SECRET}", {"revoked_at": NOW}),
        (f"Bearer oej_k7_{SECRET}", {"expires_at": NOW}),
        (f"Bearer oej_k7_{SECRET}", {"tenant": "castres"}),
        (f"Bearer oej_k7_{SECRET}", {"secret_hash": bytes(32)}),
    ],
)
async def test_unknown_wrong_revoked_and_expired_look_alike(edge: Edge, token: str, facts: dict[str, object]) -> None:
    """401 in the same words, after one look for what was added a moment ago."""
    edge.put(**facts)
    problem = await edge.refused(token)
    malformed = await edge.refused()
    assert (problem.kind, problem.detail, problem.headers) == (malformed.kind, malformed.detail, malformed.headers)
    assert problem.kind is UNAUTHENTICATED
    assert edge.gate.recognise([token]) is None
    assert edge.refreshed == 1


async def test_a_credential_made_a_moment_ago_passes(edge: Edge) -> None:
    """It is looked for; four looks a second are made for all unknown ones together."""
    for number, failure in enumerate((edge.failure, OSError("no route"), edge.failure, edge.failure, edge.failure)):
        edge.failure = failure
        await edge.refused(f"Bearer oej_u{number}_{SECRET}")
    assert edge.refreshed == 4
    edge.unread.append(replace(MODULE, id="k9"))
    await edge.refused(f"Bearer oej_k9_{SECRET}")
    _pass(edge.clock, 0.25)
    edge.snapshot._read_at = edge.clock.monotonic()
    assert (await edge.ask(f"Bearer oej_k9_{SECRET}")).id == "k9"
    assert edge.refreshed == 5


async def test_an_address_that_fails_too_often_is_told_to_wait(edge: Edge) -> None:
    """429 with the whole seconds until the next; valid requests from there pass, another address has its own burst."""
    for _ in range(6):
        assert (await edge.refused()).kind is UNAUTHENTICATED
    problem = await edge.refused()
    assert (problem.kind, problem.headers) == (RATE, {"Retry-After": "3"})
    assert await edge.ask(f"Bearer oej_k7_{SECRET}") == MODULE
    assert (await edge.refused(X_Forwarded_For="198.51.100.7")).kind is UNAUTHENTICATED
    _pass(edge.clock, 0.5)
    edge.snapshot._read_at = edge.clock.monotonic()
    assert (await edge.refused()).headers == {"Retry-After": "2"}
    _pass(edge.clock, 1.5)
    assert (await edge.refused()).kind is UNAUTHENTICATED


async def test_a_bound_credential_needs_its_certificate(edge: Edge) -> None:
    """Only where the proxy says that the caller holds it; never for the `Authorization` header alone."""
    edge.put(certificate_sha256=sha256(CERTIFICATE).digest())
    token = f"Bearer oej_k7_{SECRET}"
    held = f":{b64encode(CERTIFICATE).decode()}:"
    assert (await edge.ask(token, Client_Cert=held)).id == "k7"
    for headers in ({}, {"Client_Cert": f":{b64encode(b'another').decode()}:"}):
        with capture_logs() as logged:
            assert (await edge.refused(token, **headers)).kind is UNAUTHENTICATED
        assert [(line["log_level"], line["credential"]) for line in logged] == [("warning", "k7")]
    with capture_logs() as logged:
        await edge.refused()
    assert logged == []
    assert edge.gate.recognise([token]) is None
    assert edge.refreshed == 0


async def test_nobody_passes_on_a_snapshot_that_is_too_old(edge: Edge) -> None:
    """Ten seconds, and no more: a revoked credential could still be in it."""
    token = f"Bearer oej_k7_{SECRET}"
    edge.snapshot._read_at = edge.clock.monotonic() - access.SNAPSHOT_LIMIT_SECONDS
    assert await edge.ask(token) == edge.gate.recognise([token]) == MODULE
    edge.snapshot._read_at -= 0.5
    with pytest.raises(UnavailableError):
        edge.gate.recognise([token])
    with pytest.raises(UnavailableError):
        await edge.ask(token)


@pytest.mark.parametrize(("suspended_kind", "facts"), [("credential", {"id": "k8"}), ("tenant", {})])
async def test_who_is_suspended_is_told_to_wait(
    edge: Edge, monkeypatch: pytest.MonkeyPatch, suspended_kind: str, facts: dict[str, object]
) -> None:
    """503 where only the row in the database is not the one vouched for; 401 to a secret that is wrong, or revoked."""
    del edge.snapshot._tenants["albi"]
    named = {"credential": "k7", "tenant": "albi"}[suspended_kind]
    monkeypatch.setattr(edge.snapshot, "is_suspended", lambda kind, name: (kind, name) == (suspended_kind, named))
    edge.snapshot._credentials.clear()
    edge.put(**facts)
    problem = await edge.refused(f"Bearer oej_k7_{SECRET}")
    assert (problem.kind, problem.headers) == (UNAVAILABLE, {"Retry-After": "30"})
    assert (await edge.refused(f"Bearer oej_u1_{SECRET}")).kind is UNAUTHENTICATED
    if suspended_kind == "tenant":
        assert (await edge.refused(f"Bearer oej_k7_{'B' * 43}")).kind is UNAUTHENTICATED
        edge.put(revoked_at=NOW)
        assert (await edge.refused(f"Bearer oej_k7_{SECRET}")).kind is UNAUTHENTICATED


@pytest.mark.parametrize(
    ("facts", "tenant", "expected"),
    [
        ({}, {}, True),
        ({"expires_at": NOW + SECOND}, {}, True),
        ({"expires_at": NOW}, {}, False),
        ({"expires_at": NOW - SECOND}, {}, False),
        ({"revoked_at": NOW - SECOND}, {}, False),
        ({"revoked_at": NOW, "expires_at": NOW + SECOND}, {}, False),
        ({"tenant": "castres"}, {}, False),
        ({}, {"closed_at": NOW}, False),
        ({}, {"moved_at": NOW}, False),
        ({"role": "client"}, {"moved_at": NOW}, True),
        ({"role": "client"}, {"closed_at": NOW}, False),
        ({"role": "auditor"}, {"moved_at": NOW, "closed_at": NOW}, False),
    ],
)
def test_which_credential_is_current(
    edge: Edge, facts: dict[str, object], tenant: dict[str, datetime], expected: object
) -> None:
    """Neither revoked nor expired, of a commune that is not closed; a module's only where the commune did not move."""
    edge.snapshot._tenants["albi"] = replace(ALBI, **tenant)
    assert access._is_current(replace(MODULE, **facts), edge.service) is expected


def _path(category: str) -> web.Request:
    return make_mocked_request("GET", "/", match_info={"category": category})


def test_a_path_leads_to_the_compartment_of_the_credential(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a category that is there and that it may; anything else is absent, and what is suspended is to wait."""
    edge.snapshot._categories.update(dict.fromkeys(("main-courante", "ecrits"), Mock()))
    found = access.compartment_of(_path("main-courante"), edge.service, MODULE)
    assert found == Compartment("journal.test", "albi", "main-courante")
    both = replace(MODULE, categories=["main-courante", "lost"])
    monkeypatch.setattr(edge.snapshot, "is_suspended", lambda kind, name: (kind, name) == ("category", "lost"))
    for category, credential, kind in (
        ("ecrits", MODULE, ABSENT),
        ("lost", MODULE, ABSENT),
        ("never", replace(MODULE, categories=["never"]), ABSENT),
        ("lost", both, UNAVAILABLE),
    ):
        with pytest.raises(ProblemError) as caught:
            access.compartment_of(_path(category), edge.service, credential)
        assert caught.value.kind is kind
