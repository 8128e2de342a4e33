"""Tenants, categories and credentials in memory, refreshed every half second."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from journal.core.errors import StoreError

if TYPE_CHECKING:
    from journal.clock import Clock
    from journal.database.ingest import CategoryRow, CredentialRow, TenantRow
    from journal.database.store import Store
    from journal.keys.ring import Keyring

log = structlog.get_logger()

REFRESH_SECONDS = 0.5


class Snapshot:
    """A copy of the small tables, read again when their version changes.

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
        self._read_at = float("-inf")
        self._categories: dict[str, CategoryRow] = {}
        self._tenants: dict[str, TenantRow] = {}
        self._credentials: dict[str, CredentialRow] = {}

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

    def age_seconds(self) -> float:
        """Return how long ago the database last confirmed this snapshot."""
        return self._clock.monotonic() - self._read_at

    async def refresh(self) -> None:
        """Read the tables if their version has changed. Raises StoreError."""
        async with self._refreshing:
            await self._refresh()

    async def _refresh(self) -> None:
        asked_at = self._clock.monotonic()
        version = await self._store.snapshot_version()
        if version != self._version:
            self._tenants = {row.code: row for row in await self._store.read_tenants()}
            self._credentials = {row.id: row for row in await self._store.read_credentials()}
            self._categories = {row.code: row for row in await self._store.read_categories()}
            for row in self._categories.values():
                if row.fence is not None:
                    self._keyring.learn_fence(row.code, row.fence)
            for tenant in self._tenants.values():
                if tenant.destroyed:
                    self._keyring.learn_ended(tenant.code)
            self._version = version
        self._read_at = asked_at

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
