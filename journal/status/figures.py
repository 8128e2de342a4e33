"""The status of the service: the facts that readiness, the metrics and `doctor` show besides the checks.

`describe_category` is arithmetic on days; `read_status` makes two queries, whatever the size of the database.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from journal.core.times import day_of, midnight, overdue_through, purgeable_through

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import date

    from journal.clock import Clock
    from journal.database.status import RetentionRow, StatusRow
    from journal.database.store import Store
    from journal.keys.store import KeyStore
    from journal.snapshot import Snapshot

DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class CategoryStatus:
    """What is kept of a category, and when it is purged.

    The hour of an entry is encrypted, so the age of the oldest entry is counted from the beginning of its day.

    oldest_day, oldest_age   the oldest day with entries, and the time since it began; None and 0 if there is none
    retention                the maximal age of an entry
    purged_day, purged_at    the last day that is purged completely, and when that was
    next_day                 the oldest day on disk, with entries or not: it may be purged from `next_at` on, and must
                             be purged before `next_limit`
    overdue_days             days on disk that should have been purged already
    handover_days            days with entries that may be purged and wait for their hand-over
    handover_lapses          days of a chain purged without it, within a year
    handover_unconfirmed     communes that have not confirmed that they can open what is handed over to them
    partition_days, key_days consecutive days from today that have a partition, and a key
    """

    category: str
    oldest_day: date | None
    oldest_age: timedelta
    retention: timedelta
    purged_day: date | None
    purged_at: datetime | None
    next_day: date | None
    next_at: datetime | None
    next_limit: datetime | None
    overdue_days: int
    handover_days: int
    handover_lapses: int
    handover_unconfirmed: int
    partition_days: int
    key_days: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """The status at a moment of the service's clock; `unsealed_days` are over without a close seal."""

    at: datetime
    row: StatusRow
    unsealed_days: int
    is_stamping: bool
    certificate_not_after: datetime
    categories: list[CategoryStatus]

    @property
    def database_departure(self) -> timedelta:
        """Return the difference between the clocks of the database and the service."""
        return abs(self.row.at - self.at)

    @property
    def unstamped_seals(self) -> int:
        """Return how many close seals wait for a time-stamp; 0 without an authority."""
        return self.row.unstamped_seals if self.is_stamping else 0

    @property
    def unstamped_since(self) -> datetime | None:
        """Return when the oldest of them was made."""
        return self.row.unstamped_since if self.is_stamping else None

    @property
    def stamping_failed_since(self) -> datetime | None:
        """Return since when requests to the authority have failed, while seals wait."""
        return self.row.stamping_failed_since if self.unstamped_seals else None


def describe_category(
    row: RetentionRow, *, retention_days: int, stated_days: int, key_days: Collection[date], now: datetime
) -> CategoryStatus:
    """Return the status of a category, from its days on disk.

    The purge applies `retention_days`, which includes a pending shorter rule; a day is overdue by `stated_days`, the
    rule that seals state.
    """
    today = day_of(now)
    next_day = row.days[0] if row.days else None
    # The rule gives the last day that may be purged today; a younger day follows as many days later.
    next_at = midnight(today + (next_day - purgeable_through(today, retention_days))) if next_day else None
    return CategoryStatus(
        category=row.category,
        oldest_day=row.oldest_day,
        oldest_age=now - midnight(row.oldest_day) if row.oldest_day else timedelta(0),
        retention=timedelta(days=stated_days),
        purged_day=row.purged_day,
        purged_at=row.purged_at,
        next_day=next_day,
        next_at=next_at,
        next_limit=midnight(next_day + timedelta(days=stated_days)) if next_day else None,
        overdue_days=sum(day <= overdue_through(today, stated_days) for day in row.days),
        handover_days=row.handover_days,
        handover_lapses=row.handover_lapses,
        handover_unconfirmed=row.handover_unconfirmed,
        partition_days=_days_ahead(today, row.days),
        key_days=_days_ahead(today, key_days),
    )


async def read_status(
    *,
    store: Store,
    snapshot: Snapshot,
    keystore: KeyStore,
    clock: Clock,
    is_stamping: bool,
    certificate_not_after: datetime,
) -> Status:
    """Read the status. Raises StoreError, KeyStoreError, OSError."""
    known = {category.code: category for category in snapshot.categories()}
    today = day_of(clock.now())
    through = [purgeable_through(today, category.retention_days) for category in known.values()]
    retention = await store.read_retention(list(known), through)
    row = await store.read_status()
    now = clock.now()
    closed = row.close_day or row.first_day - DAY
    return Status(
        at=now,
        row=row,
        unsealed_days=max(0, (day_of(now) - DAY - closed).days),
        is_stamping=is_stamping,
        certificate_not_after=certificate_not_after,
        categories=[
            describe_category(
                kept,
                retention_days=known[kept.category].retention_days,
                stated_days=known[kept.category].stated_days,
                key_days=keystore.day_keys(kept.category),
                now=now,
            )
            for kept in retention
        ],
    )


def _days_ahead(today: date, days: Collection[date]) -> int:
    """Return how many consecutive days from today are in `days`."""
    there, ahead = set(days), 0
    while today + ahead * DAY in there:
        ahead += 1
    return ahead


def _since(now: datetime, moment: datetime | None) -> timedelta | None:
    return now - moment if moment is not None else None
