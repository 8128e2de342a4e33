"""What a submission is refused for at a moment: its times, its sizes, its ids; and what would become of it.

Each rule returns all its faults, so that a caller corrects everything at once.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING

from journal.core.entry import RECORD_LIMIT_BYTES, SKEW, Compartment, Event, event_keys
from journal.core.errors import KnownEventError
from journal.core.faults import EVENT_TOO_LARGE, TIME_AHEAD, TIME_PURGED, TIME_TOO_OLD, Code, Fault
from journal.core.times import day_of, format_time, midnight
from journal.writing.queue import Submission, distinct_events

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import date, datetime

    from journal.core.receipt import Members
    from journal.database.ingest import CategoryRow
    from journal.writing.append import Appender

# The other members of a record (names, an index, a time) always fit in the rest.
EVENT_LIMIT_BYTES = RECORD_LIMIT_BYTES - 1024


def are_sound(events: Sequence[Event], now: datetime, category: CategoryRow) -> bool:
    """Tell, in one pass, whether no event has a fault that `times_ahead`, `times_purged` or `oversize` finds."""
    oldest, latest = oldest_kept(now, category), now + SKEW
    return all(oldest <= event.time <= latest and len(event.canonical) <= EVENT_LIMIT_BYTES for event in events)


def times_ahead(events: Sequence[Event], now: datetime) -> list[Fault]:
    """Return the events of a time that is too far ahead."""
    latest = now + SKEW
    positions = [position for position, event in enumerate(events) if event.time > latest]
    return _at_times(positions, TIME_AHEAD, "more than 5 minutes after the service's clock ({})", now)


def times_purged(events: Sequence[Event], now: datetime, category: CategoryRow) -> list[Fault]:
    """Return the events so old that they may have been recorded and purged: a copy could not be recognised."""
    oldest = oldest_kept(now, category)
    positions = [position for position, event in enumerate(events) if event.time < oldest]
    return _at_times(positions, TIME_PURGED, "too old: this category takes events from {} on", oldest)


def _at_times(positions: list[int], code: Code, reason: str, moment: datetime) -> list[Fault]:
    told = reason.format(format_time(moment)) if positions else ""
    return [Fault(position, "/time", code, told) for position in positions]


def oldest_kept(now: datetime, category: CategoryRow) -> datetime:
    """Return the time from which on no event can have been purged."""
    return _oldest_kept(day_of(now), category.retention_days, category.fence)


@lru_cache(maxsize=64)
def _oldest_kept(today: date, retention_days: int, fence: date | None) -> datetime:
    gone = today - timedelta(days=retention_days)
    gone = max(gone, fence) if fence else gone
    return midnight(gone + timedelta(days=1)) + SKEW


def times_too_old(positions: Iterable[int], now: datetime, lateness: timedelta) -> list[Fault]:
    """Return the faults of events at these positions, which come too late and were not recorded before."""
    reason = (
        f"more than {lateness.days} days ago ({format_time(now - lateness)}), and not recorded before: an access is "
        f"recorded at most {lateness.days} days late; do not give it another time, but declare its number lost (its "
        "operator does, with openepm-journal loss, or lengthens JOURNAL_LATENESS_DAYS)"
    )
    return [Fault(position, "/time", TIME_TOO_OLD, reason) for position in positions]


def oversize(events: Sequence[Event]) -> list[Fault]:
    """Return the events too large for a record, before they reach a draft shared with others."""
    return [
        Fault(position, "", EVENT_TOO_LARGE, "is larger than a record may be")
        for position, event in enumerate(events)
        if len(event.canonical) > EVENT_LIMIT_BYTES
    ]


def new_submission(
    compartment: Compartment, submitted_by: str, events: Sequence[Event], *, key: bytes, size_bytes: int
) -> Submission:
    """Return events as a submission; `key` is the compartment's, for the keys of events. Raises KnownEventError."""
    keys = event_keys(key, compartment.category, events)
    distinct, places = [*events], [*range(len(events))]
    # Where no key comes twice, no source, id and time do: keys are made of nothing else, and quicker to compare.
    if len(set(keys)) < len(keys):
        distinct, places = distinct_events(events)
        keys = event_keys(key, compartment.category, distinct)
    return Submission(
        compartment=compartment,
        submitted_by=submitted_by,
        events=distinct,
        keys=keys,
        places=places,
        size_bytes=size_bytes,
        future=asyncio.get_running_loop().create_future(),
    )


@dataclass(slots=True, kw_only=True)
class Outlook:
    """What would become of events: the first receipts of those recorded before, and the faults; all by position."""

    known: dict[int, Members] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)


async def look_ahead(
    appender: Appender,
    compartment: Compartment,
    events: Sequence[Event],
    *,
    key: bytes,
    category: CategoryRow,
    now: datetime,
    lateness: timedelta,
) -> Outlook:
    """Say what would become of events if they were submitted now; nothing is stored. Raises StoreError."""
    found = [*times_ahead(events, now), *times_purged(events, now, category), *oversize(events)]
    try:
        distinct_events(events)
    except KnownEventError as error:
        found += error.faults
    at_fault = {fault.position for fault in found}
    sound = [position for position in range(len(events)) if position not in at_fault]
    submission = new_submission(compartment, "", [events[position] for position in sound], key=key, size_bytes=0)
    differing: set[int] = set()
    try:
        await appender.recall(submission, range(len(submission.events)), lateness)
    except KnownEventError as error:
        differing = {fault.position for fault in error.faults}
        found += [fault._replace(position=sound[fault.position]) for fault in error.faults]
    late = [
        sound[position]
        for ordinal, position in submission.first_positions().items()
        if submission.events[ordinal].time < now - lateness
        and ordinal not in submission.known
        and position not in differing
    ]
    found += times_too_old(sorted(late), now, lateness)
    known = {
        sound[position]: submission.known[ordinal]
        for position, ordinal in enumerate(submission.places)
        if ordinal in submission.known
    }
    return Outlook(known=known, faults=found)
