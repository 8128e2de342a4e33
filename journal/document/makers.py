"""The processes that make documents, one each, forked from one that has loaded what they need (`worker`).

To load it takes half a second. The one that they are forked from is given no content, so each of them begins clean.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from asyncio.subprocess import DEVNULL
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    from asyncio.subprocess import Process


class Maker:
    """A process that makes one document; it ends when it is dismissed."""

    def __init__(self, output: asyncio.StreamReader, stdin: asyncio.StreamWriter) -> None:
        """Talk to it on these."""
        self.output = output
        self.input = stdin

    @classmethod
    async def at(cls, end: socket.socket) -> Self:
        """Return the one at the other end of this socket."""
        return cls(*await asyncio.open_unix_connection(sock=end))

    @property
    def has_ended(self) -> bool:
        """Whether it is known to be gone."""
        return self.output.at_eof() or self.input.is_closing()

    def dismiss(self) -> None:
        """Let it end, whatever it is at."""
        self.input.transport.abort()


class Origin(Protocol):
    """What makers are forked from."""

    async def fork(self) -> Maker:
        """Fork one. Raises OSError."""
        ...

    async def close(self) -> None:
        """End it; the makers stay."""
        ...


class _Loaded:
    """A process that has loaded what makes documents, or soon will have: each maker waits until then."""

    def __init__(self, process: Process, control: socket.socket) -> None:
        self._process = process
        self._control = control

    async def fork(self) -> Maker:
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                socket.send_fds(self._control, [b"\0"], [theirs.fileno()])
            return await Maker.at(ours)
        except OSError:
            ours.close()
            raise

    async def close(self) -> None:
        self._control.close()
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()


async def start_origin() -> Origin:
    """Start the process; it ends with this one."""
    ours, theirs = socket.socketpair()
    with theirs:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "journal.document.worker"),
            stdin=theirs.fileno(),
            stdout=DEVNULL,
            stderr=DEVNULL,
        )
    return _Loaded(process, ours)


class Makers:
    """Gives a maker for each document, and has one in store once it is asked to."""

    def __init__(self) -> None:
        """Start nothing yet."""
        self._origin: Origin | None = None
        self._maker: Maker | None = None
        self._forking = asyncio.Lock()
        # What nobody waits for.
        self._later: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Have one in store."""
        async with self._forking:
            self._maker = self._taken() or await self._fork()

    def prepare(self) -> None:
        """Have one in store soon; one that cannot be forked now is when it is asked for."""

        async def try_to() -> None:
            with suppress(OSError):
                await self.start()

        task = asyncio.create_task(try_to())
        self._later.add(task)
        task.add_done_callback(self._later.discard)

    async def take(self) -> Maker:
        """Return the one in store, or another. Whoever takes it dismisses it."""
        async with self._forking:
            return self._taken() or await self._fork()

    async def close(self) -> None:
        """End what nobody took, and what makers are forked from."""
        await asyncio.gather(*self._later)
        async with self._forking:
            maker, self._maker = self._maker, None
            origin, self._origin = self._origin, None
        if maker is not None:
            maker.dismiss()
        if origin is not None:
            await origin.close()

    def _taken(self) -> Maker | None:
        """Take the one in store, unless it has ended."""
        maker, self._maker = self._maker, None
        if maker is None or not maker.has_ended:
            return maker
        maker.dismiss()
        return None

    async def _fork(self) -> Maker:
        if self._origin is not None:
            with suppress(OSError):
                return await self._origin.fork()
            await self._origin.close()
        self._origin = await start_origin()
        return await self._origin.fork()
