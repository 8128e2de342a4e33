"""A PDF read back: its text, what was laid out before it was signed, its signature."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
from io import BytesIO
from typing import TYPE_CHECKING

from asn1crypto import x509
from pyhanko.pdf_utils.reader import PdfFileReader
from pyhanko.sign.validation import validate_pdf_signature
from pyhanko_certvalidator import ValidationContext

from journal.pki.certificates import pem_to_der

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from pyhanko.sign.validation.pdf_embedded import EmbeddedPdfSignature


def read_text(document: bytes, path: Path, *, order: str = "-layout") -> str:
    """The document's text, as Debian's pdftotext reads it: line by line, or cell by cell (`-raw`)."""
    path.write_bytes(document)
    command = [str(shutil.which("pdftotext")), order, str(path), "-"]
    return subprocess.run(command, capture_output=True, check=True, text=True).stdout


def words_of(document: bytes, path: Path, *, order: str = "-layout") -> str:
    """The document's text on one line, every space alike, words whole again."""
    text = re.sub(r"\u00ad\s*|\u200b", "", read_text(document, path, order=order))
    return re.sub(r"[\s\u00a0\u202f]+", " ", text)


def base_revision(document: bytes) -> bytes:
    """What was laid out, before the signature was added after it."""
    return document[: document.index(b"%%EOF") + 5]


async def check_signature(document: bytes, trust: bytes, at: datetime) -> EmbeddedPdfSignature:
    """Check that a document's one signature covers it whole and is trusted under the root (PEM) alone; return it."""
    signature: EmbeddedPdfSignature
    (signature,) = PdfFileReader(BytesIO(document)).embedded_signatures
    roots = [x509.Certificate.load(der) for der in pem_to_der(trust)]
    context = ValidationContext(trust_roots=roots, moment=at, allow_fetching=False)
    # pyHanko runs a loop of its own. Its default policy asks for nonRepudiation.
    status = await asyncio.to_thread(validate_pdf_signature, signature, context)
    assert status.intact
    assert status.valid
    assert status.trusted
    assert status.bottom_line
    assert status.coverage is not None
    assert status.coverage.name == "ENTIRE_FILE"
    return signature
