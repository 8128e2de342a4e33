"""Large extracts: verified in constant memory, whatever their number of entries."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.bench.large import LargeWorld
from tests.support.extracts import ANCHORS

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.untraced

ROOT = Path(__file__).parents[2]
# Verify a small extract, then a large one; print how much more memory the second took, and how long.
MEASURED = """
import json, resource, sys, time
from journal.extract.verify import verify_extract
def verify(path):
    with open(path, "rb") as file:
        report = verify_extract(file, anchors=[bytes.fromhex(sys.argv[1])])
    return report.manifest.disclosed, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
_, before = verify(sys.argv[2])
begun = time.perf_counter()
entries, after = verify(sys.argv[3])
print(json.dumps({"entries": entries, "mib": after - before, "seconds": time.perf_counter() - begun}))
"""


def write(path: Path, entries: int) -> Path:
    """Write an extract of that many entries."""
    with path.open("wb") as file:
        LargeWorld(entries).write(file)
    return path


@pytest.mark.parametrize(
    ("entries", "limit_mib"), [(20_000, 10), pytest.param(1_000_000, 100, marks=pytest.mark.campaign)]
)
def test_memory_does_not_grow_with_the_entries(
    entries: int, limit_mib: int, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """A million entries take less than 100 MiB more than a thousand, and far less in truth."""
    small, large = write(tmp_path / "small", 1000), write(tmp_path / "large", entries)
    command = [sys.executable, "-c", MEASURED, ANCHORS[0].hex(), str(small), str(large)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    found = json.loads(result.stdout)
    rate = f"{entries / found['seconds']:,.0f} a second"
    record_property("evidence", f"verified {entries:,} entries offline: {found['mib']} MiB more, {rate}")
    assert found["entries"] == entries
    assert found["mib"] < limit_mib
