"""Names what a file is that is no extract, for who chose the wrong one; it is guessed from its first bytes."""

from __future__ import annotations

from typing import BinaryIO, Final

# OpenSSL's and BouncyCastle's enveloped data (RFC 5652 section 6, RFC 5083 section 2): their types, in DER.
_ENVELOPED: Final = (
    bytes.fromhex("06092a864886f70d010703"),
    bytes.fromhex("060b2a864886f70d0109100117"),
)
_HEAD_BYTES: Final = 512
_BEGINNINGS: Final = (
    (b"%PDF", "it is a PDF document: the evidence is the extract (.asice) that it came in"),
    (b"-----BEGIN CERTIFICATE", "it holds certificates, as --trust wants them"),
    (b"-----BEGIN", "it is in PEM form; if it was encrypted for you, decrypt it first"),
    (b"7z\xbc\xaf\x27\x1c", "it is an archive of 7-Zip: take the extract (.asice) out of it"),
    (b"\x1f\x8b", "it is compressed with gzip: uncompress it first"),
    (b"Rar!", "it is an archive of RAR: take the extract (.asice) out of it"),
    (b"UEsDB", "it is in base64, as mails carry files: decode it first (base64 -d)"),
    (b"<", "it is a web page or XML: the download failed, or another file was saved"),
    (b"{", "it is JSON; an answer of GET …/head is given with --known-seal"),
)


def recognise(file: BinaryIO) -> str | None:
    """Return what the file seems to be, and what to do; None if that is unknown or it is a ZIP file."""
    file.seek(0)
    head = file.read(_HEAD_BYTES)
    if not head:
        return "it is empty: ask for it again"
    if head.startswith(b"0") and any(kind in head[:32] for kind in _ENVELOPED):
        return "it is encrypted, as what is handed over is: decrypt it first, with the key of its certificate"
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    return next((sentence for beginning, sentence in _BEGINNINGS if text.startswith(beginning)), None)
