"""Spellings that a standard calls equal, made one, so that an event is the same event however it was spelt.

- An attribute whose value is null is absent (JSON Event Format for CloudEvents 1.0.2, section 2). `data` is no
  attribute, and what is in it is taken as it stands.
- Texts that Unicode calls canonically equivalent are one text: they are put in Normalization Form C (UAX #15).
"""

from __future__ import annotations

from typing import Any, Final
from unicodedata import is_normalized, normalize

from ingest.diagnosis import Object

_FORM: Final = "NFC"
_NO_ATTRIBUTE: Final = "data"
# No shape is nested deeper: what is further in is a fault, whatever its form.
_DEPTH: Final = 8


# Bytes of texts that need no look: ASCII but controls, and Latin letters from U+00C0 to U+027F, none of which is blank,
# unseen, or composes with another.
PLAIN = bytes((*range(0x20, 0x7F), *range(0x80, 0xC0), *range(0xC3, 0xCA)))


def is_one_form(text: str) -> bool:
    """Return whether a text, or a JSON document of texts, is in Normalization Form C.

    A document is if its texts are: no character of JSON's own, and no escape, composes with what follows it.
    """
    return text.isascii() or is_normalized(_FORM, text)


def one_form(value: Any, depth: int = _DEPTH) -> Any:
    """Return what `diagnosis.parse` has read with its texts, `depth` levels deep, in Normalization Form C."""
    if isinstance(value, str):
        return normalize(_FORM, value)
    if depth == 0:
        return value
    if isinstance(value, list):
        return [one_form(item, depth - 1) for item in value]
    if isinstance(value, Object):
        made = Object((name, one_form(item, depth - 1)) for name, item in value.items())
        made.repeated = value.repeated
        return made
    return value


def plain_event(value: Any) -> Any:
    """Return an event that `diagnosis.parse` has read without null attributes, its texts in Normalization Form C."""
    made = one_form(value)
    if isinstance(made, Object):
        for name in [name for name, item in made.items() if item is None and name != _NO_ATTRIBUTE]:
            del made[name]
    return made
