"""The processes that make documents: forked clean from one that has loaded what they need, and gone in time."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import sys
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from journal.core.errors import SignerError
from journal.document.makers import Makers, Origin, start_origin
from journal.document.render import render
from journal.seals.dev_authority import make_development_authority
from tests.support.documents import AT, SERVICE, make_content, make_entry
from tests.support.signing import local_signer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

# A service that is ended while a maker waits in it.
SERVING = """
import asyncio
from journal.document.makers import Makers

async def serve():
    makers = Makers()
    await makers.start()
    print(makers._origin._process.pid, flush=True)
    await asyncio.Event().wait()

asyncio.run(serve())
"""


@pytest.fixture
async def makers(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Makers]:
    """Give makers as the service has them."""
    monkeypatch.setattr("journal.document.makers.start_origin", start_origin)
    made = Makers()
    yield made
    await made.close()


def origin_of(makers: Makers) -> int:
    """Return the process that they are forked from."""
    pid: int = makers._origin._process.pid  # type: ignore[union-attr]
    return pid


def children(pid: int) -> list[int]:
    """Return the children of a process."""
    return list(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()))


async def end_of(pid: int) -> None:
    """Wait until a process has ended."""
    descriptor = os.pidfd_open(pid)
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(descriptor, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


async def kill(pid: int) -> None:
    """Kill a process, and wait until it has ended."""
    ended = asyncio.create_task(end_of(pid))
    await asyncio.sleep(0)
    os.kill(pid, signal.SIGKILL)
    await ended


async def test_one_process_loads_what_all_documents_need(makers: Makers, tmp_path: Path) -> None:
    """Each document has a process of its own, forked from that one; of equal content, they are equal."""
    make_development_authority(tmp_path, SERVICE, AT)
    signer, content = local_signer(tmp_path), make_content([make_entry(0)])
    documents, origins = set(), set()
    for _ in range(2):
        await makers.start()
        documents.add((await render(content, signer, AT, makers=makers)).partition(b"%%EOF")[0])
        origins.add(origin_of(makers))
    assert [len(documents), len(origins)] == [1, 1]
    await kill(origins.pop())
    makers.prepare()
    assert (await render(content, signer, AT, makers=makers)).startswith(b"%PDF-")


async def test_a_maker_ends_with_its_document(makers: Makers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing is signed, nothing of it stays, neither the process nor what it knows."""
    make_development_authority(tmp_path, SERVICE, AT)
    ends: list[asyncio.Task[None]] = []

    async def refuse(*_: object) -> bytes:
        ends.extend(asyncio.create_task(end_of(pid)) for pid in children(origin_of(makers)))
        await asyncio.sleep(0)
        raise SignerError("not today")

    signer = local_signer(tmp_path)
    monkeypatch.setattr(type(signer), "sign_document", refuse)
    with pytest.raises(SignerError):
        await render(make_content([make_entry(0)]), signer, AT, makers=makers)
    (ended,) = ends
    await ended


async def test_a_maker_writes_no_file(makers: Makers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Documents come from processes that cannot write a byte to one."""

    async def start_confined() -> Origin:
        origin = await start_origin()
        resource.prlimit(origin._process.pid, resource.RLIMIT_FSIZE, (0, 0))  # type: ignore[attr-defined]
        return origin

    monkeypatch.setattr("journal.document.makers.start_origin", start_confined)
    make_development_authority(tmp_path, SERVICE, AT)
    content = make_content([make_entry(index) for index in range(1_000)])
    assert (await render(content, local_signer(tmp_path), AT, makers=makers)).startswith(b"%PDF-")


async def test_they_end_with_the_service() -> None:
    """However it ends."""
    serving = await asyncio.create_subprocess_exec(sys.executable, "-c", SERVING, stdout=PIPE)
    assert serving.stdout is not None
    origin = int(await serving.stdout.readline())
    ended = asyncio.create_task(end_of(origin))
    await asyncio.sleep(0)
    serving.kill()
    await ended
    await serving.wait()
