"""Statements of the sealer and the stamper (role journal_seal).

Trust sentence: whoever holds this role's password can close a day as soon as the database's clock allows, and can store
seals and time-stamps that do not verify; they can neither read nor change an entry.

Closing day D: `heads = await close_day(D)`, sign, `put_seal(number, D, …)`. A crash between the two leaves
`closed_day` = D without its seal, which `seal_state` shows; doing both again resumes.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Final

import sql
from journal.core.errors import StoreError
from journal.database.heads import HeadRow, LeafRun, LeafSpan, SealHeadRow
from journal.database.pools import Pools, make_durable, readable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import date, datetime

    import asyncpg

# A millisecond's work or two: the event loop stands still for no longer.
STEP_ROWS: Final = 1_000
_TEXT_COLUMNS: Final = ("tenant", "category", "size", "kept_from", "retention_days")


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseMove:
    """The first seal in which a chain begins at `kept_from`, its retention, and both values of the seal before."""

    number: int
    kept_before: int
    kept_from: int
    retention_before: int
    retention_days: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SealRow:
    """A seal; `day` is None for an open one, `timestamp` if there is none or it was not read."""

    number: int
    day: date | None
    sealed_at: datetime
    text: bytes
    signature: bytes
    timestamp: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SealState:
    """Everything the next seal needs, in one snapshot.

    number       of the latest seal, 0 before the first
    text         of the latest seal; close_text and close_day of the latest close seal
    first_day    the first day that is ever closed
    closed_day   the last day closed to appends; its close seal is missing if close_day differs (or if close_day is
                 None and closed_day >= first_day)
    heads        the present head of every chain
    now          the database's clock
    """

    number: int
    text: bytes | None
    close_text: bytes | None
    close_day: date | None
    first_day: date
    closed_day: date
    heads: list[HeadRow]
    now: datetime


class SealStatements(Pools):
    """Closing days, storing seals, keeping their storage bounded."""

    async def seal_state(self, *, heads: bool = True) -> SealState:
        """Return everything the next seal needs, in one snapshot, durable. StoreError before the service is created.

        Without `heads`, none is read: there are many.
        """
        async with self.borrow("seal") as connection:
            with readable():
                async with connection.transaction(isolation="repeatable_read", readonly=True):
                    state = await _read_state(connection, heads=heads)
            # What is sealed, and what the signer remembers, must never be lost.
            await make_durable(connection, "seal", must_replicate=self.must_replicate)
            return state

    async def close_day(self, day: date) -> list[HeadRow]:
        """Close `day` to appends and return the head of every chain at its end, by category then tenant.

        Waits for running appends. May be repeated until the close seal is stored. StoreError if the day is not
        the next one, is not over by 5 s, is already sealed, or the day before it has no close seal.
        """
        statements = sql.load("seal")
        async with self.borrow("seal") as connection:
            with readable():
                await connection.execute(statements["close_day"], day)
                # Nothing can be appended to the day from here on, so its heads are read without a lock.
                async with connection.transaction(readonly=True):
                    heads = await _heads(connection, statements["closed_heads"], day)
            await make_durable(connection, "seal", must_replicate=self.must_replicate)
            return heads

    async def read_leaves(self, spans: Sequence[LeafSpan], since: date | None, through: date | None) -> list[LeafRun]:
        """Return the leaf hashes of these spans that the days from `since` to `through` hold (None: all days kept).

        In the order of days; what is missing is left out.
        """
        columns = [await _text(map(attrgetter(name), spans)) for name in LeafSpan._fields]
        rows = await self._fetch("seal", "read_leaves", *columns, since, through)
        return [LeafRun(*row) for row in rows]

    async def heads_of_seal(self, number: int) -> list[SealHeadRow]:
        """Return every chain's head at a seal. StoreError if they are no longer kept."""
        return [SealHeadRow(*row) for row in await self._fetch("seal", "read_seal_heads", number)]

    async def close_seals(self, since: date) -> list[SealRow]:
        """Return the close seals of `since` and the days after it, newest first."""
        return [SealRow(**row) for row in await self._fetch("seal", "close_seals", since)]

    async def last_seal(self) -> SealRow | None:
        """Return the latest seal; None before the first."""
        rows = await self._fetch("seal", "latest_seal")
        return SealRow(**rows[0]) if rows else None

    async def put_seal(  # noqa: PLR0917  # the order of a seal's own members
        self,
        number: int,
        day: date | None,
        sealed_at: datetime,
        text: bytes,
        signature: bytes,
        moved: Sequence[SealHeadRow],
    ) -> bool:
        """Store a seal and the heads that differ from the previous seal; False if `number` is taken.

        A chain never sealed before must be in `moved`, even an empty one. StoreError if the `day` of a close seal is
        not the next to be sealed, or for an open seal while the day before has no close seal.
        """
        columns = [await _text(map(attrgetter(name), moved)) for name in _TEXT_COLUMNS]
        hashes = b"".join([head.chain_hash for head in moved])
        arguments = (number, day, sealed_at, text, signature, *columns, hashes)
        stored: bool = await self._fetch_value("seal", "put_seal", *arguments)
        return stored

    async def thin_seals(self, before: datetime) -> int:
        """Remove the open seals made before a moment at least a week ago, except the latest; return how many.

        `read_seal_heads` of the others does not change.
        """
        removed: int = await self._fetch_value("seal", "thin_seals", before)
        return removed

    async def unstamped_seals(self) -> list[SealRow]:
        """Return the close seals that wait for a time-stamp, oldest first; none from before the longest retention."""
        return [SealRow(**row) for row in await self._fetch("seal", "unstamped_seals")]

    async def put_timestamp(self, number: int, stamped_at: datetime, token: bytes) -> bool:
        """Store a close seal's time-stamp; False if it has one. StoreError if there is no such close seal."""
        stored: bool = await self._fetch_value("seal", "put_timestamp", number, stamped_at, token)
        return stored

    async def note_stamping_failure(self) -> None:
        """Note that time-stamping fails, since now unless noted before."""
        await self._fetch("seal", "note_stamping_failure")

    async def stamping_failed_since(self) -> datetime | None:
        """Return since when time-stamping has failed; None if the last attempt succeeded."""
        since: datetime | None = await self._fetch_value("seal", "stamping_failed_since")
        return since

    async def prune_seal_heads(self, *, days: int) -> int:
        """Delete heads of days purged more than so many days before the last; return how many.

        Those that a base may be among stay, and all texts and signatures.
        """
        removed: int = await self._fetch_value("seal", "prune_seal_heads", days)
        return removed


async def _text(values: Iterable[object]) -> str:
    """Return a column as text: the driver would encode an array element by element, and hold the event loop."""
    text = ",".join(map(str, values))
    await asyncio.sleep(0)
    return text


async def _heads(connection: asyncpg.Connection, statement: str, *arguments: object) -> list[HeadRow]:
    """Return heads of all chains, some at a time: nothing else is done while the driver decodes rows."""
    heads: list[HeadRow] = []
    cursor = await connection.cursor(statement, *arguments)
    while rows := await cursor.fetch(STEP_ROWS):
        heads += [HeadRow(*row) for row in rows]
    return heads


async def _read_state(connection: asyncpg.Connection, *, heads: bool) -> SealState:
    statements = sql.load("seal")
    service = await connection.fetchrow(statements["read_service"])
    if service is None:
        raise StoreError("the service is not created yet")
    latest = await connection.fetchrow(statements["latest_seal"])
    close = await connection.fetchrow(statements["latest_close_seal"])
    number = 0 if latest is None else latest["number"]
    return SealState(
        number=number,
        text=None if latest is None else latest["text"],
        close_text=None if close is None else close["text"],
        close_day=None if close is None else close["day"],
        first_day=service["first_day"],
        closed_day=service["closed_day"],
        heads=await _heads(connection, statements["live_heads"]) if heads else [],
        now=await connection.fetchval(statements["read_now"]),
    )
