"""Every fault of a refused body, with its JSON Pointer: the slow path after the fast one has failed.

`parse` keeps what JSON parsers usually lose (duplicate members, the spelling of numbers); `check` lists every
difference between a value and a shape of `shapes`. Only the fast path (`events`) accepts a body.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any, NamedTuple

import msgspec
from msgspec import inspect

from journal.core import faults as codes

# A body of 10,000 events holds about 400,000 values; one made to be expensive holds millions.
VALUES_LIMIT = 1_000_000
POINTER_LIMIT = 300
INTEGER_DIGITS = 16


class Fault(NamedTuple):
    """One fault: a JSON Pointer (RFC 6901), a code, and a reason that continues the member's name."""

    pointer: str
    code: codes.Code
    reason: str


class Object(dict[str, Any]):
    """A JSON object that remembers which members it was given more than once."""

    repeated: tuple[str, ...] = ()


class _Number:
    """A JSON number that no shape allows: a fraction, an exponent, minus zero, or more than 16 digits."""


_NUMBER = _Number()


def _object(pairs: list[tuple[str, Any]]) -> Object:
    value = Object(pairs)
    if len(value) != len(pairs):
        times = Counter(name for name, _ in pairs)
        value.repeated = tuple(name for name, count in times.items() if count > 1)
    return value


def _number(_: str) -> _Number:
    return _NUMBER


def _integer(text: str) -> int | _Number:
    return int(text) if len(text) <= INTEGER_DIGITS and text != "-0" else _NUMBER


# Python's decoder accepts NaN and Infinity as numbers; no shape allows those either.
_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_int=_integer, parse_float=_number, parse_constant=_number)
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"')


def is_costly(body: bytes) -> bool:
    """Return whether a body holds more than VALUES_LIMIT values, without decoding it."""
    # Each value but the first follows one of these three characters.
    return len(body) > VALUES_LIMIT and body.count(b",") + body.count(b"[") + body.count(b"{") > VALUES_LIMIT


def parse(body: bytes) -> Any:
    """Decode a body for `check`; return a Fault if it is not JSON."""
    if body.startswith(b"\xef\xbb\xbf"):
        return Fault("", codes.NOT_JSON, "the body begins with a byte order mark")
    if is_costly(body):
        return Fault("", codes.BODY_TOO_LARGE, f"the body holds more than {VALUES_LIMIT:,} values")
    try:
        return _DECODER.decode(body.decode())
    except UnicodeDecodeError as error:
        return Fault("", codes.NOT_UTF8, f"the body is not UTF-8 at byte {error.start}")
    except json.JSONDecodeError as error:
        return Fault(
            "", codes.NOT_JSON, f"the body is not JSON at character {error.pos}" if body else "the body is empty"
        )
    except RecursionError:
        return Fault("", codes.NOT_JSON, "the body is nested too deeply")


def repeats_a_member(body: bytes) -> bool:
    """Return whether any object of a body, which must be JSON, holds a member twice."""
    repeated = False

    def members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal repeated
        value = dict(pairs)
        repeated = repeated or len(value) != len(pairs)
        return value

    json.JSONDecoder(object_pairs_hook=members).decode(body.decode())
    return repeated


def holds_minus_zero(body: bytes) -> bool:
    """Return whether a body, which must be JSON without fractions and exponents, holds the number -0."""
    return b"-0" in body and b"-0" in _STRING.sub(b"", body)


def step(pointer: str, name: str | int) -> str:
    """Extend a JSON Pointer; lone surrogates are replaced, and the result is cut at POINTER_LIMIT."""
    text = str(name).replace("~", "~0").replace("/", "~1").encode("utf-8", "replace").decode()
    return f"{pointer}/{text}"[:POINTER_LIMIT]


def check(value: Any, shape: inspect.Type, pointer: str = "") -> list[Fault]:
    """Return every difference between what `parse` returned and a shape (see `shape_of`)."""
    if isinstance(value, Fault):
        return [value]
    faults: list[Fault] = []
    _check(value, shape, pointer, faults)
    return faults


def _check(value: Any, shape: inspect.Type, pointer: str, faults: list[Fault]) -> None:
    extra: dict[str, Any] = {}
    if isinstance(shape, inspect.Metadata):
        extra = shape.extra or {}
        shape = shape.type
    if value is None:
        faults.append(Fault(pointer, codes.WRONG_TYPE, "must not be null"))
    elif isinstance(shape, inspect.StructType):
        _check_object(value, shape, pointer, faults)
    elif isinstance(shape, inspect.ListType):
        _check_list(value, shape, pointer, faults)
    elif found := _fault_of_plain(value, shape, extra):
        faults.append(Fault(pointer, *found))


def _check_object(value: Any, shape: inspect.StructType, pointer: str, faults: list[Fault]) -> None:
    if not isinstance(value, Object):
        faults.append(Fault(pointer, codes.WRONG_TYPE, f"must be an object, not {_kind(value)}"))
        return
    faults.extend(Fault(step(pointer, name), codes.DUPLICATE_MEMBER, "is given twice") for name in value.repeated)
    fields = {field.encode_name: field for field in shape.fields}
    faults.extend(
        Fault(step(pointer, name), codes.UNKNOWN_MEMBER, "is not a known member")
        for name in value
        if name not in fields
    )
    for name, field in fields.items():
        if name in value:
            _check(value[name], field.type, step(pointer, name), faults)
        elif field.required:
            faults.append(Fault(step(pointer, name), codes.MISSING, "is required"))


def _check_list(value: Any, shape: inspect.ListType, pointer: str, faults: list[Fault]) -> None:
    if not isinstance(value, list):
        faults.append(Fault(pointer, codes.WRONG_TYPE, f"must be a list, not {_kind(value)}"))
        return
    if shape.max_length is not None and len(value) > shape.max_length:
        faults.append(Fault(pointer, codes.TOO_LONG, f"holds more than {shape.max_length} items"))
        return
    if shape.min_length is not None and len(value) < shape.min_length:
        faults.append(Fault(pointer, codes.BLANK, "is empty"))
    for position, item in enumerate(value):
        _check(item, shape.item_type, step(pointer, position), faults)


def _fault_of_plain(value: Any, shape: inspect.Type, extra: dict[str, Any]) -> tuple[codes.Code, str] | None:
    if isinstance(shape, inspect.IntType):
        return _fault_of_integer(value, shape)
    if isinstance(shape, inspect.BoolType):
        return None if isinstance(value, bool) else (codes.WRONG_TYPE, f"must be true or false, not {_kind(value)}")
    if not isinstance(value, str):
        return codes.WRONG_TYPE, f"must be a string, not {_kind(value)}"
    if isinstance(shape, inspect.LiteralType):
        return None if value in shape.values else (codes.UNKNOWN_VALUE, f"must be {_one_of(shape.values)}")
    return _fault_of_text(value, shape, extra) if isinstance(shape, inspect.StrType) else None


def _fault_of_integer(value: Any, shape: inspect.IntType) -> tuple[codes.Code, str] | None:
    least, most = shape.ge or 0, shape.le or 0
    if isinstance(value, int) and not isinstance(value, bool):
        return None if least <= value <= most else (codes.OUT_OF_RANGE, f"is not from {least} to {most}")
    wanted = f"must be an integer from {least} to {most}"
    if isinstance(value, _Number):
        return codes.OUT_OF_RANGE, wanted
    return codes.WRONG_TYPE, f"{wanted}, not {_kind(value)}"


def _fault_of_text(text: str, shape: inspect.StrType, extra: dict[str, Any]) -> tuple[codes.Code, str] | None:
    allowed = extra.get("controls", "")
    if not text and shape.min_length:
        return codes.BLANK, "is empty"
    if shape.max_length is not None and len(text) > shape.max_length:
        return codes.TOO_LONG, f"is longer than {shape.max_length} characters"
    if "\0" in text:
        return codes.CHARACTER, "holds the character U+0000"
    if any(character < " " and character not in allowed for character in text):
        return codes.CHARACTER, "holds a control character"
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        return codes.CHARACTER, "holds a lone surrogate"
    rule = extra.get("rule")
    reason = rule(text) if rule else ""
    return (codes.BLANK if text.isspace() else extra["code"], reason) if reason else None


def _kind(value: Any) -> str:
    if isinstance(value, _Number):
        return "a number"
    kinds = {
        bool: "a boolean",
        int: "a number",
        str: "a string",
        list: "a list",
        Object: "an object",
        type(None): "null",
    }
    return kinds[type(value)]


def _one_of(values: tuple[Any, ...]) -> str:
    texts = [str(value) for value in values]
    return texts[0] if len(texts) == 1 else f"one of {', '.join(texts)}"


def shape_of(struct: type[msgspec.Struct]) -> inspect.Type:
    """Return a struct's shape, for `check`."""
    return inspect.type_info(struct)
