"""Keys in files: each wrapped under the master key, in one directory and its replicas.

A wrapped key is nonce(12) ‖ AES-256-GCM(master key, nonce, key, aad = its name): a file copied under another name does
not open. The name is the file's path, as `tenants/albi`.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from journal.core.entry import RESERVED_TENANT
from journal.core.errors import AbsentKeyError, KeyStoreError, OperatorError
from journal.keys.files import (
    create_durably,
    describe,
    list_directory,
    make_private_directory,
    read_file,
    replace_durably,
    shred_file,
    sync_directory,
    use_reserve,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

KEY_BYTES = 32
NONCE_BYTES = 12
# The service's own key: every copy of a key store has it.
SERVICE_KEY = f"tenants/{RESERVED_TENANT}"
_LABEL = b"openepm-journal/v1/wrapped-key\x00"


def read_master_key(path: Path) -> bytes:
    """Read the master key that wraps: a file of 64 hexadecimal digits. Raises OperatorError."""
    return MasterKey.read(path).current


def make_master_key(path: Path) -> None:
    """Make a master key, unless the file exists."""
    create_durably(path, os.urandom(KEY_BYTES).hex().encode() + b"\n")


class MasterKey:
    """The key that wraps, and one that only opens while the master key is being replaced (`journal.keys.rotation`).

    Its file holds 64 hexadecimal digits. During a replacement a second line follows: `<new key> next`, or, once the new
    one wraps, `<old key> former`. The file is read again when it has changed: a running service follows it.
    """

    def __init__(self, current: bytes, other: bytes | None = None, word: str = "", path: Path | None = None) -> None:
        """Use these; `path` is the file to follow."""
        self.current, self.other, self.word = current, other, word
        self._path = path
        self.mark = _mark(path)

    @classmethod
    def read(cls, path: Path) -> MasterKey:
        """Read the file. Raises OperatorError."""
        mark = _mark(path)
        try:
            first, *rest = read_file(path).decode("ascii").split("\n")
            key = bytes.fromhex(first.strip())
            second: bytes | None = None
            word = ""
            for line in filter(str.strip, rest):
                other, word = line.split()
                second = bytes.fromhex(other)
        except FileNotFoundError as error:
            raise OperatorError(
                f"master key {path} is missing: restore it, or set JOURNAL_MASTER_KEY_FILE to where it is"
            ) from error
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not 64 hexadecimal digits"
            raise OperatorError(f"master key {path} cannot be read: {why}") from error
        for each in (key, second):
            if each is not None and len(each) != KEY_BYTES:
                raise OperatorError(
                    f"master key {path} holds {len(each)} bytes; it must hold {KEY_BYTES}, in hexadecimal"
                )
        made = cls(key, second, word, path)
        made.mark = mark
        return made

    def __str__(self) -> str:
        """Return it with its file, not its value."""
        return f"master key {self._path}" if self._path is not None else "master key"

    def write(self, path: Path) -> None:
        """Write the file, whole and durable, with the owner and mode it has. Raises OSError."""
        lines = [self.current.hex()] + ([f"{self.other.hex()} {self.word}"] if self.other is not None else [])
        replace_durably(path, "".join(f"{line}\n" for line in lines).encode("ascii"), keeps_owner=True)

    def refresh(self) -> bool:
        """Read the file again if it has changed; tell whether it had. One that cannot be read changes nothing."""
        if self._path is None or _mark(self._path) in {None, self.mark}:
            return False
        try:
            anew = MasterKey.read(self._path)
        except OperatorError:
            return False
        self.current, self.other, self.word, self.mark = anew.current, anew.other, anew.word, anew.mark
        return True

    def wrap(self, name: str, key: bytes) -> bytes:
        """Return a key wrapped under the current one."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + AESGCM(self.current).encrypt(nonce, key, _LABEL + name.encode())

    def open(self, name: str, wrapped: bytes) -> bytes:
        """Return a wrapped key, whichever opens it. Raises KeyStoreError."""
        for attempt in range(2):
            for key in (self.current, self.other):
                if key is not None and (found := _unwrap(key, name, wrapped)) is not None:
                    return found
            if attempt or not self.refresh():
                break
        raise KeyStoreError(f"key {name} does not open: damaged file, copied from elsewhere, or another master key")

    def is_of_current(self, name: str, wrapped: bytes) -> bool:
        """Tell whether the key that wraps opens it."""
        return _unwrap(self.current, name, wrapped) is not None


def _mark(path: Path | None) -> tuple[int, int, int] | None:
    if path is None:
        return None
    with suppress(OSError):
        found = path.stat()
        return found.st_dev, found.st_ino, found.st_mtime_ns
    return None


@contextmanager
def unreadable() -> Iterator[None]:
    """Turn an error of reading the key store's directories into a KeyStoreError, which names the file."""
    try:
        yield
    except OSError as error:
        raise KeyStoreError(describe(error)) from error


def _unwrap(key: bytes, name: str, wrapped: bytes) -> bytes | None:
    try:
        return AESGCM(key).decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], _LABEL + name.encode())
    except (InvalidTag, ValueError):
        return None


class WrappedKeys:
    """Keys by name, durable in every copy; the key store decides which may be made or read."""

    def __init__(self, directories: Sequence[Path], master: MasterKey) -> None:
        """Use these directories; the first decides between racing processes. Nothing is written yet."""
        self._directories = directories
        self.master = master
        # Names whose copies this process has made durable: once is enough.
        self._durable: set[str] = set()

    def make(self, name: str, *, is_used: bool = False) -> bool:
        """Make a key, durable in every copy; False if a copy had it. Raises KeyStoreError.

        A key that `is_used` is never made again, only copied: raises AbsentKeyError if no copy has it.
        """
        if name != SERVICE_KEY:  # the first key, made when the directories are empty
            self.check_mounted()
        found = self.find(name)
        if found is not None:
            self._copy(name, *found)
            return False
        if is_used:
            raise self.lost(name)
        self.check_master_key()
        return self._create(name, os.urandom(KEY_BYTES))

    def is_durable(self, name: str) -> bool:
        """Tell whether this process has made a key durable in every copy."""
        return name in self._durable

    def put(self, name: str, key: bytes) -> None:
        """Wrap a key that is known, durable in every copy, unless a copy has it."""
        if (found := self.find(name)) is not None:
            self._copy(name, *found)
        else:
            self._create(name, key)

    def _create(self, name: str, key: bytes) -> bool:
        # The first directory decides between racing processes; the replicas copy the winner's key.
        first = self._directories[0] / name
        with self.wrapping(alone=False):
            self.master.refresh()  # never wrapped under a master key that was replaced
            made = create_durably(first, self.master.wrap(name, key))
            wrapped = read_file(first)
            self._copy(name, wrapped, self._open(name, wrapped))
        return made

    @contextmanager
    def wrapping(self, *, alone: bool) -> Iterator[None]:
        """Hold the lock of those who write wrapped keys, or, `alone`, keep them out; it ends with the process."""
        make_private_directory(self._directories[0] / "tenants")
        descriptor = use_reserve(lambda: os.open(self._directories[0] / "tenants", os.O_RDONLY | os.O_DIRECTORY))
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
            yield
        finally:
            os.close(descriptor)

    def rewrap(self, name: str) -> int:
        """Wrap a key anew in each copy where the current master key does not open it; return in how many.

        Raises KeyStoreError that names a key that does not open at all.
        """
        written = 0
        for directory in self._directories:
            path = directory / name
            try:
                wrapped = read_file(path)
            except (FileNotFoundError, NotADirectoryError):
                continue
            if not self.master.is_of_current(name, wrapped):
                try:
                    key = self._open(name, wrapped)
                except KeyStoreError as error:
                    raise KeyStoreError(f"in {directory}: {error}") from error
                replace_durably(path, self.master.wrap(name, key), keeps_owner=True)
                written += 1
        return written

    def lost(self, name: str) -> AbsentKeyError:
        """Return the error for a key that entries need and no copy has."""
        return AbsentKeyError(
            f"key file {self._directories[0] / name} is missing, and entries need it: bring it back with "
            "openepm-journal keys restore; no other key is made in its place"
        )

    def mark(self, name: str) -> tuple[int, int, int] | None:
        """Return what changes when the key's file, in the first copy that has it, is another; None if none has it."""
        for directory in self._directories:
            with suppress(FileNotFoundError, NotADirectoryError):
                found = os.stat(f"{directory}/{name}")  # noqa: PTH116  (looked at for every chain)
                return found.st_dev, found.st_ino, found.st_mtime_ns
        return None

    def check_founded(self) -> None:
        """Raise KeyStoreError if no copy has the service's own key: it is the first, so the key store is elsewhere."""
        with unreadable():
            if self.mark(SERVICE_KEY) is None:
                raise KeyStoreError(
                    f"{self._directories[0]} is not a copy of this key store: mount it, or bring it back with "
                    "openepm-journal keys restore"
                )

    def check_mounted(self) -> None:
        """Raise KeyStoreError, naming it, if a copy is not mounted: the first, a replica, or all of them.

        A file written to its mount point would be hidden from every purge once it is mounted again, and the keys it
        holds would not be destroyed.
        """
        self.check_founded()
        first, there = self._directories[0], self.mounted()
        for directory in self._directories:
            if directory not in there:
                what = (
                    "or bring it back with openepm-journal keys restore"
                    if directory == first
                    else "a new one is made with openepm-journal keys backup before JOURNAL_KEYSTORE_REPLICAS names it"
                )
                raise KeyStoreError(f"{directory} is not a copy of this key store: mount it; {what}")

    def mounted(self) -> list[Path]:
        """Return the directories that are mounted: those that have the service's own key."""
        with unreadable():
            return [directory for directory in self._directories if (directory / SERVICE_KEY).exists()]

    def check_master_key(self) -> None:
        """Refuse another master key than that of the existing keys: a new key could not be read with the right one.

        Raises KeyStoreError, OSError.
        """
        failure: KeyStoreError | None = None
        for tenant in self.names("tenants"):
            try:
                self.find(f"tenants/{tenant}")
            except KeyStoreError as error:
                failure = error
            else:
                return
        if failure is not None and isinstance(failure.__cause__, OSError):
            raise failure  # it may be the right one
        if failure is not None:
            raise KeyStoreError(
                f"the {self.master} opens none of the tenants' keys in {self._directories[0]}: it is another one; put "
                "this journal's back, from the paper in the safe, or correct JOURNAL_MASTER_KEY_FILE"
            ) from failure

    def repair(self, name: str, failures: list[KeyStoreError]) -> None:
        """Update every copy of a key from the first that opens; add the error to `failures` if none does."""
        try:
            self.check_mounted()
            found = self.find(name)
            if found is not None:  # else destroyed since it was listed
                self._copy(name, *found)
        except KeyStoreError as error:
            failures.append(error)

    def take(self, name: str, source: WrappedKeys) -> bool:
        """Copy a key from another store, durably; False if every copy had it. Raises AbsentKeyError, KeyStoreError."""
        found = source.find(name)
        if found is None:
            raise AbsentKeyError(f"key {name} is not in the key store")
        return self._copy(name, *found)

    def _copy(self, name: str, wrapped: bytes, key: bytes) -> bool:
        """Write the wrapped key to every directory where it is missing or does not open; tell whether one was."""
        written = False
        for directory in self._directories:
            path = directory / name
            try:
                present = read_file(path)
            except FileNotFoundError:
                written = create_durably(path, wrapped) or written
                continue
            try:
                differs = self._open(name, present) != key
            except KeyStoreError:
                replace_durably(path, wrapped)
                written = True
                continue
            if differs:
                raise KeyStoreError(f"key {name} is another one in {directory}: take the wrong copy away")
            if name not in self._durable:
                # The process that wrote it may not have synced the directory yet.
                sync_directory(path.parent)
        self._durable.add(name)
        return written

    def read(self, name: str) -> bytes:
        """Return a key. Raises AbsentKeyError, KeyStoreError."""
        found = self.find(name)
        if found is None:
            raise AbsentKeyError(f"key {name} is not in the key store")
        return found[1]

    def find(self, name: str) -> tuple[bytes, bytes] | None:
        """Return the first copy that opens, wrapped and unwrapped; None if there is no copy."""
        failure: KeyStoreError | None = None
        for directory in self._directories:
            try:
                wrapped = read_file(directory / name)
                return wrapped, self._open(name, wrapped)
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                unreadable = KeyStoreError(f"key {name} cannot be read in {directory}: {error.strerror}")
                unreadable.__cause__ = error
                failure = failure or unreadable
            except KeyStoreError as error:
                failure = failure or error
        if failure is not None:
            raise failure
        return None

    def confirm(self, name: str, key: bytes) -> None:
        """Check that every copy gives this key. Raises KeyStoreError that names the copy."""
        for directory in self._directories:
            try:
                same = self._open(name, read_file(directory / name)) == key
            except OSError as error:
                raise KeyStoreError(f"key {name} cannot be read in {directory}: {error.strerror}") from error
            except KeyStoreError as error:
                raise KeyStoreError(f"in {directory}: {error}") from error
            if not same:
                raise KeyStoreError(f"key {name} is another one in {directory}: take the wrong copy away")

    def _open(self, name: str, wrapped: bytes) -> bytes:
        return self.master.open(name, wrapped)

    def names(self, folder: str) -> list[str]:
        """Return the names in a folder of any copy, without temporary files, whose names begin with a dot.

        Raises KeyStoreError.
        """
        found: set[str] = set()
        with unreadable():
            for directory in self._directories:
                found |= {path.name for path in list_directory(directory / folder) if not path.name.startswith(".")}
        return sorted(found)

    def shred(self, name: str) -> None:
        """Destroy a key in every copy. Raises KeyStoreError if a copy is not mounted."""
        self.check_mounted()
        for directory in self._directories:
            path = directory / name
            # A temporary file left by a killed process holds the same key.
            for leftover in list_directory(path.parent):
                if leftover.name.startswith(f".{path.name}."):
                    shred_file(leftover)
            shred_file(path)
        self._durable.discard(name)
