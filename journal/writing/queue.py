"""Submissions, and the bounded, fair queue in which they wait to be appended."""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from datetime import date
from math import inf
from typing import TYPE_CHECKING

from journal.core.entry import SKEW
from journal.core.errors import BusyError, KnownEventError, OversizeEventError
from journal.core.faults import BATCH_TOO_LARGE, BODY_TOO_LARGE, ID_REUSED, Fault
from journal.core.times import day_of

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Container, Sequence
    from datetime import datetime

    from journal.core.entry import Compartment, Event
    from journal.core.receipt import Members
    from journal.writing.answers import Answer

OVERLOAD_RETRY_SECONDS = 2
# What a commune may submit before it counts as heavy: a busy day's rate, and a small batch.
LIGHT_EVENTS_PER_SECOND = 500
LIGHT_BURST_EVENTS = 500
# With more requests that wait at once it is heavy too: where the machine is slow, no rate tells who floods it.
LIGHT_WAITING_SUBMISSIONS = 100
# Once heavy, for so long at least.
HEAVY_SECONDS = 2


@dataclass(slots=True, kw_only=True, eq=False)
class Submission:
    """The events of one request, recorded all or none.

    `events` and `keys` hold each distinct event once; `places[i]` is the position of the caller's event i among them.
    `known` collects the receipts of events that were recorded already.
    """

    compartment: Compartment
    submitted_by: str
    events: list[Event]
    keys: list[bytes]
    places: list[int]
    size_bytes: int
    known: dict[int, Members] = field(default_factory=dict)
    future: asyncio.Future[Answer]
    # Where it is noted until it is answered.
    waits_among: set[Submission] = field(default_factory=set)
    # The day of all its events, if nothing is unusual about them; None before it is computed.
    _usual: date | None = None
    _since: list[date] | None = None

    @property
    def since(self) -> list[date]:
        """The day from which on each event may have been recorded."""
        if self._since is None:
            self._since = [day_of(event.time - SKEW) for event in self.events]
        return self._since

    def is_usual_on(self, day: date) -> bool:
        """Tell whether no event may have been recorded before this day, is of another one, or has a number."""
        if self._usual is None:
            times = [event.time for event in self.events]
            first, last = day_of(min(times) - SKEW), max(times).date()
            numbered = any(event.sequence is not None for event in self.events)
            self._usual = first if first == last and not numbered else date.min
        return self._usual == day

    def pending(self) -> list[int]:
        """Return the ordinals of the events still to be appended."""
        if not self.known:
            return list(range(len(self.events)))
        return [ordinal for ordinal in range(len(self.events)) if ordinal not in self.known]

    def first_positions(self) -> dict[int, int]:
        """Return, by ordinal, the caller's position of the first copy of each distinct event."""
        positions: dict[int, int] = {}
        for position, ordinal in enumerate(self.places):
            positions.setdefault(ordinal, position)
        return positions

    def receipts(self, created: dict[int, Members]) -> list[Members]:
        """Return the receipt of each of the caller's events, in order; `created` are of those just recorded."""
        by_ordinal = {**created, **self.known} if self.known else created
        return [by_ordinal[ordinal] for ordinal in self.places]

    def known_positions(self) -> set[int]:
        """Return the positions of the caller's events that were recorded already."""
        if not self.known:
            return set()
        return {position for position, ordinal in enumerate(self.places) if ordinal in self.known}

    def answer(self, answer: Answer) -> None:
        """Give the caller its answer, unless it was told something else."""
        self.waits_among.discard(self)
        if not self.future.done():
            self.future.set_result(answer)

    def fail(self, error: Exception) -> None:
        """Give the caller an error, unless it was told something else."""
        self.waits_among.discard(self)
        if not self.future.done():
            self.future.set_exception(error)


def distinct_events(events: Sequence[Event]) -> tuple[list[Event], list[int]]:
    """Return the distinct events by (source, id, time), and each given event's place among them.

    Raises KnownEventError naming every position whose (source, id, time) occurs earlier with other content.
    """
    first: dict[tuple[str, str, datetime], int] = {}
    distinct: list[Event] = []
    positions: list[int] = []  # of the first copies
    places: list[int] = []
    found: list[Fault] = []
    for position, event in enumerate(events):
        place = first.setdefault((event.source, event.id, event.time), len(distinct))
        if place == len(distinct):
            distinct.append(event)
            positions.append(position)
        elif distinct[place].canonical != event.canonical:
            earlier = positions[place]
            reason = f"same source, id and time as event {earlier} of this batch, other content"
            found.append(Fault(position, "/id", ID_REUSED, reason))
        places.append(place)
    if found:
        raise KnownEventError(found)
    return distinct, places


class _Line:
    """The waiting submissions of one tenant, in order."""

    __slots__ = ("bytes", "events", "submissions")

    def __init__(self) -> None:
        self.submissions: deque[Submission] = deque()
        self.events = 0
        self.bytes = 0


class _Pace:
    """How fast a tenant submits: a bucket of events that time fills."""

    __slots__ = ("at", "events")

    def __init__(self, now: float) -> None:
        self.at = now
        self.events = float(LIGHT_BURST_EVENTS)

    def count(self, events: int, now: float, *, crowded: bool) -> bool:
        """Count a submission; tell whether its tenant is heavy, as it is where its submissions crowd the queue."""
        filled = self.events + (now - self.at) * LIGHT_EVENTS_PER_SECOND
        left = -inf if crowded else min(LIGHT_BURST_EVENTS, filled) - events
        self.at = now
        self.events = max(left, -HEAVY_SECONDS * LIGHT_EVENTS_PER_SECOND)
        return left < 0


class FairQueue:
    """Submissions by tenant, taken from the tenants in turn; bounded in events and in bytes.

    One tenant may fill at most half of the queue, which leaves room for the others. Tenants that submit much in little
    time, or have much waiting, are heavy: they are taken apart from the others, who need not wait until what is heavy
    is written.
    """

    def __init__(self, *, max_events: int, max_bytes: int) -> None:
        """Set the bounds of the whole queue."""
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._lines: OrderedDict[str, _Line] = OrderedDict()
        self._paces: dict[str, _Pace] = {}
        self._heavy: set[str] = set()
        self.events = 0
        self.bytes = 0

    def put(self, submission: Submission) -> bool:
        """Add a submission at the end of its tenant's line; tell whether the tenant is heavy now.

        Raises BusyError if it does not fit, OversizeEventError if it never will.
        """
        events, size = len(submission.events), submission.size_bytes
        if events > self._max_events:
            reason = f"the batch holds more than {self._max_events:,} events, which is all that this service takes"
            raise OversizeEventError([Fault(0, "", BATCH_TOO_LARGE, reason)])
        if size > self._max_bytes:
            reason = f"the batch is larger than {self._max_bytes:,} bytes, which is all that this service takes"
            raise OversizeEventError([Fault(0, "", BODY_TOO_LARGE, reason)])
        line = self._lines.get(submission.compartment.tenant)
        if (
            self.events + events > self._max_events
            or self.bytes + size > self._max_bytes
            # A tenant with nothing waiting may always add one batch, of any size.
            or (
                line is not None
                and (line.events + events > self._max_events // 2 or line.bytes + size > self._max_bytes // 2)
            )
        ):
            raise BusyError("too many events are waiting to be written", retry_after_seconds=OVERLOAD_RETRY_SECONDS)
        waiting = self._enter(submission)
        waiting.append(submission)
        crowded = len(waiting) > LIGHT_WAITING_SUBMISSIONS
        return self._weigh(submission.compartment.tenant, events, crowded=crowded)

    def put_back(self, submission: Submission) -> None:
        """Put a submission back at the front of its tenant's line, without giving the tenant another turn."""
        self._enter(submission).appendleft(submission)

    def burden(self, tenant: str) -> None:
        """Have a tenant count as heavy for a while: much of it waits elsewhere."""
        self._weigh(tenant, 0, crowded=True)

    def is_heavy(self, tenant: str) -> bool:
        """Tell whether a tenant counted as heavy when it last submitted."""
        return tenant in self._heavy

    def has(self, *, heavy: bool) -> bool:
        """Tell whether a heavy tenant, or one that is not, waits."""
        return any((tenant in self._heavy) is heavy for tenant in self._lines)

    def take(self, max_events: int | None, passing_over: Container[str] = (), *, heavy: bool) -> Submission | None:
        """Take the next tenant's first submission, of at most `max_events` if given; None if there is none.

        Only heavy tenants, or only the others, have a turn.
        """
        for tenant, line in self._lines.items():
            if (tenant in self._heavy) is not heavy or tenant in passing_over:
                continue
            if max_events is not None and len(line.submissions[0].events) > max_events:
                continue
            submission = line.submissions.popleft()
            self._count(line, submission, -1)
            self._lines.move_to_end(tenant)
            if not line.submissions:
                del self._lines[tenant]
            return submission
        return None

    def _weigh(self, tenant: str, events: int, *, crowded: bool) -> bool:
        now = time.monotonic()
        pace = self._paces.get(tenant)
        if pace is None:
            pace = self._paces[tenant] = _Pace(now)
        if is_heavy := pace.count(events, now, crowded=crowded):
            self._heavy.add(tenant)
        else:
            self._heavy.discard(tenant)
        return is_heavy

    def _enter(self, submission: Submission) -> deque[Submission]:
        line = self._lines.get(submission.compartment.tenant)
        if line is None:
            line = self._lines[submission.compartment.tenant] = _Line()
        self._count(line, submission, 1)
        return line.submissions

    def _count(self, line: _Line, submission: Submission, sign: int) -> None:
        events, size = sign * len(submission.events), sign * submission.size_bytes
        line.events += events
        line.bytes += size
        self.events += events
        self.bytes += size
