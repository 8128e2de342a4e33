"""Statements of extracts, heads and counters (role journal_read).

Trust sentence: whoever holds this role's password can read ciphertext, hashes and counters of every tenant; without
the keys they learn only how many entries there were per day and action.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from journal.database.heads import SealHeadRow
from journal.database.pools import Pools
from journal.database.purge import StoredRow
from journal.database.seal import BaseMove, SealRow

if TYPE_CHECKING:
    from datetime import date, datetime

    from journal.core.envelope import Row


@dataclass(slots=True)
class EntryRow:
    """A stored entry, still encrypted. There are many: a frozen one takes three times as long to make."""

    index: int
    event_key: bytes
    leaf_hash: bytes
    chain_hash: bytes
    ciphertext: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivityRow:
    """How many entries of one action a category got on one day."""

    category: str
    day: date
    action: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceRow:
    """What the numbers of a source say, in one epoch of its counter; `name` is encrypted.

    `last` is the highest number received, `numbers` how many different ones, `events` how many events had one,
    `missing` how many from 1 to `last` were neither received nor declared lost (`gaps` are the first 20 ranges of
    them, both ends included), `declared` how many are declared lost, `last_day` and `last_at` when one came last.
    """

    tenant: str
    category: str
    source_key: bytes
    name: bytes
    last: int
    numbers: int
    events: int
    missing: int
    missing_low: list[int]
    missing_high: list[int]
    declared: int
    last_day: date
    last_at: datetime

    @property
    def repeated(self) -> int:
        """How many events have a number that an earlier one has."""
        return self.events - self.numbers

    @property
    def gaps(self) -> list[tuple[int, int]]:
        """The first ranges of missing numbers."""
        return list(zip(self.missing_low, self.missing_high, strict=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class RhythmRow:
    """How often a source is to send something, since when; `name` is encrypted, `source_key` of no epoch."""

    tenant: str
    category: str
    source_key: bytes
    name: bytes
    minutes: int
    declared_at: datetime


class ReadStatements(Pools):
    """Entries by page, seals, counters."""

    async def read_entries(self, tenant: str, category: str, day: date, first_index: int, limit: int) -> list[EntryRow]:
        """Return at most `limit` entries of a chain's day from `first_index` on, in order.

        Empty if there is none, and before the category existed. StoreError if the day is purged, or if its
        partition is missing: an extract must never omit entries silently.
        """
        rows = await self._fetch("read", "read_entries", tenant, category, day, first_index, limit)
        return [EntryRow(*row) for row in rows]

    async def read_page(self, tenant: str, category: str, day: date, first_index: int, limit: int) -> list[Row]:
        """Return the same entries as index, leaf hash and ciphertext: what is needed to open them."""
        return await self._fetch("read", "read_page", tenant, category, day, first_index, limit)

    async def scan_entries(
        self, category: str, day: date, after_tenant: str, after_index: int, limit: int
    ) -> list[StoredRow]:
        """Return at most `limit` rows of one leaf after (tenant, index), in that order, all columns as stored."""
        rows = await self._fetch("read", "scan_entries", category, day, after_tenant, after_index, limit)
        return [StoredRow(*row) for row in rows]

    async def read_seal(self, number: int) -> SealRow | None:
        """Return one seal; None if there is none of that number, or it was thinned."""
        return _first(await self._fetch("read", "read_seal", number))

    async def latest_seal(self) -> SealRow | None:
        """Return the last seal; None before the first."""
        return _first(await self._fetch("read", "latest_seal"))

    async def close_seal(self, day: date) -> SealRow | None:
        """Return the close seal of a day; None if it is not closed."""
        return _first(await self._fetch("read", "read_close_seals", day, day))

    async def read_seals(self, after: int, limit: int) -> list[SealRow]:
        """Return at most `limit` seals with a number above `after`, in order; thinned ones are left out."""
        return [SealRow(**row) for row in await self._fetch("read", "read_seals", after, limit)]

    async def read_close_seals(self, first_day: date, last_day: date) -> list[SealRow]:
        """Return the close seals of `first_day` to `last_day`, both included, in order."""
        return [SealRow(**row) for row in await self._fetch("read", "read_close_seals", first_day, last_day)]

    async def read_seal_heads(self, number: int) -> list[SealHeadRow]:
        """Return every chain as it stood at a seal, by (tenant, category).

        StoreError if the heads of so old a seal are no longer kept.
        """
        return [SealHeadRow(*row) for row in await self._fetch("read", "read_seal_heads", number)]

    async def read_base_moves(self, tenant: str, category: str) -> list[BaseMove]:
        """Return the seals that first show a later base of a chain, in order, as far as their heads are kept."""
        return [BaseMove(**row) for row in await self._fetch("read", "read_base_moves", tenant, category)]

    async def tenant_created_at(self, tenant: str) -> datetime | None:
        """Return since when there is a tenant of that code; None where there is none."""
        rows = await self._read_facts("read", "tenant", tenant)
        created_at: datetime | None = rows[0]["created_at"] if rows else None
        return created_at

    async def read_activity(self, tenant: str) -> list[ActivityRow]:
        """Return a tenant's counters per category, day and action."""
        return [ActivityRow(**row) for row in await self._fetch("read", "read_activity", tenant)]

    async def read_sources(self, tenant: str | None = None, category: str | None = None) -> list[SourceRow]:
        """Return what numbers say of every source that ever numbered its events, of one tenant or category or all."""
        return [SourceRow(**row) for row in await self._fetch("read", "read_sources", tenant, category)]

    async def read_rhythms(self) -> list[RhythmRow]:
        """Return the rhythms declared."""
        return [RhythmRow(**row) for row in await self._fetch("read", "read_rhythms")]

    async def count_elsewhere(self, tenant: str, category: str, first: date, last: date) -> int:
        """Return how many entries still kept are of accesses on these days, but recorded on others."""
        count: int = await self._fetch_value("read", "count_elsewhere", tenant, category, first, last)
        return count


def _first(rows: list[object]) -> SealRow | None:
    """Return the only row, or None."""
    return SealRow(**rows[0]) if rows else None  # type: ignore[arg-type]  # asyncpg's records are mappings it does not type
