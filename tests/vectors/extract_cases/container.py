"""Files that are not the container that was issued: malformed, or authentic and packed again."""

from __future__ import annotations

import re
import struct
import zipfile
import zlib
from io import BytesIO
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

MALFORMED, REWRITTEN = "malformed", "rewritten"
# What any reader of ZIP files reads as the same members.
PACKED_AGAIN = frozenset(
    {"comment", "second-end-record", "symbolic-link", "other-date", "local-header-differs", "out-of-order"}
)
END_BYTES = 22
DATE = (1980, 1, 1, 0, 0, 0)


def cases() -> Iterator[Case]:
    """Yield them."""
    whole = signed(short())
    for name, about, changed in (*_around(whole), *_headers(whole), *_members(whole)):
        yield refused(name, about, changed, REWRITTEN if name in PACKED_AGAIN else MALFORMED)
    for name, about, changed in _packed(whole):
        yield refused(name, about, changed, REWRITTEN)
    yield from _forged(whole)
    for name, about, file in _foreign(whole):
        yield refused(name, about, file, MALFORMED)
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


def _zip(contents: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED, *, folder: bool = False) -> bytes:
    """Pack members as an ordinary program does."""
    file = BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        if folder:
            archive.writestr(zipfile.ZipInfo("META-INF/", DATE), b"")
        for name, content in contents.items():
            member = zipfile.ZipInfo(name, DATE)
            member.compress_type = method
            member.external_attr = 0o100644 << 16
            archive.writestr(member, content)
    return file.getvalue()


def _packed(whole: bytes) -> Iterator[tuple[str, str, bytes]]:
    contents = {MIMETYPE: MIMETYPE_CONTENT, **contents_of(whole)}
    yield "packed-by-zip", "Unpacked, then packed by an ordinary program, all compressed.", _zip(contents)
    yield "packed-stored", "Packed again without compression.", _zip(contents, zipfile.ZIP_STORED)
    by_name = dict(sorted(contents.items()))
    yield "packed-with-folder", "Packed by name, with the folder as a member of no bytes.", _zip(by_name, folder=True)


def _forged(whole: bytes) -> Iterator[Case]:
    contents = {MIMETYPE: MIMETYPE_CONTENT, **contents_of(whole)}
    account = re.search(rb'"account":"([^"]+)"', contents[ENTRIES])
    assert account is not None
    contents[ENTRIES] = contents[ENTRIES].replace(account[1], b"x" * len(account[1]))
    for name, packed in (("forged-and-packed-by-zip", _zip(contents)), ("forged-and-packed", assembled(contents))):
        yield refused(
            name, "An account is another in every entry; packed properly.", packed, "mismatched part", ENTRIES
        )
    del contents[SEALS]
    yield refused("packed-without-seals", "Packed by an ordinary program, without a part.", _zip(contents), MALFORMED)
    contents[SEALS], contents["notes.txt"] = b"", b"x"
    yield refused("packed-with-a-stranger", "Packed by an ordinary program, with a note.", _zip(contents), MALFORMED)


def _foreign(whole: bytes) -> Iterator[tuple[str, str, bytes]]:
    found = contents_of(whole)
    yield "a-document", "A PDF document.", b"%PDF-1.7\n"
    yield "a-page", "A web page.", b"\xef\xbb\xbf\n<!DOCTYPE html><title>404</title>"
    yield "certificates", "Certificates.", b"-----BEGIN CERTIFICATE-----\n"
    yield "seals-alone", "The list of seals, without its extract.", found[SEALS]
    enveloped = bytes.fromhex("308006092a864886f70d010703a080")
    yield "still-encrypted", "The beginning of what is handed over, still encrypted.", enveloped
    archive = BytesIO()
    with zipfile.ZipFile(archive, "w") as outer:
        outer.writestr(zipfile.ZipInfo("extrait.asice", DATE), whole)
    yield "zipped-once-more", "The extract within another ZIP file.", archive.getvalue()


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
