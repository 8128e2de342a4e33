"""Files that survive a power cut: written whole, then synced with their directory."""

from __future__ import annotations

import errno
import os
import secrets
from contextlib import contextmanager, suppress
from threading import Lock
from typing import TYPE_CHECKING, BinaryIO, TypeVar

from journal.keys.privileges import as_the_account

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

PRIVATE = 0o600
PRIVATE_DIRECTORY = 0o700

T = TypeVar("T")


class _Reserve:
    """File descriptors kept for when the process has no other: a flood of connections must not stop a key's write."""

    SIZE = 4  # what one action may open at a time

    def __init__(self) -> None:
        """Hold nothing yet."""
        self._held: list[int] = []
        self._lock = Lock()

    def use(self, action: Callable[[], T]) -> T:
        """Return what the action returns; for want of a descriptor, repeat it with those of the reserve."""
        self._fill()
        try:
            return action()
        except OSError as error:
            if error.errno not in {errno.EMFILE, errno.ENFILE}:
                raise
        with self._lock:
            while self._held:
                os.close(self._held.pop())
            return action()

    def _fill(self) -> None:
        with self._lock, suppress(OSError):
            while len(self._held) < self.SIZE:
                self._held.append(os.open(os.devnull, os.O_RDONLY))


_reserve = _Reserve()
use_reserve = _reserve.use


@contextmanager
def named(path: Path) -> Iterator[None]:
    """Give an error of the system the name of the file it is about, where it has none: a write's has none."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:
            error.filename = str(path)
        raise


def describe(error: Exception) -> str:
    """Return what an error says; the system's with its file, and what to do where that is always the same."""
    if not isinstance(error, OSError):
        return str(error) or type(error).__name__
    what = error.strerror or str(error) or type(error).__name__
    told = f"{error.filename}: {what}" if error.filename else what
    if error.filename and error.errno in {errno.EACCES, errno.EPERM}:
        return f"{told}; let the account of the service read it (namei -l {error.filename} shows where it may not)"
    if error.filename and error.errno == errno.ENOSPC:
        return f"{told}; make room (df -h {error.filename})"
    return told


def sync_directory(directory: Path) -> None:
    """Make the entries of a directory durable, as a rename requires."""
    descriptor = use_reserve(lambda: os.open(directory, os.O_RDONLY | os.O_DIRECTORY))
    try:
        with named(directory):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_file(path: Path) -> bytes:
    """Return the content of a file. Raises OSError."""
    return use_reserve(path.read_bytes)


def is_there(path: str) -> bool:
    """Tell whether there is a file of that name. Raises OSError if that cannot be told."""
    try:
        os.stat(path)  # noqa: PTH116  (a path of names costs ten times as much)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def list_directory(directory: Path) -> list[Path]:
    """Return what is in a directory, hidden files included; empty if there is none. Raises OSError."""
    try:
        return use_reserve(lambda: list(directory.iterdir()))
    except (FileNotFoundError, NotADirectoryError):
        return []


# What to do where a copy of the key store is not writable.
MAKE_WRITABLE = (
    "mount it, or make it writable for the account of the service, and for its units with openepm-journal setup, typed "
    "again"
)


def why_unwritable(directory: Path) -> str | None:
    """Return the system's reason why this account can create no file in a directory; None if it can."""
    with as_the_account():
        try:
            descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            return error.strerror
        os.close(descriptor)
        # No test file is written: those who fetch files from the directory must not see it.
        if os.access(directory, os.W_OK | os.X_OK, effective_ids=True):
            return None
        is_read_only = os.statvfs(directory).f_flag & os.ST_RDONLY
        return os.strerror(errno.EROFS if is_read_only else errno.EACCES)


def make_private_directory(directory: Path) -> None:
    """Make the directory and its parents, mode 0700, durable."""
    missing = [path for path in (directory, *directory.parents) if not path.exists()]
    for path in reversed(missing):
        path.mkdir(mode=PRIVATE_DIRECTORY, exist_ok=True)
        sync_directory(path.parent)


def create_durably(path: Path, content: bytes) -> bool:
    """Create the file whole and durable; False, and nothing is written, if it exists already.

    Of several processes that race, exactly one gets True, and no reader ever sees a partial file.
    """
    temporary = _write_temporary(path, content, PRIVATE)
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    finally:
        temporary.unlink()
        # Also after losing the race: the winner's entry must be durable before it is relied on.
        sync_directory(path.parent)
    return True


def create_all_durably(contents: Mapping[Path, bytes]) -> None:
    """Create files, each whole, all durable at the end; those that exist must have this content.

    On a file system that supports files without a name, nothing else remains of a killed process. One sync of a
    directory for all its files. Raises FileExistsError where a file has another content, OSError.
    """
    for path, content in contents.items():
        try:
            with _nameless(path) as file:
                file.write(content)
        except FileExistsError:
            if read_file(path) != content:
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
    for directory in {path.parent for path in contents}:
        sync_directory(directory)


def replace_durably(path: Path, content: bytes, *, mode: int = PRIVATE, keeps_owner: bool = False) -> None:
    """Write the file whole and durable, replacing any earlier one; `keeps_owner`: with its owner and mode."""
    before = path.stat() if keeps_owner else None
    temporary = _write_temporary(path, content, mode)
    if before is not None:
        temporary.chmod(before.st_mode & 0o777)
        with suppress(PermissionError):  # only root, or a process with its CAP_CHOWN, can give a file away
            os.chown(temporary, before.st_uid, before.st_gid)
    temporary.replace(path)
    sync_directory(path.parent)


@contextmanager
def appear_whole(path: Path) -> Iterator[BinaryIO]:
    """Yield a file that gets its name, durably, only at the end of the block; nothing remains if the block fails.

    On a file system that supports files without a name, nothing remains of a killed process either. Raises
    FileExistsError if the name is taken.
    """
    with _nameless(path) as file:
        yield file
    sync_directory(path.parent)


@contextmanager
def _nameless(path: Path) -> Iterator[BinaryIO]:
    """Yield a file as `appear_whole` does, but leave it to the caller to make its name durable."""
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    temporary: Path | None = None
    try:
        try:
            descriptor = os.open(path.parent, os.O_TMPFILE | os.O_WRONLY, PRIVATE)
        except OSError:  # the file system does not support it
            temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE)
        with named(path), open(descriptor, "wb") as file:  # noqa: PTH123  (a descriptor, not a path)
            yield file
            file.flush()
            os.fsync(descriptor)
            if temporary is None:
                # With `src_dir_fd`, Python follows the symbolic link in /proc; a plain link() would link to it.
                os.link(f"/proc/self/fd/{descriptor}", path, src_dir_fd=directory)
            elif path.exists():
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
            else:
                temporary.rename(path)  # the file system may not support links either
    finally:
        os.close(directory)
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def shred_file(path: Path) -> None:
    """Overwrite the file durably and remove it, if it exists.

    Overwriting is best effort (a copy-on-write file system or a flash disk may keep the old blocks): what is shredded
    here is always wrapped under a master key kept elsewhere.
    """
    try:
        descriptor = use_reserve(lambda: os.open(path, os.O_WRONLY))
    except FileNotFoundError:
        return
    try:
        os.pwrite(descriptor, secrets.token_bytes(os.fstat(descriptor).st_size), 0)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    path.unlink(missing_ok=True)
    sync_directory(path.parent)


def _write_temporary(path: Path, content: bytes, mode: int) -> Path:
    make_private_directory(path.parent)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = use_reserve(lambda: os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode))
    try:
        with named(path):
            with suppress(PermissionError):  # of a file system without modes
                os.fchmod(descriptor, mode)  # whatever the umask
            written = 0
            while written < len(content):
                written += os.write(descriptor, content[written:])
            os.fsync(descriptor)
    except BaseException:
        temporary.unlink()
        raise
    finally:
        os.close(descriptor)
    return temporary
