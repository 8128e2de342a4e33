"""The files for a hosting operator: what they name exists, and systemd takes them."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from journal.cli.main import _parser

DEPLOY = Path(__file__).parents[2] / "deploy"
PROGRAM = "/opt/openepm-journal/bin/openepm-journal"
COMMANDS = {"openepm-journal.service": "serve", "openepm-journal-purge.service": "purge"}


def settings(unit: str) -> dict[str, list[str]]:
    """Return a unit's settings by name."""
    found: dict[str, list[str]] = {}
    for name, value in re.findall(r"^([A-Za-z]+)=(.*)$", (DEPLOY / unit).read_text(encoding="utf-8"), re.MULTILINE):
        found.setdefault(name, []).append(value)
    return found


@pytest.mark.parametrize("unit", COMMANDS)
def test_units_run_commands_that_exist(unit: str) -> None:
    """What a unit starts is the program, with a command and options that it takes."""
    [line] = settings(unit)["ExecStart"]
    program, *arguments = shlex.split(line)
    assert (program, arguments) == (PROGRAM, [COMMANDS[unit]])
    assert _parser().parse_args(arguments).run.__name__ == COMMANDS[unit]


def test_the_purge_may_no_more_than_the_service() -> None:
    """Both units run as the same account, with the same key and the same walls around them."""
    service, purge = (settings(unit) for unit in COMMANDS)
    same = {name for name in service if name.startswith(("Protect", "Private", "Restrict", "NoNew", "Load", "Limit"))}
    same |= {"User", "Environment", "StateDirectory", "StateDirectoryMode", "UMask"}
    assert {name: service[name] for name in same} == {name: purge[name] for name in same}


def test_a_night_that_was_missed_is_made_up_for() -> None:
    """The timer remembers when it last ran, and runs at the start of a machine that was off."""
    timer = settings("openepm-journal-purge.timer")
    assert timer["Persistent"] == ["true"]
    assert timer["OnCalendar"] == ["*-*-* 00:15:00 UTC", "*-*-* 22:15:00 UTC"]
    assert timer["WantedBy"] == ["timers.target"]


@pytest.mark.needs("systemd-analyze")
def test_systemd_takes_the_units(tmp_path: Path) -> None:
    """It has no word to say about any of them, but for a program that is not installed here."""
    units = []
    for path in (*DEPLOY.glob("*.service"), *DEPLOY.glob("*.timer")):
        units.append(tmp_path / path.name)
        units[-1].write_text(path.read_text(encoding="utf-8").replace(PROGRAM, "/bin/true"), encoding="utf-8")
    assert len(units) >= 3
    done = subprocess.run(["systemd-analyze", "verify", *units], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
