"""The ledger of administrative facts: for each row that commands, the digest of its latest version.

The database stores tenants, categories, credentials and the like; the ledger decides which of their rows are obeyed.
It is the file `facts/ledger` in every copy of the key store: lines `seq op kind name digest mac`, appended and never
changed. `set` names the digest of a fact's next version (`-`: the fact ends), before the database commits it; `done` or
`undone` says what became of it. While neither follows, the versions before and after are both accepted, no other. Each
mac is an HMAC-SHA256 over the mac before it and the line, under a key derived from the first master key. A digest is an
HMAC too, so that names cannot be guessed from it; a line holds only codes.

Trust sentence: whoever can write to the key store's directory without the master key can at most deny service. They
cannot make a row be obeyed; a ledger that was cut short vouches for older rows, which then differ from the database's.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from hmac import digest as hmac_digest
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from journal.core.errors import KeyStoreError
from journal.keys.files import make_private_directory, named, sync_directory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

FOLDER: Final = "facts"
NAME: Final = f"{FOLDER}/ledger"
# The ledger's keys, wrapped: made when the master key they were derived from is replaced.
KEYS: Final = f"{FOLDER}/keys"
ABSENT: Final = "-"
LOCK_LIMIT_SECONDS: Final = 5.0
LOCK_PAUSE_SECONDS: Final = 0.01
_INFO: Final = b"openepm-journal/v1/ledger"
_FIELDS: Final = 6
_FIRST: Final = bytes(32)


@dataclass(slots=True)
class _Version:
    """A version of a fact: set by line `begun`; `ended` is the line that settled it, 0 while it is pending."""

    digest: str
    begun: int
    ended: int = 0
    is_undone: bool = False


@dataclass(slots=True)
class _Copy:
    """What was read of one copy: its lines verified so far, in bytes and number, and what is wrong with it."""

    path: Path
    stamp: tuple[int, int] = (0, 0)  # inode and time of change when it was last read
    size: int = 0  # then too
    valid: int = 0  # bytes of whole, verified lines
    lines: int = 0
    problem: str | None = None


@dataclass(slots=True)
class _Lines:
    """The verified lines, and the mac of each."""

    texts: list[bytes] = field(default_factory=list)
    macs: list[bytes] = field(default_factory=list)


def derive_keys(master_key: bytes) -> bytes:
    """Return the keys of a ledger (64 bytes) that is begun under this master key; later ones leave them as they are."""
    return HKDF(algorithm=SHA256(), length=64, salt=None, info=_INFO).derive(master_key)


class Ledger:
    """Follows every copy of the ledger, and appends to all of them; the longest verified copy counts."""

    def __init__(self, directories: Sequence[Path], keys: bytes, check_mounted: Callable[[], None]) -> None:
        """Use these directories of one key store; `check_mounted` raises KeyStoreError where one is not mounted.

        `keys` are those of `derive_keys`.
        """
        self._chain_key, self._digest_key = keys[:32], keys[32:]
        self._check_mounted = check_mounted
        # Appending is done in a thread while the event loop reads.
        self._lock = threading.RLock()
        self._copies = [_Copy(directory / NAME) for directory in directories]
        self._lines = _Lines()
        self._versions: dict[tuple[str, str], list[_Version]] = {}
        self._pending: dict[tuple[str, str], _Version] = {}

    # What it says

    def refresh(self) -> int:
        """Read what was appended, by any process; return the number of lines. Costs one stat for each copy."""
        with self._lock:
            for copy in self._copies:
                self._follow(copy)
            return len(self._lines.macs)

    def digest(self, content: bytes) -> str:
        """Return the digest of a fact's version, or the mac of a row: 64 hexadecimal digits."""
        return hmac_digest(self._digest_key, content, "sha256").hex()

    def accepts(self, kind: str, name: str, digest: str, since: int) -> bool:
        """Tell whether a version was the latest at some moment after line `since`; ABSENT: whether there was none.

        A row read after `refresh` returned `since` is judged after another `refresh`: versions that were replaced
        between the two are still accepted.
        """
        for version in reversed(self._versions.get((kind, name), ())):
            if version.is_undone:
                continue
            if version.digest == digest:
                return True
            if version.ended and version.ended <= since:
                return False
        return digest == ABSENT

    def names(self, kind: str) -> list[str]:
        """Return the facts of a kind that exist by now, pending ones not included."""
        with self._lock:
            return [name for of_kind, name in self._versions if of_kind == kind and self.knows(kind, name)]

    def knows(self, kind: str, name: str) -> bool:
        """Tell whether the fact exists, by its last settled version."""
        for version in reversed(self._versions.get((kind, name), ())):
            if version.ended and not version.is_undone:
                return version.digest != ABSENT
        return False

    def pending(self) -> dict[tuple[str, str], str]:
        """Return the digests that were set and neither done nor undone, by fact: a change is under way, or was cut."""
        return {key: version.digest for key, version in self._pending.items()}

    def changed_since(self, line: int) -> set[tuple[str, str]]:
        """Return the facts that lines after this one are about."""
        return {_key(text) for text in self._lines.texts[line:]}

    def problems(self) -> list[str]:
        """Return a sentence for each copy that is damaged, cut short, or behind."""
        return [copy.problem or _behind(copy) for copy in self._copies if copy.problem or self._lags(copy)]

    # Appending

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold every copy for appending, each read to its end, those behind by a cut change brought up to date.

        Raises KeyStoreError, which names the copy, where one is not mounted, damaged, or further behind; OSError.
        """
        self._check_mounted()
        with ExitStack() as held:
            for copy in self._copies:
                held.enter_context(_locked(copy.path))
            self.refresh()
            settled = self._last_settled()
            for copy in self._copies:
                if copy.problem is not None:
                    raise KeyStoreError(f"no change is made: {copy.problem}")
                if self._lags(copy) and copy.lines < settled:
                    raise KeyStoreError(f"no change is made: {_behind(copy)}")
            self._write([])
            yield

    def set(self, changes: Mapping[tuple[str, str], str]) -> None:
        """Name the next version of each fact, durably in every copy; only within `writing`."""
        self._write([("set", kind, name, digest) for (kind, name), digest in changes.items()])

    def settle(self, keys: Iterable[tuple[str, str]], *, is_done: bool) -> None:
        """Say what became of the pending versions of these facts; only within `writing`."""
        op = "done" if is_done else "undone"
        self._write([(op, *key, self._pending[key].digest) for key in keys if key in self._pending])

    def repair(self) -> None:
        """Bring every copy up to date with the longest. Raises KeyStoreError, which names a copy that is not."""
        self.refresh()
        if not self.problems():
            return
        self._check_mounted()
        with ExitStack() as held:
            for copy in self._copies:
                held.enter_context(_locked(copy.path))
            self.refresh()
            damaged = [copy.problem for copy in self._copies if copy.size and copy.problem is not None]
            if damaged and (not self._lines.macs or len(damaged) == len(self._copies)):
                # Nothing verifies: the master key is another one, and to cut the files short would lose them.
                raise KeyStoreError(damaged[0])
            self._write([])
            for copy in self._copies:
                copy.stamp = (0, 0)  # read it again, whole
            self.refresh()
        if left := self.problems():
            raise KeyStoreError(left[0])

    def take(self, source: Ledger) -> int:
        """Append what another key store's ledger has besides; return how many lines. Raises KeyStoreError."""
        source.refresh()
        self.refresh()
        ours, theirs = self._lines, source._lines
        common = min(len(ours.macs), len(theirs.macs))
        if ours.macs[:common] != theirs.macs[:common]:
            raise KeyStoreError(
                f"{self._copies[0].path} and {source._copies[0].path} are ledgers of two histories: keep the key store "
                "that served last, and remove the ledger of the other"
            )
        if common == len(theirs.macs):
            return 0
        with ExitStack() as held:
            for copy in self._copies:
                held.enter_context(_locked(copy.path))
            with self._lock:
                for text, mac in zip(theirs.texts[common:], theirs.macs[common:], strict=True):
                    self._take_line(text, mac)
                self._write([])
        return len(theirs.macs) - common

    # Files

    def _write(self, lines: Sequence[tuple[str, str, str, str]]) -> None:
        """Append lines to every copy, and what each lacks before them, durably."""
        with self._lock:
            self._write_locked(lines)

    def _write_locked(self, lines: Sequence[tuple[str, str, str, str]]) -> None:
        for op, kind, name, digest in lines:
            seq = len(self._lines.macs) + 1
            body = f"{seq} {op} {kind} {name} {digest}".encode("ascii")
            mac = self._mac(body)
            self._take_line(body + b" " + mac.hex().encode("ascii") + b"\n", mac)
        for copy in self._copies:
            missing = b"".join(self._lines.texts[copy.lines :])
            # What follows damage stays, unless another copy has it: somebody may still mend the line.
            if not missing and (copy.size == copy.valid or copy.problem is not None):
                continue
            descriptor = os.open(copy.path, os.O_WRONLY)
            try:
                with named(copy.path):
                    self._append(descriptor, copy, missing)
                status = os.fstat(descriptor)
                copy.stamp = (status.st_ino, status.st_mtime_ns)
            finally:
                os.close(descriptor)
            copy.valid = copy.size = copy.valid + len(missing)
            copy.lines = len(self._lines.macs)

    @staticmethod
    def _append(descriptor: int, copy: _Copy, missing: bytes) -> None:
        os.ftruncate(descriptor, copy.valid)  # a line that a crash has torn
        written = 0
        while written < len(missing):
            written += os.pwrite(descriptor, missing[written:], copy.valid + written)
        # `done` too: while it is lost, a replayed row of the version before would be settled as the one that counts.
        os.fsync(descriptor)

    def _follow(self, copy: _Copy) -> None:
        try:
            status = copy.path.stat()
        except (FileNotFoundError, NotADirectoryError):
            if copy.lines:
                copy.problem = f"the ledger {copy.path} is gone: put it back, or run openepm-journal serve again"
            copy.stamp = (0, 0)  # back as it was, it is read again, whole
            return
        except OSError as error:
            copy.stamp = (0, 0)
            copy.problem = f"the ledger {copy.path} cannot be read: {error.strerror}"
            return
        stamp = (status.st_ino, status.st_mtime_ns)
        if (stamp, status.st_size) == (copy.stamp, copy.size):
            return
        # Whoever appends makes it longer: one that is not was written over.
        is_other = status.st_ino != copy.stamp[0] or status.st_size <= copy.size
        copy.stamp = stamp
        if is_other:
            was = copy.lines
            copy.valid, copy.lines, copy.problem = 0, 0, None
            self._read(copy)
            if copy.lines < was and copy.problem is None:
                copy.problem = (
                    f"the ledger {copy.path} was cut short: {copy.lines} lines, {was} before; put it back from another "
                    "copy of the key store"
                )
            return
        self._read(copy)

    def _read(self, copy: _Copy) -> None:
        """Read and verify what a copy has after its valid bytes."""
        try:
            with copy.path.open("rb") as file:
                file.seek(copy.valid)
                content = file.read()
        except OSError as error:
            copy.problem = f"the ledger {copy.path} cannot be read: {error.strerror}"
            return
        copy.size = copy.valid + len(content)
        for line in content.splitlines(keepends=True):
            if not line.endswith(b"\n"):
                break  # being written, or torn by a crash
            if not self._verify(copy.lines, line):
                unless = " (unless the master key is another one's)" if copy.lines == 0 else ""
                copy.problem = (
                    f"the ledger {copy.path} is damaged in line {copy.lines + 1}{unless}: put it back from another "
                    "copy of the key store (openepm-journal keys restore)"
                )
                return
            copy.valid += len(line)
            copy.lines += 1

    def _verify(self, place: int, line: bytes) -> bool:
        """Tell whether a line belongs at this place; take it if it is the next."""
        macs = self._lines.macs
        if place < len(macs):
            return self._lines.texts[place] == line
        body, _, mac_text = line[:-1].rpartition(b" ")
        mac = self._mac(body)
        if mac.hex().encode("ascii") != mac_text or len(body.split(b" ")) != _FIELDS - 1:
            return False
        self._take_line(line, mac)
        return True

    def _mac(self, body: bytes) -> bytes:
        before = self._lines.macs[-1] if self._lines.macs else _FIRST
        return hmac_digest(self._chain_key, before + body, "sha256")

    def _take_line(self, line: bytes, mac: bytes) -> None:
        """Keep a verified line, and what it says."""
        self._lines.texts.append(line)
        self._lines.macs.append(mac)
        seq = len(self._lines.macs)
        _, op, kind, name, digest, _ = line.decode("ascii").split(" ")
        key = (kind, name)
        if op == "set":
            version = _Version(digest, seq)
            self._versions.setdefault(key, []).append(version)
            self._pending[key] = version
        elif (pending := self._pending.pop(key, None)) is not None:
            pending.ended, pending.is_undone = seq, op == "undone"

    def _last_settled(self) -> int:
        """Return the last line after which nothing was pending."""
        first = min((version.begun for version in self._pending.values()), default=len(self._lines.macs) + 1)
        seq = first - 1
        # Lines that only settle may be missing from a copy: they are not made durable.
        while seq and self._lines.texts[seq - 1].split(b" ", 2)[1] != b"set":
            seq -= 1
        return seq

    def _lags(self, copy: _Copy) -> bool:
        return copy.lines < len(self._lines.macs)


def _behind(copy: _Copy) -> str:
    return (
        f"the ledger {copy.path} is behind the other copies of the key store: a start, or the hourly maintenance, "
        "brings it up to date"
    )


def _key(line: bytes) -> tuple[str, str]:
    _, _, kind, name, _ = line.decode("ascii").split(" ", 4)
    return kind, name


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the exclusive lock of one copy's file, made if it is missing. Raises KeyStoreError after some seconds."""
    if not path.exists():
        make_private_directory(path.parent)
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
        sync_directory(path.parent)
    deadline = time.monotonic() + LOCK_LIMIT_SECONDS
    # Open for writing: a network file system makes of this lock one of bytes, which asks for it (flock(2)).
    descriptor = os.open(path, os.O_RDWR)
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                if time.monotonic() > deadline:
                    raise KeyStoreError(
                        f"another process has been writing {path} for {LOCK_LIMIT_SECONDS:g} s: try again"
                    ) from error
                time.sleep(LOCK_PAUSE_SECONDS)
            else:
                break
        yield
    finally:
        os.close(descriptor)
