"""The one layout of an extract's container: a ZIP file (APPNOTE 6.3) that all readers read alike.

The members' content, order and compression determine every byte: members follow one another from
byte 0, then the central directory, then the end record. No comment, extra field, encryption, zip64, directory
or attribute; every date is 1980-01-01. `mimetype` and the members read whole are stored; the long ones, whose
size is unknown when they begin, are deflated and followed by a data descriptor.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

ENTRIES = "entries.ndjson"
PROOF = "proof.ndjson"
SEALS = "seals.json"
MANIFEST = "manifest.json"
TABLE = "extrait.csv"
DOCUMENT = "extrait.pdf"
INSTRUCTIONS = "LISEZMOI.txt"
DIGESTS = "META-INF/ASiCManifest.xml"
SIGNATURE = "META-INF/signature.p7s"

MIMETYPE = "mimetype"
MIMETYPE_CONTENT = b"application/vnd.etsi.asic-e+zip"  # ETSI EN 319 162-1, clause 4.4

# The one order of members.
NAMES = (MIMETYPE, ENTRIES, PROOF, SEALS, MANIFEST, TABLE, DOCUMENT, INSTRUCTIONS, DIGESTS, SIGNATURE)
STREAMED = (ENTRIES, PROOF, TABLE)
OPTIONAL = (DOCUMENT,)
RAW_DEFLATE = -15  # zlib's sign for a deflate stream (RFC 1951) without header
# The largest content of a member that is read whole.
LIMITS_BYTES = {
    MIMETYPE: len(MIMETYPE_CONTENT),
    SEALS: 16 * 2**20,  # what 60 days need with the largest signatures and time-stamps, and half as much again
    MANIFEST: 64 * 2**10,
    DOCUMENT: 64 * 2**20,
    INSTRUCTIONS: 16 * 2**10,
    DIGESTS: 16 * 2**10,
    SIGNATURE: 32 * 2**10,
}
# 2^32-1 in a size field would mean zip64; 64 KiB are left for the central directory.
FILE_LIMIT_BYTES = 2**32 - 2**16

_LOCAL = struct.Struct("<4s5H3L2H")
_DESCRIPTOR = struct.Struct("<4s3L")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_CENTRAL_NUMBERS = struct.Struct("<16x3L")
_END = struct.Struct("<4s4H2LH")
_VERSION = 20  # 2.0: deflate
_DESCRIPTOR_FOLLOWS = 1 << 3
_DEFLATED = 8
_DATE = 1 << 5 | 1  # 1980-01-01, the earliest there is; the time is midnight


@dataclass(frozen=True)
class Part:
    """Where the content of a member stands, and the numbers announced of it."""

    name: str
    content_offset: int
    packed_bytes: int
    plain_bytes: int
    crc: int
    is_deflated: bool


@dataclass(frozen=True)
class Member:
    """A member: its place and the three numbers that, with its name, determine its headers."""

    name: str
    offset: int
    crc: int
    packed_bytes: int
    plain_bytes: int

    @property
    def streamed(self) -> bool:
        """Whether its content is deflated and read as a stream."""
        return self.name in STREAMED

    @property
    def _common(self) -> tuple[int, ...]:
        """The fields that both its headers share: version, flags, method, time, date."""
        flags, method = (_DESCRIPTOR_FOLLOWS, _DEFLATED) if self.streamed else (0, 0)
        return (_VERSION, flags, method, 0, _DATE)

    @property
    def local_header(self) -> bytes:
        """APPNOTE 4.3.7."""
        numbers = (0, 0, 0) if self.streamed else (self.crc, self.packed_bytes, self.plain_bytes)
        name = self.name.encode()
        return _LOCAL.pack(b"PK\3\4", *self._common, *numbers, len(name), 0) + name

    @property
    def descriptor(self) -> bytes:
        """APPNOTE 4.3.9, with its signature; nothing for a member whose header holds the numbers."""
        if not self.streamed:
            return b""
        return _DESCRIPTOR.pack(b"PK\7\x08", self.crc, self.packed_bytes, self.plain_bytes)

    @property
    def central_record(self) -> bytes:
        """APPNOTE 4.3.12."""
        name = self.name.encode()
        numbers = (self.crc, self.packed_bytes, self.plain_bytes, len(name))
        # Extra field, comment, disk, internal attributes, external attributes: none.
        fixed = (*self._common, *numbers, 0, 0, 0, 0, 0, self.offset)
        return _CENTRAL.pack(b"PK\1\2", _VERSION, *fixed) + name

    @property
    def content_offset(self) -> int:
        """Where its packed content begins in the file."""
        return self.offset + _LOCAL.size + len(self.name)

    @property
    def part(self) -> Part:
        """Return where its content stands."""
        return Part(self.name, self.content_offset, self.packed_bytes, self.plain_bytes, self.crc, self.streamed)

    @property
    def end(self) -> int:
        """Where the next member begins."""
        return self.content_offset + self.packed_bytes + len(self.descriptor)


def directory_bytes(names: Sequence[str]) -> int:
    """Return the length of the central directory and end record for members of these names."""
    return sum(_CENTRAL.size + len(name) for name in names) + _END.size


def write_directory(members: Sequence[Member]) -> bytes:
    """Write the central directory and the end record (APPNOTE 4.3.16)."""
    records = b"".join(member.central_record for member in members)
    count = len(members)
    return records + _END.pack(b"PK\5\6", 0, 0, count, count, len(records), members[-1].end, 0)


def read_directory(directory: bytes, names: Sequence[str]) -> list[Member]:
    """Take three numbers per member from where they should be; the caller compares with `write_directory`."""
    members: list[Member] = []
    offset = place = 0
    for name in names:
        crc, packed_bytes, plain_bytes = _CENTRAL_NUMBERS.unpack_from(directory, place)
        member = Member(name, offset, crc, packed_bytes, plain_bytes)
        members.append(member)
        offset = member.end
        place += _CENTRAL.size + len(name)
    return members
