"""Strict DER (ITU-T X.690 §8, §10, §11): every value has one encoding, for reading and writing.

The reader checks the whole tree before it returns: definite minimal lengths, low tag numbers, minimal
integers, canonical booleans, zero padding bits, sorted SET OF, exact times, nothing after the end.
It raises MalformedError for any other bytes. The writer is its inverse, so that a structure that was read can be
rebuilt and compared with the bytes received.

Object identifiers are compared in their encoded form, the result of `object_identifier("1.2.3")`.
"""

# ruff: noqa: PLR2004 - octets and bits are clearest as the numbers that X.690 gives

from __future__ import annotations

import re
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from journal.core.errors import MalformedError
from journal.core.times import UTC

if TYPE_CHECKING:
    from collections.abc import Callable

BOOLEAN = 0x01
INTEGER = 0x02
BIT_STRING = 0x03
OCTET_STRING = 0x04
NULL = 0x05
OBJECT_IDENTIFIER = 0x06
ENUMERATED = 0x0A
UTF8_STRING = 0x0C
PRINTABLE_STRING = 0x13
IA5_STRING = 0x16
UTC_TIME = 0x17
GENERALIZED_TIME = 0x18
SEQUENCE = 0x30
SET = 0x31

TRUE = b"\x01\x01\xff"  # the only BOOLEAN ever written where FALSE is the default: DER leaves defaults out
DEPTH_LIMIT = 32  # a time-stamp token, the deepest object we read, needs 18
IDENTIFIER_LIMIT_BYTES = 64

# Numeric, Teletex, Visible, Universal and BMP strings: they occur in names and are not decoded.
_OPAQUE_STRINGS = frozenset({0x12, 0x14, 0x1A, 0x1C, 0x1E})
_TIME = re.compile(rb"([0-9]{4})" + rb"([0-9]{2})" * 5 + rb"(?:\.([0-9]{0,5}[1-9]))?Z")
_ARCS = re.compile(rb"(?:(?:[\x81-\xff][\x80-\xff]*)?[\x00-\x7f])+")
_PRINTABLE = re.compile(rb"[A-Za-z0-9 '()+,\-./:=?]*")


class Element(NamedTuple):
    """One value: its identifier octet, its content octets, its whole encoding, its members if it is constructed."""

    tag: int
    content: bytes
    encoded: bytes
    children: tuple[Element, ...]

    def expect(self, tag: int) -> Element:
        """Return this element, which must have that tag."""
        if self.tag != tag:
            raise MalformedError(f"DER tag 0x{self.tag:02x} where 0x{tag:02x} belongs")
        return self

    def members(self, tag: int, count: int | None = None) -> tuple[Element, ...]:
        """Return the members of a SEQUENCE, SET or context tag; exactly `count` of them if that is given."""
        children = self.expect(tag).children
        if count is not None and len(children) != count:
            raise MalformedError(f"{len(children)} DER members where {count} belong")
        return children

    def integer(self) -> int:
        """Return the value of an INTEGER."""
        return int.from_bytes(self.expect(INTEGER).content, "big", signed=True)

    def octets(self) -> bytes:
        """Return the content of an OCTET STRING."""
        return self.expect(OCTET_STRING).content

    def bits(self) -> bytes:
        """Return a BIT STRING's octets, padding bits zero."""
        return self.expect(BIT_STRING).content[1:]

    def whole_bits(self) -> bytes:
        """Return a BIT STRING's octets; MalformedError if it does not fill its last octet."""
        if self.expect(BIT_STRING).content[0]:
            raise MalformedError("a BIT STRING is not whole octets")
        return self.bits()

    def time(self) -> datetime:
        """Return a UTCTime (years 1950 to 2049) or a GeneralizedTime, aware, in UTC."""
        if self.tag not in (UTC_TIME, GENERALIZED_TIME):
            raise MalformedError(f"DER tag 0x{self.tag:02x} where a time belongs")
        return _read_time(self.tag, self.content)

    def moment(self) -> datetime:
        """Return a time of RFC 5280 and RFC 5652: whole seconds, in the form that the year requires."""
        moment = self.time()
        if moment.microsecond or moment.year < 1950 or time(moment) != self.encoded:
            raise MalformedError("a date is not in its one spelling")
        return moment


def decode(data: bytes, *, limit_bytes: int) -> Element:
    """Read one DER value that fills `data`; MalformedError for any other bytes."""
    if len(data) > limit_bytes:
        raise MalformedError(f"{len(data)} bytes where at most {limit_bytes} are accepted")
    element, end = _read(data, 0, len(data), DEPTH_LIMIT)
    if end != len(data):
        raise MalformedError("bytes after the end of a DER value")
    return element


def _read(data: bytes, start: int, end: int, depth: int) -> tuple[Element, int]:
    """Read the value at `start`, which must stop at or before `end`; return it and where it stops."""
    if depth == 0:
        raise MalformedError(f"DER nested deeper than {DEPTH_LIMIT}")
    body, stop = _read_header(data, start, end)
    tag, content = data[start], data[body:stop]
    children: tuple[Element, ...] = ()
    if tag in (SEQUENCE, SET) or 0xA0 <= tag < 0xBF:
        children = _read_members(data, body, stop, depth - 1)
        if tag == SET and any(a.encoded > b.encoded for a, b in zip(children, children[1:])):
            raise MalformedError("a DER SET OF out of order")
    elif tag in _CHECKS:
        _CHECKS[tag](content)
    elif tag not in _OPAQUE_STRINGS and not 0x80 <= tag < 0x9F:
        raise MalformedError(f"DER tag 0x{tag:02x} is not used here")
    return Element(tag, content, data[start:stop], children), stop


def _read_header(data: bytes, start: int, end: int) -> tuple[int, int]:
    """Return where the content begins and stops (X.690 §10.1: definite form, fewest octets)."""
    if end - start < 2:
        raise MalformedError("a DER value is cut short")
    length, body = data[start + 1], start + 2
    if length >= 0x80:
        body += length & 0x7F
        length = int.from_bytes(data[start + 2 : min(body, end)], "big")
        if length < 0x80 or data[start + 2] == 0:
            raise MalformedError("a DER length is indefinite or not in its shortest form")
    if body + length > end:
        raise MalformedError("a DER value is cut short")
    return body, body + length


def _read_members(data: bytes, start: int, end: int, depth: int) -> tuple[Element, ...]:
    members = []
    while start < end:
        element, start = _read(data, start, end, depth)
        members.append(element)
    return tuple(members)


def _check_boolean(content: bytes) -> None:
    if content not in (b"\x00", b"\xff"):
        raise MalformedError("a BOOLEAN is neither 00 nor FF")


def _check_integer(content: bytes) -> None:
    if not content or (len(content) > 1 and content[0] in (0x00, 0xFF) and (content[0] ^ content[1]) < 0x80):
        raise MalformedError("an INTEGER is not in its shortest form")


def _check_bit_string(content: bytes) -> None:
    # The first octet counts the padding bits of the last one. If there is no other octet, the test reads the
    # count n itself, whose low n bits are zero only for n = 0.
    if not content or content[0] > 7 or content[-1] & ((1 << content[0]) - 1):
        raise MalformedError("a BIT STRING has wrong padding")


def _check_null(content: bytes) -> None:
    if content:
        raise MalformedError("a NULL has content")


def _check_object_identifier(content: bytes) -> None:
    if len(content) > IDENTIFIER_LIMIT_BYTES or not _ARCS.fullmatch(content):
        raise MalformedError("an OBJECT IDENTIFIER is empty, too long, cut short or not in its shortest form")


def _check_utf8(content: bytes) -> None:
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MalformedError("a UTF8String is not UTF-8") from error


def _check_printable(content: bytes) -> None:
    if not _PRINTABLE.fullmatch(content):
        raise MalformedError("a PrintableString holds other characters")


def _check_ia5(content: bytes) -> None:
    if not content.isascii():
        raise MalformedError("an IA5String is not ASCII")


def _read_time(tag: int, content: bytes) -> datetime:
    """Read the one form of X.690 §11.7, §11.8: seconds present, Z, no fraction ending in zero.

    A fraction finer than a microsecond is refused: `datetime` cannot hold it.
    """
    if tag == UTC_TIME:
        content = (b"19" if content >= b"5" else b"20") + content  # RFC 5280 §4.1.2.5.1
    match = _TIME.fullmatch(content)
    if not match or (tag == UTC_TIME and match[7]):
        raise MalformedError("a DER time is not in its one spelling")
    year, month, day, hour, minute, second = (int(match[part]) for part in range(1, 7))
    microsecond = int((match[7] or b"").ljust(6, b"0"))
    try:
        return datetime(year, month, day, hour, minute, second, microsecond, tzinfo=UTC)
    except ValueError as error:
        raise MalformedError("a DER time is not a valid date") from error


_CHECKS: dict[int, Callable[[bytes], object]] = {
    BOOLEAN: _check_boolean,
    INTEGER: _check_integer,
    BIT_STRING: _check_bit_string,
    OCTET_STRING: len,
    NULL: _check_null,
    OBJECT_IDENTIFIER: _check_object_identifier,
    ENUMERATED: _check_integer,
    UTF8_STRING: _check_utf8,
    PRINTABLE_STRING: _check_printable,
    IA5_STRING: _check_ia5,
    UTC_TIME: partial(_read_time, UTC_TIME),
    GENERALIZED_TIME: partial(_read_time, GENERALIZED_TIME),
}


def encode(tag: int, *contents: bytes) -> bytes:
    """Return one value: the identifier octet, the length, then the contents one after another."""
    content = b"".join(contents)
    length = len(content)
    if length < 0x80:
        return bytes((tag, length)) + content
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(octets))) + octets + content


def sequence(*members: bytes) -> bytes:
    """Return a SEQUENCE of encoded members."""
    return encode(SEQUENCE, *members)


def set_of(*members: bytes) -> bytes:
    """Return a SET OF encoded members, sorted (X.690 §11.6)."""
    return encode(SET, *sorted(members))


def integer(value: int) -> bytes:
    """Return an INTEGER."""
    # One more bit than the magnitude, for the sign; ~value so that -128 takes one octet.
    bits = (value if value >= 0 else ~value).bit_length() + 1
    return encode(INTEGER, value.to_bytes((bits + 7) // 8, "big", signed=True))


def octet_string(content: bytes) -> bytes:
    """Return an OCTET STRING."""
    return encode(OCTET_STRING, content)


def object_identifier(dotted: str) -> bytes:
    """Return an OBJECT IDENTIFIER from its dotted text, e.g. "1.2.840.113549.1.7.1"."""
    first, second, *rest = (int(arc) for arc in dotted.split("."))
    content = b""
    for arc in (40 * first + second, *rest):
        octets = [arc & 0x7F]
        while arc := arc >> 7:
            octets.append(0x80 | (arc & 0x7F))
        content += bytes(reversed(octets))
    return encode(OBJECT_IDENTIFIER, content)


def time(moment: datetime) -> bytes:
    """Return a time of RFC 5280 and RFC 5652: UTCTime through 2049, GeneralizedTime after; whole seconds."""
    if moment.utcoffset() != timedelta(0) or moment.microsecond or moment.year < 1950:
        raise ValueError("a DER time is in UTC, in whole seconds, from 1950 on")
    text = f"{moment:%Y%m%d%H%M%SZ}".encode()
    if moment.year < 2050:
        return encode(UTC_TIME, text[2:])
    return encode(GENERALIZED_TIME, text)
