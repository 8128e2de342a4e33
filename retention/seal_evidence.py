"""What the seals state of one commune, each checked again before a word of it is believed."""

from __future__ import annotations

import asyncio
from hashlib import sha256
from typing import TYPE_CHECKING

from journal.core import cms
from journal.core.certificates import pem_to_der
from journal.core.errors import StoreError, UnavailableError, VerificationError
from journal.core.seal import parse_seal
from journal.core.trie import Trie
from journal.document.destruction import NamedSeal
from journal.sealer import sealed_head

if TYPE_CHECKING:
    from datetime import date

    from journal.core.seal import Seal
    from journal.service import Service
    from journal.store import SealHeadRow, SealRow


class SealEvidence:
    """Reads seals and the heads of one commune in them; every method may raise StoreError."""

    def __init__(self, service: Service, tenant: str) -> None:
        """Look at this commune's chains."""
        self._store = service.store
        self._name = service.name
        self._tenant = tenant
        self._anchors = pem_to_der(service.reader.trust())
        self._heads: dict[int, dict[str, SealHeadRow] | None] = {}

    async def heads_of_day(self, day: date) -> dict[str, SealHeadRow] | None:
        """Return the heads by category at the close of a day; None where they are not kept, or it is not closed."""
        row = await self._store.close_seal(day)
        return await self._heads_of(row) if row is not None else None

    async def heads_of_seal(self, number: int) -> dict[str, SealHeadRow] | None:
        """Return the heads by category in a seal; None where they, or the seal, are not kept."""
        row = await self._store.read_seal(number)
        return await self._heads_of(row) if row is not None else None

    async def named(self, number: int) -> NamedSeal | None:
        """Return what names a seal, its signature checked; None where it is not kept."""
        row = await self._store.read_seal(number)
        if row is None:
            return None
        seal = self._check(row)
        return NamedSeal(number=seal.number, day=seal.day, sealed_at=seal.sealed_at, digest=seal.digest)

    async def _heads_of(self, row: SealRow) -> dict[str, SealHeadRow] | None:
        if row.number not in self._heads:
            self._heads[row.number] = await self._read(self._check(row))
        return self._heads[row.number]

    async def _read(self, seal: Seal) -> dict[str, SealHeadRow] | None:
        try:
            rows = await self._store.read_seal_heads(seal.number)
        except UnavailableError:
            raise
        except StoreError:
            return None
        try:
            tree = await asyncio.to_thread(Trie, [sealed_head(self._name, row) for row in rows])
        except ValueError:
            tree = None
        if tree is None or tree.root != seal.root:
            raise StoreError(f"the heads kept with seal {seal.number} do not give its root: run verify-store")
        return {row.category: row for row in rows if row.tenant == self._tenant}

    def _check(self, row: SealRow) -> Seal:
        """Return what a seal says. Raises StoreError unless its signature holds."""
        try:
            seal = parse_seal(row.text)
            cms.verify(row.signature, sha256(row.text).digest(), anchors=self._anchors, service=self._name)
        except VerificationError as error:
            raise StoreError(f"seal {row.number} does not hold ({error}): run verify-store") from error
        if (seal.number, seal.day) != (row.number, row.day):
            raise StoreError(f"seal {row.number} is filed under another number or day: run verify-store")
        return seal
