"""A supervisor as systemd is one: it holds the service's socket over restarts, and is told what the service does."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.support.serving import SERVICE_PROGRAM

if TYPE_CHECKING:
    from collections.abc import Mapping

LIMIT_SECONDS = 180.0


def listen(path: str) -> socket.socket:
    """Return the supervisor's end: a datagram socket, on a path or an abstract name."""
    told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    told.bind("\0" + path[1:] if path.startswith("@") else path)
    told.settimeout(LIMIT_SECONDS)
    return told


def start(environment: Mapping[str, str], held: socket.socket, path: str) -> subprocess.Popen[bytes]:
    """Start the service as systemd does: the socket is its descriptor 3, and the variables name its process."""
    # The shell puts its own number there, and becomes the service.
    shell = f'exec 3<&{held.fileno()}; export LISTEN_PID=$$; exec "$@"'
    return subprocess.Popen(
        ["bash", "-c", shell, "bash", sys.executable, *SERVICE_PROGRAM, "serve"],
        env=dict(environment) | {"NOTIFY_SOCKET": path, "LISTEN_FDS": "1", "LISTEN_FDNAMES": "journal"},
        pass_fds=[held.fileno()],
        stderr=subprocess.DEVNULL,
    )


async def heard(told: socket.socket, state: bytes) -> None:
    """Wait until the supervisor is told this."""
    while await asyncio.to_thread(told.recv, 100) != state:
        pass
