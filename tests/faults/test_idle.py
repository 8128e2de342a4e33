"""Ten thousand connections that say nothing, to the service itself and to nginx before it: who asks is answered."""

from __future__ import annotations

import asyncio
import json
import resource
import socket
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import aiohttp
import pytest

from ingest.access import Limits
from tests.support.databases import fresh_database
from tests.support.proxies import running_proxy
from tests.support.rig import CATEGORY, event_body
from tests.support.serving import Serving, found_site

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from journal.database.embedded import EmbeddedPostgres

IDLE = 10_000
ADDRESSES = 40
QUESTIONS = 50
SYSTEMD_SOFT_LIMIT = 1024


@contextmanager
def descriptors(soft: int) -> Iterator[None]:
    """Change how many descriptors this process, and what it starts, may have."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


async def open_idle(held: ExitStack, port: int) -> list[socket.socket]:
    """Open connections from many addresses of the loopback, and say nothing on them."""
    loop = asyncio.get_running_loop()
    opened = []
    for number in range(IDLE):
        connection = held.enter_context(socket.socket())
        connection.setblocking(False)
        connection.bind((f"127.0.1.{1 + number % ADDRESSES}", 0))
        async with asyncio.timeout(60):
            await loop.sock_connect(connection, ("127.0.0.1", port))
        opened.append(connection)
    return opened


def count_open(connections: list[socket.socket]) -> int:
    """Return how many the other end has not closed."""
    still = 0
    for connection in connections:
        try:
            connection.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            still += 1
        except ConnectionError:
            pass
    return still


async def ask(url: str, token: str, tls: Any) -> list[float]:
    """Post events, each on a connection of its own; return how long each took, in ms."""
    took = []
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/cloudevents+json"}
    for _ in range(QUESTIONS):
        body = json.dumps(event_body(uuid4().hex, datetime.now(UTC) - timedelta(seconds=1)))
        began = asyncio.get_running_loop().time()
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.post(f"{url}/v1/categories/{CATEGORY}/events", data=body, ssl=tls) as answer,
        ):
            assert answer.status == 201
        took.append((asyncio.get_running_loop().time() - began) * 1000)
    return took


@pytest.mark.campaign
@pytest.mark.needs("nginx")
async def test_ten_thousand_idle_connections(postgres: EmbeddedPostgres, tmp_path: Path, record_property: Any) -> None:
    """Started with systemd's soft limit of 1,024 descriptors, the service answers; so does nginx, which holds them."""
    async with fresh_database(postgres) as name:
        site = await found_site(tmp_path / "site", postgres.dsn(database=name))
        with descriptors(SYSTEMD_SOFT_LIMIT):
            serving = await Serving.start(site)
        async with serving:
            with descriptors(IDLE + 2_000), ExitStack() as held:
                alone = await ask(site.url, site.modules["albi"], tls=None)
                idle = await open_idle(held, site.port)
                beside = await ask(site.url, site.modules["albi"], tls=None)
                still = count_open(idle)
            assert still <= Limits().connections
            record_property(
                "evidence",
                f"{IDLE} idle connections to the service from {ADDRESSES} addresses: it keeps {still}; an event is "
                f"answered in {median(beside):.0f} ms (longest {max(beside):.0f}), before in {median(alone):.0f} ms",
            )
            async with running_proxy("nginx", tmp_path / "proxy", site.port) as proxy:
                with descriptors(IDLE + 2_000), ExitStack() as held:
                    url = f"https://127.0.0.1:{proxy.port}"
                    idle = await open_idle(held, proxy.port)
                    beside = await ask(url, site.modules["albi"], tls=proxy.tls_without_names())
                    still = count_open(idle)
            record_property(
                "evidence",
                f"{IDLE} idle connections to nginx: it keeps {still} until their time is up; an event is answered in "
                f"{median(beside):.0f} ms (longest {max(beside):.0f})",
            )
