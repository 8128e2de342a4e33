"""Heads and leaf hashes as seals need them: plain values, which the signer knows too."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - msgspec reads this type
from typing import TYPE_CHECKING, NamedTuple

from journal.core.entry import SLUG, Compartment, is_tenant
from journal.core.seal import SealedHead, head_leaf
from journal.core.tree import Trie

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# A head that moved costs as much as so many that are hashed with all others.
MOVED_COST = 8


# A tuple: there are as many as chains, at every seal.
class SealHeadRow(NamedTuple):
    """A chain as a seal states it."""

    tenant: str
    category: str
    size: int
    chain_hash: bytes
    kept_from: int
    retention_days: int

    @property
    def chain(self) -> tuple[str, str]:
        """Return which chain it is."""
        return self.tenant, self.category


# A tuple: there are as many as chains, at every seal.
class HeadRow(NamedTuple):
    """The head of a chain. `recorded_at` is None while it is empty, and in heads of a closed day that changed since."""

    tenant: str
    category: str
    size: int
    chain_hash: bytes
    recorded_at: datetime | None
    kept_from: int
    retention_days: int

    @property
    def sealed(self) -> SealHeadRow:
        """Return it as a seal states it."""
        tenant, category, size, chain_hash, _, kept_from, retention_days = self
        return SealHeadRow(tenant, category, size, chain_hash, kept_from, retention_days)


# A tuple, as the next one: there are as many as chains that moved.
class LeafSpan(NamedTuple):
    """The entries of a chain from index `low` up to, not including, `high`."""

    tenant: str
    category: str
    low: int
    high: int


class LeafRun(NamedTuple):
    """Consecutive leaf hashes, 32 bytes each, joined; `first_index` is that of the first.

    `place` is that of their span among those that were asked for, from 1.
    """

    place: int
    first_index: int
    leaves: bytes


def sealed_head(service_name: str, head: SealHeadRow) -> SealedHead:
    """Return the head as the seal tree states it."""
    return SealedHead(
        origin=Compartment(service_name, head.tenant, head.category).origin,
        size=head.size,
        chain_hash=head.chain_hash,
        kept_from=head.kept_from,
        retention_days=head.retention_days,
    )


def seal_tree(service_name: str, heads: Iterable[SealHeadRow]) -> Trie:
    """Return the tree over the heads of a seal. ValueError if one is not valid, or two are of one chain."""
    return Trie(leaves=seal_leaves(service_name, heads))


class SealTrees:
    """Grows the trees of seals, each of the one before where few heads have moved."""

    def __init__(self, service_name: str) -> None:
        """Have grown none."""
        self._service_name = service_name
        # Together, as threads may take turns.
        self._last: tuple[dict[tuple[str, str], SealHeadRow], Trie] = {}, Trie()

    def grow(self, heads: Sequence[SealHeadRow]) -> Trie:
        """Return the tree over the heads of a seal. Raises as `seal_tree`."""
        rows = {head[:2]: head for head in heads}
        known, last = self._last
        moved = [row for chain, row in rows.items() if known.get(chain) != row]
        if len(rows) == len(heads) >= MOVED_COST * len(moved) and rows.keys() == known.keys():
            tree = last.changed(seal_leaves(self._service_name, moved))
        else:
            tree = seal_tree(self._service_name, heads)
        self._last = rows, tree
        return tree


def seal_leaves(service_name: str, heads: Iterable[SealHeadRow]) -> list[tuple[bytes, bytes]]:
    """Return key and leaf of each head, without the values that `sealed_head` makes: there are as many as chains."""
    start = Compartment(service_name, "tenant", "category").origin.removesuffix("tenant/category")
    leaves: list[tuple[bytes, bytes]] = []
    for tenant, category, size, chain_hash, kept_from, retention_days in heads:
        if not (is_tenant(tenant) and SLUG.match(category)):
            raise ValueError("a head is of a tenant and a category")
        leaves.append(head_leaf(f"{start}{tenant}/{category}", size, chain_hash, kept_from, retention_days))
    return leaves
