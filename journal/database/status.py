"""What readiness and the metrics ask of the database (role journal_read): facts, of no tenant and of no entry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from journal.database.pools import Pools

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date, datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusRow:
    """How far seals, time-stamps and hand-over are behind; `at` is the database's clock.

    first_day             the first day that is ever closed; close_day: the last that has its close seal, if any
    number, sealed_at     of the latest seal, None before the first
    unsealed_heads        heads that are not where the latest seal saw them; unsealed_since: when the one that has
                          stood still longest moved
    unstamped_seals       close seals of the last two months that bear no time-stamp; unstamped_since: when the oldest
                          of them was made
    stamping_failed_since when an authority was first asked in vain, None since it last answered
    handover_faults       tenants to which nothing can be handed over now; handover_failed_since: the first of them
    """

    at: datetime
    first_day: date
    close_day: date | None
    number: int | None
    sealed_at: datetime | None
    unsealed_heads: int
    unsealed_since: datetime | None
    unstamped_seals: int
    unstamped_since: datetime | None
    stamping_failed_since: datetime | None
    handover_faults: int
    handover_failed_since: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionRow:
    """What is kept of a category: its days on disk, in order, and the first of them that holds anything.

    `purged_day` is the last day that is wholly gone, `purged_at` when it was. `handover_days` are those with entries,
    up to the day asked about, that are not handed over; `handover_lapses` those of a chain that went without.
    """

    category: str
    days: Sequence[date]
    oldest_day: date | None
    purged_day: date | None
    purged_at: datetime | None
    handover_days: int
    handover_lapses: int


class StatusStatements(Pools):
    """Where the service stands."""

    async def read_status(self) -> StatusRow:
        """Return how far seals, time-stamps and hand-over are behind, in one snapshot."""
        (row,) = await self._fetch("read", "read_status")
        return StatusRow(**row)

    async def read_retention(self, categories: Sequence[str], days: Sequence[date]) -> list[RetentionRow]:
        """Return what is kept of each category, by code; what of it waits for its hand-over up to its day in `days`."""
        return [RetentionRow(**row) for row in await self._fetch("read", "read_retention", categories, days)]
