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
import json
import os
import re
import secrets
import ssl
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from email.message import Message

VERSION = "1.0"
TYPE_PREFIX = "fr.openepm.journal."
SEGMENT_BYTES = 4 * 1024 * 1024
BATCH_EVENTS = 500
BATCH_BYTES = 1024 * 1024
TAIL_BYTES = 128 * 1024
LOST_BYTES = 128
# Beyond this the journal may refuse what this clock says.
CLOCK_SECONDS = 60
LONGEST_PAUSE_SECONDS = 60
DAY_SECONDS = 86_400
UNACCEPTABLE = 422
REFUSED_FOR_GOOD = (400, 409, 413, UNACCEPTABLE)
NOT_ALLOWED = (401, 403, 404)
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
    max_age_days: int = 6
    receipts_days: int = 70
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
        return [self.spool(path.name) for path in sorted(root.iterdir()) if path.is_dir()] if root.is_dir() else []

    def flush(self, seconds: float = 50.0) -> dict[str, str]:
        """Send what waits, for some seconds at most; return by category what stopped it, nothing if all is sent."""
        until = time.monotonic() + seconds
        stopped: dict[str, str] = {}
        for spool in self.spools():
            try:
                reason = Sender(self.settings, spool).run(until)
            except (EmitterError, OSError) as error:
                reason = str(error)
            if reason:
                stopped[spool.category] = reason
        return stopped


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
            self._prepare()
            with self.lock("write.lock"):
                segments = self.segments()
                path = segments[-1] if segments else self._start(1)
                count, first, since = self.lost()
                number = self._next(path)
                try:
                    self._write(path, _line(event, number, self.epoch), is_bounded=True)
                except (EmitterError, OSError):
                    self._lose(count + 1, first if count else number, since if count else str(event["time"]))
                    raise
                if count:
                    self.note_loss(first, first + count - 1, "the spool was full")
                    self._lose(0, 0, "-")
        except OSError as error:
            raise EmitterError(f"{self.directory}: the event cannot be written: {error.strerror}") from error

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
            _mend(last)
            size = last.stat().st_size
            if size and (len(segments) == 1 or size >= SEGMENT_BYTES):
                self._start(self._next(last))
                return segments
            return segments[:-1]

    @contextlib.contextmanager
    def lock(self, name: str, *, waits: bool = True) -> Iterator[None]:
        """Hold a lock of the directory; it ends with the process. Raises BlockingIOError unless it waits."""
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

    def add(self, name: str, lines: bytes) -> None:
        """Add lines to a file, for good."""
        self._write(self.directory / name, lines, is_bounded=False)

    def size(self) -> int:
        """Return the bytes that wait."""
        return sum(path.stat().st_size for path in self.segments())

    def _prepare(self) -> None:
        if (self.directory / "lost").exists():
            return
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.replace("epoch", f"{_now()[:10].replace('-', '')}-{secrets.token_hex(4)}\n")
        # Its blocks are taken now, so that a loss can be noted on a full disk; the last file to appear.
        self.replace("lost", "0 0 -".ljust(LOST_BYTES) + "\n")

    def _start(self, first: int) -> Path:
        path = self.directory / f"{first:016d}.ndjson"
        with _open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND) as file:
            os.fsync(file.fileno())
        _sync_directory(self.directory)
        return path

    def _next(self, path: Path) -> int:
        """Return the number that follows what a segment holds and what was lost since."""
        _mend(path)
        lines = _tail(path)[1].splitlines()
        number = sequence_of(lines[-1]) + 1 if lines else int(path.stem)
        count, first, _ = self.lost()
        return max(number, first + count) if count else number

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
        with _open(self.directory / "lost", os.O_WRONLY) as file:
            _write_all(file, (f"{count} {first} {since}" if count else "0 0 -").ljust(LOST_BYTES).encode())


class Sender:
    """Sends one spool: one process at a time, in order, each batch again until it has an answer."""

    def __init__(self, settings: Settings, spool: Spool) -> None:
        """Send this spool."""
        self._settings = settings
        self._spool = spool
        self._state: dict[str, Any] = {}

    def run(self, until: float) -> str:
        """Send until a moment (monotonic); return what stopped it, or an empty text. Raises EmitterError, OSError."""
        try:
            with self._spool.lock("send.lock", waits=False):
                self._state = self.read()
                if self._state.get("retry_at", 0) > time.time():
                    return str(self._state.get("error", ""))
                stopped = self._send_all(until)
                self._keep(stopped)
                self._forget()
                return stopped
        except BlockingIOError:
            return ""  # another process sends

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
        return ""

    def _send_segment(self, path: Path, until: float) -> str:
        offset = int(self._state["offset"]) if self._state.get("segment") == path.name else 0
        with path.open("rb") as file:
            file.seek(offset)
            while lines := _batch(file):
                if time.monotonic() > until:
                    return "the time given is over"
                if stopped := self._send(lines):
                    return stopped
                offset += sum(map(len, lines))
                self._state |= {"segment": path.name, "offset": offset}
                self._keep("")
        return ""

    def _send(self, lines: list[bytes]) -> str:
        """Send lines until each is acknowledged or set aside; return what stopped it."""
        lines = self._recent(lines)
        while lines:
            status, answer = self._post(b"[" + b",".join(line.rstrip() for line in lines) + b"]")
            if status in (200, 201):
                self._spool.add(f"receipts-{_now()[:10]}.ndjson", answer + b"\n")
                self._state["acknowledged_at"] = _now()
                return ""
            problem = _problem(answer)
            if status not in REFUSED_FOR_GOOD or self._is_clock(status):
                return self._why(status, problem)
            refused = _refused(lines, problem)
            if not refused:
                # No fault names an event: each half is sent on its own.
                half = len(lines) // 2
                if stopped := self._send(lines[:half]):
                    return stopped
                lines = lines[half:]
            for position, reason in refused.items():
                self._set_aside(lines[position], reason)
            lines = [line for position, line in enumerate(lines) if position not in refused]
        return ""

    def _recent(self, lines: list[bytes]) -> list[bytes]:
        """Return the lines that the journal still takes; the others are set aside and noted as lost."""
        oldest = (datetime.now(UTC) - timedelta(days=self._settings.max_age_days)).isoformat().encode()
        late = [line for line in lines if (found := _TIME.search(line)) and found[1] < oldest[:26]]
        runs: list[list[int]] = []
        for line in late:
            self._set_aside(line, "too old")
            number = sequence_of(line)
            if runs and runs[-1][1] == number - 1:
                runs[-1][1] = number
            else:
                runs.append([number, number])
        for first, last in runs:
            self._spool.note_loss(first, last, "too old")
        return [line for line in lines if line not in late]

    def _is_clock(self, status: int) -> bool:
        # A clock ahead is put right, or time passes: nothing is wrong with the events.
        return status == UNACCEPTABLE and float(self._state.get("clock_seconds", 0)) > CLOCK_SECONDS

    def _set_aside(self, line: bytes, reason: str) -> None:
        kept = {"at": _now(), "reason": reason.strip(), "event": line.decode().rstrip()}
        self._spool.add("quarantine.ndjson", json.dumps(kept, ensure_ascii=False).encode() + b"\n")

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
        context, seconds = (
            ssl.create_default_context(cafile=self._settings.ca_file or None),
            self._settings.timeout_seconds,
        )
        try:
            with urllib.request.urlopen(request, timeout=seconds, context=context) as answer:  # noqa: S310 (same)
                self._note(answer.headers)
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            self._note(error.headers)
            return error.code, error.read()
        except OSError as error:
            return 0, json.dumps({"detail": f"no answer: {getattr(error, 'reason', error)}"}).encode()

    def _note(self, headers: Message) -> None:
        with contextlib.suppress(KeyError, ValueError, TypeError):
            self._state["clock_seconds"] = round(time.time() - parsedate_to_datetime(headers["Date"]).timestamp())
        with contextlib.suppress(KeyError, ValueError, TypeError):
            self._state["retry_after"] = int(headers["Retry-After"])

    def _why(self, status: int, problem: Mapping[str, Any]) -> str:
        clock = abs(int(self._state.get("clock_seconds", 0)))
        told = f"; this host's clock is off by {clock} s" if clock > CLOCK_SECONDS else ""
        detail = str(problem.get("detail", ""))
        if status in NOT_ALLOWED:
            return f"the token is refused ({status}): expired, revoked, or without a right to this category{told}"
        return (f"answer {status}: {detail}" if status else detail) + told

    def _keep(self, error: str) -> None:
        retry_after = int(self._state.pop("retry_after", 0))
        if error:
            pause = min(LONGEST_PAUSE_SECONDS, max(1, 2 * int(self._state.get("pause", 0))))
            self._state |= {"pause": pause, "retry_at": time.time() + max(pause, retry_after), "error": error}
            self._state.setdefault("since", _now())
        else:
            for name in ("error", "since", "retry_at", "pause"):
                self._state.pop(name, None)
        self._spool.replace("state.json", json.dumps(self._state))

    def _forget(self) -> None:
        oldest = datetime.now(UTC) - timedelta(days=self._settings.receipts_days)
        for path in self._spool.directory.glob("receipts-*.ndjson"):
            if path.name < f"receipts-{oldest:%Y-%m-%d}":
                path.unlink()


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
    return spelt.encode() + b"\n"


def _batch(file: IO[bytes]) -> list[bytes]:
    lines: list[bytes] = []
    for line in islice(file, BATCH_EVENTS):
        lines.append(line)
        if sum(map(len, lines)) >= BATCH_BYTES:
            break
    return lines


def _problem(answer: bytes) -> dict[str, Any]:
    try:
        problem = json.loads(answer)
    except ValueError:
        return {}
    return problem if isinstance(problem, dict) else {}


def _refused(lines: Sequence[bytes], problem: Mapping[str, Any]) -> dict[int, str]:
    """Return by position why an event is refused for good."""
    refused: dict[int, str] = {}
    for fault in problem.get("faults", ()):
        if 0 <= fault.get("position", -1) < len(lines):
            refused[fault["position"]] = f"{fault.get('pointer', '')} {fault.get('reason', '')}"
    if not refused and len(lines) == 1:
        refused[0] = str(problem.get("detail", "refused"))
    return refused


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


def _tail(path: Path) -> tuple[int, bytes]:
    """Return where the last bytes of a segment begin, and these."""
    with path.open("rb") as file:
        start = max(0, path.stat().st_size - TAIL_BYTES)
        file.seek(start)
        return start, file.read()


def _mend(path: Path) -> None:
    """Cut off a line that a killed process has not ended; nobody was told that it was recorded."""
    start, tail = _tail(path)
    if tail and not tail.endswith(b"\n"):
        os.truncate(path, start + tail.rfind(b"\n") + 1)


def main(arguments: Sequence[str] | None = None) -> int:
    """Send what waits; return 0 if all is sent, 1 if something stopped it, 2 if nothing could begin."""
    parser = argparse.ArgumentParser(
        description="Send what the spool of the access journal holds.",
        epilog="example: openepm_journal.py flush --config /etc/openepm/journal.ini",
    )
    parser.add_argument("command", choices=["flush"])
    parser.add_argument("--config", default="/etc/openepm/journal.ini", help="the connector's settings")
    parser.add_argument("--seconds", type=float, default=50.0, help="how long at most")
    chosen = parser.parse_args(arguments)
    try:
        stopped = Journal.from_file(chosen.config).flush(chosen.seconds)
    except EmitterError as error:
        sys.stderr.write(f"openepm_journal: {error}\n")
        return 2
    for category, reason in stopped.items():
        sys.stderr.write(f"{category}: {reason}\n")
    return 1 if stopped else 0


if __name__ == "__main__":
    sys.exit(main())
