"""Statements of the purge and of the maintenance of partitions (role journal_purge).

Trust sentence: whoever holds this role's password can drop sealed days, even early, which the seals then show. They can
read no entry.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from journal.database.admin import CategoryChange
from journal.database.change import ChangeStatements

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date, datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionRow:
    """A leaf on disk; one that is not attached is left from an interrupted operation."""

    category: str
    day: date
    attached: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DayFigures:
    """The size of a category's day on disk: rows, chains with rows, bytes including indexes."""

    count: int
    chains: int
    disk_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UnfinishedPurge:
    """Days of a category, both included, that are fenced but not purged completely."""

    category: str
    first_day: date
    last_day: date


@dataclass(frozen=True, slots=True, kw_only=True)
class PurgeSpan:
    """Entries of one chain purged with a day, `first_index` ≤ i < `end_index`, with retention and seal."""

    tenant: str
    category: str
    day: date
    first_index: int
    end_index: int
    seal_number: int
    moved_at: datetime
    retention_days: int


@dataclass(slots=True)
class StoredRow:
    """A row of a leaf with all its columns, not checked. There are many: a frozen one takes three times as long."""

    tenant: str
    category: str
    day: date
    index: int
    event_key: bytes
    leaf_hash: bytes
    chain_hash: bytes
    ciphertext: bytes


class PurgeStatements(ChangeStatements):
    """Partitions, fences, removal of days."""

    async def ensure_partitions(self, days_ahead: int) -> list[str]:
        """Make every missing partition up to `days_ahead` days from now; return their names. LockedError: try again."""
        made: list[str] = []
        while rows := await self._fetch("purge", "ensure_partitions", days_ahead):
            made += [row[0] for row in rows]
        return made

    async def partitions(self) -> list[PartitionRow]:
        """Return what is on disk, by category and day, from the catalog rather than through the parent."""
        return [PartitionRow(**row) for row in await self._fetch("purge", "partitions")]

    async def recorded_days(self) -> set[tuple[str, date]]:
        """Return (category, day) of the days that hold entries, or held some. LockedError: try again."""
        return {(row["category"], row["day"]) for row in await self._fetch("purge", "recorded_days")}

    async def day_figures(self, category: str, day: date) -> DayFigures:
        """Return the size of a day on disk; all zero if there is nothing."""
        rows = await self._fetch("purge", "day_figures", category, day)
        return DayFigures(**rows[0])

    async def raise_fence(self, category: str, day: date) -> date:
        """Forbid writing and reading at or before `day`; return the fence.

        Waits for running appends. A fence never moves back.
        """
        stands: date = await self._fetch_value("purge", "raise_fence", category, day)
        return stands

    async def drop_day(self, category: str, day: date) -> bool:
        """Remove a table of a day, and its counters; True once nothing of the day is left.

        LockedError if a page of an extract is being read: try again. StoreError unless the fence is at or
        past the day and the day has its close seal.
        """
        gone: bool = await self._fetch_value("purge", "drop_day", category, day)
        return gone

    async def move_kept_from(self, category: str, day: date) -> int:
        """Move the base of a category's chains to the close of `day`; return how many changed.

        0, without effect, for a day due only by a pending shorter rule: `settle_rule` moves it.
        StoreError unless the day is sealed and nothing of it or of an earlier day is kept.
        """
        moved: int = await self._fetch_value("purge", "move_kept_from", category, day)
        return moved

    async def settle_rule(self, category: str) -> bool:
        """Let seals state a pending rule, as far as allowed by now; True once nothing is pending.

        A shorter one is stated together with the new bases, once nothing older is kept; a longer one grows by one day
        per day.
        """

        def check(before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> bool:
            if before is None or before["next_retention_days"] is None:
                return False
            low, high = sorted((before["rule_days"], before["next_retention_days"]))
            left = {None, before["next_retention_days"]}
            return low <= after["rule_days"] <= high and after["next_retention_days"] in left

        settled: bool = await self._change(
            "purge",
            "settle_rule",
            category,
            expected={("category", category): {}},
            free=frozenset({"rule_days", "next_retention_days", "next_since", "next_from"}),
            check=check,
        )
        return settled

    async def read_category_changes(self) -> list[CategoryChange]:
        """Return the changes of categories that are not recorded yet, oldest first."""
        return [CategoryChange(**row) for row in await self._fetch("purge", "read_category_changes")]

    async def forget_category_change(self, number: int) -> None:
        """Forget a change: its entries are written."""
        await self._fetch("purge", "forget_category_change", number)

    async def unfinished_purges(self) -> list[UnfinishedPurge]:
        """Return the days whose purge was interrupted, by category."""
        return [UnfinishedPurge(**row) for row in await self._fetch("purge", "unfinished_purges")]

    async def read_purge_spans(self) -> list[PurgeSpan]:
        """Return what was purged and is not recorded yet, by tenant, category, day."""
        return [PurgeSpan(**row) for row in await self._fetch("purge", "read_purge_spans")]

    async def forget_purge_spans(self, tenant: str, before: datetime) -> None:
        """Forget what was purged of a tenant up to a moment: its entry is written."""
        await self._fetch("purge", "forget_purge_spans", tenant, before)
