"""The verifier on extracts that no writer makes: no crash, no hang, bounded memory, no false success.

Coverage-guided and aware of structure (see maker.py): members, lines, JSON, DER and seals are changed, most often
signed anew by the service itself, spliced with other extracts, and held against changed known seals. What is
accepted is reckoned again, apart (see truth.py), and against chains that are known whole.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.worker import SHARED_BYTES

ROOT = Path(__file__).parents[2]
# Time for Python to begin, and for the last trial to end.
GRACE_SECONDS = 60


# The same trials in every run, so that a commit passes or does not; the campaign's are others every time.
@pytest.mark.parametrize(("seconds", "seed"), [(2.0, 1), pytest.param(3600.0, None, marks=pytest.mark.campaign)])
def test_no_extract_breaks_the_verifier(
    seconds: float, seed: int | None, pytestconfig: pytest.Config, tmp_path: Path
) -> None:
    """Every trial ends in a verdict within 5 s and 200 MB, and every success is true (X-05)."""
    seconds = pytestconfig.getoption("fuzz_seconds") or seconds
    seed = pytestconfig.getoption("fuzz_seed") or seed or int.from_bytes(os.urandom(4), "big")
    shared = tmp_path / "trial"
    shared.write_bytes(bytes(SHARED_BYTES))
    command = [sys.executable, "-m", "tests.fuzz.worker", str(seed), str(seconds), str(shared)]
    result = subprocess.run(
        command,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=10 * seconds + GRACE_SECONDS,
    )
    if result.returncode:
        told = json.loads(result.stdout)["failure"] if result.stdout else result.stderr
        pytest.fail(f"seed {seed}, the trial is in {_saved(shared, tmp_path)}:\n{told}")
    figures = json.loads(result.stdout)
    print(f"seed {seed}: {figures}")  # noqa: T201  (what a run was worth)
    assert figures["executions"] > seconds
    assert figures["memory_mib"] < 200
    # The changes reach deep: a fuzzer that no longer gets past the signature would pass for ever.
    assert figures["verdicts"]["verified"] > 0
    assert len(figures["verdicts"]) >= 8, figures


def _saved(shared: Path, directory: Path) -> list[str]:
    """Write the parts of the trial that ended it into files; return their names, the extract's first."""
    whole = shared.read_bytes()
    whole = whole[4 : 4 + int.from_bytes(whole[:4], "big")]
    paths: list[str] = []
    while whole:
        count = int.from_bytes(whole[:4], "big")
        path = directory / ("known" if paths else "extract")
        path.with_suffix(f".{len(paths)}").write_bytes(whole[4 : 4 + count])
        paths.append(str(path.with_suffix(f".{len(paths)}")))
        whole = whole[4 + count :]
    return paths
