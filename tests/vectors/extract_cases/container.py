"""Files that are no container of this format: malformed, before anything in them is believed."""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

from journal.extract.layout import (
    DIGESTS,
    DOCUMENT,
    ENTRIES,
    MANIFEST,
    MIMETYPE,
    MIMETYPE_CONTENT,
    PROOF,
    SEALS,
    SIGNATURE,
    TABLE,
)
from tests.support.containers import assembled, deflated, over
from tests.support.extracts import contents_of, pack
from tests.vectors.extract_cases.case import Case, refused, short, signed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from tests.support.containers import Packed

MALFORMED = "malformed"
END_BYTES = 22


def cases() -> Iterator[Case]:
    """Yield them."""
    whole = signed(short())
    for name, about, changed in (*_around(whole), *_headers(whole), *_members(whole)):
        yield refused(name, about, changed, MALFORMED)
    yield from _contents(contents_of(whole))


def _around(whole: bytes) -> Iterator[tuple[str, str, bytes]]:
    directory = whole.index(b"PK\1\2")
    local = 30 + len(MIMETYPE) + len(MIMETYPE_CONTENT)
    yield "no-bytes", "An empty file.", b""
    yield "cut-short", "The last byte is missing.", whole[:-1]
    yield "bytes-after", "A line break follows the end record.", whole + b"\n"
    moved = whole[:-6] + struct.pack("<L", directory + 2) + whole[-2:]
    yield "bytes-before", "Two bytes stand before the first member, offsets corrected.", b"MZ" + moved
    between = whole[:local] + b"gap" + whole[local:]
    yield "bytes-between-members", "Three bytes stand between two members.", between
    yield "comment", "The end record has a comment.", whole[:-2] + b"\5\0hello"
    hidden = whole[:-2] + struct.pack("<H", END_BYTES) + whole[-END_BYTES:]
    yield "second-end-record", "A comment hides a second end record.", hidden


def _headers(whole: bytes) -> Iterator[tuple[str, str, bytes]]:
    directory = whole.index(b"PK\1\2")
    second = whole.index(b"PK\1\2", directory + 4)
    end = len(whole) - END_BYTES
    flagged = over(over(whole, 6, b"\1"), directory + 8, b"\1")
    yield "encrypted-flag", "The first member is flagged as encrypted.", flagged
    yield "zip64", "A size is 2^32-1, which would mean zip64.", over(whole, second + 24, b"\xff" * 4)
    link = over(over(whole, directory + 5, b"\3"), directory + 38, struct.pack("<L", 0o120777 << 16))
    yield "symbolic-link", "The first member is a symbolic link to Unix.", link
    yield "other-date", "A member has another date than 1980-01-01.", over(whole, 12, b"\x22")
    yield "extra-field", "A central record announces an extra field.", over(whole, directory + 30, b"\4")
    yield "overlap", "Two central records point to one place.", over(whole, second + 42, bytes(4))
    yield "records-miscounted", "The end record counts fewer members than there are.", over(whole, end + 8, b"\7\0\7\0")
    yield "other-method", "A member says it is compressed with another method.", over(whole, second + 10, b"\x0c")
    yield "local-header-differs", "A local header has another CRC than the central record.", over(whole, 14, b"\0\0")
    without = whole.replace(b"PK\7\x08", b"")
    yield "descriptor-unsigned", "The data descriptors lack their signature.", without


def _members(whole: bytes) -> Iterator[tuple[str, str, bytes]]:
    found = contents_of(whole)
    for name in (PROOF, SEALS, TABLE, SIGNATURE):
        left = {key: content for key, content in found.items() if key != name}
        stem = name.rpartition("/")[2].replace(".", "-").lower()
        yield f"without-{stem}", f"{name} is missing.", pack(left)
    slip = whole.replace(b"manifest.json", b"../../evil.py")
    yield "path-out-of-the-container", "A member's name leads out of the directory.", slip
    yield "name-in-other-case", "A member's name has a capital.", whole.replace(b"manifest.json", b"Manifest.json")
    twin = whole.replace(b"manifest.json", b"LISEZMOI.txt\0")
    yield "name-twice", "Two members have one name, but for a zero byte.", twin
    backwards = assembled({MIMETYPE: MIMETYPE_CONTENT, **dict(reversed(found.items()))})
    yield "out-of-order", "The members stand in the reverse of their order.", backwards
    typed = assembled({MIMETYPE: b"application/vnd.etsi.asic-s+zip", **found})
    yield "other-mimetype", "The type is that of another kind of container.", typed


def _contents(found: Mapping[str, bytes]) -> Iterator[Case]:
    whole = {MIMETYPE: MIMETYPE_CONTENT, **found}

    def case(name: str, about: str, part: str, change: Callable[[bytes], Packed]) -> Case:
        extract = assembled(whole, lambda member, content: change(content) if member == part else None)
        return refused(name, about, extract, MALFORMED, part)

    about = "The CRC announced of a streamed member is another, here and in the directory."
    yield case("crc-wrong", about, ENTRIES, lambda content: (deflated(content), len(content), zlib.crc32(content) ^ 1))
    about = "The CRC announced of a stored member is another, here and in the directory."
    yield case("crc-wrong-stored", about, SEALS, lambda content: (content, len(content), zlib.crc32(content) ^ 1))
    about = "A member inflates to one byte more than announced."
    yield case(
        "size-too-small", about, PROOF, lambda content: (deflated(content), len(content) - 1, zlib.crc32(content))
    )
    about = "A member inflates to one byte less than announced."
    yield case(
        "size-too-large", about, PROOF, lambda content: (deflated(content), len(content) + 1, zlib.crc32(content))
    )
    about = "A member of 4 KB inflates to 4 MiB, and announces 1,000 bytes."
    yield case("bomb", about, ENTRIES, lambda _: (deflated(bytes(2**22)), 1000, 0))
    yield case(
        "bytes-after-deflate",
        "A byte follows the end of a deflate stream, inside its member.",
        TABLE,
        lambda content: (deflated(content) + b"\0", len(content), zlib.crc32(content)),
    )
    about = "A deflate stream ends before its last block."
    yield case(
        "deflate-cut-short", about, TABLE, lambda content: (deflated(content)[:-1], len(content), zlib.crc32(content))
    )
    about = "A deflate stream has a block of a kind there is not."
    yield case("deflate-damaged", about, ENTRIES, lambda content: (b"\xff" * 9, len(content), zlib.crc32(content)))
    about = "A stored member announces two sizes."
    yield case("stored-of-two-sizes", about, MANIFEST, lambda content: (content, len(content) + 1, zlib.crc32(content)))
    long = found[SIGNATURE].ljust(32 * 1024 + 1, b"\0")
    about = "The signature's member is a byte longer than it may be."
    yield case("signature-too-long", about, SIGNATURE, lambda _: (long, len(long), zlib.crc32(long)))
    document = pack({**found, DOCUMENT: b"%PDF-1.7"})
    yield refused(
        "document-unsigned", "A document was added that the digests do not name.", document, MALFORMED, DIGESTS
    )
