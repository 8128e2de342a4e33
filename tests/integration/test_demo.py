"""The demo as a stranger runs it, and the `curl` it prints, pasted."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from threading import Timer
from typing import IO

import orjson
import pytest

from journal.cli import demo, sandbox
from tests.support.ports import free_port

PATIENCE_SECONDS = 300
COMMAND = str(Path(sys.executable).with_name("openepm-journal"))


@pytest.mark.needs("openssl", "curl", "php")
@pytest.mark.long
def test_the_demo_holds_and_what_it_prints_works(tmp_path: Path) -> None:
    """Every step holds; the service left up records the pasted event, and shows it; so it does a page of the sample."""
    environment = os.environ | {"JOURNAL_LISTEN": f"127.0.0.1:{free_port()}", "PYTHONUNBUFFERED": "1"}
    home = leave_waiting(tmp_path / "demo")
    command = [COMMAND, "demo", "--keep-running", "--directory", str(tmp_path / "demo")]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        # What never arrives would be waited for without end.
        patience = Timer(PATIENCE_SECONDS, running.kill)
        patience.start()
        printed = ""
        for line in running.stdout:
            printed += line
            if line == "What arrives:\n":
                break
        try:
            assert "Every step succeeded." in printed, printed
            post, head = re.findall(r"^curl .*?(?:\n(?!\n).*?)*(?=\n\n)", printed, flags=re.MULTILINE)
            (receipt,) = orjson.loads(paste(post))["receipts"]
            assert receipt["origin"] == "openepm-journal/v1/journal.example.fr/albi/main-courante"
            assert orjson.loads(paste(head))["origin"] == receipt["origin"]
            # What waited when an earlier demo was stopped is sent by this one, before or after.
            arrivals = {f"albi/main-courante #{receipt['index']}  consultation  c.martin  MC-2026-0001", "MC-2026-7777"}
            arrivals = {arrival for arrival in arrivals if arrival not in printed}
            while arrivals:
                line = running.stdout.readline()
                assert line
                arrivals = {arrival for arrival in arrivals if arrival not in line}
            assert int((home / "service.pid").read_text()) == running.pid
            (invitation,) = re.findall(r"^The commune's desk, in French: (\S+)$", printed, flags=re.MULTILINE)
            assert "Bienvenue, Claire Martin" in paste(f"curl -sSf {invitation}").decode()
            (sample,) = re.findall(r"^The sample module in PHP: (\S+)$", printed, flags=re.MULTILINE)
            login = "-d compte=c.martin -d passe=exemple"
            assert "MC-2026-00001" in paste(f"curl -sSLb '' --retry-connrefused --retry 20 {login} {sample}").decode()
            read_until(running.stdout, "access  list  c.martin")
        finally:
            patience.cancel()
            running.send_signal(signal.SIGINT)
            running.wait(timeout=60)
    assert running.returncode == 0


def leave_waiting(home: Path) -> Path:
    """Make the sandbox of an earlier demo, in which an event waits; return its directory."""
    home.mkdir()
    (home / demo.MARKER).touch()
    (home / "keys").mkdir()
    sandbox.configure(home / "sandbox", "http://127.0.0.1:9", "0" * 64, "albi", "main-courante")
    code = f"require '{sandbox.CONNECTOR}/OpenepmJournal.php'; OpenepmJournal::fromFile('{home}/sandbox/journal.ini')"
    code += "->agent('c.martin')->consultation('MC-2026-7777', 'Relecture') || exit(1);"
    subprocess.run(["php", "-r", code], check=True)
    return home / "sandbox"


def read_until(lines: IO[str], text: str) -> None:
    """Read lines up to one that holds the text."""
    assert any(text in line for line in lines), text


@pytest.mark.needs("php")
async def test_what_stops_the_sandbox_is_printed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """However often it is tried."""
    leave_waiting(tmp_path / "demo")
    tried = asyncio.Event()
    connections = itertools.count(1)

    async def close(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()
        if next(connections) > 3:
            tried.set()

    server = await asyncio.start_server(close, "127.0.0.1", 0)
    home, url = tmp_path / "demo" / "sandbox", f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    sandbox.configure(home, url, "0" * 64, "albi", "main-courante")
    monkeypatch.setattr(sandbox, "SENDING_SECONDS", 0.01)
    async with server:
        sending = asyncio.create_task(sandbox.send("php", home))
        await tried.wait()
        sending.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await sending
    assert capfd.readouterr().err.count("main-courante : aucune réponse") == 1


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
