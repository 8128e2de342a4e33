"""The retention rule, in days: when a day may go, and when it must be gone.

With `retention_days` n, day D may be purged from D+(n−1) 00:00 UTC on, and must be gone before D+n
00:00, when its first entry would reach n × 24 h. One rule for the purge, the reader and the verifier.
"""

from __future__ import annotations

from datetime import date, timedelta

MIN_RETENTION_DAYS = 2
MAX_RETENTION_DAYS = 60


def purgeable_through(today: date, retention_days: int) -> date:
    """Return the last day that may lawfully be purged on `today`."""
    return today - timedelta(days=retention_days - 1)


def overdue_through(today: date, retention_days: int) -> date:
    """Return the last day that must be gone already on `today`: it is never read again."""
    return today - timedelta(days=retention_days)
