"""What the operator sets up: tenants, categories, hand-overs. Each change is an entry of the `journal` category."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from journal.admin.credentials import Credentials
from journal.admin.longer import check_required, communes_without_handover, longer_categories, refuse_longer
from journal.admin.recipient import read_recipient_pem
from journal.admin.rules import RuleChanges
from journal.admin.texts import check_text
from journal.choices import DEFAULT_BASIS, REGIMES
from journal.core.chain import genesis
from journal.core.entry import JOURNAL_CATEGORY, RESERVED_TENANT, SLUG, Compartment
from journal.core.errors import OperatorError
from journal.core.times import MAX_RETENTION_DAYS, MIN_RETENTION_DAYS, day_of, format_time, purgeable_through
from journal.database.admin import LEGAL_BASES, adding_tenant
from journal.database.ending import Announcement
from journal.writing.chronicle import Happening

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from journal.admin.recipient import Recipient
    from journal.database.ingest import CategoryRow, TenantRow
    from journal.service import Service


@dataclass(frozen=True, slots=True, kw_only=True)
class NewCategory:
    """A category as the operator describes it.

    Without a legal basis, it has the usual one of its regime; `required_days` are those that it asks for, 0 for none.
    """

    code: str
    label: str
    regime: str = "LED"
    retention_days: int = MAX_RETENTION_DAYS
    needs_authorisation: bool = False
    basis: str = DEFAULT_BASIS
    legal_basis: str = ""
    required_days: int = 0

    def check(self) -> None:
        """Raise OperatorError unless it can be added."""
        _check_slug("category", self.code)
        check_text("--label", self.label)
        if self.regime not in REGIMES:
            raise OperatorError(f"regime {self.regime!r}: choose {' or '.join(REGIMES)}")
        _check_retention(self.retention_days)
        _check_basis("--basis", self.basis)
        _check_basis("--legal-basis", self.named_basis)
        check_required(self.required_days)

    @property
    def named_basis(self) -> str:
        """Return what the journaling rests on."""
        return self.legal_basis or LEGAL_BASES[self.regime]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewTenant:
    """A commune as the operator describes it."""

    code: str
    name: str

    def check(self) -> None:
        """Raise OperatorError unless it can be added."""
        _check_slug("tenant", self.code)
        if not self.name.strip():
            raise OperatorError('a tenant needs a name: --name "Ville d\'Albi"')
        check_text("--name", self.name)


DEFAULT_CATEGORIES = (
    NewCategory(code="main-courante", label="Main courante"),
    NewCategory(code="ecrits", label="Procès-verbaux et rapports"),
    NewCategory(code="assistance", label="Accès d'assistance de l'hébergeur"),
    NewCategory(code="comptes", label="Comptes et droits"),
    NewCategory(code=JOURNAL_CATEGORY, label="Journal du journal"),
)


class Administration:
    """Changes tenants and categories, and records each change."""

    def __init__(self, service: Service) -> None:
        """Administer this service; its writer must be running."""
        self.credentials = Credentials(service)
        self._service = service

    async def add_tenant(self, code: str, name: str) -> None:
        """Add a commune, with an empty chain in every category. Raises OperatorError."""
        tenant = NewTenant(code=code, name=name)
        tenant.check()
        # A lost key must not be made again.
        if self._service.snapshot.tenant(code) is not None:
            raise OperatorError(f"there is already a tenant {code}; codes are never reused")
        await self.add_tenants([tenant])

    async def add_tenants(self, tenants: Sequence[NewTenant]) -> None:
        """Add communes, checked and new, all or none; a few hundred at most. Raises StoreError, KeyStoreError."""
        # The keys first: a chain without a key could not be written to.
        make = self._service.keyring.keystore.make_tenant_key
        # At once, because each waits for the disk.
        await asyncio.gather(*(asyncio.to_thread(make, tenant.code) for tenant in tenants))
        await self._service.store.change(
            [adding_tenant(tenant.code, tenant.name, self._genesis_of(tenant.code)) for tenant in tenants]
        )
        await self._service.snapshot.refresh()
        await self.enter_tenants([tenant.code for tenant in tenants])

    async def enter_tenants(self, codes: Iterable[str]) -> None:
        """Write the entries of the addition of communes, those that are not there."""
        rows = [row for code in codes if (row := self._service.snapshot.tenant(code)) is not None]
        await self._service.chronicle.write_all(
            [
                Happening(
                    kind="tenant",
                    tenant=row.code,
                    subject=row.code,
                    data={"change": "added", "name": row.name},
                    # The same event on every attempt: it is recorded once.
                    event_id=f"tenant-added-{row.code}",
                    at=row.created_at,
                )
                for row in rows
            ]
        )

    async def add_category(self, category: NewCategory) -> None:
        """Add a category, with an empty chain for every commune. Raises OperatorError."""
        category.check()
        if self._service.snapshot.category(category.code) is not None:
            raise OperatorError(f"there is already a category {category.code}: see openepm-journal category list")
        without = await communes_without_handover(self._service)
        refuse_longer(category.code, category.required_days, category.retention_days, without)
        await self._service.store.add_category(
            category.code,
            label=category.label,
            regime=category.regime,
            retention_days=category.retention_days,
            needs_authorisation=category.needs_authorisation,
            basis=category.basis,
            legal_basis=category.named_basis,
            required_days=category.required_days,
            genesis={
                tenant.code: self._genesis(tenant.code, category.code)
                for tenant in self._service.snapshot.tenants()
                if not tenant.closed and tenant.code != RESERVED_TENANT
            },
        )
        await self._service.snapshot.refresh()
        await self.enter_category(category)

    async def enter_category(self, category: NewCategory) -> None:
        """Write the entry of the addition of a category, if it is not there."""
        row = self._service.snapshot.category(category.code)
        if row is None or category.code in {default.code for default in DEFAULT_CATEGORIES}:
            return
        data = {
            "basis": category.basis,
            "change": "category added",
            "detail": describe_legal_basis(category.named_basis, category.required_days),
            "needs_authorisation": category.needs_authorisation,
            "regime": category.regime,
            "retention_days": category.retention_days,
        }
        await self._service.chronicle.write_all(
            [
                Happening(
                    kind="setting",
                    tenant=RESERVED_TENANT,
                    subject=category.code,
                    data=data,
                    event_id=f"category-added-{category.code}",
                    at=row.created_at,
                )
            ]
        )

    async def set_category(
        self,
        code: str,
        *,
        instruction: str,
        label: str | None = None,
        retention_days: int | None = None,
        needs_authorisation: bool | None = None,
        basis: str | None = None,
        legal_basis: str | None = None,
        required_days: int | None = None,
    ) -> CategoryRow:
        """Change a category, None leaving a value as it is, and return it; see `journal.admin.rules`.

        `instruction` is the reference of the client's written instruction: a processor changes no rule without one.
        Each change is at once an entry of the service and of every open commune; a shorter rule is obeyed after
        `rule_delay_days`. Raises OperatorError.
        """
        service = self._service
        if not instruction.strip():
            raise OperatorError("--instruction: give the reference of the client's written instruction")
        check_text("--instruction", instruction)
        row = service.snapshot.category(code)
        if row is None:
            raise OperatorError(f"there is no category {code}: see openepm-journal category list")
        if label is not None:
            if not label.strip():
                raise OperatorError("--label: a category needs one")
            check_text("--label", label)
        if retention_days is not None:
            _check_retention(retention_days)
        if basis is not None:
            _check_basis("--basis", basis)
        if legal_basis is not None:
            _check_basis("--legal-basis", legal_basis)
        await self._check_longer(row, retention_days, required_days)
        await service.store.set_category(
            code,
            label=label,
            retention_days=retention_days,
            needs_authorisation=needs_authorisation,
            basis=basis,
            legal_basis=legal_basis,
            required_days=required_days,
            instruction=instruction,
            delay_days=self._delay_days(code, retention_days),
        )
        rules = RuleChanges(service)
        await rules.enter()
        await rules.settle()
        await service.snapshot.refresh()
        return next(row for row in service.snapshot.categories() if row.code == code)

    async def _check_longer(self, row: CategoryRow, retention_days: int | None, required_days: int | None) -> None:
        """Refuse a change by which a category asks for longer than it is kept, unless its days are handed over."""
        if required_days is not None:
            check_required(required_days)
        if required_days is None and retention_days is None:
            return
        kept = retention_days or row.next_retention_days or row.rule_days
        required = row.required_days if required_days is None else required_days
        refuse_longer(row.code, required, kept, await communes_without_handover(self._service))

    def _delay_days(self, code: str, retention_days: int | None) -> int:
        """Return after how many days a shorter rule is obeyed: at once if the days it ends are destroyed already."""
        fence = self._service.keyring.keystore.fence(code)
        due = (
            purgeable_through(day_of(self._service.clock.now()), retention_days) if retention_days is not None else None
        )
        if fence is not None and due is not None and fence >= due:
            return 0  # the database was restored from before a purge under that rule
        return self._service.settings.rule_delay_days

    def find_tenant(self, code: str) -> TenantRow:
        """Return a commune, closed or not. Raises OperatorError for an unknown code."""
        tenant = self._service.snapshot.tenant(code)
        if tenant is None or code == RESERVED_TENANT:
            raise OperatorError(f"there is no tenant {code}: see openepm-journal tenant list")
        return tenant

    async def move_tenant(self, code: str, to: str) -> None:
        """Accept nothing more for a commune but in its journal, which says to which service it goes.

        Its modules' credentials are revoked; persons and clients keep theirs. Repeated, it changes nothing more.
        """
        for row in await self._service.store.list_credentials():
            if row.tenant == code and row.role == "module" and row.revoked_at is None:
                await self.credentials.revoke(row.id)
        if not self.find_tenant(code).moved:
            data = {"change": "moved", "name": to}
            await self._service.chronicle.write("tenant", tenant=code, subject=code, data=data, own_only=True)
            await self._service.store.move_tenant(code)
            await self._service.snapshot.refresh()

    async def close_tenant(self, code: str, recipient: Recipient | None = None) -> None:
        """Accept nothing more for a commune and refuse its credentials. Raises OperatorError.

        Its last entry announces the export to `recipient`, and is the request that each of its extracts names, since
        nothing can be recorded after it. None: there is no export. Its days are purged when their retention ends; its
        closed heads stay in the seals for ever.
        """
        tenant = self.find_tenant(code)
        registered = {row.tenant for row in await self._service.store.list_recipients()}
        if recipient is None and self._has_key(code) and code in registered:
            # No extract can be recorded for a closed tenant: days that wait for hand-over would be purged without it.
            raise OperatorError(
                f"the days of {code} are handed over before their purge, which closing would end: close it with "
                f"--export-to, or end the hand-over first (openepm-journal tenant handover {code} --none)"
            )
        for row in await self._service.store.list_credentials():
            if row.tenant == code and row.revoked_at is None:
                await self.credentials.revoke(row.id)
        if not tenant.closed:
            await self._service.store.close_tenant(code, await self._announce_end(code, recipient))
            await self._service.snapshot.refresh()

    async def _announce_end(self, code: str, recipient: Recipient | None) -> Announcement | None:
        """Write the last entry of a commune's journal; None if its key is destroyed (the database was restored)."""
        if not self._has_key(code):
            return None
        data = {"change": "closed", "export": recipient.sha256.hex() if recipient is not None else "none"}
        receipt = await self._service.chronicle.write("tenant", tenant=code, subject=code, data=data, own_only=True)
        if recipient is None:
            return None
        return Announcement(certificate=recipient.certificate.encoded, index=receipt.index, leaf_hash=receipt.leaf_hash)

    async def register_recipient(self, code: str, pem: bytes) -> Recipient:
        """Have a commune's days handed over before purge, encrypted to this certificate (PEM). Raises OperatorError."""
        self._check_open(code)
        recipient = read_recipient_pem(pem)
        recipient.check_valid(self._service.clock.now())
        await self._service.chronicle.write("setting", tenant=code, subject="handover", data=describe(recipient))
        await self._service.store.set_recipient(code, recipient.certificate.encoded)
        return recipient

    async def end_handover(self, code: str) -> None:
        """End the hand-over to a commune. Raises OperatorError where there is none."""
        self._check_open(code)
        if code not in {row.tenant for row in await self._service.store.list_recipients()}:
            raise OperatorError(f"{code} has registered no certificate: nothing is handed over")
        if longer := longer_categories(self._service):
            raise OperatorError(
                f"the legal basis of {', '.join(longer)} asks for longer than the service keeps: the hand-over "
                f"to {code} cannot end, but another certificate may be registered for it (tenant handover {code} "
                "--certificate PEM)"
            )
        await self._service.chronicle.write(
            "setting", tenant=code, subject="handover", data={"change": "hand-over ended"}
        )
        await self._service.store.set_recipient(code, None)

    def _has_key(self, code: str) -> bool:
        return code not in self._service.keyring.keystore.ended_tenants()

    def _check_open(self, code: str) -> None:
        tenant = self._service.snapshot.tenant(code)
        if tenant is None or tenant.closed or code == RESERVED_TENANT:
            raise OperatorError(f"there is no tenant {code}: see openepm-journal tenant list")

    def _genesis_of(self, tenant: str) -> dict[str, bytes]:
        return {category.code: self._genesis(tenant, category.code) for category in self._service.snapshot.categories()}

    def _genesis(self, tenant: str, category: str) -> bytes:
        return genesis(Compartment(self._service.name, tenant, category).origin).chain_hash


def describe(recipient: Recipient) -> dict[str, str]:
    """Return what the entry of the registration of a hand-over's certificate says."""
    return {
        "change": "hand-over certificate registered",
        "not_after": format_time(recipient.certificate.not_after),
        "sha256": recipient.sha256.hex(),
    }


def _check_slug(kind: str, code: str) -> None:
    if not SLUG.match(code):
        raise OperatorError(f"{kind} {code!r}: use lower-case letters, digits and hyphens, for example albi")


def _check_retention(days: int) -> None:
    if not MIN_RETENTION_DAYS <= days <= MAX_RETENTION_DAYS:
        raise OperatorError(f"retention of {days} days: choose {MIN_RETENTION_DAYS} to {MAX_RETENTION_DAYS}")


def describe_legal_basis(legal_basis: str, required_days: int) -> str:
    """Return, in French, what the entry of a category says of its legal basis."""
    asked = f", qui demande {required_days} jours de conservation" if required_days else ""
    return f"journalisation fondée sur : {legal_basis}{asked}"


def _check_basis(option: str, basis: str) -> None:
    if not basis.strip():
        raise OperatorError(f"{option}: name what the rule rests on, for example the contract or a law")
    check_text(option, basis)
