"""Events from bytes: decoded, checked, normalised; pure functions, the hot path of every submission.

The rules are in `shapes`; this module checks them in a few microseconds per event. msgspec decodes the whole body into
typed values in one pass, which checks types, lengths, required and unknown members. The rest is checked on the
canonical bytes: a control character appears there as an escape, and a duplicate member as a colon of the body that the
canonical bytes lack. At the first fault, or an unusual spelling (`spellings`), this fast path gives up; a slow one
(`examination`) lists every fault of the body, or spells it as the fast one reads it.
"""

from __future__ import annotations

import functools
import json
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import UNSET

from ingest import diagnosis, spellings
from ingest.examination import BATCH_LIMIT_EVENTS, Examination, Faults, Reading
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
from journal.core.entry import EVENT_LIMIT_BYTES, MODULE_ACTIONS, SKEW, TYPE_PREFIX, Event
from journal.core.errors import MalformedError
from journal.core.times import normalise_time
from journal.extract.table import UNSEEN

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

# White space and escapes are free, up to here.
SINGLE_LIMIT_BYTES = 4 * EVENT_LIMIT_BYTES

_SINGLE = msgspec.json.Decoder(CloudEvent)
_BATCH = msgspec.json.Decoder(list[CloudEvent])
_ENCODER = msgspec.json.Encoder()
_ACTIONS = {TYPE_PREFIX + action: action for action in MODULE_ACTIONS}
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

# The canonical spelling, which most send.
_CANONICAL_TIME = re.compile(r"\d\d\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d\d\d\d\d\dZ", re.ASCII).fullmatch
# The usual spellings of RFC 3339; others (lower-case letters, zones with minutes) take the slow path.
_USUAL_TIME = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2})(:[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,6}))?(?:Z|([+-][0-9]{2}):00)"
).fullmatch
_ESCAPED_COLON = re.compile(rb"\\u003[aA]")
# What may be a blank text, or hold what is not seen: the texts themselves are then looked at.
_MAYBE_BLANK = re.compile(r'"\s').search
_MAYBE_UNSEEN = re.compile(f"[{UNSEEN}]").search
# As `Event` does, in a third of the time: a named tuple's own way is a function in Python.
_event = functools.partial(tuple.__new__, Event)
_moment = datetime.fromisoformat
_PLAIN_LINES = spellings.PLAIN + b"\n"
# The escapes that stand for control characters in canonical JSON (RFC 8785 section 3.2.2.2).
_CONTROL_ESCAPE = re.compile(rb"\\[bfnrtu]")


def read_single(body: bytes, now: datetime, source_prefix: str) -> Reading:
    """Read one event, at most EVENT_LIMIT_BYTES in canonical form, or its faults; `now` is aware, in UTC."""
    if (event := read_usual(body, now, source_prefix)) is not None:
        return Reading([event], (0,), Faults())
    return _examination(now, source_prefix).single(spellings.plain_event(diagnosis.parse(body)))


def read_usual(body: bytes, now: datetime, source_prefix: str) -> Event | None:
    """Read one event without faults, in a usual spelling; None leaves it to `read_single`."""
    events = _read_one(body, now, source_prefix)
    return events[0] if events and len(events[0].canonical) <= EVENT_LIMIT_BYTES else None


def read_batch(body: bytes, now: datetime, source_prefix: str) -> Reading:
    """Read at most BATCH_LIMIT_EVENTS events, each at most EVENT_LIMIT_BYTES in canonical form, and every fault."""
    if (reading := read_usual_batch(body, now, source_prefix)) is not None:
        return reading
    value = diagnosis.parse(body)
    if isinstance(value, list):
        value = [spellings.plain_event(event) for event in value]
    return _examination(now, source_prefix).batch(value)


def read_usual_batch(body: bytes, now: datetime, source_prefix: str) -> Reading | None:
    """Read a batch without faults, in usual spellings; None leaves it to `read_batch`, which takes far longer then."""
    events = None if diagnosis.is_costly(body) else _read_all(body, now, source_prefix)
    if events is None or max([len(event.canonical) for event in events], default=0) > EVENT_LIMIT_BYTES:
        return None
    return Reading(events, range(len(events)), Faults())


def _examination(now: datetime, source_prefix: str) -> Examination:
    def read(value: Any) -> Event | None:
        events = _read_one(_spell(value), now, source_prefix)
        return events[0] if events else None

    return Examination(now, source_prefix, read)


def _read_one(body: bytes, now: datetime, source_prefix: str) -> list[Event] | None:
    try:
        return _accept([_SINGLE.decode(body)], body, now, source_prefix)
    except _UNREADABLE:
        return None


def _read_all(body: bytes, now: datetime, source_prefix: str) -> list[Event] | None:
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
    try:
        moments, colons = _spell_times(values)
    except (MalformedError, ValueError, OverflowError):
        return None
    # No canonical form holds a line break: asked of all lines at once, a question costs next to nothing.
    lines = _ENCODER.encode_lines(values)
    holds_escapes = b"\\" in lines
    # From the end it is found in half the time.
    is_clear = not lines.translate(None, _PLAIN_LINES) and lines.rfind(b'" ') < 0
    latest = now + SKEW
    sources: set[str] = set()
    fields: set[str] = set()
    events: list[Event] = []
    for value, moment, canonical in zip(values, moments, lines.split(b"\n"), strict=False):
        data, action = value.data, _ACTIONS[value.type]
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
            or (holds_escapes and b"\\" in canonical and _holds_control(canonical, data.justification))
            or (not is_clear and _is_unclear(value, canonical))
        ):
            return None
        sequence = None if value.sequence is UNSET else int(value.sequence)
        epoch = "" if value.epoch is UNSET else value.epoch
        events.append(_event((value.source, value.id, moment, action, canonical, sequence, epoch, value.time)))
    # Each member has one colon, and each text as many as it was sent with, unless a colon was written \u003a:
    # a body with more colons than the canonical bytes has a duplicate member.
    may_hide = b"\\" in body and _ESCAPED_COLON.search(body)
    exact = colons + lines.count(b":") == body.count(b":") and not may_hide
    return events if exact or not diagnosis.repeats_a_member(body) else None


def _spell_times(values: Iterable[CloudEvent]) -> tuple[list[datetime], int]:
    """Spell the times of events canonically; return them, and how many colons that took away.

    Raises MalformedError, ValueError or OverflowError for what is no time.
    """
    moments: list[datetime] = []
    colons = 0
    for value in values:
        given = value.time
        if not _CANONICAL_TIME(given):
            value.time = _normalise(given)
            colons += given.count(":") - value.time.count(":")
        moments.append(_moment(value.time))
    return moments, colons


@functools.lru_cache(maxsize=1024)
def _in_utc(hour: str, zone_hours: str) -> str:
    """Convert `YYYY-MM-DDTHH` from a zone of whole hours to UTC; ValueError or OverflowError if impossible."""
    local = datetime.fromisoformat(f"{hour}:00{zone_hours}:00")
    return local.astimezone(UTC).isoformat()[:13]


def _normalise(text: str) -> str:
    """Return a time in its canonical spelling. Raises MalformedError, ValueError or OverflowError."""
    match = _USUAL_TIME(text)
    if match is None:
        return normalise_time(text)
    hour, rest, fraction, zone_hours = match.groups()
    if zone_hours is not None:
        hour = _in_utc(hour, zone_hours)
    return f"{hour}{rest}.{fraction.ljust(6, '0') if fraction else '000000'}Z"


def _lacks(value: CloudEvent, action: str) -> bool:
    """Return whether a member that this action requires is missing."""
    return (
        (value.subject is UNSET and action not in NO_SUBJECT)
        or (value.data.justification is UNSET and needs_justification(action, value.data.outcome))
        or (value.data.recipients is UNSET and action in NEED_RECIPIENTS)
    )


def _is_unclear(value: CloudEvent, canonical: bytes) -> bool:
    """Return whether a text is not in its one form, or a name is blank or holds what is not seen."""
    if not canonical.translate(None, spellings.PLAIN):
        is_plain = b'" ' not in canonical
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
