"""An embedded PostgreSQL, for machines without one: found, made, started and stopped.

Everything is stored under `<home>/postgresql`: `data` (the cluster), `log` (the server's own, kept a week), `run` (the
socket, no TCP). Access is controlled by the directory's permissions: whoever can enter `run` is trusted.
One process owns the server, its direct child; others attach to it. Two locks coordinate them: the owner holds
`owner.lock` for as long as the server runs, those attached share `clients.lock`.

Trust sentence: whoever can write to this directory can do anything to the database, but cannot sign a seal.
"""

from __future__ import annotations

import contextlib
import fcntl
import time
from typing import IO, TYPE_CHECKING, Final, Self
from urllib.parse import quote

from journal.core.errors import OperatorError
from journal.database.binaries import Mode, Origin, choose_identity, find_binaries, read_fingerprint
from journal.database.cluster import POLL_SECONDS, START_LIMIT_SECONDS, SUPERUSER, Cluster, end

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

    from journal.database.binaries import Binaries, Identity

__all__ = ["DATABASE", "OWNER", "SUPERUSER", "EmbeddedPostgres"]

OWNER: Final = "journal_owner"
DATABASE: Final = "journal"
# A package is unpacked in less.
SETTLED_SECONDS: Final = 5.0


def _lock(path: Path, operation: int) -> IO[bytes] | None:
    """Return the locked file, None if another process holds the lock."""
    file = path.open("ab")
    try:
        fcntl.flock(file, operation | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


class EmbeddedPostgres:
    """The PostgreSQL of one home. `start` owns it, `attach` uses the running one or owns it for a while.

    The server ends with this process, however that ends. Every method raises OperatorError, with the server's message
    if there is one.
    """

    def __init__(self, home: Path, *, origin: Origin = "any", mode: Mode = "any") -> None:
        """Touch nothing yet. `origin` and `mode` choose the binaries and how root becomes an ordinary user."""
        self._root = home.absolute() / "postgresql"
        self._cluster = Cluster(self._root)
        self._origin: Origin = origin
        self._mode: Mode = mode
        self._process: subprocess.Popen[bytes] | None = None
        self._running: tuple[Binaries, Identity, tuple[int, ...] | None] | None = None
        # Programs other than those that run, and since when they have been there.
        self._newer: tuple[tuple[int, ...], float] | None = None
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
        """Return whether the server is this object's child."""
        return self._process is not None

    @property
    def pid(self) -> int | None:
        """Return the postmaster's process id, None while it does not run."""
        return self._cluster.read_postmaster()

    def dsn(self, role: str = OWNER, *, database: str = DATABASE) -> str:
        """Return the address of `database` for `role`."""
        return f"postgresql://{quote(role)}@/{quote(database)}?host={quote(self._cluster.socket)}&port=5432"

    def start(self, *, wait_seconds: float = START_LIMIT_SECONDS) -> None:
        """Own the server: make a missing cluster, start it, return once it accepts connections.

        Waits for a command that owns it briefly; OperatorError if it is still owned after `wait_seconds`.
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
        """Use the running server, or own one until `stop`, which waits for those attached. Return itself."""
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
                if self._cluster.is_ready():
                    self._locks.enter_context(client)
                    return self
                client.close()
            if time.monotonic() > deadline:
                raise OperatorError(f"the PostgreSQL of {self._root} is owned but not ready: see {self._root}/log")
            time.sleep(POLL_SECONDS)

    def stop(self) -> None:
        """Stop the server if this object started it (fast shutdown), else detach."""
        try:
            if self._process is not None:
                if self._waits_for_clients:
                    self._wait_for_clients()
                end(self._process)
        finally:
            self._process = None
            self._locks.close()

    def is_outdated(self) -> bool:
        """Return whether this object's server runs programs that were replaced, and their replacement has settled.

        New sessions of such a server load libraries of another version, and fail.
        """
        if self._process is None or self._running is None:
            return False
        binaries, _, fingerprint = self._running
        found = read_fingerprint(binaries)
        if found is None or found == fingerprint:
            self._newer = None
        elif self._newer is None or self._newer[0] != found:
            self._newer = (found, time.monotonic())
        return self._newer is not None and time.monotonic() - self._newer[1] >= SETTLED_SECONDS

    def restart(self) -> None:
        """Stop this object's server and start it with the programs as they are now.

        OperatorError before it is stopped if they are not of the cluster's version.
        """
        if self._process is None or self._running is None:
            return
        binaries, identity, _ = self._running
        found = find_binaries(self._origin, major=binaries.major)
        end(self._process)
        self._launch(found, identity)

    def _wait_for_clients(self) -> None:
        """Wait until nobody is attached: a command must not lose its database because another one ends."""
        while (clients := _lock(self._root / "clients.lock", fcntl.LOCK_EX)) is None:
            time.sleep(POLL_SECONDS)
        self._locks.enter_context(clients)

    def _make_root(self) -> None:
        try:
            self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise OperatorError(f"the directory of the embedded PostgreSQL cannot be made: {error}") from error

    def _own(self, owner: IO[bytes]) -> None:
        """Start, holding the owner's lock from here on; release it on failure."""
        self._locks.enter_context(owner)
        try:
            identity = choose_identity(self._cluster.data, self._mode)
            self._cluster.end_orphan()
            binaries = find_binaries(self._origin, major=self._cluster.read_major())
            if not self._cluster.data.exists():
                self._cluster.make(binaries, identity)
            self._launch(binaries, identity)
        except BaseException:
            self.stop()
            raise

    def _launch(self, binaries: Binaries, identity: Identity) -> None:
        self._running, self._newer = (binaries, identity, read_fingerprint(binaries)), None
        self._process = self._cluster.launch(binaries, identity)
