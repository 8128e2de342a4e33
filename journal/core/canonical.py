"""Canonical JSON: RFC 8785 restricted to what every reader agrees on.

Values are strings, booleans, arrays, objects and integers within ±(2^53-1). No null, no fraction, no
exponent, no character U+0000, no lone surrogate; member names are 1 to 64 printable ASCII characters, once
per object, so that code point order is the UTF-16 order RFC 8785 section 3.2.3 asks for; at most 32 levels.
`parse` reads such a value in any spelling of JSON, `encode` writes its canonical form, `decode` accepts only
that form.
"""

from __future__ import annotations

import json
from collections import Counter
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from journal.core.errors import MalformedError

if TYPE_CHECKING:
    from collections.abc import Iterable

INTEGER_LIMIT = 2**53 - 1
DEPTH_LIMIT = 32
NAME_LIMIT = 64

_INTEGER_DIGITS = 16
_TWICE = "a member appears twice"
_NAME = "a member name is not 1 to 64 printable ASCII characters"
_BEYOND = "an integer beyond ±(2^53-1)"


class _Fault:
    """A value that is refused; it stays in the parsed tree until `_check` reaches it and knows its JSON Pointer."""

    __slots__ = ("name", "reason")

    def __init__(self, reason: str, name: str | None = None) -> None:
        self.reason = reason
        self.name = name


def _members(pairs: list[tuple[str, Any]]) -> Any:
    """Make an object, or a fault if a name appears twice: `json` would silently keep the last one."""
    members = dict(pairs)
    if len(members) == len(pairs):
        return members
    twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
    return _Fault(_TWICE, twice) if _is_name(twice) else _Fault(_NAME)


# Shared objects: a body full of faults costs no more memory than a body of numbers.
_BEYOND_FAULT = _Fault(_BEYOND)
_NEGATIVE_ZERO_FAULT = _Fault("negative zero is not an integer")
_FRACTION_FAULT = _Fault("a number with a fraction or an exponent")
_CONSTANT_FAULT = _Fault("not a JSON value")


def _integer(digits: str) -> Any:
    if digits == "-0":
        return _NEGATIVE_ZERO_FAULT
    # The length is checked first: the conversion of a long number takes quadratic time.
    return int(digits) if len(digits) <= _INTEGER_DIGITS + 1 else _BEYOND_FAULT


_DECODER = json.JSONDecoder(
    object_pairs_hook=_members,
    parse_int=_integer,
    parse_float=lambda _: _FRACTION_FAULT,
    parse_constant=lambda _: _CONSTANT_FAULT,
)
# The escapes of RFC 8785 section 3.2.2.2: two characters where such an escape exists, else \u00xx in lower case.
_ENCODER = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"), check_circular=False)


# Few names recur in every record. The bound keeps hostile bodies from filling memory with long names.
@lru_cache(maxsize=512)
def _is_name(name: Any) -> bool:
    return isinstance(name, str) and name.isascii() and name.isprintable() and 0 < len(name) <= NAME_LIMIT


def _pointer(trail: Iterable[str | int]) -> str:
    """Return a JSON Pointer (RFC 6901)."""
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in trail)


def _fault_of(value: Any) -> str:
    """Return what is wrong with a value that is neither a string nor a container; empty if nothing is."""
    if isinstance(value, int):
        return "" if -INTEGER_LIMIT <= value <= INTEGER_LIMIT else _BEYOND
    if value is None:
        return "null is not accepted"
    if isinstance(value, _Fault):
        return value.reason
    return "not a string, boolean, integer, array or object"


def _fault_of_text(text: str) -> str:
    if "\0" in text:
        return "the character U+0000"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "a lone surrogate"
    return ""


def _check(items: Iterable[tuple[Any, Any]], trail: list[str | int]) -> None:
    """Walk the members of an object or the elements of an array; MalformedError at the first fault.

    `trail` holds the steps down to the container, one per level above it.
    """
    for step, value in items:
        if isinstance(value, str):
            fault = "" if value.isascii() and "\0" not in value else _fault_of_text(value)
        elif isinstance(value, (dict, list)):
            trail.append(step)
            if len(trail) > DEPTH_LIMIT:
                raise MalformedError("nested deeper than 32 levels", part=_pointer(trail[1:]))
            if isinstance(value, list):
                _check(enumerate(value), trail)
            elif all(map(_is_name, value)):
                _check(value.items(), trail)
            else:
                raise MalformedError(_NAME, part=_pointer(trail[1:]))
            trail.pop()
            continue
        else:
            fault = _fault_of(value)
        if fault:
            steps = [*trail, step]
            if isinstance(value, _Fault) and value.name is not None:
                steps.append(value.name)
            raise MalformedError(fault, part=_pointer(steps[1:]))


def encode(value: Any) -> bytes:
    """Return the canonical form of a value (RFC 8785); ValueError if it holds a value that is not accepted."""
    try:
        _check([("", value)], [])
    except MalformedError as error:
        raise ValueError(str(error)) from error
    return _ENCODER.encode(value).encode()


def parse(data: bytes, *, limit_bytes: int) -> Any:
    """Read a value in any spelling of JSON (RFC 8259), refusing what two parsers could read differently.

    MalformedError, whose part is the JSON Pointer of the fault where there is one.
    """
    if len(data) > limit_bytes:
        raise MalformedError(f"longer than {limit_bytes} bytes")
    try:
        value = _DECODER.decode(data.decode())
        _check([("", value)], [])
    except UnicodeDecodeError as error:
        raise MalformedError(f"not UTF-8 at byte {error.start}") from error
    except json.JSONDecodeError as error:
        raise MalformedError(f"not JSON at character {error.pos}") from error
    except RecursionError as error:
        raise MalformedError("nested deeper than 32 levels") from error
    return value


def decode(data: bytes, *, limit_bytes: int) -> Any:
    """Read a value in canonical form; MalformedError for any other spelling."""
    value = parse(data, limit_bytes=limit_bytes)
    if _ENCODER.encode(value).encode() != data:
        raise MalformedError("not in canonical form")
    return value
