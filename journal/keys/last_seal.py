"""The time and number of the last seal, kept in the key store: a database restored from a backup has an older one.

Moments are compared by time first, because a restored database uses numbers again; the number decides between two
seals of the same second. It is written after the database has the seal, so it never names one that was not made.

Trust sentence: whoever can write here can have a sound database refused until an operator's command accepts it; no
seal depends on it.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from journal.core.errors import MalformedError
from journal.core.times import format_seconds, parse_seconds
from journal.keys.files import replace_durably

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from journal.keys.store import KeyStore

FOLDER: Final = "seals"
NAME: Final = f"{FOLDER}/last"


@dataclass(frozen=True, slots=True, order=True)
class SealMoment:
    """When a seal was made (aware, UTC, whole seconds), and its number."""

    sealed_at: datetime
    number: int


def remember(keystore: KeyStore, moment: SealMoment, *, goes_back: bool = False) -> None:
    """Write it durably to every copy that has an earlier one; with `goes_back`, to every copy.

    Raises KeyStoreError if a copy is not mounted, after writing the others; OSError.
    """
    keystore.check_founded()
    for directory in keystore.mounted():
        there = _read(directory / NAME)
        if goes_back or there is None or there < moment:
            text = f"{format_seconds(moment.sealed_at)} {moment.number}\n"
            replace_durably(directory / NAME, text.encode("ascii"))
    keystore.check_mounted()


def remembered(keystore: KeyStore) -> SealMoment | None:
    """Return the latest in any copy; a copy that cannot be read counts as empty."""
    found = (_read(directory / NAME) for directory in keystore.directories)
    return max((moment for moment in found if moment is not None), default=None)


def _read(path: Path) -> SealMoment | None:
    with suppress(OSError, ValueError, MalformedError):
        sealed_at, number = path.read_text("ascii").split()
        return SealMoment(parse_seconds(sealed_at), int(number))
    return None
