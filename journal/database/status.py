"""What readiness and the metrics read from the database (role journal_read): no tenants, no entries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from journal.database.pools import Pools

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date, datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusRow:
    """The state of seals, time-stamps and hand-over; `at` is the database's clock.

    first_day             the first day that is ever closed; close_day: the last that has its close seal, if any
    number, sealed_at     of the latest seal, None before the first
    unsealed_heads        heads that changed after the latest seal; unsealed_since: the earliest time of their last
                          changes
    unstamped_seals       close seals of the last two months without a time-stamp; unstamped_since: when the oldest of
                          them was made
    stamping_failed_since since when requests to the authority have failed; None if the last one succeeded
    handover_faults       tenants whose hand-over fails; handover_failed_since: since when the first of them does
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
    """What is kept of a category: its days on disk, in order, and the first of them with entries.

    `purged_day` is the last day that is purged completely, `purged_at` when that was. `handover_days` are days with
    entries, up to the day asked about, not handed over yet; `handover_lapses` days purged without hand-over;
    `handover_unconfirmed` tenants to whom some were handed over, and who have not confirmed that they can open them.
    """

    category: str
    days: Sequence[date]
    oldest_day: date | None
    purged_day: date | None
    purged_at: datetime | None
    handover_days: int
    handover_lapses: int
    handover_unconfirmed: int


class StatusStatements(Pools):
    """The status of the service."""

    async def read_status(self) -> StatusRow:
        """Return the state of seals, time-stamps and hand-over, in one snapshot."""
        (row,) = await self._fetch("read", "read_status")
        return StatusRow(**row)

    async def read_retention(self, categories: Sequence[str], days: Sequence[date]) -> list[RetentionRow]:
        """Return what is kept of each category, by code, with the hand-overs due up to its day in `days`."""
        return [RetentionRow(**row) for row in await self._fetch("read", "read_retention", categories, days)]
