"""The chain: every hash follows from all that came before, and no two inputs share their bytes."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from journal.core.chain import SALT_BYTES, Head, extend, extend_all, genesis, leaf_hash

CHAIN = json.loads((Path(__file__).parent.parent / "vectors" / "v1" / "core.json").read_text())["chain"]
HASHES = st.binary(min_size=32, max_size=32)
SALTS = st.binary(min_size=SALT_BYTES, max_size=SALT_BYTES)


def run(chain_hash: bytes, leaves: list[bytes]) -> list[bytes]:
    """Return the chain hashes from a start over some leaves."""
    hashes = [chain_hash]
    for leaf in leaves:
        hashes.append(extend(hashes[-1], leaf))
    return hashes


def test_the_chain_is_that_of_the_vectors() -> None:
    """Genesis, leaf hashes and chain hashes are those an independent program computes."""
    head = genesis(CHAIN["origin"])
    assert head == Head(0, bytes.fromhex(CHAIN["genesis"]))
    chain_hash = head.chain_hash
    for vector in CHAIN["entries"]:
        leaf = leaf_hash(bytes.fromhex(vector["salt"]), vector["record"].encode())
        chain_hash = extend(chain_hash, leaf)
        assert leaf.hex() == vector["leaf_hash"]
        assert chain_hash.hex() == vector["chain_hash"]


@given(HASHES, st.lists(HASHES, max_size=8))
def test_many_leaves_at_once_give_the_same(start: bytes, leaves: list[bytes]) -> None:
    """Each chain hash; leaf hashes of another length are refused."""
    assert extend_all(start, b"".join(leaves)) == run(start, leaves)[1:]
    for wrong in ((start[1:], b"".join(leaves)), (start, b"".join(leaves) + b"x")):
        with pytest.raises(ValueError, match="32 bytes"):
            extend_all(*wrong)


@given(HASHES, st.lists(HASHES, max_size=8), st.lists(HASHES, max_size=8))
def test_a_chain_may_be_extended_in_parts(start: bytes, first: list[bytes], then: list[bytes]) -> None:
    """Extending by two batches leads where extending by both at once does."""
    assert run(run(start, first)[-1], then)[-1] == run(start, first + then)[-1]


@given(HASHES, st.lists(HASHES, min_size=1, max_size=8), st.data())
def test_a_leaf_changed_changes_all_that_follows(start: bytes, leaves: list[bytes], data: st.DataObject) -> None:
    """From the leaf that was altered on, no chain hash is what it was; before it, all are."""
    place = data.draw(st.integers(0, len(leaves) - 1))
    altered = [*leaves[:place], data.draw(HASHES), *leaves[place + 1 :]]
    assume(altered != leaves)
    before, after = run(start, leaves), run(start, altered)
    assert before[: place + 1] == after[: place + 1]
    assert not set(before[place + 1 :]) & set(after[place + 1 :])


@given(HASHES, st.lists(HASHES, min_size=2, max_size=6, unique=True), st.randoms())
def test_order_counts(start: bytes, leaves: list[bytes], order: object) -> None:
    """The same leaves in another order lead elsewhere."""
    other = leaves.copy()
    order.shuffle(other)  # type: ignore[attr-defined]  # a random.Random
    assert (run(start, other)[-1] == run(start, leaves)[-1]) == (other == leaves)


@given(HASHES, st.lists(HASHES, min_size=1, max_size=8))
def test_an_entry_missing_or_doubled_shows(start: bytes, leaves: list[bytes]) -> None:
    """A chain cut short, or with one leaf twice, has another head."""
    head = run(start, leaves)[-1]
    assert run(start, leaves[:-1])[-1] != head
    assert run(start, [*leaves, leaves[-1]])[-1] != head


@given(SALTS, st.binary(), SALTS, st.binary())
def test_two_entries_never_share_a_leaf(salt: bytes, record: bytes, other_salt: bytes, other: bytes) -> None:
    """Other salt or other record, other leaf hash."""
    assume((salt, record) != (other_salt, other))
    assert leaf_hash(salt, record) != leaf_hash(other_salt, other)


@given(st.binary(min_size=64, max_size=64))
def test_the_same_bytes_hash_apart_in_each_structure(data: bytes) -> None:
    """A leaf is no chain hash, and a chain hash no genesis, though made of the same bytes."""
    text = data.hex()
    hashes = {
        leaf_hash(data[:16], data[16:]),
        extend(data[:32], data[32:]),
        leaf_hash(text.encode()[:16], text.encode()[16:]),
        genesis(text).chain_hash,
        sha256(data).digest(),
        sha256(text.encode()).digest(),
    }
    assert len(hashes) == 6


@pytest.mark.untraced
@given(st.text(), st.text())
def test_two_origins_never_share_a_beginning(one: str, other: str) -> None:
    """Each chain begins from its own hash, so that none can be taken for another."""
    assert (genesis(one) == genesis(other)) == (one == other)


@pytest.mark.parametrize("length", [0, 15, 17, 32])
def test_a_salt_of_another_length_is_refused(length: int) -> None:
    """A salt of another length would let its border with the record move."""
    with pytest.raises(ValueError, match="salt"):
        leaf_hash(bytes(length), b"record")


@pytest.mark.parametrize(("chain_hash", "leaf"), [(31, 33), (33, 31), (32, 0), (0, 32), (16, 48)])
def test_a_hash_of_another_length_is_refused(chain_hash: int, leaf: int) -> None:
    """Hashes of other lengths would let their border move."""
    with pytest.raises(ValueError, match="hash"):
        extend(bytes(chain_hash), bytes(leaf))
