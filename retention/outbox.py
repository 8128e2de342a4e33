"""The directory of a commune's hand-over: a file appears complete and durable under its name, or not at all.

Trust sentence: a writer of the directory can remove or replace files, but not forge them: inventories and extracts are
signed, and encryption is authenticated; and have nothing else written, as no link is followed where a file is begun. A
reader learns the names and sizes of the files.
"""

from __future__ import annotations

import errno
import fcntl
import os
from contextlib import suppress
from hashlib import sha256
from typing import TYPE_CHECKING, Self

from journal.keys.files import sync_directory

if TYPE_CHECKING:
    from pathlib import Path

# Encrypted, and fetched by members of the group.
FILE_MODE, DIRECTORY_MODE = 0o640, 0o750
INHERITED = 0o7000
PART = ".part"
READ_BYTES = 1024 * 1024


class HeldError(Exception):
    """Another run has locked this directory."""


class Outbox:
    """One commune's directory, locked by one run at a time until `close`. Every method may raise OSError."""

    def __init__(self, directory: Path, lock: int) -> None:
        """Work in a directory whose lock is held; use `hold`."""
        self._directory = directory
        self._lock = lock

    @classmethod
    def hold(cls, root: Path, tenant: str) -> Self:
        """Lock `root`/`tenant`, creating it if missing; `root` must exist, so that an unmounted file system is noticed.

        Raises HeldError where another run has locked it, OSError.
        """
        if not root.is_dir():
            number = errno.ENOTDIR if root.exists() else errno.ENOENT
            raise OSError(number, os.strerror(number), str(root))
        directory = root / tenant
        if not directory.is_dir():
            directory.mkdir(mode=DIRECTORY_MODE)
            _share(directory, DIRECTORY_MODE)
            sync_directory(root)
        # A file rather than the directory: network file systems refuse a lock on what is open only for reading.
        lock = os.open(directory / ".lock", os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, FILE_MODE)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(lock)
            if isinstance(error, BlockingIOError):
                raise HeldError from error
            raise
        return cls(directory, lock)

    def close(self) -> None:
        """Unlock; the end of the process does the same."""
        os.close(self._lock)

    def path(self, name: str) -> Path:
        """Return the path of a file of this name."""
        return self._directory / name

    def put(self, name: str, content: bytes) -> None:
        """Write a small file, complete and durable, in place of what was there."""
        part = self.create(name)
        part.write(content)
        part.finish()
        self.place(name)

    def create(self, name: str) -> Part:
        """Begin a file; it gets its name from `place`."""
        return Part(self._directory / (name + PART))

    def place(self, name: str) -> None:
        """Give a finished file its name."""
        (self._directory / (name + PART)).replace(self._directory / name)
        sync_directory(self._directory)

    def discard(self, name: str) -> None:
        """Remove a finished file that has not got its name."""
        (self._directory / (name + PART)).unlink(missing_ok=True)

    def holds(self, name: str, digest: bytes) -> bool:
        """Tell whether a file of this name is there with this SHA-256."""
        path = self._directory / name
        if not path.is_file():
            return False
        hash_ = sha256()
        with path.open("rb") as file:
            while block := file.read(READ_BYTES):
                hash_.update(block)
        return hash_.digest() == digest

    def clear(self) -> None:
        """Remove unfinished files of earlier runs: the lock excludes any other writer."""
        for part in self._directory.glob(f"*{PART}"):
            part.unlink()


class Part:
    """A file being written and hashed."""

    def __init__(self, path: Path) -> None:
        """Begin it, in place of what an earlier attempt left: a link that lies there is not followed."""
        self._path = path
        self._hash = sha256()
        self.bytes = 0
        path.unlink(missing_ok=True)
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
        _share(self._descriptor, FILE_MODE)

    @property
    def digest(self) -> bytes:
        """The SHA-256 of what was written."""
        return self._hash.digest()

    def write(self, data: bytes) -> None:
        """Write all of it."""
        self._hash.update(data)
        self.bytes += len(data)
        while data:
            data = data[os.write(self._descriptor, data) :]

    def finish(self) -> None:
        """Make it durable and close it."""
        os.fsync(self._descriptor)
        self._close()

    def abandon(self) -> None:
        """Close and remove it; raises OSError where that fails as well."""
        self._close()
        self._path.unlink(missing_ok=True)

    def _close(self) -> None:
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)


def _share(place: Path | int, mode: int) -> None:
    """Set the mode whatever the service's umask, keeping inherited bits; ignored where the file system has no modes.

    `place` is a descriptor where somebody else may put a link under the name.
    """
    with suppress(OSError):
        os.chmod(place, os.stat(place).st_mode & INHERITED | mode)  # noqa: PTH101, PTH116  (a descriptor has no path)
