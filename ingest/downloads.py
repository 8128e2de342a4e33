"""The auditor's verifiers, for who has nothing yet: `journal-verify.pyz`, and the page that does it in a browser."""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256
from importlib import resources
from typing import TYPE_CHECKING

from aiohttp import web

from journal.verifier.pyz import NAME, build

if TYPE_CHECKING:
    from ingest.edge import Edge

PAGE_NAME = "verifier.html"


def read_page() -> bytes:
    """Return the page: one file, that works as well from a disk."""
    return resources.files("ingest").joinpath("pages", PAGE_NAME).read_bytes()


def _digest_field(content: bytes) -> str:
    """Return the value of Repr-Digest (RFC 9530 section 3)."""
    return f"sha-256=:{b64encode(sha256(content).digest()).decode()}:"


# Made and read here once, from the modules installed.
VERIFIER = build()
PAGE = read_page()
_VERIFIER_HEADERS = {
    "Repr-Digest": _digest_field(VERIFIER),
    "Content-Disposition": f'attachment; filename="{NAME}"',
}
_PAGE_HEADERS = {
    "Repr-Digest": _digest_field(PAGE),
    # The page holds the rest of its policy itself: it must keep to it when it is opened from a disk, too.
    "Content-Security-Policy": "frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
}


async def get_verifier(_: web.Request, __: Edge) -> web.StreamResponse:
    """Answer `journal-verify.pyz`, with its SHA-256 in a header."""
    return web.Response(body=VERIFIER, content_type="application/octet-stream", headers=_VERIFIER_HEADERS)


async def get_verifier_digest(_: web.Request, __: Edge) -> web.StreamResponse:
    """Answer the line by which `sha256sum --check` knows the file."""
    return web.Response(text=f"{sha256(VERIFIER).hexdigest()}  {NAME}\n")


async def get_verifier_page(_: web.Request, __: Edge) -> web.StreamResponse:
    """Answer the page: it asks nothing of any server, this one included."""
    return web.Response(body=PAGE, content_type="text/html", charset="utf-8", headers=_PAGE_HEADERS)
