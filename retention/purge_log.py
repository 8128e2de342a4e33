"""What went becomes entries: one `purge` entry per tenant and run, in the tenant's journal of the journal."""

from __future__ import annotations

import hashlib
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from journal.core import canonical
from journal.core.entry import JOURNAL_CATEGORY, RESERVED_TENANT, Compartment
from journal.core.errors import EndedTenantError, PurgedDayError
from journal.core.times import format_day
from journal.writing.chronicle import SUBMITTED_BY, service_event

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from journal.clock import Clock
    from journal.core.entry import Event
    from journal.database.purge import PurgeSpan
    from journal.database.store import Store
    from journal.writing.writer import Writer

# An entry of so many is well below what a record may hold.
SPANS_PER_ENTRY = 60


class PurgeRecord:
    """Writes the entries of what went and is not recorded yet; cut short, it is finished by the next run."""

    def __init__(self, *, store: Store, writer: Writer, service_name: str, clock: Clock) -> None:
        """Read what went from this store, write it through this writer."""
        self._store = store
        self._writer = writer
        self._service_name = service_name
        self._clock = clock

    async def is_owed(self) -> bool:
        """Tell whether something went that no entry says."""
        return bool(await self._store.read_purge_spans())

    async def write(self) -> None:
        """Write one `purge` entry per tenant; more where it is very much."""
        spans = await self._store.read_purge_spans()
        closed = {tenant.code for tenant in await self._store.read_tenants() if tenant.closed}
        for tenant, group in groupby(spans, key=attrgetter("tenant")):
            gone = list(group)
            # A closed tenant's chains take nothing more.
            owner = RESERVED_TENANT if tenant in closed else tenant
            compartment = Compartment(self._service_name, owner, JOURNAL_CATEGORY)
            parts = [gone[start : start + SPANS_PER_ENTRY] for start in range(0, len(gone), SPANS_PER_ENTRY)]
            at = max(span.moved_at for span in gone)
            try:
                await self._write(compartment, tenant, parts, at)
            except EndedTenantError:
                # Its key is destroyed, which a restored database does not know yet.
                compartment = Compartment(self._service_name, RESERVED_TENANT, JOURNAL_CATEGORY)
                await self._write(compartment, tenant, parts, at)
            await self._store.forget_purge_spans(tenant, at)

    async def _write(
        self, compartment: Compartment, tenant: str, parts: Sequence[Sequence[PurgeSpan]], at: datetime
    ) -> None:
        try:
            await self._submit(compartment, tenant, parts, at)
        except PurgedDayError:
            # So late that an earlier copy, if there was one, is gone as well.
            await self._submit(compartment, tenant, parts, self._clock.now())

    async def _submit(
        self, compartment: Compartment, tenant: str, parts: Sequence[Sequence[PurgeSpan]], at: datetime
    ) -> None:
        events = [self._event(tenant, [_describe(span) for span in part], at) for part in parts]
        await self._writer.submit(compartment, SUBMITTED_BY, events, sum(len(event.canonical) for event in events))

    def _event(self, tenant: str, days: list[dict[str, Any]], at: datetime) -> Event:
        # A run cut short here finds the same spans, hence the same event: recorded once.
        digest = hashlib.sha256(canonical.encode([tenant, days])).hexdigest()
        return service_event(
            service=self._service_name,
            kind="purge",
            event_id=f"purge-{digest[:32]}",
            at=at,
            subject=tenant,
            data={"days": days},
        )


def _describe(span: PurgeSpan) -> dict[str, Any]:
    return {
        "category": span.category,
        "count": span.end_index - span.first_index,
        "day": format_day(span.day),
        "first_index": span.first_index,
        "last_index": span.end_index - 1,
        "retention_days": span.retention_days,
        "seal": span.seal_number,
    }
