"""The key store: a directory of wrapped keys, kept outside PostgreSQL and outside its backups.

    days/<category>/<YYYY-MM-DD>     32 random bytes, wrapped: destroying it makes that day unreadable
    tenants/<tenant>                 32 random bytes, wrapped: destroying it ends a contract
    fences/<category>                the last destroyed day, in clear

A wrapped key is nonce(12) ‖ AES-256-GCM(master key, nonce, key, aad = its name): a file copied under
another name does not open. Whoever can write here without the master key can at most deny service.
"""

from __future__ import annotations

import os
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from journal.errors import AbsentKeyError, FencedDayError, KeyStoreError, OperatorError
from journal.files import create_durably, replace_durably, shred_file

if TYPE_CHECKING:
    from collections.abc import Iterable

    from journal.settings import Settings

KEY_BYTES = 32
NONCE_BYTES = 12
_LABEL = b"openepm-journal/v1/wrapped-key\x00"


def read_master_key(path: Path) -> bytes:
    """Read the master key: a file of 64 hexadecimal digits. Raises OperatorError."""
    try:
        key = bytes.fromhex(path.read_text(encoding="ascii").strip())
    except (OSError, ValueError) as error:
        raise OperatorError(f"master key {path} cannot be read: {error}") from error
    if len(key) != KEY_BYTES:
        raise OperatorError(f"master key {path} holds {len(key)} bytes; it must hold {KEY_BYTES}, in hexadecimal")
    return key


def make_master_key(path: Path) -> None:
    """Make a master key where there is none yet."""
    create_durably(path, os.urandom(KEY_BYTES).hex().encode() + b"\n")


class KeyStore:
    """Day keys, tenant keys and fences, in one directory and its replicas.

    A key is durable in every copy before it is ever returned. The fence of a category is the newest
    of those found in any copy, and of those learnt from the database.
    """

    def __init__(self, directory: Path, master_key: bytes, replicas: Iterable[Path] = ()) -> None:
        """Use `directory` and its replicas; nothing is written yet."""
        self._directories = (directory, *replicas)
        self._wrapper = AESGCM(master_key)
        self._learnt_fences: dict[str, date] = {}

    def make_day_key(self, category: str, day: date) -> bool:
        """Make the day's key, durable in every copy; False if it was there. Raises FencedDayError."""
        self._refuse_fenced(category, day)
        return self._make(_day_name(category, day))

    def read_day_key(self, category: str, day: date) -> bytes:
        """Return the day's key (32 bytes). Raises FencedDayError, AbsentKeyError, KeyStoreError."""
        self._refuse_fenced(category, day)
        return self._read(_day_name(category, day))

    def shred_day_key(self, category: str, day: date) -> None:
        """Destroy the day's key in every copy; the fence must already stand at or after that day."""
        fence = self.fence(category)
        if fence is None or fence < day:
            raise KeyStoreError(f"the key of {category} {day} is not shredded: its fence is not raised")
        self._shred(_day_name(category, day))

    def day_keys(self, category: str) -> list[date]:
        """Return the days that have a key in any copy, oldest first."""
        days: set[date] = set()
        for directory in self._directories:
            folder = directory / "days" / category
            if folder.is_dir():
                days |= {date.fromisoformat(path.name) for path in folder.iterdir() if not path.name.startswith(".")}
        return sorted(days)

    def make_tenant_key(self, tenant: str) -> bool:
        """Make the tenant's key, durable in every copy; False if it was there."""
        return self._make(f"tenants/{tenant}")

    def read_tenant_key(self, tenant: str) -> bytes:
        """Return the tenant's key (32 bytes). Raises AbsentKeyError, KeyStoreError."""
        return self._read(f"tenants/{tenant}")

    def fence(self, category: str) -> date | None:
        """Return the last destroyed day of the category, the newest known anywhere."""
        found = [self._learnt_fences[category]] if category in self._learnt_fences else []
        for directory in self._directories:
            try:
                found.append(date.fromisoformat((directory / "fences" / category).read_text("ascii").strip()))
            except FileNotFoundError:
                continue
            except ValueError as error:
                raise KeyStoreError(f"the fence of {category} cannot be read") from error
        return max(found, default=None)

    def learn_fence(self, category: str, day: date) -> None:
        """Take into account a fence found in the database."""
        self._learnt_fences[category] = max(day, self._learnt_fences.get(category, day))

    def raise_fence(self, category: str, day: date) -> None:
        """Set the fence in every copy, durable; it never goes back."""
        newest = max(day, self.fence(category) or day)
        for directory in self._directories:
            replace_durably(directory / "fences" / category, f"{newest.isoformat()}\n".encode())

    def _refuse_fenced(self, category: str, day: date) -> None:
        fence = self.fence(category)
        if fence is not None and day <= fence:
            raise FencedDayError(f"{category} {day} is destroyed (fence {fence}): its key is never made nor read again")

    def _make(self, name: str) -> bool:
        nonce = os.urandom(NONCE_BYTES)
        wrapped = nonce + self._wrapper.encrypt(nonce, os.urandom(KEY_BYTES), _LABEL + name.encode())
        first, *replicas = (directory / name for directory in self._directories)
        # The first directory decides between racing processes; the replicas copy what won there.
        made = create_durably(first, wrapped)
        for replica in replicas:
            create_durably(replica, first.read_bytes())
        return made

    def _read(self, name: str) -> bytes:
        for directory in self._directories:
            try:
                wrapped = (directory / name).read_bytes()
                return self._wrapper.decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], _LABEL + name.encode())
            except FileNotFoundError:
                continue
            except (InvalidTag, ValueError) as error:
                raise KeyStoreError(
                    f"key {name} does not open: damaged file, copied from elsewhere, or another master key"
                ) from error
        raise AbsentKeyError(f"key {name} is not in the key store")

    def _shred(self, name: str) -> None:
        for directory in self._directories:
            shred_file(directory / name)


def _day_name(category: str, day: date) -> str:
    return f"days/{category}/{day.isoformat()}"


def open_keystore(settings: Settings) -> KeyStore:
    """Open the key store the settings name. Raises OperatorError where the master key cannot be read."""
    replicas = [Path(replica) for replica in settings.keystore_replicas]
    return KeyStore(settings.keystore_path, read_master_key(settings.master_key_path), replicas)
