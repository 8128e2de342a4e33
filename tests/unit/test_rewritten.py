"""Extracts that another program packed again: read where all readers read one file, refused elsewhere."""

from __future__ import annotations

import struct
import zipfile
from io import BytesIO
from typing import TYPE_CHECKING

import pytest

from journal.core.errors import MalformedError
from journal.extract import layout
from journal.extract.container import Container
from journal.extract.recognise import recognise
from journal.extract.rewritten import FOLDER, Rewritten
from journal.extract.verify import open_container
from tests.support.containers import assembled, over
from tests.support.extracts import opened

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

CONTENTS = {
    layout.MIMETYPE: layout.MIMETYPE_CONTENT,
    layout.ENTRIES: b'{"a":1}\n' * 50,
    layout.PROOF: b"",
    layout.SEALS: b'{"seals":[]}',
    layout.MANIFEST: b"{}" * 50,
    layout.TABLE: b"x" * 300,
    layout.INSTRUCTIONS: "à lire".encode(),
    layout.DIGESTS: b"<x/>",
    layout.SIGNATURE: b"\x30\x00",
}
LOCAL_BYTES, RECORD_BYTES, END_BYTES = 30, 46, 22


def packed(contents: Mapping[str, bytes] = CONTENTS, method: int = zipfile.ZIP_DEFLATED, comment: bytes = b"") -> bytes:
    """Pack members as Python does."""
    file = BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in contents.items():
            if name == FOLDER:
                archive.writestr(zipfile.ZipInfo(name), content)
            else:
                archive.writestr(name, content)
        archive.comment = comment
    return file.getvalue()


def read(whole: bytes) -> dict[str, bytes]:
    """Return every member."""
    parts = Rewritten(opened(whole))
    return {name: b"".join(parts.stream(name)) for name in parts.names}


@pytest.mark.parametrize(
    "whole",
    [
        packed(),
        packed(method=zipfile.ZIP_STORED),
        packed(comment=b"hello"),
        packed({FOLDER: b"", **dict(sorted(CONTENTS.items()))}),
        packed(comment=packed()[-END_BYTES:] + b"x"),
        assembled(CONTENTS),
    ],
    ids=["deflated", "stored", "comment", "by name, with folder", "an end record in the comment", "as issued"],
)
def test_the_members_are_read(whole: bytes) -> None:
    """However they are packed, and in the format's own order."""
    assert read(whole) == CONTENTS
    assert list(read(whole)) == [name for name in layout.NAMES if name in CONTENTS]


def test_a_container_is_preferred() -> None:
    """What was issued is read as such; what was packed again is told apart."""
    assert isinstance(open_container(opened(assembled(CONTENTS))), Container)
    assert isinstance(open_container(opened(packed())), Rewritten)


def _record(whole: bytes, name: str, field: int, value: bytes) -> bytes:
    """Change a field of a member's central record."""
    return over(whole, whole.rindex(name.encode()) - RECORD_BYTES + field, value)


def _local(whole: bytes, name: str, field: int, value: bytes) -> bytes:
    """Change a field of a member's local header."""
    return over(whole, whole.index(name.encode()) - LOCAL_BYTES + field, value)


def _end(whole: bytes, field: int, value: bytes) -> bytes:
    return over(whole, len(whole) - END_BYTES + field, value)


DAMAGE: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "nothing": (lambda _: b"", "no end record"),
    "the last byte is missing": (lambda whole: whole[:-1], "no end record"),
    "a byte follows": (lambda whole: whole + b"\n", "no end record"),
    "several disks": (lambda whole: _end(whole, 4, b"\1"), "end record is damaged"),
    "two counts": (lambda whole: _end(whole, 8, b"\1"), "end record is damaged"),
    "a directory beyond the end": (lambda whole: _end(whole, 16, b"\xff\xff\xff"), "end record is damaged"),
    "too many records": (lambda whole: _end(whole, 8, b"\xff\0\xff\0"), "other files"),
    "a record too many": (lambda whole: _end(whole, 8, b"\x0a\0\x0a\0"), "directory is damaged"),
    "a record too few": (lambda whole: _end(whole, 8, b"\x08\0\x08\0"), "directory is damaged"),
    "no record": (lambda whole: _record(whole, layout.TABLE, 0, b"XX"), "directory is damaged"),
    "encrypted": (lambda whole: _record(whole, layout.TABLE, 8, b"\1"), "encrypted"),
    "another method": (lambda whole: _record(whole, layout.TABLE, 10, b"\x0c"), "encrypted"),
    "zip64": (lambda whole: _record(whole, layout.TABLE, 24, b"\xff" * 4), "encrypted"),
    "stored of two sizes": (lambda whole: _record(whole, layout.TABLE, 10, b"\0"), "two sizes"),
    "too long": (lambda whole: _record(whole, layout.SIGNATURE, 24, struct.pack("<L", 2**20)), "longer than"),
    "another name": (lambda whole: _record(whole, layout.TABLE, RECORD_BYTES, b"E"), "other files"),
    "somewhere else": (lambda whole: _record(whole, layout.TABLE, 42, b"\1\0\0\0"), "not where"),
    "beyond the end": (lambda whole: _record(whole, layout.TABLE, 42, b"\xff" * 4), "not where"),
    "another local name": (lambda whole: _local(whole, layout.TABLE, LOCAL_BYTES, b"E"), "not where"),
    "another local method": (lambda whole: _local(whole, layout.TABLE, 8, b"\0"), "not where"),
    "encrypted, says the local header": (lambda whole: _local(whole, layout.TABLE, 6, b"\1"), "not where"),
    "a local name beyond the end": (lambda whole: _local(whole, layout.TABLE, 26, b"\xff\xff"), "not where"),
    "overlapping": (lambda whole: _record(whole, layout.ENTRIES, 20, struct.pack("<L", 400)), "overlap"),
    "into the directory": (lambda whole: _record(whole, layout.SIGNATURE, 20, b"\xff"), "overlap"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_what_two_readers_could_read_as_two_files_is_refused(name: str) -> None:
    """Each with its reason."""
    damage, reason = DAMAGE[name]
    with pytest.raises(MalformedError, match=reason):
        read(damage(packed()))


def test_members_that_are_missing_doubled_or_strange_are_refused() -> None:
    """The members are those of an extract, each once."""
    for left in layout.MANIFEST, layout.MIMETYPE:
        with pytest.raises(MalformedError, match=f"{left} is missing"):
            read(packed({name: content for name, content in CONTENTS.items() if name != left}))
    with pytest.raises(MalformedError, match="other files"):
        read(packed({"notes.txt": b"", **CONTENTS}))
    with pytest.raises(MalformedError, match="in a folder"):
        read(packed({FOLDER: b"x", **CONTENTS}))
    with pytest.raises(MalformedError, match="in a folder"):
        read(packed({f"extract/{name}": content for name, content in CONTENTS.items()}))
    with pytest.raises(MalformedError, match="take it out"):
        read(packed({"extract.asice": packed()}))
    twice = packed({name: content for name, content in CONTENTS.items() if name != layout.DIGESTS} | {"x": b"<x/>"})
    doubled = packed({**CONTENTS, layout.DOCUMENT: b"%PDF"}).replace(b"extrait.pdf", b"extrait.csv")
    assert twice != doubled
    with pytest.raises(MalformedError, match="twice"):
        read(doubled)
    with pytest.raises(MalformedError, match="not the type"):
        read(packed({**CONTENTS, layout.MIMETYPE: b"application/zip"}))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"%PDF-1.7", "PDF"),
        (b"-----BEGIN CERTIFICATE-----", "--trust"),
        (b"-----BEGIN CMS-----", "decrypt"),
        (bytes.fromhex("3082123406092a864886f70d010703a0"), "encrypted"),
        (bytes.fromhex("3080060b2a864886f70d0109100117a0"), "encrypted"),
        (b"7z\xbc\xaf\x27\x1c\0", "7-Zip"),
        (b"\x1f\x8b\x08", "gzip"),
        (b"Rar!\x1a", "RAR"),
        (b"UEsDBBQAAAA", "base64"),
        (b"\xef\xbb\xbf\r\n<!DOCTYPE html>", "web page"),
        (b' {"seals":[]}', "--known-seal"),
    ],
)
def test_what_is_no_extract_is_recognised(content: bytes, words: str) -> None:
    """Whoever chose the wrong file is told which one it seems to be."""
    assert words in (recognise(opened(content)) or "")
    with pytest.raises(MalformedError, match=words):
        open_container(opened(content))


def test_what_is_not_recognised() -> None:
    """Nothing is guessed of other bytes, nor of a ZIP file."""
    assert recognise(opened(b"0\x03\x02\x01\x01")) is None
    assert recognise(opened(packed())) is None
    with pytest.raises(MalformedError, match="not even one that was packed again"):
        open_container(opened(b"hello"))


def test_the_reason_names_the_part_where_it_can() -> None:
    """A container with a fault in one part is told by that part."""
    whole = assembled(CONTENTS).replace(b"<x/>", b"<y/>")
    parts = open_container(opened(whole))
    with pytest.raises(MalformedError, match=r"META-INF/ASiCManifest\.xml"):
        parts.read(layout.DIGESTS)
    with pytest.raises(MalformedError, match="stored, but with two sizes") as caught:
        open_container(opened(assembled(CONTENTS, lambda name, data: (data, 9, 0) if name == layout.SEALS else None)))
    assert caught.value.part == layout.SEALS
