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
