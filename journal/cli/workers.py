"""The other processes of a service: each serves requests on the same socket; one that ends is replaced."""

from __future__ import annotations

import asyncio
import socket
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import structlog

from journal.writing.remote import serve_worker

if TYPE_CHECKING:
    from journal.writing.writer import Writer

log = structlog.get_logger()

# A worker that cannot live must not be started in a tight loop.
PAUSE_SECONDS: Final = 1.0


class Workers:
    """Processes number 1 to `count`, given the owner's DSN, the socket and the memory of the metrics."""

    def __init__(self, dsn: str, listener: socket.socket, shared_memory: int, count: int, *, is_held: bool) -> None:
        """Start nothing yet; `is_held` says that a supervisor holds the socket too."""
        self._is_held = is_held
        self._dsn = dsn
        self._listener = listener
        self._shared_memory = shared_memory
        self._count = count
        self._processes: dict[int, asyncio.subprocess.Process] = {}
        self._keepers: list[asyncio.Task[None]] = []
        self._pairs: dict[int, socket.socket] = {}
        self._writer: Writer | None = None

    async def start(self) -> None:
        """Start them, one by one, so that those already started are stopped if the next one fails."""
        for number in range(1, self._count + 1):
            self._processes[number] = await self._start_one(number)

    async def write_by(self, writer: Writer) -> None:
        """Record what the workers were sent, and will be sent, by this process's writer."""
        self._writer = writer
        for number in list(self._pairs):
            await serve_worker(writer, self._pairs.pop(number))

    def keep(self) -> None:
        """From now on, start a new worker in the place of one that ends; the others serve meanwhile."""
        self._keepers = [asyncio.create_task(self._keep_one(number)) for number in self._processes]

    async def _keep_one(self, number: int) -> None:
        while True:
            status = await self._processes[number].wait()
            log.error("a worker ended: another takes its place", worker=number, status=status)
            await asyncio.sleep(PAUSE_SECONDS)
            try:
                self._processes[number] = await self._start_one(number)
            except Exception as error:  # noqa: BLE001  (a keeper that ends would replace no worker any more)
                kind, reason = type(error).__name__, str(error)
                log.error("no worker could be started: it is tried again", worker=number, kind=kind, reason=reason)

    def ask_to_stop(self) -> None:
        """Ask all at once: as long as one listens, the kernel accepts connections for it."""
        for keeper in self._keepers:
            keeper.cancel()
        for process in self._processes.values():
            if process.returncode is None:
                process.terminate()

    async def stop(self) -> None:
        """Stop them, and wait until they have ended."""
        self.ask_to_stop()
        # A keeper may have been starting one.
        await asyncio.gather(*self._keepers, return_exceptions=True)
        self.ask_to_stop()
        for process in self._processes.values():
            await process.wait()

    async def _start_one(self, number: int) -> asyncio.subprocess.Process:
        descriptor, memory = self._listener.fileno(), self._shared_memory
        options = {"--worker-socket": descriptor, "--worker-metrics": memory, "--worker-number": number}
        options["--worker-held"] = int(self._is_held)
        ours, theirs = socket.socketpair()
        options["--worker-writer"] = theirs.fileno()
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",  # nothing is imported from the working directory
            "-m",
            "journal.cli.main",
            "serve",
            *(text for name, value in options.items() for text in (name, str(value))),
            stdin=asyncio.subprocess.PIPE,
            pass_fds=[descriptor, memory, theirs.fileno()],
        )
        theirs.close()
        if self._writer is None:
            self._pairs[number] = ours
        else:
            await serve_worker(self._writer, ours)
        assert process.stdin is not None
        # It may have ended, uvloop's RuntimeError if its pipe is closed already: whoever waits for it sees that.
        with suppress(ConnectionError, RuntimeError):
            process.stdin.write(f"{self._dsn}\n".encode())
            await process.stdin.drain()
        return process
