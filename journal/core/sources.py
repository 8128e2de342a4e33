"""Sources that number their events: their names, encrypted beside what the database counts of them, and ranges.

A source numbers from 1 in each epoch of its counter, in each category by itself (FORMAT.md, "Event").
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from journal.core import canonical
from journal.core.envelope import NONCE_BYTES
from journal.core.errors import BrokenChainError, MalformedError

if TYPE_CHECKING:
    from collections.abc import Iterable

# A source is at most 256 characters, an epoch 64: as JSON, six bytes each at most.
NAME_LIMIT_BYTES = 4096


class SourceNames:
    """Encrypts and opens the names of sources of one compartment: nonce(12) ‖ AES-256-GCM(key, nonce, [source, epoch]).

    The associated data is the key of the source, beside which the name is kept.
    """

    __slots__ = ("_cipher",)

    def __init__(self, key: bytes) -> None:
        """Prepare the cipher; the key is 32 bytes."""
        self._cipher = AESGCM(key)

    def seal(self, source: str, epoch: str, *, key: bytes, nonce: bytes) -> bytes:
        """Return the encrypted name; the caller draws a new nonce of 12 bytes for every call."""
        return nonce + self._cipher.encrypt(nonce, canonical.encode([source, epoch]), key)

    def open(self, name: bytes, *, key: bytes) -> tuple[str, str]:
        """Return (source, epoch); BrokenChainError if the name was altered or is that of another source."""
        try:
            plain = self._cipher.decrypt(name[:NONCE_BYTES], name[NONCE_BYTES:], key)
            source, epoch = canonical.decode(plain, limit_bytes=NAME_LIMIT_BYTES)
        except (InvalidTag, MalformedError, ValueError) as error:
            raise BrokenChainError("the name of a source does not decrypt") from error
        return source, epoch


def ranges(numbers: Iterable[int]) -> list[tuple[int, int]]:
    """Return the ranges, both ends included, in order and apart, that hold exactly these numbers."""
    found: list[tuple[int, int]] = []
    for number in sorted(numbers):
        if found and number <= found[-1][1] + 1:
            found[-1] = found[-1][0], number
        else:
            found.append((number, number))
    return found
