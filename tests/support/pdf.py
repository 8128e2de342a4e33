"""A PDF read back: its text, what was laid out before it was signed, its signature."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

from pyhanko.sign.validation import validate_pdf_signature
from pyhanko.sign.validation.settings import KeyUsageConstraints

if TYPE_CHECKING:
    from pathlib import Path

    from pyhanko_certvalidator import ValidationContext


def read_text(document: bytes, path: Path) -> str:
    """The document's text, as Debian's pdftotext reads it."""
    path.write_bytes(document)
    command = [str(shutil.which("pdftotext")), "-layout", str(path), "-"]
    return subprocess.run(command, capture_output=True, check=True, text=True).stdout


def base_revision(document: bytes) -> bytes:
    """What was laid out, before the signature was added after it."""
    return document[: document.index(b"%%EOF") + 5]


async def _validate(signature: Any, context: ValidationContext) -> Any:
    # pyHanko runs a loop of its own.
    usage = KeyUsageConstraints(key_usage={"digital_signature"})
    return await asyncio.to_thread(validate_pdf_signature, signature, context, key_usage_settings=usage)
