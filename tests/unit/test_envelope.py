"""The envelope opens with its own key, in its own place, unaltered; or not at all."""

from __future__ import annotations

import json
from datetime import date, datetime, timezone
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from journal.core.chain import Head, leaf_hash
from journal.core.entry import event_key, parse_origin, record_frame
from journal.core.envelope import Box, derive_data_key, derive_event_key_key, derive_source_name_key
from journal.core.errors import BrokenChainError
from journal.core.extending import extend_by
from journal.core.times import format_time

CHAIN = json.loads((Path(__file__).parent.parent / "vectors" / "v1" / "core.json").read_text())["chain"]
DAY = date(2026, 3, 14)
ORIGIN = CHAIN["origin"]
DAY_KEY, TENANT_KEY = bytes.fromhex(CHAIN["day_key"]), bytes.fromhex(CHAIN["tenant_key"])
KEY = bytes.fromhex(CHAIN["data_key"])
BOX = Box(ORIGIN, KEY)
SALT, NONCE = b"s" * 16, b"n" * 12
FRAME = record_frame(parse_origin(ORIGIN), "2026-03-14T08:00:00.250000Z", "k3f9")
EVENT = b'{"what":"an event"}'

SALTS = st.binary(min_size=16, max_size=16)
NONCES = st.binary(min_size=12, max_size=12)
INDEXES = st.integers(0, 2**64 - 1)
NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)


def encrypt(index: int = 7) -> tuple[bytes, bytes]:
    """Encrypt the entry most tests here use; return its leaf hash too."""
    made = extend_by(BOX.parts, Head(index, bytes(32)), FRAME, [EVENT], SALT + NONCE)
    return made.ciphertexts[0], made.leaves[0]


def test_keys_are_those_of_the_vectors() -> None:
    """Data key and event key's key are those an independent HKDF gives."""
    data_key = derive_data_key(day_key=DAY_KEY, tenant_key=TENANT_KEY, origin=ORIGIN, day=DAY)
    event_key_key = derive_event_key_key(tenant_key=TENANT_KEY, origin=ORIGIN)
    assert data_key.hex() == CHAIN["data_key"]
    assert event_key_key.hex() == CHAIN["event_key_key"]


def test_the_key_of_names_is_of_one_compartment_and_one_use() -> None:
    """Derived from its tenant's key: another tenant, compartment or use has another one."""
    key = derive_source_name_key(tenant_key=TENANT_KEY, origin=ORIGIN)
    others = {
        derive_source_name_key(tenant_key=bytes(32), origin=ORIGIN),
        derive_source_name_key(tenant_key=TENANT_KEY, origin=ORIGIN + "s"),
        derive_event_key_key(tenant_key=TENANT_KEY, origin=ORIGIN),
    }
    assert len(key) == 32
    assert len(others - {key}) == 3
    assert derive_source_name_key(tenant_key=TENANT_KEY, origin=ORIGIN) == key
    with pytest.raises(ValueError, match="32"):
        derive_source_name_key(tenant_key=TENANT_KEY[1:], origin=ORIGIN)


def test_ciphertexts_are_those_of_the_vectors() -> None:
    """Encrypting gives the vector's bytes, opening makes its record again; the associated data is bound."""
    for vector in CHAIN["entries"]:
        salt, nonce = bytes.fromhex(vector["salt"]), bytes.fromhex(vector["nonce"])
        frame = record_frame(parse_origin(ORIGIN), vector["recorded_at"], vector["submitted_by"])
        event, index = vector["event"].encode(), vector["index"]
        assert (frame.kept + event).hex() == vector["remainder"]
        made = extend_by(BOX.parts, Head(index, bytes(32)), frame, [event], salt + nonce)
        assert made.ciphertexts[0].hex() == vector["ciphertext"]
        leaf = bytes.fromhex(vector["leaf_hash"])
        assert BOX.open(index, made.ciphertexts[0], leaf) == (salt, vector["record"].encode())
        bound = bytes.fromhex(vector["associated_data"])
        opened = AESGCM(KEY).decrypt(nonce, made.ciphertexts[0][12:], bound)
        assert opened == salt + bytes.fromhex(vector["remainder"])


@given(st.binary(min_size=12), INDEXES)
def test_whatever_was_encrypted_is_opened_or_refused(content: bytes, index: int) -> None:
    """Bytes under the right key that are no remainder are refused by their leaf hash: nothing else."""
    bound = ORIGIN.encode() + b"\0" + index.to_bytes(8, "big")
    ciphertext = NONCE + AESGCM(KEY).encrypt(NONCE, SALT + content, bound)
    with pytest.raises(BrokenChainError, match="leaf hash"):
        BOX.open(index, ciphertext, bytes(32))


@given(st.binary(), NAMES, st.datetimes(), SALTS, NONCES, INDEXES)
def test_an_entry_opens_in_its_place(
    event: bytes, name: str, at: datetime, salt: bytes, nonce: bytes, index: int
) -> None:
    """Opening gives back the record, byte for byte; the nonce precedes the ciphertext."""
    frame = record_frame(parse_origin(ORIGIN), format_time(at.replace(tzinfo=timezone.utc)), name)
    made = extend_by(BOX.parts, Head(index, bytes(32)), frame, [event], salt + nonce)
    [ciphertext], [leaf] = made.ciphertexts, made.leaves
    record = b'%b%b,"index":%d%b' % (frame.before, event, index, frame.after)
    assert ciphertext[:12] == nonce
    assert len(ciphertext) == 12 + 16 + len(frame.kept) + len(event) + 16
    assert leaf == leaf_hash(salt, record)
    assert BOX.open(index, ciphertext, leaf) == (salt, record)


def test_entries_of_several_batches_open_together() -> None:
    """What one batch shares is not what the next one does: each entry opens to its own record, whatever came before."""
    frames = [record_frame(parse_origin(ORIGIN), f"2026-03-14T08:00:0{second}.250000Z", "k3f9") for second in range(3)]
    head, rows, records = Head(0, bytes(32)), [], []
    for place, frame in enumerate([frames[0], frames[0], frames[1], frames[2], frames[2], frames[0]]):
        made = extend_by(BOX.parts, head, frame, [EVENT], SALT + NONCE)
        rows.append((place, made.leaves[0], made.ciphertexts[0]))
        records.append(b'%b%b,"index":%d%b' % (frame.before, EVENT, place, frame.after))
        head = made.head
    assert BOX.open_all(rows) == ([SALT] * len(rows), records)


@given(INDEXES, INDEXES)
def test_it_opens_at_no_other_index(index: int, other: int) -> None:
    """An entry moved within its chain does not open."""
    ciphertext, leaf = encrypt(index)
    if other == index:
        return
    with pytest.raises(BrokenChainError, match=f"entry {other}: .*place"):
        BOX.open(other, ciphertext, leaf)


@pytest.mark.parametrize("origin", ["", ORIGIN[:-1], ORIGIN + "\0", ORIGIN.replace("ville-a", "ville-b")])
def test_it_opens_in_no_other_compartment(origin: str) -> None:
    """An entry moved to another chain does not open, not even under the same key."""
    with pytest.raises(BrokenChainError, match=r"entry 7: .*place"):
        Box(origin, KEY).open(7, *encrypt())


def test_it_opens_under_no_other_key() -> None:
    """Another tenant, category or day has another data key."""
    with pytest.raises(BrokenChainError):
        Box(ORIGIN, bytes(32)).open(7, *encrypt())


def test_every_bit_counts() -> None:
    """No bit of nonce, salt, record, tag or leaf hash can be changed."""
    whole = b"".join(encrypt())
    for bit in range(8 * len(whole)):
        altered = bytearray(whole)
        altered[bit // 8] ^= 1 << bit % 8
        reason = "place" if bit // 8 < len(whole) - 32 else "leaf hash"
        with pytest.raises(BrokenChainError, match=f"entry 7: .*{reason}"):
            BOX.open(7, bytes(altered[:-32]), bytes(altered[-32:]))


def test_every_byte_counts() -> None:
    """An entry or a leaf hash cut short anywhere, or with a byte more, does not open."""
    ciphertext, leaf = encrypt()
    for altered in [ciphertext[:length] for length in range(len(ciphertext))] + [ciphertext + b"\0"]:
        with pytest.raises(BrokenChainError):
            BOX.open(7, altered, leaf)
    for altered in (b"", leaf[:-1], leaf + b"\0"):
        with pytest.raises(BrokenChainError):
            BOX.open(7, ciphertext, altered)


@given(st.binary(max_size=200), st.integers(), st.binary(max_size=40))
def test_any_bytes_do_not_open(ciphertext: bytes, index: int, leaf: bytes) -> None:
    """Any bytes in a row, at any index, are refused with the one error."""
    with pytest.raises(BrokenChainError):
        BOX.open(index, ciphertext, leaf)


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
    assert event_key(here, "s", "i", "") != event_key(there, "s", "i", "")


@pytest.mark.parametrize("length", [0, 16, 31, 33])
def test_a_key_of_another_length_is_refused(length: int) -> None:
    """An empty or short key is a fault of the key store, not a key."""
    for day_key, tenant_key in ((bytes(length), TENANT_KEY), (DAY_KEY, bytes(length))):
        with pytest.raises(ValueError, match="32 bytes"):
            derive_data_key(day_key=day_key, tenant_key=tenant_key, origin=ORIGIN, day=DAY)
    with pytest.raises(ValueError, match="32 bytes"):
        Box(ORIGIN, bytes(length))
    with pytest.raises(ValueError, match="32 bytes"):
        derive_event_key_key(tenant_key=bytes(length), origin=ORIGIN)


def test_a_time_in_place_of_a_day_is_refused() -> None:
    """A datetime would derive a key that is never derived again."""
    moment = datetime(2026, 3, 14, tzinfo=timezone.utc)
    with pytest.raises(ValueError, match="day"):
        derive_data_key(day_key=DAY_KEY, tenant_key=TENANT_KEY, origin=ORIGIN, day=moment)
