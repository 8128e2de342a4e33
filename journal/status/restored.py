"""A database restored from a backup: what it has lost, as far as the key store knows.

A purge raises the fence of the database before that of the key store, and a seal is in the database before the key
store learns of it. A database that is behind its key store has thus lost committed data: it is not served, sealed or
purged until the loss is declared and the purges are repeated.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING

from journal.core.errors import KeyStoreError, OperatorError
from journal.core.seal import parse_seal
from journal.core.times import format_day, format_seconds
from journal.keys.last_seal import SealMoment, remembered

if TYPE_CHECKING:
    from collections.abc import Sequence

    from journal.database.ingest import TenantRow
    from journal.database.store import Store
    from journal.keys.store import KeyStore


# A declaration closes the days that are due and purges: at most two months of seals.
LATE_SEALS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgottenPurge:
    """A category purged up to `destroyed`, of which the database knows only up to `known`."""

    category: str
    known: date | None
    destroyed: date


async def forgotten_purges(store: Store, keystore: KeyStore) -> list[ForgottenPurge]:
    """Return the categories whose fence the database has lost, by code. Raises StoreError."""
    # The key store is read first: a running purge has then already raised the database's fence.
    fences: dict[str, date] = {}
    for category in keystore.fenced_categories():
        # A category whose fence cannot be read is not served in any case.
        with suppress(KeyStoreError):
            fences[category] = keystore.fence(category) or date.min
    return [
        ForgottenPurge(category=row.code, known=row.fence, destroyed=fences[row.code])
        for row in sorted(await store.read_categories(), key=lambda row: row.code)
        # Days before the category's first day were never in this database.
        if row.code in fences and (row.fence or row.first_day - timedelta(days=1)) < fences[row.code]
    ]


async def communes_back(store: Store, keystore: KeyStore) -> list[TenantRow]:
    """Return the communes whose key is destroyed without the database knowing. Raises StoreError."""
    # The key store is read first: a running destruction is in the database before it is in the key store.
    ended = set(keystore.ended_tenants())
    return [row for row in await store.read_tenants() if row.code in ended and not row.destroyed]


def describe_back(tenant: TenantRow) -> str:
    """Return that a destroyed commune is back, and the commands to run."""
    code = tenant.code
    close = "" if tenant.closed else f"openepm-journal tenant close {code} --without-export, then "
    return (
        f"{code} was destroyed, but the restored database has its (unreadable) entries again: run {close}"
        f"openepm-journal tenant destroy {code} --confirm {code} --report FILE"
    )


async def forgotten_seal(store: Store, keystore: KeyStore) -> SealMoment | None:
    """Return the last seal that the key store remembers, if the database has lost it. Raises StoreError."""
    # The key store is read first: it learns of a seal after the database has it.
    known = remembered(keystore)
    latest = await store.latest_seal() if known is not None else None
    if known is None or (latest is not None and known <= SealMoment(latest.sealed_at, latest.number)):
        return None
    return known


async def lacks_last_seal(store: Store, keystore: KeyStore) -> bool:
    """Tell whether the database has a later seal than the key store remembers: another key store served it since.

    Or one that was restored, until the next seal. Raises StoreError.
    """
    # The database is read first: a seal is in it before the key store learns of it.
    latest, known = await store.latest_seal(), remembered(keystore)
    return latest is not None and (known is None or known < SealMoment(latest.sealed_at, latest.number))


def describe_lost(lost: SealMoment) -> str:
    """Return that a seal is lost."""
    return f"the database has lost seal {lost.number} of {format_seconds(lost.sealed_at)}, and possibly later ones"


async def refuse_restored(store: Store, keystore: KeyStore) -> None:
    """Raise OperatorError, which says what to do, if the database has lost a purge or a seal."""
    purges, seal = await forgotten_purges(store, keystore), await forgotten_seal(store, keystore)
    if purges:
        what = _describe_purges(purges)
    elif seal is not None:
        what = describe_lost(seal)
    else:
        return
    what = f"this database is older than its key store: {what}"
    latest = await store.latest_seal()
    if latest is None:
        raise OperatorError(
            f"{what}; it holds no seal, so it is not the database that was backed up: restore that one, or set "
            "JOURNAL_DSN and JOURNAL_KEYSTORE to a database and its own key store"
        )
    number = latest.number
    if remembered(keystore) == SealMoment(latest.sealed_at, latest.number):
        # No seal is lost: an earlier declaration was interrupted after its seals, before its purges.
        number = await _declared_lately(store, number) or number
    raise OperatorError(
        f"{what}. A backup was restored: everything after its last seal, {number}, is lost. To declare the loss and "
        f"repeat the purges, run openepm-journal recover --declare-loss {number}; then start serve"
    )


async def _declared_lately(store: Store, latest: int) -> int | None:
    """Return the seal from which the database was recovered according to the last seals, if any."""
    rows = await store.read_seals(max(0, latest - LATE_SEALS), LATE_SEALS)
    found = [parse_seal(row.text).recovered_from for row in rows]
    return next((number for number in reversed(found) if number is not None), None)


def _describe_purges(purges: Sequence[ForgottenPurge]) -> str:
    first, *others = purges
    known = f"only up to {format_day(first.known)}" if first.known else "not at all"
    more = f" (and {len(others)} more)" if others else ""
    return f"{first.category} is purged up to {format_day(first.destroyed)}, in the database {known}{more}"
