"""What the fault tests share: a PostgreSQL of their own, and a summary of what they showed."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from journal.postgres import EmbeddedPostgres

if TYPE_CHECKING:
    from collections.abc import Iterator

    from _pytest.terminal import TerminalReporter


@pytest.fixture
def cluster() -> Iterator[EmbeddedPostgres]:
    """A PostgreSQL of the test's own, on the disk; the test may end it and start it again."""
    with tempfile.TemporaryDirectory(prefix="oej-faults-") as home, EmbeddedPostgres(Path(home)) as server:
        yield server


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    """Print what was counted: a bound without its n means nothing."""
    reports = [report for found in terminalreporter.stats.values() for report in found]
    lines = {
        str(value) for report in reports for name, value in getattr(report, "user_properties", ()) if name == "evidence"
    }
    if lines:
        terminalreporter.section("evidence")
        for line in sorted(lines):
            terminalreporter.write_line(line)
