"""What anybody may take from the service: the verifier, whole and as its SHA-256 says."""

from __future__ import annotations

import base64
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from journal.verifier_file import build

if TYPE_CHECKING:
    from tests.integration.edge import RunningEdge

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
