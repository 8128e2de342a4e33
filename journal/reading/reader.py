"""Reads seals and heads, and one compartment's entries in contiguous pages."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from bisect import bisect_left
from collections import Counter, OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from journal.core.errors import NotCoveredError, StoreError
from journal.core.seal import parse_seal
from journal.core.times import format_day, format_seconds
from journal.core.tree import Trie
from journal.database.heads import SealHeadRow, seal_leaves, seal_tree, sealed_head
from journal.extract.listing import ListedSeal, encode_head_answer
from journal.reading.sources import read_sources

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Sequence
    from datetime import date
    from pathlib import Path

    from journal.core.entry import Compartment
    from journal.core.envelope import Row
    from journal.core.seal import SealedHead
    from journal.database.seal import SealRow
    from journal.database.store import Store
    from journal.keys.ring import Keyring

# The tree of a seal, and its heads by chain.
Sealed = tuple[Trie, list[SealHeadRow]]

PAGE_ENTRIES = 1_000
# Two trees with their heads where there are 20,000 chains; the one in use stays, whatever its size.
CACHED_BYTES = 20 * 1024 * 1024
HEAD_BYTES = 215
# So many heads that moved since are put into an earlier tree; of more, all are read.
FOLLOWED_HEADS = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainSeal:
    """What one seal states of one chain: the seal, the chain's head, and its path to the root."""

    seal: SealRow
    head: SealedHead
    path: list[bytes]

    def listed(self) -> ListedSeal:
        """Return it as extracts and head answers carry it."""
        return ListedSeal(
            text=self.seal.text,
            signature=self.seal.signature,
            head=self.head,
            path=tuple(self.path),
            timestamp=self.seal.timestamp,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DayRange:
    """The indexes `start` ≤ i < `end` of a compartment, all recorded on `day`."""

    day: date
    start: int
    end: int


class Reader:
    """Reads seals and the rows they cover; writes nothing."""

    def __init__(self, *, store: Store, keyring: Keyring, service_name: str, trust_path: Path) -> None:
        """Read this store; `trust_path` holds the certificates given to auditors."""
        self._store = store
        self._keyring = keyring
        self._service_name = service_name
        self._trust_path = trust_path
        self._trees: OrderedDict[int, Sealed] = OrderedDict()
        self._moved: dict[int, Sequence[SealHeadRow]] = {}

    def follow(self, number: int, moved: Sequence[SealHeadRow]) -> None:
        """Take note of the heads in which a new seal differs from the one before."""
        self._moved[number] = moved
        while sum(map(len, self._moved.values())) > FOLLOWED_HEADS:
            del self._moved[min(self._moved)]

    async def chain_seal(self, seal: SealRow, compartment: Compartment) -> ChainSeal | None:
        """Return a seal with the head and path of the compartment's chain; None where that chain is not in it."""
        tree, heads = await self._tree(seal)
        place = bisect_left(heads, chain := (compartment.tenant, compartment.category))
        if place == len(heads) or heads[place].chain != chain:
            return None
        head = sealed_head(self._service_name, heads[place])
        return ChainSeal(seal=seal, head=head, path=tree.path(compartment.origin))

    async def latest(self, compartment: Compartment) -> ChainSeal:
        """Return what the latest seal states. Raises NotCoveredError before there is one."""
        seal = await self._store.latest_seal()
        chain_seal = await self.chain_seal(seal, compartment) if seal is not None else None
        if chain_seal is None:
            raise NotCoveredError("no seal covers this compartment yet")
        return chain_seal

    async def pages(
        self, compartment: Compartment, ranges: Iterable[DayRange]
    ) -> AsyncGenerator[tuple[date, list[Row]], None]:
        """Yield (day, its next entries) in order, in short pages, each its own transaction.

        Raises StoreError as soon as one is missing: it was purged, or the row is gone.
        """
        for part in ranges:
            expected = part.start
            while expected < part.end:
                limit = min(PAGE_ENTRIES, part.end - expected)
                rows = await self._store.read_page(compartment.tenant, compartment.category, part.day, expected, limit)
                if [row[0] for row in rows] != list(range(expected, expected + limit)):
                    raise StoreError(f"entries from index {expected} on are missing on {part.day}")
                yield part.day, rows
                expected += limit

    async def head(self, compartment: Compartment) -> bytes:
        """Return the answer of `GET …/head`: what an auditor keeps as a known seal."""
        return encode_head_answer((await self.latest(compartment)).listed())

    async def seals(self, after: int, limit: int) -> list[dict[str, Any]]:
        """Return the seals numbered above `after`, at most `limit`, as JSON objects."""
        return [
            {
                "number": row.number,
                "signature": b64encode(row.signature).decode(),
                "text": row.text.decode("ascii"),
                **({"timestamp": b64encode(row.timestamp).decode()} if row.timestamp is not None else {}),
            }
            for row in await self._store.read_seals(after, limit)
        ]

    def trust(self) -> bytes:
        """Return the certificates an auditor trusts (PEM)."""
        return self._trust_path.read_bytes()

    async def status(self, tenant: str) -> list[dict[str, Any]]:
        """Return counters of the tenant's categories, never by agent, as JSON objects."""
        categories = await self._store.read_categories()
        codes = [category.code for category in categories]
        heads = {row.category: row for row in await self._store.read_heads([tenant] * len(codes), codes)}
        sources: dict[str, list[dict[str, Any]]] = {}
        missing = Counter[str]()
        for one in await read_sources(self._store, self._keyring, self._service_name, tenant):
            missing[one.row.category] += one.row.missing
            sources.setdefault(one.row.category, []).append(
                one.numbers.as_json() | {"last_day": format_day(one.row.last_day)}
            )
        days: dict[str, dict[str, dict[str, int]]] = {}
        for row in await self._store.read_activity(tenant):
            days.setdefault(row.category, {}).setdefault(format_day(row.day), {})[row.action] = row.count
        seal = await self._store.latest_seal()
        last_seal = {"number": seal.number, "sealed_at": format_seconds(seal.sealed_at)} if seal else None
        return [
            {
                "base": heads[category.code].kept_from,
                "category": category.code,
                "days": days.get(category.code, {}),
                "label": category.label,
                "last_purged_day": format_day(category.fence) if category.fence else None,
                "last_seal": last_seal,
                "missing": missing[category.code],
                "retention_days": category.retention_days,
                "size": heads[category.code].size,
                "sources": sources.get(category.code, []),
            }
            for category in categories
            if category.code in heads
        ]

    async def _tree(self, seal: SealRow) -> Sealed:
        """Return the seal's tree and its heads; recently used ones are cached."""
        number = seal.number
        found = self._trees.get(number)
        if found is None:
            found = self._followed(seal)
            if found is None:
                rows = await self._store.read_seal_heads(number)
                found = await asyncio.to_thread(grow, self._service_name, rows)
            self._trees[number] = found
            while len(self._trees) > 1 and sum(map(_size_bytes, self._trees.values())) > CACHED_BYTES:
                self._trees.popitem(last=False)
        else:
            self._trees.move_to_end(number)
        return found

    def _followed(self, seal: SealRow) -> Sealed | None:
        """Return them made of those of an earlier seal and of what has moved since; None where that is not known."""
        number, moved = seal.number, dict[tuple[str, str], SealHeadRow]()
        while number in self._moved and number not in self._trees:
            moved = {row.chain: row for row in self._moved[number]} | moved
            number -= 1
        if number not in self._trees:
            return None
        tree, heads = self._trees[number][0], self._trees[number][1].copy()
        for chain, row in moved.items():
            place = bisect_left(heads, chain)
            if place == len(heads) or heads[place].chain != chain:
                return None
            heads[place] = row
        tree = tree.changed(seal_leaves(self._service_name, moved.values()))
        # Should anything have been overlooked, everything is read.
        return (tree, heads) if tree.root == parse_seal(seal.text).root else None


def grow(service_name: str, rows: Iterable[SealHeadRow]) -> Sealed:
    """Return the tree over heads, and the heads by chain. Their names are in memory once, not once for each head."""
    names: dict[str, str] = {}
    one = names.setdefault
    heads = [
        SealHeadRow(one(tenant, tenant), one(category, category), size, chain_hash, kept_from, retention_days)
        for tenant, category, size, chain_hash, kept_from, retention_days in rows
    ]
    heads.sort()
    return seal_tree(service_name, heads), heads


def _size_bytes(cached: Sealed) -> int:
    """Return about how much memory a tree and its heads take."""
    tree, heads = cached
    return tree.size_bytes + HEAD_BYTES * len(heads)
