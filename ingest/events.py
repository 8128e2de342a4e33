"""Events from bytes: decoded, checked, normalised; pure functions, the hot path of every submission.

The rules are in `shapes`; this module checks them in a few microseconds per event. msgspec decodes the whole body into
typed values in one pass, which checks types, lengths, required and unknown members. The rest is checked on the
canonical bytes: a control character appears there as an escape, and a duplicate member as a colon of the body that the
canonical bytes lack. At the first fault, or an unusual spelling (`spellings`), this fast path gives up; a slow one
lists every fault of the body, or spells it as the fast one reads it.

A body is refused as *misshapen* if it breaks the published schema, as *oversize*, or as *invalid* if the fault depends
on the time or the credential: a time ahead of now, a source outside the credential's prefix.
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

from ingest import diagnosis, spellings
from ingest.shapes import (
    NEED_RECIPIENTS,
    NO_SUBJECT,
    CloudEvent,
    fault_of_act,
    fault_of_day,
    fault_of_field,
    fault_of_justification,
    fault_of_name,
    fault_of_operation,
    fault_of_sequence,
    fault_of_source,
    fault_of_traceparent,
    fault_of_tracestate,
    needs_justification,
)
from journal.core.entry import EVENT_LIMIT_BYTES, MODULE_ACTIONS, OPERATIONS, SKEW, TYPE_PREFIX, Event
from journal.core.errors import InvalidEventError, MalformedError, MisshapenEventError, OversizeEventError
from journal.core.times import normalise_time
from journal.extract.table import UNSEEN

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# White space and escapes are free, up to here.
SINGLE_LIMIT_BYTES = 4 * EVENT_LIMIT_BYTES
BATCH_LIMIT_EVENTS = 10_000
FAULTS_LIMIT = 10_000

_SINGLE = msgspec.json.Decoder(CloudEvent)
_BATCH = msgspec.json.Decoder(list[CloudEvent])
_ENCODER = msgspec.json.Encoder()
_SHAPE = diagnosis.shape_of(CloudEvent)
_PREFIX_LENGTH = len(TYPE_PREFIX)
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

# The usual spellings of RFC 3339; others (lower-case letters, zones with minutes) take the slow path.
_USUAL_TIME = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2})(:[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,6}))?(?:Z|([+-][0-9]{2}):00)"
).fullmatch
_ESCAPED_COLON = re.compile(rb"\\u003[aA]")
# What may be a blank text, or hold what is not seen: the texts themselves are then looked at.
_MAYBE_BLANK = re.compile(r'"\s').search
_MAYBE_UNSEEN = re.compile(f"[{UNSEEN}]").search
# The escapes that stand for control characters in canonical JSON (RFC 8785 section 3.2.2.2).
_CONTROL_ESCAPE = re.compile(rb"\\[bfnrtu]")


def decode_single(body: bytes, now: datetime, source_prefix: str) -> Event:
    """Decode one event, at most EVENT_LIMIT_BYTES in canonical form; `now` is aware, in UTC.

    Raises MisshapenEventError, OversizeEventError or InvalidEventError, with every fault found.
    """
    events = _read_single(body, now, source_prefix)
    if events and len(events[0].canonical) <= EVENT_LIMIT_BYTES:
        return events[0]
    found = _Faults(now, source_prefix)
    value = spellings.plain_event(diagnosis.parse(body))
    found.examine_single(value)
    if found.is_empty and (events := _read_single(_spell(value), now, source_prefix)):
        return events[0]
    raise found.error()


def _read_single(body: bytes, now: datetime, source_prefix: str) -> list[Event] | None:
    try:
        return _accept([_SINGLE.decode(body)], body, now, source_prefix)
    except _UNREADABLE:
        return None


def decode_batch(body: bytes, now: datetime, source_prefix: str) -> list[Event]:
    """Decode at most BATCH_LIMIT_EVENTS events, each at most EVENT_LIMIT_BYTES in canonical form.

    Raises MisshapenEventError, OversizeEventError or InvalidEventError, with every fault found.
    """
    events = None if diagnosis.is_costly(body) else _read_batch(body, now, source_prefix)
    if events is not None and max((len(event.canonical) for event in events), default=0) <= EVENT_LIMIT_BYTES:
        return events
    found = _Faults(now, source_prefix)
    value = diagnosis.parse(body)
    if isinstance(value, list):
        value = [spellings.plain_event(event) for event in value]
    found.examine_batch(value)
    if found.is_empty and (events := _read_batch(_spell(value), now, source_prefix)):
        return events
    raise found.error()


def _read_batch(body: bytes, now: datetime, source_prefix: str) -> list[Event] | None:
    try:
        values = _BATCH.decode(body)
    except _UNREADABLE:
        return None
    return _accept(values, body, now, source_prefix) if len(values) <= BATCH_LIMIT_EVENTS else None


def _spell(value: Any) -> bytes:
    """Spell what `diagnosis.parse` has read, and in which it found no fault."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _accept(values: Sequence[CloudEvent], body: bytes, now: datetime, source_prefix: str) -> list[Event] | None:
    """Check and normalise what msgspec has decoded; None at the first fault."""
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
            or (data.operation is not UNSET and fault_of_operation(action, data.operation, data.outcome))
            or (data.act is not UNSET and fault_of_act(data.act))
            or (data.count == 0 and diagnosis.holds_minus_zero(body))
            or (data.authorisation is not UNSET and fault_of_day(data.authorisation.date))
            or (value.traceparent is not UNSET and fault_of_traceparent(value.traceparent))
            or (value.tracestate is not UNSET and fault_of_tracestate(value.tracestate))
            or (value.sequence is not UNSET and fault_of_sequence(value.sequence))
            or (b"\\" in canonical and _holds_control(canonical, data.justification))
            or _is_unclear(value, canonical)
        ):
            return None
        sequence = None if value.sequence is UNSET else int(value.sequence)
        epoch = "" if value.epoch is UNSET else value.epoch
        events.append(Event(value.source, value.id, moment, action, canonical, sequence, epoch))
    # Each member has one colon, and each text as many as it was sent with, unless a colon was written \u003a:
    # a body with more colons than the canonical bytes has a duplicate member.
    exact = colons == body.count(b":") and not _ESCAPED_COLON.search(body)
    return events if exact or not diagnosis.repeats_a_member(body) else None


@functools.lru_cache(maxsize=1024)
def _in_utc(hour: str, zone_hours: str) -> str:
    """Convert `YYYY-MM-DDTHH` from a zone of whole hours to UTC; ValueError or OverflowError if impossible."""
    local = datetime.fromisoformat(f"{hour}:00{zone_hours}:00")
    return local.astimezone(UTC).isoformat()[:13]


def _normalise(text: str) -> tuple[str, datetime]:
    """Return a time in its canonical spelling and as a datetime. Raises MalformedError."""
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
        raise MalformedError("not an existing date and time") from error


def _lacks(value: CloudEvent, action: str) -> bool:
    """Return whether a member that this action requires is missing."""
    return (
        (value.subject is UNSET and action not in NO_SUBJECT)
        or (value.data.justification is UNSET and needs_justification(action, value.data.outcome))
        or (value.data.recipients is UNSET and action in NEED_RECIPIENTS)
    )


def _is_unclear(value: CloudEvent, canonical: bytes) -> bool:
    """Return whether a text is not in its one form, or a name is blank or holds what is not seen."""
    if canonical.isascii():
        is_plain = b'" ' not in canonical and b"\x7f" not in canonical
    else:
        text = canonical.decode()
        if not spellings.is_one_form(text):
            return True
        is_plain = not _MAYBE_BLANK(text) and not _MAYBE_UNSEEN(text)
    return not is_plain and any(map(fault_of_name, _names(value)))


def _names(value: CloudEvent) -> Iterator[str]:
    """Yield every text of an event that names somebody or something."""
    data, actor, client = value.data, value.data.actor, value.data.client
    given = data.authorisation
    texts = [value.id, value.subject, value.epoch, actor.account, actor.name, actor.role, actor.unit]
    if client is not UNSET:
        texts += [client.address, client.session, client.workstation]
    if given is not UNSET:
        texts += [given.issuer, given.reference]
    if data.recipients is not UNSET:
        texts += data.recipients
    yield from (text for text in texts if text is not UNSET)


def _holds_control(canonical: bytes, justification: str | msgspec.UnsetType) -> bool:
    """Return whether the event holds a control character where none is allowed."""
    escapes = _CONTROL_ESCAPE.findall(canonical.replace(rb"\\", b""))
    if not escapes:
        return False  # only quotation marks and backslashes were escaped
    allowed = 0 if justification is UNSET else sum(justification.count(mark) for mark in "\t\n\r")
    return len(escapes) != allowed


class _Faults:
    """The faults of a body, by the kind of error they raise."""

    def __init__(self, now: datetime, source_prefix: str) -> None:
        self._latest = now + SKEW
        self._source_prefix = source_prefix
        self._misshapen: list[tuple[int, str, str]] = []
        self._oversize: list[tuple[int, str, str]] = []
        self._invalid: list[tuple[int, str, str]] = []

    @property
    def is_empty(self) -> bool:
        """Whether no fault was found."""
        return not (self._misshapen or self._oversize or self._invalid)

    def error(self) -> InvalidEventError:
        """Return the error to raise; faults that do not depend on the clock take precedence."""
        kind: type[InvalidEventError] = InvalidEventError
        if self._oversize:
            kind = OversizeEventError
        if self._misshapen:
            kind = MisshapenEventError
        faults = sorted(self._misshapen + self._oversize + self._invalid, key=lambda fault: fault[0])
        # What the fast path refuses twice stays refused, even if the slow path finds no fault.
        return kind(faults[:FAULTS_LIMIT] or [(0, "", "cannot be read as an event")])

    def oversize(self, position: int, reason: str = f"is larger than {EVENT_LIMIT_BYTES // 1024} KiB") -> None:
        """Note an event, or a batch, that is too large."""
        self._oversize.append((position, "", reason))

    def examine_single(self, value: Any) -> None:
        """Note every fault of what was sent as one event."""
        if isinstance(value, list):
            self._misshapen.append((0, "", "must be one event: send a list as application/cloudevents-batch+json"))
        elif _compact_size(value) > EVENT_LIMIT_BYTES:
            self.oversize(0)
        else:
            self.examine(0, value)

    def examine_batch(self, value: Any) -> None:
        """Note every fault of a parsed batch."""
        if isinstance(value, diagnosis.Fault):
            self._misshapen.append((0, *value))
        elif not isinstance(value, list):
            hint = ": send one event as application/cloudevents+json" if isinstance(value, dict) else ""
            self._misshapen.append((0, "", f"must be a list{hint}"))
        elif len(value) > BATCH_LIMIT_EVENTS:
            self.oversize(BATCH_LIMIT_EVENTS, f"the batch holds more than {BATCH_LIMIT_EVENTS:,} events")
        else:
            for position, event in enumerate(value):
                if len(self._misshapen) >= FAULTS_LIMIT:
                    break  # enough to correct; the list must not become larger than the body
                if _compact_size(event) > EVENT_LIMIT_BYTES:
                    self.oversize(position)
                else:
                    self.examine(position, event)

    def examine(self, position: int, event: Any) -> None:
        """Collect every fault of one parsed event."""
        faults = diagnosis.check(event, _SHAPE)
        at_fault = {fault.pointer for fault in faults}
        if isinstance(event, dict):
            faults += [fault for fault in _contradictions(event) if fault.pointer not in at_fault]
            self._examine_circumstances(position, event, at_fault)
        self._misshapen.extend((position, *fault) for fault in faults)

    def _examine_circumstances(self, position: int, event: dict[str, Any], at_fault: set[str]) -> None:
        source, time = event.get("source"), event.get("time")
        if isinstance(source, str) and "/source" not in at_fault and not source.startswith(self._source_prefix):
            self._invalid.append(
                (position, "/source", f"does not begin with {self._source_prefix}, the prefix of this credential")
            )
        if isinstance(time, str) and "/time" not in at_fault and _normalise(time)[1] > self._latest:
            self._invalid.append((position, "/time", "is more than 5 minutes ahead of the service's clock"))


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
    faults = [diagnosis.Fault(pointer, f"is required for {action}") for pointer, met in needs if not met]
    operation = data.get("operation")
    if isinstance(operation, str) and operation in OPERATIONS:
        reason = fault_of_operation(action, operation, data.get("outcome"))
        faults += [diagnosis.Fault("/data/operation", reason)] if reason else []
    return faults


def _compact_size(event: Any) -> int:
    """Return the size of an event in canonical form, or an estimate if it has none, in bytes."""
    if isinstance(event, dict) and isinstance(event.get("time"), str):
        with contextlib.suppress(MalformedError):  # reported by `examine`
            event = {**event, "time": _normalise(event["time"])[0]}
    try:
        text = json.dumps(event, ensure_ascii=False, separators=(",", ":"), default=lambda _: 0)
    except RecursionError:
        return 0  # inside an unknown member, which `examine` reports
    return len(text.encode("utf-8", "replace"))
