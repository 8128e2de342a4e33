"""The register of requests: who asked for which extract, when and why, read from the entries that say so.

There is no other list: each request was written in the commune's `journal` category before its extract was made, and
goes with its day. A page reads a bounded number of entries, whatever it finds among them.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from journal.core.entry import JOURNAL_CATEGORY, SERVICE_PREFIX, TYPE_PREFIX, Compartment, Entry, parse_record
from journal.core.errors import FencedDayError, StoreError
from journal.core.times import day_of, format_time, overdue_through
from journal.extract.manifest import Filter

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection
    from datetime import date

    from journal.clock import Clock
    from journal.core.envelope import Box
    from journal.database.read import EntryRow
    from journal.database.store import Store
    from journal.keys.ring import Keyring

PAGE_ENTRIES = 500
SCANNED_ENTRIES = 10_000
EXTRACT = "extract"
_WITHHELD_ALL = Filter(withhold_all=True).as_json()


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisterPage:
    """Requests in the order of their indexes; `next_after` continues, None where there is no more."""

    extracts: list[dict[str, Any]]
    next_after: int | None


class Register:
    """Reads one service's register; writes nothing."""

    def __init__(self, *, store: Store, keyring: Keyring, service_name: str, clock: Clock) -> None:
        """Read this store with these keys."""
        self._store = store
        self._keyring = keyring
        self._service_name = service_name
        self._clock = clock

    async def page(
        self, tenant: str, categories: Collection[str], *, after: int, limit: int, values: bool
    ) -> RegisterPage:
        """Return at most `limit` requests about these categories with an index above `after` (-1: from the start).

        With `values`, what the filters asked for; without, only which members they had: the names of accounts and
        subjects are content. A page may be short, or empty, and not the last. Raises StoreError, and
        VerificationError where a row was altered.
        """
        found: list[tuple[date, dict[str, Any]]] = []
        scanned = 0
        compartment = Compartment(self._service_name, tenant, JOURNAL_CATEGORY)
        async for day, rows in self._rows(tenant, after):
            try:
                box = self._keyring.box(compartment, day)
            except FencedDayError:
                continue  # purged since it was read: nothing of it is served
            for entry in await asyncio.to_thread(open_service_entries, box, rows, EXTRACT):
                if entry.event["data"].get("category") not in categories:
                    continue
                found.append((day, _describe(entry, values=values)))
                if len(found) == limit:
                    return await self._answer(found, entry.index)
            scanned += len(rows)
            if scanned >= SCANNED_ENTRIES:
                return await self._answer(found, rows[-1].index)
        return await self._answer(found, None)

    async def _answer(self, found: list[tuple[date, dict[str, Any]]], next_after: int | None) -> RegisterPage:
        """Leave out what reached its limit while the others were read: a page begun before midnight ends after it."""
        first = await self._first_day(day_of(self._clock.now()))
        return RegisterPage(extracts=[said for day, said in found if day >= first], next_after=next_after)

    async def _rows(self, tenant: str, after: int) -> AsyncIterator[tuple[date, list[EntryRow]]]:
        """Yield (day, its next entries), from the first day that may still be read to today."""
        today = day_of(self._clock.now())
        day = await self._first_day(today)
        while day <= today:
            try:
                rows = await self._store.read_entries(tenant, JOURNAL_CATEGORY, day, after + 1, PAGE_ENTRIES)
            except StoreError:
                if await self._is_overdue(day):
                    rows = []
                else:
                    raise
            if rows:
                yield day, rows
                after = rows[-1].index
            if len(rows) < PAGE_ENTRIES:
                day += timedelta(days=1)

    async def _first_day(self, today: date) -> date:
        """Return the first day that may still be read on `today`."""
        (category,) = [row for row in await self._store.read_categories() if row.code == JOURNAL_CATEGORY]
        gone = max(overdue_through(today, category.retention_days), category.fence or category.first_day.min)
        return max(gone + timedelta(days=1), category.first_day)

    async def _is_overdue(self, day: date) -> bool:
        """Tell whether a purge, or midnight, has passed since the first day was found."""
        # To the database, which refused, midnight may have come before.
        return day < await self._first_day(day_of(max(self._clock.now(), await self._store.read_now())))


def open_service_entries(box: Box, rows: list[EntryRow], kind: str) -> list[Entry]:
    """Open rows of a `journal` category, and return the entries of one kind among them. Raises VerificationError."""
    found: list[Entry] = []
    for row in rows:
        _, record = box.open(row.index, row.ciphertext, row.leaf_hash)
        entry = parse_record(record)
        if entry.event["type"] == TYPE_PREFIX + SERVICE_PREFIX + kind:
            found.append(entry)
    return found


def _describe(entry: Entry, *, values: bool) -> dict[str, Any]:
    data = entry.event["data"]
    withheld_all = data["filter"] == _WITHHELD_ALL
    chosen = {} if withheld_all else data["filter"]
    said = {name: data[name] for name in ("authorisation", "reference") if name in data}
    if values:
        said["filter"] = chosen
    return said | {
        "category": data["category"],
        "filtered_by": sorted(chosen),
        "from": data["from"],
        "index": entry.index,
        "purpose": data["purpose"],
        "recorded_at": format_time(entry.recorded_at),
        "requested_by": entry.submitted_by,
        "requester": data["requester"],
        "to": data["to"],
        "withheld_all": withheld_all,
    }
