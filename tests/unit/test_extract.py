"""What an extract says around its evidence: digests and instructions."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from base64 import b64encode
from hashlib import sha256
from pathlib import Path

import pytest

from journal.core.errors import MalformedError
from journal.core.times import format_day, format_time
from journal.extract.layout import DOCUMENT, ENTRIES, NAMES
from journal.extract.texts import SIGNED, read_digests, signed_names, write_digests, write_instructions
from tests.support.extracts import sample

EXTRACT = sample()
MANIFEST = EXTRACT.manifest


def test_digests_are_an_asic_manifest() -> None:
    """ETSI EN 319 162-1: the signature's place, then each file with its SHA-256, and an XML reader agrees."""
    digests = {name: sha256(name.encode()).digest() for name in SIGNED}
    content = write_digests(digests)
    assert read_digests(content, list(SIGNED)) == digests
    root = ET.fromstring(content)
    assert root.tag == "{http://uri.etsi.org/02918/v1.2.1#}ASiCManifest"
    assert root[0].attrib == {"MimeType": "application/pkcs7-signature", "URI": "META-INF/signature.p7s"}
    assert [element.attrib["URI"] for element in root[1:]] == list(SIGNED)
    with pytest.raises(KeyError):
        write_digests({"mimetype": bytes(32)})


def test_the_document_is_signed_where_it_is() -> None:
    """The other parts always are."""
    assert signed_names(NAMES) == list(SIGNED)
    assert DOCUMENT not in signed_names([name for name in NAMES if name != DOCUMENT])


def test_other_digests_than_the_templates_are_refused() -> None:
    """One byte more or less, one file more or less, another order, another spelling of a digest."""
    names = [name for name in SIGNED if name != DOCUMENT]
    content = write_digests({name: sha256(name.encode()).digest() for name in names})
    wrong = [content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :] for place in range(len(content))]
    accepted = [data for data in wrong if _reads(data, names)]
    # What is left changes a digest, and nothing else: the signature and the parts see to it.
    assert all(write_digests(read_digests(data, names)) == data for data in accepted)
    assert len(accepted) < len(names) * 44
    for data in (b"", content + b"\n", content.replace(b"\n", b"\r\n"), b"\xef\xbb\xbf" + content):
        assert not _reads(data, names)
    assert not _reads(content, list(SIGNED))
    assert not _reads(content, names[:-1])
    assert not _reads(content, [names[1], names[0], *names[2:]])


def _reads(content: bytes, names: list[str]) -> bool:
    try:
        read_digests(content, names)
    except MalformedError:
        return False
    return True


def test_the_instructions_name_the_extract_and_the_commands() -> None:
    """In French, with a verification time at which the certificate was valid."""
    text = write_instructions(MANIFEST).decode()
    assert MANIFEST.origin in text
    assert "du 2026-03-02 au 2026-03-03" in text
    assert "journal-verify FICHIER --trust trust.pem" in text
    assert f"-attime {int(MANIFEST.issued_at.timestamp())}" in text
    assert len(text.splitlines()) < 20
    assert ENTRIES in text


FORMAT = (Path(__file__).parents[2] / "FORMAT.md").read_text(encoding="utf-8")


def test_the_format_gives_the_templates_word_for_word() -> None:
    """FORMAT.md alone is enough to make the same bytes."""
    text = write_instructions(MANIFEST).decode()
    for name, value in (
        ("{origin}", MANIFEST.origin),
        ("{from}", format_day(MANIFEST.first_day)),
        ("{to}", format_day(MANIFEST.last_day)),
        ("{issued_at}", format_time(MANIFEST.issued_at)),
        ("{epoch}", str(int(MANIFEST.issued_at.timestamp()))),
    ):
        text = text.replace(value, name)
    assert f"```\n{text}```" in FORMAT
    digests = write_digests({ENTRIES: bytes(32)}).decode()
    for value, name in (
        ("application/x-ndjson", "<media type>"),
        (ENTRIES, "<name>"),
        (b64encode(bytes(32)).decode(), "<base64 of the SHA-256>"),
    ):
        digests = digests.replace(value, name)
    assert f"```xml\n{digests}```" in FORMAT


def test_the_format_lists_the_members() -> None:
    """In their order, with their limits."""
    assert re.findall(
        r"^\| `([^`]+)` \|", FORMAT[FORMAT.index("## 11.") : FORMAT.index("### 11.1")], re.MULTILINE
    ) == list(NAMES)
