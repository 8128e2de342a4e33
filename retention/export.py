"""The export at the end of a contract: everything still kept of a commune, encrypted to its certificate.

One complete extract per compartment, `journal` included and empty ones too, or several where one would be larger than
openssl can open; then a signed inventory, which completes it. An export cut short before that is made anew.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, replace
from datetime import timedelta
from hashlib import sha256
from typing import TYPE_CHECKING

from journal.core.entry import Compartment
from journal.core.errors import StoreError
from journal.core.times import day_of
from journal.database.handover import file_name, period_name
from journal.document.render import EXPORT_SLIP
from journal.extract.manifest import Request
from journal.reading.plan import ExtractRequest
from journal.writing.chronicle import LEAVING
from retention.delivery import DuePeriod
from retention.ending_texts import encode_inventory, inventory_name
from retention.extract_file import LargeFileError, write_extract_file
from retention.policy import readable_from
from retention.slips import put_paper

if TYPE_CHECKING:
    from pathlib import Path

    from journal.admin.recipient import Recipient
    from journal.database.ending import Ending
    from journal.database.handover import HandoverFile
    from journal.database.seal import SealRow
    from journal.service import Service
    from retention.outbox import Outbox

PURPOSE = "lawfulness"
# openssl opens a file in memory, and no more than 1.5 GB of it.
FILE_LIMIT_BYTES = 1_400_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """A complete export: the path and hash of its inventory, and how many files that names."""

    path: Path
    sha256: bytes
    files: int


class Export:
    """One commune's export in an outbox that is held. Every method may raise OSError and JournalError."""

    def __init__(
        self, service: Service, *, outbox: Outbox, ending: Ending, recipient: Recipient, file_limit_bytes: int
    ) -> None:
        """Export from this service."""
        self._service = service
        self._store = service.store
        self._outbox = outbox
        self._ending = ending
        self._tenant = ending.tenant
        self._recipient = recipient
        self._file_limit_bytes = file_limit_bytes
        self._inventory_name = inventory_name(self._tenant)

    async def find(self) -> Exported | None:
        """Return the export that is there, whole and to this recipient; None where it must be made."""
        try:
            content = await asyncio.to_thread(self._outbox.path(self._inventory_name).read_bytes)
        except FileNotFoundError:
            return None
        # Others may write to the directory: only bytes whose hash the database holds are signed.
        if sha256(content).digest() != self._ending.export_sha256:
            return None
        files = json.loads(content)["files"]
        for file in files:
            there = await asyncio.to_thread(self._outbox.holds, file["name"], bytes.fromhex(file["sha256"]))
            if not there or file["recipient"] != self._recipient.sha256.hex():
                return None
        # A later attempt may have replaced its signature, or not have come to its slip.
        await self._sign(content)
        await self._put_slip(content)
        return self._exported(content, len(files))

    async def make(self) -> Exported:
        """Make every file, then the inventory, in place of what an earlier attempt left."""
        await asyncio.to_thread(self._outbox.clear)
        seal = await self._service.sealer.seal_open(even_if_still=True)
        if seal is None:
            raise StoreError("no seal was made")
        files: list[HandoverFile] = []
        for period in await self._periods():
            files += await self._place(period, seal)
        content = encode_inventory(
            service=self._service.name,
            tenant=self._tenant,
            closed_at=self._ending.closed_at,
            seal=seal,
            heads=[row for row in await self._store.read_seal_heads(seal.number) if row.tenant == self._tenant],
            files=files,
        )
        # Its signature and its slip first: an inventory that is there is complete.
        await self._sign(content)
        await self._put_slip(content)
        await asyncio.to_thread(self._outbox.put, self._inventory_name, content)
        await asyncio.to_thread(self._remove_others, {file_name(self._tenant, file) for file in files})
        return self._exported(content, len(files))

    async def _periods(self) -> list[DuePeriod]:
        """Return, for each of its compartments, the days that may still be read."""
        now = self._service.guard.check()
        last = day_of(self._ending.closed_at)
        periods = []
        for category in await self._store.read_categories():
            first = max(readable_from(day_of(now), category.stated_days), category.first_day)
            if category.fence is not None:
                first = max(first, category.fence + timedelta(days=1))
            # A category added after the close has no chain of this tenant.
            if first <= last and await self._store.read_heads([self._tenant], [category.code]):
                periods.append(DuePeriod(category=category, first_day=first, last_day=last))
        return periods

    async def _place(self, period: DuePeriod, seal: SealRow) -> list[HandoverFile]:
        """Make the files of a compartment: one, or one for each half of its days where that would be too large."""
        days = (period.last_day - period.first_day).days
        try:
            # A single day cannot be divided: opening it may need other software than openssl.
            return [await self._place_file(period, seal, self._file_limit_bytes if days else None)]
        except LargeFileError:
            middle = period.first_day + timedelta(days=days // 2)
        halves = (
            replace(period, last_day=middle),
            replace(period, first_day=middle + timedelta(days=1)),
        )
        return [file for half in halves for file in await self._place(half, seal)]

    async def _place_file(self, period: DuePeriod, seal: SealRow, limit_bytes: int | None) -> HandoverFile:
        code = period.category.code
        compartment = Compartment(self._service.name, self._tenant, code)
        request = ExtractRequest(from_day=period.first_day, to_day=period.last_day, purpose=PURPOSE, requester=LEAVING)
        name = period_name(self._tenant, code, period.first_day, period.last_day)
        file, _ = await write_extract_file(
            self._outbox,
            name,
            lambda: self._service.extraction.open_last(compartment, request, announced=self._announced(), seal=seal),
            self._recipient,
            category=code,
            days=(period.first_day, period.last_day),
            limit_bytes=limit_bytes,
        )
        await asyncio.to_thread(self._outbox.place, name)
        return file

    def _announced(self) -> Request:
        announcement = self._ending.announcement
        assert announcement is not None  # without one there is no export
        return Request(index=announcement.index, leaf=announcement.leaf_hash, reference=None)

    async def _sign(self, content: bytes) -> None:
        signature = await self._service.signer.sign(content, self._service.guard.check())
        await asyncio.to_thread(self._outbox.put, f"{self._inventory_name}.p7s", signature)

    async def _put_slip(self, content: bytes) -> None:
        await put_paper(self._service, self._outbox, EXPORT_SLIP, self._inventory_name, content)

    def _exported(self, content: bytes, files: int) -> Exported:
        return Exported(path=self._outbox.path(self._inventory_name), sha256=sha256(content).digest(), files=files)

    def _remove_others(self, names: set[str]) -> None:
        """Remove extracts that an earlier attempt made of other days: the inventory names every file."""
        for path in self._outbox.path(self._inventory_name).parent.glob("*.p7m"):
            if path.name not in names:
                path.unlink()
