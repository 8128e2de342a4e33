"""Places for extracts, shared between communes, and connections, shared between addresses."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from ingest.access import Limits
from ingest.places import WAITING_EACH, Places, Turns
from journal.core.errors import BusyError
from tests.support.edge import running_edge
from tests.support.scrape import scrape

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from journal.database.embedded import EmbeddedPostgres


def make_places(total: int = 4, patience_seconds: float = 60) -> Places:
    """Return places."""
    return Places(total, reason="busy", patience_seconds=patience_seconds, retry_after_seconds=1)


class Holder:
    """Holds a place of a commune in a task of its own, once it gets one, until it is let go."""

    def __init__(self, places: Places, commune: str) -> None:
        """Begin to wait."""
        self.has = asyncio.Event()
        self._end = asyncio.Event()
        self.task = asyncio.create_task(self._hold(places, commune))

    async def _hold(self, places: Places, commune: str) -> None:
        async with places.hold(commune):
            self.has.set()
            await self._end.wait()

    async def let_go(self) -> None:
        """Give the place back."""
        self._end.set()
        await self.task


async def rest() -> None:
    """Let every task do what it can do now."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_one_who_gives_up_takes_no_place() -> None:
    """A place that becomes free just as its wait is over goes to the next, and is not lost."""
    places = make_places(1)
    async with places.hold("albi"):
        late = Holder(places, "cahors")
        await rest()
        late.task.cancel()
    # The place was given back before the other could take itself out.
    with pytest.raises(asyncio.CancelledError):
        await late.task
    async with asyncio.timeout(60), places.hold("rodez"):
        pass


async def test_a_commune_has_at_most_half() -> None:
    """The other places are for the others, and are given as soon as they are free."""
    places = make_places()
    albi = [Holder(places, "albi") for _ in range(4)]
    await rest()
    assert [one.has.is_set() for one in albi] == [True, True, False, False]
    others = [Holder(places, name) for name in ("castres", "sete", "lodeve")]
    await rest()
    assert [one.has.is_set() for one in others] == [True, True, False]
    await albi[0].let_go()
    await rest()
    # To Lodève, which has none, though Albi asked earlier.
    assert (others[2].has.is_set(), albi[2].has.is_set()) == (True, False)
    await others[0].let_go()
    await rest()
    assert albi[2].has.is_set()
    for one in (albi[1], albi[2], others[1], others[2]):
        await one.let_go()
    await rest()
    await albi[3].let_go()


async def test_waiting_is_bounded() -> None:
    """A request waits for some time, and a commune has few that wait; both are told to come back."""
    places = make_places(2, patience_seconds=0.05)
    async with places.hold("albi"):
        with pytest.raises(BusyError):
            async with places.hold("albi"):
                pytest.fail("there was no place")
        waiting = [Holder(places, "albi") for _ in range(WAITING_EACH)]
        await rest()
        with pytest.raises(BusyError):
            async with places.hold("albi"):
                pytest.fail("too many were waiting")
        results = await asyncio.gather(*(one.task for one in waiting), return_exceptions=True)
        assert [type(result) for result in results] == [BusyError] * WAITING_EACH
    async with places.hold("albi"):
        pass


async def test_who_gives_up_takes_no_place() -> None:
    """A caller that disconnects while it waits, or at the moment it gets its place, holds nothing."""
    places = make_places(1)
    first, second, third = (Holder(places, name) for name in ("albi", "castres", "sete"))
    await rest()
    second.task.cancel()
    await rest()
    first._end.set()
    await asyncio.sleep(0)
    third.task.cancel()
    await asyncio.gather(first.task, second.task, third.task, return_exceptions=True)
    async with asyncio.timeout(60), places.hold("lodeve"):
        pass


async def test_few_begin_in_a_turn() -> None:
    """The others begin in later turns of the event loop, in the order they came; one that gave up takes no turn."""
    turns = Turns(3)
    begun: list[int] = []

    async def begin(number: int) -> None:
        await turns.wait()
        begun.append(number)

    tasks = [asyncio.create_task(begin(number)) for number in range(10)]
    await asyncio.sleep(0)
    assert begun == [0, 1, 2]
    tasks[3].cancel()
    counts = []
    while len(begun) < 9:
        before = len(begun)
        await asyncio.sleep(0)
        counts.append(len(begun) - before)
    assert max(counts) == 3
    assert begun == [0, 1, 2, 4, 5, 6, 7, 8, 9]
    await asyncio.gather(*tasks, return_exceptions=True)
    await rest()
    await turns.wait()


@pytest.fixture
def opened() -> Iterator[list[socket.socket]]:
    """Collect the connections of a test, and close them at its end."""
    connections: list[socket.socket] = []
    yield connections
    for connection in connections:
        connection.close()


async def connect(opened: list[socket.socket], port: int, source: str) -> socket.socket:
    """Open a connection from an address of the loopback."""
    connection = socket.socket()
    opened.append(connection)
    connection.setblocking(False)
    connection.bind((source, 0))
    await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", port))
    return connection


async def answer_to(connection: socket.socket) -> bytes:
    """Ask on a connection; return the answer, or nothing if it was closed."""
    loop = asyncio.get_running_loop()
    with contextlib.suppress(ConnectionError):
        await loop.sock_sendall(connection, b"GET /healthz HTTP/1.1\r\nHost: journal\r\n\r\n")
        async with asyncio.timeout(60):
            return await loop.sock_recv(connection, 65536)
    return b""


async def status_of(connection: socket.socket) -> int:
    """Return the status of the answer; 0 if the connection was closed."""
    answer = await answer_to(connection)
    return int(answer.split()[1]) if answer else 0


class TestConnections:
    """Eight connections in all, two of each address."""

    async def test_an_address_that_opens_many(
        self, postgres: EmbeddedPostgres, tmp_path: Path, opened: list[socket.socket]
    ) -> None:
        """It gets its share, then a problem; others are served, and so is it once it has closed one."""
        async with running_edge(postgres, tmp_path, limits=Limits(connections=8)) as edge:
            held = [await connect(opened, edge.port, "127.0.0.5") for _ in range(2)]
            third = await connect(opened, edge.port, "127.0.0.5")
            async with asyncio.timeout(60):
                refusal = await asyncio.get_running_loop().sock_recv(third, 65536)
            head, body = refusal.decode().split("\r\n\r\n")
            assert head.startswith("HTTP/1.1 503 ")
            assert json.loads(body)["type"] == "urn:openepm-journal:problem:busy"
            assert await status_of(await connect(opened, edge.port, "127.0.0.6")) == 200
            held[0].close()
            async with asyncio.timeout(60):
                while await status_of(await connect(opened, edge.port, "127.0.0.5")) != 200:
                    pass
            assert (await scrape(edge.session)).value("connections_refused_total") >= 1

    async def test_a_refused_request_reads_its_answer(
        self, postgres: EmbeddedPostgres, tmp_path: Path, opened: list[socket.socket]
    ) -> None:
        """Also where it was sent before the refusal: the connection is not reset under it."""
        loop = asyncio.get_running_loop()
        async with running_edge(postgres, tmp_path, limits=Limits(connections=8)) as edge:
            for _ in range(2):
                await connect(opened, edge.port, "127.0.0.5")
            third = socket.socket()
            opened.append(third)
            third.bind(("127.0.0.5", 0))
            third.connect(("127.0.0.1", edge.port))
            third.sendall(b"GET /healthz HTTP/1.1\r\nHost: journal\r\n\r\n")
            third.setblocking(False)
            async with asyncio.timeout(60):
                assert (await loop.sock_recv(third, 65536)).startswith(b"HTTP/1.1 503 ")
                assert await loop.sock_recv(third, 65536) == b""
            assert await status_of(await connect(opened, edge.port, "127.0.0.6")) == 200

    async def test_a_full_process(
        self, postgres: EmbeddedPostgres, tmp_path: Path, opened: list[socket.socket]
    ) -> None:
        """Whoever was idle for longest makes room; a proxy's connections are never closed for that."""
        limits = Limits(connections=8)
        async with running_edge(postgres, tmp_path, limits=limits, trusted_proxies=("127.0.0.9",)) as edge:
            proxy = [await connect(opened, edge.port, "127.0.0.9") for _ in range(3)]
            idle = [await connect(opened, edge.port, f"127.0.0.{20 + number}") for number in range(5)]
            for number in range(3):
                assert await status_of(await connect(opened, edge.port, f"127.0.0.{40 + number}")) == 200
            assert [await status_of(one) for one in idle] == [0, 0, 0, 200, 200]
            assert [await status_of(one) for one in proxy] == [200, 200, 200]


async def test_many_idle_connections(postgres: EmbeddedPostgres, tmp_path: Path, opened: list[socket.socket]) -> None:
    """More idle connections than the process may have stop nobody: it answers, and makes room."""
    async with running_edge(postgres, tmp_path, limits=Limits(connections=64)) as edge:
        for number in range(300):
            await connect(opened, edge.port, f"127.0.{number % 20}.7")
        assert await status_of(await connect(opened, edge.port, "127.0.0.200")) == 200
        assert (await edge.ask("GET", "/v1/trust", token="client")).status == 200


LIMITED = """
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (1024, {hard}))
from ingest.connections import allowed
print(allowed(8192), resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""


@pytest.mark.parametrize(("hard", "expected"), [(16384, "8192 8704"), (2048, "1536 2048"), (1024, "512 1024")])
def test_descriptors(hard: int, expected: str) -> None:
    """Under systemd's default soft limit of 1,024 a service takes what its hard limit allows, and no more."""
    done = subprocess.run([sys.executable, "-c", LIMITED.format(hard=hard)], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == expected
