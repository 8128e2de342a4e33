"""What the process that appends asks of the database (role journal_ingest).

Trust sentence: whoever holds this role's password can append well-formed garbage to any chain, and can read
credentials' hashes; it can read no entry and change none.
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

import sql
from journal.core.errors import StoreError
from journal.store.pools import Pools
from journal.store.values import (
    AppendBatch,
    AppendResult,
    CategoryRow,
    CredentialRow,
    HeadRow,
    KnownEntry,
    MovedHead,
    ServiceRow,
    TenantRow,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    import asyncpg

_FIELDS: Final = (
    *("chain_tenant", "chain_category", "chain_size", "chain_hash", "next_size", "next_hash", "chain_recorded_at"),
    *("entry_chain", "entry_index", "entry_key", "entry_leaf", "entry_hash", "entry_sealed", "entry_since"),
    *("activity_chain", "activity_action", "activity_count"),
    *("span_chain", "span_source", "span_low", "span_high", "span_count"),
)
_arguments: Final[Callable[[AppendBatch], tuple[Any, ...]]] = attrgetter(*_FIELDS)


def _read_result(rows: list[asyncpg.Record]) -> AppendResult:
    """Return what `journal.append` said; every row of one answer has the same outcome."""
    outcome = rows[0]["outcome"]
    match outcome:
        case "conflict":
            return AppendResult(outcome=outcome, moved=[_moved(row) for row in rows])
        case "known":
            return AppendResult(outcome=outcome, known=[_known(row) for row in rows])
        case "clock":
            return AppendResult(outcome=outcome, database_now=rows[0]["recorded_at"])
        case "appended":
            return AppendResult(outcome=outcome)
        case _:
            return AppendResult(outcome=outcome, chains=[row["position"] for row in rows])


def _moved(row: asyncpg.Record) -> MovedHead:
    names = ("position", "size", "chain_hash", "recorded_at")
    return MovedHead(**{name: row[name] for name in names})


def _known(row: asyncpg.Record) -> KnownEntry:
    names = ("position", "chain_hash", "leaf_hash", "day", "sealed")
    return KnownEntry(index=row["size"], **{name: row[name] for name in names})


class IngestStatements(Pools):
    """Appending, and what it needs to know."""

    async def append(self, batch: AppendBatch) -> AppendResult:
        """Append a batch computed from heads in memory: one round trip, one statement, its own transaction.

        `appended` means committed and flushed. UnavailableError: the batch may be recorded or not; appended again
        from fresh heads, it is either recorded or found `known`. StoreError: the batch is wrong, nothing was written.
        """
        async with self.borrow("ingest") as connection:
            return _read_result(await connection.fetch(sql.load("ingest")["append"], *_arguments(batch)))

    async def append_locked(
        self, tenants: Sequence[str], categories: Sequence[str], build: Callable[[list[HeadRow]], AppendBatch]
    ) -> AppendResult:
        """Append what `build` makes of the heads while their rows are locked: no conflict is possible.

        `build` gets the heads in the order asked, without those that do not exist, and must be quick: others wait.
        What it raises, passes through, and nothing is written. Errors as for `append`.
        """
        statements = sql.load("ingest")
        async with self.borrow("ingest") as connection:
            await connection.execute(statements["begin"])
            try:
                rows = await connection.fetch(statements["lock_heads"], tenants, categories)
                batch = build([HeadRow(**row) for row in rows])
                result = _read_result(await connection.fetch(statements["append"], *_arguments(batch)))
            except BaseException:
                if not connection.is_closed():
                    await connection.execute(statements["rollback"])
                raise
            # PostgreSQL answers COMMIT on a failed transaction with the tag ROLLBACK and no error.
            if (tag := await connection.execute(statements["commit"])) != "COMMIT":
                raise StoreError(f"the append was not committed: {tag}")
            return result

    async def read_heads(self, tenants: Sequence[str], categories: Sequence[str]) -> list[HeadRow]:
        """Return the heads asked for, in that order, without those that do not exist."""
        return [HeadRow(**row) for row in await self._fetch("ingest", "read_heads", tenants, categories)]

    async def read_credentials(self) -> list[CredentialRow]:
        """Return every credential, revoked and expired ones too."""
        return [CredentialRow(**row) for row in await self._fetch("ingest", "read_credentials")]

    async def directory_version(self) -> int:
        """Return a number that grows with every change of tenants, categories, fences or credentials; cheap."""
        version: int = await self._fetch_value("ingest", "directory_version")
        return version

    async def read_categories(self) -> list[CategoryRow]:
        """Return the categories, in the order they were added."""
        return [CategoryRow(**row) for row in await self._fetch("ingest", "read_categories")]

    async def read_tenants(self) -> list[TenantRow]:
        """Return the tenants by code, closed ones and the reserved one too."""
        return [TenantRow(**row) for row in await self._fetch("ingest", "read_tenants")]

    async def read_service(self) -> ServiceRow:
        """Return the installation; StoreError before it is created."""
        rows = await self._fetch("ingest", "read_service")
        if not rows:
            raise StoreError("the service is not created yet")
        return ServiceRow(**rows[0])

    async def read_now(self) -> datetime:
        """Return the database's clock, aware, in UTC."""
        moment: datetime = await self._fetch_value("ingest", "read_now")
        return moment

    async def clock_is_simulated(self) -> bool:
        """Say whether the database's clock was replaced by one that can be moved."""
        simulated: bool = await self._fetch_value("ingest", "clock_is_simulated")
        return simulated

    async def check_durability(self) -> list[str]:
        """Return what would make an acknowledgement a lie, as sentences; none where all is well."""
        settings = {row["name"]: row["setting"] for row in await self._fetch("ingest", "read_durability")}
        return judge_durability(settings)


def judge_durability(settings: dict[str, str]) -> list[str]:
    """Return a sentence for every setting under which a committed append can be lost."""
    faults = [
        f"{name} is off: a crash can lose or corrupt what was acknowledged"
        for name in ("fsync", "full_page_writes")
        if settings[name] != "on"
    ]
    if settings["synchronous_commit"] not in {"on", "remote_apply"}:
        level = settings["synchronous_commit"]
        faults.append(f"synchronous_commit is {level}: an acknowledgement would not wait for the disk and the standby")
    if settings["data_sync_retry"] != "off":
        faults.append("data_sync_retry is on: a failed write would be tried again and believed")
    return faults
