"""How far each person of a commune was told, in a file that survives restarts: nothing is told twice, or never.

A file that is missing or damaged counts as empty: what the last day brought is then told once more. Nothing personal is
in it: persons by their ids.
"""

from __future__ import annotations

import fcntl
import json
import os
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from journal.core.errors import OperatorError
from journal.core.times import parse_day
from journal.keys.files import replace_durably

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from journal.settings import Settings

FILE = "mails.json"
FIRST_PAUSE_SECONDS = 240.0
LONGEST_PAUSE_SECONDS = 3600.0
# How long a mail waits before doctor, and another channel, tell of it.
LONG_SECONDS = 4 * 3600


@dataclass(slots=True)
class Trouble:
    """That something could not be sent: since when (Unix time; 0 for never), how often, why, and when it is tried."""

    since: float = 0
    attempts: int = 0
    again_at: float = 0
    reason: str = ""

    def note(self, reason: str, now: float) -> None:
        """Note a failure: the pause doubles from one attempt to the next, up to an hour."""
        self.since = self.since or now
        self.attempts += 1
        pause = min(FIRST_PAUSE_SECONDS * 2 ** min(self.attempts - 1, 10), LONGEST_PAUSE_SECONDS)
        self.again_at, self.reason = now + pause, reason

    def clear(self) -> None:
        """Note that it works."""
        self.since, self.attempts, self.again_at, self.reason = 0, 0, 0, ""

    def waits(self, now: float) -> bool:
        """Tell whether it is not to be tried yet; a clock that was set back makes nobody wait for long."""
        return now < self.again_at <= now + LONGEST_PAUSE_SECONDS


@dataclass(slots=True)
class Told:
    """One person: up to which index each journal was told, on which day; lasting things, the period of the seals."""

    on: str = ""
    read: dict[str, int] = field(default_factory=dict)
    lasting: list[str] = field(default_factory=list)
    seals: str = ""
    trouble: Trouble = field(default_factory=Trouble)


class Progress:
    """The file's content."""

    def __init__(self, path: Path) -> None:
        """Read it."""
        self._path = path
        self.persons: dict[str, Told] = {}
        self.server = Trouble()
        # How many mails the latest round that tried left unsent.
        self.unsent = 0
        try:
            read = json.loads(path.read_text(encoding="utf-8"))
            self.server = _trouble(read["server"])
            self.unsent = int(read["unsent"])
            self.persons = {str(name): _told(told) for name, told in read["persons"].items()}
        except (OSError, ValueError, AttributeError, TypeError, KeyError):
            self.persons, self.server, self.unsent = {}, Trouble(), 0

    def keep(self) -> None:
        """Write it, durably. Raises OperatorError."""
        persons = {name: asdict(told) for name, told in self.persons.items()}
        value = {"persons": persons, "server": asdict(self.server), "unsent": self.unsent}
        try:
            replace_durably(self._path, json.dumps(value).encode("ascii"), mode=0o600)
        except OSError as error:
            raise OperatorError(f"{self._path} cannot be written: {error.strerror}") from error

    def waits_seconds(self, now: float) -> float:
        """Return for how long the mail that was first not taken waits; 0 where none does."""
        since = [trouble.since for trouble in (self.server, *(told.trouble for told in self.persons.values()))]
        return max(0.0, now - min(filter(None, since), default=now))

    def waiting(self, now: float) -> dict[str, str]:
        """Return what has waited for long, by a name that stays the same: sentences, nothing personal."""
        found: dict[str, str] = {}
        if self.server.since and now - self.server.since > LONG_SECONDS:
            hours = (now - self.server.since) / 3600
            found["mail server"] = (
                f"for {hours:.0f} h no mail could be sent to the communes ({self.server.reason}): nothing is lost, it "
                "is sent once the server takes it: openepm-journal notify --test"
            )
        for name, told in sorted(self.persons.items()):
            if told.trouble.since and now - told.trouble.since > LONG_SECONDS:
                hours = (now - told.trouble.since) / 3600
                found[f"mail to {name}"] = (
                    f"for {hours:.0f} h no mail could be sent to person {name} ({told.trouble.reason}): ask for the "
                    "address that is right, revoke the person, and invite again"
                )
        return found


def progress_of(settings: Settings) -> Progress:
    """Return how far persons were told from this installation."""
    return Progress(settings.home_path / FILE)


@contextmanager
def alone(settings: Settings) -> Iterator[bool]:
    """Keep others from telling at the same time; yields False where somebody does. Raises OSError."""
    descriptor = os.open(settings.home_path / f".{FILE}.lock", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


def _told(value: Any) -> Told:
    if on := str(value["on"]):
        parse_day(on)
    return Told(
        on=on,
        read={str(journal): int(index) for journal, index in value["read"].items()},
        lasting=[str(key) for key in value["lasting"]],
        seals=str(value["seals"]),
        trouble=_trouble(value["trouble"]),
    )


def _trouble(value: Any) -> Trouble:
    return Trouble(float(value["since"]), int(value["attempts"]), float(value["again_at"]), str(value["reason"]))
