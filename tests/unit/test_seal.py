"""Seals and heads: texts of which every byte is accounted for."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date, datetime, timedelta, timezone
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from journal.core.errors import MalformedError
from journal.core.seal import EMPTY_ROOT, NOTHING_HASH, Seal, SealedHead, looks_like_seal, parse_head, parse_seal
from journal.core.times import parse_day, parse_seconds

VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "v1" / "core.json").read_text())
ORIGIN = "openepm-journal/v1/journal.example.fr/ville-a/ecrits"
HEAD = SealedHead(ORIGIN, 10, b"\x01" * 32, 3, 60)

HASHES = st.binary(min_size=32, max_size=32).filter(lambda value: value not in {EMPTY_ROOT, NOTHING_HASH})
COUNTS = st.integers(1, 2**53 - 1)
MOMENTS = st.datetimes(
    min_value=datetime(1970, 1, 2),  # noqa: DTZ001  (the strategy adds the zone)
    timezones=st.just(timezone.utc),
).map(lambda moment: moment.replace(microsecond=0))


@st.composite
def seals(draw: st.DrawFn) -> Seal:
    """Draw any seal that can be."""
    number = draw(COUNTS)
    sealed_at = draw(MOMENTS)
    chains = draw(st.just(0) | COUNTS)
    return Seal(
        service=draw(st.sampled_from(["journal.example.fr", "localhost", "a.b"])),
        number=number,
        sealed_at=sealed_at,
        day=draw(st.none() | st.dates(max_value=sealed_at.date() - timedelta(days=1))),
        chains=chains,
        root=draw(HASHES) if chains else EMPTY_ROOT,
        previous=draw(HASHES) if number > 1 else NOTHING_HASH,
        previous_close=draw(st.just(NOTHING_HASH) | HASHES) if number > 1 else NOTHING_HASH,
        recovered_from=draw(st.none() | st.integers(1, number - 1)) if number > 1 else None,
    )


HEADS = st.integers(0, 2**53 - 1).flatmap(
    lambda size: st.builds(
        SealedHead,
        st.sampled_from([ORIGIN, ORIGIN.replace("ville-a", "ville-b"), ORIGIN.replace("ecrits", "e")]),
        st.just(size),
        HASHES,
        st.integers(0, size),
        st.integers(2, 60),
    )
)


def seal_of(vector: dict[str, Any]) -> Seal:
    """Build the seal a vector describes."""
    return Seal(
        service=vector["service"],
        number=vector["number"],
        sealed_at=parse_seconds(vector["sealed_at"]),
        day=parse_day(vector["day"]) if "day" in vector else None,
        chains=vector["chains"],
        root=bytes.fromhex(vector["root"]),
        previous=bytes.fromhex(vector["previous"]),
        previous_close=bytes.fromhex(vector["previous_close"]),
        recovered_from=vector.get("recovered_from"),
    )


GOOD = seal_of(VECTORS["seals"][2])


@pytest.mark.parametrize("vector", VECTORS["seals"], ids=lambda vector: str(vector["number"]))
def test_a_seal_is_that_of_the_vector(vector: dict[str, Any]) -> None:
    """Values, text and digest agree, both ways."""
    seal = seal_of(vector)
    assert seal.text.decode() == vector["text"]
    assert seal.digest.hex() == vector["digest"]
    assert parse_seal(vector["text"].encode()) == seal


@pytest.mark.parametrize("vector", VECTORS["refused_seals"], ids=lambda vector: str(vector["name"]))
def test_what_is_no_seal_is_refused(vector: dict[str, str]) -> None:
    """One fault in a text is enough."""
    with pytest.raises(MalformedError):
        parse_seal(vector["text"].encode())


def test_the_size_of_a_seal_comes_first() -> None:
    """1,024 bytes are looked at, and refused for what they say; one more is refused for its size alone."""
    with pytest.raises(MalformedError, match="not a seal of format v1"):
        parse_seal(b"\n" * 1024)
    with pytest.raises(MalformedError, match="at most 1024 bytes"):
        parse_seal(b"\n" * 1025)


@given(seals())
def test_a_seal_reads_back_from_its_text(seal: Seal) -> None:
    """Every seal has a text, which reads back as that seal."""
    assert parse_seal(seal.text) == seal
    assert seal.digest == sha256(seal.text).digest()


@given(seals(), seals())
def test_two_seals_never_share_a_text(one: Seal, other: Seal) -> None:
    """Seals that differ in anything are signed over other bytes."""
    assert (one.text == other.text) == (one == other)


@pytest.mark.parametrize("vector", VECTORS["seals"], ids=lambda vector: str(vector["number"]))
def test_every_bit_of_a_seal_counts(vector: dict[str, Any]) -> None:
    """A bit changed makes another seal with another digest, or none."""
    text = vector["text"].encode()
    for bit in range(8 * len(text)):
        altered = bytearray(text)
        altered[bit // 8] ^= 1 << bit % 8
        try:
            seal = parse_seal(bytes(altered))
        except MalformedError:
            continue
        assert seal.text == bytes(altered)
        assert seal != seal_of(vector)


@given(st.binary() | st.text().map(str.encode) | st.integers(0, 9).map(lambda count: b"1\n" * count))
def test_any_bytes_are_a_seal_or_refused(text: bytes) -> None:
    """No input makes the reader fail in another way than by refusing."""
    with pytest.raises(MalformedError):
        parse_seal(text)


@given(st.lists(st.sampled_from(GOOD.text.decode().split("\n")), max_size=11).map("\n".join))
def test_lines_put_together_anyhow_are_the_seal_or_refused(text: str) -> None:
    """The lines of a seal make a seal in their order alone."""
    try:
        seal = parse_seal(text.encode())
    except MalformedError:
        return
    assert seal.text == text.encode()


@pytest.mark.parametrize(
    "change",
    [
        {"service": "Journal"},
        {"number": 0},
        {"number": 1},
        {"number": 2**53},
        {"sealed_at": datetime(2026, 3, 15, 0, 0, 5)},  # noqa: DTZ001  (naive on purpose)
        {"sealed_at": datetime(2026, 3, 15, 0, 0, 5, 1, tzinfo=timezone.utc)},
        {"sealed_at": datetime(2026, 3, 14, 23, 59, 59, tzinfo=timezone.utc)},
        {"day": date(2026, 3, 15)},
        {"chains": -1},
        {"chains": 0},
        {"chains": 2**53},
        {"root": b"\x01" * 31},
        {"root": EMPTY_ROOT},
        {"chains": 0, "root": b"\x01" * 32},
        {"previous": b"\x01" * 33},
        {"previous": NOTHING_HASH},
        {"previous_close": b""},
        {"number": 1, "previous": NOTHING_HASH},
        {"recovered_from": 0},
        {"recovered_from": 3},
    ],
    ids=str,
)
def test_a_seal_is_valid_once_built(change: dict[str, Any]) -> None:
    """No seal exists that contradicts itself, or that has no text."""
    with pytest.raises(ValueError, match=r"."):
        replace(GOOD, **change)


def test_a_close_seal_may_be_made_as_soon_as_its_day_is_over() -> None:
    """Midnight itself is after the day; an open seal may be made at any time."""
    midnight = datetime(2026, 3, 15, tzinfo=timezone.utc)
    assert parse_seal(replace(GOOD, sealed_at=midnight).text).day == date(2026, 3, 14)
    assert parse_seal(replace(GOOD, day=None).text).day is None


@pytest.mark.parametrize("vector", VECTORS["heads"], ids=lambda vector: str(vector["size"]))
def test_a_head_is_that_of_the_vector(vector: dict[str, Any]) -> None:
    """Values, text and leaf agree; the JSON object reads back."""
    head = SealedHead(
        vector["origin"],
        vector["size"],
        bytes.fromhex(vector["chain_hash"]),
        vector["kept_from"],
        vector["retention_days"],
    )
    assert head.text.decode() == vector["text"]
    assert head.leaf.hex() == vector["leaf"]
    assert head.as_json() == {name: vector[name] for name in ("size", "chain_hash", "kept_from", "retention_days")}
    assert parse_head(vector["origin"], head.as_json()) == head


@given(HEADS, HEADS)
def test_two_heads_never_share_a_leaf(one: SealedHead, other: SealedHead) -> None:
    """Heads that differ in anything have other texts and other leaves; both read back from JSON."""
    assert (one.text == other.text) == (one == other)
    assert (one.leaf == other.leaf) == (one == other)
    assert parse_head(one.origin, one.as_json()) == one


@pytest.mark.parametrize(
    "change",
    [
        {"origin": "ville-a"},
        {"origin": ORIGIN + "\n"},
        {"size": 2},
        {"size": 2**53},
        {"size": -1, "kept_from": -1},
        {"chain_hash": b""},
        {"chain_hash": b"\x01" * 33},
        {"kept_from": -1},
        {"kept_from": 11},
        {"retention_days": 1},
        {"retention_days": 61},
    ],
    ids=str,
)
def test_a_head_is_valid_once_built(change: dict[str, Any]) -> None:
    """No head exists that could not be true, or whose text could be read in two ways."""
    with pytest.raises(ValueError, match=r"."):
        replace(HEAD, **change)


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"size": True}, "/size"),
        ({"size": "10"}, "/size"),
        ({"size": 10.0}, "/size"),
        ({"size": 2}, ""),
        ({"kept_from": False}, "/kept_from"),
        ({"kept_from": 11}, ""),
        ({"retention_days": "60"}, "/retention_days"),
        ({"retention_days": 61}, ""),
        ({"chain_hash": "01" * 31}, ""),
        ({"chain_hash": "AB" * 32}, "/chain_hash"),
        ({"chain_hash": "01 " * 32}, "/chain_hash"),
        ({"chain_hash": "zz" * 32}, ""),
        ({"chain_hash": "\ud800" * 64}, ""),
        ({"chain_hash": 1}, ""),
        ({"chain_hash": None}, ""),
        ({"origin": ORIGIN}, ""),
    ],
    ids=str,
)
def test_what_is_no_head_is_refused(change: dict[str, Any], part: str) -> None:
    """A head has its four members, each of its kind and in its one spelling."""
    with pytest.raises(MalformedError) as refusal:
        parse_head(ORIGIN, {**HEAD.as_json(), **change})
    assert refusal.value.part == part


@pytest.mark.parametrize("value", [None, [], "head", {}, {"size": 1}])
def test_what_has_not_the_members_of_a_head_is_refused(value: Any) -> None:
    """Anything but an object of those four members is refused."""
    with pytest.raises(MalformedError, match="members"):
        parse_head(ORIGIN, value)


def test_a_head_of_no_origin_is_refused() -> None:
    """The origin a head is read for must be one."""
    with pytest.raises(MalformedError):
        parse_head("ville-a", HEAD.as_json())


def test_a_leaf_binds_origin_and_text() -> None:
    """The leaf is SHA-256(0x02 ‖ SHA-256(origin) ‖ head text)."""
    assert HEAD.leaf == sha256(b"\x02" + sha256(ORIGIN.encode()).digest() + HEAD.text).digest()


@pytest.mark.parametrize(
    ("text", "looks"),
    [
        (b"openepm-journal/seal/v1\n", True),
        (b"openepm-journal/seal/v2\nof a later version\n", True),
        (b"openepm-journal/export/v1\n", False),
        (b"", False),
    ],
)
def test_what_looks_like_a_seal(text: bytes, looks: bool) -> None:  # noqa: FBT001  (a parameter of the case)
    """Whatever begins as a seal does, of any version, is for the sealer alone to sign."""
    assert looks_like_seal(text) is looks
