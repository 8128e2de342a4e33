"""Reads the container of an extract, in the one layout of `journal.extract.layout`.

The reader takes three numbers per member (CRC, packed and plain size), rebuilds the layout from them and refuses
a file that differs by one byte.
"""

from __future__ import annotations

import zlib
from hashlib import sha256
from typing import TYPE_CHECKING, BinaryIO, Callable

from journal.core.errors import MalformedError
from journal.extract.layout import (
    FILE_LIMIT_BYTES,
    LIMITS_BYTES,
    MIMETYPE,
    MIMETYPE_CONTENT,
    NAMES,
    OPTIONAL,
    RAW_DEFLATE,
    STREAMED,
    Member,
    Part,
    directory_bytes,
    read_directory,
    write_directory,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_CHUNK_BYTES = 128 * 1024
REQUIRED = tuple(name for name in NAMES if name not in OPTIONAL)


class Parts:
    """Reads the members of a seekable binary file, in constant memory except for those read whole.

    Several members can be read at once over one file.
    """

    def __init__(self, file: BinaryIO, parts: Iterable[Part], *, notify: Callable[[int], None]) -> None:
        """Read these members of a file, which must stay open and unchanged.

        `notify` receives the number of content bytes of a streamed member, as they are read.
        Raises MalformedError if the type is not that of an extract.
        """
        self._file = file
        self._notify = notify
        self._digests: dict[str, bytes] = {}
        self._parts = {part.name: part for part in parts}
        if self.read(MIMETYPE) != MIMETYPE_CONTENT:
            raise MalformedError("not the type of an ASiC-E container", part=MIMETYPE)

    @property
    def names(self) -> tuple[str, ...]:
        """The members' names, in the order of NAMES."""
        return tuple(name for name in NAMES if name in self._parts)

    def size_bytes(self, name: str) -> int:
        """Return the length of a member's content."""
        return self._parts[name].plain_bytes

    def read(self, name: str) -> bytes:
        """Return the content of a member that is not streamed."""
        if name in STREAMED:
            raise ValueError(f"{name} is read as a stream")
        return b"".join(self.stream(name))

    def stream(self, name: str) -> Iterator[bytes]:
        """Yield the content of a member in pieces; it is whole and correct only once this ends without an error.

        Checked: size, CRC, and that a second reading gives the same content as the first.
        """
        part = self._parts[name]
        plain_bytes = crc = 0
        content_hash = sha256()
        for piece in self._inflate(part) if part.is_deflated else self._pieces(part):
            plain_bytes += len(piece)
            if plain_bytes > part.plain_bytes:
                break
            crc = zlib.crc32(piece, crc)
            content_hash.update(piece)
            if name in STREAMED:
                self._notify(len(piece))
            yield piece
        if (plain_bytes, crc) != (part.plain_bytes, part.crc):
            raise MalformedError("its content does not have the size or CRC announced", part=name)
        digest = content_hash.digest()
        if self._digests.setdefault(name, digest) != digest:
            raise MalformedError("the file changed while it was read", part=name)

    def digest(self, name: str) -> bytes:
        """Return the SHA-256 of a member's content, reading it unless it was read before."""
        if name not in self._digests:
            for _ in self.stream(name):
                pass
        return self._digests[name]

    def lines(self, name: str, *, limit_bytes: int) -> Iterator[bytes]:
        """Yield the lines of a member, each without the LF that must end it."""
        rest = b""
        for piece in self.stream(name):
            *lines, rest = (rest + piece).split(b"\n")
            if max(map(len, (rest, *lines))) > limit_bytes:
                raise MalformedError(f"a line is longer than {limit_bytes} bytes", part=name)
            yield from lines
        if rest:
            raise MalformedError("the last line is cut short", part=name)

    def _pieces(self, part: Part) -> Iterator[bytes]:
        offset, end = part.content_offset, part.content_offset + part.packed_bytes
        while offset < end:
            piece = read_at(self._file, offset, min(_CHUNK_BYTES, end - offset))
            offset += len(piece)
            yield piece

    def _inflate(self, part: Part) -> Iterator[bytes]:
        """Yield the inflated content; the deflate stream (RFC 1951) must end with the part."""
        inflater = zlib.decompressobj(RAW_DEFLATE)
        for packed in self._pieces(part):
            rest, full = packed, False
            # After a full piece, output may be pending although all input has been consumed.
            while rest or full:
                try:
                    plain = inflater.decompress(rest, _CHUNK_BYTES)
                except zlib.error as error:
                    raise MalformedError("its compressed content is damaged", part=part.name) from error
                yield plain
                rest, full = inflater.unconsumed_tail, len(plain) == _CHUNK_BYTES
            if inflater.unused_data:
                raise MalformedError("bytes follow its compressed content", part=part.name)
        if not inflater.eof:
            raise MalformedError("its compressed content is cut short", part=part.name)


class Container(Parts):
    """Reads the container of an extract as it was issued.

    MalformedError for anything that is not exactly what ContainerWriter would have written around the same compressed
    content; OSError as the file raises it.
    """

    def __init__(self, file: BinaryIO, *, notify: Callable[[int], None] = lambda _: None) -> None:
        """Read the layout and check every byte of it; `file` must stay open and unchanged."""
        members = _read_layout(file)
        for member in members:
            _check_headers(file, member)
        super().__init__(file, [member.part for member in members], notify=notify)


def read_at(file: BinaryIO, offset: int, count: int) -> bytes:
    """Return `count` bytes of a file. Raises MalformedError if it ends before."""
    file.seek(offset)
    data = file.read(count)
    if len(data) != count:
        raise MalformedError("the file ends early")
    return data


def _read_layout(file: BinaryIO) -> list[Member]:
    file_bytes = file.seek(0, 2)
    for names in (NAMES, REQUIRED):
        start = file_bytes - directory_bytes(names)
        if start < 0 or start > FILE_LIMIT_BYTES:
            continue
        directory = read_at(file, start, file_bytes - start)
        members = read_directory(directory, names)
        if members[-1].end == start and write_directory(members) == directory:
            return members
    raise MalformedError(
        "not a whole extract: a part is missing, added, renamed or moved, or there are bytes around the parts"
    )


def _check_headers(file: BinaryIO, member: Member) -> None:
    header = read_at(file, member.offset, member.content_offset - member.offset)
    descriptor = read_at(file, member.end - len(member.descriptor), len(member.descriptor))
    if header != member.local_header or descriptor != member.descriptor:
        raise MalformedError("its headers are not those of the format", part=member.name)
    limit_bytes = LIMITS_BYTES.get(member.name)
    if limit_bytes is None:
        return
    if member.packed_bytes != member.plain_bytes:
        raise MalformedError("stored, but with two sizes", part=member.name)
    if member.plain_bytes > limit_bytes:
        raise MalformedError(f"longer than {limit_bytes} bytes", part=member.name)
