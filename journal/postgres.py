"""An own small PostgreSQL, for machines where none was set up: found, made, started and stopped.

Everything lives under `<home>/postgresql`: `data` (the cluster), `log` (the server's own, kept a week), `run` (the
socket, no TCP). Access is by the directory's permissions alone: whoever can enter `run` is trusted.
One process owns the server, its direct child; others attach to it. Two locks keep them apart: `owner.lock` is held
by the owner for as long as the server runs, `clients.lock` is shared by whoever attached.

Trust sentence: whoever can write to this directory can do anything to the database, but cannot sign a seal.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import IO, Final, Self
from urllib.parse import quote

import sql
from journal.errors import OperatorError
from journal.postgres_binaries import (
    Binaries,
    Identity,
    Mode,
    Origin,
    choose_identity,
    command_as,
    find_binaries,
    run,
)

OWNER: Final = "journal_owner"
SUPERUSER: Final = "postgres"
DATABASE: Final = "journal"
# A Unix socket's path must fit the 108 bytes of sockaddr_un, its `.s.PGSQL.5432.lock` twin too.
SOCKET_PATH_LIMIT_BYTES: Final = 100
START_LIMIT_SECONDS: Final = 60.0
STOP_LIMIT_SECONDS: Final = 60.0
POLL_SECONDS: Final = 0.02

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
    # Neither statements nor their values are ever in the log, nor the rows that an error's detail would quote.
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


def _lock(path: Path, operation: int) -> IO[bytes] | None:
    """Return the open file once locked, None where another holds it."""
    file = path.open("ab")
    try:
        fcntl.flock(file, operation | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


class EmbeddedPostgres:
    """The PostgreSQL of one home. `start` owns it, `attach` uses the running one or owns it for a while.

    The server ends with this process, however that ends. Every method raises OperatorError, with the server's own
    words where it spoke.
    """

    def __init__(self, home: Path, *, origin: Origin = "any", mode: Mode = "any") -> None:
        """Prepare; nothing is touched. `origin` and `mode` force which binaries and how root becomes ordinary."""
        self._root = home.absolute() / "postgresql"
        self._data = self._root / "data"
        self._origin: Origin = origin
        self._mode: Mode = mode
        self._process: subprocess.Popen[bytes] | None = None
        self._locks = contextlib.ExitStack()
        self._waits_for_clients = False

    def __enter__(self) -> Self:
        """Start."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self.stop()

    @property
    def owned(self) -> bool:
        """Whether the server is this object's child."""
        return self._process is not None

    @property
    def pid(self) -> int | None:
        """The postmaster's process id, None while it does not run."""
        return self._read_postmaster()

    def dsn(self, role: str = OWNER, *, database: str = DATABASE) -> str:
        """Return the address of `database` for `role`."""
        directory = (self._root / "socket").read_text(encoding="utf-8")
        return f"postgresql://{quote(role)}@/{quote(database)}?host={quote(directory)}&port=5432"

    def start(self, *, wait_seconds: float = START_LIMIT_SECONDS) -> None:
        """Own the server: make the cluster where there is none, start it, return once it takes connections.

        Waits for a command that owns it for a moment; OperatorError if it is still owned after `wait_seconds`.
        """
        self._make_root()
        deadline = time.monotonic() + wait_seconds
        while True:
            owner = _lock(self._root / "owner.lock", fcntl.LOCK_EX)
            if owner is not None:
                break
            if time.monotonic() > deadline:
                raise OperatorError(f"another process runs the PostgreSQL of {self._root}: stop it first")
            time.sleep(POLL_SECONDS)
        self._own(owner)

    def attach(self) -> Self:
        """Use the running server, or own one until `stop`, which waits for whoever attached to it. Returns itself."""
        self._make_root()
        deadline = time.monotonic() + START_LIMIT_SECONDS
        while True:
            owner = _lock(self._root / "owner.lock", fcntl.LOCK_EX)
            if owner is not None:
                self._waits_for_clients = True
                self._own(owner)
                return self
            client = _lock(self._root / "clients.lock", fcntl.LOCK_SH)
            if client is not None:
                if self._is_ready():
                    self._locks.enter_context(client)
                    return self
                client.close()
            if time.monotonic() > deadline:
                raise OperatorError(f"the PostgreSQL of {self._root} is owned but not ready: see {self._root}/log")
            time.sleep(POLL_SECONDS)

    def stop(self) -> None:
        """Stop what this object started (fast shutdown), let go of what it attached to."""
        try:
            if self._process is not None:
                if self._waits_for_clients:
                    self._wait_for_clients()
                self._end(self._process)
        finally:
            self._process = None
            self._locks.close()

    def _wait_for_clients(self) -> None:
        """Wait until nobody is attached: a command must not lose its database because another one ended."""
        while (clients := _lock(self._root / "clients.lock", fcntl.LOCK_EX)) is None:
            time.sleep(POLL_SECONDS)
        self._locks.enter_context(clients)

    def _make_root(self) -> None:
        try:
            self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise OperatorError(f"the embedded PostgreSQL has no home: {error}") from error

    def _own(self, owner: IO[bytes]) -> None:
        """Start, holding the owner's lock from here on; let go of it on failure."""
        self._locks.enter_context(owner)
        try:
            identity = choose_identity(self._data, self._mode)
            self._end_orphan()
            binaries = find_binaries(self._origin, major=self._read_data_major())
            if not self._data.exists():
                self._make_cluster(binaries, identity)
            self._give(identity)
            self._launch(binaries, identity)
        except BaseException:
            self.stop()
            raise

    def _read_data_major(self) -> int | None:
        """Return the major version the cluster was made by, None where there is no cluster."""
        version = self._data / "PG_VERSION"
        return int(version.read_text(encoding="ascii")) if version.exists() else None

    def _read_postmaster(self) -> int | None:
        """Return the pid of a live postmaster of this cluster.

        A pid file outlives a crash, and its number may by then be anyone's: a postmaster's working directory is
        its cluster, so that is what is compared. A zombie has none.
        """
        try:
            pid = int((self._data / "postmaster.pid").read_text(encoding="utf-8").split("\n")[0])
            directory = Path(f"/proc/{pid}/cwd").readlink()
        except (OSError, ValueError):
            return None
        return pid if directory == self._data.resolve() else None

    def _is_ready(self) -> bool:
        """Say whether the running postmaster takes connections (line 8 of its pid file)."""
        if self._read_postmaster() is None:
            return False
        with contextlib.suppress(OSError, IndexError):
            lines = (self._data / "postmaster.pid").read_text(encoding="utf-8").split("\n")
            return lines[7].strip() == "ready"
        return False

    def _end_orphan(self) -> None:
        """End a server whose owner is gone, and put away a pid file that names a stranger.

        We hold the owner's lock: whatever still runs on this cluster is stopping, or was left by a crash.
        """
        deadline = time.monotonic() + STOP_LIMIT_SECONDS
        while (pid := self._read_postmaster()) is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGINT)
            if time.monotonic() > deadline:
                raise OperatorError(f"process {pid} still runs on {self._data} and does not stop")
            time.sleep(POLL_SECONDS)
        # PostgreSQL would refuse to start because a process of that number exists. Its own check of the shared
        # memory segment still refuses a second server on the same cluster.
        (self._data / "postmaster.pid").unlink(missing_ok=True)

    def _give(self, identity: Identity) -> None:
        """Make the directories that the server writes, and give them (and the cluster) to its user."""
        (self._root / "log").mkdir(mode=0o700, exist_ok=True)
        socket = self._root / "run"
        if len(os.fsencode(socket / ".s.PGSQL.5432.lock")) >= SOCKET_PATH_LIMIT_BYTES:
            recorded = self._root / "socket"
            known = Path(recorded.read_text(encoding="utf-8")) if recorded.exists() else socket
            socket = known if known.is_dir() and known != socket else Path(tempfile.mkdtemp(prefix="oej-", dir="/tmp"))
        socket.mkdir(mode=0o700, exist_ok=True)
        (self._root / "socket").write_text(str(socket), encoding="utf-8")
        if identity.mode == "drop":
            self._check_reachable(identity)
            self._root.chmod(0o711)
            for directory in (self._data, self._root / "log", socket):
                _chown_tree(directory, identity)

    def _check_reachable(self, identity: Identity) -> None:
        """Refuse a home that the dropped user cannot enter: PostgreSQL would say it less plainly."""
        for parent in self._root.parents:
            status = parent.stat()
            mine = status.st_uid == identity.uid and status.st_mode & 0o100
            if not mine and not status.st_mode & 0o001:
                raise OperatorError(
                    f"PostgreSQL cannot run as root here (user namespaces are refused), and the account it would use "
                    f"cannot enter {parent}: move JOURNAL_HOME elsewhere, or run as an ordinary user"
                )

    def _make_cluster(self, binaries: Binaries, identity: Identity) -> None:
        """Make the cluster, its owner role and its database; it appears under its name only when whole."""
        new = self._root / "data.new"
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(mode=0o700)
        if identity.mode == "drop":
            self._check_reachable(identity)
            self._root.chmod(0o711)
            _chown_tree(new, identity)
        options = ["--encoding=UTF8", "--locale=C", "--auth=trust", "--data-checksums", f"--username={SUPERUSER}"]
        self._run(binaries, identity, ["initdb", "-D", str(new), *options, "--no-instructions"])
        # Single-user mode needs no client program: each statement ends with a semicolon and an empty line.
        script = (sql.read("embedded.sql") + sql.read("roles.sql") + "\n").encode()
        self._run(binaries, identity, ["postgres", "--single", "-j", "-D", str(new), SUPERUSER], script)
        new.rename(self._data)

    def _run(self, binaries: Binaries, identity: Identity, command: list[str], script: bytes = b"") -> bytes:
        """Run one PostgreSQL program to its end and return what it printed."""
        command = [str(binaries.directory / command[0]), *command[1:]]
        done = run(identity, command, environment=binaries.environment, script=script)
        # Single-user mode exits 0 whatever happened to its statements.
        if done.returncode != 0 or b"ERROR:" in done.stderr or b"FATAL:" in done.stderr:
            raise OperatorError(f"{Path(command[0]).name} failed: {done.stderr.decode(errors='replace').strip()}")
        return done.stdout

    def _launch(self, binaries: Binaries, identity: Identity) -> None:
        """Start the server and wait until it takes connections."""
        socket = (self._root / "socket").read_text(encoding="utf-8")
        settings = SETTINGS | {"unix_socket_directories": socket, "log_directory": str(self._root / "log")}
        settings["wal_compression"] = self._choose_compression(binaries, identity)
        command = [str(binaries.directory / "postgres"), "-D", str(self._data)]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        said = self._root / "start.log"
        with said.open("wb") as output:
            self._process = _spawn(command_as(identity, command), environment=binaries.environment, output=output)
        deadline = time.monotonic() + START_LIMIT_SECONDS
        while not self._is_ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                words = said.read_text(encoding="utf-8", errors="replace").strip()
                raise OperatorError(f"PostgreSQL did not start: {words} (more in {self._root}/log)")
            time.sleep(POLL_SECONDS)

    def _choose_compression(self, binaries: Binaries, identity: Identity) -> str:
        """Return lz4 where these binaries were built with it, else PostgreSQL's own."""
        command = ["postgres", "-D", str(self._data), "-C", "wal_compression", "-c", "wal_compression=lz4"]
        try:
            return self._run(binaries, identity, command).decode().strip()
        except OperatorError:
            return "on"

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        """Shut down: fast, then immediate, then by force."""
        for signal_number in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
            process.send_signal(signal_number)
            try:
                process.wait(STOP_LIMIT_SECONDS)
            except subprocess.TimeoutExpired:
                continue
            return


def _spawn(command: list[str], *, environment: dict[str, str], output: IO[bytes]) -> subprocess.Popen[bytes]:
    """Start a child from a thread that lasts as long as it does.

    The kernel tells a child that its parent is gone when the *thread* that made it ends: the caller's may be a
    pool's, which ends earlier.
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


def _chown_tree(directory: Path, identity: Identity) -> None:
    """Give a directory and all it holds to the server's user; links are not followed."""
    for path, _, files in os.walk(directory):
        os.chown(path, identity.uid, identity.gid)
        for name in files:
            os.chown(Path(path) / name, identity.uid, identity.gid, follow_symlinks=False)
