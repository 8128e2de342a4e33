"""Keys in files: each wrapped under the master key, in one directory and its replicas.

A wrapped key is nonce(12) ‖ AES-256-GCM(master key, nonce, key, aad = its name): a file copied under another name does
not open. The name is the file's path, as `tenants/albi`.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from journal.core.entry import RESERVED_TENANT
from journal.core.errors import AbsentKeyError, KeyStoreError, OperatorError
from journal.keys.files import create_durably, list_directory, read_file, replace_durably, shred_file, sync_directory

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

KEY_BYTES = 32
NONCE_BYTES = 12
# The service's own key: every copy of a key store has it.
SERVICE_KEY = f"tenants/{RESERVED_TENANT}"
_LABEL = b"openepm-journal/v1/wrapped-key\x00"


def read_master_key(path: Path) -> bytes:
    """Read the master key: a file of 64 hexadecimal digits. Raises OperatorError."""
    try:
        key = bytes.fromhex(path.read_text(encoding="ascii").strip())
    except FileNotFoundError as error:
        raise OperatorError(
            f"master key {path} is missing: restore it, or set JOURNAL_MASTER_KEY_FILE to where it is"
        ) from error
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not 64 hexadecimal digits"
        raise OperatorError(f"master key {path} cannot be read: {why}") from error
    if len(key) != KEY_BYTES:
        raise OperatorError(f"master key {path} holds {len(key)} bytes; it must hold {KEY_BYTES}, in hexadecimal")
    return key


def make_master_key(path: Path) -> None:
    """Make a master key, unless the file exists."""
    create_durably(path, os.urandom(KEY_BYTES).hex().encode() + b"\n")


class WrappedKeys:
    """Keys by name, durable in every copy; the key store decides which may be made or read."""

    def __init__(self, directories: Sequence[Path], master_key: bytes) -> None:
        """Use these directories; the first decides between racing processes. Nothing is written yet."""
        self._directories = directories
        self._wrapper = AESGCM(master_key)
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
        self._check_master_key()
        nonce = os.urandom(NONCE_BYTES)
        wrapped = nonce + self._wrapper.encrypt(nonce, os.urandom(KEY_BYTES), _LABEL + name.encode())
        # The first directory decides between racing processes; the replicas copy the winner's key.
        first = self._directories[0] / name
        made = create_durably(first, wrapped)
        wrapped = read_file(first)
        self._copy(name, wrapped, self._open(name, wrapped))
        return made

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
                found = (directory / name).stat()
                return found.st_dev, found.st_ino, found.st_mtime_ns
        return None

    def check_mounted(self) -> None:
        """Raise KeyStoreError, naming it, if a replica is not mounted.

        A file written to its mount point would be hidden from every purge once it is mounted again, and the keys it
        holds would not be destroyed.
        """
        there = self.mounted()
        for replica in self._directories:
            if replica not in there:
                raise KeyStoreError(
                    f"{replica} is not a copy of this key store: mount it; a new one is made with openepm-journal keys "
                    "backup before JOURNAL_KEYSTORE_REPLICAS names it"
                )

    def mounted(self) -> list[Path]:
        """Return the directories that are mounted; all of them before the first key is made."""
        first, *replicas = self._directories
        is_new = not (first / SERVICE_KEY).exists()
        return [first, *(replica for replica in replicas if is_new or (replica / SERVICE_KEY).exists())]

    def _check_master_key(self) -> None:
        """Refuse another master key than that of the existing keys: a new key could not be read with the right one."""
        failure: KeyStoreError | None = None
        for tenant in self.names("tenants"):
            try:
                self.find(f"tenants/{tenant}")
            except KeyStoreError as error:
                failure = error
            else:
                return
        if failure is not None:
            raise KeyStoreError("the master key opens none of the tenants' keys: is it another one's?") from failure

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
                failure = failure or KeyStoreError(f"key {name} cannot be read: {error.strerror}")
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
        try:
            return self._wrapper.decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], _LABEL + name.encode())
        except (InvalidTag, ValueError) as error:
            raise KeyStoreError(
                f"key {name} does not open: damaged file, copied from elsewhere, or another master key"
            ) from error

    def names(self, folder: str) -> list[str]:
        """Return the names in a folder of any copy, without temporary files, whose names begin with a dot."""
        found: set[str] = set()
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
