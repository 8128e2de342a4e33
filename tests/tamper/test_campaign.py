"""The tampering campaign: the table of acts is the list of kinds; played whole, nothing is silent."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.campaign.play import Result
from tests.campaign.report import REPORT, judge, read_report, write_report
from tests.campaign.scripts import KINDS
from tests.campaign.table import read_list

if TYPE_CHECKING:
    from pathlib import Path

LIMIT_SECONDS = 3 * 3600
PROCESSORS = 2


def test_every_kind_of_the_list_has_an_act() -> None:
    """And no act has no kind: at least 90 of them, and 20 clean controls."""
    listed = read_list()
    assert sorted(KINDS) == sorted(listed)
    controls = [kind for kind in listed.values() if kind.is_control]
    assert len(controls) >= 20
    assert len(listed) - len(controls) >= 90


@pytest.mark.parametrize(
    ("identifier", "expected", "notices", "lost", "verdict"),
    [
        ("E01", "audit, store", [], [], "SILENT"),
        ("E01", "audit, store", [("store", 150.0)], [], "noticed"),
        ("T01", "ready", [("store", 150.0)], [], "late"),
        ("T01", "ready", [("ready: database", 3.0)], [], "noticed"),
        ("C01", "refused", [("ready: facts", 3.0)], ["OBEYED: credential x"], "OBEYED"),
        ("Z01", "", [("audit", 3.0)], [], "FALSE ALARM"),
        ("Z01", "", [], [], "quiet"),
    ],
)
def test_how_a_kind_is_judged(
    identifier: str, expected: str, notices: list[tuple[str, float]], lost: list[str], verdict: str
) -> None:
    """Silence, lateness, obedience and false alarms are told apart, and none of them is good."""
    heard = [{"who": who, "seconds": seconds, "said": "x"} for who, seconds in notices]
    result = Result(identifier, "done", expected, notices=heard, lost=lost)
    assert judge(result).verdict == verdict
    assert write_report([result], 60.0, 2).is_good == (verdict in {"noticed", "quiet"})


def test_the_report_is_what_the_runner_writes() -> None:
    """Nothing in it was typed: read back and written again, it is the same."""
    text = REPORT.read_text(encoding="utf-8")
    again = write_report(read_report(text), None, PROCESSORS).text
    total = r"^- (wall time|played in several parts).*$"
    assert re.sub(total, "", again, flags=re.MULTILINE) == re.sub(total, "", text, flags=re.MULTILINE)


@pytest.mark.campaign
def test_the_whole_campaign(tmp_path: Path) -> None:
    """Every kind on its own clone: none silent, none late, no false alarm; the report is written."""
    report = tmp_path / "REPORT.md"
    line = [sys.executable, "-m", "tests.campaign", "--report", str(report)]
    done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=LIMIT_SECONDS)
    assert done.returncode == 0, done.stdout[-4000:]
    assert "silent: 0; false alarms: 0" in report.read_text(encoding="utf-8")
