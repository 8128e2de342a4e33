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
# A key with its place in a list, a leaf, and nearly a node.
_BYTES_PER_CHAIN = 158


def _key(origin: str) -> bytes:
    return sha256(origin.encode()).digest()


def _bit(key: bytes, depth: int) -> int:
    """Return bit `depth` of a key, bit 0 the most significant of its first byte."""
    return key[depth // 8] >> (7 - depth % 8) & 1


def _node(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x03" + left + right).digest()


def _lift(node: bytes, key: bytes, depth: int, until: int) -> bytes:
    """Return the node at depth `until` above one at `depth`, where nothing else is below it; `key` is of a leaf."""
    while depth > until:
        depth -= 1
        node = _node(EMPTY_ROOT, node) if _bit(key, depth) else _node(node, EMPTY_ROOT)
    return node


def _shared(one: bytes, other: bytes) -> int:
    """Return how many bits two keys have in common, from the first on."""
    return DEPTH_LIMIT - (int.from_bytes(one, "big") ^ int.from_bytes(other, "big")).bit_length()


class Trie:
    """The tree over some heads, every node hashed once.

    Of the nodes it keeps those under which the tree branches: as many as chains, less one.
    """

    def __init__(self, heads: Iterable[SealedHead] = (), *, leaves: Iterable[tuple[bytes, bytes]] = ()) -> None:
        """Build the tree of heads, and of what `head_leaf` returns of heads; ValueError if two have one origin."""
        self._build(sorted([*((_key(head.origin), head.leaf) for head in heads), *leaves]))

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
                siblings.append(self._at(first, middle, depth + 1))
                first = middle
            else:
                siblings.append(self._at(middle, end, depth + 1))
                end = middle
        return siblings

    def changed(self, leaves: Iterable[tuple[bytes, bytes]]) -> Trie:
        """Return the tree of the same origins with other leaves for some; KeyError for one that is not in it.

        Only what is above those leaves is hashed.
        """
        other = Trie()
        other._keys, other._leaves, other._branches = self._keys, bytearray(self._leaves), bytearray(self._branches)
        places: list[int] = []
        for key, leaf in sorted(leaves):
            place = bisect_left(self._keys, key)
            if self._keys[place : place + 1] != [key]:
                raise KeyError(key)
            other._leaves[HASH_BYTES * place : HASH_BYTES * (place + 1)] = leaf
            places.append(place)
        if places:
            other._rehash(0, len(self._keys), places)
        other._root = other._at(0, len(self._keys), 0)
        return other

    def _rehash(self, first: int, end: int, places: Sequence[int]) -> None:
        """Hash the branches between the leaves from `first` to `end` anew that are above these places."""
        if end - first == 1:
            return
        branching = _shared(self._keys[first], self._keys[end - 1])
        middle = self._middle(first, end, branching)
        right = bisect_left(places, middle)
        if right > 0:
            self._rehash(first, middle, places[:right])
        if right < len(places):
            self._rehash(middle, end, places[right:])
        node = _node(self._at(first, middle, branching + 1), self._at(middle, end, branching + 1))
        self._branches[HASH_BYTES * (middle - 1) : HASH_BYTES * middle] = node

    def _build(self, leaves: list[tuple[bytes, bytes]]) -> None:
        """Hash from left to right: what branches deeper than the next leaf does is whole."""
        keys = self._keys = [key for key, _ in leaves]
        self._leaves = bytearray().join([leaf for _, leaf in leaves])
        numbers = [int.from_bytes(key, "big") for key in keys]
        shared = [DEPTH_LIMIT - (one ^ other).bit_length() for one, other in zip(numbers, numbers[1:])]
        if DEPTH_LIMIT in shared:
            raise ValueError("an origin has one head")
        # Where the tree branches between a leaf and the next one: the hash of that node.
        branches = [b""] * len(shared)
        # Of the branches whose right side is not whole yet: depth, left side, between which leaves.
        waiting: list[tuple[int, bytes, int]] = []
        self._root = EMPTY_ROOT
        for place, (key, leaf) in enumerate(leaves):
            # The next branch, after this leaf; before the first, and after the last, there is none.
            until = shared[place] if place < len(shared) else -1
            node, depth = leaf, 0  # a leaf alone takes the place of all above it: it is never lifted
            while waiting and waiting[-1][0] > until:
                above, left, between = waiting.pop()
                node = branches[between] = _node(left, _lift(node, key, depth, above + 1))
                depth = above
            self._root = _lift(node, key, depth, until + 1)
            waiting.append((until, self._root, place))
        self._branches = bytearray().join(branches)

    def _middle(self, first: int, end: int, depth: int) -> int:
        """Return the first position in [first, end) whose key has bit `depth` set, or `end`.

        The keys there share the bits above `depth`, and are sorted: bisect on the smallest key with it set.
        """
        start = int.from_bytes(self._keys[first], "big") >> (DEPTH_LIMIT - depth) << 1 | 1
        return bisect_left(self._keys, (start << (DEPTH_LIMIT - depth - 1)).to_bytes(HASH_BYTES, "big"), first, end)

    def _at(self, first: int, end: int, depth: int) -> bytes:
        """Return the node at `depth` over the leaves from `first` to `end`, which share the bits above it."""
        if first == end:
            return EMPTY_ROOT
        if end - first == 1:
            return bytes(self._leaves[HASH_BYTES * first : HASH_BYTES * end])
        branching = _shared(self._keys[first], self._keys[end - 1])
        between = self._middle(first, end, branching) - 1
        node = bytes(self._branches[HASH_BYTES * between : HASH_BYTES * (between + 1)])
        return _lift(node, self._keys[first], branching, depth)


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
