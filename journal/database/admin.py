"""Statements of the operator's commands (role journal_admin).

Trust sentence: whoever holds this role's password can make credentials, thus submit events and request extracts as
anyone, and can shorten a category's retention, so that days are purged earlier than expected; each credential and each
change of retention is itself an entry of the journal, and seals state the retention.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from journal.database.handover import RecipientRow
from journal.database.ingest import CredentialRow
from journal.database.pools import Pools

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class CategoryChange:
    """A change of a category; None means unchanged."""

    number: int
    changed_at: datetime
    category: str
    retention_days: int | None
    retention_days_before: int | None
    needs_authorisation: bool | None
    label: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewCredential:
    """A credential to store."""

    id: str
    secret_hash: bytes
    role: str
    tenant: str
    categories: list[str]
    source_prefix: str | None = None
    label: str = ""
    expires_at: datetime | None = None


class AdminStatements(Pools):
    """The service, its tenants, categories and credentials."""

    async def create_service(self, name: str) -> None:
        """Name the installation, once; its first day is today."""
        await self._fetch("admin", "create_service", name)

    async def add_tenant(self, code: str, name: str, genesis: Mapping[str, bytes]) -> None:
        """Add a tenant and its chains. `genesis` holds the empty chain's hash for every category.

        The reserved tenant `_service` has only the category `journal`.
        """
        await self._fetch("admin", "add_tenant", code, name, list(genesis), list(genesis.values()))

    async def add_category(
        self,
        code: str,
        *,
        label: str,
        regime: str,
        retention_days: int,
        needs_authorisation: bool,
        genesis: Mapping[str, bytes],
    ) -> int:
        """Add a category and its chains; return its id. `genesis` holds the empty chain's hash for every open tenant.

        Its partitions are made by `ensure_partitions`: until then nothing can be appended.
        """
        new_id: int = await self._fetch_value(
            "admin",
            "add_category",
            code,
            label,
            regime,
            retention_days,
            needs_authorisation,
            list(genesis),
            list(genesis.values()),
        )
        return new_id

    async def set_category(
        self,
        code: str,
        *,
        label: str | None = None,
        retention_days: int | None = None,
        needs_authorisation: bool | None = None,
    ) -> bool:
        """Change a category, None leaving a value as it is; False if nothing changes.

        A new retention is pending until `settle_rule` puts it in force. StoreError if days that a longer one would keep
        are already purged.
        """
        changed: bool = await self._fetch_value(
            "admin", "set_category", code, label, retention_days, needs_authorisation
        )
        return changed

    async def set_recipient(self, tenant: str, certificate: bytes | None) -> bool:
        """Register the certificate (DER) for a tenant's hand-over; None ends it, False if there was none."""
        changed: bool = await self._fetch_value("admin", "set_recipient", tenant, certificate)
        return changed

    async def list_recipients(self) -> list[RecipientRow]:
        """Return the open tenants that registered a certificate, by code."""
        return [RecipientRow(**row) for row in await self._fetch("admin", "read_recipients")]

    async def add_credential(self, credential: NewCredential) -> None:
        """Store a credential."""
        await self._fetch(
            "admin",
            "add_credential",
            credential.id,
            credential.secret_hash,
            credential.role,
            credential.tenant,
            credential.categories,
            credential.source_prefix,
            credential.label,
            credential.expires_at,
        )

    async def revoke_credential(self, credential_id: str) -> bool:
        """Revoke a credential; False if it does not exist or is already revoked."""
        revoked: bool = await self._fetch_value("admin", "revoke_credential", credential_id)
        return revoked

    async def list_credentials(self) -> list[CredentialRow]:
        """Return every credential, including revoked and expired ones."""
        return [CredentialRow(**row) for row in await self._fetch("admin", "read_credentials")]
