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
import os
import re
import secrets
import socket
import ssl
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass, fields
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
# The journal takes 16 KiB; a line is always shorter than the tail that is read of a segment.
LINE_BYTES = 64 * 1024
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
TOO_OLD = "too old"
# As this module and the connector in PHP say it.
TOO_OLD_REASONS = (TOO_OLD, "trop ancien")
# The segment of what was set aside and is sent again; no event has its number.
BACK = "0000000000000000.ndjson"
SELF = "openepm-journal"
_SEGMENT = re.compile(r"\d{16}\.ndjson")
_SEQUENCE = re.compile(rb'\{"sequence":"(\d{1,16})"')
_TIME = re.compile(rb'"time":"([^"]+)"')
_CATEGORY = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


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

    @classmethod
    def from_file(cls, path: str | Path) -> Journal:
        """Read the settings from the connector's INI file. Raises EmitterError."""
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

        Raises EmitterError if it is not in the spool.
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

    def flush(self, seconds: float = 50.0) -> dict[str, str]:
        """Send what waits, for some seconds at most; return by category what stopped it, nothing if all is sent."""
        self._beat()
        return self._each_sender(Sender.run, seconds)

    def again(self, seconds: float = 50.0) -> dict[str, str]:
        """Send once more what was set aside, its cause mended; return by category what stopped it."""
        return self._each_sender(Sender.again, seconds)

    def _each_sender(self, act: Callable[[Sender, float], str], seconds: float) -> dict[str, str]:
        until = time.monotonic() + seconds
        stopped: dict[str, str] = {}
        for spool in self.spools():
            try:
                reason = act(Sender(self.settings, spool), until)
            except (EmitterError, OSError) as error:
                reason = str(error)
            if reason:
                stopped[spool.category] = reason
        return stopped

    def _beat(self) -> None:
        """Put a sign of life into each spool that is empty and had no event for the time that is set."""
        seconds = 60 * self.settings.rhythm_minutes
        for spool in self.spools() if seconds else []:
            if spool.still_since() <= time.time() - seconds:
                self.record("access", account=SELF, category=spool.category)


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
                    self.note_loss(first, first + count - 1, "not written")
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
        if self.directory.stat().st_uid != os.geteuid():
            # What another account (root, by hand) makes here could not be written by the module afterwards.
            raise EmitterError(f"{self.directory}: belongs to another account; use the module's own")
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

    def take_back(self) -> None:
        """Put what was set aside in front of what waits, but for what is too old; a kill leaves some of it in both."""
        for path in sorted(self.directory.glob("quarantine-*.ndjson")):
            lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
            kept = [line for line in lines if json.loads(line)["reason"] in TOO_OLD_REASONS]
            back = "".join(json.loads(line)["event"] + "\n" for line in lines if line not in kept)
            if back:
                self.add(BACK, back.encode())
                self.replace(path.name, "".join(kept))

    def size(self) -> int:
        """Return the bytes that wait."""
        return sum(path.stat().st_size for path in self.segments())

    @contextlib.contextmanager
    def _prepared(self) -> Iterator[None]:
        """Make the directory, if need be, and hold its lock."""
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

    def run(self, until: float) -> str:
        """Send until a moment (monotonic); return what stopped it, or an empty text. Raises EmitterError, OSError."""
        try:
            with self._spool.lock("send.lock", waits=False):
                self._state = self.read()
                pause = self._state.get("retry_at", 0) - time.time()
                if 0 < pause <= LONGEST_RETRY_AFTER_SECONDS:  # longer: the clock was put back
                    return str(self._state.get("error", ""))
                self._forget()
                stopped = self._send_all(until)
                self._keep("" if stopped == TIME_OVER else stopped)
                return stopped
        except BlockingIOError:
            return ""  # another process sends

    def again(self, until: float) -> str:
        """Send what waits, then once more what was set aside; return what stopped it. Raises EmitterError, OSError."""
        if stopped := self.run(until):
            return stopped
        try:
            with self._spool.lock("send.lock", waits=False):
                # First the state, or its offset would count for what comes back.
                kept = {name: value for name, value in self.read().items() if name not in ("segment", "offset")}
                self._spool.keep_state(kept)
                self._spool.take_back()
        except BlockingIOError:
            return "another process sends: try again"
        return self.run(until)

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
                if stopped := self._send_segment(path, until):
                    return stopped
                path.unlink()
                self._keep_receipts(b"")
        return "some receipts could not be kept: is the disk full?" if self._receipts else ""

    def _send_segment(self, path: Path, until: float) -> str:
        if self._state.get("segment") != path.name:
            self._state |= {"segment": path.name, "offset": 0}
        with path.open("rb") as file:
            file.seek(self._state["offset"])
            while lines := _batch(file):
                if stopped := self._settle(lines, until):
                    return stopped
        return ""

    def _settle(self, lines: list[bytes], until: float) -> str:
        """Settle lines in order, run by run: acknowledged or set aside, and that is kept; return what stopped it."""
        verdicts: dict[int, Verdict] = {}
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
            if verdict is not None:
                self._set_aside(run, verdict.reason)
            elif (found := self._ask(run)) is None:
                # No fault names an event: each half is sent on its own.
                most = max(1, len(run) // 2)
                continue
            elif found:
                verdicts |= {done + position: named for position, named in found.items()}
                continue
            self._state["offset"] += sum(map(len, run))
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
        return None if len(lines) > 1 else {0: Verdict(self._why(status, problem))}

    def _verdict(self, fault: Mapping[str, Any], line: bytes) -> Verdict:
        """Return what becomes of a line with this fault; its bytes are kept either way."""
        code, event = fault.get("code"), json.loads(line)
        why = f"{fault.get('pointer', '')} {fault.get('reason', '')}".strip()
        if code in ("time-too-old", "time-purged"):
            return Verdict(TOO_OLD)
        if code == "source-prefix" and event["source"] == self._settings.source:
            # So are all: the token or the setting is wrong, not the event.
            return Verdict(f"the token does not go with the setting `source`: {why}", waits=True)
        ahead = datetime.fromisoformat(event["time"]).timestamp() - time.time()
        if fault.get("retryable") and (ahead < DAY_SECONDS or self._state.get("clock_seconds", 0) > CLOCK_SECONDS):
            # The clock is put right, or time passes; what is dated a day ahead does not hold up the others.
            return Verdict(self._why(0, {"detail": f"answer 422: {why}"}), waits=True)
        return Verdict(why)

    def _too_old(self, lines: list[bytes]) -> dict[int, Verdict]:
        """Return the lines that have waited for too long, as far as this clock is right."""
        if abs(self._state.get("clock_seconds", 0)) > CLOCK_SECONDS:
            return {}
        oldest = (datetime.now(UTC) - timedelta(days=self._settings.max_age_days)).isoformat().encode()
        old = (number for number, line in enumerate(lines) if (found := _TIME.search(line)) and found[1] < oldest[:26])
        return dict.fromkeys(old, Verdict(TOO_OLD))

    def _set_aside(self, lines: list[bytes], reason: str) -> None:
        kept = [{"at": _now(), "reason": reason, "event": line.decode().rstrip()} for line in lines]
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in kept)
        self._spool.add(f"quarantine-{_now()[:10]}.ndjson", text.encode())
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
        self._spool.keep_state(self._state)

    def _forget(self) -> None:
        """Remove what is older than the settings say."""
        for kind, days in (("receipts", self._settings.receipts_days), ("quarantine", self._settings.quarantine_days)):
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
    """What becomes of a line: it is set aside for this reason, or all waits for it."""

    reason: str
    waits: bool = False


def sequence_of(line: bytes) -> int:
    """Return the number of a line. Raises EmitterError if it has none."""
    found = _SEQUENCE.match(line)
    if found is None:
        raise EmitterError("the spool is damaged: a line has no number")
    return int(found[1])


def _read(value: str, kind: type) -> object:
    if kind is bool:
        return value.lower() in ("1", "true", "yes", "on")
    return float(value) if kind in (int, float) and "." in value else int(value) if kind in (int, float) else value


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _line(event: Mapping[str, object], number: int, epoch: str) -> bytes:
    spelt = json.dumps({"sequence": str(number), "epoch": epoch, **event}, ensure_ascii=False, separators=(",", ":"))
    line = spelt.encode() + b"\n"
    if len(line) >= LINE_BYTES:
        raise EmitterError(f"the event is too large: {len(line)} bytes")
    return line


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
    """Send what waits; return 0 if nothing stopped it, 1 if something did, 2 if nothing could begin."""
    parser = argparse.ArgumentParser(
        description="Send what the spool of the access journal holds.",
        epilog="example: openepm_journal.py flush --config /etc/openepm/journal.ini",
    )
    parser.add_argument("command", choices=["flush", "again"], help="send what waits, or once more what was set aside")
    parser.add_argument("--config", default="/etc/openepm/journal.ini", help="the connector's settings")
    parser.add_argument("--seconds", type=float, default=50.0, help="how long at most")
    chosen = parser.parse_args(arguments)
    try:
        journal = Journal.from_file(chosen.config)
        stopped = journal.flush(chosen.seconds) if chosen.command == "flush" else journal.again(chosen.seconds)
    except EmitterError as error:
        sys.stderr.write(f"openepm_journal: {error}\n")
        return 2
    for category, reason in stopped.items():
        sys.stderr.write(f"{category}: {reason}\n")
    return 1 if stopped else 0


if __name__ == "__main__":
    sys.exit(main())
