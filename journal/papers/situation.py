"""What every paper rests on: a commune, its chains as the latest seal states them, and its own journal."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

from journal.core.entry import JOURNAL_CATEGORY, RESERVED_TENANT, Compartment
from journal.core.errors import OperatorError, StoreError, VerificationError
from journal.core.seal import parse_seal
from journal.document.french import french_number, french_range, solid_entries
from journal.document.paper import CitedSeal, named
from journal.pki import cms
from journal.pki.certificates import pem_to_der

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import date, datetime

    from journal.core.entry import Entry
    from journal.core.seal import SealedHead
    from journal.database.handover import RecipientRow
    from journal.database.ingest import CategoryRow, TenantRow
    from journal.database.seal import SealRow
    from journal.service import Service

REGIMES = {"LED": "directive (UE) 2016/680", "GDPR": "RGPD"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """A commune at a moment.

    `heads` are those of its chains in `seal`, by category, also of one whose row was altered; `recipient` its
    hand-over, None if there is none; `is_partial` where some of its categories are left out.
    """

    service: Service
    tenant: TenantRow
    now: datetime
    seal: CitedSeal
    heads: dict[str, SealedHead]
    categories: list[CategoryRow]
    recipient: RecipientRow | None
    is_partial: bool = False

    @property
    def is_confirmed(self) -> bool:
        """Whether the commune has shown that it opens what is handed over to it."""
        return self.recipient is not None and self.recipient.confirmed_at is not None

    @property
    def commune(self) -> str:
        """The commune's name, as a text may hold it."""
        return named(self.tenant.name)

    @property
    def seal_name(self) -> str:
        """How texts name the latest seal."""
        return f"sceau n° {french_number(self.seal.number)}"

    def label(self, code: str) -> str:
        """Return a category's name, as a text may hold it; its code where there is none any more."""
        return next((named(row.label, 48) for row in self.categories if row.code == code), code)

    def compartment(self, code: str) -> Compartment:
        """Return the commune's compartment of a category."""
        return Compartment(self.service.name, self.tenant.code, code)

    def chain(self, code: str) -> str:
        """Write what the latest seal states of a chain."""
        head = self.heads[code]
        kept = head.size - head.kept_from
        if not kept:
            return f"{self.seal_name} : aucune entrée conservée"
        indexes = french_range(head.kept_from, head.size - 1)
        return f"{self.seal_name} : {solid_entries(kept)} conservée{'s' if kept > 1 else ''}, {indexes}"

    async def entries(self, *kinds: str, since: date | None = None, without_damaged: bool = False) -> list[Entry]:
        """Return the entries of these kinds in the commune's own journal that are still kept, oldest first."""
        chronicle = self.service.chronicle
        first = since or await chronicle.first_day()
        found = chronicle.entries(self.tenant.code, *kinds, since=first, without_damaged=without_damaged)
        return [entry async for entry in found]


async def gather(service: Service, tenant_code: str, only: Collection[str] | None = None) -> Situation:
    """Return the situation of a commune; with `only`, of these categories and its own journal.

    Raises OperatorError for a commune that there is not, whose data are destroyed, or that no seal covers yet;
    StoreError for a seal that does not verify.
    """
    tenant = service.snapshot.tenant(tenant_code)
    if tenant is None or tenant_code == RESERVED_TENANT:
        raise OperatorError(f"there is no tenant {tenant_code}: see openepm-journal tenant list")
    if tenant.destroyed:
        raise OperatorError(f"the data of {tenant_code} are destroyed: its destruction report is what is left to give")
    row = await service.store.latest_seal()
    seal = cited(service, row) if row is not None else None
    heads: dict[str, SealedHead] = {}
    for code in [*(row.code for row in service.snapshot.categories()), *unheeded(service)]:
        compartment = Compartment(service.name, tenant_code, code)
        stated = await service.reader.chain_seal(row, compartment) if row is not None else None
        if stated is not None:
            heads[code] = stated.head
    if seal is None or not heads:
        raise OperatorError(
            f"no seal covers {tenant_code} yet, and each figure of a paper rests on one: run openepm-journal seal, "
            "then try again"
        )
    chosen = {*heads} if only is None else {*heads} & {*only, JOURNAL_CATEGORY}
    recipients = {one.tenant: one for one in await service.store.list_recipients()}
    return Situation(
        service=service,
        tenant=tenant,
        now=service.clock.now().replace(microsecond=0),
        seal=seal,
        heads={code: head for code, head in heads.items() if code in chosen},
        categories=[row for row in service.snapshot.categories() if row.code in chosen],
        is_partial=len(chosen) < len(heads),
        recipient=recipients.get(tenant_code),
    )


def unheeded(service: Service) -> list[str]:
    """Return the categories whose row was altered or lost: it is not obeyed, and their entries are still there."""
    facts, known = service.store.facts, {row.code for row in service.snapshot.categories()}
    names = [] if facts is None else [name for _, name in facts.suspended("category")]
    return [name for name in names if name not in known]


def cited(service: Service, row: SealRow) -> CitedSeal:
    """Return what identifies a stored seal, its signature checked. Raises StoreError where it does not verify."""
    try:
        seal = parse_seal(row.text)
        anchors = pem_to_der(service.reader.trust())
        cms.verify(row.signature, sha256(row.text).digest(), anchors=anchors, service=service.name)
    except VerificationError as error:
        raise StoreError(f"seal {row.number} does not verify ({error}): run verify-store") from error
    return CitedSeal(number=seal.number, day=seal.day, sealed_at=seal.sealed_at, digest=seal.digest)


def entry_name(index: int) -> str:
    """How texts name an entry of the commune's own journal."""
    return f"entrée n° {french_number(index)} du journal de la commune"


def last_of(entries: Collection[Entry], change: str) -> Entry | None:
    """Return the last entry of a change."""
    found = [entry for entry in entries if entry.event.get("data", {}).get("change") == change]
    return found[-1] if found else None


def accessed(situation: Situation) -> list[CategoryRow]:
    """Return the categories that modules record accesses in: all but the service's own."""
    return [row for row in situation.categories if row.code != JOURNAL_CATEGORY]
