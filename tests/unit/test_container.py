"""The container: one layout, every byte accounted for, nothing else read."""

from __future__ import annotations

import os
import struct
import time
import tracemalloc
import zipfile
import zlib
from hashlib import sha256
from typing import TYPE_CHECKING, Callable

import pytest

from journal.core.errors import MalformedError, OperatorError
from journal.extract import layout
from journal.extract.container import Container
from journal.extract.layout import DOCUMENT, ENTRIES, MANIFEST, PROOF, SEALS, SIGNATURE, TABLE
from journal.extract.packing import ContainerWriter, Packing
from tests.support.containers import assembled, deflated, over
from tests.support.extracts import opened, pack

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CONTENTS = {
    ENTRIES: b'{"a":1}\n{"b":22}\n' * 40,
    PROOF: b"",
    SEALS: b'{"seals":[]}',
    MANIFEST: b"{}",
    TABLE: os.urandom(300),
    layout.INSTRUCTIONS: "à lire".encode(),
    layout.DIGESTS: b"<x/>",
    SIGNATURE: b"\x30\x00",
}
MEMBERS = {layout.MIMETYPE: layout.MIMETYPE_CONTENT, **CONTENTS}
WHOLE = pack(CONTENTS)
LOCAL_BYTES = 30

# Long beside reading a directory, short beside inflating a bomb.
PATIENCE_SECONDS = 30


def read_all(whole: bytes) -> dict[str, bytes]:
    """Read every member of a container."""
    container = Container(opened(whole))
    return {name: b"".join(container.stream(name)) for name in container.names}


def refused(whole: bytes) -> str:
    """Return why a container is refused."""
    with pytest.raises(MalformedError) as caught:
        read_all(whole)
    return str(caught.value)


def test_what_is_written_is_read() -> None:
    """Members come back as they were given, with or without the optional document."""
    assert read_all(WHOLE) == MEMBERS
    with_document = {**CONTENTS, DOCUMENT: b"%PDF"}
    whole = pack(with_document)
    assert list(read_all(whole)) == list(layout.NAMES)
    assert read_all(whole)[DOCUMENT] == b"%PDF"


def test_every_zip_reader_reads_it() -> None:
    """Python's own reader finds the same members, in the same order, and no fault in them."""
    with zipfile.ZipFile(opened(WHOLE)) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == read_all(WHOLE)
    assert WHOLE[:4] == b"PK\3\4"
    assert WHOLE[30:69] == b"mimetype" + layout.MIMETYPE_CONTENT


def test_writing_is_deterministic_and_the_same_in_pieces() -> None:
    """The bytes depend on the contents alone, not on how they were cut."""
    writer = ContainerWriter()
    pieces = [writer.add(layout.MIMETYPE, layout.MIMETYPE_CONTENT)]
    for name, content in CONTENTS.items():
        pieces.append(writer.start(name))
        pieces += [writer.write(content[place : place + 7]) for place in range(0, len(content), 7)]
        pieces.append(writer.finish())
    pieces.append(writer.close())
    assert b"".join(pieces) == WHOLE


def test_a_member_packed_beside_is_the_same() -> None:
    """It comes later in the file than it is made; what is not all there is not taken."""
    packing = Packing(TABLE)
    pieces = [packing.write(CONTENTS[TABLE][:100]), packing.write(CONTENTS[TABLE][100:]), packing.finish()]
    writer = ContainerWriter()
    whole = writer.add(layout.MIMETYPE, layout.MIMETYPE_CONTENT)
    for name, content in CONTENTS.items():
        whole += b"".join(writer.copy(packing, pieces)) if name == TABLE else writer.add(name, content)
    assert whole + writer.close() == WHOLE
    assert writer.digest(TABLE) == sha256(CONTENTS[TABLE]).digest()
    with pytest.raises(ValueError, match="not all there"):
        list(ContainerWriter().copy(packing, pieces[:-1]))


def test_digests_are_of_the_plain_content() -> None:
    """Writer and reader name the same SHA-256, the reader whether or not it has read the member yet."""
    writer = ContainerWriter()
    writer.add(ENTRIES, b"abc")
    container = Container(opened(WHOLE))
    assert writer.digest(ENTRIES) == sha256(b"abc").digest()
    for _ in range(2):
        assert container.digest(ENTRIES) == sha256(CONTENTS[ENTRIES]).digest()
    with pytest.raises(KeyError):
        writer.digest(PROOF)


def test_calls_out_of_order_are_refused() -> None:
    """The writer keeps the order of members and ends only after a whole one."""
    writer = ContainerWriter()
    with pytest.raises(ValueError, match="ends after a whole member"):
        writer.close()
    with pytest.raises(ValueError, match="no member has begun"):
        writer.finish()
    writer.start(PROOF)
    for name in (PROOF, SEALS):
        with pytest.raises(ValueError, match="cannot begin here"):
            writer.start(name)
    with pytest.raises(ValueError, match="ends after a whole member"):
        writer.close()
    writer.finish()
    with pytest.raises(ValueError, match="no member has begun"):
        writer.write(b"x")
    for name in (ENTRIES, PROOF, "../evil"):
        with pytest.raises(ValueError, match="cannot begin here"):
            writer.start(name)


def test_an_extract_too_large_is_refused_while_it_is_written() -> None:
    """Neither a member's content nor the file may outgrow the format; the error says what to do."""
    writer = ContainerWriter(limit_bytes=1000)
    writer.start(ENTRIES)
    writer.write(bytes(900))
    with pytest.raises(OperatorError, match="ask for fewer days"):
        writer.write(bytes(101))
    writer = ContainerWriter(limit_bytes=1000)
    writer.start(ENTRIES)
    with pytest.raises(OperatorError, match="ask for fewer days"):
        writer.write(os.urandom(990)) + writer.finish() + writer.close()
    writer = ContainerWriter()
    writer.start(MANIFEST)
    with pytest.raises(OperatorError, match="larger than"):
        writer.write(bytes(layout.LIMITS_BYTES[MANIFEST] + 1))


def test_several_members_are_read_at_once() -> None:
    """Streams over one file do not disturb each other."""
    container = Container(opened(WHOLE))
    streams = [
        container.lines(ENTRIES, limit_bytes=100),
        container.stream(TABLE),
        container.lines(ENTRIES, limit_bytes=100),
    ]
    assert next(streams[0]) == next(streams[2]) == b'{"a":1}'
    assert next(streams[1]) == CONTENTS[TABLE]
    assert next(streams[0]) == next(streams[2]) == b'{"b":22}'


def test_lines_are_bounded_and_must_end() -> None:
    """A line longer than allowed, in the middle or at the end, or without its LF, is refused."""
    container = Container(opened(pack({**CONTENTS, ENTRIES: b"ab\nabc\n", PROOF: b"ab\nabc", TABLE: b"a\nb"})))
    assert list(container.lines(ENTRIES, limit_bytes=3)) == [b"ab", b"abc"]
    for name in (ENTRIES, PROOF):
        with pytest.raises(MalformedError, match="longer than 2 bytes"):
            list(container.lines(name, limit_bytes=2))
    with pytest.raises(MalformedError, match=r"extrait\.csv: the last line is cut short"):
        list(container.lines(TABLE, limit_bytes=2))


def test_streamed_members_are_not_read_whole() -> None:
    """Reading one whole would not be bounded."""
    with pytest.raises(ValueError, match="as a stream"):
        Container(opened(WHOLE)).read(ENTRIES)


def test_memory_is_constant() -> None:
    """A member a thousand times its packed size passes through in pieces."""
    whole = pack({**CONTENTS, ENTRIES: (b"x" * 99 + b"\n") * 2**18})
    tracemalloc.start()
    container = Container(opened(whole))
    assert sum(1 for _ in container.lines(ENTRIES, limit_bytes=100)) == 2**18
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 2 * 2**20


@pytest.mark.parametrize("more_bytes", range(0, 300, 7))
def test_content_that_ends_just_after_a_piece_is_whole(more_bytes: int) -> None:
    """The inflater may hold back the end of a run when a piece is full and all input is taken in."""
    content = bytes(2**17 + more_bytes)
    assert read_all(pack({**CONTENTS, ENTRIES: content}))[ENTRIES] == content


def test_progress_counts_streamed_bytes() -> None:
    """The callback counts every byte of streamed content, once per reading."""
    counts: list[int] = []
    container = Container(opened(WHOLE), notify=counts.append)
    assert [container.size_bytes(name) for name in layout.STREAMED] == [len(CONTENTS[name]) for name in layout.STREAMED]
    for name in container.names:
        container.digest(name)
    assert sum(counts) == sum(len(CONTENTS[name]) for name in layout.STREAMED)


def tricks() -> Iterator[tuple[str, bytes]]:
    """Yield the archive attacks, each under its name."""
    end = len(WHOLE) - 22
    directory = WHOLE.index(b"PK\1\2")
    second = WHOLE.index(b"PK\1\2", directory + 4)
    local = LOCAL_BYTES + len(layout.MIMETYPE) + len(layout.MIMETYPE_CONTENT)
    yield "empty", b""
    yield "only an end record", WHOLE[end:]
    yield "not a ZIP", bytes(4000)
    yield "prepended", b"MZ" + WHOLE
    yield "prepended, offset corrected", b"MZ" + WHOLE[:-6] + struct.pack("<L", directory + 2) + WHOLE[-2:]
    yield "trailing", WHOLE + b"\n"
    yield "cut short", WHOLE[:-1]
    yield "comment", WHOLE[:-2] + b"\5\0hello"
    yield "comment that hides a second end record", WHOLE[:-2] + struct.pack("<H", 22) + WHOLE[end:]
    yield "twice", WHOLE + WHOLE
    yield "bytes before the directory", WHOLE[:directory] + b"gap" + WHOLE[directory:]
    yield "bytes between members", WHOLE[:local] + b"gap" + WHOLE[local:]
    yield "slip", WHOLE.replace(b"manifest.json", b"../../evil.py")
    yield (
        "slip in the directory only",
        WHOLE[:directory] + WHOLE[directory:].replace(b"manifest.json", b"../../evil.py"),
    )
    yield "absolute name", WHOLE.replace(b"manifest.json", b"/etc/cron.d/x")
    yield "case twin", WHOLE.replace(b"manifest.json", b"Manifest.json")
    yield "duplicate", WHOLE.replace(b"manifest.json", b"LISEZMOI.txt\0")
    yield "local name differs", WHOLE.replace(b"manifest.json", b"manifesto.jso", 1)
    yield "zip64 size", over(WHOLE, second + 24, b"\xff\xff\xff\xff")
    yield "zip64 end", over(WHOLE, len(WHOLE) - 6, b"\xff\xff\xff\xff")
    yield "encrypted, local", over(WHOLE, 6, b"\1")
    yield "encrypted, both", over(over(WHOLE, 6, b"\1"), directory + 8, b"\1")
    yield "directory encrypted", over(WHOLE, directory + 9, b"\x20")
    yield (
        "symbolic link",
        over(over(WHOLE, directory + 5, b"\3"), directory + 38, struct.pack("<L", 0o120777 << 16)),
    )
    yield "directory attribute", over(WHOLE, directory + 38, b"\x10")
    yield "other method", over(WHOLE, second + 10, b"\x0c")
    yield "extra field length", over(WHOLE, directory + 30, b"\4")
    yield "member comment", over(WHOLE, directory + 32, b"\4")
    yield "second disk", over(WHOLE, end + 4, b"\1")
    yield "fewer records counted", over(WHOLE, end + 8, b"\7\0\7\0")
    yield "a million records counted", over(WHOLE, end + 8, b"\xff\xff\xff\xff")
    yield "overlap: two records of one place", over(WHOLE, second + 42, struct.pack("<L", 0))
    yield "other date", over(WHOLE, 12, b"\x22")
    yield "descriptor without its signature", WHOLE.replace(b"PK\7\x08", b"")


@pytest.mark.parametrize(("name", "whole"), list(tricks()), ids=[name for name, _ in tricks()])
def test_archive_tricks_are_refused(name: str, whole: bytes) -> None:
    """Slips, twins, overlaps, comments, foreign bytes, zip64, encryption: refused, and at once (X-06)."""
    assert whole != WHOLE, name
    begun = time.perf_counter()
    assert refused(whole)
    assert time.perf_counter() - begun < PATIENCE_SECONDS


@pytest.mark.parametrize("left_out", [name for name in CONTENTS if name != DOCUMENT])
def test_a_missing_member_is_refused(left_out: str) -> None:
    """All members but the document are required."""
    contents = {name: content for name, content in CONTENTS.items() if name != left_out}
    assert "a part is missing" in refused(pack(contents))


def test_members_out_of_order_are_refused() -> None:
    """The order is one, whatever the directory says."""
    assert refused(assembled(dict(reversed(MEMBERS.items()))))


def test_content_that_is_not_as_announced_is_refused() -> None:
    """Sizes, CRC and the end of the compressed stream are held against the headers."""

    def case(numbers: Callable[[bytes], tuple[bytes, int, int]], name: str) -> str:
        return refused(assembled(MEMBERS, lambda member, content: numbers(content) if member == name else None))

    assert refused(assembled({**MEMBERS, layout.MIMETYPE: b"application/x-evil"})).startswith("mimetype: not the type")
    announced = "its content does not have the size or CRC announced"
    assert case(lambda c: (deflated(c), len(c), 1), ENTRIES) == f"{ENTRIES}: {announced}"
    assert case(lambda c: (c, len(c), 1), SEALS) == f"{SEALS}: {announced}"
    assert case(lambda c: (deflated(c), len(c) - 1, zlib.crc32(c)), ENTRIES) == f"{ENTRIES}: {announced}"
    assert case(lambda c: (deflated(c), len(c) + 1, zlib.crc32(c)), ENTRIES) == f"{ENTRIES}: {announced}"
    assert case(lambda c: (c, len(c) + 1, zlib.crc32(c)), SEALS) == f"{SEALS}: stored, but with two sizes"
    follow = f"{ENTRIES}: bytes follow its compressed content"
    assert case(lambda c: (deflated(c) + b"x", len(c), zlib.crc32(c)), ENTRIES) == follow
    assert case(lambda c: (deflated(c) + deflated(b"more"), len(c), zlib.crc32(c)), ENTRIES) == follow
    random = os.urandom(2**17 - 50)
    exact = deflated(random)
    filled = exact + bytes(2**17 - len(exact)) + b"next chunk"
    assert case(lambda _: (filled, len(random), zlib.crc32(random)), ENTRIES) == follow
    short = f"{ENTRIES}: its compressed content is cut short"
    assert case(lambda c: (deflated(c)[:-1], len(c), zlib.crc32(c)), ENTRIES) == short
    assert case(lambda _: (b"", 0, 0), ENTRIES) == short
    assert "damaged" in case(lambda c: (b"\xff" * 9, len(c), zlib.crc32(c)), ENTRIES)
    large = bytes(layout.LIMITS_BYTES[MANIFEST] + 1)
    assert "longer than 65536 bytes" in case(lambda _: (large, len(large), zlib.crc32(large)), MANIFEST)


def test_a_bomb_stops_at_the_size_announced() -> None:
    """A member that inflates beyond its announced size is left there, not inflated to its end."""
    bomb = deflated(bytes(2**26))

    def explode(name: str, _: bytes) -> tuple[bytes, int, int] | None:
        return (bomb, 1000, 0) if name == ENTRIES else None

    counts: list[int] = []
    container = Container(opened(assembled(MEMBERS, explode)), notify=counts.append)
    with pytest.raises(MalformedError, match="size or CRC"):
        container.digest(ENTRIES)
    assert sum(counts) <= 2**17


def test_a_file_beyond_the_format_is_refused_unread(tmp_path: Path) -> None:
    """Above 4 GiB no layout fits, whatever the directory says."""
    assert layout.FILE_LIMIT_BYTES < 2**32
    path = tmp_path / "sparse"
    with path.open("wb+") as file:
        file.write(WHOLE)
        file.seek(5 * 2**30)
        file.write(WHOLE)
        with pytest.raises(MalformedError, match="not a whole extract"):
            Container(file)


def test_a_file_that_changes_or_shrinks_while_read_is_refused() -> None:
    """What was hashed is what is parsed: a second reading must give the first one's bytes."""
    content = CONTENTS[SEALS] + bytes(4)
    file = opened(pack({**CONTENTS, SEALS: content}))
    container = Container(file)
    container.digest(SEALS)
    file.seek(file.getvalue().index(content))
    file.write(forge_crc(b'{"seals":[1}', zlib.crc32(content)))
    with pytest.raises(MalformedError, match="changed while it was read"):
        container.read(SEALS)
    file.truncate(100)
    with pytest.raises(MalformedError, match="ends early"):
        container.read(MANIFEST)


def forge_crc(content: bytes, crc: int) -> bytes:
    """Return `content` and the four bytes that bring it to this CRC-32: it protects from accidents alone."""
    # Run the register backwards over four zero bytes, then set right what the content leaves it at.
    register = crc ^ 0xFFFFFFFF
    for _ in range(4):
        top = next(byte for byte in range(256) if _entry(byte) >> 24 == register >> 24)
        register = ((register ^ _entry(top)) << 8 | top) & 0xFFFFFFFF
    forged = content + struct.pack("<L", register ^ zlib.crc32(content) ^ 0xFFFFFFFF)
    assert zlib.crc32(forged) == crc
    return forged


def _entry(byte: int) -> int:
    """Return one entry of the CRC-32 table."""
    for _ in range(8):
        byte = byte >> 1 ^ (0xEDB88320 if byte & 1 else 0)
    return byte
