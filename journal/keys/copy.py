"""A copy of the key store that follows its purges: updating it, and restoring from it.

Both directions are one step. The target takes the source's fences and ended contracts, destroys the keys they end,
then takes the keys that it lacks, the last seal and the ledger of administrative facts. Fences come first, so that a
killed run leaves a copy with every fence it has read. A key is taken only if neither side knows it to be destroyed;
keys destroyed during the run are destroyed in the target at the end. The master key is never copied: a copy alone
opens nothing.

Trust sentence: whoever can write to a copy can destroy it and, if it is restored from, fence off days and end
contracts for ever. They cannot read a key, replace one day's key by another's, or bring back a purged day or an
ended contract.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from journal.core.entry import RESERVED_TENANT
from journal.core.errors import AbsentKeyError, EndedTenantError, FencedDayError, KeyStoreError, OperatorError
from journal.keys import last_seal, ledger

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from pathlib import Path

    from journal.keys.store import KeyStore

CONTENT = frozenset({"days", "ended", ledger.FOLDER, "fences", last_seal.FOLDER, "tenants"})


@dataclass(slots=True, kw_only=True)
class Followed:
    """The result of updating a key store."""

    copied: int = 0
    shredded: int = 0
    fences_raised: int = 0
    kept: int = 0  # keys that the target now holds
    only_here: int = 0  # of these, those that the source lacks
    tenants: list[str] = field(default_factory=list)  # whose key was copied
    failures: list[str] = field(default_factory=list)


def follow(target: KeyStore, source: KeyStore, *, doubted: Collection[str] = ()) -> Followed:
    """Update the target from the source, durably, in every directory of it; safe to repeat.

    A key that cannot be copied is reported, and the others are copied; those of `doubted` tenants, which may have been
    destroyed since, are left out. Raises OSError, KeyStoreError if a fence cannot be read: then nothing is copied.
    """
    done = Followed()
    _take_service_key(target, source, done)
    done.shredded = _end_contracts(target, source)
    for tenant in (code for code in source.tenant_keys() if code not in doubted):
        try:
            if target.take_tenant_key(tenant, source):
                done.copied += 1
                done.tenants.append(tenant)
        except EndedTenantError:
            continue  # destroyed: the source's next repair removes what is left of it there
        except KeyStoreError as error:
            done.failures.append(str(error))
    done.fences_raised = _raise_fences(target, source)
    done.shredded += target.shred_fenced()
    for category in source.categories():
        for day in source.day_keys(category):
            try:
                done.copied += target.take_day_key(category, day, source)
            except FencedDayError:
                continue  # purged: the purge removes what is left of it in the source
            except AbsentKeyError:
                continue  # destroyed since it was listed
            except KeyStoreError as error:
                done.failures.append(str(error))
    # Keys destroyed while others were copied.
    done.shredded += _end_contracts(target, source)
    done.fences_raised += _raise_fences(target, source)
    done.shredded += target.shred_fenced()
    _take_moments(target, source, done)
    _count(target, source, done)
    return done


def _take_service_key(target: KeyStore, source: KeyStore, done: Followed) -> None:
    """Take the service's own key: the first of every key store, and nothing is destroyed in one without it."""
    try:
        done.copied += target.take_tenant_key(RESERVED_TENANT, source)
    except KeyStoreError as error:
        done.failures.append(str(error))


def _end_contracts(target: KeyStore, source: KeyStore) -> int:
    """Destroy in the target the keys of contracts that ended by either side; return how many there were."""
    ended = {*source.ended_tenants(), *target.ended_tenants()}
    there = ended.intersection(target.tenant_keys())
    for tenant in ended:
        if tenant in there or not target.knows_ended(tenant):
            target.destroy_tenant_key(tenant)
    return len(there)


def _raise_fences(target: KeyStore, source: KeyStore) -> int:
    raised = 0
    for category in source.fenced_categories():
        fence = source.fence(category)
        if fence is not None and target.lags_behind(category, fence):
            target.raise_fence(category, fence)
            raised += 1
    return raised


def _take_moments(target: KeyStore, source: KeyStore, done: Followed) -> None:
    """Take the last seal and the ledger."""
    if (moment := last_seal.remembered(source)) is not None:
        last_seal.remember(target, moment)
    try:
        target.take_ledger_keys(source)
        target.ledger.take(source.ledger)
    except KeyStoreError as error:
        done.failures.append(str(error))


def _count(target: KeyStore, source: KeyStore, done: Followed) -> None:
    tenants = set(target.tenant_keys())
    days = {(category, day) for category in target.categories() for day in target.day_keys(category)}
    known = {(category, day) for category in source.categories() for day in source.day_keys(category)}
    done.kept = len(tenants) + len(days)
    done.only_here = len(tenants - set(source.tenant_keys())) + len(days - known)


def check_source(source: KeyStore) -> bytes:
    """Return the service's own key, which identifies a key store. Raises OperatorError if it cannot be read."""
    where = source.directories[0]
    try:
        return source.read_tenant_key(RESERVED_TENANT)
    except AbsentKeyError as error:
        raise OperatorError(f"{where} holds no service key: it is not a key store, or the key is lost") from error
    except KeyStoreError as error:
        raise OperatorError(
            f"{where} is not a key store of this master key ({error}): set JOURNAL_MASTER_KEY_FILE to the key it was "
            "made under"
        ) from error


def check_alone(copy: Path) -> None:
    """Refuse a directory that holds anything but keys. Raises OperatorError."""
    if strangers := {path.name for path in copy.iterdir()} - CONTENT:
        raise OperatorError(f"{copy} holds {min(strangers)}, which is not a key: name a directory for the copy alone")


def check_same(target: KeyStore, source: KeyStore) -> None:
    """Refuse a target with the keys of another service: they would be overwritten. Raises OperatorError.

    A lost or damaged service key is accepted if another key there opens.
    """
    ours = check_source(source)
    where = target.directories[0]
    try:
        theirs = target.read_tenant_key(RESERVED_TENANT)
    except KeyStoreError as error:
        if _holds_keys(target) and not _opens_some(target):
            raise OperatorError(f"{where} holds keys of another service or master key: name another one") from error
        return
    if theirs != ours:
        raise OperatorError(f"{where} holds the keys of another service: name another one")


def _holds_keys(store: KeyStore) -> bool:
    return bool(store.tenant_keys()) or any(store.day_keys(category) for category in store.categories())


def _opens_some(store: KeyStore) -> bool:
    for tenant in store.tenant_keys():
        with suppress(KeyStoreError):
            return bool(store.read_tenant_key(tenant))
    for category in store.categories():
        for day in store.day_keys(category):
            with suppress(KeyStoreError):
                return bool(store.read_day_key(category, day))
    return False


def check_apart(copy: Path, others: Iterable[tuple[str, Path]]) -> None:
    """Refuse a copy inside, or around, the key store or the master key's directory. Raises OperatorError."""
    place = copy.resolve()
    for what, path in others:
        other = path.resolve()
        if other == place or place in other.parents or other in place.parents:
            raise OperatorError(f"{copy} and {what} {path} are not separate: a copy is useful only elsewhere")
