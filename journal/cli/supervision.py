"""What systemd gives a service and is told by it: a socket that it holds, readiness, and a watchdog (sd_notify(3)).

Without systemd nothing is given, and nobody is told.
"""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

import structlog

if TYPE_CHECKING:
    from collections.abc import MutableMapping

log = structlog.get_logger()

FIRST_DESCRIPTOR: Final = 3  # sd_listen_fds(3)
PULSES_PER_LIMIT: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Supervision:
    """The supervisor's side: where it is told, how often it must be, and the sockets that it holds."""

    address: str | None
    watchdog_seconds: float | None
    descriptors: int

    @classmethod
    def take(cls, environ: MutableMapping[str, str]) -> Self:
        """Take what is for this process out of its environment: its children are not the service."""
        address = environ.pop("NOTIFY_SOCKET", None)
        process = str(os.getpid())
        limit = environ.pop("WATCHDOG_USEC", "")
        watches = environ.pop("WATCHDOG_PID", process) == process and limit.isdigit()
        count = environ.pop("LISTEN_FDS", "")
        is_given = environ.pop("LISTEN_PID", "") == process and count.isdigit()
        environ.pop("LISTEN_FDNAMES", None)
        return cls(
            address=address,
            watchdog_seconds=int(limit) / 1_000_000 if watches else None,
            descriptors=int(count) if is_given else 0,
        )

    def listener(self) -> socket.socket | None:
        """Return the socket that the supervisor holds, None if it holds none: connections wait in it over a restart."""
        if not self.descriptors:
            return None
        os.set_inheritable(FIRST_DESCRIPTOR, False)
        return socket.socket(fileno=FIRST_DESCRIPTOR)

    def tell(self, state: str) -> None:
        """Send one state, such as READY=1; a supervisor that does not listen is no failure of the service."""
        if self.address is None:
            return
        # A name that begins with @ is an abstract one, unix(7).
        address = "\0" + self.address[1:] if self.address.startswith("@") else self.address
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.setblocking(False)
            sender.sendto(state.encode(), address)

    async def pulse(self) -> None:
        """Tell the watchdog for ever that the event loop turns; it ends a service that says nothing for its limit."""
        if self.watchdog_seconds is None:
            return
        while True:
            self.tell("WATCHDOG=1")
            await asyncio.sleep(self.watchdog_seconds / PULSES_PER_LIMIT)
