"""What waits to be appended, and the bounded, fair queue it waits in."""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from journal.errors import BusyError, KnownEventError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence
    from datetime import date

    from journal.chain import Receipt
    from journal.entry import Compartment, Event

OVERLOAD_RETRY_SECONDS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one event: its receipt, and whether this very submission recorded it."""

    receipt: Receipt
    created: bool


@dataclass(slots=True, kw_only=True, eq=False)
class Submission:
    """Events of one request, recorded whole or not at all.

    `events`, `keys` and `since` hold each distinct event once; `places[i]` is where the caller's event i
    stands among them. `known` gathers receipts of those found to be recorded already.
    """

    compartment: Compartment
    submitted_by: str
    events: list[Event]
    keys: list[bytes]
    since: list[date]
    places: list[int]
    size_bytes: int
    known: dict[int, Receipt] = field(default_factory=dict)
    future: asyncio.Future[list[Outcome]]

    def pending(self) -> list[int]:
        """Return the ordinals of the events still to be appended."""
        if not self.known:
            return list(range(len(self.events)))
        return [ordinal for ordinal in range(len(self.events)) if ordinal not in self.known]

    def position_of(self, ordinal: int) -> int:
        """Return the caller's position of a distinct event (of its first copy)."""
        return self.places.index(ordinal)

    def settle(self, created: dict[int, Receipt]) -> None:
        """Hand the receipts over; a caller that has gone away is no fault."""
        if self.future.done():
            return
        by_ordinal = [
            Outcome(receipt=self.known[ordinal], created=False)
            if ordinal in self.known
            else Outcome(receipt=created[ordinal], created=True)
            for ordinal in range(len(self.events))
        ]
        self.future.set_result([by_ordinal[ordinal] for ordinal in self.places])

    def fail(self, error: Exception) -> None:
        """Hand the failure over."""
        if not self.future.done():
            self.future.set_exception(error)


def distinct_events(events: Sequence[Event]) -> tuple[list[Event], list[int]]:
    """Return the distinct events by (source, id), and each given event's place among them.

    Raises KnownEventError naming every position whose (source, id) came earlier with other content.
    """
    first: dict[tuple[str, str], int] = {}
    distinct: list[Event] = []
    places: list[int] = []
    faults: list[tuple[int, str, str]] = []
    for position, event in enumerate(events):
        place = first.setdefault((event.source, event.id), len(distinct))
        if place == len(distinct):
            distinct.append(event)
        elif distinct[place].canonical != event.canonical:
            earlier = places.index(place)
            faults.append(
                (position, "/id", f"same source and id as event {earlier} of this batch, other content")
            )
        places.append(place)
    if faults:
        raise KnownEventError(faults)
    return distinct, places


class FairQueue:
    """Submissions by tenant, served in turn; bounded in events and in bytes.

    One tenant may fill at most half of it, so that its flood leaves room for the others.
    """

    def __init__(self, *, max_events: int, max_bytes: int) -> None:
        """Bound the whole queue."""
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._waiting: OrderedDict[str, deque[Submission]] = OrderedDict()
        self._tenant_events: dict[str, int] = {}
        self.events = 0
        self.bytes = 0

    def put(self, submission: Submission) -> None:
        """Add at the end of its tenant's line. Raises BusyError where it does not fit."""
        tenant, count = submission.compartment.tenant, len(submission.events)
        of_tenant = self._tenant_events.get(tenant, 0)
        if (
            self.events + count > self._max_events
            or self.bytes + submission.size_bytes > self._max_bytes
            # A tenant with nothing waiting may always bring one batch, whatever its size.
            or (of_tenant and of_tenant + count > self._max_events // 2)
        ):
            raise BusyError(
                "too many events are waiting to be written", retry_after_seconds=OVERLOAD_RETRY_SECONDS
            )
        self._waiting.setdefault(tenant, deque()).append(submission)
        self._tenant_events[tenant] = of_tenant + count
        self.events += count
        self.bytes += submission.size_bytes

    def take(self, max_events: int | None) -> Submission | None:
        """Remove the next tenant's first submission; None where none has at most `max_events` (if given)."""
        for tenant, line in self._waiting.items():
            if max_events is not None and len(line[0].events) > max_events:
                continue
            submission = line.popleft()
            self._waiting.move_to_end(tenant)
            self._tenant_events[tenant] -= len(submission.events)
            if not line:
                del self._waiting[tenant], self._tenant_events[tenant]
            self.events -= len(submission.events)
            self.bytes -= submission.size_bytes
            return submission
        return None
