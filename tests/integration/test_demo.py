"""The demo as a stranger runs it, and the `curl` it prints, pasted."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from tests.support.ports import free_port

COMMAND = str(Path(sys.executable).with_name("openepm-journal"))


@pytest.mark.needs("openssl", "curl", "php")
def test_the_demo_holds_and_what_it_prints_works(tmp_path: Path) -> None:
    """Every step holds; the service left up records the pasted event, and shows it; so it does a page of the sample."""
    environment = os.environ | {"JOURNAL_LISTEN": f"127.0.0.1:{free_port()}", "PYTHONUNBUFFERED": "1"}
    command = [COMMAND, "demo", "--keep-running", "--directory", str(tmp_path / "demo")]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as demo:
        assert demo.stdout is not None
        printed = ""
        for line in demo.stdout:
            printed += line
            if line == "What arrives:\n":
                break
        try:
            assert "Every step succeeded." in printed, printed
            post, head = re.findall(r"^curl .*?(?:\n(?!\n).*?)*(?=\n\n)", printed, flags=re.MULTILINE)
            (receipt,) = orjson.loads(paste(post))["receipts"]
            assert receipt["origin"] == "openepm-journal/v1/journal.example.fr/albi/main-courante"
            assert orjson.loads(paste(head))["origin"] == receipt["origin"]
            assert (
                f"albi/main-courante #{receipt['index']}  consultation  c.martin  MC-2026-0001"
                in demo.stdout.readline()
            )
            (invitation,) = re.findall(r"^The commune's desk, in French: (\S+)$", printed, flags=re.MULTILINE)
            assert "Bienvenue, Claire Martin" in paste(f"curl -sSf {invitation}").decode()
            (sample,) = re.findall(r"^The sample module in PHP: (\S+)$", printed, flags=re.MULTILINE)
            assert "MC-2026-00001" in paste(f"curl -sS --retry-connrefused --retry 20 {sample}").decode()
            assert f"albi/main-courante #{receipt['index'] + 1}  access  list  c.martin" in demo.stdout.readline()
        finally:
            demo.send_signal(signal.SIGINT)
            demo.wait(timeout=60)
    assert demo.returncode == 0


def paste(command: str) -> bytes:
    """What a shell prints for a pasted command."""
    return subprocess.run([str(shutil.which("bash")), "-c", command], capture_output=True, check=True).stdout


def test_the_demo_removes_nothing_that_is_not_a_demo(tmp_path: Path) -> None:
    """A directory that holds something else is refused, and left as it was."""
    (tmp_path / "precious").write_text("kept")
    done = subprocess.run([COMMAND, "demo", "--directory", str(tmp_path)], capture_output=True, check=False, text=True)
    assert done.returncode == 2
    assert "not a demo" in done.stderr
    assert (tmp_path / "precious").read_text() == "kept"
