"""A directory is writable only if the account may write there, whatever privileges a command borrows from root."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from journal.keys.files import why_unwritable

WRAPPER = Path(__file__).parents[2] / "deploy" / "debian" / "openepm-journal"
NOBODY = 65534
LOOK = """
import sys
from pathlib import Path
from journal.keys.files import why_unwritable
directory = Path(sys.argv[1])
print(why_unwritable(directory))
print(why_unwritable(Path(sys.argv[2])))
(directory / "made").touch()  # the privilege is there again
"""


@pytest.mark.needs("setpriv")
@pytest.mark.skipif(os.geteuid() != 0, reason="borrows a privilege from root")
def test_a_borrowed_privilege_does_not_answer_for_the_account() -> None:
    """As the operator's command is run for root: a directory of root's is refused, and files in it can be made."""
    lent = "-all,+dac_override"
    assert f"capabilities={lent}\n" in WRAPPER.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        foreign, own = Path(place) / "foreign", Path(place) / "own"
        foreign.mkdir(mode=0o700)
        own.mkdir(mode=0o700)
        shutil.chown(own, NOBODY, NOBODY)
        line = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", f"--inh-caps={lent}"]
        line += [f"--ambient-caps={lent}", f"--bounding-set={lent}", sys.executable, "-c", LOOK]
        done = subprocess.run([*line, foreign, own], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.splitlines() == ["Permission denied", "None"]
        assert (foreign / "made").exists()


@pytest.mark.parametrize(
    ("typed", "account", "lent"),
    [
        ("tenant list", "openepm-journal", "-all,+dac_override"),
        ("keys backup --to /mnt", "openepm-journal", "-all,+dac_override"),
        ("keys rotate", "openepm-journal", "-all,+dac_override,+chown"),
        ("identity show", "openepm-journal-signer", "-all,+dac_override"),
        ("setup", None, None),
    ],
)
def test_what_a_command_of_root_runs_as(tmp_path: Path, typed: str, account: str | None, lent: str | None) -> None:
    """The service's account, `identity` the signer's, each with the privileges it needs; `setup` goes on as root."""
    script = WRAPPER.read_text(encoding="utf-8")
    for name in ("/opt/openepm-journal/bin/openepm-journal", "/etc/openepm-journal/journal.toml"):
        script = script.replace(f"={name}\n", f"={tmp_path}/{Path(name).name}\n")
    (tmp_path / "journal.toml").touch()
    for name, does in {
        "setpriv": 'echo setpriv "$@"',
        "id": "echo root",
        "openepm-journal": 'echo as it is "$@"',
    }.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{does}\n")
        (tmp_path / name).chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["sh", "-c", script, "sh", *typed.split()], env=environment, capture_output=True, text=True, check=True
    )
    if account is None:
        assert done.stdout == f"as it is {typed}\n"
        return
    expected = f"--reuid={account} --regid=openepm-journal --init-groups --inh-caps={lent} "
    expected += f"--ambient-caps={lent} --bounding-set={lent} {tmp_path}/openepm-journal {typed}\n"
    assert done.stdout == f"setpriv {expected}"


def test_what_is_writable_is(tmp_path: Path) -> None:
    """And what is absent, or no directory, is named so."""
    assert why_unwritable(tmp_path) is None
    assert why_unwritable(tmp_path / "absent") == "No such file or directory"
    (tmp_path / "file").touch()
    assert why_unwritable(tmp_path / "file") == "Not a directory"
