"""A copy of the key store that follows its purges: brought up to date from it, and the way back where it is lost.

One step for both directions: the target takes the source's fences and ended contracts, destroys what they end, then
takes the keys that it lacks, and what is known of the last seal. Fences come first, so that a run that is killed leaves
a copy that knows of every purge it has heard of; a key is taken only where neither side knows it to be destroyed, and
what is destroyed meanwhile is given up at the end. The master key is never copied: a copy alone opens nothing.

Trust sentence: whoever can write to a copy can destroy it, and, once it is restored from, fence off days and end
contracts for ever; it cannot read a key, give one day another's, nor bring back a destroyed day or an ended contract.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from journal.core.entry import RESERVED_TENANT
from journal.core.errors import AbsentKeyError, EndedTenantError, FencedDayError, KeyStoreError, OperatorError
from journal.keys import last_seal

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from journal.keys.store import KeyStore

CONTENT = frozenset({"days", "ended", "fences", last_seal.FOLDER, "tenants"})


@dataclass(slots=True, kw_only=True)
class Followed:
    """What bringing a key store up to date did, and what it could not do."""

    copied: int = 0
    shredded: int = 0
    fences_raised: int = 0
    kept: int = 0  # keys that the target now holds
    only_here: int = 0  # of these, those that the source has lost
    failures: list[str] = field(default_factory=list)


def follow(target: KeyStore, source: KeyStore) -> Followed:
    """Bring the target up to date with the source, durable, in every directory of it; safe to repeat.

    What cannot be copied is told, and keeps nothing else from being copied. Raises OSError, KeyStoreError where a
    fence cannot be read: nothing is then copied.
    """
    done = Followed()
    done.shredded = _end_contracts(target, source)
    for tenant in source.tenant_keys():
        try:
            done.copied += target.take_tenant_key(tenant, source)
        except EndedTenantError:
            continue  # destroyed: what is left of it in the source is its next repair's to take away
        except KeyStoreError as error:
            done.failures.append(str(error))
    done.fences_raised = _raise_fences(target, source)
    done.shredded += target.shred_fenced()
    for category in source.categories():
        for day in source.day_keys(category):
            try:
                done.copied += target.take_day_key(category, day, source)
            except FencedDayError:
                continue  # destroyed: what is left of it in the source is the purge's to take away
            except AbsentKeyError:
                continue  # destroyed since it was listed
            except KeyStoreError as error:
                done.failures.append(str(error))
    # What was destroyed while keys were copied.
    done.shredded += _end_contracts(target, source)
    done.fences_raised += _raise_fences(target, source)
    done.shredded += target.shred_fenced()
    if (moment := last_seal.remembered(source)) is not None:
        last_seal.remember(target, moment)
    _count(target, source, done)
    return done


def _end_contracts(target: KeyStore, source: KeyStore) -> int:
    """Destroy in the target the keys whose contract either side knows to have ended; return how many were there."""
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


def _count(target: KeyStore, source: KeyStore, done: Followed) -> None:
    tenants = set(target.tenant_keys())
    days = {(category, day) for category in target.categories() for day in target.day_keys(category)}
    known = {(category, day) for category in source.categories() for day in source.day_keys(category)}
    done.kept = len(tenants) + len(days)
    done.only_here = len(tenants - set(source.tenant_keys())) + len(days - known)


def check_source(source: KeyStore) -> bytes:
    """Return the service's own key, by which a key store is recognised. Raises OperatorError where it cannot be had."""
    where = source.directories[0]
    try:
        return source.read_tenant_key(RESERVED_TENANT)
    except AbsentKeyError as error:
        raise OperatorError(f"{where} holds no key of a service: it is no key store, or it is lost") from error
    except KeyStoreError as error:
        raise OperatorError(
            f"{where} is not a key store of this master key ({error}): set JOURNAL_MASTER_KEY_FILE to the key it was "
            "made under"
        ) from error


def check_alone(copy: Path) -> None:
    """Refuse a directory where something else is kept than keys. Raises OperatorError."""
    if strangers := {path.name for path in copy.iterdir()} - CONTENT:
        raise OperatorError(f"{copy} holds {min(strangers)}, which is no key: name a directory for the copy alone")


def check_same(target: KeyStore, source: KeyStore) -> None:
    """Refuse a target that holds keys, and not this service's: they would be written over. Raises OperatorError.

    A service's own key that is lost or damaged there is no reason, as long as another one opens.
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
    """Refuse a copy that lies in a directory it is a copy of, or beside the master key. Raises OperatorError."""
    place = copy.resolve()
    for what, path in others:
        other = path.resolve()
        if other == place or place in other.parents or other in place.parents:
            raise OperatorError(f"{copy} and {what} {path} are not apart: a copy is of use only elsewhere")
