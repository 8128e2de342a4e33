"""The seal tree: a binary trie over the heads of all chains (FORMAT.md, "Seal tree").

The key of an origin, SHA-256(origin), alone decides its place. So the root does not depend on any order, an origin
has one place, and the shape of the tree reveals no names.
"""

from __future__ import annotations

from bisect import bisect_left
from hashlib import sha256
from typing import TYPE_CHECKING

from journal.core.chain import HASH_BYTES
from journal.core.errors import MalformedError
from journal.core.seal import EMPTY_ROOT

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from journal.core.seal import SealedHead

DEPTH_LIMIT = 8 * HASH_BYTES
# A key and a leaf (81 bytes each with their places), and nearly a node: its hash, its place, its slot in a dictionary.
_BYTES_PER_CHAIN = 500


def _key(origin: str) -> bytes:
    return sha256(origin.encode()).digest()


def _bit(key: bytes, depth: int) -> int:
    """Return bit `depth` of a key, bit 0 the most significant of its first byte."""
    return key[depth // 8] >> (7 - depth % 8) & 1


def _node(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x03" + left + right).digest()


class Trie:
    """The tree over some heads, every node hashed once."""

    def __init__(self, heads: Iterable[SealedHead]) -> None:
        """Build the tree; ValueError if two heads have one origin."""
        leaves = sorted((_key(head.origin), head.leaf) for head in heads)
        self._keys = [key for key, _ in leaves]
        self._leaves = [leaf for _, leaf in leaves]
        if len(set(self._keys)) != len(self._keys):
            raise ValueError("an origin has one head")
        # Node hashes by (first position, end, depth): `path` then costs only its own length.
        self._nodes: dict[tuple[int, int, int], bytes] = {}
        self._root = self._hash(0, len(leaves), 0)

    @property
    def root(self) -> bytes:
        """The 32 bytes a seal signs; all zero for no chain."""
        return self._root

    @property
    def chains(self) -> int:
        """How many chains the tree holds."""
        return len(self._keys)

    @property
    def size_bytes(self) -> int:
        """About how much memory it takes, its keys and leaves included."""
        return self.chains * _BYTES_PER_CHAIN

    def path(self, origin: str) -> list[bytes]:
        """Return the siblings from depth 0 down to the origin's leaf; KeyError if it is not in the tree."""
        key = _key(origin)
        position = bisect_left(self._keys, key)
        if self._keys[position : position + 1] != [key]:
            raise KeyError(origin)
        siblings: list[bytes] = []
        first, end = 0, len(self._keys)
        while end - first > 1:
            depth = len(siblings)
            middle = self._middle(first, end, depth)
            if _bit(key, depth):
                siblings.append(self._hash(first, middle, depth + 1))
                first = middle
            else:
                siblings.append(self._hash(middle, end, depth + 1))
                end = middle
        return siblings

    def _middle(self, first: int, end: int, depth: int) -> int:
        """Return the first position in [first, end) whose key has bit `depth` set, or `end`.

        The keys there share the bits above `depth`, and are sorted: bisect on the smallest key with it set.
        """
        start = int.from_bytes(self._keys[first], "big") >> (DEPTH_LIMIT - depth) << 1 | 1
        return bisect_left(self._keys, (start << (DEPTH_LIMIT - depth - 1)).to_bytes(HASH_BYTES, "big"), first, end)

    def _hash(self, first: int, end: int, depth: int) -> bytes:
        if first == end:
            return EMPTY_ROOT
        if end - first == 1:
            return self._leaves[first]
        place = (first, end, depth)
        if place not in self._nodes:
            middle = self._middle(first, end, depth)
            self._nodes[place] = _node(self._hash(first, middle, depth + 1), self._hash(middle, end, depth + 1))
        return self._nodes[place]


def root_from_path(head: SealedHead, path: Sequence[bytes]) -> bytes:
    """Return the root that a head and its path lead to, for the caller to compare with the seal's.

    MalformedError if the path is longer than 256, a sibling is not 32 bytes, or the last one is empty: a
    chain alone in its subtree takes the place of that subtree, so no path ends beside an empty one.
    """
    if len(path) > DEPTH_LIMIT:
        raise MalformedError("a path is at most 256 siblings")
    if any(len(sibling) != HASH_BYTES for sibling in path):
        raise MalformedError("a sibling is 32 bytes")
    if path and path[-1] == EMPTY_ROOT:
        raise MalformedError("the last sibling of a path is an empty subtree")
    key = _key(head.origin)
    node = head.leaf
    for depth in range(len(path) - 1, -1, -1):
        node = _node(path[depth], node) if _bit(key, depth) else _node(node, path[depth])
    return node
