"""The slow path of a body that the fast one has refused: every fault of every event, and the events that have none.

A body is refused as *misshapen* if it breaks the published schema, as *oversize*, or as *invalid* if the fault depends
on the time or the credential: a time ahead of now, a source outside the credential's prefix.
"""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any, NamedTuple

from ingest import diagnosis
from ingest.shapes import NEED_RECIPIENTS, NO_SUBJECT, CloudEvent, fault_of_operation, needs_justification
from journal.core import faults
from journal.core.entry import EVENT_LIMIT_BYTES, MODULE_ACTIONS, OPERATIONS, SKEW, TYPE_PREFIX, Event
from journal.core.errors import InvalidEventError, MalformedError, MisshapenEventError, OversizeEventError
from journal.core.faults import Fault
from journal.core.times import normalise_time, parse_time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime

BATCH_LIMIT_EVENTS = 10_000
# Enough to correct what is wrong, and an answer of moderate size; the others are counted.
FAULTS_LIMIT = 1_000

_SHAPE = diagnosis.shape_of(CloudEvent)


class Faults:
    """Faults, of which the first FAULTS_LIMIT by position are kept, and all are counted."""

    def __init__(self) -> None:
        """Start with none."""
        self._kept: list[Fault] = []
        self.count = 0

    def extend(self, found: Iterable[Fault]) -> None:
        """Add faults."""
        for fault in found:
            self._kept.append(fault)
            self.count += 1
            if len(self._kept) >= 2 * FAULTS_LIMIT:
                self._kept = self.listed

    @property
    def listed(self) -> list[Fault]:
        """Return the first FAULTS_LIMIT, by position."""
        return sorted(self._kept, key=lambda fault: fault.position)[:FAULTS_LIMIT]

    @property
    def more(self) -> int:
        """Return how many are counted only."""
        return self.count - len(self.listed)

    def error(self) -> InvalidEventError:
        """Return the error to raise; faults that depend neither on the clock nor on size take precedence."""
        kinds = {fault.code.kind for fault in self._kept}
        kind: type[InvalidEventError] = InvalidEventError
        if "oversize" in kinds:
            kind = OversizeEventError
        if "misshapen" in kinds:
            kind = MisshapenEventError
        return kind(self.listed, more=self.more)


class Reading(NamedTuple):
    """What was read of a body: the sound events, the position of each in the batch, and the faults of the others."""

    events: Sequence[Event]
    positions: Sequence[int]
    faults: Faults


class Examination:
    """Examines what `diagnosis.parse` has read."""

    def __init__(self, now: datetime, source_prefix: str, read: Callable[[Any], Event | None]) -> None:
        """Examine at a time, for a credential; `read` gives the event of a value that has no fault."""
        self._latest = now + SKEW
        self._source_prefix = source_prefix
        self._read = read
        self._faults = Faults()
        self._events: list[Event] = []
        self._positions: list[int] = []

    def single(self, value: Any) -> Reading:
        """Examine what was sent as one event."""
        if isinstance(value, list):
            reason = "must be one event: send a list as application/cloudevents-batch+json"
            self._note(0, diagnosis.Fault("", faults.WRONG_TYPE, reason))
        else:
            self._examine(0, value)
        return self._reading()

    def batch(self, value: Any) -> Reading:
        """Examine a batch."""
        if isinstance(value, diagnosis.Fault):
            self._note(0, value)
        elif not isinstance(value, list):
            hint = ": send one event as application/cloudevents+json" if isinstance(value, dict) else ""
            self._note(0, diagnosis.Fault("", faults.WRONG_TYPE, f"must be a list{hint}"))
        elif len(value) > BATCH_LIMIT_EVENTS:
            reason = f"the batch holds more than {BATCH_LIMIT_EVENTS:,} events"
            self._note(BATCH_LIMIT_EVENTS, diagnosis.Fault("", faults.BATCH_TOO_LARGE, reason))
        else:
            for position, event in enumerate(value):
                self._examine(position, event)
        return self._reading()

    def _reading(self) -> Reading:
        return Reading(self._events, self._positions, self._faults)

    def _note(self, position: int, *found: diagnosis.Fault) -> None:
        self._faults.extend(Fault(position, *fault) for fault in found)

    def _examine(self, position: int, value: Any) -> None:
        """Note every fault of one event, or keep it."""
        found = list(self._faults_of(value))
        if not found:
            event = self._read(value)
            if event is not None and len(event.canonical) <= EVENT_LIMIT_BYTES:
                self._events.append(event)
                self._positions.append(position)
                return
            # What the fast path refuses twice stays refused, even if the slow path finds no fault.
            found = [diagnosis.Fault("", faults.MALFORMED, "cannot be read as an event")]
        self._note(position, *found)

    def _faults_of(self, event: Any) -> list[diagnosis.Fault]:
        if _compact_size(event) > EVENT_LIMIT_BYTES:
            reason = f"is larger than {EVENT_LIMIT_BYTES // 1024} KiB"
            return [diagnosis.Fault("", faults.EVENT_TOO_LARGE, reason)]
        found = diagnosis.check(event, _SHAPE)
        at_fault = {fault.pointer for fault in found}
        if isinstance(event, dict):
            found += [fault for fault in _contradictions(event) if fault.pointer not in at_fault]
            found += [fault for fault in self._circumstances(event) if fault.pointer not in at_fault]
        return found

    def _circumstances(self, event: dict[str, Any]) -> list[diagnosis.Fault]:
        """Return what only this moment and this credential refuse."""
        found: list[diagnosis.Fault] = []
        source, time = event.get("source"), event.get("time")
        if isinstance(source, str) and not source.startswith(self._source_prefix):
            reason = f"does not begin with {self._source_prefix}, the prefix of this credential"
            found.append(diagnosis.Fault("/source", faults.SOURCE_PREFIX, reason))
        if isinstance(time, str):
            with contextlib.suppress(MalformedError):  # which the shape's faults say
                if parse_time(normalise_time(time)) > self._latest:
                    reason = "is more than 5 minutes ahead of the service's clock"
                    found.append(diagnosis.Fault("/time", faults.TIME_AHEAD, reason))
        return found


def _contradictions(event: dict[str, Any]) -> list[diagnosis.Fault]:
    """Return the missing members that the event's action requires, and an operation that does not fit it."""
    kind, data = event.get("type"), event.get("data")
    action = kind.removeprefix(TYPE_PREFIX) if isinstance(kind, str) else ""
    if action not in MODULE_ACTIONS or not isinstance(data, dict):
        return []
    needs = [
        ("/subject", "subject" in event or action in NO_SUBJECT),
        ("/data/justification", "justification" in data or not needs_justification(action, data.get("outcome"))),
        ("/data/recipients", "recipients" in data or action not in NEED_RECIPIENTS),
    ]
    found = [diagnosis.Fault(pointer, faults.MISSING, f"is required for {action}") for pointer, met in needs if not met]
    operation = data.get("operation")
    if isinstance(operation, str) and operation in OPERATIONS:
        reason = fault_of_operation(action, operation, data.get("outcome"))
        found += [diagnosis.Fault("/data/operation", faults.OPERATION, reason)] if reason else []
    return found


def _compact_size(event: Any) -> int:
    """Return the size of an event in canonical form, or an estimate if it has none, in bytes."""
    if isinstance(event, dict) and isinstance(event.get("time"), str):
        with contextlib.suppress(MalformedError):  # reported by `_faults_of`
            event = {**event, "time": normalise_time(event["time"])}
    try:
        text = json.dumps(event, ensure_ascii=False, separators=(",", ":"), default=lambda _: 0)
    except RecursionError:
        return 0  # inside an unknown member, which `_faults_of` reports
    return len(text.encode("utf-8", "replace"))
