"""What happens to an extract on its way, and forgeries in whatever packing: the same right verdict from both verifiers.

The two tables below are the answer to "what does the verifier say of …"; the test reads them.
"""

from __future__ import annotations

import base64
import gzip
import io
import shutil
import subprocess
import tarfile
import zipfile
from datetime import timedelta
from functools import cache
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest

from journal.extract import layout
from journal.extract.rewritten import FOLDER
from journal.extract.texts import write_digests
from tests.browser.cases import Case
from tests.browser.chromium import TRUST
from tests.browser.judging import judged
from tests.browser.kinds import container, members, parts
from tests.support import authority
from tests.support.extracts import pack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from tests.browser.chromium import Verifier

KIND, OTHER = "complete", "today"
MALFORMED, REWRITTEN, MISMATCHED = "malformed", "rewritten", "mismatched part"


def contents() -> dict[str, bytes]:
    """Return the members of the good extract, the first among them."""
    return {layout.MIMETYPE: layout.MIMETYPE_CONTENT, **members(KIND)}


# --- packings: what programs make of the same members


def by_python(members: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED, comment: bytes = b"") -> bytes:
    """Pack as Python's zipfile does."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
        archive.comment = comment
    return file.getvalue()


def by_7zip(members: Mapping[str, bytes]) -> bytes:
    """Pack as 7-Zip does: by name, the folder listed, the times of NTFS in the directory's extra fields."""
    file = io.BytesIO()
    times = b"\x0a\x00\x20\x00" + bytes(4) + b"\x01\x00\x18\x00" + 3 * b"\x80\x3e\xd5\xde\xb1\x9d\x01\x00"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted([FOLDER, *members]):
            listed = zipfile.ZipInfo(name, (2026, 3, 5, 9, 30, 2))
            listed.compress_type = zipfile.ZIP_STORED if name == FOLDER else zipfile.ZIP_DEFLATED
            archive.writestr(listed, members.get(name, b""))
            archive.filelist[-1].extra = times
    return file.getvalue()


def by_a_stream(members: Mapping[str, bytes]) -> bytes:
    """Pack as a program does that cannot go back: sizes behind each member."""

    class Pipe(io.RawIOBase):
        def __init__(self) -> None:
            self.taken = bytearray()

        def writable(self) -> bool:
            return True

        def write(self, data: bytes) -> int:  # type: ignore[override] # bytes alone
            self.taken += data
            return len(data)

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return bytes(pipe.taken)


def by_info_zip(directory: Path, members: Mapping[str, bytes]) -> bytes:
    """Pack as `zip -r` does, in a directory."""
    for name, content in members.items():
        (directory / name).parent.mkdir(exist_ok=True, parents=True)
        (directory / name).write_bytes(content)
    command = [str(shutil.which("zip")), "-q", "-r", "../packed.zip", "."]
    subprocess.run(command, cwd=directory, check=True)
    return (directory.parent / "packed.zip").read_bytes()


def as_issued(members: Mapping[str, bytes]) -> bytes:
    """Pack as the service does."""
    return pack({name: content for name, content in members.items() if name != layout.MIMETYPE})


PACKINGS: dict[str, Callable[[Mapping[str, bytes]], bytes]] = {
    "as it is issued": lambda members: pack(
        {name: content for name, content in members.items() if name != layout.MIMETYPE}
    ),
    "by Python, deflated": by_python,
    "by Python, stored": lambda members: by_python(members, zipfile.ZIP_STORED),
    "by 7-Zip": by_7zip,
    "by a stream": by_a_stream,
}


# --- what happens to a good extract


def saved_again(whole: bytes) -> bytes:
    """A spreadsheet opens the table and saves it: other quotation marks, other line ends."""
    changed = contents()
    changed[layout.TABLE] = changed[layout.TABLE].replace(b'"', b"").replace(b"\r\n", b"\n")
    del whole
    return by_python(changed)


def tarred(whole: bytes) -> bytes:
    """Put it into a tar file."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        listed = tarfile.TarInfo("extrait.asice")
        listed.size = len(whole)
        archive.addfile(listed, io.BytesIO(whole))
    return file.getvalue()


def _packed(change: Callable[[dict[str, bytes]], dict[str, bytes]]) -> Callable[[bytes], bytes]:
    return lambda _: by_python(change(contents()))


# What happens, what comes of it, the verdict, and a word of the reason (in English; the page has the French one).
MANGLINGS: tuple[tuple[str, Callable[[bytes], bytes], str, str], ...] = (
    ("renamed by mail to extrait(1).zip", lambda whole: whole, "verified", ""),
    ("unpacked and packed by Python", lambda _: by_python(contents()), REWRITTEN, "authentic"),
    ("unpacked and packed without compression", lambda _: by_python(contents(), zipfile.ZIP_STORED), REWRITTEN, ""),
    ("unpacked and packed by 7-Zip", lambda _: by_7zip(contents()), REWRITTEN, ""),
    ("packed again by a web service", lambda _: by_a_stream(contents()), REWRITTEN, ""),
    ("commented by an archiver", lambda _: by_python(contents(), comment=b"checked"), REWRITTEN, ""),
    (
        "unpacked, and its folder packed",
        _packed(lambda c: {f"extrait/{n}": v for n, v in c.items()}),
        MALFORMED,
        "folder",
    ),
    ("zipped for mail", lambda whole: by_python({"extrait.asice": whole}), MALFORMED, "take it out"),
    ("packed on a Mac", _packed(lambda c: {**c, "__MACOSX/._mimetype": b""}), MALFORMED, "other files|folder"),
    ("without its table", _packed(lambda c: {n: v for n, v in c.items() if n != layout.TABLE}), MALFORMED, "missing"),
    ("table saved by a spreadsheet", saved_again, MISMATCHED, ""),
    ("download cut short", lambda whole: whole[: len(whole) // 2], MALFORMED, "cut short"),
    ("last byte lost", lambda whole: whole[:-1], MALFORMED, "cut short"),
    ("a line end added", lambda whole: whole + b"\n", MALFORMED, "cut short"),
    ("lines ended as mail ends them", lambda whole: whole.replace(b"\n", b"\r\n"), MALFORMED, ""),
    ("taken for Latin-1 text", lambda whole: whole.decode("latin-1").encode(), MALFORMED, ""),
    ("left in base64", base64.encodebytes, MALFORMED, "base64"),
    ("compressed with gzip", lambda whole: gzip.compress(whole, mtime=0), MALFORMED, "gzip"),
    ("in a tar file", tarred, MALFORMED, ""),
    ("nothing downloaded", lambda _: b"", MALFORMED, "empty"),
    ("a login page instead", lambda _: b"<!DOCTYPE html><title>Connexion</title>", MALFORMED, "web page"),
)


# --- forgeries


def _changed(name: str, old: bytes, new: bytes) -> dict[str, bytes]:
    found = contents()
    assert old in found[name]
    return {**found, name: found[name].replace(old, new, 1)}


def _digested(found: dict[str, bytes]) -> dict[str, bytes]:
    """Put right the digests of what was changed: they are not signed then."""
    signed = {name: sha256(found[name]).digest() for name in layout.NAMES if name in found and name in SIGNED}
    return {**found, layout.DIGESTS: write_digests(signed)}


SIGNED = (
    layout.ENTRIES,
    layout.PROOF,
    layout.SEALS,
    layout.MANIFEST,
    layout.TABLE,
    layout.DOCUMENT,
    layout.INSTRUCTIONS,
)


def _resigned(found: dict[str, bytes], *, chain: tuple[authority.Holder, ...]) -> dict[str, bytes]:
    """Sign what was changed, with a certificate of somebody."""
    found = _digested(found)
    at = (parts(KIND).manifest.issued_at + timedelta(seconds=1)).replace(microsecond=0)
    return {**found, layout.SIGNATURE: authority.sign(found[layout.DIGESTS], chain=chain, at=at)}


@cache
def self_made() -> tuple[authority.Holder, ...]:
    """A chain with all names right, under a root that the auditor does not know."""
    root = authority.issue("Root authority", authority.new_key(61), extensions=authority.AUTHORITY)
    return (authority.issue("Seals and extracts", authority.new_key(62), issuer=root),)


def without_entry() -> dict[str, bytes]:
    """Take an entry out of the entries, and out of what proves them."""
    found = contents()
    for name in (layout.ENTRIES, layout.PROOF):
        found[name] = b"".join(found[name].splitlines(keepends=True)[1:])
    return found


def another_account() -> dict[str, bytes]:
    """Write another account into an entry."""
    return _changed(layout.ENTRIES, b'"account":"agent-0"', b'"account":"agent-9"')


def with_table() -> dict[str, bytes]:
    """Write another account into an entry and into its line of the table."""
    found = another_account()
    return {**found, layout.TABLE: found[layout.TABLE].replace(b"agent-0", b"agent-9", 1)}


# Who forged what, the members it leaves, the verdict in every packing, and the part named.
FORGERIES: tuple[tuple[str, Callable[[], dict[str, bytes]], str, str], ...] = (
    ("another account in an entry", another_account, MISMATCHED, layout.ENTRIES),
    ("… and the digests put right", lambda: _digested(another_account()), "bad signature", layout.SIGNATURE),
    ("… and signed by a self-made authority", lambda: _resigned(another_account(), chain=self_made()), "untrusted",
     layout.SIGNATURE),
    ("… and signed by the host", lambda: _resigned(another_account(), chain=authority.CHAIN), MISMATCHED, layout.TABLE),
    ("… and the table put right, signed by the host", lambda: _resigned(with_table(), chain=authority.CHAIN),
     "broken chain", ""),
    ("an entry left out", without_entry, MISMATCHED, ""),
    ("… and signed by the host", lambda: _resigned(without_entry(), chain=authority.CHAIN), "gap", ""),
    ("another requester", lambda: _changed(layout.MANIFEST, b"Montreuil", b"Bagnolet"), MISMATCHED, layout.MANIFEST),
    ("another account in the table", lambda: _changed(layout.TABLE, b"agent-0", b"agent-9"), MISMATCHED, layout.TABLE),
    ("the signature of another extract", lambda: {**contents(), layout.SIGNATURE: members(OTHER)[layout.SIGNATURE]},
     "bad signature", layout.SIGNATURE),
    ("the seals of another extract, signed by the host",
     lambda: _resigned({**contents(), layout.SEALS: members(OTHER)[layout.SEALS]}, chain=authority.CHAIN),
     "early deletion", ""),
)  # fmt: skip


def subjects(directory: Path) -> Iterator[tuple[Case, str, str, str]]:
    """Yield what is judged, with the verdict, the part and a word of the reason expected."""
    whole = container(KIND)
    for name, mangle, verdict, word in MANGLINGS:
        yield Case(name, mangle(whole)), verdict, "", word
    if shutil.which("zip"):
        yield Case("unpacked and packed by zip", by_info_zip(directory / "zip", contents())), REWRITTEN, "", ""
    for name, forge, verdict, part in FORGERIES:
        for packing, packed in PACKINGS.items():
            yield Case(f"{name}, {packing}", packed(forge())), verdict, part, ""


def test_manglings_and_forgeries_have_the_same_right_verdict_in_both(verifier: Verifier, tmp_path: Path) -> None:
    """A good extract mangled on its way is never taken for a forgery of its content, nor a forgery for a mangling."""
    expected = list(subjects(tmp_path))
    assert len(MANGLINGS) >= 14
    assert len(FORGERIES) * len(PACKINGS) >= 40
    wrong = []
    pages = verifier.verify([case for case, *_ in expected], **TRUST)
    for (case, verdict, part, word), page in zip(expected, pages, strict=True):
        python = judged(case)
        print(f"{case.name:70} {python.verdict:16} {python.part}")  # noqa: T201 - the table, shown by pytest -rP
        right = python.verdict == verdict and part in python.part and part in page.part
        if page.verdict != python.verdict or not right or not any(one in python.reason for one in word.split("|")):
            wrong.append(f"{case.name}: {python} (page: {page}); expected {verdict} {part} {word}")
    assert wrong == []


@pytest.mark.parametrize("packing", list(PACKINGS)[1:])
def test_a_forgery_is_not_taken_for_a_mangling_by_anyone(packing: str) -> None:
    """`rewritten` is said of authentic members alone."""
    assert judged(Case(packing, PACKINGS[packing](contents()))).verdict == REWRITTEN
    assert judged(Case(packing, PACKINGS[packing](another_account()))).verdict != REWRITTEN
