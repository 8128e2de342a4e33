"""Reads the members of an extract that another program has packed again (FORMAT.md, section 11.1).

Such a file proves nothing until it is repaired: but whether its parts are authentic can be told, and which one is not.
What two ZIP readers could read as two files is refused: another name, a name twice, members that overlap.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, BinaryIO, Callable

from journal.core.errors import MalformedError
from journal.extract.container import REQUIRED, Parts, read_at
from journal.extract.layout import LIMITS_BYTES, NAMES, Part

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER = "META-INF/"  # which many programs list as a member of no bytes
RECORDS_LIMIT = len(NAMES) + 1

_END = struct.Struct("<4s4H2LH")
_RECORD = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_COMMENT_LIMIT_BYTES = 2**16 - 1
_STORED, _DEFLATED = 0, 8
# Bits that change nothing of how the content is read: the deflater's effort, a descriptor behind, a name in UTF-8.
_HARMLESS_FLAGS = 0b1000_0000_1110
_NO_SIZE = 2**32 - 1  # zip64


class Rewritten(Parts):
    """Reads the members of a ZIP file that is not the container as it was issued.

    MalformedError if it is not a ZIP file of exactly an extract's members; OSError as the file raises it.
    """

    def __init__(self, file: BinaryIO, *, notify: Callable[[int], None] = lambda _: None) -> None:
        """Find the members; `file` must stay open and unchanged."""
        try:
            parts = list(_find(file))
        except MalformedError as error:
            raise MalformedError(f"not an extract, not even one that was packed again: {error.reason}") from error
        super().__init__(file, parts, notify=notify)


def _find(file: BinaryIO) -> Iterator[Part]:
    """Yield where the members' contents stand."""
    count, directory, start = _read_end(file)
    if count > RECORDS_LIMIT:
        raise MalformedError("it holds other files")
    found: dict[str, Part] = {}
    spans: list[tuple[int, int]] = []
    place = 0
    for _ in range(count):
        fixed = directory[place : place + _RECORD.size]
        if len(fixed) != _RECORD.size or fixed[:4] != b"PK\1\2":
            raise MalformedError("its directory is damaged")
        fields = _RECORD.unpack(fixed)
        lengths = fields[10:13]
        name = directory[place + _RECORD.size : place + _RECORD.size + lengths[0]]
        place += _RECORD.size + sum(lengths)
        if name == FOLDER.encode() and fields[8:10] == (0, 0):
            continue
        part, begin = _read_part(file, name, fields)
        if part.name in found:
            raise MalformedError(f"{part.name} is there twice")
        found[part.name] = part
        spans.append((begin, part.content_offset + part.packed_bytes))
    if place != len(directory):
        raise MalformedError("its directory is damaged")
    if missing := [name for name in REQUIRED if name not in found]:
        raise MalformedError(f"{missing[0]} is missing")
    spans.sort()
    if any(end > begin for (_, end), (begin, _) in zip(spans, [*spans[1:], (start, start)])):
        raise MalformedError("its members overlap")
    yield from found.values()


def _read_end(file: BinaryIO) -> tuple[int, bytes, int]:
    """Return the number of records, the directory's bytes, and where it begins (APPNOTE 4.3.16)."""
    size = file.seek(0, 2)
    tail_start = max(0, size - _END.size - _COMMENT_LIMIT_BYTES)
    tail = read_at(file, tail_start, size - tail_start)
    place = tail.rfind(b"PK\5\6")
    while place >= 0:
        if len(tail) - place >= _END.size:
            _, disk, first_disk, here, count, length, start, comment = _END.unpack_from(tail, place)
            if comment == len(tail) - place - _END.size:
                break
        place = tail.rfind(b"PK\5\6", 0, place)
    else:
        raise MalformedError("it has no end record, as if it were cut short")
    if (disk, first_disk, here) != (0, 0, count) or start + length > tail_start + place:
        raise MalformedError("its end record is damaged")
    return count, read_at(file, start, length), start


def _strange(name: bytes) -> str:
    """Return what to do about an archive that holds a file of another name."""
    if name.endswith(b".asice"):
        return "it is an archive that holds the extract (.asice): take it out, and give that"
    if name.endswith(b"/") or name.rpartition(b"/")[2] in {known.encode() for known in NAMES}:
        return "its files are in a folder, as if the extract had been unpacked: ask for the file that was issued"
    return "it holds other files"


def _read_part(file: BinaryIO, name: bytes, fields: tuple[int, ...]) -> tuple[Part, int]:
    """Return a member and where its local header begins."""
    flags, method, (crc, packed_bytes, plain_bytes), begin = fields[3], fields[4], fields[7:10], fields[16]
    known = next((known for known in NAMES if known.encode() == name), None)
    if known is None:
        raise MalformedError(_strange(name))
    if flags & ~_HARMLESS_FLAGS or method not in {_STORED, _DEFLATED} or _NO_SIZE in {packed_bytes, plain_bytes}:
        raise MalformedError(f"{known} is encrypted, or compressed in a way that not all programs read")
    if method == _STORED and packed_bytes != plain_bytes:
        raise MalformedError(f"{known} is stored, but with two sizes")
    if plain_bytes > LIMITS_BYTES.get(known, _NO_SIZE):
        raise MalformedError(f"{known} is longer than {LIMITS_BYTES[known]} bytes")
    try:
        local = _LOCAL.unpack(read_at(file, begin, _LOCAL.size))
        same_name = read_at(file, begin + _LOCAL.size, local[9]) == name
    except MalformedError as error:
        raise MalformedError(f"{known} is not where the directory says") from error
    if local[0] != b"PK\3\4" or (local[2] & 1, local[3]) != (0, method) or not same_name:
        raise MalformedError(f"{known} is not where the directory says")
    content_offset = begin + _LOCAL.size + local[9] + local[10]
    return Part(known, content_offset, packed_bytes, plain_bytes, crc, method == _DEFLATED), begin
