"""A database that a backup brought back: what it has forgotten, as the key store knows.

A purge raises the database's fence before the key store's. A database that stands behind has lost what it once had
committed, its last seals with it: nothing is served, sealed or purged from it before the loss is declared and the
purge done again.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING

from journal.core.errors import KeyStoreError, OperatorError
from journal.core.times import format_day

if TYPE_CHECKING:
    from journal.keystore import KeyStore
    from journal.store import Store


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


async def communes_back(store: Store, keystore: KeyStore) -> list[str]:
    """Return the communes whose key is destroyed, and of which the database does not know it. Raises StoreError."""
    # The key store is read first: a destruction under way is in the database before it is there.
    ended = set(keystore.ended_tenants())
    return [row.code for row in await store.read_tenants() if row.code in ended and not row.destroyed]


def describe_back(code: str) -> str:
    """Say that a commune is back, and what to type."""
    return (
        f"{code} was destroyed, and its entries, which nobody can read, are back: run openepm-journal tenant close "
        f"{code} --without-export, then openepm-journal tenant destroy {code} --confirm {code} --record FILE"
    )


async def refuse_restored(store: Store, keystore: KeyStore) -> None:
    """Raise OperatorError, which says what to do, where the database has forgotten a purge."""
    forgotten = await forgotten_purges(store, keystore)
    if not forgotten:
        return
    first = forgotten[0]
    known = f"up to {format_day(first.known)}" if first.known else "not at all"
    others = f" (and {len(forgotten) - 1} more)" if len(forgotten) > 1 else ""
    what = (
        f"this database is older than its key store: {first.category} is destroyed up to "
        f"{format_day(first.destroyed)}, and the database knows it {known}{others}"
    )
    latest = await store.latest_seal()
    if latest is None:
        raise OperatorError(
            f"{what}; it holds no seal either, so it is not the one that was backed up: restore that one, or set "
            "JOURNAL_DSN and JOURNAL_KEYSTORE to a database and a key store that belong together"
        )
    raise OperatorError(
        f"{what}. A backup was restored: what followed its last seal, {latest.number}, is lost. Nothing is served "
        f"before the purge is done again: run openepm-journal recover --declare-loss {latest.number}, then start serve"
    )
