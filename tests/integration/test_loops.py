"""The event loop of the tests is closed whatever a failed test leaves open: nobody waits for it."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import pytest

from tests.support.loops import Loop

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


async def child() -> None:
    """Leave a process that reads for ever from a pipe of ours."""
    await asyncio.get_running_loop().subprocess_exec(asyncio.SubprocessProtocol, "cat")


async def server() -> None:
    """Leave a server."""
    await asyncio.get_running_loop().create_server(asyncio.Protocol, "127.0.0.1", 0)


async def pipe() -> None:
    """Leave both ends of a pipe."""
    loop = asyncio.get_running_loop()
    reading, writing = os.pipe()
    await loop.connect_read_pipe(asyncio.Protocol, os.fdopen(reading, "rb"))
    await loop.connect_write_pipe(asyncio.Protocol, os.fdopen(writing, "wb"))


# By a thread: what waits in uvloop heeds no signal.
@pytest.mark.timeout(60, method="thread")
@pytest.mark.parametrize("leave", [child, server, pipe])
def test_what_is_left_open_is_closed_and_told(leave: Callable[[], Awaitable[None]]) -> None:
    """A failed test leaves such, and where warnings are errors uvloop would wait for them without end."""
    loop = Loop()
    loop.run_until_complete(leave())
    with pytest.raises(ResourceWarning, match="unclosed"):
        loop.close()
    assert loop.is_closed()
