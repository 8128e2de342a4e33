"""The key store: a directory of wrapped keys, kept outside PostgreSQL and outside its backups.

    days/<category>/<YYYY-MM-DD>     32 random bytes, wrapped: destroying it makes that day unreadable
    tenants/<tenant>                 32 random bytes, wrapped: destroying it ends a contract
    fences/<category>                the last purged day, in clear
    ended/<tenant>                   the contract has ended: the key is destroyed, and no copy of it is ever used
    seals/last                       time and number of the last seal: a restored database has an older one
    facts/keys                       the ledger's keys, wrapped, once the master key was replaced
    facts/ledger                     which administrative rows of the database are obeyed (`journal.keys.ledger`)

A category's fence and a tenant's end take precedence over any key: a key they destroyed is neither made nor read again,
even if a copy of it comes back. `journal.keys.wrapped` wraps keys. Whoever can write here without the master key can
at most deny service.
"""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import contextmanager, suppress
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from journal.core.errors import (
    AbsentKeyError,
    BusyError,
    EndedTenantError,
    FencedDayError,
    KeyStoreError,
    MalformedError,
)
from journal.core.times import parse_day
from journal.database.facts import Facts
from journal.keys import ledger
from journal.keys.files import (
    create_durably,
    describe,
    is_there,
    list_directory,
    make_private_directory,
    read_file,
    replace_durably,
    shred_file,
    use_reserve,
)
from journal.keys.ledger import Ledger
from journal.keys.wrapped import SERVICE_KEY, MasterKey, WrappedKeys, unreadable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from contextlib import AbstractContextManager

    from journal.clock import Clock
    from journal.settings import Settings

PURGE_RETRY_SECONDS = 30
# A look at the lock for destroying keys takes microseconds, on a busy machine a turn of the scheduler.
LOOKS_LIMIT, LOOK_PAUSE_SECONDS = 200, 0.005


class KeyStore:
    """Day keys, tenant keys and fences, in one directory and its replicas.

    A key is made durable in every copy, and read from the first copy that opens; `confirm_day_key` names a copy that
    lacks it. The fence of a category is the newest in any copy and in the database.
    """

    def __init__(self, directory: Path, master_key: bytes | MasterKey, replicas: Iterable[Path] = ()) -> None:
        """Use `directory` and its replicas; nothing is written yet."""
        self._directories = (directory, *replicas)
        master = master_key if isinstance(master_key, MasterKey) else MasterKey(master_key)
        self._keys = WrappedKeys(self._directories, master)
        self.ledger = Ledger(self._directories, self._ledger_keys(), self._keys.check_mounted)
        self._learnt_fences: dict[str, date] = {}
        self._learnt_ended: set[str] = set()

    def _ledger_keys(self) -> bytes:
        with suppress(KeyStoreError):  # the ledger is then damaged for us, which is told
            if (found := self._keys.find(ledger.KEYS)) is not None:
                return found[1]
        return ledger.derive_keys(self._keys.master.current)

    def keep_ledger_keys(self) -> None:
        """Keep the ledger's keys in files of their own, durable in every copy, before the master key is replaced."""
        self._keys.put(ledger.KEYS, self._ledger_keys())

    def take_ledger_keys(self, source: KeyStore) -> None:
        """Take the ledger's keys from another key store, if they are in files of their own. Raises KeyStoreError."""
        with suppress(AbsentKeyError):
            if self._keys.take(ledger.KEYS, source._keys):
                self.ledger = Ledger(self._directories, self._ledger_keys(), self._keys.check_mounted)

    def rewrap(self) -> int:
        """Wrap every key anew that the present master key does not open alone; return how many files were written.

        Only within `destroying`: a key that is destroyed meanwhile would come back. Raises KeyStoreError that names the
        first key that does not open, OSError.
        """
        self.check_mounted()
        written = 0
        for tenant in self.tenant_keys():
            written += self._keys.rewrap(f"tenants/{tenant}")
            with suppress(EndedTenantError):
                self._shred_ended(tenant)
        for category in self.categories():
            for day in self.day_keys(category):
                written += self._keys.rewrap(_day_name(category, day))
                with suppress(FencedDayError):
                    self._shred_fenced(category, day)
        return written + self._keys.rewrap(ledger.KEYS)

    def refreshed(self) -> KeyStore:
        """Return itself, with the master key as its file has it now."""
        self._keys.master.refresh()
        return self

    def wrapping(self, *, alone: bool) -> AbstractContextManager[None]:
        """Hold the lock of those who write wrapped keys, or, `alone`, keep them out."""
        return self._keys.wrapping(alone=alone)

    def make_day_key(self, category: str, day: date, *, is_used: bool = False) -> bool:
        """Make the day's key, durable in every copy; False if a copy had it. Raises FencedDayError, KeyStoreError.

        The key of a day that holds entries `is_used`: it is copied, but not made. Raises AbsentKeyError if it is lost.
        """
        self._refuse_fenced(category, day)
        made = self._keys.make(_day_name(category, day), is_used=is_used)
        self._shred_fenced(category, day)
        return made

    def settle_day_key(self, category: str, day: date) -> None:
        """See that every copy has the day's key durably, as entries encrypted under it need; never make one.

        Raises FencedDayError, AbsentKeyError, KeyStoreError that names what cannot be written.
        """
        if not self._keys.is_durable(_day_name(category, day)):
            try:
                self.make_day_key(category, day, is_used=True)
            except OSError as error:
                raise KeyStoreError(describe(error)) from error

    def read_day_key(self, category: str, day: date) -> bytes:
        """Return the day's key (32 bytes). Raises FencedDayError, AbsentKeyError, KeyStoreError."""
        self._refuse_fenced(category, day)
        return self._keys.read(_day_name(category, day))

    def shred_day_key(self, category: str, day: date) -> None:
        """Destroy the day's key in every copy; the fence must already be at or after that day."""
        fence = self.fence(category)
        if fence is None or fence < day:
            raise KeyStoreError(f"the key of {category} {day} is not shredded: its fence is not raised")
        self._keys.shred(_day_name(category, day))

    def shred_fenced(self) -> int:
        """Destroy every fenced key in every copy, and partial files of killed processes; return how many days had any.

        This is for a copy that was not mounted while days were purged; it may hold keys under temporary names.
        """
        days: set[tuple[str, date]] = set()
        for category in self.categories():
            fence = self.fence(category)
            for path in (path for copy in self._directories for path in list_directory(copy / "days" / category)):
                day = _day_of_file(path)
                if day is not None and fence is not None and day <= fence and path.is_file():
                    shred_file(path)
                    days.add((category, day))
        return len(days)

    @contextmanager
    def destroying(self, busy: str = "another purge is running") -> Iterator[None]:
        """Hold the lock for destroying keys; one run has it at a time, and it ends with the process.

        Raises BusyError with the text `busy` if another run has it.
        """
        directory = self._directories[0]
        make_private_directory(directory)
        descriptor = use_reserve(lambda: os.open(directory, os.O_RDONLY | os.O_DIRECTORY))
        try:
            if not _take(descriptor):
                raise BusyError(busy, retry_after_seconds=PURGE_RETRY_SECONDS)
            yield
        finally:
            os.close(descriptor)

    def is_destroying(self) -> bool:
        """Tell whether some run holds the lock for destroying keys; a run that begins meanwhile is not hindered."""
        try:
            descriptor = use_reserve(lambda: os.open(self._directories[0], os.O_RDONLY | os.O_DIRECTORY))
        except FileNotFoundError:
            return False
        try:
            return not _is_shared(descriptor)
        finally:
            os.close(descriptor)

    @property
    def directories(self) -> tuple[Path, ...]:
        """The directory and its replicas."""
        return self._directories

    def categories(self) -> list[str]:
        """Return the categories that have keys in any copy."""
        return self._keys.names("days")

    def fenced_categories(self) -> list[str]:
        """Return the categories that have a fence in any copy."""
        return self._keys.names("fences")

    def day_keys(self, category: str) -> list[date]:
        """Return the days that have a key in any copy, oldest first; files with other names are ignored."""
        days: set[date] = set()
        for name in self._keys.names(f"days/{category}"):
            with suppress(MalformedError):
                days.add(parse_day(name))
        return sorted(days)

    def make_tenant_key(self, tenant: str) -> bool:
        """Make the tenant's key, durable in every copy; False if a copy had it. Raises EndedTenantError."""
        self._refuse_ended(tenant)
        made = self._keys.make(f"tenants/{tenant}")
        self._shred_ended(tenant)
        return made

    def read_tenant_key(self, tenant: str) -> bytes:
        """Return the tenant's key (32 bytes). Raises EndedTenantError, AbsentKeyError, KeyStoreError."""
        self._refuse_ended(tenant)
        return self._keys.read(f"tenants/{tenant}")

    def mark_of_tenant_key(self, tenant: str) -> tuple[int, int, int] | None:
        """Return what changes when the file of the tenant's key is another; None if it is gone, or cannot be told.

        Raises EndedTenantError, KeyStoreError.
        """
        self._refuse_ended(tenant)
        with suppress(OSError):
            return self._keys.mark(f"tenants/{tenant}")
        return None

    def tenant_keys(self) -> list[str]:
        """Return the tenants that have a key in any copy."""
        return self._keys.names("tenants")

    def ended_tenants(self) -> list[str]:
        """Return the tenants whose key was destroyed, by any copy."""
        return self._keys.names("ended")

    def knows_ended(self, tenant: str) -> bool:
        """Tell whether every copy says that the tenant's key was destroyed."""
        return all((directory / "ended" / tenant).exists() for directory in self._directories)

    def learn_ended(self, tenant: str) -> None:
        """Take into account an end found in the database: the key is no longer read, but not destroyed either."""
        self._learnt_ended.add(tenant)

    def destroy_tenant_key(self, tenant: str) -> None:
        """Destroy the tenant's key in every copy, for ever: a key restored from a backup is never used.

        Raises KeyStoreError if a copy is not mounted.
        """
        self.check_mounted()
        for directory in self._directories:
            # Written first: after an interruption here the key is refused, and the next `repair` destroys it.
            if not (directory / "ended" / tenant).exists():
                create_durably(directory / "ended" / tenant, b"destroyed\n")
        self._keys.shred(f"tenants/{tenant}")

    def fence(self, category: str) -> date | None:
        """Return the last purged day of the category, the newest in any copy. Raises KeyStoreError.

        A copy that cannot be read might hold a newer fence: then no key is read.
        """
        found = [self._learnt_fences[category]] if category in self._learnt_fences else []
        for directory in self._directories:
            stands = _read_fence(directory, category)
            if stands is not None:
                found.append(stands)
        return max(found, default=None)

    def learn_fence(self, category: str, day: date) -> None:
        """Take into account a fence found in the database."""
        self._learnt_fences[category] = max(day, self._learnt_fences.get(category, day))

    def confirm_day_key(self, category: str, day: date) -> None:
        """Check that every copy gives the day's key. Raises KeyStoreError that names the copy; errors of reading it."""
        self._keys.confirm(_day_name(category, day), self.read_day_key(category, day))

    def confirm_used(self, days: Iterable[tuple[str, date]]) -> None:
        """Check that some copy has the key of each (category, day) that holds entries, unless it is purged.

        Raises AbsentKeyError that names the file of the first that is lost, KeyStoreError.
        """
        kept: dict[str, set[date]] = {}
        for category, day in sorted(days):
            if category not in kept:
                kept[category] = set(self.day_keys(category))
            fence = self.fence(category)
            if day not in kept[category] and (fence is None or fence < day):
                raise self._keys.lost(_day_name(category, day))

    def mark_of_day_key(self, category: str, day: date) -> tuple[int, int, int] | None:
        """Return what changes when the file of the day's key is another; None if the file is gone.

        Where the whole key store is gone, for example not mounted, nothing is known of the file: raises KeyStoreError.
        """
        mark = self._keys.mark(_day_name(category, day))
        if mark is None and self._keys.mark(SERVICE_KEY) is None:
            raise KeyStoreError("the key store is not there")
        return mark

    def confirm_tenant_key(self, tenant: str) -> None:
        """Check that every copy gives the tenant's key; errors as for a day's."""
        self._keys.confirm(f"tenants/{tenant}", self.read_tenant_key(tenant))

    def raise_fence(self, category: str, day: date) -> None:
        """Set the fence in every copy, durable; it never moves back. Raises KeyStoreError if a copy is not mounted."""
        self.check_mounted()
        newest = max(day, self.fence(category) or day)
        for directory in self._directories:
            replace_durably(directory / "fences" / category, f"{newest.isoformat()}\n".encode())

    def mounted(self) -> list[Path]:
        """Return the directories of the copies that are mounted."""
        return self._keys.mounted()

    def check_master_key(self) -> None:
        """Raise KeyStoreError if there are tenants' keys, and the master key opens none of them; OSError."""
        self._keys.check_master_key()

    def check_founded(self) -> None:
        """Raise KeyStoreError if no copy has the service's own key: the key store is not mounted."""
        self._keys.check_founded()

    def check_mounted(self) -> None:
        """Raise KeyStoreError, naming it, if a copy is not mounted."""
        self._keys.check_mounted()

    def lags_behind(self, category: str, fence: date) -> bool:
        """Tell whether some copy has neither this fence nor a later one."""
        for directory in self._directories:
            found = _read_fence(directory, category)
            if found is None or found < fence:
                return True
        return False

    def take_day_key(self, category: str, day: date, source: KeyStore) -> bool:
        """Copy the day's key from another key store, durable in every copy; False if all had it.

        Raises FencedDayError if this store has fenced the day, KeyStoreError. The caller takes the source's fence again
        after copying, for the days purged meanwhile.
        """
        self._refuse_fenced(category, day)
        taken = self._keys.take(_day_name(category, day), source._keys)
        self._shred_fenced(category, day)
        return taken

    def take_tenant_key(self, tenant: str, source: KeyStore) -> bool:
        """Copy the tenant's key from another key store, as a day's. Raises EndedTenantError, KeyStoreError."""
        self._refuse_ended(tenant)
        taken = self._keys.take(f"tenants/{tenant}", source._keys)
        self._shred_ended(tenant)
        return taken

    def repair(self) -> None:
        """Update every copy from the others: lost or damaged keys, fences, ended tenants.

        KeyStoreError, after everything else is repaired, naming the first key that opens in no copy.
        """
        for tenant in self.ended_tenants():
            self.destroy_tenant_key(tenant)
        if len(self._directories) == 1:
            return
        self.ledger.repair()
        failures: list[KeyStoreError] = []
        for category in self._keys.names("fences"):
            if (fence := self.fence(category)) is not None:
                self.raise_fence(category, fence)
        for category in self._keys.names("days"):
            for day in self.day_keys(category):
                fence = self.fence(category)
                if fence is None or fence < day:
                    self._keys.repair(_day_name(category, day), failures)
                    self._shred_fenced(category, day)
        self._keys.repair(ledger.KEYS, failures)
        for tenant in self.tenant_keys():
            self._keys.repair(f"tenants/{tenant}", failures)
            with suppress(EndedTenantError):
                self._shred_ended(tenant)
        if failures:
            raise failures[0]

    def _refuse_fenced(self, category: str, day: date) -> None:
        fence = self.fence(category)
        if fence is not None and day <= fence:
            raise FencedDayError(f"{category} {day} is purged (fence {fence}): its key is never made or read again")

    def _refuse_ended(self, tenant: str) -> None:
        with unreadable():
            is_ended = tenant in self._learnt_ended or any(
                is_there(f"{copy}/ended/{tenant}") for copy in self._directories
            )
        if is_ended:
            raise EndedTenantError(
                f"the contract of {tenant} has ended: its key is destroyed, and is never made or read again"
            )

    def _shred_ended(self, tenant: str) -> None:
        """Destroy a key that was written just after another process had destroyed it."""
        if tenant in self.ended_tenants():
            self.destroy_tenant_key(tenant)
            self._refuse_ended(tenant)

    def _shred_fenced(self, category: str, day: date) -> None:
        """Destroy a key that was written just after another process had destroyed it."""
        try:
            self._refuse_fenced(category, day)
        except FencedDayError:
            self._keys.shred(_day_name(category, day))
            raise


def _take(descriptor: int) -> bool:
    """Take the lock for destroying keys; False if another run has it.

    Who only looks whether it is taken shares it for a moment: that is waited for, and is no other run.
    """
    for _ in range(LOOKS_LIMIT):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not _is_shared(descriptor):
                return False
            fcntl.flock(descriptor, fcntl.LOCK_UN)
            time.sleep(LOOK_PAUSE_SECONDS)
        else:
            return True
    return False


def _is_shared(descriptor: int) -> bool:
    """Share the lock for destroying keys; False if a run has it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _day_name(category: str, day: date) -> str:
    return f"days/{category}/{day.isoformat()}"


def _read_fence(directory: Path, category: str) -> date | None:
    """Return the fence in one copy. Raises KeyStoreError if it cannot be read."""
    try:
        return date.fromisoformat(read_file(directory / "fences" / category).decode("ascii").strip())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        why = f": {error.strerror}" if isinstance(error, OSError) else ""
        raise KeyStoreError(f"the fence of {category} in {directory} cannot be read{why}") from error


def _day_of_file(path: Path) -> date | None:
    """Return the day whose key a file holds, also under its temporary name."""
    try:
        return parse_day(path.name.removeprefix(".").split(".")[0])
    except MalformedError:
        return None


def open_facts(keystore: KeyStore, clock: Clock) -> Facts:
    """Return what judges the database's administrative rows by this key store."""
    return Facts(keystore.ledger, fence=keystore.fence, now=clock.now)


def open_keystore(settings: Settings) -> KeyStore:
    """Open the key store the settings name. Raises OperatorError if the master key cannot be read."""
    replicas = [Path(replica) for replica in settings.keystore_replicas]
    return KeyStore(settings.keystore_path, MasterKey.read(settings.master_key_path), replicas)
