"""The fuzzer finds faults that are planted in the verifier: without that, its silence would mean nothing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.worker import SHARED_BYTES

ROOT = Path(__file__).parents[2]
SECONDS = 300.0

# Module, what stands there, what is put in its place.
FAULTS = {
    "digests unchecked": ("extract/verify", "if container.digest(name) != digest:", "if not container.digest(name):"),
    "content of no signature": ("pki/cms", "if values.content_digest != content_digest:", "if not content_digest:"),
    "gaps": ("extract/verify", "if found > index:", "if found > index + 1:"),
    "chain unchecked": ("extract/verify", "if checked.head.chain_hash == chain_hash:", "if chain_hash:"),
    "head not under its root": ("extract/listed_seal", "!= seal.root:", "== b'':"),
    "any days": ("extract/history", "        self._check_coverage()\n", ""),
    "any beginning": ("extract/history", "        self._check_base()\n", ""),
    "any end": ("extract/history", "        self._check_head()\n", ""),
    "two histories": ("extract/verify", "    check_one_history(seals)\n", ""),
    "beyond the filter": ("extract/verify", "if not self._discloses_all and not", "if self._discloses_all and not"),
    "any table": ("extract/verify", 'if next(self._rows, b"") + b"\\n" != row:', 'if next(self._rows, b"") == row:'),
    "records left over": (
        "extract/verify",
        "if next(self._records, None) is not None:",
        "if next(self._records, None) == b'':",
    ),
    "a crash": ("core/canonical", "except UnicodeDecodeError as error:", "except UnicodeEncodeError as error:"),
    "a hang": (
        "extract/listing",
        "    if len(data) > limit_bytes:\n",
        "    while not data:\n        pass\n    if len(data) > limit_bytes:\n",
    ),
    "a hoard": (
        "extract/manifest",
        "data = bytes.fromhex(text)",
        "data = bytes.fromhex(text) if len(text) < 1000 else bytes(10**9)",
    ),
}


@pytest.mark.campaign
@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_found(name: str, tmp_path: Path) -> None:
    """In a copy of the verifier with one check taken out, or one failure put in, within five minutes."""
    module, old, new = FAULTS[name]
    for folder in ("journal", "tests"):
        left_out = shutil.ignore_patterns("__pycache__", "v1", "integration", "browser", "faults")
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=left_out)
    path = tmp_path / "journal" / f"{module}.py"
    source = path.read_text(encoding="utf-8")
    assert source.count(old) == 1, f"{old!r} stands {source.count(old)} times in {module}"
    path.write_text(source.replace(old, new), encoding="utf-8")
    shared = tmp_path / "trial"
    shared.write_bytes(bytes(SHARED_BYTES))
    result = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.worker", "1", str(SECONDS), str(shared)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: os.nice(19),
    )
    told = json.loads(result.stdout)
    assert result.returncode == 1, told
    assert str(tmp_path) in told["failure"]
