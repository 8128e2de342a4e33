"""The attestation that a commune's entries of a day were purged: gathers its facts, then makes and records it."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

from journal import __version__
from journal.core.entry import RESERVED_TENANT
from journal.core.errors import OperatorError, StoreError
from journal.core.times import day_of, format_day, format_seconds
from journal.document.attestation import attestation_content
from journal.document.attested import Attestation
from journal.document.render import ATTESTATION, render
from journal.papers.signing import anchor
from retention.evidence import Evidence, kept_facts
from retention.policy import goes_at

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from journal.database.ingest import CategoryRow
    from journal.service import Service

_NOW = ": openepm-journal purge does it now, unless it waits for a hand-over"


class Attestations:
    """Makes the attestations of one service."""

    def __init__(self, service: Service) -> None:
        """Attest purges of this service."""
        self._service = service
        self._store = service.store

    async def make(self, attestation: Attestation) -> bytes:
        """Return the signed document. Raises DocumentError, OperatorError."""
        content = attestation_content(attestation)
        return await render(content, self._service.signer, attestation.issued_at, ATTESTATION)

    async def issue(self, tenant: str, day: date) -> bytes:
        """Return the signed document for whoever may have it, its making recorded first; errors as for `gather`."""
        return await self.record(await self.gather(tenant, day))

    async def record(self, attested: Attestation) -> bytes:
        """Return the signed document, its making recorded as that of an extract is. Raises DocumentError."""
        document = await self.make(attested)
        data = {"change": "attestation made", "day": format_day(attested.day), "sha256": sha256(document).hexdigest()}
        await self._service.chronicle.write("setting", tenant=attested.tenant, subject="attestation", data=data)
        return document

    async def gather(self, tenant_code: str, day: date) -> Attestation:
        """Return what can be attested of a commune's day.

        Raises OperatorError where nothing can be attested, saying why and what to do; StoreError where the stored
        evidence is contradictory.
        """
        tenant = self._service.snapshot.tenant(tenant_code)
        if tenant is None or tenant_code == RESERVED_TENANT:
            raise OperatorError(f"there is no tenant {tenant_code}: see openepm-journal tenant list")
        categories = await self._categories(tenant_code, day)
        gone = [row for row in categories if row.fence is not None and day <= row.fence]
        kept = [row for row in categories if row not in gone]
        if tenant.destroyed and kept:
            raise OperatorError(await self._ended(tenant_code, day))
        await self._check_finished(tenant_code, day, gone, kept)
        if not gone:
            raise OperatorError(self._not_yet(tenant_code, day, kept))
        evidence = Evidence(self._service, tenant, day)
        facts = [await evidence.gather(row) for row in gone]
        if tenant.destroyed:
            begins = {chain.category: chain.kept_from for chain in await self._store.read_ended_chains(tenant_code)}
            if any(told.count and told.first_index >= begins.get(told.code, 0) for told in facts):
                raise OperatorError(await self._ended(tenant_code, day))
        if all(told.state == "untold" for told in facts):
            raise OperatorError(
                f"{tenant_code} {format_day(day)} is purged, and so is the evidence of how many entries it had: "
                "purge entries and the heads of seals are kept some 60 days after a purge"
            )
        row = await self._store.close_seal(day)
        closing = await evidence.seals.named(row.number) if row is not None else None
        if closing is None:
            raise StoreError(f"{format_day(day)} was purged without a close seal: run verify-store")
        identity = self._service.identity
        return Attestation(
            service=self._service.name,
            tenant=tenant_code,
            tenant_name=tenant.name,
            day=day,
            categories=[*facts, *(kept_facts(row, day) for row in kept)],
            closing=closing,
            key_copies=1 + len(self._service.settings.keystore_replicas),
            issued_at=self._service.clock.now().replace(microsecond=0),
            signer=identity.subject,
            signer_sha256=sha256(identity.certificates[0]).digest(),
            signer_until=identity.not_after,
            anchor=anchor(self._service),
            software=f"openepm-journal/{__version__}",
        )

    async def _categories(self, tenant: str, day: date) -> list[CategoryRow]:
        """Return the categories that the commune had on that day. Raises OperatorError where there was none yet."""
        if day >= day_of(self._service.clock.now()):
            raise OperatorError(f"{format_day(day)} is not over (UTC): a day can be attested once it is purged")
        created_at = await self._store.tenant_created_at(tenant)
        if created_at is None or day < day_of(created_at):
            since = f", on {format_day(day_of(created_at))}" if created_at is not None else ""
            raise OperatorError(f"{format_day(day)} is before {tenant} became a tenant{since}: it had no entries then")
        rows = await self._store.read_categories()
        chains = {head.category for head in await self._store.read_heads([tenant] * len(rows), [r.code for r in rows])}
        found = [row for row in rows if row.code in chains and row.first_day <= day]
        if not found:
            raise OperatorError(f"{format_day(day)} is before the first category of {tenant}: it had no entries then")
        return found

    async def _check_finished(
        self, tenant: str, day: date, gone: Sequence[CategoryRow], kept: Sequence[CategoryRow]
    ) -> None:
        """Raise OperatorError where a purge was cut short, or a backup brought something of the day back."""
        cut_short = {
            row.category for row in await self._store.unfinished_purges() if row.first_day <= day <= row.last_day
        }
        cut_short |= {row.category for row in await self._store.partitions() if row.day == day}
        cut_short |= {span.category for span in await self._store.read_purge_spans() if span.tenant == tenant}
        keys = self._service.keyring.keystore
        # Every copy of the key store must confirm that the day is destroyed; one that is not mounted cannot.
        cut_short |= {row.code for row in gone if keys.lags_behind(row.code, day) or day in keys.day_keys(row.code)}
        left = [row.code for row in gone if row.code in cut_short]
        # The key store remembers what a restored database has forgotten.
        left += [row.code for row in kept if (fence := keys.fence(row.code)) is not None and day <= fence]
        if left:
            raise OperatorError(
                f"the purge of {left[0]} {format_day(day)} is not finished, a backup has brought back something of it, "
                "or a copy of the key store is not there to confirm it: run openepm-journal purge, then try again"
            )

    async def _ended(self, tenant: str, day: date) -> str:
        """Return that the end of the contract, not the rule, destroyed the day's entries, and what attests that.

        This also holds where some categories were purged before: the seals no longer tell whether the others had any.
        """
        ending = await self._store.read_ending(tenant)
        since = f" on {format_day(day_of(ending.destroyed_at))}" if ending and ending.destroyed_at else ""
        return (
            f"what was still kept of {tenant} {format_day(day)} was destroyed at the end of its contract{since}, "
            "before its retention ended: the destruction report attests it. To write it again: "
            f"openepm-journal tenant destroy {tenant} --confirm {tenant} --report FILE"
        )

    def _not_yet(self, tenant: str, day: date, kept: Sequence[CategoryRow]) -> str:
        """Return when the first of the day's categories is purged."""
        first = min(kept, key=lambda row: row.retention_days)
        # A pending shorter rule allows the purge; the rule in force sets the time limit.
        begin, limit = goes_at(day, first.retention_days - 1), goes_at(day, first.stated_days)
        now = self._service.clock.now()
        what = f"{tenant} {format_day(day)} is not purged yet: its {first.code}"
        if now >= limit:
            return (
                f"{what} was due before {format_seconds(limit)} and is overdue: run openepm-journal purge (doctor says "
                "what prevents it), then try again"
            )
        when = f"may be purged from {format_seconds(begin)} on, and is purged before {format_seconds(limit)}"
        return f"{what} {when}" + (_NOW if now >= begin else "")
