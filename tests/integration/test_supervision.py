"""What systemd and the service tell each other: readiness, watchdog, the address held over a restart."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import TYPE_CHECKING

import aiohttp
import pytest

from journal.cli.supervision import Supervision
from tests.support.serving import Site, found_site
from tests.support.supervisor import LIMIT_SECONDS, heard, listen, start

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
async def site(dsn: str, tmp_path: Path) -> Site:
    """An installation of its own on the shared PostgreSQL."""
    return await found_site(tmp_path / "var", dsn)


@pytest.mark.parametrize("is_abstract", [False, True])
async def test_the_supervisor_is_told(tmp_path: Path, is_abstract: bool) -> None:  # noqa: FBT001
    """On a path and on an abstract name; the variables are taken out, as children are not the service."""
    path = f"@openepm-{os.getpid()}" if is_abstract else str(tmp_path / "notify")
    environ = {"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "300000", "WATCHDOG_PID": str(os.getpid()), "OTHER": "kept"}
    with listen(path) as told:
        supervision = Supervision.take(environ)
        assert environ == {"OTHER": "kept"}
        supervision.tell("READY=1")
        assert told.recv(100) == b"READY=1"
        pulse = asyncio.create_task(supervision.pulse())
        for _ in range(3):
            assert await asyncio.to_thread(told.recv, 100) == b"WATCHDOG=1"
        pulse.cancel()
    # A supervisor that has gone is no failure of the service.
    supervision.tell("STOPPING=1")


def test_what_is_for_another_process_is_not_taken() -> None:
    """Variables that a parent left behind name its number."""
    others = str(os.getpid() + 1)
    environ = {"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": others, "LISTEN_FDS": "1", "LISTEN_PID": others}
    supervision = Supervision.take(environ)
    assert (supervision.watchdog_seconds, supervision.listener()) == (None, None)
    assert environ == {}


async def test_a_restart_refuses_nobody_where_the_address_is_held(site: Site, tmp_path: Path) -> None:
    """An open connection is answered and closed, a new one waits and is answered by the next process."""
    path = str(tmp_path / "notify")
    with socket.socket() as held, listen(path) as told:
        held.bind(("127.0.0.1", site.port))
        held.listen(16)
        process = start(site.environment, held, path)
        await heard(told, b"READY=1")
        async with aiohttp.ClientSession(site.url) as session:
            assert (await session.get("/healthz")).status == 200
            process.terminate()
            await heard(told, b"STOPPING=1")
            # On the connection that is open: answered, with the word that it ends.
            async with session.get("/healthz") as answer:
                assert (answer.status, answer.headers["Connection"]) == (200, "close")
            assert await asyncio.to_thread(process.wait, LIMIT_SECONDS) == 0
            # Nobody runs: the connection is taken all the same, and the request waits.
            waiting = asyncio.create_task(session.get("/healthz"))
            process = start(site.environment, held, path)
            try:
                assert (await waiting).status == 200
                await heard(told, b"READY=1")
            finally:
                process.terminate()
            assert await asyncio.to_thread(process.wait, LIMIT_SECONDS) == 0
