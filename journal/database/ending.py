"""Statements for the end of a contract (role journal_admin; the removal itself, journal_purge).

Trust sentence: whoever holds the password of journal_admin can end a contract; only after that can the holder of that
of journal_purge remove the tenant's rows, no other tenant's, and the seals show the removal.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from journal.database.change import ChangeStatements
from journal.database.facts import SuspendedError

if TYPE_CHECKING:
    from datetime import date, datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Announcement:
    """The entry of a tenant's `journal` category that announced its export, and the certificate (DER) it named."""

    certificate: bytes
    index: int
    leaf_hash: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """The progress of the end of a contract; a seal's hash is that of its text, `export_sha256` of its inventory."""

    tenant: str
    closed_at: datetime
    certificate: bytes | None
    request_index: int | None
    request_leaf: bytes | None
    exported_at: datetime | None
    export_sha256: bytes | None
    waived_at: datetime | None
    destroyed_at: datetime | None
    seal_before: int | None
    seal_before_sha256: bytes | None
    seal_after: int | None
    seal_after_sha256: bytes | None
    finished_at: datetime | None

    @property
    def announcement(self) -> Announcement | None:
        """Return the entry that announced the export; None if the tenant was closed without one."""
        if self.certificate is None or self.request_index is None or self.request_leaf is None:
            return None
        return Announcement(certificate=self.certificate, index=self.request_index, leaf_hash=self.request_leaf)


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedChain:
    """The last state of a destroyed tenant's chain: entries `kept_from` ≤ index < `size` were removed."""

    category: str
    kept_from: int
    size: int
    chain_hash: bytes


class EndingStatements(ChangeStatements):
    """Move, closing, export, destruction."""

    async def move_tenant(self, code: str) -> bool:
        """Accept nothing more for a tenant but in its `journal`; False if it does not exist, or is moved or closed.

        Waits for running appends.
        """
        moved: bool = await self._change(
            "admin", "move_tenant", code, expected={("tenant", code): {}}, free=frozenset({"moved_at"})
        )
        return moved

    async def close_tenant(self, code: str, announcement: Announcement | None = None) -> bool:
        """Close a tenant to further entries; without `announcement` it wants no export.

        Waits for running appends. False if the tenant does not exist or is already closed.
        """
        announced = (
            (None, None, None)
            if announcement is None
            else (announcement.certificate, announcement.index, announcement.leaf_hash)
        )
        columns = dict(zip(("certificate", "request_index", "request_leaf"), announced, strict=True))
        closed: bool = await self._change(
            "admin",
            "end_contract",
            code,
            *announced,
            expected={
                ("tenant", code): {},
                ("ending", code): {"tenant": code} | columns,
                ("recipient", code): None,
            },
            free=frozenset({"closed_at", "waived_at"}),
        )
        return closed

    async def note_export(self, tenant: str, inventory_sha256: bytes) -> bool:
        """Note that the export with this inventory is complete; False if none was announced."""
        noted: bool = await self._change(
            "admin",
            "note_export",
            tenant,
            inventory_sha256,
            expected={("ending", tenant): {"export_sha256": inventory_sha256}},
            free=frozenset({"exported_at"}),
        )
        return noted

    async def waive_export(self, tenant: str) -> bool:
        """Note that a closed tenant wants no export; False if it has one, or if this was noted before."""
        waived: bool = await self._change(
            "admin",
            "waive_export",
            tenant,
            expected={("ending", tenant): {"tenant": tenant}},
            free=frozenset({"waived_at"}),
        )
        return waived

    async def begin_destruction(self, tenant: str, seal_number: int, seal_sha256: bytes) -> bool:
        """Allow the removal of a tenant's rows, as that seal states them; False if it was allowed before.

        StoreError unless it is closed and its export is made or waived.
        """
        begun: bool = await self._change(
            "admin",
            "begin_destruction",
            tenant,
            seal_number,
            seal_sha256,
            expected={
                ("tenant", tenant): {},
                ("ending", tenant): {"seal_before": seal_number, "seal_before_sha256": seal_sha256},
            },
            free=frozenset({"destroyed_at"}),
        )
        return begun

    async def remove_entries(self, tenant: str, category: str, day: date, limit: int) -> int:
        """Remove at most `limit` entries of a destroyed tenant from one leaf; return how many."""
        removed: int = await self._fetch_value("purge", "remove_entries", tenant, category, day, limit)
        return removed

    async def remove_traces(self, tenant: str) -> None:
        """Remove a destroyed tenant's counters and hand-overs, and its credentials except for their ids."""
        await self._fetch("purge", "remove_traces", tenant)

    async def empty_heads(self, tenant: str) -> int:
        """Set a destroyed tenant's heads to keep nothing; return how many changed.

        StoreError while it still has entries.
        """
        moved: int = await self._fetch_value("purge", "empty_heads", tenant)
        return moved

    async def finish_destruction(self, tenant: str, seal_number: int, seal_sha256: bytes) -> bool:
        """Note the seal that states that nothing is kept; False if noted before. StoreError if it does not state it."""
        finished: bool = await self._change(
            "admin",
            "finish_destruction",
            tenant,
            seal_number,
            seal_sha256,
            expected={("ending", tenant): {"seal_after": seal_number, "seal_after_sha256": seal_sha256}},
            free=frozenset({"finished_at"}),
        )
        return finished

    async def read_ending(self, tenant: str) -> Ending | None:
        """Return the progress of the end of a tenant's contract; None before it begins.

        Raises SuspendedError if its row is not vouched for.
        """
        rows = await self._read_facts("admin", "ending", tenant)
        if not rows and self.facts is not None and (problem := self.facts.problem("ending", tenant)):
            raise SuspendedError(problem)
        return Ending(**rows[0]) if rows else None

    async def read_endings(self) -> list[Ending]:
        """Return the progress of every vouched end of a contract; what is not vouched for is noted."""
        return [Ending(**row) for row in await self._read_facts("admin", "ending")]

    async def read_ended_chains(self, tenant: str) -> list[EndedChain]:
        """Return the last states of a destroyed tenant's chains, by category."""
        return [EndedChain(**row) for row in await self._fetch("admin", "read_ended_chains", tenant)]
