"""The auditor's verifier as one file, for who has nothing yet: made here once, from the modules installed."""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256
from typing import TYPE_CHECKING

from aiohttp import web

from journal.verifier_file import NAME, build

if TYPE_CHECKING:
    from ingest.edge import Edge

VERIFIER = build()
_DIGEST = sha256(VERIFIER)
_HEADERS = {
    # RFC 9530 section 3.
    "Repr-Digest": f"sha-256=:{b64encode(_DIGEST.digest()).decode()}:",
    "Content-Disposition": f'attachment; filename="{NAME}"',
}


async def get_verifier(_: web.Request, __: Edge) -> web.StreamResponse:
    """Answer `journal-verify.pyz`, with its SHA-256 in a header."""
    return web.Response(body=VERIFIER, content_type="application/octet-stream", headers=_HEADERS)


async def get_verifier_digest(_: web.Request, __: Edge) -> web.StreamResponse:
    """Answer the line by which `sha256sum --check` knows the file."""
    return web.Response(text=f"{_DIGEST.hexdigest()}  {NAME}\n")
