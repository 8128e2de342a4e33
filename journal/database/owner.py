"""Statements of the database's owner that read tables themselves, without a function in between.

What a function answers is what whoever replaced it wants; these statements are compared with it. The session can only
read, and fails rather than leave out rows that a policy hides.

Trust sentence: whoever holds the owner's password can do anything to the database, but cannot sign a seal.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

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


class OwnerStatements(Pools):
    """Reads of tables."""

    async def read_stored_chains(
        self, category: str, day: date, tenants: Sequence[str], indexes: Sequence[int]
    ) -> list[StoredChain]:
        """Return these chains of a category, in the order given, with the entry of `day` at each index."""
        rows = await self._fetch("owner", "read_stored_chains", category, day, tenants, indexes)
        return [StoredChain(**row) for row in rows]

    async def read_counters(
        self, category: str, day: date
    ) -> tuple[dict[str, dict[str, int]], dict[str, dict[bytes, tuple[int, int, int]]]]:
        """Return by tenant what a category's day counts: how many of each action, (low, high, count) of each source."""
        actions: dict[str, dict[str, int]] = {}
        for row in await self._fetch("owner", "read_activity_of_day", category, day):
            actions.setdefault(row["tenant"], {})[row["action"]] = row["count"]
        spans: dict[str, dict[bytes, tuple[int, int, int]]] = {}
        for row in await self._fetch("owner", "read_spans_of_day", category, day):
            spans.setdefault(row["tenant"], {})[row["source_key"]] = (row["low"], row["high"], row["count"])
        return actions, spans
