"""The seal tree: one root for a set of heads, one place for an origin, a path for each."""

from __future__ import annotations

import json
from dataclasses import replace
from hashlib import sha256
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from journal.core.errors import MalformedError
from journal.core.seal import EMPTY_ROOT, SealedHead, parse_head
from journal.core.tree import Trie, root_from_path
from journal.database.heads import MOVED_COST, SealHeadRow, SealTrees, seal_tree, sealed_head

if TYPE_CHECKING:
    import random

VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "v1" / "core.json").read_text())
VECTOR_HEADS = [
    parse_head(
        vector["origin"],
        {name: vector[name] for name in ("size", "chain_hash", "kept_from", "retention_days")},
    )
    for vector in VECTORS["heads"]
]


def make_head(number: int) -> SealedHead:
    """Make the head of some chain."""
    chain_hash = sha256(str(number).encode()).digest()
    return SealedHead(f"openepm-journal/v1/s.fr/t{number}/c", number, chain_hash, number // 2, 2 + number % 59)


HEADS = st.lists(st.integers(0, 10**6).map(make_head), unique_by=lambda head: head.origin, max_size=40)


def key_of(head: SealedHead) -> str:
    """Return the key of a head as 256 characters 0 or 1."""
    return f"{int.from_bytes(sha256(head.origin.encode()).digest(), 'big'):0256b}"


def node(heads: list[SealedHead], depth: int) -> bytes:
    """Hash a set of heads straight from the definition."""
    if not heads:
        return bytes(32)
    if len(heads) == 1:
        return heads[0].leaf
    zeros = [head for head in heads if key_of(head)[depth] == "0"]
    ones = [head for head in heads if key_of(head)[depth] == "1"]
    return sha256(b"\x03" + node(zeros, depth + 1) + node(ones, depth + 1)).digest()


def leads_to(head: SealedHead, path: list[bytes], root: bytes) -> bool:
    """Tell whether a path is one, and leads to that root."""
    try:
        return root_from_path(head, path) == root
    except MalformedError:
        return False


@pytest.mark.parametrize("vector", VECTORS["trees"], ids=lambda vector: str(vector["chains"]))
def test_a_tree_is_that_of_the_vector(vector: dict[str, object]) -> None:
    """Root and paths are those an independent program computes."""
    heads = VECTOR_HEADS[: vector["chains"]]  # type: ignore[index]  # an integer
    tree = Trie(heads)
    assert tree.chains == vector["chains"]
    assert tree.root.hex() == vector["root"]
    assert [[sibling.hex() for sibling in tree.path(head.origin)] for head in heads] == vector["paths"]


@given(HEADS)
def test_a_tree_is_that_of_the_definition(heads: list[SealedHead]) -> None:
    """The root is the definition's, worked out on sets."""
    assert Trie(heads).root == node(heads, 0)


@given(HEADS, st.randoms())
def test_order_does_not_count(heads: list[SealedHead], order: random.Random) -> None:
    """The same heads in any order make the same tree, the same root and the same paths."""
    other = heads.copy()
    order.shuffle(other)
    one, another = Trie(heads), Trie(iter(other))
    assert one.root == another.root
    assert one.chains == another.chains == len(heads)
    assert all(one.path(head.origin) == another.path(head.origin) for head in heads)


@given(HEADS)
def test_every_path_leads_to_the_root(heads: list[SealedHead]) -> None:
    """Each chain's head and path lead to the one root, whose depth they count."""
    tree = Trie(heads)
    assert all(root_from_path(head, tree.path(head.origin)) == tree.root for head in heads)


@given(HEADS.filter(bool), st.data())
def test_a_head_changed_leads_elsewhere(heads: list[SealedHead], data: st.DataObject) -> None:
    """No other size, hash, beginning, rule or origin leads to the root by that path."""
    tree = Trie(heads)
    head = data.draw(st.sampled_from(heads))
    path = tree.path(head.origin)
    for change in (
        {"size": head.size + 1},
        {"chain_hash": bytes(32)},
        {"kept_from": head.kept_from + 1, "size": head.size + 1},
        {"retention_days": 2 + (head.retention_days - 1) % 59},
        {"origin": head.origin + "x"},
    ):
        assert root_from_path(replace(head, **change), path) != tree.root  # type: ignore[arg-type]  # of one kind each
    for other in heads:
        if other != head:
            assert root_from_path(other, path) != tree.root


@given(HEADS.filter(lambda heads: len(heads) > 1), st.data())
def test_a_path_altered_leads_elsewhere(heads: list[SealedHead], data: st.DataObject) -> None:
    """A path with siblings exchanged, cut short or made longer does not lead to the root."""
    tree = Trie(heads)
    head = data.draw(st.sampled_from(heads))
    path = tree.path(head.origin)
    altered = [path[1:], path[:-1], [*path, tree.root], [tree.root, *path], [*path, path[-1]]]
    if path[::-1] != path:
        altered.append(path[::-1])
    assert leads_to(head, path, tree.root)
    assert not any(leads_to(head, siblings, tree.root) for siblings in altered)


def test_every_bit_of_a_path_counts() -> None:
    """No bit of any sibling can be changed, for any chain of a tree."""
    tree = Trie(VECTOR_HEADS)
    for head in VECTOR_HEADS[:8]:
        path = tree.path(head.origin)
        for place in range(len(path)):
            for bit in range(256):
                sibling = bytearray(path[place])
                sibling[bit // 8] ^= 1 << bit % 8
                assert root_from_path(head, [*path[:place], bytes(sibling), *path[place + 1 :]]) != tree.root


def test_every_bit_of_a_head_hash_counts() -> None:
    """No bit of a chain hash can be changed."""
    tree = Trie(VECTOR_HEADS)
    head = VECTOR_HEADS[5]
    for bit in range(256):
        chain_hash = bytearray(head.chain_hash)
        chain_hash[bit // 8] ^= 1 << bit % 8
        altered = replace(head, chain_hash=bytes(chain_hash))
        assert root_from_path(altered, tree.path(head.origin)) != tree.root


@given(HEADS.filter(bool), st.data())
def test_a_chain_that_vanishes_shows(heads: list[SealedHead], data: st.DataObject) -> None:
    """Without one of its chains, or with one more, a tree has another root."""
    gone = data.draw(st.sampled_from(heads))
    more = replace(gone, origin=gone.origin + "-more")
    assert Trie([head for head in heads if head != gone]).root != Trie(heads).root
    assert Trie([*heads, more]).root != Trie(heads).root


def test_no_chain_has_the_empty_root() -> None:
    """The tree over nothing is 32 zero bytes and counts none."""
    tree = Trie([])
    assert tree.root == EMPTY_ROOT
    assert tree.chains == 0


def test_one_chain_is_its_own_tree() -> None:
    """The root over one chain is its leaf, and its path is empty."""
    head = make_head(1)
    tree = Trie([head])
    assert tree.root == head.leaf
    assert tree.path(head.origin) == []
    assert root_from_path(head, []) == tree.root


def test_two_chains_deep_down_stand_beside_empty_siblings() -> None:
    """Keys that agree in many bits lead to a long path, empty but for its end."""
    seen: dict[str, SealedHead] = {}
    for number in range(20_000):
        head = make_head(number)
        twin = seen.setdefault(key_of(head)[:20], head)
        if twin != head:
            break
    tree = Trie([head, twin])
    path = tree.path(head.origin)
    assert len(path) > 20
    assert set(path[:-1]) == {EMPTY_ROOT}
    assert path[-1] == twin.leaf
    assert root_from_path(head, path) == root_from_path(twin, tree.path(twin.origin)) == tree.root


@given(HEADS)
def test_an_origin_that_is_not_there_has_no_path(heads: list[SealedHead]) -> None:
    """Asking for a chain the tree does not hold is an error, whichever side of the others it would stand."""
    tree = Trie(heads)
    for number in range(5):
        with pytest.raises(KeyError):
            tree.path(f"openepm-journal/v1/s.fr/absent-{number}/c")


def test_an_origin_has_one_head() -> None:
    """Two heads of one origin make no tree, equal or not."""
    for other in (make_head(1), replace(make_head(1), size=2)):
        with pytest.raises(ValueError, match="one head"):
            Trie([make_head(1), make_head(2), other])


def test_a_path_has_a_limit() -> None:
    """256 siblings are as many as a key has bits; one more is refused."""
    sibling = b"\x01" * 32
    assert len(root_from_path(make_head(1), [sibling] * 256)) == 32
    with pytest.raises(MalformedError, match="256"):
        root_from_path(make_head(1), [sibling] * 257)


@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_sibling_of_another_length_is_refused(length: int) -> None:
    """Siblings of other lengths would let their border move."""
    with pytest.raises(MalformedError, match="32 bytes"):
        root_from_path(make_head(1), [b"\x01" * 32, bytes(length)])


def test_a_path_does_not_end_beside_nothing() -> None:
    """A lone chain's leaf is as high as possible: one place, one path."""
    with pytest.raises(MalformedError, match="empty subtree"):
        root_from_path(make_head(1), [b"\x01" * 32, EMPTY_ROOT])


@given(st.lists(st.integers(0, 10**6), unique=True, max_size=40))
def test_a_tree_of_rows_is_that_of_their_heads(numbers: list[int]) -> None:
    """The heads of a seal, as the database and the signer have them, make the same tree without being made heads."""
    rows = [
        SealHeadRow(f"t{number}", "c", head.size, head.chain_hash, head.kept_from, head.retention_days)
        for number, head in zip(numbers, map(make_head, numbers), strict=True)
    ]
    one, another = seal_tree("s.fr", rows), Trie(sealed_head("s.fr", row) for row in rows)
    assert one.root == another.root == node(list(map(make_head, numbers)), 0)


@pytest.mark.parametrize(
    "change",
    [
        {"tenant": "A"},
        {"category": "b/c"},
        {"size": -1},
        {"kept_from": 8},
        {"chain_hash": bytes(31)},
        {"retention_days": 61},
        {"tenant": "t2"},
    ],
)
def test_a_row_that_is_no_head_makes_no_tree(change: dict[str, Any]) -> None:
    """What `SealedHead` refuses, and a second head of one chain."""
    row = SealHeadRow("t1", "c", 7, bytes(32), 0, 60)
    assert seal_tree("s.fr", [row, row._replace(tenant="t2")]).chains == 2
    with pytest.raises(ValueError, match=r"head|hash"):
        seal_tree("s.fr", [row._replace(**change), row._replace(tenant="t2")])


def test_its_size_grows_with_its_chains() -> None:
    """A cache of trees is bounded by this: nothing for none, and the same for every chain."""
    sizes = [Trie([make_head(number) for number in range(count)]).size_bytes for count in (0, 1, 3)]
    assert sizes[0] == 0 < len(make_head(0).origin) < sizes[1] == sizes[2] / 3


@given(heads=HEADS, other=st.data())
def test_a_changed_tree_is_the_one_of_the_changed_heads(heads: list[SealedHead], other: st.DataObject) -> None:
    """Its root, its paths, and what is changed of it again; the tree that it was made of stays as it is."""
    tree = Trie(heads)
    root = tree.root
    for _ in range(2):
        some = other.draw(st.lists(st.sampled_from(heads), unique=True)) if heads else []
        moved = {head.origin: replace(head, size=head.size + 1) for head in some}
        heads = [moved.get(head.origin, head) for head in heads]
        changed, whole = (
            tree.changed((sha256(head.origin.encode()).digest(), head.leaf) for head in moved.values()),
            Trie(heads),
        )
        assert (changed.root, changed.chains) == (whole.root, whole.chains)
        assert [changed.path(head.origin) for head in heads] == [whole.path(head.origin) for head in heads]
        assert tree.root == root
        tree, root = changed, changed.root


def test_every_pair_of_chains_changes_as_it_is_built() -> None:
    """However many bits of their places two chains share: a tree that does not branch at its root is lifted to it."""
    heads = [make_head(number) for number in range(12)]
    for one, other in combinations(heads, 2):
        moved = replace(one, size=one.size + 1)
        changed = Trie([one, other]).changed([(sha256(one.origin.encode()).digest(), moved.leaf)])
        assert changed.root == Trie([moved, other]).root


def test_a_chain_that_is_not_in_the_tree_cannot_change() -> None:
    """Nor can one of a tree without chains."""
    head = make_head(3)
    leaf = (sha256(head.origin.encode()).digest(), head.leaf)
    for tree in (Trie(), Trie([make_head(1), make_head(2)])):
        with pytest.raises(KeyError):
            tree.changed([leaf])


def test_the_trees_of_seals_are_those_of_their_heads() -> None:
    """Whether few heads move or many, chains come or go, or the heads of a seal cannot be sealed."""
    trees = SealTrees("s.fr")
    rows = [
        SealHeadRow(f"t{number}", "c", number, sha256(b"%d" % number).digest(), 0, 60)
        for number in range(MOVED_COST * 3)
    ]
    for moved in (0, 0, 1, 3, 2, MOVED_COST * 3, 1):
        rows = [row._replace(size=row.size + 1) if place < moved else row for place, row in enumerate(rows)]
        assert trees.grow(rows).root == seal_tree("s.fr", rows).root
    for other in (rows[1:], rows, [*rows, rows[0]._replace(tenant="new")], [*rows[1:], rows[0]._replace(tenant="new")]):
        assert trees.grow(other).root == seal_tree("s.fr", other).root
    for wrong in ([*rows, rows[0]], [*rows[1:], rows[0]._replace(size=-1)]):
        trees.grow(rows)
        with pytest.raises(ValueError, match=r"origin|size|head"):
            trees.grow(wrong)
        assert trees.grow(rows).root == seal_tree("s.fr", rows).root
