"""What the hand-over before purge asks of the database (role journal_purge, as the purge that waits for it).

Trust sentence: whoever holds this role's password can say that a day was handed over, and have it purged within its
window; the commune then misses a file whose neighbours' manifests show the gap.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from journal.database.pools import Pools

if TYPE_CHECKING:
    from datetime import date, datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipientRow:
    """A tenant that wants its days handed over; `certificate` is DER."""

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

    Written; in its place under its name once `placed_at` is there.
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
    """What keeps a tenant's hand-over from being made: `reason` for the commune, `detail` for the operator."""

    tenant: str
    since: datetime
    reason: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HandoverAlarm:
    """What must still become an entry; about one day of one category, or about all that is to come."""

    number: int
    raised_at: datetime
    day: date | None
    tenant: str
    category: str | None
    reason: str
    detail: str


class HandoverStatements(Pools):
    """Who wants it, what is due, what was done, what went wrong."""

    async def read_recipients(self) -> list[RecipientRow]:
        """Return the open tenants that registered a certificate, by code."""
        return [RecipientRow(**row) for row in await self._fetch("purge", "read_recipients")]

    async def handover_due(self, category: str, day: date) -> list[HandoverDue]:
        """Return the chains with entries up to the close of `day` that are neither handed over nor purged.

        None before the day has its close seal.
        """
        return [HandoverDue(**row) for row in await self._fetch("purge", "handover_due", category, day)]

    async def note_handover(self, tenant: str, file: HandoverFile) -> bool:
        """Note a file that is written and durable and has not its name yet; False if another run was faster."""
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
        """Say that the file has its name and is durable: its days are handed over. False if that was said before."""
        placed: bool = await self._fetch_value(
            "purge", "place_handover", tenant, file.category, file.last_day, file.file_sha256
        )
        return placed

    async def forget_handover(self, tenant: str, file: HandoverFile) -> bool:
        """Forget a file that was noted and is nowhere, so that it is made again; False if it was placed."""
        forgotten: bool = await self._fetch_value("purge", "forget_handover", tenant, file.category, file.last_day)
        return forgotten

    async def unlisted_handovers(self, tenant: str) -> list[HandoverFile]:
        """Return the files not placed, then every file of each night (UTC day) that holds one in no manifest."""
        return [HandoverFile(**row) for row in await self._fetch("purge", "unlisted_handovers", tenant)]

    async def list_handovers(self, tenant: str, up_to: datetime) -> None:
        """Say that the manifests name every file placed up to a moment."""
        await self._fetch("purge", "list_handovers", tenant, up_to)

    async def lapse_handovers(self, category: str, day: date, reason: str, detail: str) -> list[str]:
        """Note that a day goes without hand-over, and raise an alarm; return the tenants concerned."""
        return [row[0] for row in await self._fetch("purge", "lapse_handovers", category, day, reason, detail)]

    async def raise_handover_fault(
        self, tenant: str, *, category: str | None, day: date | None, reason: str, detail: str
    ) -> bool:
        """Note why a tenant's hand-over cannot be made; an alarm is raised, and True returned, if it is news."""
        raised: bool = await self._fetch_value("purge", "raise_handover_fault", tenant, category, day, reason, detail)
        return raised

    async def clear_handover_fault(self, tenant: str) -> bool:
        """Say that a tenant's hand-over works; True if it did not before."""
        cleared: bool = await self._fetch_value("purge", "clear_handover_fault", tenant)
        return cleared

    async def read_handover_faults(self) -> list[HandoverFault]:
        """Return what is wrong now, oldest first."""
        return [HandoverFault(**row) for row in await self._fetch("purge", "read_handover_faults")]

    async def read_handover_alarms(self) -> list[HandoverAlarm]:
        """Return the alarms that are no entries yet, in order."""
        return [HandoverAlarm(**row) for row in await self._fetch("purge", "read_handover_alarms")]

    async def forget_handover_alarm(self, number: int) -> None:
        """Forget an alarm: its entries are written."""
        await self._fetch("purge", "forget_handover_alarm", number)
