"""Who passes the edge while others knock: floods without a credential, and credentials made a moment ago."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import aiohttp
import pytest
import pytest_asyncio

from ingest.access import LOOKS_PER_SECOND, Limits, RequestRate
from journal.cli.installation import open_service
from journal.clock import SimulatedClock
from journal.snapshot import REFRESH_SECONDS
from tests.support.clocks import hold_time
from tests.support.edge import CATEGORY, HEAD, TENANT, RunningEdge, running_edge

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from journal.database.embedded import EmbeddedPostgres

pytestmark = pytest.mark.asyncio(loop_scope="module")

BURST = 20
UNKNOWN = "oej_{:012d}_" + "A" * 43


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def strict(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningEdge]:
    """A service that answers few failures of an address."""
    limits = Limits(failures_per_second=0.5, burst_failures=BURST)
    async with running_edge(postgres, tmp_path_factory.mktemp("edge"), limits=limits) as running:
        yield running


async def test_a_flood_is_limited_and_the_right_credential_passes(
    strict: RunningEdge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After so many failures an address gets 429, whatever it says of itself; valid requests from it are answered."""
    hold_time(strict.clock, monkeypatch)
    statuses = []
    for number in range(2 * BURST):
        answer = await strict.ask("GET", HEAD, token=UNKNOWN.format(number), X_Forwarded_For=f"192.0.2.{number}")
        statuses.append(answer.status)
        assert (await strict.ask("GET", "/v1/trust", token="client")).status == 200
    assert statuses == [401] * BURST + [429] * BURST
    answer = await strict.ask("GET", HEAD)
    assert (answer.status, answer.json["type"]) == (429, "urn:openepm-journal:problem:rate")
    assert 1 <= int(answer.headers["Retry-After"]) <= 3


async def test_another_address_is_answered(strict: RunningEdge) -> None:
    """The limit is of each address: one that has sent nothing gets its 401."""
    connector = aiohttp.TCPConnector(local_addr=("127.0.0.2", 0))
    url = f"http://127.0.0.1:{strict.port}"
    async with aiohttp.ClientSession(url, connector=connector) as session, session.get(HEAD) as answer:
        assert answer.status == 401


async def test_the_table_of_addresses_is_bounded() -> None:
    """The address that was silent longest is forgotten first."""
    rate = RequestRate(SimulatedClock(), 0.001, 1, buckets=3)
    assert [rate.wait_seconds(name) > 0 for name in "abca"] == [False, False, False, True]
    assert not rate.wait_seconds("d")
    assert [rate.wait_seconds(name) > 0 for name in "acd"] == [True, True, True]
    assert not rate.wait_seconds("b")


async def test_a_credential_works_at_once(own_edge: RunningEdge) -> None:
    """Made by another process, it passes at its first request, without waiting for the next refresh."""
    own = own_edge.service
    async with open_service(own_edge.superuser_dsn, own.settings, own_edge.clock) as other:
        for _ in range(LOOKS_PER_SECOND):
            _, token = await other.administration.credentials.add(role="client", tenant=TENANT, categories=[CATEGORY])
            assert (await own_edge.ask("GET", "/v1/trust", token=token)).status == 200


async def test_looks_are_limited(own_edge: RunningEdge, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unknown credentials have the database asked a few times a second, however many come."""
    asked = 0
    refresh = own_edge.service.snapshot.refresh

    async def counted() -> None:
        nonlocal asked
        asked += 1
        await refresh()

    monkeypatch.setattr(own_edge.service.snapshot, "refresh", counted)
    loop = asyncio.get_running_loop()
    began = loop.time()
    for number in range(100):
        assert (await own_edge.ask("GET", HEAD, token=UNKNOWN.format(number))).status == 401
    took = loop.time() - began
    assert 1 <= asked <= LOOKS_PER_SECOND * (took + 1) + took / REFRESH_SECONDS + 1
