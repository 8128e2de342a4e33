"""Statements of the database's owner that read tables themselves, without a function in between.

What a function answers is what whoever replaced it wants; these statements are compared with it. The session can only
read, and fails rather than leave out rows that a policy hides.

Trust sentence: whoever holds the owner's password can do anything to the database, but cannot sign a seal.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING

from journal.core.sources import ranges
from journal.database.pools import Pools

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredChain:
    """A chain as the tables hold it; None for a head, or an entry at the index asked for, that is not there."""

    size: int | None
    chain_hash: bytes | None
    kept_from: int | None
    entry_hash: bytes | None
    destroyed: bool


@dataclass(frozen=True, slots=True)
class Span:
    """What is counted of a source's numbers on a day: events, missing numbers filled in, ranges with both ends."""

    events: int
    filled: int
    ranges: tuple[tuple[int, int], ...]

    def follows_from(self, numbers: Sequence[int]) -> bool:
        """Tell whether it is what these numbers, one an event, give."""
        found = ranges(numbers)
        if self.events != len(numbers) or not self.filled:
            return self.events == len(numbers) and list(self.ranges) == found
        return all(any(low <= one[0] and one[1] <= high for low, high in self.ranges) for one in found)


@dataclass(frozen=True, slots=True)
class Counters:
    """What a category's day counts, by tenant: entries by action, by the day of the access, numbers by source."""

    actions: dict[str, dict[str, int]]
    lateness: dict[str, dict[date, int]]
    spans: dict[str, dict[bytes, Span]]

    @property
    def tenants(self) -> set[str]:
        """Return the tenants of which something is counted."""
        return self.actions.keys() | self.lateness.keys() | self.spans.keys()


class OwnerStatements(Pools):
    """Reads of tables."""

    async def read_stored_chains(
        self, category: str, day: date, tenants: Sequence[str], indexes: Sequence[int]
    ) -> list[StoredChain]:
        """Return these chains of a category, in the order given, with the entry of `day` at each index."""
        rows = await self._fetch("owner", "read_stored_chains", category, day, tenants, indexes)
        return [StoredChain(**row) for row in rows]

    async def read_counters(self, category: str, day: date) -> Counters:
        """Return what a category's day counts."""
        counters = Counters({}, {}, {})
        for row in await self._fetch("owner", "read_activity_of_day", category, day):
            counters.actions.setdefault(row["tenant"], {})[row["action"]] = row["count"]
        for row in await self._fetch("owner", "read_lateness_of_day", category, day):
            counters.lateness.setdefault(row["tenant"], {})[row["occurred"]] = row["count"]
        rows = await self._fetch("owner", "read_spans_of_day", category, day)
        for (tenant, key), group in groupby(rows, key=itemgetter("tenant", "source_key")):
            spans = list(group)
            found = tuple((row["low"], row["high"]) for row in spans)
            counters.spans.setdefault(tenant, {})[key] = Span(spans[0]["count"], spans[0]["filled"], found)
        return counters
