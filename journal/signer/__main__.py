"""The signer's own process: on a socket (`openepm-journal signer`), or as the child of a process that needs one.

It loads neither the database's driver nor the key store, and needs no network.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import signal
import socket
import struct
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from journal.clock import SystemClock
from journal.core.errors import JournalError, OperatorError
from journal.keys.protection import protect_memory
from journal.signer import identity
from journal.signer.memory import Memory
from journal.signer.protocol import encode, failure_of
from journal.signer.server import Server
from journal.signer.signing import Signer

if TYPE_CHECKING:
    from collections.abc import Iterator

NOT_RUN = 2
SOCKET_MODE = 0o660
COLLECTIONS = (50_000, 20, 50)
_CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid


def main() -> int:
    """Serve until told to stop; 2 if it cannot."""
    parser = argparse.ArgumentParser()
    way = parser.add_mutually_exclusive_group(required=True)
    way.add_argument("--socket", type=Path)
    way.add_argument("--control", type=int)
    parser.add_argument("--service")
    for name in ("key", "certificates", "state", "trust"):
        parser.add_argument(name, type=Path)
    arguments = parser.parse_args()
    protect_memory()
    # A seal makes values for every chain, in no cycles: they are not walked again and again.
    gc.freeze()
    gc.set_threshold(*COLLECTIONS)
    try:
        if arguments.control is not None:
            # A terminal's interrupt is for the parent, whose end closes the control socket.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            asyncio.run(_serve_parent(socket.socket(fileno=arguments.control), arguments))
        else:
            with _listening(arguments.socket) as listener:
                asyncio.run(_serve_path(listener, _open(arguments)))
    except (JournalError, OSError) as error:
        sys.stderr.write(f"openepm-journal: {error}\n")
        return NOT_RUN
    except KeyboardInterrupt:
        pass
    return 0


def _open(arguments: argparse.Namespace) -> Server:
    signing = identity.load(arguments.key, arguments.certificates, arguments.service)
    memory = Memory(arguments.state, signing)
    return Server(Signer(identity=signing, memory=memory, trust_path=arguments.trust, clock=SystemClock()))


@contextmanager
def _listening(path: Path) -> Iterator[socket.socket]:
    """Listen on a path. Raises OperatorError if another signer does."""
    listener = socket.socket(socket.AF_UNIX)
    before = os.umask(0o777 ^ SOCKET_MODE)
    try:
        if path.is_socket():
            with socket.socket(socket.AF_UNIX) as probe:
                if probe.connect_ex(str(path)) == 0:
                    raise OperatorError(f"another signer listens on {path}: only one may run")
            path.unlink()  # left behind by one that was killed
        listener.bind(str(path))
    except OSError as error:
        raise OperatorError(f"the signer cannot listen on {path}: {error.strerror or error}") from error
    finally:
        os.umask(before)
    try:
        yield listener
    finally:
        path.unlink(missing_ok=True)


async def _serve_path(listener: socket.socket, server: Server) -> None:
    """Serve whoever may ask, until told to stop."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if _may_ask(writer.get_extra_info("socket")):
            await server.serve(reader, writer)
        else:
            writer.close()

    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    listening = await asyncio.start_unix_server(serve, sock=listener)
    sys.stderr.write(f"the signer listens on {listener.getsockname()}\n")
    await stopped.wait()
    listening.close()


def _may_ask(client: socket.socket) -> bool:
    """Tell whether a client is root, of this account, or of this account's group (SO_PEERCRED, unix(7))."""
    _, uid, gid = _CREDENTIALS.unpack(client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return uid in {0, os.geteuid()} or gid == os.getegid()


async def _serve_parent(control: socket.socket, arguments: argparse.Namespace) -> None:
    """Serve the connections that the parent sends, until it closes the control socket."""
    control.setblocking(False)
    loop = asyncio.get_running_loop()
    ended = loop.create_future()
    opened: list[Server] = []
    serving: set[asyncio.Task[None]] = set()

    def take() -> None:
        content, descriptors, _, _ = socket.recv_fds(control, 1, 1)
        if not content:
            loop.remove_reader(control.fileno())
            ended.set_result(None)
        for descriptor in descriptors:
            task = loop.create_task(_serve_descriptor(descriptor, arguments, opened))
            serving.add(task)
            task.add_done_callback(serving.discard)

    loop.add_reader(control.fileno(), take)
    await ended


async def _serve_descriptor(descriptor: int, arguments: argparse.Namespace, opened: list[Server]) -> None:
    reader, writer = await asyncio.open_unix_connection(sock=socket.socket(fileno=descriptor))
    try:
        if not opened:
            opened.append(_open(arguments))
    except OperatorError as error:
        # Said to whoever asks, until it is put right.
        writer.write(encode(failure_of(error)))
        writer.close()
    else:
        await opened[0].serve(reader, writer)


if __name__ == "__main__":
    sys.exit(main())
