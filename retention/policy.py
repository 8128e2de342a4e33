"""When a day is handed over, and how long its purge waits for that: between D+(n−2) and D+n (pure)."""

from __future__ import annotations

from datetime import date, datetime, timedelta

from journal.core.times import midnight, overdue_through, purgeable_through

# The purge runs every hour and must be done before D+n 00:00: the next seal, just after midnight, shows entries still
# there as over-retention. It stops waiting two hours before, so that at least one run falls in them.
LAST_CALL = timedelta(hours=2)


def handover_through(today: date, retention_days: int) -> date:
    """Return the last day to be handed over on `today`: a day before it may be purged, and never today itself."""
    return min(purgeable_through(today, retention_days) + timedelta(days=1), today - timedelta(days=1))


def readable_from(today: date, retention_days: int) -> date:
    """Return the first day that may still be read on `today`."""
    return overdue_through(today, retention_days) + timedelta(days=1)


def goes_at(day: date, retention_days: int) -> datetime:
    """Return when a day must be gone: D+n 00:00 UTC."""
    return midnight(day + timedelta(days=retention_days))


def waits_until(day: date, retention_days: int) -> datetime:
    """Return when the purge of a day stops waiting for its hand-over."""
    return goes_at(day, retention_days) - LAST_CALL
