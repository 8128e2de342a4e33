"""Entries made in one loop are, byte for byte, those made one by one."""

from __future__ import annotations

import os
from datetime import date, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from journal.core.chain import SALT_BYTES, Head, extend, genesis, leaf_hash
from journal.core.entry import RECORD_LIMIT_BYTES, Compartment, encode_record, record_frame
from journal.core.envelope import Box, derive_data_key
from journal.core.extending import DRAW_BYTES, extend_by
from journal.core.times import format_time

CHAIN = Compartment("journal.test", "albi", "ecrits")
AT = "2026-03-14T08:00:00.000001Z"
BOX = Box(
    CHAIN.origin, derive_data_key(day_key=b"d" * 32, tenant_key=b"t" * 32, origin=CHAIN.origin, day=date(2026, 3, 14))
)


@given(
    events=st.lists(st.binary(max_size=40), max_size=5),
    size=st.integers(0, 2**40),
    at=st.datetimes(timezones=st.just(timezone.utc)).map(format_time),
    name=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
)
def test_one_loop_makes_what_the_parts_make(events: list[bytes], size: int, at: str, name: str) -> None:
    """Leaf hashes and chain hashes are those of the functions that define them; what was encrypted opens as records."""
    draws = os.urandom(DRAW_BYTES * len(events))
    head = Head(size, genesis(CHAIN.origin).chain_hash)
    made = extend_by(BOX.parts, head, record_frame(CHAIN, at, name), events, draws)
    chain_hash = head.chain_hash
    for number, event in enumerate(events):
        draw = draws[DRAW_BYTES * number : DRAW_BYTES * (number + 1)]
        salt, nonce = draw[:SALT_BYTES], draw[SALT_BYTES:]
        record = encode_record(compartment=CHAIN, event=event, index=size + number, recorded_at=at, submitted_by=name)
        chain_hash = extend(chain_hash, leaf_hash(salt, record))
        assert made.leaves[number] == leaf_hash(salt, record)
        assert made.hashes[number] == chain_hash
        assert made.ciphertexts[number].startswith(nonce)
    rows = list(zip(range(size, size + len(events)), made.leaves, made.ciphertexts, strict=True))
    salts, records = BOX.open_all(rows)
    assert [leaf_hash(*opened) for opened in zip(salts, records, strict=True)] == made.leaves
    assert made.head == Head(size + len(events), chain_hash)


def test_a_record_of_the_longest_is_made_and_no_longer_one() -> None:
    """The limit is that of `encode_record`."""
    frame, head, draws = record_frame(CHAIN, AT, "module-1"), genesis(CHAIN.origin), os.urandom(DRAW_BYTES)
    room = RECORD_LIMIT_BYTES - len(b'%b,"index":0%b' % (frame.before, frame.after))
    assert len(extend_by(BOX.parts, head, frame, [b"e" * room], draws).leaves) == 1
    with pytest.raises(ValueError, match="longer than the format allows"):
        extend_by(BOX.parts, head, frame, [b"e" * (room + 1)], draws)


def test_random_bytes_must_suffice() -> None:
    """A salt or nonce cut short, or used twice, would be no secret."""
    frame, head = record_frame(CHAIN, AT, "module-1"), genesis(CHAIN.origin)
    with pytest.raises(ValueError, match="too few random bytes"):
        extend_by(BOX.parts, head, frame, [b"{}", b"{}"], os.urandom(2 * DRAW_BYTES - 1))
