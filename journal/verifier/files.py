"""What `journal-verify` reads, and where it prints: files that end, and streams that may be gone."""

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
    """What was given cannot be used; the message says why."""


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open a regular file to read: a pipe would keep us waiting, and cannot be read twice; a device may never end.

    Raises NotRunError for another kind of file, OSError as the system does.
    """
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode):
        raise NotRunError(f"{path} is {'a directory' if stat.S_ISDIR(mode) else 'no file, and cannot be read twice'}")
    with path.open("rb") as file:
        yield file


def read_pem(path: Path) -> bytes:
    """Return a file of certificates, or a byte more of it than any may hold. Raises like `opened`."""
    with opened(path) as file:
        return file.read(PEM_LIMIT_BYTES + 1)


def tell(text: str) -> bool:
    """Print the result on standard output; False where nobody could be told it, which standard error then says."""
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
    # A terminal that lacks one of its characters must not keep the verdict from being told.
    encoding = stream.encoding or "ascii"
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")
    stream.flush()


def _forget(stream: TextIO) -> None:
    """Lead a broken stream nowhere: Python would try once more at its end, and make an exit status of it."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


class Progress:
    """One line on standard error that tells how far a verification is, on a terminal only."""

    def __init__(self) -> None:
        """Show nothing yet."""
        self._terminal = sys.stderr if sys.stderr is not None and sys.stderr.isatty() else None
        self._shown = -1

    def __call__(self, done_bytes: int, total_bytes: int) -> None:
        """Show how much is done of all there is, if that is another percentage than before."""
        percent = _ALL * done_bytes // total_bytes if total_bytes else _ALL
        if self._terminal is not None and percent > self._shown:
            self._shown = percent
            self._terminal.write(f"\rverifying: {percent} %")
            self._terminal.flush()

    def wipe(self) -> None:
        """Leave the line as if nothing had stood there."""
        if self._terminal is not None and self._shown >= 0:
            self._terminal.write("\r\33[K")
            self._terminal.flush()
