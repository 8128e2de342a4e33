"""What the signer asks for, read from the database and the key store."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from journal.core.errors import KeyStoreError, StoreError, UnavailableError
from journal.signer.evidence import Rule, StoredSeal

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import date

    from journal.database.heads import LeafRun, LeafSpan, SealHeadRow
    from journal.database.store import Store
    from journal.keys.store import KeyStore


class StoredEvidence:
    """The evidence of one service (`journal.signer.evidence.Evidence`)."""

    def __init__(self, store: Store, keystore: KeyStore) -> None:
        """Read from these."""
        self._store = store
        self._keystore = keystore

    async def tenants(self) -> set[str]:
        """Return the codes of all vouched tenants."""
        return {row.code for row in await self._store.read_tenants()}

    async def rules(self) -> dict[str, Rule]:
        """Return the rule of every vouched category."""
        return {
            row.code: Rule(category=row.code, stated_days=row.stated_days, first_day=row.first_day)
            for row in await self._store.read_categories()
        }

    async def fences(self, categories: Sequence[str]) -> dict[str, date]:
        """Return the fences that the key store has; none where it cannot be read."""
        return await asyncio.to_thread(self._fences, categories)

    def _fences(self, categories: Iterable[str]) -> dict[str, date]:
        found: dict[str, date] = {}
        for category in categories:
            try:
                fence = self._keystore.fence(category)
            except KeyStoreError:
                continue
            if fence is not None:
                found[category] = fence
        return found

    async def ended_tenants(self) -> set[str]:
        """Return the tenants whose key was destroyed."""
        return set(await asyncio.to_thread(self._keystore.ended_tenants))

    async def leaves(self, spans: Sequence[LeafSpan], since: date | None, through: date | None) -> list[LeafRun]:
        """Return the stored leaf hashes of these spans."""
        return await self._store.read_leaves(spans, since, through)

    async def close_seals(self, since: date) -> list[StoredSeal]:
        """Return the close seals of that day and later ones, newest first."""
        return [
            StoredSeal(number=row.number, day=row.day, text=row.text) for row in await self._store.close_seals(since)
        ]

    async def heads_of_seal(self, number: int) -> list[SealHeadRow] | None:
        """Return every chain's head at a seal; None if they are no longer kept."""
        try:
            return await self._store.heads_of_seal(number)
        except UnavailableError:
            raise
        except StoreError:
            return None

    async def last_signature(self) -> bytes:
        """Return the signature of the last stored seal; of none, nothing."""
        row = await self._store.last_seal()
        return row.signature if row is not None else b""
