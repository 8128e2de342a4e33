"""Which connections are read in a turn of the event loop, and which wait for a later one: communes in turn."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, OrderedDict, deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sized

    from ingest.server import Connection
    from journal.service import Service

# How long a turn of the event loop reads new requests: the writer, which needs several turns for an append, and what
# keeps the credentials fresh have the rest.
READING_SECONDS: Final = 0.005
# Of a commune of which so many wait while others submit, few are read, then comes a pause: short turns are what the
# others wait for.
FLOOD_FROM: Final = 16
READ_OF_FLOOD: Final = 4
PAUSE_SECONDS: Final = 0.004
# So many connections wait to be read, and of a commune these few in any case: a second or so. What comes beyond is
# read at once and refused, so that nobody waits for longer than he asked to, without a word.
HELD_MOST: Final = 512
HELD_FEW: Final = 64


class Readers:
    """Connections that have brought a request: each turn of the event loop reads as many as there is time for.

    They are read in turn for each commune that they last spoke for: one that floods keeps no other waiting.
    """

    def __init__(self, service: Service) -> None:
        """Begin with a turn that has read nothing."""
        self._service = service
        self._held: OrderedDict[str, deque[Connection]] = OrderedDict()
        self._count = 0
        self._until = 0.0
        self._pause: asyncio.TimerHandle | None = None

    def is_full(self, commune: str) -> bool:
        """Tell whether this turn reads no more of this commune: one that floods waits for its turn."""
        self._begin()
        return bool(self._held) or time.monotonic() >= self._until or self._floods(commune, self._held.get(commune, ()))

    def _floods(self, commune: str, line: Sized) -> bool:
        """Tell whether a commune submits much while others submit, and much of it waits."""
        return len(line) >= FLOOD_FROM and self._service.writer.takes_turns(commune)

    def has_place(self, commune: str) -> bool:
        """Tell whether one more of this commune may wait to be read; who has not spoken yet always may."""
        return not commune or self._count < HELD_MOST or len(self._held.get(commune, ())) < HELD_FEW

    def hold(self, connection: Connection) -> None:
        """Read what this connection holds in a later turn."""
        line = self._held.setdefault(connection.commune, deque())
        line.append(connection)
        self._count += 1
        self._begin()
        if self._pause is not None and not self._floods(connection.commune, line):
            self._pause.cancel()
            self._pause = None
            asyncio.get_running_loop().call_soon(self._go_on)

    def _begin(self) -> None:
        if not self._until:
            self._until = time.monotonic() + READING_SECONDS
            asyncio.get_running_loop().call_soon(self._go_on)

    def _go_on(self) -> None:
        self._pause = None
        if not self._held:
            self._until = 0.0
            return
        self._until = time.monotonic() + READING_SECONDS
        held, self._held = self._held, OrderedDict()
        enough: dict[str, deque[Connection]] = {}
        try:
            self._read(held, enough)
        finally:
            is_urgent = bool(held or self._held)
            held.update(enough)
            # What came meanwhile is last.
            for commune, line in self._held.items():
                held.setdefault(commune, deque()).extend(line)
            self._held = held
            loop = asyncio.get_running_loop()
            if is_urgent or not held:
                loop.call_soon(self._go_on)
            else:
                self._pause = loop.call_later(PAUSE_SECONDS, self._go_on)

    def _read(self, held: OrderedDict[str, deque[Connection]], enough: dict[str, deque[Connection]]) -> None:
        """Read of each commune in turn while there is time; what floods and has been read enough goes to `enough`."""
        read: Counter[str] = Counter()
        while held:
            commune, line = held.popitem(last=False)
            connection = line.popleft()
            if line:
                read[commune] += 1
                is_enough = read[commune] >= READ_OF_FLOOD and self._floods(commune, line)
                (enough if is_enough else held)[commune] = line
            self._count -= 1
            connection.read_held()
            if time.monotonic() >= self._until:
                break
