"""The envelope opens with its own key, in its own place, unaltered; or not at all."""

from __future__ import annotations

import json
from datetime import date, datetime, timezone
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from journal.core.entry import event_key
from journal.core.envelope import (
    associated_data,
    derive_data_key,
    derive_event_key_key,
    open_entry,
    seal_entry,
)
from journal.core.errors import BrokenChainError

CHAIN = json.loads((Path(__file__).parent.parent / "vectors" / "v1" / "core.json").read_text())["chain"]
DAY = date(2026, 3, 14)
ORIGIN = CHAIN["origin"]
PREFIX = ORIGIN.encode() + b"\0"
DAY_KEY, TENANT_KEY = bytes.fromhex(CHAIN["day_key"]), bytes.fromhex(CHAIN["tenant_key"])
KEY = bytes.fromhex(CHAIN["data_key"])
CIPHER = AESGCM(KEY)
SALT, NONCE = b"s" * 16, b"n" * 12

SALTS = st.binary(min_size=16, max_size=16)
NONCES = st.binary(min_size=12, max_size=12)
INDEXES = st.integers(0, 2**64 - 1)


def seal(record: bytes, index: int = 7) -> bytes:
    """Seal a record in the place most tests here use."""
    return seal_entry(CIPHER, nonce=NONCE, salt=SALT, record=record, origin_prefix=PREFIX, index=index)


def test_keys_are_those_of_the_vectors() -> None:
    """Data key and event key's key are those an independent HKDF gives."""
    data_key = derive_data_key(day_key=DAY_KEY, tenant_key=TENANT_KEY, origin=ORIGIN, day=DAY)
    event_key_key = derive_event_key_key(tenant_key=TENANT_KEY, origin=ORIGIN)
    assert data_key.hex() == CHAIN["data_key"]
    assert event_key_key.hex() == CHAIN["event_key_key"]


def test_sealed_entries_are_those_of_the_vectors() -> None:
    """Sealing gives the vector's bytes, opening gives back its salt and record."""
    for vector in CHAIN["entries"]:
        salt, nonce = bytes.fromhex(vector["salt"]), bytes.fromhex(vector["nonce"])
        record, index = vector["record"].encode(), vector["index"]
        sealed = seal_entry(CIPHER, nonce=nonce, salt=salt, record=record, origin_prefix=PREFIX, index=index)
        assert sealed.hex() == vector["sealed"]
        assert open_entry(CIPHER, sealed, origin_prefix=PREFIX, index=index) == (salt, record)
        assert associated_data(ORIGIN, index).hex() == vector["associated_data"]


@given(st.binary(), SALTS, NONCES, INDEXES)
def test_a_sealed_entry_opens_in_its_place(record: bytes, salt: bytes, nonce: bytes, index: int) -> None:
    """What was sealed is what is opened, bytes for bytes; its nonce stands before it."""
    sealed = seal_entry(CIPHER, nonce=nonce, salt=salt, record=record, origin_prefix=PREFIX, index=index)
    assert sealed[:12] == nonce
    assert len(sealed) == 12 + 16 + len(record) + 16
    assert open_entry(CIPHER, sealed, origin_prefix=PREFIX, index=index) == (salt, record)


@given(INDEXES, INDEXES)
def test_it_opens_at_no_other_index(index: int, other: int) -> None:
    """An entry moved within its chain does not open."""
    sealed = seal(b"record", index)
    if other == index:
        return
    with pytest.raises(BrokenChainError):
        open_entry(CIPHER, sealed, origin_prefix=PREFIX, index=other)


@pytest.mark.parametrize(
    "prefix", [b"", PREFIX[:-1], PREFIX + b"\0", ORIGIN.replace("ville-a", "ville-b").encode() + b"\0"]
)
def test_it_opens_in_no_other_compartment(prefix: bytes) -> None:
    """An entry moved to another chain does not open, not even under the same key."""
    with pytest.raises(BrokenChainError, match=r"7: .*place"):
        open_entry(CIPHER, seal(b"record"), origin_prefix=prefix, index=7)


def test_it_opens_under_no_other_key() -> None:
    """Another tenant, category or day has another data key."""
    with pytest.raises(BrokenChainError):
        open_entry(AESGCM(bytes(32)), seal(b"record"), origin_prefix=PREFIX, index=7)


def test_every_bit_counts() -> None:
    """No bit of nonce, salt, record or tag can be changed."""
    sealed = seal(b"record")
    for bit in range(8 * len(sealed)):
        altered = bytearray(sealed)
        altered[bit // 8] ^= 1 << bit % 8
        with pytest.raises(BrokenChainError):
            open_entry(CIPHER, bytes(altered), origin_prefix=PREFIX, index=7)


def test_every_byte_counts() -> None:
    """An entry cut short anywhere, or with a byte more, does not open."""
    sealed = seal(b"record")
    for altered in [sealed[:length] for length in range(len(sealed))] + [sealed + b"\0"]:
        with pytest.raises(BrokenChainError):
            open_entry(CIPHER, altered, origin_prefix=PREFIX, index=7)


@given(st.binary(max_size=200), st.integers())
def test_any_bytes_do_not_open(sealed: bytes, index: int) -> None:
    """Whatever stands in a row, at whatever index, opening opens or refuses."""
    with pytest.raises(BrokenChainError):
        open_entry(CIPHER, sealed, origin_prefix=PREFIX, index=index)


@pytest.mark.parametrize(("nonce", "salt"), [(11, 16), (13, 16), (12, 15), (12, 17), (0, 16), (12, 0)])
def test_a_nonce_or_salt_of_another_length_is_refused(nonce: int, salt: int) -> None:
    """Other lengths would be opened as other bytes than were sealed."""
    with pytest.raises(ValueError, match="nonce"):
        seal_entry(CIPHER, nonce=bytes(nonce), salt=bytes(salt), record=b"", origin_prefix=PREFIX, index=0)


def test_a_data_key_is_of_one_day_tenant_and_origin() -> None:
    """Change any of the four inputs and the key is another."""
    keys = {
        derive_data_key(day_key=day_key, tenant_key=tenant_key, origin=origin, day=day)
        for day_key in (DAY_KEY, bytes(32))
        for tenant_key in (TENANT_KEY, bytes(32))
        for origin in (ORIGIN, ORIGIN + "x")
        for day in (DAY, date(2026, 3, 15))
    }
    assert len(keys) == 16
    assert {len(key) for key in keys} == {32}


def test_the_same_event_has_another_key_in_another_compartment() -> None:
    """Two compartments of one tenant cannot be joined on their event keys."""
    here = derive_event_key_key(tenant_key=TENANT_KEY, origin=ORIGIN)
    there = derive_event_key_key(tenant_key=TENANT_KEY, origin=ORIGIN.replace("main-courante", "ecrits"))
    assert event_key(here, "s", "i") != event_key(there, "s", "i")


@pytest.mark.parametrize("length", [0, 16, 31, 33])
def test_a_key_of_another_length_is_refused(length: int) -> None:
    """An empty or short key is a fault of the key store, not a key."""
    for day_key, tenant_key in ((bytes(length), TENANT_KEY), (DAY_KEY, bytes(length))):
        with pytest.raises(ValueError, match="32 bytes"):
            derive_data_key(day_key=day_key, tenant_key=tenant_key, origin=ORIGIN, day=DAY)
    with pytest.raises(ValueError, match="32 bytes"):
        derive_event_key_key(tenant_key=bytes(length), origin=ORIGIN)


def test_a_time_in_place_of_a_day_is_refused() -> None:
    """A datetime would derive a key that is never derived again."""
    moment = datetime(2026, 3, 14, tzinfo=timezone.utc)
    with pytest.raises(ValueError, match="day"):
        derive_data_key(day_key=DAY_KEY, tenant_key=TENANT_KEY, origin=ORIGIN, day=moment)


@given(st.text(alphabet="ab/\0"), INDEXES, st.text(alphabet="ab/\0"), INDEXES)
def test_two_places_never_share_their_associated_data(one: str, index: int, other: str, place: int) -> None:
    """Origin and index are bound without ambiguity: the index has its eight bytes at the end."""
    assert (associated_data(one, index) == associated_data(other, place)) == ((one, index) == (other, place))
