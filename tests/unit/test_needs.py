"""A test whose program is not on the machine: left out and told, or, in CI, a reason to refuse."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
LACKING = """
import pytest


@pytest.mark.needs("no-such-program")
def test_that_cannot_run():
    assert False


def test_that_can():
    pass
"""


def run(directory: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the two tests in a process of its own."""
    (directory / "pytest.ini").write_text("[pytest]\naddopts = -p tests.needs -p no:cacheprovider\n", encoding="ascii")
    (directory / "test_lacking.py").write_text(LACKING, encoding="ascii")
    kept = {
        name: value for name, value in os.environ.items() if name != "CI" and not name.startswith(("PYTEST", "COV"))
    }
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-c", str(directory / "pytest.ini"), str(directory)],
        cwd=ROOT,
        env=kept | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"} | variables,
        capture_output=True,
        text=True,
        check=False,
    )


def test_what_is_left_out_is_told(tmp_path: Path) -> None:
    """At the end, with what to install; the other tests run."""
    done = run(tmp_path)
    assert done.returncode == 0
    assert "NOT RUN: 1 tests, for want of no-such-program (apt-get install no-such-program)" in done.stdout
    assert "1 passed, 1 deselected" in done.stdout


def test_in_ci_nothing_is_left_out(tmp_path: Path) -> None:
    """The run is refused, and says what is missing."""
    done = run(tmp_path, CI="true")
    assert done.returncode != 0
    assert "tests need programs that are not here: install no-such-program" in done.stderr
    assert "passed" not in done.stdout
