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

import os
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from journal.core.errors import OperatorError
from journal.keys.wrapped import KEY_BYTES, MasterKey

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from journal.keys.store import KeyStore

Stage = Literal["begun", "wrapped", "finished"]


@dataclass(frozen=True, slots=True)
class Rotated:
    """How far the replacement has come, and how many files this run has wrapped anew."""

    stage: Stage
    files: int


def begin(path: Path) -> None:
    """Make the new master key, which only opens yet; nothing if a replacement has begun. Raises OperatorError."""
    master = MasterKey.read(path)
    if master.other is None:
        _write(MasterKey(master.current, os.urandom(KEY_BYTES), "next"), path)


def rotate(path: Path, stores: Sequence[KeyStore], *, keeps_former: bool = False) -> Rotated:
    """Let the new key wrap, wrap every key of these stores anew, and, unless it is kept, forget the old one.

    `stores` are the key store and its copies, opened with the master key of `path`. Safe to repeat after any
    interruption. Raises OperatorError, BusyError while a purge runs, KeyStoreError that names a key that does not open.
    """
    begin(path)
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


def _write(master: MasterKey, path: Path) -> None:
    try:
        master.write(path)
    except OSError as error:
        raise OperatorError(
            f"master key {path} cannot be written: {error.strerror}; run this as the account that owns it"
        ) from error
