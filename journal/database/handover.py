"""Statements of the hand-over before purge (role journal_purge, like the purge that waits for it).

Each hand-over and each lapse carries a mac under a key of the key store. Trust sentence: whoever holds this role's
password, or writes the tables, cannot mark a day as handed over; a hand-over whose row they remove is made again.
"""

from __future__ import annotations

from dataclasses import dataclass
from hmac import compare_digest
from typing import TYPE_CHECKING, Any, Final

from journal.core.times import format_day
from journal.database.facts import content
from journal.database.pools import Pools

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date, datetime

# What the mac of a hand-over covers, besides its tenant and category and whether it is placed.
MACED: Final = (
    *("first_day", "last_day", "base_size", "base_hash", "head_size", "head_hash"),
    *("file_bytes", "file_sha256", "recipient_sha256", "code_mac"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipientRow:
    """A tenant with hand-over; `certificate` is DER.

    Until `confirmed_at` is set, nobody knows that the tenant can open what is encrypted to it, and the purge does not
    rely on a hand-over.
    """

    tenant: str
    registered_at: datetime
    confirmed_at: datetime | None
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

    It is written; once `placed_at` is set, it is in place under its final name. `code_mac` is over the confirmation
    code, which only whoever opens the file learns.
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
    code_mac: bytes = bytes(32)
    placed_at: datetime | None = None


def file_name(tenant: str, file: HandoverFile) -> str:
    """Return the name of a compartment's encrypted extract (FORMAT.md, section 13)."""
    return period_name(tenant, file.category, file.first_day, file.last_day)


def period_name(tenant: str, category: str, first_day: date, last_day: date) -> str:
    """Return the name of the encrypted extract of a compartment's days."""
    return f"{tenant}_{category}_{format_day(first_day)}_{format_day(last_day)}.asice.p7m"


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgedHandover:
    """A row that says that a day is handed over or lapsed, and that this service did not write."""

    tenant: str
    category: str
    last_day: date
    is_lapse: bool


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
        """Return the vouched certificates, by tenant."""
        return [RecipientRow(**row) for row in await self._read_facts("purge", "recipient")]

    async def handover_due(self, category: str, day: date, *, only_confirmed: bool = False) -> list[HandoverDue]:
        """Return the chains with entries up to the close of `day` that are neither handed over nor purged.

        Empty until the day has its close seal. Tenants whose certificate is vouched for count, whatever rows there are;
        a row that this service did not write counts for nothing. With `only_confirmed`, as the purge asks, a hand-over
        counts only if its tenant has confirmed that it could open one.
        """
        recipients = await self.read_recipients()
        confirmed = {row.tenant for row in recipients if row.confirmed_at is not None}
        done: dict[str, tuple[int, date]] = {}
        for row in await self._fetch("purge", "read_handovers", category):
            is_there = row["placed_at"] is not None and (row["tenant"] in confirmed or not only_confirmed)
            if self._is_ours(category, row) and (row["is_lapse"] or is_there):
                size, last = done.get(row["tenant"], (0, row["last_day"]))
                done[row["tenant"]] = (max(size, row["head_size"]), max(last, row["last_day"]))
        tenants = {row.tenant for row in recipients}
        if self.facts is not None:
            tenants.update(self.facts.ledger.names("recipient"))
        places = [done.get(tenant, (None, None)) for tenant in sorted(tenants)]
        rows = await self._fetch(
            "purge",
            "handover_due",
            category,
            day,
            sorted(tenants),
            [size for size, _ in places],
            [last for _, last in places],
        )
        return [HandoverDue(**row) for row in rows]

    async def discard_forged_handovers(self, category: str) -> list[ForgedHandover]:
        """Remove the rows of a category that this service did not write; return what they said."""
        found: list[ForgedHandover] = []
        for row in await self._fetch("purge", "read_handovers", category):
            if not self._is_ours(category, row):
                forged = ForgedHandover(
                    tenant=row["tenant"], category=category, last_day=row["last_day"], is_lapse=row["is_lapse"]
                )
                await self._fetch(
                    "purge", "discard_handover", row["tenant"], category, row["last_day"], row["is_lapse"], row["mac"]
                )
                found.append(forged)
        return found

    def _is_ours(self, category: str, row: Mapping[str, Any]) -> bool:
        if self.facts is None:
            return True
        if row["is_lapse"]:
            mac = self._lapse_mac(row["tenant"], category, row["last_day"], row["head_size"])
        else:
            mac = self._mac(row["tenant"], category, row, is_placed=row["placed_at"] is not None)
        return compare_digest(mac, row["mac"])

    def _mac(self, tenant: str, category: str, row: Mapping[str, Any], *, is_placed: bool) -> bytes:
        if self.facts is None:
            return bytes(32)
        values = {"tenant": tenant, "category": category, "is_placed": is_placed}
        values |= {column: row[column] for column in MACED}
        return bytes.fromhex(self.facts.ledger.digest(content("handover", values, tuple(values))))

    def _lapse_mac(self, tenant: str, category: str, day: date, head_size: int) -> bytes:
        if self.facts is None:
            return bytes(32)
        values = {"tenant": tenant, "category": category, "day": day, "head_size": head_size}
        return bytes.fromhex(self.facts.ledger.digest(content("lapse", values, tuple(values))))

    def code_mac(self, tenant: str, code: str) -> bytes:
        """Return what is kept of a tenant's confirmation code: the database does not show the code."""
        if self.facts is None:
            return bytes(32)
        values = {"tenant": tenant, "code": code}
        return bytes.fromhex(self.facts.ledger.digest(content("confirmation code", values, tuple(values))))

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
            file.code_mac,
            self._mac(tenant, file.category, _columns(file), is_placed=False),
        )
        return noted

    async def place_handover(self, tenant: str, file: HandoverFile) -> bool:
        """Note that the file is in place and durable: its days are handed over. False if noted before."""
        placed: bool = await self._fetch_value(
            "purge",
            "place_handover",
            tenant,
            file.category,
            file.last_day,
            file.file_sha256,
            self._mac(tenant, file.category, _columns(file), is_placed=True),
        )
        return placed

    async def forget_handover(self, tenant: str, file: HandoverFile) -> bool:
        """Forget a noted file that does not exist, so that it is made again; False if it was placed."""
        forgotten: bool = await self._fetch_value("purge", "forget_handover", tenant, file.category, file.last_day)
        return forgotten

    async def unlisted_handovers(self, tenant: str) -> list[HandoverFile]:
        """Return the files not placed, then every file of each night (UTC day) that holds one in no inventory."""
        return self._own_files(tenant, await self._fetch("purge", "unlisted_handovers", tenant))

    async def placed_handovers(self, tenant: str, night: date | None = None) -> list[HandoverFile]:
        """Return a tenant's files that are in place, of one night (UTC day) or of all that are remembered: a year."""
        return self._own_files(tenant, await self._fetch("purge", "placed_handovers", tenant, night))

    def _own_files(self, tenant: str, rows: Sequence[Mapping[str, Any]]) -> list[HandoverFile]:
        """Return the files of the rows that this service wrote."""
        files: list[HandoverFile] = []
        for row in rows:
            values = dict(row)
            mac = values.pop("mac")
            is_placed = row["placed_at"] is not None
            if self.facts is None or compare_digest(mac, self._mac(tenant, row["category"], row, is_placed=is_placed)):
                files.append(HandoverFile(**values))
        return files

    async def list_handovers(self, tenant: str, up_to: datetime) -> None:
        """Say that the inventories name every file placed up to a moment."""
        await self._fetch("purge", "list_handovers", tenant, up_to)

    async def lapse_handovers(
        self, category: str, day: date, reason: str, detail: str, *, only_confirmed: bool = False
    ) -> list[str]:
        """Note that a day is purged without hand-over, and raise an alarm; return the tenants concerned.

        With `only_confirmed`, those to whom it was handed over and who did not confirm that they can open it, too.
        """
        due = await self.handover_due(category, day, only_confirmed=only_confirmed)
        if not due:
            return []
        await self.discard_forged_handovers(category)
        rows = await self._fetch(
            "purge",
            "lapse_handovers",
            category,
            day,
            reason,
            detail,
            [row.tenant for row in due],
            [row.head_size for row in due],
            [self._lapse_mac(row.tenant, category, day, row.head_size) for row in due],
        )
        return [row[0] for row in rows]

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


def _columns(file: HandoverFile) -> dict[str, Any]:
    return {column: getattr(file, column) for column in MACED}
