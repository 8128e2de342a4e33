"""Statements of the hand-over before purge (role journal_purge, like the purge that waits for it).

Trust sentence: whoever holds this role's password can mark a day as handed over, so that it is purged within its
window; the commune then misses a file whose neighbours' inventories show the gap.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from journal.database.pools import Pools

if TYPE_CHECKING:
    from datetime import date, datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipientRow:
    """A tenant with hand-over; `certificate` is DER."""

    tenant: str
    registered_at: datetime
    certificate: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class HandoverDue:
    """Entries of one chain, `base_size` ≤ index < `head_size`, neither handed over nor purged.

    `done_day` is the last day handed over or lapsed before them, if any.
    """

    tenant: str
    base_size: int
    head_size: int
    done_day: date | None


@dataclass(frozen=True, slots=True, kw_only=True)
class HandoverFile:
    """A file with the days `first_day` to `last_day` of a chain, from `base_size` to `head_size`.

    It is written; once `placed_at` is set, it is in place under its final name.
    """

    category: str
    first_day: date
    last_day: date
    base_size: int
    base_hash: bytes
    head_size: int
    head_hash: bytes
    file_bytes: int
    file_sha256: bytes
    recipient_sha256: bytes
    placed_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HandoverFault:
    """Why a tenant's hand-over fails: `reason` for the commune, `detail` for the operator."""

    tenant: str
    since: datetime
    reason: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HandoverAlarm:
    """An alarm that must still become an entry, about one day of one category or about the hand-over as a whole."""

    number: int
    raised_at: datetime
    day: date | None
    tenant: str
    category: str | None
    reason: str
    detail: str


class HandoverStatements(Pools):
    """Recipients, due days, files, faults and alarms."""

    async def read_recipients(self) -> list[RecipientRow]:
        """Return the open tenants that registered a certificate, by code."""
        return [RecipientRow(**row) for row in await self._fetch("purge", "read_recipients")]

    async def handover_due(self, category: str, day: date) -> list[HandoverDue]:
        """Return the chains with entries up to the close of `day` that are neither handed over nor purged.

        Empty until the day has its close seal.
        """
        return [HandoverDue(**row) for row in await self._fetch("purge", "handover_due", category, day)]

    async def note_handover(self, tenant: str, file: HandoverFile) -> bool:
        """Note a file that is durable but not in place yet; False if another run was faster."""
        noted: bool = await self._fetch_value(
            "purge",
            "note_handover",
            tenant,
            file.category,
            file.first_day,
            file.last_day,
            file.base_size,
            file.base_hash,
            file.head_size,
            file.head_hash,
            file.file_bytes,
            file.file_sha256,
            file.recipient_sha256,
        )
        return noted

    async def place_handover(self, tenant: str, file: HandoverFile) -> bool:
        """Note that the file is in place and durable: its days are handed over. False if noted before."""
        placed: bool = await self._fetch_value(
            "purge", "place_handover", tenant, file.category, file.last_day, file.file_sha256
        )
        return placed

    async def forget_handover(self, tenant: str, file: HandoverFile) -> bool:
        """Forget a noted file that does not exist, so that it is made again; False if it was placed."""
        forgotten: bool = await self._fetch_value("purge", "forget_handover", tenant, file.category, file.last_day)
        return forgotten

    async def unlisted_handovers(self, tenant: str) -> list[HandoverFile]:
        """Return the files not placed, then every file of each night (UTC day) that holds one in no inventory."""
        return [HandoverFile(**row) for row in await self._fetch("purge", "unlisted_handovers", tenant)]

    async def list_handovers(self, tenant: str, up_to: datetime) -> None:
        """Say that the inventories name every file placed up to a moment."""
        await self._fetch("purge", "list_handovers", tenant, up_to)

    async def lapse_handovers(self, category: str, day: date, reason: str, detail: str) -> list[str]:
        """Note that a day is purged without hand-over, and raise an alarm; return the tenants concerned."""
        return [row[0] for row in await self._fetch("purge", "lapse_handovers", category, day, reason, detail)]

    async def raise_handover_fault(
        self, tenant: str, *, category: str | None, day: date | None, reason: str, detail: str
    ) -> bool:
        """Note why a tenant's hand-over fails; if that is new, raise an alarm and return True."""
        raised: bool = await self._fetch_value("purge", "raise_handover_fault", tenant, category, day, reason, detail)
        return raised

    async def clear_handover_fault(self, tenant: str) -> bool:
        """Note that a tenant's hand-over works; True if it failed before."""
        cleared: bool = await self._fetch_value("purge", "clear_handover_fault", tenant)
        return cleared

    async def read_handover_faults(self) -> list[HandoverFault]:
        """Return the present faults, oldest first."""
        return [HandoverFault(**row) for row in await self._fetch("purge", "read_handover_faults")]

    async def read_handover_alarms(self) -> list[HandoverAlarm]:
        """Return the alarms without entries yet, in order."""
        return [HandoverAlarm(**row) for row in await self._fetch("purge", "read_handover_alarms")]

    async def forget_handover_alarm(self, number: int) -> None:
        """Forget an alarm: its entries are written."""
        await self._fetch("purge", "forget_handover_alarm", number)
