"""Changes to extracts that know what they change: bytes, lines, JSON, DER, seals, whole members."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from journal.core import canonical
from journal.extract.layout import ENTRIES, MANIFEST, PROOF, SEALS, TABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from random import Random

    Contents = dict[str, bytes]

SPECIAL_BYTES = b"\0\1\x7f\x80\xff\n\r\t \"',:;=[]{}\\/0aA-"
SPECIAL_VALUES: tuple[Any, ...] = (
    *(0, 1, -1, 2, 5, 6, 59, 60, 61, 2**31, 2**53 - 1, 2**53, 10**30, 1.5, True, False, None),
    *("", "0", "x", "é" * 3, "\u202e", "\ud800", "a" * 1025, "00" * 32, "ff" * 32, "AB" * 16, "null"),
    *("2026-03-01", "2026-03-02", "2026-03-03", "2026-03-04", "1970-01-01", "9999-12-31", "0001-01-01"),
    *("2026-03-04T12:00:00.000000Z", "2026-03-04T12:00:01Z", "9999-12-31T23:59:59.999999Z", "all", "journal"),
    *([], {}, [[]], {"a": {}}, ["00" * 32], {"withhold": "all"}, {"action": "consultation"}),
)
TAGS = bytes((0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x0C, 0x13, 0x17, 0x18, 0x30, 0x31, 0x80, 0x82, 0xA0, 0xA1, 0xA3))


def change_bytes(random: Random, data: bytes, other: bytes = b"") -> bytes:
    """Return the bytes with a run of them turned, replaced, removed, doubled, moved or taken from another."""
    place = random.randrange(len(data) + 1)
    end = min(len(data), place + random.choice((1, 1, 1, 2, 4, 16, 64, 1000)))
    start = random.randrange(len(other) + 1)
    run = data[place:end]
    return random.choice(
        (
            lambda: data[:place] + bytes(byte ^ 1 << random.randrange(8) for byte in run) + data[end:],
            lambda: data[:place] + bytes(random.choice(SPECIAL_BYTES) for _ in run) + data[end:],
            lambda: data[:place] + random.randbytes(len(run)) + data[end:],
            lambda: data[:place] + data[end:],
            lambda: data[:end] + run + data[end:],
            lambda: data[:place] + run[::-1] + data[end:],
            lambda: data[:place] + other[start : start + len(run)] + data[end:],
            lambda: data[:place] + other[start:],
            lambda: data[:place],
        )
    )()


def change_lines(random: Random, data: bytes, other: bytes = b"") -> bytes:
    """Return the lines with one removed, doubled, moved, taken from another, or changed within."""
    lines = data.splitlines(keepends=True) or [b""]
    others = other.splitlines(keepends=True) or [b"\n"]
    place, target = random.randrange(len(lines)), random.randrange(len(lines))
    kind = random.randrange(6)
    if kind == 0:
        del lines[place]
    elif kind == 1:
        lines.insert(target, lines[place])
    elif kind == 2:
        lines[place], lines[target] = lines[target], lines[place]
    elif kind == 3:
        lines.insert(target, random.choice(others))
    elif kind == 4:
        lines[place] = change_json(random, lines[place])
    else:
        lines[place] = change_bytes(random, lines[place])
    return b"".join(lines)


def change_json(random: Random, data: bytes) -> bytes:
    """Return JSON with one value replaced, removed, doubled or moved, most often spelt canonically."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return change_bytes(random, data)
    changed = change_value(random, value)
    end = b"\n" if data.endswith(b"\n") else b""
    if random.random() < 0.9:
        try:
            return canonical.encode(changed) + end
        except (ValueError, RecursionError):
            pass
    spelling = json.dumps(changed, ensure_ascii=random.random() < 0.5, indent=random.choice((None, None, 1)))
    return spelling.encode(errors="surrogatepass") + end


def change_value(random: Random, value: Any) -> Any:
    """Return the value with something changed at a random place in it."""
    if isinstance(value, dict) and value and random.random() < 0.85:
        return _change_object(random, value)
    if isinstance(value, list) and value and random.random() < 0.85:
        return _change_array(random, value)
    if type(value) is int and random.random() < 0.6:
        return value + random.choice((-2, -1, 1, 2))
    if isinstance(value, str) and value and random.random() < 0.6:
        place = random.randrange(len(value))
        return value[:place] + random.choice((*'0123456789abcdefxyz./-\n"', "", value)) + value[place + 1 :]
    return random.choice(SPECIAL_VALUES)


def _change_object(random: Random, value: dict[str, Any]) -> dict[str, Any]:
    name = random.choice(list(value))
    kind = random.random()
    if kind < 0.1:
        return {key: member for key, member in value.items() if key != name}
    if kind < 0.15:
        return {**value, random.choice(("", "x", "v", "timestamp", "é")): random.choice(SPECIAL_VALUES)}
    if kind < 0.25:
        return {**value, name: value[random.choice(list(value))]}
    return {**value, name: change_value(random, value[name])}


def _change_array(random: Random, value: list[Any]) -> list[Any]:
    place = random.randrange(len(value))
    kind = random.random()
    if kind < 0.15:
        return value[:place] + value[place + 1 :]
    if kind < 0.3:
        return [*value[:place], value[place], *value[place:]]
    if kind < 0.4:
        return [*value[:place], random.choice(value), *value[place + 1 :]]
    return [*value[:place], change_value(random, value[place]), *value[place + 1 :]]


def change_der(random: Random, data: bytes) -> bytes:
    """Return DER with one element changed, removed, doubled or moved, the lengths around it made right again."""
    elements = _elements(data)
    if elements is None or not elements:
        return change_bytes(random, data)
    place = random.randrange(len(elements))
    tag, content = elements[place]
    if content and random.random() < 0.85 and (tag & 0x20 or (tag in (3, 4) and random.random() < 0.7)):
        # Bit and octet strings may hold DER: an extension, a key, a signature.
        lead = content[:1] if tag == 3 else b""
        elements[place] = (tag, lead + change_der(random, content[len(lead) :]))
        return _join(random, elements)
    kind = random.randrange(7)
    if kind == 0:
        del elements[place]
    elif kind == 1:
        elements.insert(place, elements[place])
    elif kind == 2:
        other = random.randrange(len(elements))
        elements[place], elements[other] = elements[other], elements[place]
    elif kind == 3:
        elements[place] = (random.choice(TAGS), content)
    elif kind == 4:
        elements.insert(place, (random.choice(TAGS), random.randbytes(random.randrange(3))))
    else:
        elements[place] = (tag, change_bytes(random, content))
    return _join(random, elements)


def _elements(data: bytes) -> list[tuple[int, bytes]] | None:
    """Return tags and contents of DER elements in a row; None where it is none."""
    elements = []
    place = 0
    while place < len(data):
        if place + 2 > len(data):
            return None
        tag, length = data[place], data[place + 1]
        place += 2
        if length >= 0x80:
            count = length & 0x7F
            if not 1 <= count <= 4 or place + count > len(data):
                return None
            length = int.from_bytes(data[place : place + count], "big")
            place += count
        if place + length > len(data):
            return None
        elements.append((tag, data[place : place + length]))
        place += length
    return elements


def _join(random: Random, elements: Sequence[tuple[int, bytes]]) -> bytes:
    return b"".join(bytes([tag]) + _length(random, len(content)) + content for tag, content in elements)


def _length(random: Random, count: int) -> bytes:
    if random.random() < 0.005:
        return bytes([0x83]) + count.to_bytes(3, "big")  # longer than need be
    if count < 0x80:
        return bytes([count])
    size = (count.bit_length() + 7) // 8
    return bytes([0x80 | size]) + count.to_bytes(size, "big")


# What each member is made of.
CHANGES: dict[str, tuple[Callable[[Random, bytes], bytes], ...]] = {
    ENTRIES: (change_lines, change_lines, change_bytes),
    PROOF: (change_lines, change_lines, change_bytes),
    SEALS: (change_json, change_json, change_bytes),
    MANIFEST: (change_json, change_json, change_json, change_bytes),
    TABLE: (change_lines, change_bytes),
}


def change_member(random: Random, name: str, contents: Contents, other: Contents) -> bytes:
    """Return a member changed in the way of its kind, or another extract's in its place."""
    if random.random() < 0.15:
        return other[name]
    change = random.choice(CHANGES.get(name, (change_bytes,)))
    if change is change_json:
        return change_json(random, contents[name])
    return change(random, contents[name], other[name])  # type: ignore[call-arg] # lines and bytes take another's
