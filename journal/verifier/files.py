"""The input and output of `journal-verify`: regular files, and standard streams that may be closed."""

from __future__ import annotations

import os
import stat
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, BinaryIO, TextIO

from journal.extract.table import visible
from journal.pki.certificates import PEM_LIMIT_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_ALL = 100  # percent


class NotRunError(Exception):
    """The verification could not be run; the message says why, and of which file if it is about one."""

    def __init__(self, reason: str, path: Path | None = None) -> None:
        """Say why."""
        super().__init__(reason if path is None else f"{path}: {reason}")
        self.reason, self.path = reason, path


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open a regular file for reading. A pipe could block and cannot be read twice; a device may never end.

    Raises NotRunError for another kind of file, OSError.
    """
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode):
        raise NotRunError(
            f"{path} is {'a directory' if stat.S_ISDIR(mode) else 'not a regular file: it cannot be read twice'}"
        )
    with path.open("rb") as file:
        yield file


def read_pem(path: Path) -> bytes:
    """Return the content of a file of certificates, at most one byte over the limit. Raises like `opened`."""
    with opened(path) as file:
        return file.read(PEM_LIMIT_BYTES + 1)


def tell(text: str) -> bool:
    """Print the result on standard output; False if it could not be written, which standard error then says."""
    problem = "standard output is closed"
    if sys.stdout is not None:
        try:
            _print(text, sys.stdout)
        except OSError as error:
            problem = str(error)
            _forget(sys.stdout)
        else:
            return True
    complain(f"the result could not be written: {problem}")
    return False


def complain(text: str) -> None:
    """Print a message on standard error, if there is one."""
    with suppress(OSError):
        if sys.stderr is not None:
            _print(f"journal-verify: {visible(text)}", sys.stderr)


def _print(text: str, stream: TextIO) -> None:
    # A terminal that lacks a character must not hide the verdict.
    encoding = stream.encoding or "ascii"
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")
    stream.flush()


def _forget(stream: TextIO) -> None:
    """Redirect a broken stream to /dev/null: Python would flush it again at exit and change the exit status."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


class Progress:
    """The progress of a verification: one line on standard error, on a terminal only."""

    def __init__(self) -> None:
        """Show nothing yet."""
        self._terminal = sys.stderr if sys.stderr is not None and sys.stderr.isatty() else None
        self._shown = -1

    def __call__(self, done_bytes: int, total_bytes: int) -> None:
        """Show the percentage done, if it has changed."""
        percent = _ALL * done_bytes // total_bytes if total_bytes else _ALL
        if self._terminal is not None and percent > self._shown:
            self._shown = percent
            self._terminal.write(f"\rverifying: {percent} %")
            self._terminal.flush()

    def wipe(self) -> None:
        """Clear the line."""
        if self._terminal is not None and self._shown >= 0:
            self._terminal.write("\r\33[K")
            self._terminal.flush()
