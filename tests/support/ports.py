"""Ports of the loopback that nobody else takes, between the choice and the use, and while a service restarts."""

from __future__ import annotations

import contextlib
import os
import random
import socket

# Below the range the kernel picks from, and apart from those of the other test processes of a run.
FIRST, EACH, PROCESSES = 20_000, 600, 16
_given: set[int] = set()


def free_port() -> int:
    """Return a free port that was not given before. Raises OSError if there is none."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
    first = FIRST + int(worker) % PROCESSES * EACH
    ports = [port for port in range(first, first + EACH) if port not in _given]
    for port in random.sample(ports, len(ports)):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            _given.add(port)
            return port
    raise OSError("no port is free")
