"""Events from bytes: decoded, checked, normalised; a pure function, the hot path of every submission.

The rules are in `shapes`; here is how they are held at a few microseconds an event. msgspec reads the whole
body into typed values in one pass, which settles kinds, lengths, required and unknown members. What it
cannot see is looked for in the canonical bytes: control characters show there as escapes, and members given
twice as colons of the body that the canonical bytes do not account for. Where this fast reading meets a
fault it gives up, and a slow one names every fault of the body.

A body is refused as *misshapen* for what its bytes show to anyone who has the published schema; as
*oversize*; or as merely *invalid* for what depends on the moment or on the credential: a time ahead of now,
a source outside the credential's prefix.
"""

from __future__ import annotations

import contextlib
import functools
import json
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import UNSET

from ingest import diagnosis
from ingest.shapes import (
    NEED_JUSTIFICATION,
    NEED_RECIPIENTS,
    NO_SUBJECT,
    CloudEvent,
    fault_of_field,
    fault_of_justification,
    fault_of_sequence,
    fault_of_source,
    fault_of_traceparent,
)
from journal.core.entry import EVENT_LIMIT_BYTES, MODULE_ACTIONS, SKEW, TYPE_PREFIX, Event
from journal.core.errors import InvalidEventError, MalformedError, MisshapenEventError, OversizeEventError
from journal.core.times import normalise_time

if TYPE_CHECKING:
    from collections.abc import Sequence

BATCH_LIMIT_EVENTS = 10_000
FAULTS_LIMIT = 10_000

_SINGLE = msgspec.json.Decoder(CloudEvent)
_BATCH = msgspec.json.Decoder(list[CloudEvent])
_ENCODER = msgspec.json.Encoder()
_SHAPE = diagnosis.shape_of(CloudEvent)
_PREFIX_LENGTH = len(TYPE_PREFIX)
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

# The usual spellings of RFC 3339; the others (lower-case letters, zones of broken hours) take longer.
_USUAL_TIME = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2})(:[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,6}))?(?:Z|([+-][0-9]{2}):00)"
).fullmatch
_ESCAPED_COLON = re.compile(rb"\\u003[aA]")
# The escapes that stand for control characters in canonical JSON (RFC 8785 section 3.2.2.2).
_CONTROL_ESCAPE = re.compile(rb"\\[bfnrtu]")


def decode_single(body: bytes, now: datetime, source_prefix: str) -> Event:
    """Read one event, at most EVENT_LIMIT_BYTES as sent and in canonical form; `now` is aware, in UTC.

    Raises MisshapenEventError, OversizeEventError or InvalidEventError, with every fault found.
    """
    found = _Faults(now, source_prefix)
    events = None
    if len(body) <= EVENT_LIMIT_BYTES:
        try:
            events = _accept([_SINGLE.decode(body)], body, now, source_prefix)
        except _UNREADABLE:
            events = None
        if events and len(events[0].canonical) <= EVENT_LIMIT_BYTES:
            return events[0]
    if events or len(body) > EVENT_LIMIT_BYTES:
        found.oversize(0)
    else:
        found.examine_single(diagnosis.parse(body))
    raise found.error()


def decode_batch(body: bytes, now: datetime, source_prefix: str) -> list[Event]:
    """Read 1 to BATCH_LIMIT_EVENTS events, each at most EVENT_LIMIT_BYTES in canonical form.

    Raises MisshapenEventError, OversizeEventError or InvalidEventError, with every fault found.
    """
    events = None
    if not diagnosis.is_costly(body):
        try:
            values = _BATCH.decode(body)
        except _UNREADABLE:
            values = []
        if 0 < len(values) <= BATCH_LIMIT_EVENTS:
            events = _accept(values, body, now, source_prefix)
    if events is None or max(len(event.canonical) for event in events) > EVENT_LIMIT_BYTES:
        found = _Faults(now, source_prefix)
        found.examine_batch(diagnosis.parse(body))
        raise found.error()
    return events


def _accept(values: Sequence[CloudEvent], body: bytes, now: datetime, source_prefix: str) -> list[Event] | None:
    """Check and normalise what msgspec has read; None at the first fault."""
    latest = now + SKEW
    sources: set[str] = set()
    fields: set[str] = set()
    events: list[Event] = []
    colons = 0
    for value in values:
        given, data, action = value.time, value.data, value.type[_PREFIX_LENGTH:]
        try:
            value.time, moment = _normalise(given)
        except MalformedError:
            return None
        canonical = _ENCODER.encode(value)
        colons += canonical.count(b":") + given.count(":") - 2
        if value.source not in sources:
            if fault_of_source(value.source) or not value.source.startswith(source_prefix):
                return None
            sources.add(value.source)
        if data.fields is not UNSET and not fields.issuperset(data.fields):
            if any(map(fault_of_field, data.fields)):
                return None
            fields.update(data.fields)
        if (
            moment > latest
            or _lacks(value, action)
            or (data.justification is not UNSET and fault_of_justification(data.justification))
            or (value.traceparent is not UNSET and fault_of_traceparent(value.traceparent))
            or (value.sequence is not UNSET and fault_of_sequence(value.sequence))
            or (b"\\" in canonical and _holds_control(canonical, data.justification))
        ):
            return None
        sequence = None if value.sequence is UNSET else int(value.sequence)
        events.append(Event(value.source, value.id, moment, action, canonical, sequence))
    # Every member has a colon, and so has every text as many as it was sent with, unless one was spelt
    # \u003a: a body with more colons than the canonical bytes holds a member that a later one replaced.
    exact = colons == body.count(b":") and not _ESCAPED_COLON.search(body)
    return events if exact or not diagnosis.repeats_a_member(body) else None


@functools.lru_cache(maxsize=1024)
def _in_utc(hour: str, zone_hours: str) -> str:
    """Move `YYYY-MM-DDTHH` by a zone of whole hours; ValueError or OverflowError if there is no such hour."""
    local = datetime.fromisoformat(f"{hour}:00{zone_hours}:00")
    return local.astimezone(UTC).isoformat()[:13]


def _normalise(text: str) -> tuple[str, datetime]:
    """Return a time in the one spelling, and as a datetime. Raises MalformedError."""
    match = _USUAL_TIME(text)
    if match is None:
        canonical = normalise_time(text)
        return canonical, datetime.fromisoformat(canonical)
    hour, rest, fraction, zone_hours = match.groups()
    try:
        if zone_hours is not None:
            hour = _in_utc(hour, zone_hours)
        canonical = f"{hour}{rest}.{fraction.ljust(6, '0') if fraction else '000000'}Z"
        return canonical, datetime.fromisoformat(canonical)
    except (ValueError, OverflowError) as error:
        raise MalformedError("not a time of the calendar") from error


def _lacks(value: CloudEvent, action: str) -> bool:
    """Tell whether a member is missing that this action requires."""
    return (
        (value.subject is UNSET and action not in NO_SUBJECT)
        or (value.data.justification is UNSET and action in NEED_JUSTIFICATION)
        or (value.data.recipients is UNSET and action in NEED_RECIPIENTS)
    )


def _holds_control(canonical: bytes, justification: str | msgspec.UnsetType) -> bool:
    """Tell whether the event holds a control character where none may be."""
    escapes = _CONTROL_ESCAPE.findall(canonical.replace(rb"\\", b""))
    if not escapes:
        return False  # quotation marks and backslashes alone
    allowed = 0 if justification is UNSET else sum(justification.count(mark) for mark in "\t\n\r")
    return len(escapes) != allowed


class _Faults:
    """Everything wrong with a body, sorted by what kind of error it makes."""

    def __init__(self, now: datetime, source_prefix: str) -> None:
        self._latest = now + SKEW
        self._source_prefix = source_prefix
        self._misshapen: list[tuple[int, str, str]] = []
        self._oversize: list[tuple[int, str, str]] = []
        self._invalid: list[tuple[int, str, str]] = []

    def error(self) -> InvalidEventError:
        """Return the error to raise: what can be said without a clock comes first."""
        kind: type[InvalidEventError] = InvalidEventError
        if self._oversize:
            kind = OversizeEventError
        if self._misshapen:
            kind = MisshapenEventError
        faults = sorted(self._misshapen + self._oversize + self._invalid, key=lambda fault: fault[0])
        # The fast reading refused the body: it stays refused, also where this one finds nothing to blame.
        return kind(faults[:FAULTS_LIMIT] or [(0, "", "cannot be read as an event")])

    def oversize(self, position: int, reason: str = f"is larger than {EVENT_LIMIT_BYTES // 1024} KiB") -> None:
        """Note an event, or a batch, that is too large."""
        self._oversize.append((position, "", reason))

    def examine_single(self, value: Any) -> None:
        """Note every fault of what was sent as one event."""
        if isinstance(value, list):
            self._misshapen.append((0, "", "must be one event: send a list as application/cloudevents-batch+json"))
        else:
            self.examine(0, value)

    def examine_batch(self, value: Any) -> None:
        """Note every fault of a parsed batch."""
        if isinstance(value, diagnosis.Fault):
            self._misshapen.append((0, *value))
        elif not isinstance(value, list):
            hint = ": send one event as application/cloudevents+json" if isinstance(value, dict) else ""
            self._misshapen.append((0, "", f"must be a list{hint}"))
        elif not value:
            self._misshapen.append((0, "", "the batch is empty"))
        elif len(value) > BATCH_LIMIT_EVENTS:
            self.oversize(BATCH_LIMIT_EVENTS, f"the batch holds more than {BATCH_LIMIT_EVENTS:,} events")
        else:
            for position, event in enumerate(value):
                if len(self._misshapen) >= FAULTS_LIMIT:
                    break  # enough to correct; the list must not outgrow the body
                if _compact_size(event) > EVENT_LIMIT_BYTES:
                    self.oversize(position)
                else:
                    self.examine(position, event)

    def examine(self, position: int, event: Any) -> None:
        """Note every fault of one parsed event."""
        faults = diagnosis.check(event, _SHAPE)
        at_fault = {fault.pointer for fault in faults}
        if isinstance(event, dict):
            faults += [fault for fault in _missing(event) if fault.pointer not in at_fault]
            self._examine_circumstances(position, event, at_fault)
        self._misshapen.extend((position, *fault) for fault in faults)

    def _examine_circumstances(self, position: int, event: dict[str, Any], at_fault: set[str]) -> None:
        source, time = event.get("source"), event.get("time")
        if isinstance(source, str) and "/source" not in at_fault and not source.startswith(self._source_prefix):
            self._invalid.append(
                (position, "/source", f"does not begin with {self._source_prefix}, as this credential's must")
            )
        if isinstance(time, str) and "/time" not in at_fault and _normalise(time)[1] > self._latest:
            self._invalid.append((position, "/time", "is more than 5 minutes ahead of the service's clock"))


def _missing(event: dict[str, Any]) -> list[diagnosis.Fault]:
    """List the members that the event's action requires and that are not there."""
    kind, data = event.get("type"), event.get("data")
    action = kind.removeprefix(TYPE_PREFIX) if isinstance(kind, str) else ""
    if action not in MODULE_ACTIONS or not isinstance(data, dict):
        return []
    needs = [
        ("/subject", "subject" in event or action in NO_SUBJECT),
        ("/data/justification", "justification" in data or action not in NEED_JUSTIFICATION),
        ("/data/recipients", "recipients" in data or action not in NEED_RECIPIENTS),
    ]
    return [diagnosis.Fault(pointer, f"is required for {action}") for pointer, met in needs if not met]


def _compact_size(event: Any) -> int:
    """Return the bytes an event takes in canonical form, or about that where it has none."""
    if isinstance(event, dict) and isinstance(event.get("time"), str):
        with contextlib.suppress(MalformedError):  # named by `examine`
            event = {**event, "time": _normalise(event["time"])[0]}
    try:
        text = json.dumps(event, ensure_ascii=False, separators=(",", ":"), default=lambda _: 0)
    except RecursionError:
        return 0  # within a member that `examine` does not know
    return len(text.encode("utf-8", "replace"))
