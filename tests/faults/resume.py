"""The plugin under which the campaign's cases run: it leaves out those that are done, and keeps what each showed."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.evidence import EVIDENCE
from tests.faults.cases import PASSED, ROOT, Case, fingerprint, keep
from tests.faults.report import REPORT
from tests.faults.shown import SHOWN


def commit_of(root: Path) -> str:
    """Return the commit that is checked out, and `+` if anything but the report was changed since."""
    git = ["git", "-C", str(root)]
    described = [*git, "describe", "--always", "--exclude=*", "--abbrev=8"]
    but_the_report = [".", f":(exclude){REPORT.relative_to(ROOT)}"]
    changed = [*git, "status", "--porcelain", "--untracked-files=no", "--", *but_the_report]
    commit, changes = (
        subprocess.run(line, capture_output=True, text=True, check=False).stdout.strip()
        for line in (described, changed)
    )
    return commit + ("+" if changes else "") if commit else "unknown"


class Run:
    """Keeps the outcome of every case, in the process that hands the cases out."""

    def __init__(self, seed: int) -> None:
        """Run on the commit that is checked out."""
        self._seed = seed
        self._commit = commit_of(ROOT)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep a case that passed, failed or was skipped; one that fails as it ends has failed."""
        if not (report.failed or report.skipped or report.when == "call"):
            return
        properties = [(name, str(value)) for name, value in report.user_properties]
        keep(
            Case(
                case=report.nodeid,
                outcome=report.outcome,
                seconds=round(report.duration, 1),
                commit=self._commit,
                code=fingerprint(report.nodeid.partition("::")[0]),
                seed=self._seed,
                at=datetime.now(UTC).isoformat(timespec="seconds"),
                evidence=[value for name, value in properties if name == EVIDENCE],
                shown=[value for name, value in properties if name == SHOWN],
            )
        )
        if report.outcome != PASSED and report.longreprtext:
            print(f"\n{report.nodeid}: {report.longreprtext[-2000:]}", flush=True)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the campaign say what is done, and with which seed it draws."""
    parser.addoption("--done", type=Path, help="a file of cases not to run again, one a line")
    parser.addoption("--seed", type=int, default=0, help="what is added to every case's own seed")


def pytest_configure(config: pytest.Config) -> None:
    """Keep outcomes once: the workers of xdist report to the process that started them."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Run(config.getoption("--seed")))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is done."""
    listed: Path | None = config.getoption("--done")
    if listed is None:
        return
    finished = set(listed.read_text(encoding="utf-8").splitlines())
    left_out = [item for item in items if item.nodeid in finished]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item.nodeid not in finished]
