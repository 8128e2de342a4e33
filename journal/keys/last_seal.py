"""What the key store remembers of the seals: when the last one was made, so that a restored database is known.

Seals are numbered anew after a restore, and time goes on: the moment comes first, and the number settles only a second
with two seals. Written after the database has the seal, it never knows of one that was not made.

Trust sentence: whoever can write here can have a sound database refused, which one command ends; no seal rests on it.
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
    """Write it in every copy, durable, where it is later than what is there; with `goes_back`, whatever is there.

    Raises KeyStoreError where a copy is not there, once the others have it; OSError.
    """
    for directory in keystore.mounted():
        there = _read(directory / NAME)
        if goes_back or there is None or there < moment:
            text = f"{format_seconds(moment.sealed_at)} {moment.number}\n"
            replace_durably(directory / NAME, text.encode("ascii"))
    keystore.check_mounted()


def remembered(keystore: KeyStore) -> SealMoment | None:
    """Return the latest known to any copy; one that cannot be read knows of none."""
    found = (_read(directory / NAME) for directory in keystore.directories)
    return max((moment for moment in found if moment is not None), default=None)


def _read(path: Path) -> SealMoment | None:
    with suppress(OSError, ValueError, MalformedError):
        sealed_at, number = path.read_text("ascii").split()
        return SealMoment(parse_seconds(sealed_at), int(number))
    return None
