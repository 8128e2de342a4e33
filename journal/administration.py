"""What the operator sets up: tenants, categories, credentials; each act is itself an entry of `journal`."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from journal.chain import genesis
from journal.entry import JOURNAL_CATEGORY, RESERVED_TENANT, SLUG, Compartment
from journal.errors import OperatorError
from journal.rule import MAX_RETENTION_DAYS, MIN_RETENTION_DAYS
from journal.service_event import SUBMITTED_BY, service_event
from journal.store import CategoryRow, CredentialRow
from journal.times import format_time

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from journal.service import Service

ROLES = ("module", "client", "auditor", "operator")
REGIMES = ("LED", "GDPR")
SECRET_BYTES = 32
ID_BYTES = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class NewCategory:
    """A category as the operator describes it."""

    code: str
    label: str
    regime: str = "LED"
    retention_days: int = MAX_RETENTION_DAYS
    needs_authorisation: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class NewCredential:
    """A credential as the operator describes it."""

    role: str
    tenant: str
    categories: tuple[str, ...]
    source_prefix: str = ""
    label: str = ""
    expires_at: datetime | None = None


DEFAULT_CATEGORIES = (
    NewCategory(code="main-courante", label="Main courante", needs_authorisation=True),
    NewCategory(code="ecrits", label="Procès-verbaux et rapports", needs_authorisation=True),
    NewCategory(code="assistance", label="Accès d'assistance de l'hébergeur"),
    NewCategory(code=JOURNAL_CATEGORY, label="Journal du journal"),
)


class Administration:
    """Changes what exists, and records that it was changed."""

    def __init__(self, service: Service) -> None:
        """Administer this service; its writer must be running."""
        self._service = service

    async def add_tenant(self, code: str, name: str) -> None:
        """Add a commune, with an empty chain in every category. Raises OperatorError."""
        _check_slug("tenant", code)
        if not name.strip():
            raise OperatorError('a tenant needs a name: --name "Ville d\'Albi"')
        # The key first: no chain may exist that nothing can be written to.
        self._service.keyring.keystore.make_tenant_key(code)
        await self._service.store.add_tenant(code, name, self._genesis_of(code))
        await self._service.directory.refresh()
        await self.record(code, "tenant", subject=code, data={"change": "added", "name": name})

    async def add_category(self, category: NewCategory) -> None:
        """Add a category, with an empty chain for every commune. Raises OperatorError."""
        _check_slug("category", category.code)
        if category.regime not in REGIMES:
            raise OperatorError(f"regime {category.regime!r}: choose {' or '.join(REGIMES)}")
        if not MIN_RETENTION_DAYS <= category.retention_days <= MAX_RETENTION_DAYS:
            limits = f"{MIN_RETENTION_DAYS} to {MAX_RETENTION_DAYS}"
            raise OperatorError(f"retention of {category.retention_days} days: choose {limits}")
        await self._service.store.add_category(
            CategoryRow(
                code=category.code,
                id=0,
                label=category.label,
                regime=category.regime,
                retention_days=category.retention_days,
                needs_authorisation=category.needs_authorisation,
                fence=None,
            ),
            {
                tenant.code: genesis(
                    Compartment(self._service.name, tenant.code, category.code).origin
                ).chain_hash
                for tenant in self._service.directory.tenants()
                if tenant.code != RESERVED_TENANT
            },
        )
        await self._service.directory.refresh()
        data = {
            "change": "category added",
            "needs_authorisation": category.needs_authorisation,
            "regime": category.regime,
            "retention_days": category.retention_days,
        }
        await self.record(RESERVED_TENANT, "setting", subject=category.code, data=data)

    async def add_credential(self, new: NewCredential) -> tuple[str, str]:
        """Make a credential and return (its id, the whole token): the secret is kept nowhere."""
        self._check_credential(new)
        identifier, secret = secrets.token_hex(ID_BYTES), secrets.token_urlsafe(SECRET_BYTES)
        await self._service.store.add_credential(
            CredentialRow(
                id=identifier,
                secret_hash=hashlib.sha256(secret.encode()).digest(),
                role=new.role,
                tenant=new.tenant,
                categories=new.categories,
                source_prefix=new.source_prefix,
                label=new.label,
                created_at=self._service.clock.now(),
                expires_at=new.expires_at,
                revoked_at=None,
            )
        )
        data: dict[str, Any] = {"categories": sorted(new.categories), "change": "added", "role": new.role}
        if new.expires_at is not None:
            data["expires_at"] = format_time(new.expires_at)
        await self.record(new.tenant, "credential", subject=identifier, data=data)
        return identifier, f"oej_{identifier}_{secret}"

    async def revoke_credential(self, identifier: str) -> None:
        """Revoke a credential; every process refuses it within a second. Raises OperatorError."""
        rows = {row.id: row for row in await self._service.store.list_credentials()}
        if identifier not in rows:
            raise OperatorError(f"there is no credential {identifier}: see openepm-journal credential list")
        if await self._service.store.revoke_credential(identifier):
            data = {"change": "revoked", "role": rows[identifier].role}
            await self.record(rows[identifier].tenant, "credential", subject=identifier, data=data)

    async def record(self, tenant: str, kind: str, *, subject: str, data: dict[str, Any]) -> None:
        """Write an entry about the service itself in the tenant's `journal` category."""
        event = service_event(
            service=self._service.name,
            kind=kind,
            event_id=str(uuid4()),
            at=self._service.clock.now(),
            subject=subject,
            data=data,
        )
        compartment = Compartment(self._service.name, tenant, JOURNAL_CATEGORY)
        await self._service.writer.submit(compartment, SUBMITTED_BY, [event], len(event.canonical))

    def _genesis_of(self, tenant: str) -> dict[str, bytes]:
        return {
            category.code: self._genesis(tenant, category.code)
            for category in self._service.directory.categories()
        }

    def _genesis(self, tenant: str, category: str) -> bytes:
        return genesis(Compartment(self._service.name, tenant, category).origin).chain_hash

    def _check_credential(self, new: NewCredential) -> None:
        if new.role not in ROLES:
            raise OperatorError(f"role {new.role!r}: choose {_enumerate(ROLES)}")
        tenant = self._service.directory.tenant(new.tenant)
        if tenant is None or tenant.closed:
            raise OperatorError(f"there is no tenant {new.tenant}: see openepm-journal tenant list")
        for code in new.categories:
            if self._service.directory.category(code) is None:
                known = _enumerate([category.code for category in self._service.directory.categories()])
                raise OperatorError(f"there is no category {code}: the categories are {known}")
        if new.role == "module":
            if JOURNAL_CATEGORY in new.categories:
                raise OperatorError("the journal category cannot be posted to: no module needs it")
            if not new.source_prefix:
                raise OperatorError("a module needs --source-prefix: what its events' source begins with")
        if not new.categories:
            raise OperatorError("a credential needs at least one --category")
        if new.expires_at is not None and new.expires_at <= self._service.clock.now():
            raise OperatorError("--expires-at is in the past")


def _check_slug(kind: str, code: str) -> None:
    if not SLUG.match(code):
        raise OperatorError(f"{kind} {code!r}: use lower-case letters, digits and hyphens, for example albi")


def _enumerate(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}" if len(words) > 1 else "".join(words)
