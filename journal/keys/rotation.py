"""The master key replaced while the service runs: every key is wrapped anew, and the old one then opens nothing.

The master key's file says how far it is, so that a run that was cut short goes on where it stopped:

1  `old`              nothing has begun
2  `old`, `new next`  both open, the old one wraps: every process learns the new one before it is used
3  `new`, `old former`  the new one wraps; the files are wrapped anew, one after the other
4  `new`              every file opens under the new one alone

Trust sentence: whoever had the old master key and a copy of the key store from before has the keys of those days, and
the ledger's own key, which stays; they open no key made or wrapped since.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from journal.core.errors import BusyError, OperatorError
from journal.keys.files import list_directory, shred_file
from journal.keys.wrapped import KEY_BYTES, MasterKey

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from journal.keys.store import KeyStore

RETRY_SECONDS = 30

Stage = Literal["wrapped", "finished"]


@dataclass(frozen=True, slots=True)
class Rotated:
    """How far the replacement has come, and how many files this run has wrapped anew."""

    stage: Stage
    files: int


def begin(path: Path) -> None:
    """Make the new master key, which only opens yet; nothing if a replacement has begun.

    Raises OperatorError, BusyError while another run replaces it.
    """
    with _alone(path):
        _begin(path)


def _begin(path: Path) -> None:
    master = MasterKey.read(path)
    if master.other is None:
        _write(MasterKey(master.current, os.urandom(KEY_BYTES), "next"), path)


def rotate(path: Path, stores: Sequence[KeyStore], *, keeps_former: bool = False) -> Rotated:
    """Let the new key wrap, wrap every key of these stores anew, and, unless it is kept, forget the old one.

    `stores` are the key store and its copies, opened with the master key of `path`. Safe to repeat after any
    interruption. Raises OperatorError, BusyError while a purge or another replacement runs, KeyStoreError that names a
    key that does not open.
    """
    with _alone(path):
        return _rotate(path, stores, keeps_former=keeps_former)


def _rotate(path: Path, stores: Sequence[KeyStore], *, keeps_former: bool) -> Rotated:
    _begin(path)
    for store in stores:
        store.check_mounted()
    first, *copies = stores
    first.keep_ledger_keys()
    for copy in copies:
        copy.take_ledger_keys(first)
    master = MasterKey.read(path)
    if master.word == "next" and master.other is not None:
        _write(MasterKey(master.other, master.current, "former"), path)
    with ExitStack() as held:
        for store in stores:
            held.enter_context(store.destroying())
        for store in stores:
            # Who wrapped a key under the old one has written it; who comes later reads the file again.
            with store.wrapping(alone=True):
                pass
        files = sum(store.refreshed().rewrap() for store in stores)
        if keeps_former:
            return Rotated("wrapped", files)
        for store in stores:
            held.enter_context(store.wrapping(alone=True))
        files += sum(store.rewrap() for store in stores)
        _write(MasterKey(MasterKey.read(path).current), path)
    return Rotated("finished", files)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Keep other runs out: one that wrote a new key over another's would lose what is wrapped under that."""
    try:
        descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise OperatorError(f"master key {path} cannot be read: {error.strerror}") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BusyError(f"another run replaces {path}", retry_after_seconds=RETRY_SECONDS) from error
        yield
    finally:
        os.close(descriptor)


def _write(master: MasterKey, path: Path) -> None:
    try:
        master.write(path)
        # A run that was killed may have left a file with both keys.
        for leftover in list_directory(path.parent):
            if leftover.name.startswith(f".{path.name}."):
                shred_file(leftover)
    except OSError as error:
        raise OperatorError(
            f"master key {path} cannot be written: {error.strerror}; run this as the account that owns it"
        ) from error
