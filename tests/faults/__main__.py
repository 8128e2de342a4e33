"""`make campaign`: the long cases, those that are done on this code left out; the report is tests/faults/REPORT.md."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.faults.cases import ROOT, done, read_cases
from tests.faults.report import REPORT, write_report

MARKED = "campaign or control"


def run(chosen: argparse.Namespace) -> int:
    """Run what is left, for so many minutes at most; return pytest's status."""
    with tempfile.NamedTemporaryFile("w", encoding="utf-8") as listed:
        listed.write("".join(f"{name}\n" for name in sorted(done(chosen.seed))))
        listed.flush()
        line = [sys.executable, "-m", "pytest", "-p", "tests.faults.resume", "-m", MARKED, "--durations=25"]
        line += ["-n", str(chosen.workers), "--dist", "worksteal", "--done", listed.name, f"--seed={chosen.seed}"]
        line += [f"--session-timeout={60 * chosen.minutes}"] if chosen.minutes else []
        return subprocess.run([*line, *chosen.arguments], check=False, cwd=ROOT).returncode


def main() -> int:
    """Run, and write the report of all cases that ever ran here; 0 if none failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults")
    parser.add_argument("--minutes", type=int, default=0, help="end after so many; the next run goes on")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0, help="added to every case's own")
    parser.add_argument("--report-only", action="store_true", help="run nothing")
    parser.add_argument("arguments", nargs="*", help="pytest's own: files, -k")
    chosen, rest = parser.parse_known_args()
    chosen.arguments += rest
    nothing_to_do = 5
    status = 0 if chosen.report_only else run(chosen)
    cases = [case for case in read_cases().values() if (ROOT / case.module).exists()]
    is_good = write_report(cases)
    print(f"{len(cases)} cases in {REPORT.relative_to(Path.cwd()) if REPORT.is_relative_to(Path.cwd()) else REPORT}")
    return 0 if is_good and status in {0, nothing_to_do} else 1


if __name__ == "__main__":
    sys.exit(main())
