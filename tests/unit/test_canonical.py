"""Canonical JSON: one value, one spelling; everything two readers could take differently is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from journal.core import canonical
from journal.core.errors import MalformedError

if TYPE_CHECKING:
    import random

VECTORS = Path(__file__).parent.parent / "vectors"
CASES = json.loads((VECTORS / "v1" / "core.json").read_text())["canonical"]
LIMIT = 1 << 20

NAMES = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=64)
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
INTEGERS = st.integers(-canonical.INTEGER_LIMIT, canonical.INTEGER_LIMIT)
VALUES = st.recursive(
    st.booleans() | INTEGERS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=20,
)


def parse(data: bytes) -> Any:
    """Parse within a limit that no test here reaches."""
    return canonical.parse(data, limit_bytes=LIMIT)


def decode(data: bytes) -> Any:
    """Decode within a limit that no test here reaches."""
    return canonical.decode(data, limit_bytes=LIMIT)


def named(cases: list[dict[str, Any]]) -> Any:
    """Give each case to a test under its name."""
    return pytest.mark.parametrize("case", cases, ids=[case["name"] for case in cases])


def test_the_vectors_are_those_their_program_makes() -> None:
    """The file of vectors is, byte for byte, what the independent program writes."""
    program = VECTORS / "make_core.py"
    made = subprocess.run([sys.executable, str(program)], check=True, capture_output=True).stdout
    assert made == (VECTORS / "v1" / "core.json").read_bytes()
    assert "journal." not in "".join(line for line in program.read_text().splitlines() if "import" in line)


@named(CASES["accepted"])
def test_a_value_is_spelt_as_the_vector_says(case: dict[str, Any]) -> None:
    """Value, text and bytes agree, both ways."""
    assert canonical.encode(case["value"]).hex() == case["hex"]
    assert canonical.encode(case["value"]).decode() == case["text"]
    assert decode(bytes.fromhex(case["hex"])) == case["value"]


@named(CASES["respelt"])
def test_another_spelling_is_parsed_but_never_decoded(case: dict[str, Any]) -> None:
    """A submitter may spell JSON freely; bytes that are evidence may not."""
    data = bytes.fromhex(case["hex"])
    assert canonical.encode(parse(data)).decode() == case["canonical"]
    with pytest.raises(MalformedError, match="canonical form"):
        decode(data)


@named(CASES["refused"])
def test_a_trap_is_refused_in_any_spelling(case: dict[str, Any]) -> None:
    """Nothing that two JSON readers could take differently is taken at all."""
    data = bytes.fromhex(case["hex"])
    for read in (parse, decode):
        with pytest.raises(MalformedError):
            read(data)


def test_the_corpus_is_large() -> None:
    """The corpus of traps only grows."""
    assert len(CASES["refused"]) >= 142
    assert len(CASES["respelt"]) >= 25


def test_a_fault_after_a_container_is_found() -> None:
    """Beside it, and in a list as in an object."""
    for value in ({"a": {}, "b": "\ud800"}, [[], "\ud800"], {"a": [[], 0.5]}):
        with pytest.raises(ValueError, match=r"surrogate|integer"):
            canonical.encode(value)


@pytest.mark.parametrize(
    ("data", "pointer", "reason"),
    [
        (b"null", "", "null"),
        (b'{"a":[1,{"b":null}]}', "/a/1/b", "null"),
        (b'{"a/b":{"c~d":null}}', "/a~1b/c~0d", "null"),
        (b'[0,1,{"a":1.5}]', "/2/a", "fraction"),
        (b'{"a":-0}', "/a", "negative zero"),
        (b'{"a":NaN}', "/a", "JSON value"),
        (b'{"a":9007199254740992}', "/a", "integer beyond"),
        (b'{"a":99999999999999999999}', "/a", "integer beyond"),
        (b'{"a":"\\u0000"}', "/a", "U\\+0000"),
        (b'{"a":"\\ud800"}', "/a", "lone surrogate"),
        (b'{"a":{"b":1,"c":2,"b":3}}', "/a/b", "twice"),
        (b'{"a":{"\\u00e9":1,"\\u00e9":3}}', "/a", "member name"),
        (b'{"a":[{"\\u00e9":1}]}', "/a/0", "member name"),
        (b'{"a":' + b"[" * 32 + b"]" * 32 + b"}", "/a" + "/0" * 31, "deeper than 32"),
        (b'{"a":1} x', "", "character 8"),
        (b'{"a":"\xff"}', "", "byte 6"),
    ],
)
def test_a_fault_is_named_where_it_is(data: bytes, pointer: str, reason: str) -> None:
    """A refusal carries the JSON Pointer to the member at fault, and the rule it breaks."""
    with pytest.raises(MalformedError, match=reason) as refusal:
        parse(data)
    assert refusal.value.part == pointer


def test_size_comes_first() -> None:
    """A limit of n bytes accepts n and refuses n + 1, whatever the bytes are."""
    assert canonical.parse(b'"ab"', limit_bytes=4) == "ab"
    with pytest.raises(MalformedError, match="longer than 4 bytes"):
        canonical.parse(b'"abc"', limit_bytes=4)
    with pytest.raises(MalformedError, match="longer than 4 bytes"):
        canonical.parse(b"\xff" * 5, limit_bytes=4)


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'[{"a":'])
@pytest.mark.parametrize("closed", [True, False])
def test_nesting_without_end_is_refused(opening: bytes, closed: bool) -> None:  # noqa: FBT001  (a case)
    """A hundred thousand levels are refused, not answered by a broken interpreter."""
    closing = opening.replace(b'"a":', b"").translate(bytes.maketrans(b"[{", b"]}"))[::-1] if closed else b""
    with pytest.raises(MalformedError):
        parse(opening * 100_000 + b"1" * closed + closing * 100_000)


def test_a_number_without_end_is_refused() -> None:
    """A million digits are refused before they are converted."""
    with pytest.raises(MalformedError, match="integer beyond"):
        parse(b"1" * (LIMIT - 1))


class Colour(str, Enum):
    """A kind of string some callers have."""

    RED = "red"


def test_a_kind_of_string_is_a_string() -> None:
    """A member of a string enumeration is spelt as its text."""
    assert canonical.encode({"a": Colour.RED}) == b'{"a":"red"}'


@pytest.mark.parametrize(
    "value",
    [
        None,
        [None],
        {"a": None},
        1.0,
        float("nan"),
        [0.5],
        2**53,
        -(2**53),
        "\ud800",
        ["\udfff"],
        "\0",
        {"a": "é\0"},
        {"é": 1},
        {"": 1},
        {"n" * 65: 1},
        {"a\n": 1},
        {"\ud800": 1},
        {1: 1},
        {None: 1},
        b"bytes",
        (1, 2),
        {1, 2},
        object(),
        json.loads("[" * 33 + "]" * 33),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_has_no_spelling_is_not_written(value: Any) -> None:
    """Writing refuses all that reading refuses, and what is no JSON at all."""
    with pytest.raises(ValueError, match=r".") as refusal:
        canonical.encode(value)
    assert not isinstance(refusal.value, UnicodeError)


def test_a_value_within_itself_is_not_written() -> None:
    """A list that holds itself is refused like any other that is too deep."""
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(ValueError, match="deeper than 32"):
        canonical.encode(endless)


@given(VALUES)
def test_a_value_reads_back_from_its_spelling(value: Any) -> None:
    """Every value accepted has a spelling, which reads back as that value, of the same kinds."""
    data = canonical.encode(value)
    assert repr(decode(data)) == repr(json.loads(data))
    assert decode(data) == value
    assert canonical.encode(decode(data)) == data


def shuffled(value: Any, order: random.Random) -> Any:
    """Put the members of every object in another order."""
    if isinstance(value, dict):
        members = list(value.items())
        order.shuffle(members)
        return {name: shuffled(member, order) for name, member in members}
    return [shuffled(element, order) for element in value] if isinstance(value, list) else value


@given(VALUES, st.randoms(), st.booleans(), st.sampled_from([None, 0, 1, "\t"]))
def test_a_value_has_one_spelling(
    value: Any,
    order: random.Random,
    ensure_ascii: bool,  # noqa: FBT001  (a case)
    indent: Any,
) -> None:
    """Of all orders, escapes and spaces of a value, only one spelling decodes."""
    other = json.dumps(shuffled(value, order), ensure_ascii=ensure_ascii, indent=indent).encode()
    assert canonical.encode(parse(other)) == canonical.encode(value)
    if other == canonical.encode(value):
        assert decode(other) == value
    else:
        with pytest.raises(MalformedError):
            decode(other)


@given(VALUES, VALUES)
def test_two_values_never_share_a_spelling(one: Any, other: Any) -> None:
    """Values that differ, if only as 1 differs from true, are spelt differently."""
    assert (canonical.encode(one) == canonical.encode(other)) == (
        json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    )


@given(VALUES, st.data())
def test_a_changed_byte_is_another_value_or_none(value: Any, data: st.DataObject) -> None:
    """Bytes that decode after a change are the one spelling of what they now say."""
    spelt = bytearray(canonical.encode(value))
    spelt[data.draw(st.integers(0, len(spelt) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        changed = decode(bytes(spelt))
    except MalformedError:
        return
    assert canonical.encode(changed) == bytes(spelt)
    assert bytes(spelt) != canonical.encode(value)


FRAGMENTS = st.sampled_from(
    [b"{", b"}", b"[", b"]", b",", b":", b'"', b"a", b"\\u", b"d800", b"0", b"1", b"-", b".", b"e", b" "]
)


@given(
    st.binary() | st.lists(FRAGMENTS, max_size=60).map(b"".join) | st.text(st.characters()).map(repr).map(str.encode)
)
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    """For any input the reader raises nothing but MalformedError."""
    try:
        value = parse(data)
    except MalformedError as refusal:
        part = refusal.part
    else:
        part = ""
        assert parse(canonical.encode(value)) == value
    assert part.isascii()
    assert part.isprintable()
