"""Emitter of events for modules in Python: one file, Python 3.11 or later, standard library only.

It does what the PHP connector does, on the same spool: `record` writes an event into a local spool (no network), and
`flush` sends what it holds, in order and byte for byte, until the journal has acknowledged it. Either may send what the
other has recorded.

    journal = Journal.from_file("/etc/openepm/journal.ini")
    journal.record("consultation", "MC-2026-04127", account="c.martin", operation="view", justification="Relecture")

    python3 openepm_journal.py flush --config /etc/openepm/journal.ini

Licence: GPL-3.0-or-later.
"""

from __future__ import annotations

import argparse
import configparser
import contextlib
import fcntl
import http.client
import json
import math
import os
import re
import secrets
import socket
import ssl
import sys
import time
import unicodedata
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from email.message import Message

VERSION = "1.0"
TYPE_PREFIX = "fr.openepm.journal."
SEGMENT_BYTES = 4 * 1024 * 1024
BATCH_EVENTS = 500
BATCH_BYTES = 1_000_000  # with a line more, less than what proxies take
TAIL_BYTES = 128 * 1024
# The journal takes no more; a line is always shorter than the tail that is read of a segment.
LINE_BYTES = 16 * 1024
# Files that are written over in place, so that a full disk can be told and emptied.
LOST_BYTES = 128
STATE_BYTES = 4096
ERROR_CHARACTERS = 500
# Beyond this the journal may refuse what this clock says.
CLOCK_SECONDS = 60
LONGEST_PAUSE_SECONDS = 60
LONGEST_RETRY_AFTER_SECONDS = 300
DAY_SECONDS = 86_400
ACKNOWLEDGED = (200, 201)
# What the journal may say of events themselves.
TOO_LARGE = 413
FOR_GOOD = (400, 409, TOO_LARGE, 422)
PROBLEM = "urn:openepm-journal:problem:"
# What the author can do about; the journal's own words say the rest.
KINDS = {
    "unauthenticated": "the token is refused: expired, revoked or miscopied; put another into `token_file`",
    "absent": "the token has no such category: misspelt, or without the right; ask for the right, or `drop` it",
}
TIME_OVER = "the time given is over"
# Reasons on the disk are codes, which this module and the connector in PHP put into words when they read them.
TOO_OLD = "time-too-old"
NOT_WRITTEN = "not-written"
GIVEN_UP = "given-up"
REASONS = {TOO_OLD: "too old", NOT_WRITTEN: "not written", GIVEN_UP: "given up (drop)"}
# The segment of what was set aside and is sent again; no event has its number.
BACK = "0000000000000000.ndjson"
# What waits for its time, while the others pass.
AHEAD = "ahead.ndjson"
# While cron sends each minute, nothing waits for so long.
STALE_SECONDS = 900
SELF = "openepm-journal"
_SEGMENT = re.compile(r"\d{16}\.ndjson")
_SEQUENCE = re.compile(rb'\{"sequence":"(\d{1,16})"')
_TIME = re.compile(rb'"time":"([^"]+)"')
_CATEGORY = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


# What the journal asks of an event, but for what it alone knows (token, clock, category, what came before).
_SESSION = ("login", "logout", "login-failed")
_READING = ("search", "list", "view", "history", "attachment", "print", "export", "statistics")
_WRITING = (
    *(
        "create",
        "import",
        "copy",
        "update",
        "attach",
        "link",
        "assign",
        "validate",
        "reject",
        "sign",
        "close",
        "reopen",
    ),
    *("archive", "restore", "delete", "rights", "password", "lock", "unlock", "transmit"),
)
_ACTIONS = {
    "access": _SESSION + _READING,
    "consultation": _READING,
    **dict.fromkeys(("collection", "modification", "erasure"), _WRITING),
    **dict.fromkeys(("disclosure", "combination"), _READING + _WRITING),
}
_OPERATIONS = _SESSION + _READING + _WRITING
_OUTCOMES = ("success", "denied", "failure")
_JUSTIFIED = ("consultation", "disclosure", "combination")
_LETTER = r"A-Za-z\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u017f"
# By place: the most characters of a text, and what it looks like; without, nothing in it is unseen.
_TEXTS = {
    "/source": (256, r"(?:[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+"),
    "/subject": (256, ""),
    "/time": (64, r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,6}0*)?([Zz]|[+-]\d\d:\d\d)"),
    "/traceparent": (55, "(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"),
    "/data/act": (64, "[A-Za-z0-9._:~-]+"),
    "/data/justification": (2000, ""),
    **dict.fromkeys((f"/data/actor/{name}" for name in ("account", "name", "role", "unit")), (128, "")),
    **dict.fromkeys((f"/data/client/{name}" for name in ("workstation", "session")), (128, "")),
    "/data/client/address": (64, ""),
    "/data/fields/*": (64, f"[{_LETTER}_][{_LETTER}0-9_.-]*"),
    "/data/recipients/*": (256, ""),
}
_LISTS = ("/data/fields", "/data/recipients")
_OBJECTS = ("/data", "/data/actor", "/data/client")
_OTHERS = ("/specversion", "/id", "/type", "/data/outcome", "/data/operation", "/data/authorisation")
_UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e"
    "\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U000e0000-\U000e0fff]"
)
_CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f]")  # which prose does not hold either
_LIST_ITEMS = 100
_COUNT_MOST = 2**53 - 1


class EmitterError(Exception):
    """What could not be recorded or sent, and why; nothing personal is in it."""


@dataclass(frozen=True)
class Settings:
    """Settings of the emitter; the page of the connector says what each is."""

    url: str
    token_file: str
    source: str
    spool: str
    category: str = "main-courante"
    ca_file: str = ""
    send: str = "later"  # for PHP alone: this module never sends within a request
    max_mib: int = 256
    max_age_days: int = 7
    quarantine_days: int = 50
    receipts_days: int = 70
    rhythm_minutes: int = 0
    timeout_seconds: float = 5
    strict: bool = False  # for PHP alone: `record` always raises


class Journal:
    """Builds events, and puts them into the spool."""

    def __init__(self, settings: Settings) -> None:
        """Record with these settings."""
        self.settings = settings
        # What the last call has set aside: sentences.
        self.aside: list[str] = []

    @classmethod
    def from_file(cls, path: str | Path = "") -> Journal:
        """Read the settings from the connector's INI file. Raises EmitterError."""
        path = path or os.environ.get("OPENEPM_JOURNAL", "/etc/openepm/journal.ini")
        reader = configparser.ConfigParser(interpolation=None, inline_comment_prefixes=(";",))
        try:
            reader.read_string("[journal]\n" + Path(path).read_text(encoding="utf-8"))
        except (OSError, configparser.Error) as error:
            raise EmitterError(f"{path}: the settings cannot be read: {error}") from error
        given = {name: value.strip('"') for name, value in reader["journal"].items()}
        kinds = {field.name: type(field.default) for field in fields(Settings)}
        if unknown := set(given) - set(kinds):
            raise EmitterError(f"{path}: unknown settings: {', '.join(sorted(unknown))}")
        try:
            chosen: dict[str, Any] = {name: _read(value, kinds[name]) for name, value in given.items()}
            return cls(Settings(**chosen))
        except (TypeError, ValueError) as error:
            raise EmitterError(f"{path}: {error}") from error

    def record(
        self,
        action: str,
        subject: str | None = None,
        *,
        account: str,
        outcome: str = "success",
        category: str | None = None,
        actor: Mapping[str, str] | None = None,
        **data: object,
    ) -> None:
        """Write an event into the spool, for good; `actor` and `data` are further members of these.

        Raises EmitterError if it is not in the spool: what the journal would refuse is told at once, and not recorded.
        """
        event: dict[str, object] = {
            "specversion": "1.0",
            "id": secrets.token_hex(16),
            "source": self.settings.source,
            "type": TYPE_PREFIX + action,
            "time": _now(),
            "data": {**data, "actor": {"account": account, **(actor or {})}, "outcome": outcome},
        }
        if subject is not None:
            event["subject"] = subject
        if found := faults_of(event):
            raise EmitterError("nothing is recorded: " + "; ".join(f"{pointer}: {code}" for code, pointer in found))
        self.spool(category or self.settings.category).append(event)

    def spool(self, category: str) -> Spool:
        """Return the spool of a category. Raises EmitterError if it is misspelt."""
        if _CATEGORY.fullmatch(category) is None:
            raise EmitterError("the category is misspelt")
        return Spool(self.settings, category)

    def spools(self) -> list[Spool]:
        """Return those that exist on the disk."""
        root = Path(self.settings.spool)
        found = sorted(root.iterdir()) if root.is_dir() else []
        return [self.spool(path.name) for path in found if path.is_dir() and _CATEGORY.fullmatch(path.name)]

    def flush(self, seconds: float = 50.0, *, at_once: bool = False) -> dict[str, str]:
        """Send what waits, for some seconds at most; return by category what stopped it, nothing if all is sent.

        `at_once`: also within the pause that follows a failure.
        """
        self._beat()
        until = time.monotonic() + seconds
        return self._each_sender(lambda sender: sender.run(until, at_once=at_once))

    def again(self, seconds: float = 50.0, token_file: str = "") -> dict[str, str]:
        """Send once more what was set aside, its cause mended, then what waits; return what stopped it, by category.

        With another token, what was set aside alone.
        """
        until = time.monotonic() + seconds

        def act(sender: Sender) -> str:
            return sender.again(until) or ("" if token_file else sender.run(until, at_once=True))

        return self._each_sender(act, replace(self.settings, token_file=token_file) if token_file else self.settings)

    def drop(self, category: str) -> str:
        """Set aside all that waits in a category, which the journal will not have under this name."""
        return Sender(self.settings, self._existing(category)).drop()

    def declared(self, category: str, first: int, last: int) -> int:
        """Forget numbers that the operator has declared lost; return how many losses and events these were."""
        spool = self._existing(category)
        with spool.lock("send.lock"):
            return spool.declared(first, last)

    def troubles(self) -> list[str]:
        """Return what keeps events from being recorded or sent, whatever waits."""
        root = Path(self.settings.spool)
        if not root.is_dir():
            return [f"{root}: the spool is missing: install -d -m 700 -o ACCOUNT {root}"]
        owner = root.stat().st_uid
        told = []
        if not os.access(root, os.W_OK) or os.geteuid() not in (0, owner):
            told.append(f"{root}: belongs to another account; use the module's own")
        told += [
            f"{spool.directory}: belongs to another account than {root}: chown -R --reference={root} {spool.directory}"
            for spool in self.spools()
            if spool.directory.stat().st_uid != owner
        ]
        if not os.access(self.settings.token_file, os.R_OK):
            told.append(f"{self.settings.token_file}: the token cannot be read")
        return told

    def health(self) -> dict[str, Health]:
        """Return the health of each category."""
        return {
            spool.category: spool.measure(Sender(self.settings, spool).read())
            for spool in self.spools()
            if os.access(spool.directory, os.R_OK)
        }

    def _existing(self, category: str) -> Spool:
        found = [spool for spool in self.spools() if spool.category == category]
        if not found:
            raise EmitterError(f"{category}: no such category in {self.settings.spool}")
        return found[0]

    def _each_sender(self, act: Callable[[Sender], str], settings: Settings | None = None) -> dict[str, str]:
        stopped: dict[str, str] = {}
        self.aside = []
        for spool in self.spools():
            sender = Sender(settings or self.settings, spool)
            try:
                reason = act(sender)
            except (EmitterError, OSError) as error:
                reason = str(error)
            if reason:
                stopped[spool.category] = reason
            self.aside += sender.aside
        return stopped

    def _beat(self) -> None:
        """Put a sign of life into each spool that is empty and had no event for the time that is set."""
        seconds = 60 * self.settings.rhythm_minutes
        for spool in self.spools() if seconds else []:
            # Not of a category that the journal has never taken an event of: it may be misspelt.
            is_known = "acknowledged_at" in Sender(self.settings, spool).read()
            if is_known and spool.still_since() <= time.time() - seconds:
                self.record("access", account=SELF, category=spool.category)


@dataclass(frozen=True)
class Health:
    """The health of a category: what waits, what waits for its time, what was set aside (by number), what is lost."""

    waiting: int
    oldest: str
    ahead: dict[int, str]
    aside: dict[int, str]
    losses: list[tuple[int, int, str]]
    epoch: str
    state: dict[str, Any]

    def told(self) -> Iterator[str]:
        """Say what is not well."""
        for number, moment in self.ahead.items():
            yield f"number {number} waits for its time, {moment}: its `time`, or this host's clock, was ahead"
        for reason in dict.fromkeys(self.aside.values()):
            numbers = [number for number, why in self.aside.items() if why == reason]
            yield f"set aside, number {_ranges(numbers)} (epoch {self.epoch}): {reason}"
        for first, last, reason in self.losses:
            yield f"lost: {first} to {last} (epoch {self.epoch}), {reason}; to be declared to the journal"
        stale = (datetime.now(UTC) - timedelta(seconds=STALE_SECONDS)).isoformat()
        if "error" in self.state:
            yield f"sending stopped since {self.state['since']}: {self.state['error']}"
        elif self.oldest and self.oldest < stale and self.state.get("ran_at", "") < stale:
            yield "nothing is sent: does `flush` run each minute, under the module's account?"
        elif self.state.get("ran_at", "~") < (datetime.now(UTC) - timedelta(days=1)).isoformat():
            yield f"flush was not run since {self.state['ran_at']}: what is kept is kept beyond its time"
        if abs(clock := self.state.get("clock_seconds", 0)) > CLOCK_SECONDS:
            yield f"this host's clock is off by {clock} s from the journal's: set it (NTP)"


class Spool:
    """The events of one category that wait: segments of lines, one event each, named by their first number.

    The last segment is written, under a lock; the earlier ones are sent, and removed once acknowledged. A number is
    used once: the next follows the last complete line, the numbers lost since (file `lost`), or the segment's name.
    """

    def __init__(self, settings: Settings, category: str) -> None:
        """Use the directory of a category; the first event makes it."""
        self.category = category
        self.directory = Path(settings.spool) / category
        self._limit = settings.max_mib * 1024 * 1024

    def append(self, event: Mapping[str, object]) -> None:
        """Write an event, with its number, for good; nothing of it stays where that fails. Raises EmitterError."""
        try:
            with self._prepared():
                segments = self.segments()
                path = segments[-1] if segments else None
                count, first, since = self.lost()
                number = self._next(path) if path else 1
                number = max(number, first + count) if count else number
                try:
                    line = _line(event, number, self.epoch)
                    self._write(path or self._start(1), line, is_bounded=True)
                except (EmitterError, OSError):
                    self._lose(count + 1, first if count else number, since if count else str(event["time"]))
                    raise
                if count:
                    self.note_loss(first, first + count - 1, NOT_WRITTEN)
                    self._lose(0, 0, "-")
        except OSError as error:
            raise EmitterError(f"{self.directory}: the event cannot be written: {error.strerror}") from error

    def still_since(self) -> float:
        """Return since when (Unix time) the spool is empty; the present if something waits."""
        segments = self.segments()
        status = segments[0].stat() if len(segments) == 1 else None
        return status.st_mtime if status and not status.st_size else time.time()

    def segments(self) -> list[Path]:
        """Return the segments, in order."""
        return sorted(path for path in self.directory.iterdir() if _SEGMENT.fullmatch(path.name))

    def closed(self) -> list[Path]:
        """Return the segments that are no longer written; the last is closed first, if it is needed."""
        with self.lock("write.lock"):
            segments = self.segments()
            if not segments:
                return []
            last = segments[-1]
            _tail(last)
            size = last.stat().st_size
            if size and (len(segments) == 1 or size >= SEGMENT_BYTES):
                number = self._next(last)
                count, first, _ = self.lost()
                self._start(max(number, first + count) if count else number)
                return segments
            return segments[:-1]

    @contextlib.contextmanager
    def lock(self, name: str, *, waits: bool = True) -> Iterator[None]:
        """Hold a lock of the directory; it ends with the process. Raises BlockingIOError unless it waits."""
        _own(self.directory)
        with (self.directory / name).open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX if waits else fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield

    def lost(self) -> tuple[int, int, str]:
        """Return how many events were lost since the last line, the first one's number and time."""
        try:
            count, first, since = (self.directory / "lost").read_text(encoding="ascii").split()
        except (OSError, ValueError):
            return 0, 0, "-"
        return int(count), int(first), since

    @property
    def epoch(self) -> str:
        """The name of this spool's count: another spool, with the same source, counts from 1 under another name."""
        return (self.directory / "epoch").read_text(encoding="ascii").strip()

    def note_loss(self, first: int, last: int, reason: str) -> None:
        """Keep for good which numbers the journal will never get; the operator declares them."""
        loss = {"first": first, "last": last, "reason": reason, "since": _now()}
        self.add("losses.ndjson", json.dumps(loss).encode() + b"\n")

    def replace(self, name: str, content: str) -> None:
        """Write a small file as a whole: it is the old one or the new one, whatever happens."""
        path, temporary = self.directory / name, self.directory / f"{name}.new"
        with _open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) as file:
            _write_all(file, content.encode())
        temporary.replace(path)
        _sync_directory(self.directory)

    def keep_state(self, state: Mapping[str, object]) -> None:
        """Keep the sender's state; it stays one block, so that a kill leaves the old one or the new one."""
        kept = {**state, "error": str(state["error"])[:ERROR_CHARACTERS]} if "error" in state else state
        self._overwrite("state.json", json.dumps(kept), STATE_BYTES)

    def add(self, name: str, lines: bytes) -> None:
        """Add lines to a file, for good."""
        self._write(self.directory / name, lines, is_bounded=False)

    def kept(self, name: str) -> list[str]:
        """Return the lines of a file; none where there is no such file."""
        path = self.directory / name
        return path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []

    def take_back(self, take: Callable[[bytes], None]) -> None:
        """Take what was set aside out of its files, but for what is too old; a kill leaves some of it in both.

        `take` keeps lines, for good.
        """
        for name in self._quarantines():
            lines = self.kept(name)
            kept = [line for line in lines if json.loads(line)["reason"] == TOO_OLD]
            if back := "".join(json.loads(line)["event"] + "\n" for line in lines if line not in kept):
                take(back.encode())
                self.replace(name, "".join(kept))

    def declared(self, first: int, last: int) -> int:
        """Forget losses and events set aside that have their numbers between two; return how many they were."""
        done = 0
        with self.lock("write.lock"):
            count, since, _ = self.lost()
            if count and first <= since and since + count - 1 <= last:
                self._start(since + count)  # first: these numbers are never used again
                self._lose(0, 0, "-")
                done += 1
            losses = self.kept("losses.ndjson")
            left = [line for line in losses if json.loads(line)["first"] < first or json.loads(line)["last"] > last]
            self.replace("losses.ndjson", "".join(left))
        done += len(losses) - len(left)
        for name in self._quarantines():
            lines = self.kept(name)
            told = [line for line in lines if first <= sequence_of(json.loads(line)["event"].encode()) <= last]
            if told:
                # Kept as long as the others, but no longer counted, nor sent again.
                self.add(name.replace("quarantine-", "declared-"), "".join(told).encode())
                self.replace(name, "".join(line for line in lines if line not in told))
                done += len(told)
        return done

    def measure(self, state: Mapping[str, Any]) -> Health:
        """Return the health of the category; `state` is the sender's."""
        lines: list[bytes] = []
        for path in self.segments():
            with path.open("rb") as file:
                file.seek(state.get("offsets", {}).get(path.name, 0))
                lines += file.readlines()
        ahead = [line.encode() for line in self.kept(AHEAD)]
        aside = [json.loads(line) for name in self._quarantines() for line in self.kept(name)]
        losses = [json.loads(line) for line in self.kept("losses.ndjson")]
        count, since, _ = self.lost()
        return Health(
            waiting=len(lines) + len(ahead),
            oldest=_time_of(lines[0]) if lines else "",
            ahead={sequence_of(line): _time_of(line) for line in ahead},
            aside={sequence_of(line["event"].encode()): _told(line["reason"]) for line in aside},
            losses=[(loss["first"], loss["last"], _told(loss["reason"])) for loss in losses]
            + ([(since, since + count - 1, _told(NOT_WRITTEN))] if count else []),
            epoch=self.epoch,
            state=dict(state),
        )

    def _quarantines(self) -> list[str]:
        return sorted(path.name for path in self.directory.glob("quarantine-*.ndjson"))

    def size(self) -> int:
        """Return the bytes that wait."""
        return sum(path.stat().st_size for path in self.segments())

    @contextlib.contextmanager
    def _prepared(self) -> Iterator[None]:
        """Make the directory, if need be, and hold its lock."""
        root = self.directory.parent
        if root.is_dir():
            _own(root)
        elif os.geteuid() == 0:
            raise EmitterError(f"{root}: missing, and root would make its own: install -d -m 700 -o ACCOUNT {root}")
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self.lock("write.lock"):
            if not (self.directory / "lost").exists():
                self.directory.chmod(0o700)
                _sync_directory(self.directory.parent)
                self.replace("epoch", f"{_now()[:10].replace('-', '')}-{secrets.token_hex(4)}\n")
                # Their blocks are taken now; `lost` is the last to appear.
                self.replace("state.json", "{}".ljust(STATE_BYTES))
                self.replace("lost", "0 0 -".ljust(LOST_BYTES))
            yield

    def _start(self, first: int) -> Path:
        path = self.directory / f"{first:016d}.ndjson"
        with _open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND) as file:
            os.fsync(file.fileno())
        _sync_directory(self.directory)
        return path

    def _next(self, path: Path) -> int:
        """Return the number that follows what a segment holds."""
        lines = _tail(path).splitlines()
        return sequence_of(lines[-1]) + 1 if lines else int(path.stem)

    def _write(self, path: Path, lines: bytes, *, is_bounded: bool) -> None:
        if is_bounded and self.size() + len(lines) > self._limit:
            raise EmitterError(f"{self.directory}: the spool is full (max_mib): is nothing sent?")
        with _open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND) as file:
            before = os.fstat(file.fileno()).st_size
            try:
                _write_all(file, lines)
            except OSError:
                os.ftruncate(file.fileno(), before)
                raise

    def _lose(self, count: int, first: int, since: str) -> None:
        self._overwrite("lost", f"{count} {first} {since}" if count else "0 0 -", LOST_BYTES)

    def _overwrite(self, name: str, content: str, size: int) -> None:
        with _open(self.directory / name, os.O_WRONLY) as file:
            _write_all(file, content.encode().ljust(size))


class Sender:
    """Sends one spool: one process at a time, in order, each batch again until it has an answer."""

    def __init__(self, settings: Settings, spool: Spool) -> None:
        """Send this spool."""
        self._settings = settings
        self._spool = spool
        self._state: dict[str, Any] = {}
        self._receipts = b""  # that no disk has taken yet
        self._given: Verdict | None = None  # on all, without asking the journal
        self._is_back = False  # whether what was set aside before is sent
        # What was set aside: sentences.
        self.aside: list[str] = []

    def run(self, until: float, *, at_once: bool = False) -> str:
        """Send until a moment (monotonic); return what stopped it, or an empty text. Raises EmitterError, OSError."""

        def act() -> str:
            pause = self._state.get("retry_at", 0) - time.time()
            if not at_once and 0 < pause <= LONGEST_RETRY_AFTER_SECONDS:  # longer: the clock was put back
                return str(self._state.get("error", ""))
            self._forget()
            self._take_due(time.time())
            return self._stopped(self._send_all(until))

        return self._locked("", act)

    def again(self, until: float) -> str:
        """Send once more what was set aside; return what stopped it. Raises EmitterError, OSError."""

        def act() -> str:
            self._spool.take_back(self._bring_back)
            path = self._spool.directory / BACK
            return self._stopped(self._send(path, until) if path.exists() else "")

        return self._locked("another process sends: try again", act)

    def drop(self) -> str:
        """Set aside all that waits; return what stopped it. Raises EmitterError, OSError."""

        def act() -> str:
            self._given = Verdict(GIVEN_UP)
            self._take_due(math.inf)
            return self._stopped(self._send_all(math.inf))

        return self._locked("another process sends: try again", act)

    def _locked(self, busy: str, act: Callable[[], str]) -> str:
        """Do something as the one process that sends; return what it told, or `busy` where another one does."""
        try:
            with self._spool.lock("send.lock", waits=False):
                self._state = self.read()
                return act()
        except BlockingIOError:
            return busy

    def _stopped(self, stopped: str) -> str:
        self._keep("" if stopped == TIME_OVER else stopped)
        return stopped

    def _bring_back(self, lines: bytes) -> None:
        """Put lines in front of what waits, for good."""
        if not (self._spool.directory / BACK).exists():
            # What was kept of an earlier one would count for these.
            self._state.get("offsets", {}).pop(BACK, None)
            self._spool.keep_state(self._state)
        self._spool.add(BACK, lines)

    def _take_due(self, now: float) -> None:
        """Put in front of what waits the events whose time has come."""
        lines = self._spool.kept(AHEAD)
        due = [line for line in lines if datetime.fromisoformat(_time_of(line.encode())).timestamp() <= now]
        if due:
            self._bring_back("".join(due).encode())
            self._spool.replace(AHEAD, "".join(line for line in lines if line not in due))

    def read(self) -> dict[str, Any]:
        """Return what the last run has left."""
        try:
            state = json.loads((self._spool.directory / "state.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return state if isinstance(state, dict) else {}

    def _send_all(self, until: float) -> str:
        while segments := self._spool.closed():
            for path in segments:
                if stopped := self._send(path, until):
                    return stopped
        return "some receipts could not be kept: is the disk full?" if self._receipts else ""

    def _send(self, path: Path, until: float) -> str:
        """Send a segment and remove it; return what stopped it, or an empty text."""
        known: dict[str, int] = self._state.get("offsets", {})
        self._is_back = path.name == BACK
        # What was set aside goes before a segment that may be partly sent; of earlier ones nothing stays.
        kept = known if self._is_back else {name: offset for name, offset in known.items() if name == path.name}
        self._state["offsets"] = {path.name: 0, **kept}
        with path.open("rb") as file:
            file.seek(self._state["offsets"][path.name])
            while lines := _batch(file):
                if stopped := self._settle(path.name, lines, until):
                    return stopped
        path.unlink()
        del self._state["offsets"][path.name]
        self._keep_receipts(b"")
        return ""

    def _settle(self, name: str, lines: list[bytes], until: float) -> str:
        """Settle lines in order, run by run: acknowledged or set aside, and that is kept; return what stopped it."""
        verdicts = dict.fromkeys(range(len(lines)), self._given) if self._given else {}
        done, most = 0, len(lines)
        while done < len(lines):
            if time.monotonic() > until:
                return TIME_OVER
            verdict = verdicts.get(done)
            if verdict is not None and verdict.waits:
                return verdict.reason
            end = done + 1
            while end < min(len(lines), done + most) and verdicts.get(end) == verdict:
                end += 1
            run = lines[done:end]
            if verdict is not None and verdict.is_ahead:
                self._spool.add(AHEAD, b"".join(run))
            elif verdict is not None:
                self._set_aside(run, verdict.reason)
            elif (found := self._ask(run)) is None:
                # No fault names an event: each half is sent on its own.
                most = max(1, len(run) // 2)
                continue
            elif found:
                verdicts |= {done + position: named for position, named in found.items()}
                continue
            self._state["offsets"][name] += sum(map(len, run))
            self._keep("")
            done = end
        return ""

    def _ask(self, lines: list[bytes]) -> dict[int, Verdict] | None:
        """Return by position what becomes of lines: nothing if all are acknowledged, None if no line is named."""
        status, answer = self._post(b"[" + b",".join(line.rstrip() for line in lines) + b"]")
        if status in ACKNOWLEDGED and _acknowledges(answer, lines):
            self._keep_receipts(answer + b"\n")
            self._state["acknowledged_at"] = _now()
            return {}
        if status == TOO_LARGE and len(lines) > 1:
            return None  # of the journal, or of a proxy before it
        problem = _object(answer)
        faults = problem.get("faults", ())
        if not _kind(problem) or status not in FOR_GOOD or (not faults and problem.get("retryable") is True):
            # Nothing is wrong with the events, or it is not the journal that says so.
            return self._too_old(lines) or {0: Verdict(self._why(status, problem), waits=True)}
        verdicts: dict[int, Verdict] = {}
        for fault in faults:
            position = fault.get("position", -1)
            if 0 <= position < len(lines) and (position not in verdicts or verdicts[position].waits):
                verdicts[position] = self._verdict(fault, lines[position])
        if verdicts:
            return verdicts
        return None if len(lines) > 1 else {0: Verdict(_kind(problem))}

    def _verdict(self, fault: Mapping[str, Any], line: bytes) -> Verdict:
        """Return what becomes of a line with this fault; its bytes are kept either way."""
        code, event = fault.get("code"), json.loads(line)
        why = f"{fault.get('pointer', '')} {fault.get('reason', '')}".strip()
        if code in ("time-too-old", "time-purged"):
            return Verdict(TOO_OLD)
        if code == "source-prefix" and event["source"] == self._settings.source and not self._is_back:
            # So are all: the token or the setting is wrong, not the event.
            return Verdict(f"the token does not go with the setting `source`: {why}; mend one of them", waits=True)
        if code == "source-prefix":
            # The setting was mended since: its bytes stay, and a token of its prefix sends it.
            return Verdict(f"{code} {event['source']}")
        ahead = datetime.fromisoformat(event["time"]).timestamp() - time.time()
        if fault.get("retryable") and (code != "time-ahead" or ahead <= CLOCK_SECONDS):
            # Time passes, or this host's clock, which all events have theirs from, is put right.
            return Verdict(self._why(0, {"detail": f"answer 422: {why}"}), waits=True)
        if fault.get("retryable") and ahead < DAY_SECONDS:
            return Verdict("", is_ahead=True)
        return Verdict(f"{code} {fault.get('pointer', '')}".rstrip())

    def _too_old(self, lines: list[bytes]) -> dict[int, Verdict]:
        """Return the lines that have waited for too long, as far as this clock is right."""
        if abs(self._state.get("clock_seconds", 0)) > CLOCK_SECONDS:
            return {}
        oldest = (datetime.now(UTC) - timedelta(days=self._settings.max_age_days)).isoformat()
        old = (number for number, line in enumerate(lines) if _time_of(line) < oldest[:26])
        return dict.fromkeys(old, Verdict(TOO_OLD))

    def _set_aside(self, lines: list[bytes], reason: str) -> None:
        kept = [{"at": _now(), "reason": reason, "event": line.decode().rstrip()} for line in lines]
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in kept)
        self._spool.add(f"quarantine-{_now()[:10]}.ndjson", text.encode())
        self.aside.append(f"{self._spool.category}: set aside ({len(lines)}): {_told(reason)}")
        if reason == TOO_OLD:
            self._spool.note_loss(sequence_of(lines[0]), sequence_of(lines[-1]), TOO_OLD)

    def _keep_receipts(self, receipts: bytes) -> None:
        """Keep receipts, now or when a segment that was sent has made room for them: events go first."""
        self._receipts += receipts
        with contextlib.suppress(OSError):
            if self._receipts:
                self._spool.add(f"receipts-{_now()[:10]}.ndjson", self._receipts)
            self._receipts = b""

    def _post(self, body: bytes) -> tuple[int, bytes]:
        """Return the status (0 without an answer) and the body."""
        token = Path(self._settings.token_file).read_text(encoding="ascii").strip()
        url = f"{self._settings.url.rstrip('/')}/v1/categories/{self._spool.category}/events"
        headers = {
            "Authorization": f"Bearer {token}",
            "Content-Type": "application/cloudevents-batch+json",
            "User-Agent": f"openepm-journal-python/{VERSION}",
        }
        request = urllib.request.Request(url, data=body, headers=headers, method="POST")  # noqa: S310 (the settings' own)
        try:
            context = ssl.create_default_context(cafile=self._settings.ca_file or None)
            opener = urllib.request.build_opener(_Unmoved, urllib.request.HTTPSHandler(context=context))
            with opener.open(request, timeout=self._settings.timeout_seconds) as answer:
                self._note(answer.headers)
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            self._note(error.headers)
            return error.code, error.read()
        except (OSError, http.client.HTTPException) as error:
            return 0, json.dumps({"detail": f"no answer: {_network(error)}"}).encode()

    def _note(self, headers: Message) -> None:
        with contextlib.suppress(KeyError, ValueError, TypeError):
            self._state["clock_seconds"] = round(time.time() - parsedate_to_datetime(headers["Date"]).timestamp())
        with contextlib.suppress(KeyError, ValueError, TypeError):
            self._state["retry_after"] = int(headers["Retry-After"])

    def _why(self, status: int, problem: Mapping[str, Any]) -> str:
        """Return what stopped the sending, and what to do about it."""
        clock = abs(int(self._state.get("clock_seconds", 0)))
        path = urllib.parse.urlsplit(self._settings.url).path.strip("/")
        kind = _kind(problem)
        detail = str(problem.get("detail", ""))
        if not status:
            told = detail
        elif not kind:
            told = (
                f"answer {status} of something else in the journal's place (portal, proxy, page of maintenance?); "
                "all waits; see to `url` and the network"
            )
        elif kind == "absent" and path:
            told = f"answer {status}: `url` ends with /{path}; remove it: the host's address is enough"
        else:
            told = f"answer {status}: {KINDS.get(kind, detail)}"
        return told + (f"; this host's clock is off by {clock} s" if clock > CLOCK_SECONDS else "")

    def _keep(self, error: str) -> None:
        retry_after = min(LONGEST_RETRY_AFTER_SECONDS, int(self._state.pop("retry_after", 0)))
        if error:
            pause = min(LONGEST_PAUSE_SECONDS, max(1, 2 * int(self._state.get("pause", 0))))
            self._state |= {"pause": pause, "retry_at": time.time() + max(pause, retry_after), "error": error}
            self._state.setdefault("since", _now())
        else:
            for name in ("error", "since", "retry_at", "pause"):
                self._state.pop(name, None)
        self._state["ran_at"] = _now()
        self._spool.keep_state(self._state)

    def _forget(self) -> None:
        """Remove what is older than the settings say."""
        aside = self._settings.quarantine_days
        for kind, days in (("receipts", self._settings.receipts_days), ("quarantine", aside), ("declared", aside)):
            oldest = datetime.now(UTC) - timedelta(days=days)
            for path in self._spool.directory.glob(f"{kind}-*.ndjson"):
                if path.name < f"{kind}-{oldest:%Y-%m-%d}":
                    path.unlink()


class _Unmoved(urllib.request.HTTPRedirectHandler):
    """Follows no redirection: events and the token go nowhere else."""

    def redirect_request(self, *_: object) -> None:
        """Leave the answer as it is."""


@dataclass(frozen=True)
class Verdict:
    """What becomes of a line: it is set aside for this reason, or all waits for it; or it alone, for its time."""

    reason: str
    waits: bool = False
    is_ahead: bool = False


def faults_of(event: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what is wrong with an event, as the journal would: codes and pointers."""
    found = list(_walk(event, ""))
    data = event["data"]
    action = str(event["type"]).removeprefix(TYPE_PREFIX)
    outcome, operation = data.get("outcome"), data.get("operation")
    for name, value, known in (("outcome", outcome, _OUTCOMES), ("operation", operation, _OPERATIONS)):
        if value is None and name == "outcome":
            found.append(("missing", f"/data/{name}"))
        elif value is not None and value not in known:
            found.append(("unknown-value" if isinstance(value, str) else "wrong-type", f"/data/{name}"))
    if action not in _ACTIONS:
        return [*found, ("unknown-value", "/type")]
    needs = {
        "/subject": "subject" in event or action == "access",
        "/data/justification": "justification" in data or outcome in _OUTCOMES[1:] or action not in _JUSTIFIED,
        "/data/recipients": "recipients" in data or action != "disclosure",
    }
    found += [("missing", pointer) for pointer, is_met in needs.items() if not is_met]
    contradicts = operation not in _ACTIONS[action] or (operation == "login-failed" and outcome == "success")
    return [*found, ("operation", "/data/operation")] if operation in _OPERATIONS and contradicts else found


def _walk(value: Any, pointer: str) -> Iterator[tuple[str, str]]:
    """Give what is wrong with a member, and with those in it."""
    rule = _TEXTS.get(pointer) or _TEXTS.get(re.sub(r"/\d+\Z", "/*", pointer))
    code = ""
    if rule:
        code = _fault_of_text(value, *rule, is_prose=pointer.endswith("justification"))
    elif pointer in _LISTS:
        is_list = isinstance(value, (list, tuple))
        code = "wrong-type" if not is_list else "too-long" if len(value) > _LIST_ITEMS else ""
        for position, item in enumerate(value if not code else ()):
            yield from _walk(item, f"{pointer}/{position}")
    elif not pointer or pointer in _OBJECTS:
        code = "" if isinstance(value, dict) else "wrong-type"
        for name, item in value.items() if not code else ():
            yield from _walk(item, f"{pointer}/{name}")
    elif pointer == "/data/count":
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        is_within = isinstance(value, int) and 0 <= value <= _COUNT_MOST
        code = "wrong-type" if not is_number else "" if is_within else "out-of-range"
    elif pointer not in _OTHERS:
        code = "unknown-member"
    if code:
        yield code, pointer


def _fault_of_text(text: Any, most: int, pattern: str, *, is_prose: bool) -> str:
    if not isinstance(text, str):
        return "wrong-type"
    if not text:
        return "blank"
    if len(unicodedata.normalize("NFC", text)) > most:
        return "too-long"
    if pattern:
        is_bare = not re.search("[\x00-\x1f]", text)
        return "" if re.fullmatch(pattern, text, re.ASCII) else "malformed" if is_bare else "character"
    if (_CONTROLS if is_prose else _UNSEEN).search(text):
        return "character"
    return "blank" if text.isspace() else ""


def sequence_of(line: bytes) -> int:
    """Return the number of a line. Raises EmitterError if it has none."""
    found = _SEQUENCE.match(line)
    if found is None:
        raise EmitterError("the spool is damaged: a line has no number")
    return int(found[1])


def _time_of(line: bytes) -> str:
    """Return the time of a line, as it was written."""
    found = _TIME.search(line)
    return found[1].decode() if found else "~"


def _told(reason: str) -> str:
    """Say why an event was set aside, or lost, by the code that either connector wrote down."""
    code, _, place = reason.partition(" ")
    if code == "source-prefix" and place:
        return f"not of the token's prefix: {place}; ask for a token of its prefix, then `again --token FILE`"
    if place:
        return f"{place}: {code.replace('-', ' ')}" if place.startswith("/") else reason
    return REASONS.get(code) or KINDS.get(code) or code.replace("-", " ")


def _ranges(numbers: list[int]) -> str:
    """Return numbers as ranges: 1 to 3, 7."""
    numbers = sorted(numbers)
    starts = [number for number in numbers if number - 1 not in numbers]
    ends = [number for number in numbers if number + 1 not in numbers]
    return ", ".join(str(low) if low == high else f"{low} to {high}" for low, high in zip(starts, ends, strict=True))


def _own(directory: Path) -> None:
    """Refuse a directory of another account: what root makes in it, by hand, the module could not write.

    Raises EmitterError.
    """
    if directory.stat().st_uid != os.geteuid():
        raise EmitterError(f"{directory}: belongs to another account; use the module's own")


def _read(value: str, kind: type) -> object:
    if kind is bool:
        return value.lower() in ("1", "true", "yes", "on")
    return float(value) if kind in (int, float) and "." in value else int(value) if kind in (int, float) else value


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _line(event: Mapping[str, object], number: int, epoch: str) -> bytes:
    spelt = json.dumps({"sequence": str(number), "epoch": epoch, **event}, ensure_ascii=False, separators=(",", ":"))
    line = spelt.encode()
    if len(line) > LINE_BYTES:
        raise EmitterError(f"nothing is recorded: the event is too large: {len(line)} bytes")
    return line + b"\n"


def _batch(file: IO[bytes]) -> list[bytes]:
    lines: list[bytes] = []
    for line in islice(file, BATCH_EVENTS):
        lines.append(line)
        if sum(map(len, lines)) >= BATCH_BYTES:
            break
    return lines


def _acknowledges(answer: bytes, lines: Sequence[bytes]) -> bool:
    """Tell whether an answer holds the journal's receipts, one for each line, in their order.

    A portal's page, or that of a maintenance, is an answer 200 as well: events leave the spool for receipts alone.
    """
    receipts = _object(answer).get("receipts")
    if not isinstance(receipts, list) or len(receipts) != len(lines):
        return False
    for receipt, line in zip(receipts, lines, strict=True):
        event = json.loads(line)
        named = [receipt.get("id"), receipt.get("source")] if isinstance(receipt, dict) else []
        if named != [event["id"], event["source"]] or not isinstance(receipt.get("index"), int):
            return False
    return True


def _kind(problem: Mapping[str, Any]) -> str:
    """Return the kind of a problem of the journal; empty if something else answered."""
    kind = str(problem.get("type", ""))
    return kind.removeprefix(PROBLEM) if kind.startswith(PROBLEM) else ""


def _network(error: Exception) -> str:
    """Say why there is no answer, and what to do."""
    reason = getattr(error, "reason", error)
    known: list[tuple[type[Exception], str]] = [
        (socket.gaierror, "the host of `url` is unknown (DNS); see to `url`"),
        (ConnectionRefusedError, "refused: nothing listens on the port of `url`; see to `url`, or the journal is down"),
        (ssl.SSLError, "TLS fails; see to `url`, `ca_file` and the date of this host"),
        (TimeoutError, "the journal or the network is down or slow; sending goes on by itself"),
    ]
    return next((told for kind, told in known if isinstance(reason, kind)), str(reason))


def _object(answer: bytes) -> dict[str, Any]:
    try:
        problem = json.loads(answer)
    except ValueError:
        return {}
    return problem if isinstance(problem, dict) else {}


def _open(path: Path, flags: int) -> IO[bytes]:
    return os.fdopen(os.open(path, flags, 0o600), "wb", buffering=0)


def _write_all(file: IO[bytes], content: bytes) -> None:
    if file.write(content) != len(content):
        raise OSError(28, "no space left on the device")
    os.fsync(file.fileno())


def _sync_directory(path: Path) -> None:
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def _tail(path: Path) -> bytes:
    """Return the last lines; one that a killed process has not ended is cut off: nobody was told that it was kept."""
    with path.open("rb") as file:
        start = max(0, path.stat().st_size - TAIL_BYTES)
        file.seek(start)
        tail = file.read()
    length = tail.rfind(b"\n") + 1
    if length < len(tail):
        os.truncate(path, start + length)
    return tail[:length]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return 0 if all is well, 1 if something is not, 2 if nothing could begin."""
    parser = argparse.ArgumentParser(
        description="Send what the spool of the access journal holds, and tell its health.",
        epilog="example: openepm_journal.py flush --config /etc/openepm/journal.ini",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    options = argparse.ArgumentParser(add_help=False)
    options.add_argument("--config", default="", help="the settings (OPENEPM_JOURNAL, or /etc/openepm/journal.ini)")
    options.add_argument("--seconds", type=float, default=50.0, help="how long at most")
    commands.add_parser("flush", parents=[options], help="send what waits")
    again = commands.add_parser("again", parents=[options], help="send once more what was set aside")
    again.add_argument("--token", default="", help="with this token, of an earlier prefix of the source")
    commands.add_parser("status", parents=[options], help="tell what waits, was set aside, is lost")
    drop = commands.add_parser("drop", parents=[options], help="set aside all that waits in a category")
    declared = commands.add_parser("declared", parents=[options], help="forget numbers that were declared lost")
    for parser_of_category in (drop, declared):
        parser_of_category.add_argument("category")
    declared.add_argument("first", type=int)
    declared.add_argument("last", type=int)
    chosen = parser.parse_args(arguments)
    try:
        return _do(Journal.from_file(chosen.config), chosen)
    except (EmitterError, OSError) as error:
        sys.stderr.write(f"openepm_journal: {error}\n")
        return 2


def _do(journal: Journal, chosen: argparse.Namespace) -> int:
    if chosen.command == "status":
        return _tell_health(journal)
    if chosen.command == "declared":
        count = journal.declared(chosen.category, chosen.first, chosen.last)
        sys.stdout.write(f"{chosen.category}: {count} losses or events set aside are declared, and told no more\n")
        return 0 if count else 1
    if chosen.command == "drop":
        stopped = {chosen.category: told} if (told := journal.drop(chosen.category)) else {}
    elif chosen.command == "again":
        stopped = journal.again(chosen.seconds, chosen.token)
    else:
        stopped = journal.flush(chosen.seconds, at_once=True)
    for told in journal.aside:
        sys.stderr.write(f"openepm-journal: {told}\n")
    for category, reason in stopped.items():
        sys.stderr.write(f"{category}: {reason}\n")
    return 1 if stopped or journal.aside else 0


def _tell_health(journal: Journal) -> int:
    told = journal.troubles()
    lines = list(told)
    for category, health in journal.health().items():
        oldest = f", the oldest of {health.oldest}" if health.oldest else ""
        lines.append(f"{category}: {health.waiting} waiting{oldest}, {len(health.aside)} set aside")
        lines += [f"  {line}" for line in health.told()]
        told += health.told()
    sys.stdout.write("\n".join(lines or ["nothing was recorded yet"]) + "\n")
    return 1 if told else 0


if __name__ == "__main__":
    sys.exit(main())
