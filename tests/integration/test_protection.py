"""What a process keeps from others on the machine: its memory, and the password in its settings."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from journal.core.errors import OperatorError
from journal.database.embedded import OWNER
from journal.settings import load_settings
from journal.signer.connect import NOT_SEPARATED
from tests.support.commands import NOT_RUN, command, plain_line, serving
from tests.support.ports import free_port
from tests.support.serving import Serving, found_site

if TYPE_CHECKING:
    from collections.abc import Iterator

NOBODY = 65534
PASSWORD = "S3cret-p4ssw0rd"
# Become an ordinary user, which makes the kernel hide the memory; then show it, as after any start of a program.
DROP = f"""
import ctypes, os, re, resource, sys
from journal.keys.protection import forget_variable, protect_memory
hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
if os.geteuid() == 0:
    os.setgroups([])
    os.setresgid({NOBODY}, {NOBODY}, {NOBODY})
    os.setresuid({NOBODY}, {NOBODY}, {NOBODY})
    ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)
"""
WAITING = """
protect_memory()
forget_variable("JOURNAL_DSN")
print("ready", flush=True)
sys.stdin.read()
"""
READ_MEMORY = """
first = re.match("([0-9a-f]+)-", open(f"/proc/{sys.argv[1]}/maps").readline())[1]
memory = open(f"/proc/{sys.argv[1]}/mem", "rb")
memory.seek(int(first, 16))
print(len(memory.read(64)))
"""


def shown(pid: int, name: str) -> bytes:
    """Return a file of a process in /proc."""
    return Path(f"/proc/{pid}/{name}").read_bytes()


def core_limits(pid: int) -> list[str]:
    """Return the soft and the hard limit of a process's core dumps."""
    found = re.search(r"^Max core file size +(\S+) +(\S+)", Path(f"/proc/{pid}/limits").read_text(), re.MULTILINE)
    assert found is not None
    return [found[1], found[2]]


@pytest.fixture
def waiting() -> Iterator[subprocess.Popen[str]]:
    """A protected process of an ordinary user, who may write core dumps."""
    with subprocess.Popen(
        [sys.executable, "-c", DROP + WAITING],
        env=os.environ | {"JOURNAL_DSN": f"postgresql://owner:{PASSWORD}@host/db", "OTHER": "kept"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
        process.kill()


def test_memory_is_read_by_nobody(waiting: subprocess.Popen[str]) -> None:
    """Another process of the same user may not open it."""
    line = [sys.executable, "-c", DROP + READ_MEMORY, str(waiting.pid)]
    read = subprocess.run(line, capture_output=True, text=True, check=False)
    assert "PermissionError" in read.stderr
    assert Path(f"/proc/{waiting.pid}/environ").stat().st_uid == 0


def test_no_core_is_left(waiting: subprocess.Popen[str]) -> None:
    """Killed by SIGABRT, it dumps nothing."""
    assert core_limits(waiting.pid) == ["0", "0"]
    waiting.send_signal(signal.SIGABRT)
    _, status = os.waitpid(waiting.pid, 0)
    assert os.WTERMSIG(status) == signal.SIGABRT
    assert not os.WCOREDUMP(status)
    waiting.returncode = -signal.SIGABRT


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may read it")
def test_the_environment_that_root_sees(waiting: subprocess.Popen[str]) -> None:
    """The variable is gone from the memory in which the process was given it; the others are there."""
    given = Path(f"/proc/{waiting.pid}/environ").read_bytes()
    assert PASSWORD.encode() not in given
    assert b"JOURNAL_DSN" not in given
    assert b"OTHER=kept" in given


def test_the_service_protects_itself(tmp_path: Path) -> None:
    """The command does it before anything else."""
    with serving(tmp_path / "var") as (_, process):
        assert core_limits(process.pid) == ["0", "0"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may read it")
async def test_no_process_of_the_service_shows_a_password(dsn: str, tmp_path: Path) -> None:
    """Neither the first process nor a worker has it in its environment, its arguments or its log.

    The log says as well that a signer of the service's own separates nothing.
    """
    site = await found_site(tmp_path, dsn)
    site = replace(site, dsn=dsn.replace(f"//{OWNER}@", f"//{OWNER}:{PASSWORD}@"))
    assert PASSWORD in site.dsn
    async with await Serving.start(site, workers=2) as serving:
        first = serving.process.pid
        children = shown(first, f"task/{first}/children").decode().split()
        assert children
        for pid in (first, *map(int, children)):
            assert PASSWORD.encode() not in shown(pid, "environ") + shown(pid, "cmdline")
        assert await serving.stop() == 0
    said = (tmp_path / "serve.log").read_text(encoding="utf-8")
    assert PASSWORD not in said
    assert NOT_SEPARATED in said


@pytest.mark.parametrize(
    "dsn",
    [
        f"postgresql://owner:{PASSWORD}/x@127.0.0.1:1/journal",
        f"postgresql://owner:{PASSWORD}#x@127.0.0.1:1/journal",
        f"postgresql://owner:1?{PASSWORD}@127.0.0.1:1/journal",
        f"mysql://owner:{PASSWORD}@127.0.0.1:1/journal",
        f"owner:{PASSWORD}@127.0.0.1:1/journal",
        f"postgresql://owner:{PASSWORD}@127.0.0.1:port/journal",
        f"postgresql://owner:{PASSWORD}@127.0.0.1:1/journal",
        f"postgresql://owner:{PASSWORD}@127.0.0.1:1/journal?sslmode=perhaps",
    ],
)
def test_no_error_shows_a_password(tmp_path: Path, dsn: str) -> None:
    """An address that cannot be parsed, or reached, is one line without it."""
    listen = f"127.0.0.1:{free_port()}"
    assert PASSWORD not in plain_line(command(tmp_path, "serve", JOURNAL_DSN=dsn, JOURNAL_LISTEN=listen), NOT_RUN)
    done = command(tmp_path, "doctor", JOURNAL_DSN=dsn, JOURNAL_LISTEN=listen)
    assert done.returncode == NOT_RUN
    assert PASSWORD not in done.stdout + done.stderr


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://journal_owner@/journal?host=%2Frun%2Fpostgresql",
        "postgresql:///journal",
        "postgres://owner:a%2Fb@[::1]:5432,db2:5433/journal?sslmode=verify-full&target_session_attrs=read-write",
    ],
)
def test_addresses_that_are_taken(dsn: str) -> None:
    """What the driver takes, the settings take."""
    assert load_settings({"JOURNAL_DSN": dsn}).dsn == dsn


def test_an_address_that_is_none_is_explained() -> None:
    """The message says how to write a password."""
    with pytest.raises(OperatorError, match="percent-encode"):
        load_settings({"JOURNAL_DSN": f"postgresql://owner:{PASSWORD}/x@host/journal"})
