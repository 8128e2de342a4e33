"""One spelling of every DER value: what the reader refuses, what the writer writes."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from journal.core.errors import MalformedError
from journal.pki import der

LIMIT = 64 * 1024


def read(text: str) -> der.Element:
    """Read hexadecimal."""
    return der.decode(bytes.fromhex(text), limit_bytes=LIMIT)


def rebuild(element: der.Element) -> bytes:
    """Write an element again from its leaves."""
    if element.children:
        return der.encode(element.tag, *map(rebuild, element.children))
    return der.encode(element.tag, element.content)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "cut short"),
        ("30", "cut short"),
        ("0500ff", "after the end"),
        ("300130", "cut short"),
        ("040261", "cut short"),
        ("30030402aa", "cut short"),  # the member reaches past its sequence
        ("3002040100", "cut short"),  # the same, with bytes behind
        ("3080040100" + "0000", "indefinite"),
        ("04810161", "shortest"),
        ("0482007f" + "00" * 127, "shortest"),
        ("04820080" + "00" * 128, "shortest"),
        ("0483", "shortest"),
        ("04ff", "shortest"),
        ("0484ffffffff", "cut short"),
        ("010101", "BOOLEAN"),
        ("0100", "BOOLEAN"),
        ("01020000", "BOOLEAN"),
        ("0200", "INTEGER"),
        ("02020001", "INTEGER"),
        ("0202007f", "INTEGER"),
        ("0202ffff", "INTEGER"),
        ("0202ff80", "INTEGER"),
        ("0a020001", "INTEGER"),
        ("0300", "BIT STRING"),
        *((f"0301{unused:02x}", "BIT STRING") for unused in range(1, 256)),
        ("03020800", "BIT STRING"),
        ("03020801", "BIT STRING"),
        ("03020101", "BIT STRING"),
        ("030207c0", "BIT STRING"),
        ("050100", "NULL"),
        ("0600", "IDENTIFIER"),
        ("060180", "IDENTIFIER"),
        ("06022a80", "IDENTIFIER"),
        ("06022a86", "IDENTIFIER"),
        ("06032a8001", "IDENTIFIER"),
        ("06032a0080", "IDENTIFIER"),
        ("0641" + "2a" * 65, "IDENTIFIER"),
        ("0c01ff", "UTF8String"),
        ("0c03eda080", "UTF8String"),
        ("130140", "PrintableString"),
        ("13010a", "PrintableString"),
        ("160180", "IA5String"),
        ("1700", "spelling"),
        ("170b" + b"2603141200Z".hex(), "spelling"),
        ("1711" + b"260314120000+0000".hex(), "spelling"),
        ("170f" + b"260314120000.1Z".hex(), "spelling"),
        ("170d" + b"260230120000Z".hex(), "not a valid date"),
        ("170d" + b"260314120060Z".hex(), "not a valid date"),
        ("180d" + b"202603141200Z".hex(), "spelling"),
        ("1810" + b"20260314120000.Z".hex(), "spelling"),
        ("1811" + b"20260314120000.0Z".hex(), "spelling"),
        ("1812" + b"20260314120000.10Z".hex(), "spelling"),
        ("1811" + b"20260314120000,1Z".hex(), "spelling"),
        ("1817" + b"20260314120000.1234567Z".hex(), "spelling"),
        ("180f" + b"00000314120000Z".hex(), "not a valid date"),
        ("180f" + "d9a0" + b"260314120000Z".hex(), "spelling"),  # an Arabic-Indic digit
        ("3106040161040160", "out of order"),
        ("2403040161", "not used"),  # a string in pieces
        ("0900", "not used"),
        ("4100", "not used"),
        ("c100", "not used"),
        ("9f0100", "not used"),
        ("bf0100", "not used"),
        ("3f0100", "not used"),
    ],
)
def test_any_other_spelling_is_refused(text: str, reason: str) -> None:
    """Lengths, integers, booleans, padding, order, times and tags have one form; all others are malformed."""
    with pytest.raises(MalformedError, match=reason):
        read(text)


@pytest.mark.parametrize(
    "text",
    [
        "0101ff",
        "010100",
        "0400",
        "30 00",
        "31 00",
        "3106040160040161",
        "3106040161040161",
        "04 8180" + "00" * 128,
        "04 820100" + "00" * 256,
        "0301 00",
        "0302 0780",
        "0302 00ff",
        "0500",
        "0a0101",
        "0c02c3a9",
        "12 0131",
        "13 0441 2d31 3f",
        "14 01e9",
        "16 0140",
        "1a 0141",
        "1c 0400000041",
        "1e 0200e9",
        "8000",
        "9e01ff",
        "a000",
        "be02 0500",
        "0640" + "2a" * 64,
    ],
)
def test_the_one_spelling_is_read_and_written_back(text: str) -> None:
    """Every accepted value is what the writer makes of it."""
    assert rebuild(read(text)) == bytes.fromhex(text)


@given(st.binary(max_size=64))
def test_whatever_is_accepted_is_canonical(data: bytes) -> None:
    """Random bytes are refused as malformed, or are exactly what the writer makes of what was read."""
    try:
        element = der.decode(data, limit_bytes=LIMIT)
    except MalformedError:
        return
    assert rebuild(element) == data == element.encoded


def _trees() -> st.SearchStrategy[bytes]:
    leaves = st.one_of(
        st.integers().map(der.integer),
        st.binary(max_size=200).map(der.octet_string),
        st.text(st.characters(exclude_categories=("Cs",))).map(lambda t: der.encode(der.UTF8_STRING, t.encode())),
        st.just(der.TRUE),
    )
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.lists(inner).map(lambda members: der.sequence(*members)),
            st.lists(inner).map(lambda members: der.set_of(*members)),
            st.lists(inner).map(lambda members: der.encode(0xA1, *members)),
        ),
        max_leaves=12,
    )


@given(_trees(), st.data())
def test_one_byte_changed_never_reads_as_the_same_value(encoded: bytes, data: st.DataObject) -> None:
    """A changed byte is refused, or shows in the value: two spellings of one value do not exist."""
    element = der.decode(encoded, limit_bytes=LIMIT)
    assert rebuild(element) == encoded
    at = data.draw(st.integers(0, len(encoded) - 1))
    changed = bytearray(encoded)
    changed[at] ^= data.draw(st.integers(1, 255))
    try:
        other = der.decode(bytes(changed), limit_bytes=LIMIT)
    except MalformedError:
        return
    assert rebuild(other) == bytes(changed) != encoded


def test_sizes_and_depths_are_bounded() -> None:
    """A value beyond the caller's limit, or nested beyond 32 levels, is refused before it costs anything."""
    with pytest.raises(MalformedError, match="at most 3"):
        der.decode(b"\x04\x02ab", limit_bytes=3)
    assert der.decode(b"\x04\x02ab", limit_bytes=4).octets() == b"ab"
    nested = b""
    for _ in range(32):
        nested = der.sequence(nested)
    assert der.decode(nested, limit_bytes=LIMIT).encoded == nested
    with pytest.raises(MalformedError, match="deeper"):
        der.decode(der.sequence(nested), limit_bytes=LIMIT)
    deep = b"\x30\x80" * 100_000
    with pytest.raises(MalformedError):
        der.decode(deep, limit_bytes=len(deep))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "020100"),
        (127, "02017f"),
        (128, "02020080"),
        (256, "02020100"),
        (-1, "0201ff"),
        (-128, "020180"),
        (-129, "0202ff7f"),
    ],
)
def test_integers_take_the_fewest_octets(value: int, text: str) -> None:
    """The examples of X.690 §8.3 and its neighbours."""
    assert der.integer(value).hex() == text
    assert read(text).integer() == value


@given(st.integers())
def test_integers_return(value: int) -> None:
    """What is written is read."""
    assert der.decode(der.integer(value), limit_bytes=LIMIT).integer() == value


@pytest.mark.parametrize(
    ("dotted", "text"),
    [
        ("2.999.3", "0603883703"),  # X.690 §8.19.5
        ("1.2.840.113549", "06062a864886f70d"),
        ("2.16.840.1.101.3.4.2.1", "0609608648016503040201"),
        ("0.0", "060100"),
        ("2.5.4.128", "0604550481" + "00"),
    ],
)
def test_object_identifiers_are_written(dotted: str, text: str) -> None:
    """Known encodings, the standard's own example among them."""
    assert der.object_identifier(dotted).hex() == text
    assert read(text).expect(der.OBJECT_IDENTIFIER).encoded.hex() == text


def utc(year: int, *rest: int) -> datetime:
    """Return a moment in UTC."""
    return datetime(year, *rest, tzinfo=timezone.utc)  # type: ignore[arg-type, misc]


@pytest.mark.parametrize(
    ("content", "tag", "moment"),
    [
        (b"500101000000Z", 0x17, utc(1950, 1, 1)),
        (b"491231235959Z", 0x17, utc(2049, 12, 31, 23, 59, 59)),
        (b"000229000000Z", 0x17, utc(2000, 2, 29)),
        (b"20500101000000Z", 0x18, utc(2050, 1, 1)),
        (b"99991231235959Z", 0x18, utc(9999, 12, 31, 23, 59, 59)),
    ],
)
def test_times_are_read_and_written(content: bytes, tag: int, moment: datetime) -> None:
    """UTCTime through 2049, GeneralizedTime from 2050 on (RFC 5280 §4.1.2.5, RFC 5652 §11.3)."""
    encoded = der.encode(tag, content)
    assert der.time(moment) == encoded
    element = der.decode(encoded, limit_bytes=LIMIT)
    assert element.time() == element.moment() == moment


@pytest.mark.parametrize("content", [b"20260314120000Z", b"20500101000000.5Z", b"19490101000000Z"])
def test_a_date_has_the_form_of_its_year(content: bytes) -> None:
    """A good GeneralizedTime is refused where whole seconds in the form of their year are asked for."""
    element = der.decode(der.encode(0x18, content), limit_bytes=LIMIT)
    assert element.time().year in {2026, 2050, 1949}
    with pytest.raises(MalformedError, match="date"):
        element.moment()


def test_a_fraction_of_a_second_is_read_to_the_microsecond() -> None:
    """A time-stamp's time may have one (RFC 3161 §2.4.2)."""
    element = der.decode(der.encode(0x18, b"20260314120000.000001Z"), limit_bytes=LIMIT)
    assert element.time() == utc(2026, 3, 14, 12, 0, 0, 1)
    element = der.decode(der.encode(0x18, b"20260314120000.5Z"), limit_bytes=LIMIT)
    assert element.time() == utc(2026, 3, 14, 12, 0, 0, 500_000)


@pytest.mark.parametrize(
    "moment",
    [
        datetime(2026, 3, 14),  # noqa: DTZ001 - a naive time is what is refused
        datetime(2026, 3, 14, tzinfo=timezone(timedelta(hours=1))),
        utc(2026, 3, 14, 12, 0, 0, 1),
        utc(1949, 12, 31),
    ],
)
def test_a_time_that_has_no_spelling_is_not_written(moment: datetime) -> None:
    """Naive, in another zone, finer than a second or before 1950: a mistake of the caller's."""
    with pytest.raises(ValueError, match="DER time"):
        der.time(moment)


def test_accessors_refuse_another_type() -> None:
    """A value of another type, or another number of members, is malformed where one is expected."""
    element = read("3006020101040161")
    number, octets = element.members(der.SEQUENCE, 2)
    assert (number.integer(), octets.octets()) == (1, b"a")
    assert element.members(der.SEQUENCE) == (number, octets)
    for refused in (
        lambda: element.members(der.SET),
        lambda: element.members(der.SEQUENCE, 3),
        octets.integer,
        number.octets,
        number.bits,
        number.whole_bits,
        number.time,
        der.decode(der.octet_string(b"20260314120000Z"), limit_bytes=LIMIT).time,
    ):
        with pytest.raises(MalformedError):
            refused()


def test_bit_strings_may_be_asked_to_fill_their_octets() -> None:
    """A key or a signature is whole octets; a set of named bits need not be."""
    assert read("030200f0").whole_bits() == b"\xf0"
    assert read("030204f0").bits() == b"\xf0"
    assert read("030100").bits() == b""
    with pytest.raises(MalformedError, match="whole octets"):
        read("030204f0").whole_bits()
