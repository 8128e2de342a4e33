"""A host whose clock is wrong: every process with MOVED_CLOCK reads its time from there on, in seconds of a file.

`arrange` gives the variables under which a Python moves its clock as it starts (`sitecustomize`), and so do its
children; the monotonic clock goes on as it is. The database keeps its own time.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from journal.cli import host_checks
from journal.clock import SystemClock

VARIABLE: Final = "MOVED_CLOCK"
REPOSITORY: Final = Path(__file__).parents[2]


def arrange(directory: Path) -> dict[str, str]:
    """Put what moves a clock in a directory, where `seconds` says by how much; return the variables."""
    (directory / "sitecustomize.py").write_text(
        f"import sys\nsys.path.append({str(REPOSITORY)!r})\n"
        "from tests.support.moved_clock import take\ntake()\nsys.path.pop()\n"
    )
    (directory / "seconds").write_text("0")
    return {VARIABLE: str(directory / "seconds"), "PYTHONPATH": str(directory)}


def take() -> None:
    """Read this process's time from the file that the variable names, if it names one."""
    if VARIABLE in os.environ:
        SystemClock.now = lambda self: _now()  # type: ignore[method-assign]  # noqa: ARG005
        host_checks.now_of_host = lambda: _now().replace(microsecond=0)


def _now() -> datetime:
    seconds = Path(os.environ[VARIABLE]).read_text(encoding="ascii")
    return datetime.now(UTC) + timedelta(seconds=float(seconds))
