"""A PostgreSQL of the test's own, copied and brought back file by file, with the programs an operator has for it."""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from journal.database.binaries import find_binaries
from journal.database.embedded import SUPERUSER, EmbeddedPostgres
from tests.support.memory import choose_directory

if TYPE_CHECKING:
    from collections.abc import Iterator

SLOT = "archive"


def program(server: EmbeddedPostgres, name: str) -> list[str]:
    """Return the beginning of the command line of one of PostgreSQL's programs, for this server."""
    binaries = find_binaries(major=server._cluster.read_major())
    return [str(binaries.directory / name), "-h", server._cluster.socket, "-U", SUPERUSER]


def base_backup(server: EmbeddedPostgres, directory: Path) -> None:
    """Copy the files of the running cluster, with the WAL that makes them whole."""
    command = [*program(server, "pg_basebackup"), "-D", str(directory), "-X", "stream", "-c", "fast"]
    environment = find_binaries(major=server._cluster.read_major()).environment
    subprocess.run(command, check=True, capture_output=True, env=environment)


@contextmanager
def archiving(server: EmbeddedPostgres, directory: Path) -> Iterator[None]:
    """Stream the WAL to a directory, as Barman does, from before the first byte to the block's end."""
    directory.mkdir()
    environment = find_binaries(major=server._cluster.read_major()).environment
    command = [*program(server, "pg_receivewal"), "-D", str(directory), "--slot", SLOT, "--synchronous"]
    subprocess.run([*command, "--create-slot"], check=True, capture_output=True, env=environment)
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as receiver:
        try:
            yield
        finally:
            receiver.send_signal(signal.SIGINT)
            receiver.wait()


@contextmanager
def room(name: str) -> Iterator[Path]:
    """Yield a directory for whole clusters, in memory if there is room; it is removed at the end."""
    with tempfile.TemporaryDirectory(prefix=f"oej-{name}-", dir=choose_directory()) as directory:
        path = Path(directory)
        path.chmod(0o711)
        yield path


@contextmanager
def restored(backup: Path, home: Path) -> Iterator[EmbeddedPostgres]:
    """Start a PostgreSQL on the files of a base backup, in a clean home."""
    root = home / "postgresql"
    root.mkdir(parents=True)
    shutil.copytree(backup, root / "data")
    (root / "data").chmod(0o700)
    with EmbeddedPostgres(home) as server:
        yield server
