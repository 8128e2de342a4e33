"""Writes the container of an extract, in the one layout of `journal.extract.layout`, without doing I/O."""

from __future__ import annotations

import zlib
from hashlib import sha256
from typing import TYPE_CHECKING

from journal.core.errors import OperatorError
from journal.extract.layout import FILE_LIMIT_BYTES, LIMITS_BYTES, NAMES, RAW_DEFLATE, STREAMED, Member, write_directory

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# Half the time of zlib's default, for an eighth more bytes.
_LEVEL = 3


class Packing:
    """The content of a member, counted, hashed and, if it is a streamed one, deflated.

    Both calls return the next bytes as the file holds them, possibly none, wherever they are kept until they are in it.
    Where others are served, both should be made in a thread.
    """

    def __init__(self, name: str, *, limit_bytes: int = FILE_LIMIT_BYTES) -> None:
        """Begin the content of this member, of at most so many bytes."""
        self.name = name
        self.crc = self.plain_bytes = self.packed_bytes = 0
        self._limit_bytes = LIMITS_BYTES.get(name, limit_bytes)
        self._hash = sha256()
        self._deflater = zlib.compressobj(_LEVEL, zlib.DEFLATED, RAW_DEFLATE) if name in STREAMED else None

    @property
    def digest(self) -> bytes:
        """The SHA-256 of the content so far."""
        return self._hash.digest()

    def write(self, content: bytes) -> bytes:
        """Continue it. Raises OperatorError when it exceeds the limit."""
        self.plain_bytes += len(content)
        if self.plain_bytes > self._limit_bytes:
            raise OperatorError(f"{self.name} is larger than an extract may hold: ask for fewer days")
        self.crc = zlib.crc32(content, self.crc)
        self._hash.update(content)
        return self._count(content if self._deflater is None else self._deflater.compress(content))

    def finish(self) -> bytes:
        """End it."""
        return self._count(b"" if self._deflater is None else self._deflater.flush())

    def _count(self, packed: bytes) -> bytes:
        self.packed_bytes += len(packed)
        return packed


class ContainerWriter:
    """Writes a container: every call returns the next bytes of the file, possibly none.

    Members come in the order of NAMES; a reader requires all but the optional one. OperatorError when the file or a
    member exceeds the format's limits; ValueError for calls out of order.
    """

    def __init__(self, *, limit_bytes: int = FILE_LIMIT_BYTES) -> None:
        """Begin an empty file; `limit_bytes` is the largest size of the file, and of a member's content."""
        self._limit_bytes = limit_bytes
        self._members: list[Member] = []
        self._digests: dict[str, bytes] = {}
        self._offset = 0
        self._packing: Packing | None = None

    def add(self, name: str, content: bytes) -> bytes:
        """Write a whole member."""
        return self.start(name) + self.write(content) + self.finish()

    def start(self, name: str) -> bytes:
        """Begin a member."""
        place = NAMES.index(self._members[-1].name) + 1 if self._members else 0
        if self._packing is not None or name not in NAMES[place:]:
            raise ValueError(f"{name} cannot begin here")
        self._packing = Packing(name, limit_bytes=self._limit_bytes)
        self._begun = self._offset
        self._whole: list[bytes] = []
        return self._count(Member(name, self._begun, 0, 0, 0).local_header) if name in STREAMED else b""

    def write(self, content: bytes) -> bytes:
        """Continue the current member."""
        packing = self._begun_packing()
        packed = packing.write(content)
        if packing.name in STREAMED:
            return self._count(packed)
        self._whole.append(packed)
        return b""

    def finish(self) -> bytes:
        """End the current member."""
        packing = self._begun_packing()
        return self._count(packing.finish()) + self._end(packing)

    def copy(self, packing: Packing, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """Write a whole streamed member that was packed beside; `pieces` are what its calls returned.

        ValueError if they are not that many bytes.
        """
        yield self.start(packing.name)
        begun = self._offset
        for piece in pieces:
            yield self._count(piece)
        if self._offset != begun + packing.packed_bytes:
            raise ValueError(f"{packing.name} is not all there")
        yield self._end(packing)

    def digest(self, name: str) -> bytes:
        """Return the SHA-256 of the content of a finished member; KeyError for any other."""
        return self._digests[name]

    def close(self) -> bytes:
        """End the file."""
        if self._packing is not None or not self._members:
            raise ValueError("a container ends after a whole member")
        return self._count(write_directory(self._members))

    def _begun_packing(self) -> Packing:
        if self._packing is None:
            raise ValueError("no member has begun")
        return self._packing

    def _end(self, packing: Packing) -> bytes:
        member = Member(packing.name, self._begun, packing.crc, packing.packed_bytes, packing.plain_bytes)
        self._members.append(member)
        self._digests[packing.name] = packing.digest
        self._packing = None
        return self._count(member.descriptor if member.streamed else b"".join([member.local_header, *self._whole]))

    def _count(self, data: bytes) -> bytes:
        self._offset += len(data)
        if self._offset > self._limit_bytes:
            raise OperatorError("an extract is at most 4 GiB: ask for fewer days")
        return data
