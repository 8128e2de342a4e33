"""Tenants, categories, credentials and persons in memory, refreshed every half second.

Only rows for which the key store vouches are here (`journal.database.facts`). What the ledger says has changed is read
again at once, whatever the database's own version says; everything is read again every 20 seconds, so that a row that
was changed by hand is noticed.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from journal.core.errors import StoreError

if TYPE_CHECKING:
    from journal.clock import Clock
    from journal.database.ingest import CategoryRow, CredentialRow, TenantRow
    from journal.database.persons import PersonRow
    from journal.database.store import Store
    from journal.keys.ring import Keyring

log = structlog.get_logger()

REFRESH_SECONDS = 0.5
FULL_READ_SECONDS = 20.0
# Above this many changed facts, reading everything costs less.
READ_ONE_BY_ONE = 50


class Snapshot:
    """A copy of the small tables, read again when they change.

    Every process refuses a revoked credential at most one refresh after its revocation.
    """

    def __init__(self, store: Store, keyring: Keyring, clock: Clock) -> None:
        """Start empty; `refresh` fills it."""
        self._store = store
        self._keyring = keyring
        self._clock = clock
        self._version = -1
        # Of two refreshes at once, the slower could put older rows in the place of newer ones.
        self._refreshing = asyncio.Lock()
        self._line = -1
        self._read_at = float("-inf")
        self._read_all_at = float("-inf")
        self._categories: dict[str, CategoryRow] = {}
        self._tenants: dict[str, TenantRow] = {}
        self._credentials: dict[str, CredentialRow] = {}
        self._persons: dict[str, PersonRow] = {}

    def category(self, code: str) -> CategoryRow | None:
        """Return the category, or None."""
        return self._categories.get(code)

    def categories(self) -> list[CategoryRow]:
        """Return every category, by code."""
        return [self._categories[code] for code in sorted(self._categories)]

    def tenant(self, code: str) -> TenantRow | None:
        """Return the tenant, or None."""
        return self._tenants.get(code)

    def tenants(self) -> list[TenantRow]:
        """Return every tenant, by code."""
        return [self._tenants[code] for code in sorted(self._tenants)]

    def credential(self, credential_id: str) -> CredentialRow | None:
        """Return the credential, revoked and expired ones included, or None."""
        return self._credentials.get(credential_id)

    def credentials(self) -> list[CredentialRow]:
        """Return every credential, revoked and expired ones included."""
        return list(self._credentials.values())

    def person(self, identifier: str) -> PersonRow | None:
        """Return the person of this id, revoked ones included, or None."""
        return self._persons.get(identifier)

    def persons(self) -> list[PersonRow]:
        """Return every person, revoked ones included."""
        return list(self._persons.values())

    def age_seconds(self) -> float:
        """Return how long ago the database last confirmed this snapshot."""
        return self._clock.monotonic() - self._read_at

    async def refresh(self, *, whole: bool = False) -> None:
        """Read what has changed; everything if `whole`. Raises StoreError."""
        async with self._refreshing:
            await self._refresh(whole=whole)

    async def _refresh(self, *, whole: bool) -> None:
        asked_at = self._clock.monotonic()
        version = await self._store.snapshot_version()
        ledger = self._keyring.keystore.ledger
        line = ledger.refresh()
        changed = ledger.changed_since(max(self._line, 0))
        is_due = whole or asked_at - self._read_all_at >= FULL_READ_SECONDS
        if self._line < 0 or is_due or len(changed) > READ_ONE_BY_ONE:
            await self._read_all()
            self._read_all_at = asked_at
        elif changed:
            await self._read_changed(changed)
        if is_due or changed or version != self._version:
            await self._read_categories()
        self._version, self._line = version, line
        self._read_at = asked_at

    def problems(self) -> list[str]:
        """Return a sentence for each administrative fact that is suspended, and each damaged copy of the ledger."""
        return self._store.facts.problems() if self._store.facts is not None else []

    def suspended(self, kind: str, name: str) -> str | None:
        """Return why a tenant, category or credential is suspended; None if it is not."""
        return self._store.facts.problem(kind, name) if self._store.facts is not None else None

    def is_suspended(self, kind: str, name: str) -> bool:
        """Tell whether a tenant, category or credential that exists is suspended; a forged one never existed."""
        return self.suspended(kind, name) is not None and self._keyring.keystore.ledger.knows(kind, name)

    async def _read_all(self) -> None:
        # Judged alone: nobody here needs them.
        await self._store.read_service()
        await self._store.read_recipients()
        await self._store.read_endings()
        self._tenants = {row.code: row for row in await self._store.read_tenants()}
        self._credentials = {row.id: row for row in await self._store.read_credentials()}
        self._persons = {row.id: row for row in await self._store.read_persons()}
        for tenant in self._tenants.values():
            self._learn(tenant)
        for code in self._store.facts.said_destroyed if self._store.facts is not None else ():
            self._keyring.learn_ended(code)

    async def _read_changed(self, changed: set[tuple[str, str]]) -> None:
        for kind, name in sorted(changed):
            if kind == "tenant":
                self._tenants.pop(name, None)
                for tenant in await self._store.read_tenants(name):
                    self._tenants[name] = tenant
                    self._learn(tenant)
            elif kind == "credential":
                self._credentials.pop(name, None)
                for credential in await self._store.read_credentials(name):
                    self._credentials[name] = credential
            elif kind == "person":
                self._persons.pop(name, None)
                for person in await self._store.read_persons(name):
                    self._persons[name] = person

    async def _read_categories(self) -> None:
        self._categories = {row.code: row for row in await self._store.read_categories()}
        for row in self._categories.values():
            if row.fence is not None:
                self._keyring.learn_fence(row.code, row.fence)

    def _learn(self, tenant: TenantRow) -> None:
        if tenant.destroyed:
            self._keyring.learn_ended(tenant.code)

    async def run(self) -> None:
        """Refresh for ever; while the database is unreachable the snapshot ages, which is logged once."""
        failing = False
        while True:
            try:
                await self.refresh()
            except (StoreError, OSError) as error:
                if not failing:
                    log.warning("the snapshot cannot be refreshed", reason=str(error))
                failing = True
            else:
                if failing:
                    log.info("the snapshot is refreshed again")
                failing = False
            await asyncio.sleep(REFRESH_SECONDS)
