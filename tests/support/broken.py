"""An installation that tests break, look at by `doctor`, readiness and the log, and mend.

It is a host as an operator has it: a PostgreSQL of its own beside the service, a replica of the key store, the service
under an account that is bound by modes, and a clock that may be wrong.
"""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError
from urllib.request import urlopen

import orjson
import pytest

from journal.clock import SystemClock
from journal.database.embedded import EmbeddedPostgres
from journal.keys.wrapped import make_master_key
from journal.seals.dev_authority import make_development_authority
from tests.support import bound, forks, moved_clock
from tests.support.commands import SERVICE, environment
from tests.support.memory import choose_directory
from tests.support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# The audit, which looks every minute, may have looked while harm was done.
WAIT_SECONDS = 180


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What an operator sees: `doctor` (its code, its lines that are not fine), readiness, and the log since then."""

    code: int
    doctor: list[str]
    readiness: str
    log: list[str]


@dataclass(slots=True, kw_only=True)
class Broken:
    """The installation under `base`: its settings, the service, and what it has logged."""

    base: Path
    settings: dict[str, str]
    database: EmbeddedPostgres
    process: forks.Program | None = None
    log: list[str] = field(default_factory=list)
    # How many lines of it are of before the harm.
    before: int = 0
    # What is said instead of paths and ports of ours.
    places: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Say paths and ports as an installation from the package has them."""
        self.places = {
            str(self.base / "etc"): "/etc/openepm-journal",
            str(self.home): "/var/lib/openepm-journal",
            str(self.replica): "/srv/openepm-journal/keys",
            str(self.base / "server" / "postgresql" / "run"): "/var/run/postgresql",
            f"127.0.0.1:{self.port}": "127.0.0.1:8470",
            f":{self.port}'": ":8470'",
        }

    @property
    def home(self) -> Path:
        """The home of the service."""
        return self.base / "var"

    @property
    def keys(self) -> Path:
        """Its key store."""
        return self.home / "keys"

    @property
    def replica(self) -> Path:
        """The replica of its key store."""
        return self.base / "replica"

    @property
    def master_key(self) -> Path:
        """Its master key."""
        return self.base / "etc" / "master.key"

    @property
    def port(self) -> int:
        """Where it listens on the loopback."""
        return int(self.settings["JOURNAL_LISTEN"].rpartition(":")[2])

    @property
    def url(self) -> str:
        """Where it is called."""
        return f"http://{self.settings['JOURNAL_LISTEN']}"

    # What is done to it

    def move_clock(self, hours: float) -> None:
        """Have the clock of the host wrong by so much."""
        (self.base / "clock" / "seconds").write_text(str(hours * 3600))

    def make_identity(self, at: Any) -> None:
        """Have a signing identity of a development authority, made at this time."""
        identity, trust = self.home / "identity", self.home / "trust.pem"
        make_development_authority(identity, SERVICE, at, trust_path=trust)

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the operator as the service's account does."""
        return forks.run(arguments, environment(self.home, **self.settings), is_bound=bool(bound.program()))

    def module(self) -> str:
        """Add a commune, unless it is there, and a credential that posts for it; return its token."""
        self.command("tenant", "add", "albi", "--name", "Ville d'Albi")
        what = (
            "--role",
            "module",
            "--tenant",
            "albi",
            "--category",
            "main-courante",
            "--source-prefix",
            "/openepm/albi/",
        )
        done = self.command("credential", "add", *what)
        assert done.returncode == 0, done.stderr
        return done.stdout.split()[-1]

    def start(self) -> None:
        """Start the service."""
        self.process = forks.Program(["serve"], environment(self.home, **self.settings), is_bound=bool(bound.program()))
        self.log, self.before = [], 0
        Thread(target=self._read, args=(self.process, self.log), daemon=True).start()

    @staticmethod
    def _read(process: forks.Program, log: list[str]) -> None:
        with process.stderr as stream:
            log.extend(stream)

    def await_listening(self) -> None:
        """Wait until it serves."""
        wait_for(lambda: any(" listens on " in line for line in self.log), lambda: f"{self.log}")

    def started(self) -> None:
        """Start it, and wait until it serves."""
        self.start()
        self.await_listening()

    def stop(self) -> None:
        """Stop it."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(timeout=60)

    def is_over(self) -> bool:
        """Tell whether the service has ended by itself."""
        return self.process is None or self.process.poll() is not None

    def refused(self) -> str:
        """Start it once the cause is there; return the line with which it refuses."""
        self.stop()
        done = self.command("serve")
        assert done.returncode == 2, done.stderr
        return done.stderr.splitlines()[-1]

    # What is seen of it

    def ready(self) -> tuple[int, dict[str, Any]]:
        """Return the status and the answer of readiness; 0 if nobody answers."""
        try:
            with urlopen(f"{self.url}/readyz", timeout=20) as answer:
                return answer.status, orjson.loads(answer.read())
        except HTTPError as error:
            with error:
                return error.code, orjson.loads(error.read())
        except (OSError, ValueError, HTTPException):
            return 0, {}

    def failing(self) -> set[str]:
        """Return the checks that fail in readiness; `nobody` if nobody answers."""
        status, answer = self.ready()
        if not status:
            return {"nobody"}
        return {name for name, result in answer["checks"].items() if result != "ok"}

    def await_failing(self, *names: str) -> None:
        """Wait until readiness fails at these checks, and at no other."""
        wait_for(lambda: self.failing() == set(names), lambda: f"{self.failing()}, not {names}; {self.log[-5:]}")

    def await_one_failing(self, name: str) -> None:
        """Wait until readiness fails at this check, whatever others do."""
        wait_for(lambda: name in self.failing(), lambda: f"{self.failing()}, without {name}; {self.log[-5:]}")

    def doctor(self) -> tuple[int, list[str]]:
        """Return its code, and its warnings and failures, but for the accounts, which are a test's."""
        done = self.command("doctor")
        assert done.stderr == "", done.stderr
        lines = [line for line in done.stdout.splitlines() if line.startswith(("WARN", "FAIL"))]
        return done.returncode, [line for line in lines if not line.startswith("WARN accounts: ")]

    def told(self) -> list[str]:
        """Return the warnings of the log since the harm."""
        return [self.plain(told) for line in self.log[self.before :] if (told := warning_in(line))]

    def await_fine(self) -> None:
        """Wait until doctor has nothing to say: the checks of a busy machine may have been late."""
        wait_for(lambda: self.doctor()[1] == [], lambda: f"{self.doctor()[1]}")

    def look(self, refusal: str = "") -> Seen:
        """Look as an operator does; a `refusal` is the last line of the log of a service that does not start."""
        code, lines = self.doctor()
        status, answer = self.ready()
        readiness = f"{status} {answer.get('detail', answer.get('status'))}" if status else "nobody answers"
        return Seen(
            code=code,
            doctor=[self.plain(line) for line in lines],
            readiness=readiness,
            log=[self.plain(refusal)] if refusal else list(dict.fromkeys(self.told())),
        )

    def plain(self, text: str) -> str:
        """Return a text with the paths and the port that an installation from the package has."""
        for ours, theirs in self.places.items():
            text = text.replace(ours, theirs)
        return text


def warning_in(line: str) -> str | None:
    """Return what a line of the log tells an operator, without its time; None if that is no warning."""
    if not line.startswith("{"):
        return line.rstrip() if line.startswith("openepm-journal: ") else None
    told: dict[str, str] = orjson.loads(line)
    if told.pop("level") not in {"warning", "error"} or told["event"] == "the signer is not separated":
        return None
    told.pop("timestamp")
    event = told.pop("event")
    return event + "".join(f"; {name}: {value}" for name, value in told.items())


def wait_for(condition: Callable[[], bool], told: Callable[[], str]) -> None:
    """Wait until it holds."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, told()
        time.sleep(0.2)


@contextmanager
def running(**settings: str) -> Iterator[Broken]:
    """Give an installation whose service is ready; stop it at the end."""
    with tempfile.TemporaryDirectory(prefix="oej-broken-", dir=choose_directory()) as directory:
        base = Path(directory)
        base.chmod(0o755)
        for name in ("var", "replica", "etc", "clock"):
            (base / name).mkdir()
        server = EmbeddedPostgres(base / "server")
        chosen = {
            "JOURNAL_DSN": "",
            "JOURNAL_LISTEN": f"127.0.0.1:{free_port()}",
            "JOURNAL_MASTER_KEY_FILE": str(base / "etc" / "master.key"),
            "JOURNAL_KEYSTORE_REPLICAS": str(base / "replica"),
        }
        made = Broken(base=base, settings=chosen | moved_clock.arrange(base / "clock") | settings, database=server)
        with server:
            open_to_all(server, base / "server")
            made.settings["JOURNAL_DSN"] = server.dsn()
            make_master_key(made.master_key)
            made.make_identity(SystemClock().now())
            made.start()
            try:
                made.await_listening()
                made.await_failing()
                yield made
            finally:
                made.stop()


def open_to_all(server: EmbeddedPostgres, root: Path) -> None:
    """Let another account reach the server's socket."""
    for path in (root, root / "postgresql", root / "postgresql" / "run"):
        path.chmod(0o755)
    assert server.pid is not None


@contextmanager
def small_disk(directory: Path, size: str = "1m") -> Iterator[None]:
    """Have a directory on a file system of its own, of this size; what is written there is kept."""
    away = directory.with_name("aside")
    copy(directory, away)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(directory)], capture_output=True, check=False
    )
    if done.returncode != 0:
        shutil.rmtree(away)
        pytest.skip("may not mount")
    try:
        copy(away, directory)
        try:
            yield
        finally:
            (directory / "filler").unlink(missing_ok=True)
            shutil.rmtree(away)
            copy(directory, away)
    finally:
        subprocess.run(["umount", str(directory)], check=True)
        copy(away, directory)
        shutil.rmtree(away)


def copy(source: Path, target: Path) -> None:
    """Copy a directory with its owners and modes."""
    subprocess.run(["cp", "-aT", str(source), str(target)], check=True)


def fill(directory: Path) -> Path:
    """Fill the file system of a directory to its end; return the file that does."""
    filler = directory / "filler"
    done = subprocess.run(["dd", "if=/dev/zero", f"of={filler}", "bs=4k"], capture_output=True, text=True, check=False)
    assert re.search("No space left on device", done.stderr), done.stderr
    return filler
