"""A database that a backup brought back: what it has forgotten, as the key store knows.

A purge raises the database's fence before the key store's, and a seal is in the database before the key store hears of
it. A database that stands behind has lost what it once had committed: nothing is served, sealed or purged from it
before the loss is declared and the purge done again.
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


# A declaration closes the days that are due, and purges: two months of seals at most.
LATE_SEALS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgottenPurge:
    """A category whose days up to `destroyed` are destroyed, and of which the database knows those up to `known`."""

    category: str
    known: date | None
    destroyed: date


async def forgotten_purges(store: Store, keystore: KeyStore) -> list[ForgottenPurge]:
    """Return the categories whose fence the database has forgotten, by code. Raises StoreError."""
    # The key store is read first: a purge under way has then raised the database's fence already.
    fences: dict[str, date] = {}
    for category in keystore.fenced_categories():
        # Of a category whose fence cannot be read, nothing is served either way.
        with suppress(KeyStoreError):
            fences[category] = keystore.fence(category) or date.min
    return [
        ForgottenPurge(category=row.code, known=row.fence, destroyed=fences[row.code])
        for row in sorted(await store.read_categories(), key=lambda row: row.code)
        # What is older than the category itself was never in this database.
        if row.code in fences and (row.fence or row.first_day - timedelta(days=1)) < fences[row.code]
    ]


async def communes_back(store: Store, keystore: KeyStore) -> list[TenantRow]:
    """Return the communes whose key is destroyed, and of which the database does not know it. Raises StoreError."""
    # The key store is read first: a destruction under way is in the database before it is there.
    ended = set(keystore.ended_tenants())
    return [row for row in await store.read_tenants() if row.code in ended and not row.destroyed]


def describe_back(tenant: TenantRow) -> str:
    """Say that a commune is back, and what to type."""
    code = tenant.code
    close = "" if tenant.closed else f"openepm-journal tenant close {code} --without-export, then "
    return (
        f"{code} was destroyed, and its entries, which nobody can read, are back: run {close}"
        f"openepm-journal tenant destroy {code} --confirm {code} --record FILE"
    )


async def forgotten_seal(store: Store, keystore: KeyStore) -> SealMoment | None:
    """Return the last seal the key store knows of, where the database holds none so late. Raises StoreError."""
    # The key store is read first: it is told of a seal after the database has it.
    known = remembered(keystore)
    latest = await store.latest_seal() if known is not None else None
    if known is None or (latest is not None and known <= SealMoment(latest.sealed_at, latest.number)):
        return None
    return known


def describe_lost(lost: SealMoment) -> str:
    """Say of a seal that it is gone."""
    return f"the database has lost seal {lost.number} of {format_seconds(lost.sealed_at)}, and maybe more"


async def refuse_restored(store: Store, keystore: KeyStore) -> None:
    """Raise OperatorError, which says what to do, where the database has forgotten a purge or a seal."""
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
            f"{what}; it holds no seal either, so it is not the one that was backed up: restore that one, or set "
            "JOURNAL_DSN and JOURNAL_KEYSTORE to a database and a key store that belong together"
        )
    number = latest.number
    if remembered(keystore) == SealMoment(latest.sealed_at, latest.number):
        # No seal is lost: purges alone are left of a declaration that was cut short behind its seals.
        number = await _declared_lately(store, number) or number
    raise OperatorError(
        f"{what}. A backup was restored: what followed its last seal, {number}, is lost. Nothing is served before "
        f"that is declared and the purges are done again: run openepm-journal recover --declare-loss {number}, then "
        "start serve"
    )


async def _declared_lately(store: Store, latest: int) -> int | None:
    """Return from which seal the last seals say that the database was recovered, if any does."""
    rows = await store.read_seals(max(0, latest - LATE_SEALS), LATE_SEALS)
    found = [parse_seal(row.text).recovered_from for row in rows]
    return next((number for number in reversed(found) if number is not None), None)


def _describe_purges(purges: Sequence[ForgottenPurge]) -> str:
    first, *others = purges
    known = f"up to {format_day(first.known)}" if first.known else "not at all"
    more = f" (and {len(others)} more)" if others else ""
    return f"{first.category} is destroyed up to {format_day(first.destroyed)}, and the database knows it {known}{more}"
