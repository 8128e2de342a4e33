"""Files that survive a power cut: written whole, then made durable with their directory."""

from __future__ import annotations

import errno
import os
import secrets
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PRIVATE = 0o600
PRIVATE_DIRECTORY = 0o700


def sync_directory(directory: Path) -> None:
    """Make the directory's own entries durable (a rename is not, until then)."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def why_unwritable(directory: Path) -> str | None:
    """Return, in the system's words, why no file can be put into a directory; None where one can."""
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        return error.strerror
    os.close(descriptor)
    # Nothing is written to find out: whoever fetches what is there must not meet a probe.
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


def create_durably(path: Path, content: bytes, *, mode: int = PRIVATE) -> bool:
    """Create the file whole and durable; False, and nothing written, if it is there already.

    Several processes may race: exactly one of them gets True, and no reader ever sees half a file.
    """
    temporary = _write_temporary(path, content, mode)
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    finally:
        temporary.unlink()
        # Also after losing the race: the winner's entry must be durable before we rely on it.
        sync_directory(path.parent)
    return True


def replace_durably(path: Path, content: bytes, *, mode: int = PRIVATE) -> None:
    """Write the file whole and durable, in place of what was there."""
    temporary = _write_temporary(path, content, mode)
    temporary.replace(path)
    sync_directory(path.parent)


@contextmanager
def appear_whole(path: Path) -> Iterator[BinaryIO]:
    """Lend a file that gets its name, durable, only at the block's end; nothing is left of one that fails.

    Not even of a process that is killed, where the file system can make files without a name. Raises
    FileExistsError where the name is taken.
    """
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    temporary: Path | None = None
    try:
        try:
            descriptor = os.open(path.parent, os.O_TMPFILE | os.O_WRONLY, PRIVATE)
        except OSError:  # a file system that cannot
            temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE)
        with open(descriptor, "wb") as file:  # noqa: PTH123  (a descriptor, not a path)
            yield file
            file.flush()
            os.fsync(descriptor)
            if temporary is None:
                # A directory makes Python follow the link in /proc, which a plain link() would copy.
                os.link(f"/proc/self/fd/{descriptor}", path, src_dir_fd=directory)
            elif path.exists():
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
            else:
                temporary.rename(path)  # it may have no links either
        os.fsync(directory)
    finally:
        os.close(directory)
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def shred_file(path: Path) -> None:
    """Overwrite the file, make that durable, remove it; nothing to do where there is none.

    Overwriting is best effort (a copying file system or a flash disk may keep the old blocks): what is
    shredded here is always wrapped by a master key kept elsewhere.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY)
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
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        written = 0
        while written < len(content):
            written += os.write(descriptor, content[written:])
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return temporary
