"""What the tests counted, said at the end: `record_property("evidence", "…")`; a bound without its n means nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter

EVIDENCE = "evidence"


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    """Print every line of evidence once."""
    reports = [report for found in terminalreporter.stats.values() for report in found]
    lines = {
        str(value) for report in reports for name, value in getattr(report, "user_properties", ()) if name == EVIDENCE
    }
    if lines:
        terminalreporter.section(EVIDENCE)
        for line in sorted(lines):
            terminalreporter.write_line(line)
