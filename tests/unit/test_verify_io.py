"""`journal-verify` beside its verdict: files of all kinds, streams that are gone, terminals, interruptions."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from journal.extract.layout import ENTRIES, LIMITS_BYTES, PROOF, SEALS, TABLE
from journal.extract.manifest import Filter
from journal.pki.certificates import PEM_LIMIT_BYTES, der_to_pem
from journal.verifier.cli import main
from tests.support.extracts import ANCHORS, World, march, noon, sample

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]
COMMAND = "import sys; from journal.verifier.cli import main; sys.exit(main())"
# The same, telling on standard error of every file opened to be written, and of every socket.
WATCHED = """
import os, sys
def watch(event, arguments):
    if event.startswith("socket.") or event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        sys.stderr.write(f"{event} {arguments}")
from journal.verifier.cli import main
sys.addaudithook(watch)
sys.exit(main())
"""
# The same, with 10 MiB of memory left once everything is loaded.
CONFINED = """
import resource, sys
from pathlib import Path
from journal.verifier.cli import main
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (10 << 20),) * 2)
sys.exit(main())
"""


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Return a directory with an extract, one refused late, and trusted certificates."""
    extract = sample(requester="Mairie de Nîmes")
    (tmp_path / "good").write_bytes(extract.pack())
    extract.parts = {TABLE: extract.contents()[TABLE] + b"x\n"}
    (tmp_path / "wrong").write_bytes(extract.pack())
    (tmp_path / "trust.pem").write_bytes(der_to_pem(ANCHORS))
    return tmp_path


def run(files: Path, name: str, *arguments: str) -> int:
    """Run the command in this process."""
    return main([str(files / name), "--trust", str(files / "trust.pem"), *arguments])


def start(
    files: Path, name: str, *, code: str = COMMAND, locale: dict[str, str] | None = None, **how: Any
) -> subprocess.CompletedProcess[bytes]:
    """Run the command in a process of its own, with streams as they are given."""
    command = [sys.executable, "-B", "-c", code, files / name, "--trust", files / "trust.pem"]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **how}
    environment = {**os.environ, **(locale or {})}
    return subprocess.run(command, env=environment, cwd=ROOT, check=False, timeout=60, **streams)


# --- what is read


def test_only_files_that_end_are_read(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A pipe without a writer, or a device, does not block: status 2 and one line."""
    os.mkfifo(files / "pipe")
    (files / "directory").mkdir()
    for name, words in (("pipe", "cannot be read twice"), ("directory", "is a directory"), ("absent", "No such file")):
        assert run(files, name) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("journal-verify: ")
        assert words in err
        assert err.count("\n") == 1
    for option in ("--trust", "--tsa-trust", "--known-seal"):
        assert run(files, "good", option, str(files / "pipe")) == 2
        assert "cannot be read twice" in capsys.readouterr().err
    assert run(files, "good", "--trust", "/dev/zero") == 2


def test_a_file_of_certificates_is_bounded(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One that is no such file is not read whole."""
    with (files / "large.pem").open("wb") as file:
        file.truncate(PEM_LIMIT_BYTES * 100)
    assert run(files, "good", "--trust", str(files / "large.pem")) == 2
    assert "large.pem: " in capsys.readouterr().err


def test_a_file_that_cannot_be_read_is_named(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By the system's own word: here a link that leads to itself, and a name too long."""
    (files / "loop").symlink_to(files / "loop")
    for name in ("loop", "n" * 300):
        assert run(files, name) == 2
        err = capsys.readouterr().err
        assert err.startswith("journal-verify: [Errno ")
        assert name in err


def test_nothing_is_written_and_nobody_is_called(files: Path) -> None:
    """Not one file is opened to be written, not one socket made; the files are as they were."""
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files.iterdir()}
    for name, status in (("good", 0), ("wrong", 1)):
        result = start(files, name, code=WATCHED)
        assert (result.returncode, result.stderr) == (status, b"")
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files.iterdir()} == before


def test_a_file_nobody_may_write_is_enough(files: Path) -> None:
    """In a directory nobody may write to."""
    (files / "good").chmod(0o400)
    files.chmod(0o500)
    assert start(files, "good").returncode == 0
    files.chmod(0o700)


# --- where it is told


@pytest.mark.parametrize("name", ["good", "wrong"])
def test_a_verdict_nobody_hears_is_none(files: Path, name: str) -> None:
    """Output to a closed pipe, a full disk or nowhere: status 2 and one line, no traceback."""
    reading, writing = os.pipe()
    os.close(reading)
    with Path("/dev/full").open("wb") as full, os.fdopen(writing, "wb") as broken:
        for stream, words in ((broken, b"Broken pipe"), (full, b"No space left")):
            result = start(files, name, stdout=stream)
            assert result.returncode == 2
            assert result.stderr.startswith(b"journal-verify: the result could not be written: ")
            assert words in result.stderr
            assert result.stderr.count(b"\n") == 1
    result = start(files, name, preexec_fn=lambda: os.close(1))
    assert (result.returncode, result.stderr) == (
        2,
        b"journal-verify: the result could not be written: standard output is closed\n",
    )
    result = start(files, name, preexec_fn=lambda: (os.close(1), os.close(2)))
    assert (result.returncode, result.stdout, result.stderr) == (2, b"", b"")


def test_streams_that_fail_in_this_process(files: Path) -> None:
    """The same, seen from inside."""
    heard = io.StringIO()
    with Path("/dev/full").open("w") as full, redirect_stderr(heard), redirect_stdout(full):
        assert run(files, "good") == 2
    assert "could not be written" in heard.getvalue()
    with redirect_stdout(None), redirect_stderr(None):
        assert run(files, "good") == 2


@pytest.mark.parametrize(
    "locale",
    [
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "latin-1"},
    ],
    ids=str,
)
def test_a_terminal_without_the_characters_still_gets_the_verdict(files: Path, locale: dict[str, str]) -> None:
    """What it cannot show is escaped; the verdict and the status are the same."""
    (files / "filtered").write_bytes(sample(requester="Mairie de Nîmes ☃", selection=Filter(subject="é")).pack())
    result = start(files, "filtered", locale=locale)
    assert result.returncode == 0
    assert result.stdout.startswith(b"VERIFIED")
    assert b"\\u2603" in result.stdout
    with_json = start(
        files, "filtered", locale=locale, code=COMMAND.replace("main()", "main([*sys.argv[1:], '--json'])")
    )
    assert b"Mairie de N\\u00eemes" in with_json.stdout


def test_a_name_that_is_not_utf_8_is_told(files: Path) -> None:
    """Bytes of a file name that are no character are escaped."""
    result = start(files, os.fsdecode(b"\xffabsent"))
    assert result.returncode == 2
    assert b"absent" in result.stderr
    assert result.stderr.count(b"\n") == 1


# --- progress, interruption, failure


def shown(files: Path, name: str) -> tuple[int, bytes]:
    """Run the command with standard error on a terminal; return its status and what the terminal got."""
    master, slave = os.openpty()
    with os.fdopen(slave, "wb") as terminal:
        result = start(files, name, stderr=terminal, stdout=subprocess.DEVNULL)
        terminal.write(b"END")
    got = b""
    while not got.endswith(b"END"):
        got += os.read(master, 1000)
    os.close(master)
    return result.returncode, got[:-3]


@pytest.mark.parametrize(("name", "status"), [("good", 0), ("wrong", 1)])
def test_progress_is_one_line_that_is_wiped(files: Path, name: str, status: int) -> None:
    """On a terminal; the verdict, good or bad, then begins a clean line. Elsewhere there is none."""
    returned, got = shown(files, name)
    assert returned == status
    first, *lines = got.split(b"\r")
    assert first == b""
    assert lines[0].startswith(b"verifying: ")
    assert lines[-1] == b"\33[K"
    percents = [int(line[len("verifying: ") : -2]) for line in lines[:-1]]
    assert percents == sorted(set(percents))
    assert start(files, name).stderr == b""


def test_an_extract_without_a_byte_to_read_has_progress_too(files: Path) -> None:
    """Where entries, proof and table are empty there is nothing to divide by."""
    extract = World().live(1, 3, entries=0).extract(march(2), march(3), at=noon(march(4)))
    extract.parts = {ENTRIES: b"", PROOF: b"", TABLE: b""}
    (files / "hollow").write_bytes(extract.pack())
    assert shown(files, "hollow")[0] == 1


class _Terminal(io.StringIO):
    """A terminal on which something happens once, when the first progress is shown."""

    def __init__(self, happen: Callable[[], object]) -> None:
        super().__init__()
        self._happen: Callable[[], object] | None = happen

    def isatty(self) -> bool:
        return True

    def flush(self) -> None:
        happen, self._happen = self._happen, None
        if happen is not None:
            happen()


def _fail() -> None:
    raise RuntimeError("unforeseen")


def _interrupt() -> None:
    # What runs in the background of a shell begins with interruptions ignored: this one is not.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


def _hang_up() -> None:
    raise OSError("Input/output error")


@pytest.mark.parametrize(
    ("happen", "words"),
    [
        (_interrupt, "interrupted: nothing is verified"),
        (_fail, "the verifier failed, which says nothing about the extract: RuntimeError('unforeseen')"),
        (_hang_up, "Input/output error"),
    ],
    ids=["interrupted", "unforeseen", "hung up"],
)
def test_what_keeps_us_from_a_verdict_accuses_nobody(
    files: Path, happen: Callable[[], object], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """An interruption, a fault of our own, a terminal that is gone: status 2, no verdict, no traceback."""
    terminal = _Terminal(happen)
    with redirect_stderr(terminal):
        assert run(files, "good") == 2
    assert terminal.getvalue().endswith(f"\r\33[Kjournal-verify: {words}\n")
    assert capsys.readouterr().out == ""


def test_too_little_memory_is_no_verdict(files: Path) -> None:
    """An extract of the largest size, signed, on a machine too small for it: status 2."""
    extract = sample()
    extract.parts = {SEALS: b" " * LIMITS_BYTES[SEALS]}
    (files / "large").write_bytes(extract.pack())
    result = start(files, "large", code=CONFINED)
    assert (result.returncode, result.stdout) == (2, b"")
    assert (
        result.stderr == b"journal-verify: the verifier failed, which says nothing about the extract: MemoryError()\n"
    )
