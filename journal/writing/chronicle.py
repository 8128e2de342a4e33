"""The journal of the journal: what the service did, written in the `journal` category and read back from it.

Callers say what happened and to whom. In which journal an entry goes, and what becomes of one that cannot be written
there, is decided here. No module can post to this category.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import structlog

from journal.core import canonical
from journal.core.entry import (
    JOURNAL_CATEGORY,
    RESERVED_TENANT,
    SERVICE_PREFIX,
    TYPE_PREFIX,
    Compartment,
    Entry,
    Event,
    parse_record,
)
from journal.core.errors import (
    AbsentKeyError,
    EndedTenantError,
    FencedDayError,
    KnownEventError,
    PurgedDayError,
    StoreError,
    UnavailableError,
    VerificationError,
)
from journal.core.times import day_of, format_time, overdue_through

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Mapping, Sequence
    from datetime import date, datetime

    from journal.clock import Clock
    from journal.core.envelope import Box
    from journal.core.receipt import Receipt
    from journal.database.read import EntryRow
    from journal.database.store import Store
    from journal.keys.ring import Keyring
    from journal.snapshot import Snapshot
    from journal.writing.writer import Writer

SUBMITTED_BY = "_service"
# Who asks for the extracts that the service makes by itself.
HANDED_OVER, LEAVING, PRESERVED = "remise avant purge", "remise en fin de contrat", "demande de conservation"
AUTOMATIC = frozenset({HANDED_OVER, LEAVING, PRESERVED})
# Entries submitted together share an append. The bound keeps them a small part of the writer's queue.
SUBMITTED_TOGETHER = 1_000
PAGE_ENTRIES = 500
# What people do, and not the service by itself: the entries of a command name who ran it.
ACTS = frozenset({"credential", "extract", "person", "setting", "tenant"})

# What was done of an authority's request to preserve.
PRESERVATION = "preservation asked"

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """The entries of the kinds asked for among the rows of one page, all of `day`, up to index `last_index`."""

    day: date
    entries: list[Entry]
    rows: int
    last_index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """What happened to a `subject` of a tenant, at a time; of two with one `event_id`, the first is recorded."""

    kind: str
    tenant: str
    subject: str
    data: Mapping[str, Any]
    event_id: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fact:
    """What happened: `kind` is an action of `core.entry.ACTIONS` without `service.`, `subject` what it happened to."""

    kind: str
    subject: str
    data: Mapping[str, Any]
    event_id: str
    at: datetime

    def event(self, service: str) -> Event:
        source = f"/journal/{service}"
        value = {
            "data": {name: value for name, value in self.data.items() if value is not None},
            "id": self.event_id,
            "source": source,
            "specversion": "1.0",
            "subject": self.subject,
            "time": format_time(self.at),
            "type": TYPE_PREFIX + SERVICE_PREFIX + self.kind,
        }
        encoded = canonical.encode(value)
        return Event(source=source, id=self.event_id, time=self.at, action=self.kind, canonical=encoded)


class Chronicle:
    """Writes and reads the service's own entries; its writer must be running."""

    def __init__(
        self,
        *,
        store: Store,
        keyring: Keyring,
        snapshot: Snapshot,
        writer: Writer,
        service_name: str,
        clock: Clock,
    ) -> None:
        """Use the parts of the running service."""
        self._store = store
        self._keyring = keyring
        self._snapshot = snapshot
        self._writer = writer
        self._service_name = service_name
        self._clock = clock
        # Who acts through this process, a command of the operator's; None in the running service.
        self.operator: str | None = None

    async def write(
        self,
        kind: str,
        *,
        tenant: str,
        subject: str,
        data: Mapping[str, Any],
        submitted_by: str = SUBMITTED_BY,
        own_only: bool = False,
    ) -> Receipt:
        """Write that `kind` happened now to `subject` of this tenant, and return the entry's receipt.

        `kind` is an action of `core.entry.ACTIONS` without `service.`; a new one is one line there. Members of `data`
        that are None are left out. `own_only`: raise EndedTenantError rather than write elsewhere than in the tenant's
        journal. Raises what `Writer.submit` does.
        """
        ((journal, written),) = (await self._place(tenant, subject, data, None)).items()
        if own_only and journal != tenant:
            raise EndedTenantError(f"the contract of {tenant} has ended: nothing is recorded in its journal any more")
        fact = _Fact(kind=kind, subject=subject, data=written, event_id=str(uuid4()), at=self._clock.now())
        return await self._record(journal, fact, submitted_by)

    async def write_once(
        self,
        kind: str,
        *,
        tenant: str,
        subject: str,
        data: Mapping[str, Any],
        event_id: str,
        at: datetime,
        for_operator: Mapping[str, Any] | None = None,
        owed: bool = False,
    ) -> None:
        """Write what happened at a time, as `write` does; repeated with the same arguments, it is recorded once.

        `for_operator`: the service's own journal has an entry too, with these members besides. `owed`: the database
        notes that no entry tells of it yet. Raises what `Writer.submit` does, but never PurgedDayError.
        """
        for journal, written in (await self._place(tenant, subject, data, for_operator)).items():
            fact = _Fact(kind=kind, subject=subject, data=written, event_id=event_id, at=at)
            await self._record_once(journal, fact, owed=owed)

    async def write_everywhere(
        self, kind: str, *, subject: str, data: Mapping[str, Any], event_id: str, at: datetime
    ) -> None:
        """Write what is owed to the service's journal and that of every tenant whose contract runs, as `write_once`.

        The entries share appends. Where some fail, the others are written, and the first failure is raised.
        """
        ended = await self._ended_tenants()
        open_tenants = [row.code for row in self._snapshot.tenants() if row.code not in ended]
        # The service's own first: what concerns ended tenants is read there.
        tenants = sorted(open_tenants, key=lambda code: code != RESERVED_TENANT)
        fact = _Fact(kind=kind, subject=subject, data=data, event_id=event_id, at=at)
        for start in range(0, len(tenants), SUBMITTED_TOGETHER):
            together = tenants[start : start + SUBMITTED_TOGETHER]
            results = await asyncio.gather(
                *(self._record_once(tenant, fact, owed=True) for tenant in together), return_exceptions=True
            )
            for result in results:
                if isinstance(result, BaseException):
                    raise result

    async def write_all(self, happenings: Sequence[Happening]) -> None:
        """Write what happened, each once as `write_once` does; what is recorded under its `event_id` stays as it is.

        The entries share appends. Where some fail, the others of the same append are written, the first failure is
        raised, and later ones are not written.
        """
        ended = await self._ended_tenants()
        for start in range(0, len(happenings), SUBMITTED_TOGETHER):
            together = happenings[start : start + SUBMITTED_TOGETHER]
            results = await asyncio.gather(
                *(self._record_happening(happening, ended) for happening in together), return_exceptions=True
            )
            for result in results:
                if isinstance(result, BaseException):
                    raise result

    async def _record_happening(self, happening: Happening, ended: Collection[str]) -> None:
        of_ended = happening.tenant in ended
        fact = _Fact(
            kind=happening.kind,
            subject=happening.subject,
            data={**happening.data, "tenant": happening.tenant} if of_ended else happening.data,
            event_id=happening.event_id,
            at=happening.at,
        )
        with suppress(KnownEventError):
            await self._record_once(RESERVED_TENANT if of_ended else happening.tenant, fact, owed=False)

    async def entries(
        self, tenant: str, *kinds: str, since: date, without_damaged: bool = False
    ) -> AsyncIterator[Entry]:
        """Yield the entries about a tenant recorded from `since` on, in whichever journal they are, while kept.

        A journal whose key is gone yields nothing. Raises what `pages` does.
        """
        journals = [tenant]
        if tenant in await self._ended_tenants():
            journals.append(RESERVED_TENANT)
        for journal in journals:
            try:
                async for page in self.pages(journal, *kinds, since=since, without_damaged=without_damaged):
                    for entry in page.entries:
                        if journal == tenant or tenant in (entry.event["subject"], entry.event["data"].get("tenant")):
                            yield entry
            except (AbsentKeyError, EndedTenantError):
                continue

    async def pages(
        self,
        journal: str,
        *kinds: str,
        since: date | None = None,
        after: int = -1,
        without_damaged: bool = False,
    ) -> AsyncIterator[Page]:
        """Yield one journal's entries with an index above `after`, in pages, from the first day that may be read.

        Raises StoreError for a day that cannot be read, VerificationError for a row that does not open:
        `without_damaged` leaves these out instead, and the caller says so. KeyStoreError.
        """
        compartment = Compartment(self._service_name, journal, JOURNAL_CATEGORY)
        async for day, rows in self._rows(journal, since, after, without_damaged=without_damaged):
            try:
                box = self._keyring.box(compartment, day)
            except FencedDayError:
                continue  # purged since the rows were read
            entries = await asyncio.to_thread(_open, box, rows, kinds, without_damaged=without_damaged)
            yield Page(day=day, entries=entries, rows=len(rows), last_index=rows[-1].index)

    async def first_day(self, today: date | None = None) -> date:
        """Return the first day of the `journal` category that may still be read on `today` (now)."""
        today = today or day_of(self._clock.now())
        category = next((row for row in await self._store.read_categories() if row.code == JOURNAL_CATEGORY), None)
        if category is None:
            raise StoreError(self._snapshot.suspended("category", JOURNAL_CATEGORY) or "there is no category journal")
        gone = max(overdue_through(today, category.retention_days), category.fence or category.first_day.min)
        return max(gone + timedelta(days=1), category.first_day)

    async def _place(
        self, tenant: str, subject: str, data: Mapping[str, Any], for_operator: Mapping[str, Any] | None
    ) -> dict[str, Mapping[str, Any]]:
        """Return what is written in which journal, the tenant's last.

        The journal of an ended tenant takes nothing more: its export holds all of it, or its key is destroyed. What
        concerns it goes in the service's own journal, and names the tenant.
        """
        own: dict[str, Mapping[str, Any]] = {}
        if for_operator is not None:
            own[RESERVED_TENANT] = {**data, **for_operator}
        if tenant not in await self._ended_tenants():
            return own | {tenant: data}
        return own or {RESERVED_TENANT: data if subject == tenant else {**data, "tenant": tenant}}

    async def _ended_tenants(self) -> set[str]:
        """Return the tenants that are closed, and those whose key is destroyed: a restored database forgets that."""
        await self._snapshot.refresh()
        closed = {row.code for row in self._snapshot.tenants() if row.closed}
        return closed | set(self._keyring.keystore.ended_tenants())

    async def _record_once(self, journal: str, fact: _Fact, *, owed: bool) -> None:
        """Record a fact that may be recorded already, unless its day is purged or about to be.

        If it is not owed, it was recorded and purged since: nothing is recorded again. If it is owed, it waited longer
        than entries are kept: it is recorded as a new one, of this moment. That one has an id of its own, since a
        second late attempt would contradict the first.
        """
        try:
            await self._record(journal, fact, SUBMITTED_BY)
        except KnownEventError:
            # What a command recorded before it was cut short names its operator, which this process is not.
            if fact.kind not in ACTS:
                raise
        except PurgedDayError:
            if owed:
                log.warning("an entry is recorded late", kind=fact.kind, event_id=fact.event_id, tenant=journal)
                late = replace(fact, event_id=str(uuid4()), at=self._clock.now())
                await self._record(journal, late, SUBMITTED_BY)

    async def _record(self, journal: str, fact: _Fact, submitted_by: str) -> Receipt:
        if self.operator is not None and fact.kind in ACTS:
            fact = replace(fact, data={**fact.data, "operator": self.operator})
        event = fact.event(self._service_name)
        compartment = Compartment(self._service_name, journal, JOURNAL_CATEGORY)
        (answer,) = await self._writer.submit(compartment, submitted_by, [event], len(event.canonical))
        return answer.receipt

    async def _rows(
        self, journal: str, since: date | None, after: int, *, without_damaged: bool
    ) -> AsyncIterator[tuple[date, list[EntryRow]]]:
        """Yield (day, its next entries) up to today."""
        today = day_of(self._clock.now())
        day = await self.first_day(today)
        day = max(day, since) if since is not None else day
        while day <= today:
            try:
                rows = await self._store.read_entries(journal, JOURNAL_CATEGORY, day, after + 1, PAGE_ENTRIES)
            except UnavailableError:
                raise
            except StoreError:
                if not (without_damaged or await self._is_overdue(day)):
                    raise
                rows = []
            if rows:
                yield day, rows
                after = rows[-1].index
            if len(rows) < PAGE_ENTRIES:
                day += timedelta(days=1)

    async def _is_overdue(self, day: date) -> bool:
        """Tell whether a purge, or midnight, has passed since the first day was found."""
        # Midnight may already have passed for the database, which refused.
        return day < await self.first_day(day_of(max(self._clock.now(), await self._store.read_now())))


def is_automatic(entry: Entry) -> bool:
    """Tell whether the service asked for an extract itself: for a hand-over, an export, or what an authority asks."""
    return entry.submitted_by == SUBMITTED_BY and entry.event.get("data", {}).get("requester") in AUTOMATIC


def is_of_preservation(entry: Entry) -> bool:
    """Tell whether an entry is about an authority's request to preserve: it is shown to those who answer for it."""
    data = entry.event.get("data", {})
    is_extract = entry.submitted_by == SUBMITTED_BY and data.get("requester") == PRESERVED
    return bool(is_extract or data.get("change") == PRESERVATION)


def _open(box: Box, rows: list[EntryRow], kinds: Collection[str], *, without_damaged: bool) -> list[Entry]:
    """Open rows of a `journal` category, and return the entries of these kinds among them. Raises VerificationError."""
    types = {TYPE_PREFIX + SERVICE_PREFIX + kind for kind in kinds}
    found: list[Entry] = []
    for row in rows:
        try:
            _, record = box.open(row.index, row.ciphertext, row.leaf_hash)
            entry = parse_record(record)
        except VerificationError:
            if without_damaged:
                continue
            raise
        if entry.event["type"] in types:
            found.append(entry)
    return found
