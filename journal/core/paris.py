"""The time of day in Paris, without a database of time zones (FORMAT.md, "Extract").

The rule is that of Directive 2000/84/EC, taken for every year: from the last Sunday of March to the last Sunday of
October, at 01:00 UTC both, two hours ahead of UTC; else one.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta
from functools import lru_cache

from journal.core.times import UTC

_HOUR_CHARACTERS = len("YYYY-MM-DDTHH")
_SECONDS_END = len("YYYY-MM-DDTHH:MM:SS")
_MARCH, _OCTOBER = 3, 10


def paris_time(text: str) -> str:
    """Return a time spelt `YYYY-MM-DDTHH:MM:SS.ffffffZ` as `YYYY-MM-DD à HH:MM:SS` in Paris, cut to the second.

    In the hour that comes twice, `bis` follows the hour the second time, so that texts stay in the order of times.
    Nothing is returned for the last hour of the year 9999, which Paris spends in the year after.
    """
    hour = _in_paris(text[:_HOUR_CHARACTERS])
    return hour and hour + text[_HOUR_CHARACTERS:_SECONDS_END]


# Entries come in the order of times: neighbours are of one hour.
@lru_cache(maxsize=4096)
def _in_paris(hour: str) -> str:
    """Convert `YYYY-MM-DDTHH`, in UTC."""
    moment = datetime.fromisoformat(f"{hour}:00+00:00")
    begins, ends = _change(moment.year, _MARCH), _change(moment.year, _OCTOBER)
    try:
        local = moment + timedelta(hours=2 if begins <= moment < ends else 1)
    except OverflowError:
        return ""
    return f"{local.isoformat()[:10]} à {local.hour:02d}{'bis' if moment == ends else ''}"


def _change(year: int, month: int) -> datetime:
    """Return 01:00 UTC on the last Sunday of a month of 31 days."""
    return datetime(year, month, 31 - date(year, month, 31).isoweekday() % 7, 1, tzinfo=UTC)
