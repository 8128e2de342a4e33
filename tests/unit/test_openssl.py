"""Debian's OpenSSL, with no software of ours, accepts the signatures of every kind of extract, and no other."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from journal.core.seal import parse_seal
from journal.extract.layout import DIGESTS, MANIFEST, SEALS, SIGNATURE
from journal.extract.listing import parse_seals
from journal.extract.manifest import parse_manifest
from tests.support.extracts import contents_of

pytestmark = pytest.mark.needs("openssl")

VECTORS = Path(__file__).parents[1] / "vectors" / "v1" / "extracts"
CASES: list[dict[str, Any]] = json.loads((VECTORS / "index.json").read_text(encoding="utf-8"))["cases"]
# Some cases hold no extract, but receipts alone.
EXTRACTS = {case["file"]: case for case in CASES if case["class"] == "verified" and "file" in case}
VALID = sorted(EXTRACTS.values(), key=lambda case: case["name"])


def openssl_accepts(directory: Path, *, signature: bytes, content: bytes, trust: str, at: float) -> bool:
    """Tell whether `openssl cms` verifies a detached CAdES signature, as of the time it claims."""
    (directory / "signature").write_bytes(signature)
    (directory / "content").write_bytes(content)
    command = ["openssl", "cms", "-verify", "-cades", "-binary", "-inform", "DER", "-in", str(directory / "signature")]
    command += ["-content", str(directory / "content"), "-CAfile", str(VECTORS / trust), "-attime", str(int(at))]
    result = subprocess.run([*command, "-out", "/dev/null"], capture_output=True, text=True, check=False)
    return result.returncode == 0 and "CAdES Verification successful" in result.stderr


@pytest.mark.parametrize("case", VALID, ids=lambda case: case["name"])
def test_openssl_accepts_every_kind_of_extract(case: dict[str, Any], tmp_path: Path) -> None:
    """Its signature, and that of each of its seals, by the command that LISEZMOI.txt gives, and -cades."""
    contents = contents_of((VECTORS / case["file"]).read_bytes())
    manifest = parse_manifest(contents[MANIFEST])
    accepts = {
        "signature": contents[SIGNATURE],
        "content": contents[DIGESTS],
        "trust": case["trust"],
        "at": manifest.issued_at.timestamp(),
    }
    assert openssl_accepts(tmp_path, **accepts)
    assert not openssl_accepts(tmp_path, **{**accepts, "content": contents[DIGESTS] + b"\n"})
    for listed in parse_seals(contents[SEALS], manifest.origin):
        at = parse_seal(listed.text).sealed_at.timestamp()
        assert openssl_accepts(tmp_path, signature=listed.signature, content=listed.text, trust=case["trust"], at=at)


def test_openssl_trusts_no_other_authority(tmp_path: Path) -> None:
    """The test itself would tell."""
    contents = contents_of((VECTORS / "unfiltered.asice").read_bytes())
    at = parse_manifest(contents[MANIFEST]).issued_at.timestamp()
    accepts = {"signature": contents[SIGNATURE], "content": contents[DIGESTS], "at": at}
    assert openssl_accepts(tmp_path, **accepts, trust="trust.pem")
    assert not openssl_accepts(tmp_path, **accepts, trust="other.pem")
