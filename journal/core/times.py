"""Times and days in one spelling each: UTC, microseconds, so that texts sort in the order of times.

`YYYY-MM-DDTHH:MM:SS.ffffffZ` in records, `YYYY-MM-DDTHH:MM:SSZ` in seals, `YYYY-MM-DD` for days: all three
profiles of RFC 3339 section 5.6. Times from outside are normalised once, by `normalise_time`.
"""

from __future__ import annotations

import re
from datetime import date, datetime, time, timedelta, timezone

from journal.core.errors import MalformedError

UTC = timezone.utc

_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z")
_SECONDS = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
# RFC 3339 lets "t" and "z" be lower case; the zone is captured apart so that its absence can be named, its minutes
# because `datetime` takes 90 of them for an hour and a half.
_RFC3339 = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt]([0-9]{2}:[0-9]{2}:([0-9]{2}))(?:\.([0-9]+))?([Zz]|[+-][0-9]{2}:([0-9]{2}))?"
)
_FRACTION_DIGITS = 6
_ZERO = timedelta(0)


def _is_utc(moment: datetime) -> bool:
    return moment.utcoffset() == _ZERO


def parse_time(text: str) -> datetime:
    """Read `YYYY-MM-DDTHH:MM:SS.ffffffZ`; MalformedError for any other spelling or an invalid date."""
    if not _TIME.fullmatch(text):
        raise MalformedError("not a time spelt YYYY-MM-DDTHH:MM:SS.ffffffZ")
    try:
        return datetime.fromisoformat(text[:-1]).replace(tzinfo=UTC)
    except ValueError as error:
        raise MalformedError("not a time of the calendar") from error


def format_time(moment: datetime) -> str:
    """Spell an aware UTC time with six fraction digits; ValueError if it is naive or in another zone."""
    if not _is_utc(moment):
        raise ValueError("a time must be aware and in UTC")
    return moment.isoformat(timespec="microseconds")[:26] + "Z"


def normalise_time(text: str) -> str:
    """Convert an RFC 3339 time of any offset to the one spelling.

    MalformedError says which rule is broken. Nothing is rounded: an event's time is part of its identity,
    so a time finer than a microsecond is refused, not altered.
    """
    if _TIME.fullmatch(text):
        parse_time(text)
        return text
    match = _RFC3339.fullmatch(text)
    if not match:
        raise MalformedError("not an RFC 3339 date and time, such as 2026-11-15T08:30:00+01:00")
    day, clock, seconds, fraction, zone, zone_minutes = match.groups()
    if zone is None:
        raise MalformedError("the time has no zone")
    fraction = (fraction or "")[:_FRACTION_DIGITS] + (fraction or "")[_FRACTION_DIGITS:].rstrip("0")
    if len(fraction) > _FRACTION_DIGITS:
        raise MalformedError("the time is finer than a microsecond")
    if seconds == "60":
        raise MalformedError("a leap second cannot be recorded")
    if (zone_minutes or "00") > "59":
        raise MalformedError("not a time of the calendar")
    microseconds = fraction.ljust(_FRACTION_DIGITS, "0")
    offset = "+00:00" if zone in "Zz" else zone
    try:
        moment = datetime.fromisoformat(f"{day}T{clock}.{microseconds}{offset}").astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise MalformedError("not a time of the calendar") from error
    return format_time(moment)


def parse_day(text: str) -> date:
    """Read `YYYY-MM-DD`; MalformedError for any other spelling or an invalid day."""
    if not _DAY.fullmatch(text):
        raise MalformedError("not a day spelt YYYY-MM-DD")
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise MalformedError("not a day of the calendar") from error


def format_day(day: date) -> str:
    """Spell a day; ValueError for a datetime, whose day would depend on its zone."""
    if isinstance(day, datetime):
        raise ValueError("a day is wanted, not a time")  # noqa: TRY004  (one kind of error for a bad value)
    return day.isoformat()


def midnight(day: date) -> datetime:
    """Return when a day begins."""
    return datetime.combine(day, time(), tzinfo=UTC)


def day_of(moment: datetime) -> date:
    """Return the UTC day of an aware time; ValueError if it is naive or in another zone."""
    if not _is_utc(moment):
        raise ValueError("a time must be aware and in UTC")
    return moment.date()


def parse_seconds(text: str) -> datetime:
    """Read `YYYY-MM-DDTHH:MM:SSZ`; MalformedError for any other spelling or an invalid date."""
    if not _SECONDS.fullmatch(text):
        raise MalformedError("not a time spelt YYYY-MM-DDTHH:MM:SSZ")
    try:
        return datetime.fromisoformat(text[:-1]).replace(tzinfo=UTC)
    except ValueError as error:
        raise MalformedError("not a time of the calendar") from error


def format_seconds(moment: datetime) -> str:
    """Spell an aware UTC time of whole seconds; ValueError for anything else, so that nothing is cut off."""
    if not _is_utc(moment) or moment.microsecond:
        raise ValueError("a time must be aware, in UTC and of whole seconds")
    return moment.isoformat()[:19] + "Z"


MIN_RETENTION_DAYS = 2
MAX_RETENTION_DAYS = 60


def purgeable_through(today: date, retention_days: int) -> date:
    """Return the last day that the rule lets be purged on `today`."""
    return today - timedelta(days=retention_days - 1)


def overdue_through(today: date, retention_days: int) -> date:
    """Return the last day that must already be purged on `today`: it is never read again."""
    return today - timedelta(days=retention_days)
