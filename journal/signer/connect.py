"""The ways to the signer: a socket's path, a child of this process, or a task of it.

Only the first separates anything. A child runs as the same account, and ends with its parent; a task is for clocks that
are moved by hand, which a signer of its own rightly would not believe.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from journal.core.errors import SignerError
from journal.signer.server import Server

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from journal.settings import Settings
    from journal.signer.client import Streams
    from journal.signer.signing import Signer

UNIT = "openepm-journal-signer"
NOT_SEPARATED = "it runs as the service's own account, and keeps the signing key from nobody (JOURNAL_SIGNER_SOCKET)"
# One that runs greets at once; of a child, the interpreter may have to start first, on a machine that has much to do.
CONNECT_SECONDS = 5.0
START_SECONDS = 30.0
# A child that has had time to start, and is silent for so long, is killed; another is started.
HUNG_SECONDS = 10.0
END_SECONDS = 5.0


class AtPath:
    """A signer that runs on its own, reached by its socket."""

    greeting_seconds = CONNECT_SECONDS

    def __init__(self, path: Path) -> None:
        """Connect to this socket."""
        self._path = path
        self.remedy = f"see systemctl status {UNIT}, and restart it (its socket is {path})"

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Streams]:
        """Open a connection. Raises SignerError, OSError."""
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                reader, writer = await asyncio.open_unix_connection(str(self._path))
        except TimeoutError as error:
            raise SignerError(f"the signer has not answered for {CONNECT_SECONDS:.0f} s: {self.remedy}") from error
        try:
            yield reader, writer
        finally:
            writer.close()

    async def replace(self) -> None:
        """Leave it to its own supervisor."""

    async def close(self) -> None:
        """Leave it running."""


class Child:
    """A signer of this process alone, started at the first use, and again if it has ended or hangs."""

    remedy = "it is started again at the next attempt"

    def __init__(self, settings: Settings, service: str) -> None:
        """Start it with the files that these settings name, to sign for this service."""
        self._service = service
        self._files = [
            settings.signing_key_path,
            settings.signing_cert_path,
            settings.signer_state_path,
            settings.trust_path,
        ]
        self._process: Process | None = None
        self._control: socket.socket | None = None
        self._starting = asyncio.Lock()
        self._started_at = float("-inf")

    @property
    def greeting_seconds(self) -> float:
        """Return how long its greeting may take."""
        return START_SECONDS if self._age() < START_SECONDS else HUNG_SECONDS

    def _age(self) -> float:
        return asyncio.get_running_loop().time() - self._started_at

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Streams]:
        """Open a connection: the child is sent its end. Raises OSError."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                await self._send(theirs)
            except BaseException:
                ours.close()
                raise
        async with _streams(ours) as streams:
            yield streams

    async def _send(self, theirs: socket.socket) -> None:
        async with self._starting:
            try:
                socket.send_fds(await self._started(), [b"\0"], [theirs.fileno()])
            except ConnectionError:  # it has ended
                await self.close()
                socket.send_fds(await self._started(), [b"\0"], [theirs.fileno()])

    async def _started(self) -> socket.socket:
        if self._control is None:
            self._control, theirs = socket.socketpair()
            self._started_at = asyncio.get_running_loop().time()
            # A child that is stopped must not block its parent.
            self._control.setblocking(False)
            with theirs:
                self._process = await _start(theirs.fileno(), self._service, self._files)
        return self._control

    async def replace(self) -> None:
        """Kill it: the next use starts another, which goes on from the memory in its file."""
        async with self._starting:
            # Of two that waited for the same child, the second finds another, which has only just been started.
            if self._process is not None and self._age() >= START_SECONDS:
                with suppress(ProcessLookupError):
                    self._process.kill()
                await self.close()

    async def close(self) -> None:
        """End it: it goes when its control socket is closed; one that hangs is killed."""
        control, self._control = self._control, None
        process, self._process = self._process, None
        if control is not None:
            control.close()
        if process is None:
            return
        try:
            async with asyncio.timeout(END_SECONDS):
                await process.wait()
        except TimeoutError:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()


async def _start(control: int, service: str, files: Sequence[Path]) -> Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",  # nothing is imported from the working directory
        "-m",
        "journal.signer",
        "--control",
        str(control),
        "--service",
        service,
        *map(str, files),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        pass_fds=[control],
    )


class Task:
    """A signer within this process, on its event loop."""

    remedy = "it runs within this process"
    greeting_seconds = CONNECT_SECONDS

    def __init__(self, signer: Signer) -> None:
        """Serve this signer."""
        self._server = Server(signer)
        self._serving: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Streams]:
        """Open a connection."""
        ours, theirs = socket.socketpair()
        serving = asyncio.create_task(self._server.serve(*await asyncio.open_unix_connection(sock=theirs)))
        self._serving.add(serving)
        serving.add_done_callback(self._serving.discard)
        async with _streams(ours) as streams:
            yield streams

    async def replace(self) -> None:
        """Leave it: it hangs only as this process does."""

    async def close(self) -> None:
        """Wait for what is still answered."""
        await asyncio.gather(*self._serving)


@asynccontextmanager
async def _streams(ours: socket.socket) -> AsyncIterator[Streams]:
    reader, writer = await asyncio.open_unix_connection(sock=ours)
    try:
        yield reader, writer
    finally:
        writer.close()
