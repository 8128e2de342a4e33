"""Which connections are read in a turn of the event loop, and which wait for a later one: communes in turn."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, OrderedDict, deque
from typing import TYPE_CHECKING, Final

from ingest.connections import PROXY
from journal.writing.writer import RECENT_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Sized

    from ingest.server import Connection

# How long a turn of the event loop reads new requests: the writer, which needs several turns for an append, and what
# keeps the credentials fresh have the rest.
READING_SECONDS: Final = 0.005
# A commune of which so many wait, and so many times as many as of another that submits, floods. Few of it are read at a
# time, and only so often that this process uses no more than this share of a processor: the others find turns that are
# short, and a machine that is free. Where all have as many waiting, there is nobody to keep it free for.
FLOOD_FROM: Final = 16
FLOOD_TIMES: Final = 4
READ_OF_FLOOD: Final = 2
FLOOD_SHARE: Final = 0.2
PAUSE_SECONDS: Final = 0.002
# Where the others alone use more than that, it is read as often as this: connections that have not spoken yet, 2,048 of
# an address, have their turn well before they would be closed as idle (KEEPALIVE_SECONDS).
PAUSE_MOST_SECONDS: Final = 0.02
# So many that submit are remembered: among a few there is soon one that has little waiting.
RECENT_KEPT: Final = 8
# Begins the name of who has not spoken yet: the address follows. No commune's code begins so.
UNKNOWN: Final = "@"
# So many connections wait to be read, and of a commune these few in any case: a second or so. What comes beyond is
# read at once and refused, so that nobody waits for longer than he asked to, without a word.
HELD_MOST: Final = 512
HELD_FEW: Final = 64


class Readers:
    """Connections that have brought a request: each turn of the event loop reads as many as there is time for.

    They are read in turn for each speaker, which is the commune that they last spoke for, else where they come from:
    one that floods keeps no other waiting.
    """

    def __init__(self, burden: Callable[[str], None], serves_others: Callable[[], bool]) -> None:
        """Begin with a turn that has read nothing.

        `burden` is told of each commune that floods; `serves_others` tells whether another waits for an answer.
        """
        self._burden = burden
        self._serves_others = serves_others
        self._held: OrderedDict[str, deque[Connection]] = OrderedDict()
        self._count = 0
        self._until = 0.0
        self._pause: asyncio.TimerHandle | None = None
        # The communes that were read last: when, and the most that waited of each for a while, which began when.
        self._recent: OrderedDict[str, tuple[float, int, float]] = OrderedDict()
        # When what floods is read again; when it was last, and what this process had used of processors by then.
        self._flood_at = 0.0
        self._last = 0.0, 0.0

    def is_full(self, speaker: str) -> bool:
        """Tell whether this turn reads no more of a speaker."""
        self._begin()
        now = time.monotonic()
        if self._held or now >= self._until:
            return True
        self._note(speaker, 1, now)
        return False

    def has_place(self, speaker: str) -> bool:
        """Tell whether one more of this speaker may wait to be read; who has not spoken yet always may."""
        return speaker.startswith(UNKNOWN) or self._count < HELD_MOST or len(self._held.get(speaker, ())) < HELD_FEW

    def hold(self, connection: Connection) -> None:
        """Read what this connection holds in a later turn."""
        line = self._held.setdefault(connection.speaker, deque())
        line.append(connection)
        self._count += 1
        self._begin()
        if self._pause is not None and not self._floods(connection.speaker, line):
            self._pause.cancel()
            self._pause = None
            asyncio.get_running_loop().call_soon(self._go_on)

    def _floods(self, speaker: str, line: Sized) -> bool:
        """Tell whether many times as much of a speaker waits as of another; a proxy speaks for many."""
        waiting = len(line)
        if waiting < FLOOD_FROM or speaker == UNKNOWN + PROXY:
            return False
        since = time.monotonic() - RECENT_SECONDS
        return any(
            other != speaker and at > since and FLOOD_TIMES * most <= waiting
            for other, (at, most, _) in self._recent.items()
        )

    def _note(self, speaker: str, waiting: int, now: float) -> None:
        """Remember that so many of a commune wait, of which one is read."""
        if speaker.startswith(UNKNOWN):
            return
        _, most, begun = self._recent.get(speaker, (now, 0, now))
        if now - begun > RECENT_SECONDS:
            most, begun = 0, now
        self._recent[speaker] = now, max(most, waiting), begun
        self._recent.move_to_end(speaker)
        if len(self._recent) > RECENT_KEPT:
            self._recent.popitem(last=False)

    def _begin(self) -> None:
        if not self._until:
            self._until = time.monotonic() + READING_SECONDS
            asyncio.get_running_loop().call_soon(self._go_on)

    def _go_on(self) -> None:
        self._pause = None
        if not self._held:
            self._until = 0.0
            return
        now = time.monotonic()
        self._until = now + READING_SECONDS
        held, self._held = self._held, OrderedDict()
        later: dict[str, deque[Connection]] = {}
        most = READ_OF_FLOOD if self._is_due(now) else 0
        try:
            self._read(held, later, most)
        finally:
            is_urgent = bool(held or self._held)
            if later and most:
                self._put_off_flood()
            held.update(later)
            # What came meanwhile is last.
            for speaker, line in self._held.items():
                held.setdefault(speaker, deque()).extend(line)
            self._held = held
            loop = asyncio.get_running_loop()
            if is_urgent or not held:
                loop.call_soon(self._go_on)
            else:
                self._pause = loop.call_later(max(0, self._flood_at - time.monotonic()), self._go_on)

    def _read(self, held: OrderedDict[str, deque[Connection]], later: dict[str, deque[Connection]], most: int) -> None:
        """Read of each speaker in turn while there is time; of one that floods so many, the rest goes to `later`."""
        read: Counter[str] = Counter()
        while held:
            speaker, line = held.popitem(last=False)
            self._note(speaker, len(line), time.monotonic())
            if self._floods(speaker, line):
                if read[speaker] == most:
                    if not speaker.startswith(UNKNOWN):
                        self._burden(speaker)
                    later[speaker] = line
                    continue
                read[speaker] += 1
            connection = line.popleft()
            if line:
                held[speaker] = line
            self._count -= 1
            connection.read_held()
            if time.monotonic() >= self._until:
                break

    def _is_due(self, now: float) -> bool:
        """Tell whether what floods is read now: not before an answer that another waits for, unless it takes long."""
        if now < self._flood_at:
            return False
        if now >= self._last[0] + PAUSE_MOST_SECONDS or not self._serves_others():
            return True
        self._flood_at = now + PAUSE_SECONDS
        return False

    def _put_off_flood(self) -> None:
        """Read what floods again once this process has used no more than its share since the last time."""
        now, used = time.monotonic(), time.process_time()
        before, used_before = self._last
        due = before + (used - used_before) / FLOOD_SHARE
        self._flood_at = min(max(due, now + PAUSE_SECONDS), now + PAUSE_MOST_SECONDS)
        self._last = now, used
