"""The report of the campaign: rows add up, a run goes on where one ended, and the committed one keeps the rules."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from tests.faults import cases, report
from tests.faults.cases import Case, done, fingerprint, keep, read_cases
from tests.faults.resume import commit_of
from tests.faults.shown import Shown

MODULE = "tests/faults/test_report.py"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep cases and report of these tests apart."""
    monkeypatch.setattr(cases, "STATE", tmp_path / "cases.jsonl")
    monkeypatch.setattr(report, "REPORT", tmp_path / "REPORT.md")


def case(name: str, *shown: Shown, outcome: str = "passed", seed: int = 0, code: str = "") -> Case:
    """Return a case of this module."""
    return Case(
        case=f"{MODULE}::{name}",
        outcome=outcome,
        seconds=1.0,
        commit="c0ffee",
        code=code or fingerprint(MODULE),
        seed=seed,
        at="2026-11-29T00:00:00+00:00",
        evidence=[str(each) for each in shown],
        shown=[json.dumps(asdict(each)) for each in shown],
    )


def test_what_is_done_is_not_done_again() -> None:
    """What passed on this code with this seed is; what failed, was of another seed or code, or failed since, is not."""
    keep(case("passed"))
    keep(case("failed", outcome="failed"))
    keep(case("of another seed", seed=7))
    keep(case("of other code", code="0"))
    keep(case("failed since"))
    keep(case("failed since", outcome="failed"))
    assert done(0) == {f"{MODULE}::passed"}
    assert done(7) == {f"{MODULE}::of another seed"}


def test_rows_add_up() -> None:
    """Parts of one fault are one row with the bound of their sum; a control is in the other table, with its test."""
    fault = "kill -9"
    keep(
        case("part[0]", Shown(fault=fault, trials=200, acknowledged=10, counts={"cut off": 3}, longest={"start": 2.0}))
    )
    keep(
        case("part[1]", Shown(fault=fault, trials=100, acknowledged=20, counts={"cut off": 4}, longest={"start": 1.0}))
    )
    keep(case("broken", Shown(fault=fault, trials=5, lost=2, broken="an early service")))
    assert report.write_report(read_cases().values())
    text = report.REPORT.read_text(encoding="utf-8")
    assert "| kill -9 | 300 | 30 | 0 | 0 | 0 | 1.00% | c0ffee |  | 7 cut off, start at most 2.0 s |\n" in text
    assert "| an early service | kill -9 | 5 | 2 | 0 | 0 | `test_report.py::broken` | c0ffee |\n" in text


def test_what_did_not_run_again_stays() -> None:
    """A part of the campaign, on another machine, takes the place of its own rows and lines, and of no others."""
    for fault in ("kill -9", "power cut"):
        keep(case(fault, Shown(fault=fault, trials=200)))
        keep(case(f"{fault} broken", Shown(fault=fault, trials=5, lost=2, broken="an early service")))
    for part in (1, 2):
        keep(replace(case(f"part[{part}]"), evidence=[f"part {part} of 2: none failed"]))
        keep(replace(case(f"again[{part}]"), evidence=[f"both: {part}"]))
    assert report.write_report(read_cases().values())
    before = report.REPORT.read_text(encoding="utf-8")
    assert "earlier runs" not in before
    assert all(f"- both: {part} (c0ffee)\n" in before for part in (1, 2))
    cases.STATE.unlink()
    keep(case("kill -9", Shown(fault="kill -9", trials=300)))
    keep(case("power cut broken", Shown(fault="power cut", trials=6, lost=2, broken="an early service")))
    keep(replace(case("part[2]"), evidence=["part 2 of 2: 1 failed"]))
    assert report.write_report(read_cases().values())
    after = report.REPORT.read_text(encoding="utf-8")
    changed = [line for line in after.splitlines() if line not in before.splitlines()]
    assert changed == [
        "3 cases, 0 failed, 0 could not run here; 0.0 hours of cases.",
        "Lines of earlier runs, of cases that did not run again: 5.",
        "| kill -9 | 300 | 0 | 0 | 0 | 0 | 1.00% | c0ffee |  |  |",
        "| an early service | power cut | 6 | 2 | 0 | 0 | `test_report.py::power cut broken` | c0ffee |",
        "- part 2 of 2: 1 failed (c0ffee)",
    ]
    assert len(after.splitlines()) == len(before.splitlines()) + 1


def test_what_failed_is_named() -> None:
    """First of all, and the run has failed."""
    keep(case("bad", outcome="failed"))
    assert not report.write_report(read_cases().values())
    assert f"- FAILED: `{MODULE}::bad` (c0ffee)\n" in report.REPORT.read_text(encoding="utf-8")


def test_the_mark_of_changes_leaves_the_report_out(tmp_path: Path) -> None:
    """A run that wrote the report has changed nothing that the next one runs on; any other change is marked."""

    def git(*words: str) -> None:
        subprocess.run(["git", "-C", str(tmp_path), *words], check=True, capture_output=True)

    written, code = tmp_path / "tests/faults/REPORT.md", tmp_path / "code.py"
    assert commit_of(tmp_path) == "unknown"
    written.parent.mkdir(parents=True)
    written.touch()
    code.touch()
    git("init")
    git("add", ".")
    git("-c", "user.name=a", "-c", "user.email=a@example.org", "commit", "-m", "One")
    clean = commit_of(tmp_path)
    assert re.fullmatch("[0-9a-f]{8}", clean)
    written.write_text("a row", encoding="utf-8")
    assert commit_of(tmp_path) == clean
    code.write_text("changed", encoding="utf-8")
    assert commit_of(tmp_path) == f"{clean}+"


def test_the_committed_report_keeps_the_rules() -> None:
    """No case failed; no fault lost, doubled or was wrong; every broken build was found, by a test that is here."""
    text = Path(__file__).with_name("REPORT.md").read_text(encoding="utf-8")
    assert "- FAILED:" not in text
    faults, controls = (re.findall(r"^\| (?!-|Fault|Broken).*", part, re.MULTILINE) for part in tables(text))
    assert faults
    assert controls
    for row in faults:
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert cells[3:6] == ["0", "0", "0"], row
    for row in controls:
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert any(count != "0" for count in cells[3:6]), row
        for module, test in re.findall(r"`(\w+\.py)::(\w+)", cells[6]):
            assert f"def {test}(" in Path(__file__).with_name(module).read_text(encoding="utf-8"), row


def tables(text: str) -> tuple[str, str]:
    """Return the report's tables of faults and of broken builds."""
    _, _, rest = text.partition("## Faults\n")
    faults, _, rest = rest.partition("## Broken builds\n")
    return faults, rest.partition("## Other cases\n")[0]
