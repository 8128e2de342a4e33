"""Statements of the process that appends (role journal_ingest).

Trust sentence: whoever holds this role's password can append well-formed garbage to any chain, and can read
the hashes of credentials; they can neither read nor change an entry.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from itertools import accumulate, chain
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, Literal

import sql
from journal.core.errors import StoreError
from journal.database.facts import SERVICE_NAME, SuspendedError
from journal.database.heads import HeadRow
from journal.database.pools import UNREPLICATED, Pools, make_durable, readable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import date, datetime

    import asyncpg


Answer = Literal["appended", "conflict", "known", "clock", "closed", "fenced", "absent"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AppendBatch:
    """Entries for many chains, appended completely or not at all. Lists of one group have one length.

    chain_*     one place per chain: the head the batch was computed from (`chain_size`, `chain_hash`), the head it
                leads to (`next_size`, `next_hash`), and the `recorded_at` of all its entries
    entry_*     one place per entry, chain by chain, in the order of their indexes: event key (16 bytes), leaf hash,
                chain hash at index + 1, ciphertext
    early_*     one place per entry of which a copy may be recorded on an earlier day than its chain's: which (place in
                the entry lists, from 1), and the first such day
    activity_*  one place per (chain, action): how many of the batch's entries
    late_*      one place per (chain, day of the access that is not that of `recorded_at`): how many
    span_*      one place per range of sequence numbers of a (chain, source): the source's key (16 bytes) and encrypted
                name, the range's lowest and highest number, and how many events have one of them
    """

    chain_tenant: Sequence[str]
    chain_category: Sequence[str]
    chain_size: Sequence[int]
    chain_hash: Sequence[bytes]
    next_size: Sequence[int]
    next_hash: Sequence[bytes]
    chain_recorded_at: Sequence[datetime]
    entry_key: Sequence[bytes]
    entry_leaf: Sequence[bytes]
    entry_hash: Sequence[bytes]
    entry_ciphertext: Sequence[bytes]
    early_entry: Sequence[int] = ()
    early_since: Sequence[date] = ()
    activity_chain: Sequence[int] = ()
    activity_action: Sequence[str] = ()
    activity_count: Sequence[int] = ()
    late_chain: Sequence[int] = ()
    late_day: Sequence[date] = ()
    late_count: Sequence[int] = ()
    span_chain: Sequence[int] = ()
    span_source: Sequence[bytes] = ()
    span_name: Sequence[bytes] = ()
    span_low: Sequence[int] = ()
    span_high: Sequence[int] = ()
    span_count: Sequence[int] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class MovedHead:
    """A chain whose head differs from what the batch expected: its place in the chain lists (from 1) and its head."""

    position: int
    size: int
    chain_hash: bytes
    recorded_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownEntry:
    """An entry recorded before: its place in the entry lists (from 1), and its first copy."""

    position: int
    index: int
    chain_hash: bytes
    leaf_hash: bytes
    day: date
    ciphertext: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class AppendResult:
    """The result of appending a batch. Only `appended` wrote anything.

    appended  all entries are committed, and will be durable once `flushed` has a result
    conflict  `moved`: every chain that moved
    known     `known`: every entry of the batch that is recorded already
    clock     `database_now`: more than 2 s from a chain's `recorded_at`
    closed    `chains` (places in the chain lists, from 1): their day is closed
    fenced    `chains`: the day of an entry's `since` is purged
    absent    `chains`: they do not exist, or their tenant is closed or moved
    """

    answer: Answer
    moved: Sequence[MovedHead] = ()
    known: Sequence[KnownEntry] = ()
    chains: Sequence[int] = ()
    database_now: datetime | None = None
    flushed: asyncio.Task[None] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CategoryRow:
    """A legal class of data; `fence` is its last purged day, `first_day` the first it has partitions for.

    `rule_days` is the rule in force, `retention_days` the one that the purge and reads apply, `stated_days` the one
    that seals state today: the longer one while a shorter rule is pending. `next_retention_days` is the pending rule,
    asked for on `next_since` and, if it is shorter, obeyed from `next_from` on; None if there is none. `basis` is what
    the rule rests on, `legal_basis` what the journaling itself does, and `required_days` how long that wants entries
    kept, 0 if it does not say.
    """

    code: str
    id: int
    label: str
    regime: str
    rule_days: int
    retention_days: int
    stated_days: int
    next_retention_days: int | None
    next_since: date | None
    next_from: date | None
    needs_authorisation: bool
    created_at: datetime
    first_day: date
    basis: str
    legal_basis: str
    required_days: int
    fence: date | None

    def judged(self, today: date, fence: Callable[[str, date | None, int], date | None]) -> CategoryRow:
        """Return the row with the rules of `today` and the fence to obey, computed from the vouched columns alone."""
        days, later = self.rule_days, self.next_retention_days
        retention_days = later if later is not None and later < days and _is_from(self.next_from, today) else days
        obeyed = fence(self.code, self.fence, retention_days)
        stated_days = days
        if later is not None and later > days:
            # As `journal.stated_days`: a longer rule grows by a day a day from where the chains begin.
            grown = later if obeyed is None else (today - obeyed).days + 1
            stated_days = max(days, min(later, grown))
            retention_days = stated_days
        return replace(self, retention_days=retention_days, stated_days=stated_days, fence=obeyed)


def _is_from(day: date | None, today: date) -> bool:
    return day is not None and day <= today


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantRow:
    """A commune; once `destroyed`, nothing of what it recorded is kept."""

    code: str
    name: str
    created_at: datetime
    moved_at: datetime | None
    closed_at: datetime | None
    destroyed_at: datetime | None

    @property
    def moved(self) -> bool:
        """Tell whether modules record elsewhere: only its `journal` category takes entries here."""
        return self.moved_at is not None

    @property
    def closed(self) -> bool:
        """Tell whether nothing more is accepted for it."""
        return self.closed_at is not None

    @property
    def destroyed(self) -> bool:
        """Tell whether its data may go, or is gone."""
        return self.destroyed_at is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceRow:
    """The installation; `closed_day` is the last day closed to appends."""

    name: str
    created_at: datetime
    first_day: date
    closed_day: date


@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialRow:
    """A credential as stored: its secret only as SHA-256, and that of the client certificate it is bound to, if any.

    `person` is whose it is, encrypted (`journal.keys.persons`); None where it names nobody.
    """

    id: str
    secret_hash: bytes
    role: str
    tenant: str
    categories: list[str]
    source_prefix: str | None
    certificate_sha256: bytes | None
    person: bytes | None
    label: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


_CHAIN_FIELDS: Final[Callable[[AppendBatch], tuple[Any, ...]]] = attrgetter(
    *("chain_tenant", "chain_category", "chain_size", "chain_hash", "next_size", "next_hash", "chain_recorded_at")
)
_COUNT_FIELDS: Final[Callable[[AppendBatch], tuple[Any, ...]]] = attrgetter(
    *("early_entry", "early_since"),
    *("activity_chain", "activity_action", "activity_count"),
    *("late_chain", "late_day", "late_count"),
    *("span_chain", "span_source", "span_name", "span_low", "span_high", "span_count"),
)


def append_arguments(batch: AppendBatch) -> tuple[Any, ...]:
    """Return the arguments of `append`: the driver would encode the entries' columns element by element."""
    return (
        *_CHAIN_FIELDS(batch),
        b"".join(chain.from_iterable(zip(batch.entry_key, batch.entry_leaf, batch.entry_hash, strict=True))),
        [0, *accumulate(map(len, batch.entry_ciphertext))],
        b"".join(batch.entry_ciphertext),
        *_COUNT_FIELDS(batch),
    )


def _read_result(rows: list[asyncpg.Record]) -> AppendResult:
    """Return what `journal.append` said; every row says the same."""
    answer = rows[0]["answer"]
    match answer:
        case "conflict":
            return AppendResult(answer=answer, moved=[_moved(row) for row in rows])
        case "known":
            return AppendResult(answer=answer, known=[_known(row) for row in rows])
        case "clock":
            return AppendResult(answer=answer, database_now=rows[0]["recorded_at"])
        case "appended":
            return AppendResult(answer=answer)
        case _:
            return AppendResult(answer=answer, chains=[row["position"] for row in rows])


def _moved(row: asyncpg.Record) -> MovedHead:
    names = ("position", "size", "chain_hash", "recorded_at")
    return MovedHead(**{name: row[name] for name in names})


def _known(row: asyncpg.Record) -> KnownEntry:
    names = ("position", "chain_hash", "leaf_hash", "day", "ciphertext")
    return KnownEntry(index=row["size"], **{name: row[name] for name in names})


async def _flush(connection: asyncpg.Connection, stack: AsyncExitStack, *, must_replicate: bool) -> None:
    """Return once what the connection appended is durable, and give it back. Raises UnavailableError, StoreError."""
    async with stack:
        await make_durable(connection, "ingest", must_replicate=must_replicate)


class IngestStatements(Pools):
    """Appends and the small tables they need."""

    async def append(self, batch: AppendBatch) -> AppendResult:
        """Append a batch computed from heads in memory: one round trip, one statement, its own transaction.

        Nothing may rest on `appended` before its `flushed`; what is `known` is durable. UnavailableError, here or from
        `flushed`: the batch may be recorded or not; appended again from fresh heads, it is either recorded or found
        `known`. StoreError: the batch is wrong, nothing was written.
        """
        async with AsyncExitStack() as stack:
            connection = await stack.enter_async_context(self.borrow("ingest"))
            result = _read_result(await connection.fetch(sql.load("ingest")["append"], *append_arguments(batch)))
            return await self._flushing(self._without_forged(batch, result), connection, stack)

    async def _flushing(
        self, result: AppendResult, connection: asyncpg.Connection, stack: AsyncExitStack
    ) -> AppendResult:
        """Flush what the result rests on, on the connection that gave it: a crash in between would have ended it."""
        if result.answer == "known":
            await make_durable(connection, "ingest", must_replicate=self.must_replicate)
        if result.answer != "appended":
            return result
        flushing = _flush(connection, stack.pop_all(), must_replicate=self.must_replicate)
        return replace(result, flushed=asyncio.create_task(flushing))

    async def find_recorded(
        self, tenant: str, category: str, keys: Sequence[bytes], since: Sequence[date], until: Sequence[date]
    ) -> list[KnownEntry]:
        """Return which of these event keys a chain has, recorded from `since` to `until`; positions from 1.

        Purged days are passed over. StoreError.
        """
        places, statements = len(keys), sql.load("ingest")
        async with self.borrow("ingest") as connection:
            with readable():
                asked = ([tenant] * places, [category] * places, keys, since, until)
                rows = await connection.fetch(statements["find_recorded"], *asked)
            if rows:
                await make_durable(connection, "ingest", must_replicate=self.must_replicate)
        return [_known(row) for row in rows]

    async def append_locked(
        self, tenants: Sequence[str], categories: Sequence[str], build: Callable[[list[HeadRow]], AppendBatch]
    ) -> AppendResult:
        """Append what `build` makes of the heads while their rows are locked: no conflict is possible.

        `build` gets the heads in the order given, without those that do not exist, and must be quick: others wait. Its
        exceptions pass through, and nothing is written. Errors as for `append`.
        """
        statements = sql.load("ingest")
        async with AsyncExitStack() as stack:
            connection = await stack.enter_async_context(self.borrow("ingest"))
            await connection.execute(statements["begin"])
            try:
                rows = await connection.fetch(statements["lock_heads"], tenants, categories)
                batch = build(self._sound([HeadRow(*row) for row in rows]))
                result = _read_result(await connection.fetch(statements["append"], *append_arguments(batch)))
            except BaseException:
                if not connection.is_closed():
                    await connection.execute(statements["rollback"])
                raise
            # PostgreSQL answers COMMIT on a failed transaction with the tag ROLLBACK and no error.
            if (tag := await connection.execute(statements["commit"])) != "COMMIT":
                raise StoreError(f"the append was not committed: {tag}")
            return await self._flushing(result, connection, stack)

    async def read_heads(self, tenants: Sequence[str], categories: Sequence[str]) -> list[HeadRow]:
        """Return these heads, in the order given, without those that do not exist or are empty and not at genesis."""
        return self._sound([HeadRow(*row) for row in await self._fetch("ingest", "read_heads", tenants, categories)])

    def _sound(self, rows: list[HeadRow]) -> list[HeadRow]:
        """Leave out chains that are empty and do not begin where their names alone say that they begin."""
        facts = self.facts
        if facts is None:
            return rows
        return [row for row in rows if row.size or facts.begins(row.tenant, row.category, row.chain_hash)]

    def _without_forged(self, batch: AppendBatch, result: AppendResult) -> AppendResult:
        """Answer `absent` for a chain that moved to an empty one that is not at its genesis."""
        forged = [
            moved.position
            for moved in result.moved
            if self.facts is not None
            and not moved.size
            and not self.facts.begins(
                batch.chain_tenant[moved.position - 1], batch.chain_category[moved.position - 1], moved.chain_hash
            )
        ]
        return AppendResult(answer="absent", chains=forged) if forged else result

    async def read_credentials(self, name: str | None = None) -> list[CredentialRow]:
        """Return every vouched credential, or the one of that id, including revoked and expired ones."""
        return [CredentialRow(**row) for row in await self._read_facts("ingest", "credential", name)]

    async def snapshot_version(self) -> int:
        """Return a number that grows with every change of tenants, categories, fences or credentials; cheap."""
        version: int = await self._fetch_value("ingest", "snapshot_version")
        return version

    async def read_categories(self) -> list[CategoryRow]:
        """Return the vouched categories, in the order they were added."""
        rows = [CategoryRow(**row) for row in await self._read_facts("ingest", "category")]
        if self.facts is not None:
            rows = [row.judged(self.facts.today(), self.facts.fence) for row in rows]
        return sorted(rows, key=attrgetter("id"))

    async def read_tenants(self, name: str | None = None) -> list[TenantRow]:
        """Return the vouched tenants by code, or the one of that code, including closed ones and the reserved one."""
        return [TenantRow(**row) for row in await self._read_facts("ingest", "tenant", name)]

    async def read_service(self) -> ServiceRow:
        """Return the installation; StoreError before it is created, SuspendedError if its row is not vouched for."""
        rows = await self._read_facts("ingest", "service", SERVICE_NAME)
        if rows:
            return ServiceRow(**rows[0])
        if self.facts is not None and (problems := self.facts.problems()):
            raise SuspendedError(problems[0])
        raise StoreError("the service is not created yet")

    async def read_now(self) -> datetime:
        """Return the database's clock, aware, in UTC."""
        moment: datetime = await self._fetch_value("ingest", "read_now")
        return moment

    async def clock_is_simulated(self) -> bool:
        """Return whether the database's clock was replaced by a simulated one."""
        simulated: bool = await self._fetch_value("ingest", "clock_is_simulated")
        return simulated

    async def check_durability(self) -> list[str]:
        """Return a sentence for every setting under which an acknowledged entry can be lost."""
        settings = {row["name"]: row["setting"] for row in await self._fetch("ingest", "read_durability")}
        return judge_durability(settings, must_replicate=self.must_replicate)


def judge_durability(settings: dict[str, str], *, must_replicate: bool = False) -> list[str]:
    """Return a sentence for every setting under which a committed append can be lost."""
    faults = [
        f"{name} is off: a crash can lose or corrupt what was acknowledged"
        for name in ("fsync", "full_page_writes")
        if settings[name] != "on"
    ]
    if settings["synchronous_commit"] not in {"on", "remote_apply"}:
        level = settings["synchronous_commit"]
        faults.append(f"synchronous_commit is {level}: commits do not wait for the disk and the standby")
    if settings["data_sync_retry"] != "off":
        faults.append("data_sync_retry is on: a failed write would be retried and taken for successful")
    if must_replicate and not settings["synchronous_standby_names"]:
        faults.append(UNREPLICATED)
    return faults
