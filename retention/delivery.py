"""One commune's hand-over: extracts are made, encrypted, put in place, and named in a signed inventory.

Steps for one file, in this order: make and encrypt the extract into a durable `.part` file → note its hash in the
database → rename it, durably → note it as placed, after which its days may be purged → name it in the night's
inventory. The next run finishes one that was cut short between any two steps, and makes nothing twice.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING

import structlog

from journal.admin.confirmation import confirmation_code
from journal.core.entry import Compartment
from journal.core.times import day_of, format_day
from journal.database.handover import file_name, period_name
from journal.document.render import HANDOVER_SLIP
from journal.reading.plan import ExtractRequest
from journal.writing.chronicle import HANDED_OVER, SUBMITTED_BY
from retention.extract_file import write_extract_file
from retention.inventory import encode_inventory, inventory_name
from retention.outbox import PART
from retention.slips import put_paper

if TYPE_CHECKING:
    from datetime import date
    from pathlib import Path

    from journal.admin.recipient import Recipient
    from journal.database.handover import HandoverFile
    from journal.database.ingest import CategoryRow
    from journal.service import Service
    from retention.outbox import Outbox


log = structlog.get_logger()

PURPOSE = "lawfulness"


@dataclass(frozen=True, slots=True, kw_only=True)
class DuePeriod:
    """Whole days of a category that are handed over to a commune before they are purged."""

    category: CategoryRow
    first_day: date
    last_day: date


@dataclass(frozen=True, slots=True, kw_only=True)
class HandedOver:
    """A file that is in place."""

    tenant: str
    file: HandoverFile
    path: Path


class Delivery:
    """Works in one commune's outbox, which it has locked. Every method may raise OSError and JournalError."""

    def __init__(self, service: Service, outbox: Outbox, tenant: str) -> None:
        """Hand over from this service."""
        self._service = service
        self._store = service.store
        self._outbox = outbox
        self._tenant = tenant

    async def resume(self) -> list[HandedOver]:
        """Finish and return the files that an earlier run completed; remove those that it did not."""
        resumed: list[HandedOver] = []
        for file in await self._store.unlisted_handovers(self._tenant):
            if file.placed_at is not None:
                continue
            name = file_name(self._tenant, file)
            if await asyncio.to_thread(self._outbox.holds, name + PART, file.file_sha256):
                resumed.append(await self._place(file))
            elif await asyncio.to_thread(self._outbox.holds, name, file.file_sha256):
                resumed.append(await self._note_placed(file))
            else:
                await self._store.forget_handover(self._tenant, file)
        await asyncio.to_thread(self._outbox.clear)
        return resumed

    async def hand_over(self, recipient: Recipient, period: DuePeriod) -> HandedOver | None:
        """Make, encrypt and place one extract; None where another run was faster."""
        compartment = Compartment(self._service.name, self._tenant, period.category.code)
        name = period_name(self._tenant, period.category.code, period.first_day, period.last_day)
        request = ExtractRequest(
            from_day=period.first_day, to_day=period.last_day, purpose=PURPOSE, requester=HANDED_OVER
        )
        file, extract_sha256 = await write_extract_file(
            self._outbox,
            name,
            lambda: self._service.extraction.open(
                compartment, request, requested_by=SUBMITTED_BY, disclose=True, before_purge=True
            ),
            recipient,
            category=period.category.code,
            days=(period.first_day, period.last_day),
        )
        file = replace(file, code_mac=self._store.code_mac(self._tenant, confirmation_code(extract_sha256)))
        if not await self._store.note_handover(self._tenant, file):
            await asyncio.to_thread(self._outbox.discard, name)
            return None
        return await self._place(file)

    async def write_inventories(self) -> None:
        """Write the inventory of every night with files that none names yet; it names the night's earlier files too.

        Each has its signature beside it, and its slip, a PDF.
        """
        files = [file for file in await self._store.unlisted_handovers(self._tenant) if file.placed_at]
        for night, group in groupby(files, key=_night):
            content = encode_inventory(service=self._service.name, tenant=self._tenant, night=night, files=list(group))
            signature = await self._service.signer.sign(content, self._service.clock.now())
            name = inventory_name(self._tenant, night)
            # The signature first: an inventory that is there can be checked.
            await asyncio.to_thread(self._outbox.put, f"{name}.p7s", signature)
            await asyncio.to_thread(self._outbox.put, name, content)
            await put_paper(self._service, self._outbox, HANDOVER_SLIP, name, content)
        if files:
            await self._store.list_handovers(self._tenant, max(file.placed_at for file in files if file.placed_at))

    async def _place(self, file: HandoverFile) -> HandedOver:
        await asyncio.to_thread(self._outbox.place, file_name(self._tenant, file))
        return await self._note_placed(file)

    async def _note_placed(self, file: HandoverFile) -> HandedOver:
        await self._store.place_handover(self._tenant, file)
        days = f"{format_day(file.first_day)} to {format_day(file.last_day)}"
        log.info("days were handed over", tenant=self._tenant, category=file.category, days=days)
        return HandedOver(tenant=self._tenant, file=file, path=self._outbox.path(file_name(self._tenant, file)))


def _night(file: HandoverFile) -> date:
    assert file.placed_at is not None  # only placed files are passed
    return day_of(file.placed_at)
