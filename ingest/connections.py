"""The open connections of a process: bounded, as each holds a file descriptor that the database and the keys need too.

One address may have a quarter of them. A proxy, which bounds its own callers, may have all; a full process closes the
first idle one of its oldest connections that are no proxy's.
"""

from __future__ import annotations

import resource
from itertools import islice
from typing import TYPE_CHECKING, Protocol

import structlog

from ingest.callers import Proxies, network

if TYPE_CHECKING:
    from ingest.instruments import EdgeInstruments

log = structlog.get_logger()

# For the database, the key store, workers, and documents that are being made.
RESERVED_DESCRIPTORS = 512
FEWEST = 64
EACH = 4
LOOKED_AT = 64
PROXY = "proxy"


class Closable(Protocol):
    """A connection, as far as it is counted."""

    @property
    def is_idle(self) -> bool:
        """Tell whether no request is being answered."""
        ...

    def drop(self) -> None:
        """Close it at once."""
        ...


class Connections:
    """Counts the open connections, and says whether there is room for one more."""

    def __init__(self, wanted: int, proxies: Proxies, instruments: EdgeInstruments) -> None:
        """Allow as many as are wanted, if the process may have the descriptors for them."""
        self._total = allowed(wanted)
        self._each = max(1, self._total // EACH)
        self._proxies = proxies
        self._instruments = instruments
        self._open: dict[Closable, str] = {}  # in the order they were opened
        self._counts: dict[str, int] = {}

    def enter(self, connection: Closable, address: str | None) -> bool:
        """Count a new connection; False if it must be refused."""
        caller = PROXY if self._proxies.trusts(address) else network(address)
        count = self._counts.get(caller, 0)
        is_too_many = caller != PROXY and count >= self._each
        if is_too_many or (len(self._open) >= self._total and not self._make_room()):
            self._instruments.refused_connection()
            return False
        self._open[connection] = caller
        self._counts[caller] = self._counts.get(caller, 0) + 1
        self._instruments.set_connections(len(self._open))
        return True

    def caller(self, connection: Closable) -> str:
        """Tell from where an open connection comes: its network, or PROXY."""
        return self._open[connection]

    def leave(self, connection: Closable) -> None:
        """Forget a connection that was closed."""
        caller = self._open.pop(connection, None)
        if caller is None:
            return
        self._counts[caller] -= 1
        if not self._counts[caller]:
            del self._counts[caller]
        self._instruments.set_connections(len(self._open))

    def _make_room(self) -> bool:
        for connection, caller in islice(self._open.items(), LOOKED_AT):
            if caller != PROXY and connection.is_idle:
                self._instruments.refused_connection()
                self.leave(connection)
                connection.drop()
                return True
        return False


def allowed(wanted: int) -> int:
    """Return how many connections the process may have, after raising its soft limit of descriptors as far as needed.

    systemd starts services with a soft limit of 1,024, for programs that use select(2), and a high hard one.
    """
    needed = wanted + RESERVED_DESCRIPTORS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        if soft < needed:
            log.warning("few connections are accepted: raise LimitNOFILE", descriptors=soft, wanted=needed)
    return wanted if soft == resource.RLIM_INFINITY else min(wanted, max(FEWEST, soft - RESERVED_DESCRIPTORS))
