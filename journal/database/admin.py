"""Statements of the operator's commands (role journal_admin).

Trust sentence: whoever holds this role's password can write rows of tenants, categories and credentials; without the
key store none of them is obeyed. Each change is made in two phases (`journal.database.change`), and is an entry.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from journal.choices import DEFAULT_BASIS
from journal.database.change import Change, ChangeStatements
from journal.database.facts import SERVICE_NAME
from journal.database.handover import RecipientRow
from journal.database.ingest import CredentialRow

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date, datetime

    from journal.core.entry import Compartment

# What the journaling itself rests on, by the regime of the data that are accessed.
LEGAL_BASES: Final = {
    "LED": "loi n° 78-17 du 6 janvier 1978, art. 101 ; directive (UE) 2016/680, art. 25",
    "GDPR": "règlement (UE) 2016/679, art. 6, § 1, e), et art. 32",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CategoryChange:
    """A change of a category; None means unchanged. `effective_from` is that of a shorter rule."""

    number: int
    changed_at: datetime
    category: str
    retention_days: int | None
    retention_days_before: int | None
    effective_from: date | None
    needs_authorisation: bool | None
    label: str | None
    basis: str | None
    legal_basis: str | None
    required_days: int | None
    instruction: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NewCredential:
    """A credential to store."""

    id: str
    secret_hash: bytes
    role: str
    tenant: str
    categories: list[str]
    source_prefix: str | None = None
    certificate_sha256: bytes | None = None
    person: bytes | None = None
    label: str = ""
    expires_at: datetime | None = None


class AdminStatements(ChangeStatements):
    """The service, its tenants, categories and credentials."""

    async def create_service(self, name: str) -> None:
        """Name the installation, once; its first day is today."""
        await self._change(
            "admin",
            "create_service",
            name,
            expected={("service", SERVICE_NAME): {"name": name}},
            free=frozenset({"created_at", "first_day"}),
        )

    async def change(self, changes: Sequence[Change]) -> list[Any]:
        """Make changes of different facts, a few hundred at most, all or none; return the value of each.

        Raises StoreError, KeyStoreError; UnavailableError if it is not known whether they were committed.
        """
        return await self._change_all("admin", changes)

    async def add_tenant(self, code: str, name: str, genesis: Mapping[str, bytes]) -> None:
        """Add a tenant and its chains; see `adding_tenant`."""
        await self.change([adding_tenant(code, name, genesis)])

    async def add_category(
        self,
        code: str,
        *,
        label: str,
        regime: str,
        retention_days: int,
        needs_authorisation: bool,
        genesis: Mapping[str, bytes],
        basis: str = DEFAULT_BASIS,
        legal_basis: str = "",
        required_days: int = 0,
    ) -> int:
        """Add a category and its chains; return its id. `genesis` holds the empty chain's hash for every open tenant.

        Without a legal basis, it gets the usual one of the regime. Its partitions are made by `ensure_partitions`:
        until then nothing can be appended.
        """
        legal_basis = legal_basis or LEGAL_BASES.get(regime, "")
        new_id: int = await self._change(
            "admin",
            "add_category",
            code,
            label,
            regime,
            retention_days,
            needs_authorisation,
            basis,
            legal_basis,
            required_days,
            list(genesis),
            list(genesis.values()),
            expected={
                ("category", code): {
                    "code": code,
                    "label": label,
                    "regime": regime,
                    "rule_days": retention_days,
                    "needs_authorisation": needs_authorisation,
                    "basis": basis,
                    "legal_basis": legal_basis,
                    "required_days": required_days,
                }
            },
            free=frozenset({"id", "created_at", "first_day"}),
        )
        return new_id

    async def set_category(
        self,
        code: str,
        *,
        label: str | None = None,
        retention_days: int | None = None,
        needs_authorisation: bool | None = None,
        basis: str | None = None,
        legal_basis: str | None = None,
        required_days: int | None = None,
        instruction: str = "",
        delay_days: int = 0,
    ) -> bool:
        """Change a category on an instruction, None leaving a value as it is; False if nothing changes.

        A new retention is pending until `settle_rule` puts it in force; a shorter one is obeyed after `delay_days`.
        StoreError if days that a longer one would keep are already purged.
        """
        asked = {
            "label": label,
            "needs_authorisation": needs_authorisation,
            "basis": basis,
            "legal_basis": legal_basis,
            "required_days": required_days,
        }
        free = {"rule_days", "next_retention_days", "next_since", "next_from"} if retention_days is not None else ()

        def check(before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> bool:
            if retention_days is None or before is None:
                return True
            following, since, start = after["next_retention_days"], after["next_since"], after["next_from"]
            bounds = sorted((before["rule_days"], before["next_retention_days"] or before["rule_days"]))
            is_late = following is None or following >= after["rule_days"] or start >= since + timedelta(delay_days)
            return following in {None, retention_days} and bounds[0] <= after["rule_days"] <= bounds[1] and is_late

        changed: bool = await self._change(
            "admin",
            "set_category",
            code,
            label,
            retention_days,
            needs_authorisation,
            basis,
            legal_basis,
            required_days,
            instruction,
            delay_days,
            expected={("category", code): {column: value for column, value in asked.items() if value is not None}},
            free=frozenset(free),
            check=check,
        )
        return changed

    async def set_rhythm(self, compartment: Compartment, *, key: bytes, name: bytes, minutes: int | None) -> None:
        """Declare how often a source, by its key and encrypted name, is to send something; None: no more."""
        await self._fetch("admin", "set_rhythm", compartment.tenant, compartment.category, key, name, minutes)

    async def declare_loss(self, compartment: Compartment, *, key: bytes, name: bytes, first: int, last: int) -> None:
        """Count the numbers from `first` to `last` of a source, by its key and encrypted name, as declared lost."""
        await self._fetch("admin", "declare_loss", compartment.tenant, compartment.category, key, name, first, last)

    async def set_recipient(self, tenant: str, certificate: bytes | None) -> bool:
        """Register the certificate (DER) for a tenant's hand-over; None ends it, False if there was none."""
        changed: bool = (await self.change([setting_recipient(tenant, certificate)]))[0]
        return changed

    async def confirm_recipient(self, tenant: str, certificate: bytes) -> bool:
        """Note that a tenant can open what is encrypted to this certificate (DER); False if it has another by now."""
        confirmed: bool = await self._change(
            "admin",
            "confirm_recipient",
            tenant,
            certificate,
            expected={("recipient", tenant): {"certificate": certificate}},
            free=frozenset({"confirmed_at"}),
            check=lambda _, after: after["confirmed_at"] is not None,
        )
        return confirmed

    async def list_recipients(self) -> list[RecipientRow]:
        """Return the open tenants that registered a certificate, by code."""
        return [RecipientRow(**row) for row in await self._read_facts("admin", "recipient")]

    async def add_credential(self, credential: NewCredential) -> None:
        """Store a credential."""
        await self.change([adding_credential(credential)])

    async def revoke_credential(self, credential_id: str) -> bool:
        """Revoke a credential; False if it does not exist or is already revoked."""
        revoked: bool = await self._change(
            "admin",
            "revoke_credential",
            credential_id,
            expected={("credential", credential_id): {}},
            free=frozenset({"revoked_at"}),
            check=lambda _, after: after["revoked_at"] is not None,
        )
        return revoked

    async def list_credentials(self) -> list[CredentialRow]:
        """Return every vouched credential, including revoked and expired ones."""
        return [CredentialRow(**row) for row in await self._read_facts("admin", "credential")]


def adding_tenant(code: str, name: str, genesis: Mapping[str, bytes]) -> Change:
    """Return the change that adds a tenant and its chains. `genesis` holds the empty chain's hash for every category.

    The reserved tenant `_service` has only the category `journal`.
    """
    return Change(
        statement="add_tenant",
        arguments=(code, name, list(genesis), list(genesis.values())),
        expected={("tenant", code): {"code": code, "name": name}},
        free=frozenset({"created_at"}),
    )


def adding_credential(credential: NewCredential) -> Change:
    """Return the change that stores a credential."""
    columns = (
        *(
            "id",
            "secret_hash",
            "role",
            "tenant",
            "categories",
            "source_prefix",
            "certificate_sha256",
            "person",
            "label",
        ),
        "expires_at",
    )
    row = {column: getattr(credential, column) for column in columns}
    return Change(
        statement="add_credential",
        arguments=tuple(row.values()),
        expected={("credential", credential.id): row},
        free=frozenset({"created_at"}),
    )


def limiting_credential(credential: CredentialRow, expires_at: datetime) -> Change:
    """Return the change that lets a credential expire at a time, if not earlier."""
    earlier = credential.expires_at is not None and credential.expires_at < expires_at
    return Change(
        statement="limit_credential",
        arguments=(credential.id, expires_at),
        expected={("credential", credential.id): {"expires_at": credential.expires_at if earlier else expires_at}},
    )


def setting_recipient(tenant: str, certificate: bytes | None) -> Change:
    """Return the change that registers the certificate (DER) for a tenant's hand-over; None ends it.

    Nothing is confirmed of it, even if it was registered before.
    """
    row = {"tenant": tenant, "certificate": certificate, "confirmed_at": None} if certificate is not None else None
    return Change(
        statement="set_recipient",
        arguments=(tenant, certificate),
        expected={("recipient", tenant): row},
        free=frozenset({"registered_at"}),
    )
