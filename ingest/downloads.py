"""The auditor's two verifiers: `journal-verify.pyz` and the page that verifies in a browser.

The service serves them; `make verifier` (this module run as a program) writes them as release files.
"""

from __future__ import annotations

import functools
import sys
from base64 import b64encode
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import web

from ingest.verifier_page import assemble
from journal.verifier.pyz import NAME, build

if TYPE_CHECKING:
    from ingest.edge import Edge

PAGE_NAME = "verifier.html"
EXECUTABLE = 0o755
PLAIN = 0o644


def _digest_field(content: bytes) -> str:
    """Return the value of Repr-Digest (RFC 9530 section 3)."""
    return f"sha-256=:{b64encode(sha256(content).digest()).decode()}:"


@functools.cache
def _verifier() -> bytes:
    """Return `journal-verify.pyz`, built from the installed modules when it is first asked for."""
    return build()


@functools.cache
def _page() -> bytes:
    """Return the page, one file that also works offline, assembled when it is first asked for."""
    return assemble()


async def get_verifier(_: web.Request, __: Edge) -> web.StreamResponse:
    """Answer `journal-verify.pyz`, with its SHA-256 in a header."""
    content = _verifier()
    headers = {"Repr-Digest": _digest_field(content), "Content-Disposition": f'attachment; filename="{NAME}"'}
    return web.Response(body=content, content_type="application/octet-stream", headers=headers)


async def get_verifier_digest(_: web.Request, __: Edge) -> web.StreamResponse:
    """Answer the line that `sha256sum --check` reads."""
    return web.Response(text=f"{sha256(_verifier()).hexdigest()}  {NAME}\n")


async def get_verifier_page(_: web.Request, __: Edge) -> web.StreamResponse:
    """Answer the page, which makes no request to any server."""
    content = _page()
    headers = {
        "Repr-Digest": _digest_field(content),
        # The rest of the policy is in the page itself, so that it also holds when the page is opened from a disk.
        "Content-Security-Policy": "frame-ancestors 'none'",
        "Referrer-Policy": "no-referrer",
    }
    return web.Response(body=content, content_type="text/html", charset="utf-8", headers=headers)


def write_verifiers(directory: Path) -> None:
    """Write both files into an existing directory, each with its SHA-256."""
    for name, content, mode in ((NAME, _verifier(), EXECUTABLE), (PAGE_NAME, _page(), PLAIN)):
        path = directory / name
        path.write_bytes(content)
        path.chmod(mode)
        digest = sha256(content).hexdigest()
        (directory / f"{name}.sha256").write_text(f"{digest}  {name}\n")
        sys.stdout.write(f"{path}: {len(content)} bytes, SHA-256 {digest}\n")


def main() -> int:
    """Write both files into the directory of the first argument (default: `dist`)."""
    directory = Path(sys.argv[1] if len(sys.argv) > 1 else "dist")
    directory.mkdir(parents=True, exist_ok=True)
    write_verifiers(directory)
    return 0


if __name__ == "__main__":
    sys.exit(main())
