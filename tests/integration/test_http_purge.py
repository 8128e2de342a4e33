"""An extract over HTTP while its days are purged: whole, or visibly refused; never short, and never taken for whole."""

from __future__ import annotations

import asyncio
import random
import socket
import subprocess
from contextlib import asynccontextmanager
from time import perf_counter
from typing import TYPE_CHECKING

import aiohttp
import pytest
from aiohttp import web

from ingest.app import create_app
from ingest.server import Runner
from journal.core.errors import VerificationError
from tests.support.brief import BRIEF, brief_world
from tests.support.commands import VERIFY
from tests.support.world import DAY, FIRST, PERSON, TENANT, World

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from datetime import date
    from pathlib import Path

pytestmark = [pytest.mark.world(made_by=brief_world), pytest.mark.usefixtures("no_documents")]

# More than all buffers in between hold, some 190 kB compressed: what is purged meanwhile is still to be read.
LARGE, SMALL = 24_000, 400
DAYS = 7
# Little is read ahead of who asks, nor held by the kernel, so that the service is still at it when the purge comes.
AHEAD_BYTES = 4096
KERNEL_BYTES = 1 << 14
PIECE_BYTES = 1 << 14


def narrow_socket(*_: object) -> socket.socket:
    """Return a socket that holds little of what is sent."""
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, KERNEL_BYTES)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, KERNEL_BYTES)
    made.setblocking(False)
    return made


@asynccontextmanager
async def listening(world: World) -> AsyncIterator[aiohttp.ClientSession]:
    """Serve the world over HTTP, with a client's credential."""
    _, token = await world.installation.administration.credentials.add(
        role="client", tenant=TENANT, categories=[BRIEF], person=PERSON
    )
    runner = Runner(create_app(world.service, None))
    await runner.setup()
    listener = narrow_socket()
    listener.bind(("127.0.0.1", 0))
    site = web.SockSite(runner, listener)
    await site.start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    headers = {"Authorization": f"Bearer {token}"}
    try:
        connector = aiohttp.TCPConnector(socket_factory=narrow_socket)
        async with aiohttp.ClientSession(
            url, headers=headers, read_bufsize=AHEAD_BYTES, connector=connector
        ) as session:
            yield session
    finally:
        await runner.cleanup()


def asked(day: date) -> dict[str, str]:
    """Return the request for an extract of a day."""
    return {"from": str(day), "to": str(day), "purpose": "lawfulness", "requester": "DPD"}


async def read(answer: aiohttp.ClientResponse) -> tuple[bytes, bool]:
    """Return what comes of the body, and whether its end does."""
    got = bytearray()
    try:
        async for piece in answer.content.iter_chunked(PIECE_BYTES):
            got += piece
    except aiohttp.ClientPayloadError:
        return bytes(got), False
    return bytes(got), True


async def test_purged_while_an_extract_is_read(world: World, tmp_path: Path) -> None:
    """The answer is cut off before its end, which no HTTP client takes for whole; what came of it does not verify."""
    await world.record(LARGE, category=BRIEF)
    await world.travel_to(FIRST + 2 * DAY)
    await world.seal()
    got = b""
    async with listening(world) as session:
        async with session.post(f"/v1/categories/{BRIEF}/extracts", json=asked(FIRST)) as answer:
            assert answer.status == 200
            got = await answer.content.read(PIECE_BYTES)
            [due] = await world.installation.purger.run()
            assert due.day == FIRST
            rest, is_whole = await read(answer)
            got += rest
            assert not is_whole
        # Asked again, the service says what is so: the day is purged.
        async with session.post(f"/v1/categories/{BRIEF}/extracts", json=asked(FIRST)) as answer:
            report = world.verify(await answer.read())
    assert (report.manifest.disclosed, report.purged is not None) == (0, True)
    with pytest.raises(VerificationError):
        world.verify(got)
    file = tmp_path / "short.asice"
    file.write_bytes(got)
    command = [VERIFY, file, "--trust", world.settings.trust_path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr


async def test_purged_at_any_moment_of_an_extract(world: World, record_property: Callable[[str, object], None]) -> None:
    """Whenever the purge comes, there are two ends: all entries, proved, or an answer that is no extract."""
    draw = random.Random(20261126)
    ends: list[str] = []
    async with listening(world) as session:
        for number in range(DAYS):
            await world.travel_to(FIRST + number * DAY)
            await world.record(SMALL, category=BRIEF)
            await world.seal()
            if number < 2:
                begun = perf_counter()
                assert await outcome(world, session, FIRST) == "whole"
                longest = perf_counter() - begun
                continue
            day = FIRST + (number - 2) * DAY

            async def purge(after_seconds: float) -> None:
                await asyncio.sleep(after_seconds)
                await world.installation.purger.run()

            # Rather early: the rows are read first.
            purging = asyncio.create_task(purge(draw.random() ** 3 * longest))
            ends.append(await outcome(world, session, day))
            await purging
    counts = ", ".join(f"{ends.count(end)} {end}" for end in ("whole", "purged", "refused", "cut off"))
    record_property("evidence", f"extracts over HTTP with a purge at a random moment of each: {counts}; none short")
    assert await world.audit() == []


async def outcome(world: World, session: aiohttp.ClientSession, day: date) -> str:
    """Ask for an extract of a day; return how that ended, once it is sure that it ended honestly."""
    async with session.post(f"/v1/categories/{BRIEF}/extracts", json=asked(day)) as answer:
        if answer.status != 200:
            said = await answer.text()
            print(said)  # noqa: T201 - what a failure is to be understood by
            assert answer.status == 503, said
            assert answer.headers["Content-Type"] == "application/problem+json"
            return "refused"
        got, is_whole = await read(answer)
    if not is_whole:
        with pytest.raises(VerificationError):
            world.verify(got)
        return "cut off"
    report = world.verify(got)
    if report.manifest.disclosed:
        assert (report.manifest.disclosed, report.manifest.withheld) == (SMALL, 0)
        return "whole"
    assert report.purged is not None
    assert report.purged.through >= day
    return "purged"
