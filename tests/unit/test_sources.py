"""Names of sources open with their own key, beside their own source; ranges hold the numbers they were made of."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from journal.core.errors import BrokenChainError
from journal.core.sources import SourceNames, ranges

NAMES = SourceNames(b"k" * 32)
SOURCE_KEY, NONCE = b"s" * 32, b"n" * 12
SEALED = NAMES.seal("/openepm/montreuil", "2026-1", key=SOURCE_KEY, nonce=NONCE)

TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=64)


@given(TEXTS, TEXTS, st.binary(min_size=32, max_size=32))
def test_a_name_opens_beside_its_source(source: str, epoch: str, key: bytes) -> None:
    """Sealing and opening are each other's inverse, whatever the texts."""
    assert NAMES.open(NAMES.seal(source, epoch, key=key, nonce=NONCE), key=key) == (source, epoch)


def test_the_longest_name_opens() -> None:
    """Every character of it may take an escape of six bytes."""
    source, epoch = "\x01" * 256, "\x01" * 64
    assert NAMES.open(NAMES.seal(source, epoch, key=SOURCE_KEY, nonce=NONCE), key=SOURCE_KEY) == (source, epoch)


def test_the_nonce_precedes_what_is_encrypted() -> None:
    """Canonical JSON of source and epoch, bound to the key of the source."""
    plain = AESGCM(b"k" * 32).decrypt(NONCE, SEALED.removeprefix(NONCE), SOURCE_KEY)
    assert plain == b'["/openepm/montreuil","2026-1"]'


@pytest.mark.parametrize(
    ("names", "name", "key"),
    [
        (NAMES, SEALED, b"t" * 32),
        (SourceNames(b"l" * 32), SEALED, SOURCE_KEY),
        (NAMES, SEALED[:-1] + bytes([SEALED[-1] ^ 1]), SOURCE_KEY),
        (NAMES, b"m" + SEALED[1:], SOURCE_KEY),
        (NAMES, SEALED[:20], SOURCE_KEY),
        (NAMES, b"", SOURCE_KEY),
        (NAMES, NONCE + AESGCM(b"k" * 32).encrypt(NONCE, b'["one"]', SOURCE_KEY), SOURCE_KEY),
        (NAMES, NONCE + AESGCM(b"k" * 32).encrypt(NONCE, b"no JSON", SOURCE_KEY), SOURCE_KEY),
    ],
    ids=["other source", "other compartment", "altered", "other nonce", "cut", "empty", "one text", "no JSON"],
)
def test_another_name_is_refused(names: SourceNames, name: bytes, key: bytes) -> None:
    """Altered, of another source or compartment, or not a pair of texts."""
    with pytest.raises(BrokenChainError, match="does not decrypt"):
        names.open(name, key=key)


@pytest.mark.parametrize(
    ("numbers", "found"),
    [
        ([], []),
        ([7], [(7, 7)]),
        ([3, 1, 2], [(1, 3)]),
        ([1, 2, 4, 6, 7], [(1, 2), (4, 4), (6, 7)]),
        ([5, 5, 6, 5], [(5, 6)]),
    ],
)
def test_numbers_are_gathered_in_ranges(numbers: list[int], found: list[tuple[int, int]]) -> None:
    """Neighbours are one range, whatever the order and however often a number comes."""
    assert ranges(numbers) == found


@given(st.lists(st.integers(0, 60)))
def test_ranges_hold_exactly_the_numbers(numbers: list[int]) -> None:
    """They are in order, and at least one number lies between two of them."""
    found = ranges(numbers)
    assert [number for low, high in found for number in range(low, high + 1)] == sorted(set(numbers))
    assert all(before[1] + 1 < after[0] for before, after in zip(found, found[1:]))
