"""What anybody may take from the service: the verifier, whole and as its SHA-256 says."""

from __future__ import annotations

import asyncio
import base64
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ingest.verifier_page import assemble
from journal.verifier.pyz import build
from tests.browser.chromium import browser

if TYPE_CHECKING:
    from tests.support.edge import RunningEdge

pytestmark = pytest.mark.asyncio(loop_scope="module")

VECTORS = Path(__file__).parents[1] / "vectors" / "v1" / "extracts"


async def test_the_verifier_is_served_with_its_digest(edge: RunningEdge) -> None:
    """Without a credential; the header and the file beside it name the very bytes, which are those of a release."""
    answer = await edge.ask("GET", "/journal-verify.pyz")
    assert (answer.status, answer.body) == (200, build())
    digest = sha256(answer.body)
    assert answer.headers["Repr-Digest"] == f"sha-256=:{base64.b64encode(digest.digest()).decode()}:"
    assert answer.headers["Content-Disposition"] == 'attachment; filename="journal-verify.pyz"'
    beside = await edge.ask("GET", "/journal-verify.pyz.sha256")
    assert (beside.status, beside.body.decode()) == (200, f"{digest.hexdigest()}  journal-verify.pyz\n")


async def test_what_is_served_verifies(edge: RunningEdge, tmp_path: Path) -> None:
    """The file an auditor downloads runs by itself, away from the project."""
    path = tmp_path / "journal-verify.pyz"
    path.write_bytes((await edge.ask("GET", "/journal-verify.pyz")).body)
    command = [sys.executable, path, VECTORS / "unfiltered.asice", "--trust", VECTORS / "trust.pem"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert result.stdout.startswith("VERIFIED  authentic and complete: all 4 entries")


async def test_the_page_is_served_as_it_is_released(edge: RunningEdge, tmp_path: Path) -> None:
    """Without a credential, never in another site's frame; `make verifier` writes the very bytes, and both digests."""
    answer = await edge.ask("GET", "/verifier")
    assert (answer.status, answer.body) == (200, assemble())
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert answer.headers["Content-Security-Policy"] == "frame-ancestors 'none'"
    digest = sha256(answer.body)
    assert answer.headers["Repr-Digest"] == f"sha-256=:{base64.b64encode(digest.digest()).decode()}:"
    subprocess.run([sys.executable, "-m", "ingest.downloads", tmp_path], capture_output=True, check=True)
    assert (tmp_path / "verifier.html").read_bytes() == answer.body
    assert (tmp_path / "verifier.html.sha256").read_text() == f"{digest.hexdigest()}  verifier.html\n"
    assert (tmp_path / "journal-verify.pyz").read_bytes() == build()


@pytest.mark.needs("chromium")
async def test_the_served_page_verifies(edge: RunningEdge) -> None:
    """In a browser, from the service's own address, under its headers: nothing else is asked for."""
    address = f"http://127.0.0.1:{edge.port}/verifier"

    def use() -> tuple[str, list[str]]:
        with browser() as context:
            page = context.new_page()
            asked: list[str] = []
            page.on("request", lambda request: asked.append(request.url))
            page.goto(address)
            page.set_input_files("#extract", VECTORS / "unfiltered.asice")
            page.set_input_files("#trust", VECTORS / "trust.pem")
            page.get_by_role("button", name="Vérifier").click()
            return page.locator(".verdict").inner_text(), asked

    verdict, asked = await asyncio.to_thread(use)
    assert "Authentique et complet" in verdict
    assert [url for url in asked if not url.startswith("blob:")] == [address]
