"""One PostgreSQL cluster in its directory: make, start, inspect, stop. Who may do so is `postgres`'s matter."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import IO, Final

import sql
from journal.core.errors import OperatorError
from journal.database.binaries import Binaries, Identity, command_as, run

SUPERUSER: Final = "postgres"
# A Unix socket's path must fit the 108 bytes of sockaddr_un, its `.s.PGSQL.5432.lock` twin too.
SOCKET_PATH_LIMIT_BYTES: Final = 100
START_LIMIT_SECONDS: Final = 60.0
STOP_LIMIT_SECONDS: Final = 60.0
POLL_SECONDS: Final = 0.02

_ORPHANED: Final = "pre-existing shared memory block"

SETTINGS: Final = {
    "listen_addresses": "",
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "data_sync_retry": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "jit": "off",
    "shared_buffers": "256MB",
    "max_wal_size": "2GB",
    "min_wal_size": "512MB",
    "max_connections": "200",
    # No statements, values or rows (from the details of errors) in the log.
    "log_error_verbosity": "terse",
    "log_statement": "none",
    "log_min_error_statement": "panic",
    "log_min_duration_statement": "-1",
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
    "logging_collector": "on",
    "log_filename": "postgresql-%a.log",
    "log_truncate_on_rotation": "on",
    "log_rotation_age": "1d",
    "log_rotation_size": "0",
}


class Cluster:
    """The cluster under `root`: `data`, its `log`, its socket in `run` (or elsewhere where that path is too long).

    Every method raises OperatorError, with PostgreSQL's own message if there is one.
    """

    def __init__(self, root: Path) -> None:
        """Touch nothing yet."""
        self.root = root
        self.data = root / "data"

    @property
    def socket(self) -> str:
        """Return the directory of the socket, as recorded by the last start."""
        return (self.root / "socket").read_text(encoding="utf-8")

    def read_major(self) -> int | None:
        """Return the major version that made the cluster, None if there is no cluster."""
        version = self.data / "PG_VERSION"
        return int(version.read_text(encoding="ascii")) if version.exists() else None

    def read_postmaster(self) -> int | None:
        """Return the pid of a live postmaster of this cluster.

        A pid file outlives a crash, and its number may by then be anyone's: what a postmaster was told to serve (`-D`)
        is its cluster, so that is what is compared. A zombie has no arguments. Its working directory says the same,
        but is hidden from a root that lacks CAP_SYS_PTRACE, as in a container.
        """
        try:
            pid = int((self.data / "postmaster.pid").read_text(encoding="utf-8").split("\n")[0])
            arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            directory = Path(os.fsdecode(arguments[arguments.index(b"-D") + 1]))
        except (OSError, ValueError):
            return None
        return pid if directory.resolve() == self.data.resolve() else None

    def is_ready(self) -> bool:
        """Return whether the running postmaster accepts connections (line 8 of its pid file)."""
        if self.read_postmaster() is None:
            return False
        with contextlib.suppress(OSError, IndexError):
            lines = (self.data / "postmaster.pid").read_text(encoding="utf-8").split("\n")
            return lines[7].strip() == "ready"
        return False

    def end_orphan(self) -> None:
        """End a server whose owner has ended, and remove a stale pid file.

        We hold the owner's lock: a server that still runs on this cluster is stopping, or was left by a crash.
        """
        deadline = time.monotonic() + STOP_LIMIT_SECONDS
        while (pid := self.read_postmaster()) is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGINT)
            if time.monotonic() > deadline:
                raise OperatorError(f"process {pid} still runs on {self.data} and does not stop")
            time.sleep(POLL_SECONDS)
        # PostgreSQL would refuse to start because a process of that number exists. Its own check of the shared
        # memory segment still refuses a second server on the same cluster.
        (self.data / "postmaster.pid").unlink(missing_ok=True)

    def make(self, binaries: Binaries, identity: Identity) -> None:
        """Make the cluster, its owner role and its database; it appears under its name only when whole."""
        new = self.root / "data.new"
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(mode=0o700)
        if identity.mode == "drop":
            _chown_tree(new, identity)
        options = ["--encoding=UTF8", "--locale=C", "--auth=trust", "--data-checksums", f"--username={SUPERUSER}"]
        self._run(binaries, identity, ["initdb", "-D", str(new), *options, "--no-instructions"])
        # Single-user mode needs no client program: each statement ends with a semicolon and an empty line.
        script = (sql.read("embedded.sql") + sql.read("roles.sql") + "\n").encode()
        self._run(binaries, identity, ["postgres", "--single", "-j", "-D", str(new), SUPERUSER], script)
        new.rename(self.data)
        # Without this a power cut could undo the rename, and the next start would make another cluster.
        directory = os.open(self.root, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def _prepare(self, identity: Identity) -> None:
        """Make the directories that the server writes, and give them (and the cluster) to its user."""
        (self.root / "log").mkdir(mode=0o700, exist_ok=True)
        socket = self.root / "run"
        if len(os.fsencode(socket / ".s.PGSQL.5432.lock")) < SOCKET_PATH_LIMIT_BYTES:
            socket.mkdir(mode=0o700, exist_ok=True)
        else:
            recorded = self.root / "socket"
            known = Path(recorded.read_text(encoding="utf-8")) if recorded.exists() else None
            socket = (
                known if known and _is_private(known, identity) else Path(tempfile.mkdtemp(prefix="oej-", dir="/tmp"))
            )
        (self.root / "socket").write_text(str(socket), encoding="utf-8")
        if identity.mode == "drop":
            for directory in (self.data, self.root / "log", socket):
                _chown_tree(directory, identity)

    def launch(self, binaries: Binaries, identity: Identity) -> subprocess.Popen[bytes]:
        """Start the server as a child and return it once it accepts connections."""
        self._prepare(identity)
        settings = SETTINGS | {"unix_socket_directories": self.socket, "log_directory": str(self.root / "log")}
        settings["wal_compression"] = self._choose_compression(binaries, identity)
        command = [str(binaries.directory / "postgres"), "-D", str(self.data)]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        command = command_as(identity, command)
        deadline = time.monotonic() + START_LIMIT_SECONDS
        while True:
            with (self.root / "start.log").open("wb") as output:
                process = _spawn(command, environment=binaries.environment, output=output)
            while process.poll() is None and not self.is_ready() and time.monotonic() < deadline:
                time.sleep(POLL_SECONDS)
            if self.is_ready():
                return process
            end(process)
            words = (self.root / "start.log").read_text(encoding="utf-8", errors="replace").strip()
            # The processes of a killed server run until their statement ends.
            if _ORPHANED not in words or time.monotonic() > deadline:
                raise OperatorError(f"PostgreSQL did not start: {words} (more in {self.root}/log)")
            time.sleep(POLL_SECONDS)

    def _choose_compression(self, binaries: Binaries, identity: Identity) -> str:
        """Return lz4 if these binaries were built with it, else PostgreSQL's default method."""
        command = ["postgres", "-D", str(self.data), "-C", "wal_compression", "-c", "wal_compression=lz4"]
        try:
            return self._run(binaries, identity, command).decode().strip()
        except OperatorError:
            return "on"

    def _run(self, binaries: Binaries, identity: Identity, command: list[str], script: bytes = b"") -> bytes:
        """Run one PostgreSQL program to its end and return what it printed."""
        command = [str(binaries.directory / command[0]), *command[1:]]
        done = run(identity, command, environment=binaries.environment, script=script)
        # Single-user mode exits 0 even if statements fail.
        if done.returncode != 0 or b"ERROR:" in done.stderr or b"FATAL:" in done.stderr:
            raise OperatorError(f"{Path(command[0]).name} failed: {done.stderr.decode(errors='replace').strip()}")
        return done.stdout


def _spawn(command: list[str], *, environment: dict[str, str], output: IO[bytes]) -> subprocess.Popen[bytes]:
    """Start a child from a thread that lasts as long as it does.

    The kernel signals the end of the parent when the *thread* that started the child ends; the caller's may be of a
    pool and end earlier.
    """
    started: SimpleQueue[subprocess.Popen[bytes] | OSError] = SimpleQueue()

    def hold() -> None:
        try:
            process = subprocess.Popen(  # noqa: S603  # a list, no shell, made of paths of ours
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment,
                cwd="/",
                # A Ctrl-C at the terminal is for the service, which stops the server when it has drained.
                start_new_session=True,
            )
        except OSError as error:
            started.put(error)
            return
        started.put(process)
        process.wait()

    Thread(target=hold, name="postgres", daemon=True).start()
    process = started.get()
    if isinstance(process, OSError):
        raise OperatorError(f"PostgreSQL could not be started: {process}") from process
    return process


def end(process: subprocess.Popen[bytes]) -> None:
    """Shut down: fast, then immediate, then by SIGKILL."""
    for signal_number in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
        process.send_signal(signal_number)
        try:
            process.wait(STOP_LIMIT_SECONDS)
        except subprocess.TimeoutExpired:
            continue
        return


def _is_private(directory: Path, identity: Identity) -> bool:
    """Return whether a directory we made is still ours alone: anyone may reuse a free name in /tmp."""
    try:
        status = directory.lstat()
    except FileNotFoundError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid in {os.geteuid(), identity.uid} and not status.st_mode & 0o077


def _chown_tree(directory: Path, identity: Identity) -> None:
    """Give a directory and all it holds to the server's user; links are not followed."""
    for path, _, files in os.walk(directory):
        os.chown(path, identity.uid, identity.gid)
        for name in files:
            os.chown(Path(path) / name, identity.uid, identity.gid, follow_symlinks=False)
