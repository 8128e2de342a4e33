"""Encrypts any record, also one that the service would not write, as it is encrypted where it is kept."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from journal.core.envelope import Box

_RECORD = re.compile(
    rb'\{"category":"[^"]*","event":(?P<event>.*),"index":\d+,"recorded_at":"(?P<at>[^"]*)",'
    rb'"submitted_by":"(?P<name>(?:[^"\\]|\\.)*)","tenant":"[^"]*","v":1\}',
    re.DOTALL,
)


def encrypt(box: Box, index: int, *, nonce: bytes, salt: bytes, record: bytes) -> bytes:
    """Return the ciphertext of an entry with this record (FORMAT.md, section 7)."""
    cipher, associated = box.parts
    return nonce + cipher.encrypt(nonce, salt + _remainder(record), associated + index.to_bytes(8, "big"))


def _remainder(record: bytes) -> bytes:
    parts = _RECORD.fullmatch(record)
    assert parts is not None
    digits = bytes.fromhex(re.sub(rb"[^0-9]", b"", parts["at"]).decode())
    return len(parts["name"]).to_bytes(2, "big") + digits + parts["name"] + parts["event"]
