"""Bytes kept aside until their turn in the file comes: little of them in memory, the rest encrypted on disk.

The file has no name and the key is never stored: whatever ends the process, nothing can be read of it.
"""

from __future__ import annotations

import tempfile
from collections import deque
from typing import TYPE_CHECKING, Protocol

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from journal.core.envelope import NONCE_BYTES
from journal.core.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HELD_BYTES = 512 * 1024
_KEY_BITS = 256


class Temporary(Protocol):
    """What a spool needs of a file."""

    def write(self, data: bytes) -> int:
        """Write all of it."""
        ...

    def read(self, size: int) -> bytes:
        """Read so many bytes."""
        ...

    def seek(self, offset: int) -> int:
        """Go there."""
        ...

    def close(self) -> None:
        """Close it; that removes it."""
        ...


class Spool:
    """Bytes added at the end, then taken from the beginning, once."""

    def __init__(self, folder: Path) -> None:
        """Keep them in memory, and, where they are many, in a file of this folder."""
        self._folder = folder
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._lengths: deque[int] = deque()
        self._cipher = AESGCM(AESGCM.generate_key(_KEY_BITS))
        self._file: Temporary | None = None

    def add(self, data: bytes) -> None:
        """Keep some more. Raises StoreError where the disk does not take it."""
        self._held.append(data)
        self._held_bytes += len(data)
        if self._held_bytes >= HELD_BYTES:
            try:
                self._put(b"".join(self._held))
            except OSError as error:
                raise StoreError(
                    f"an extract under way cannot be kept in {self._folder}: {error.strerror}; make room there"
                ) from error
            self._held.clear()
            self._held_bytes = 0

    def take(self) -> Iterator[bytes]:
        """Yield everything, in pieces. Raises StoreError for what is not what was kept."""
        if self._file is not None:
            self._file.seek(0)
        for place, length in enumerate(self._lengths):
            assert self._file is not None
            try:
                yield self._cipher.decrypt(_nonce(place), self._file.read(length), None)
            except Exception as error:
                raise StoreError("what was kept of an extract under way is not what is read again") from error
        yield from self._held

    def close(self) -> None:
        """Forget everything."""
        self._held.clear()
        if self._file is not None:
            self._file.close()

    def _put(self, data: bytes) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115  # closed by `close`
        encrypted = self._cipher.encrypt(_nonce(len(self._lengths)), data, None)
        self._file.write(encrypted)
        self._lengths.append(len(encrypted))


def _nonce(place: int) -> bytes:
    return place.to_bytes(NONCE_BYTES, "big")
