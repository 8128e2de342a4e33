"""The check of the whole store: every row opened with its key, every chain walked, every seal compared.

It does not trust the database: each leaf is read whole, whatever its rows claim to be. Seals come first; then each
leaf by itself, between the heads in the seals.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict, deque
from concurrent.futures.process import BrokenProcessPool
from datetime import timedelta
from itertools import groupby, product
from operator import attrgetter
from typing import TYPE_CHECKING

from journal.admin.rules import is_asked_for
from journal.audit.contents import ContentReaders
from journal.audit.ended import EndedTenants
from journal.audit.entries import CUT_SHORT, WAITS, ChainDay
from journal.audit.expected import ExpectedChains
from journal.audit.findings import Finding, Findings
from journal.audit.heads import HeadAudit
from journal.audit.seals import SealAudit
from journal.core.entry import is_tenant
from journal.core.errors import StoreError, UnavailableError
from journal.core.times import day_of, format_day, overdue_through
from journal.extract.identities import NAMED, Identities, enumerate_indexes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
    from datetime import date

    from journal.audit.contents import Contents
    from journal.audit.expected import ExpectedChain
    from journal.database.ingest import CategoryRow
    from journal.database.purge import PartitionRow, StoredRow
    from journal.service import Service

    Pace = Callable[[], Awaitable[None]]


__all__ = ["Audit", "Finding"]

PAGE_ROWS = 2_000


async def without_rest() -> None:
    """Let others run, and go on."""
    await asyncio.sleep(0)


class Audit:
    """One check of everything a service stores; or, once prepared, of single leaves."""

    def __init__(
        self, service: Service, *, page_rows: int = PAGE_ROWS, pace: Pace = without_rest, processes: int = 0
    ) -> None:
        """Check this service's store with its keys; `pace` is awaited after every seal and page.

        Rows are read in so many other processes, if any.
        """
        self._readers = ContentReaders(service.keyring, processes)
        self._page_rows = page_rows
        self._pace = pace
        self._service = service
        self._store = service.store
        self._findings = Findings()
        self._expected: ExpectedChains
        self._ended: EndedTenants
        self._today: date
        self._categories: dict[str, CategoryRow] = {}
        self._leaves: dict[tuple[str, date], PartitionRow] = {}
        # 8 bytes an entry.
        self._identities: defaultdict[ExpectedChain, Identities] = defaultdict(Identities)
        self.entries = 0
        self.seals = 0

    @property
    def notes(self) -> list[str]:
        """Return what is no fault of the store: source and id that several entries of what was checked share."""
        return [
            f"{chain.name} entries {enumerate_indexes(group)} share source and id, at other times: one access may be "
            "recorded more than once by a module that sets the time anew when it sends again"
            for chain, identities in self._identities.items()
            for group in identities.groups()[:NAMED]
        ]

    @property
    def chains(self) -> int:
        """Return how many chains there are."""
        return len(self._expected.chains)

    async def run(self, progress: Callable[[int], object]) -> list[Finding]:
        """Check everything and return the findings; `progress` receives the number of entries of every page.

        Entries appended or purged during the run are not reported; the next run checks them.
        """
        await self.prepare()
        async with self._readers:
            for leaf in sorted(self._leaves.values(), key=lambda leaf: (leaf.day, leaf.category)):
                await self._check_leaf(leaf.category, leaf.day, progress)
        await self.check_absent()
        return self._findings

    async def check_absent(self) -> list[Finding]:
        """Check that every day on which a chain grew has a leaf, once prepared; return the findings."""
        days = set(self._leaves)
        for chain in self._readable(self._expected.chains.values()):
            await self._check_absent(chain, days)
            await asyncio.sleep(0)
        return self._findings

    def closed_leaves(self) -> list[tuple[str, date]]:
        """Return the leaves of days that have a close seal: nothing is appended to them any more."""
        return [(category, day) for category, day in self._leaves if day in self._expected.closed]

    async def prepare(self) -> list[Finding]:
        """Check seals, heads and the rule, with which leaves are then compared; return the findings."""
        service, now = await self._store.read_service(), await self._store.read_now()
        self._today = day_of(now)
        self._categories = {row.code: row for row in await self._store.read_categories()}
        self._leaves = {(leaf.category, leaf.day): leaf for leaf in await self._store.partitions()}
        # A category that was added later needs no heads from before its first day.
        fences = [row.fence or row.first_day - timedelta(days=1) for row in self._categories.values()]
        horizon = min(fences, default=None)
        if horizon is not None and horizon < service.first_day:
            horizon = None
        tenants = await self._store.read_tenants()
        self._ended = EndedTenants(tenants, self._service.keyring.keystore)
        self._ended.check(self._findings)
        self._expected = ExpectedChains(
            self._service.name, first_day=service.first_day, horizon=horizon, ended=self._ended.excused
        )
        seals = SealAudit(
            self._service, self._expected, self._findings, created_at=service.created_at, now=now, pace=self._pace
        )
        await seals.run()
        self.seals = seals.seals
        # Heads are read after the seals, so they have reached at least what the seals cover.
        heads = HeadAudit(self._service, self._expected, self._findings, now=now)
        # Also what seals state of a commune or category whose own row is altered, and so is not among those.
        names = {*product([row.code for row in tenants], self._categories), *self._expected.chains}
        await heads.run(sorted(names), seals.heads)
        await heads.check_closed(service.closed_day, seals.closed_day)
        heads.check_fences(self._categories.values(), seals.shortest_rules)
        await self._ended.check_chains(self._store, self._expected, self._findings)
        return self._findings

    async def check_leaf(self, category: str, day: date) -> list[Finding]:
        """Check the entries of a category and day between the heads in the seals; return the findings.

        StoreError if the store has no such leaf.
        """
        if (category, day) not in self._leaves:
            raise StoreError(f"{format_day(day)} is not a day that the category {category} keeps")
        self._findings = Findings()
        self._identities.clear()
        for chain in self._expected.of_category(category):
            chain.walked = None  # the day before may not have been checked
        async with self._readers:
            await self._check_leaf(category, day, lambda _: None)
        return self._findings

    async def _check_leaf(self, category: str, day: date, progress: Callable[[int], object]) -> None:
        before = len(self._findings)
        if not self._leaves[category, day].attached:
            where = f"{category} {format_day(day)}"
            self._findings.report("mismatched part", where, "its partition is detached from the journal")
        self._check_overdue(category, day)
        walks: dict[ExpectedChain, ChainDay] = {}
        async for chain, rows, contents in self._read_rows(category, day, progress):
            if chain not in walks:
                walks[chain] = self._begin(chain, day)
            walks[chain].check_all(rows, contents)
        for chain in self._readable(self._expected.of_category(category)):
            walk = walks.get(chain) or self._begin(chain, day)
            chain.walked = walk.finish()
            if walk.beyond is not None:
                await self._check_beyond(chain, walk)
        if day in self._expected.closed and len(self._findings) == before:
            await self._check_counters(category, day, walks)
        if len(self._findings) > before and await self._is_being_purged(category, day):
            # A purge came while the leaf was read: the next run checks its chains.
            del self._findings[before:]
            for chain in walks:
                chain.walked = None

    def _report_foreign(self, rows: Iterable[StoredRow], leaf: str) -> None:
        for row in rows:
            name = row.tenant if is_tenant(row.tenant) else "?"
            where = f"{name}/{leaf} entry {row.index}"
            self._findings.report("foreign entry", where, "there is no such chain")

    async def _check_counters(self, category: str, day: date, walks: dict[ExpectedChain, ChainDay]) -> None:
        """Compare the activity, the lateness and the numbers of sources with what the entries of the day say."""
        counters = await self._store.read_counters(category, day)
        said = {chain.compartment.tenant: walk for chain, walk in walks.items()}
        for tenant in sorted(said.keys() | counters.tenants):
            if tenant in self._ended.unreadable:
                continue
            walk, where = said.get(tenant), f"{tenant}/{category} {format_day(day)}"
            if counters.actions.get(tenant, {}) != (dict(walk.actions) if walk is not None else {}):
                self._findings.report("mismatched part", where, "its activity is not that of its entries")
            if counters.lateness.get(tenant, {}) != (dict(walk.lateness) if walk is not None else {}):
                self._findings.report("mismatched part", where, "its lateness is not that of its entries")
            spans, numbers = counters.spans.get(tenant, {}), walk.numbers if walk is not None else {}
            if spans.keys() != numbers.keys() or not all(spans[key].follows_from(numbers[key]) for key in spans):
                self._findings.report(
                    "mismatched part", where, "the numbers of its sources are not those of its entries"
                )

    def _readable(self, chains: Iterable[ExpectedChain]) -> list[ExpectedChain]:
        """Return the chains without those of destroyed tenants."""
        return [chain for chain in chains if chain.compartment.tenant not in self._ended.unreadable]

    async def _readable_rows(
        self, category: str, day: date, progress: Callable[[int], object]
    ) -> AsyncIterator[tuple[str, list[StoredRow]]]:
        """Yield the leaf's rows by tenant without those of destroyed ones, which are counted and reported."""
        reappeared: Counter[str] = Counter()
        async for page in self._pages(category, day, progress):
            for tenant, rows in groupby(page, attrgetter("tenant")):
                if tenant in self._ended.unreadable:
                    reappeared[tenant] += len(list(rows))
                else:
                    yield tenant, list(rows)
        for tenant, count in reappeared.items():
            self._ended.report_rows(self._findings, f"{tenant}/{category} {format_day(day)}", count)

    async def _read_rows(
        self, category: str, day: date, progress: Callable[[int], object]
    ) -> AsyncIterator[tuple[ExpectedChain, list[StoredRow], Contents | None]]:
        """Yield the leaf's rows by chain with what their records say, some read ahead; report those of no chain."""
        waiting: deque[tuple[ExpectedChain, list[StoredRow], asyncio.Future[Contents | None]]] = deque()
        async for tenant, rows in self._readable_rows(category, day, progress):
            chain = self._expected.chains.get((tenant, category))
            if chain is None:
                self._report_foreign(rows, f"{category} {format_day(day)}")
                continue
            waiting.append((chain, rows, self._readers.read(chain.compartment, day, rows)))
            if len(waiting) > self._readers.ahead:
                yield await _first(waiting)
        while waiting:
            yield await _first(waiting)

    def _begin(self, chain: ExpectedChain, day: date) -> ChainDay:
        return ChainDay(
            chain,
            day,
            self._expected.limits(chain, day),
            is_open=day not in self._expected.closed,
            is_fenced=self._was_fenced(chain.compartment.category, day),
            keyring=self._service.keyring,
            findings=self._findings,
            identities=self._identities[chain],
        )

    async def _pages(
        self, category: str, day: date, progress: Callable[[int], object]
    ) -> AsyncIterator[list[StoredRow]]:
        """Yield the leaf's rows by tenant and index; one that cannot be read is reported, and ends the leaf."""
        tenant, index, limit = "", -1, self._page_rows
        while True:
            try:
                rows = await self._store.scan_entries(category, day, tenant, index, limit)
            except UnavailableError:
                raise
            except StoreError as error:
                if await self._is_purged(category, day):
                    return
                if limit == 1:
                    last = f"{tenant} entry {index}" if tenant else "the beginning"
                    self._findings.report("malformed", f"{category} {format_day(day)} after {last}", str(error))
                    return
                limit = 1
                continue
            if not rows:
                return
            yield rows
            self.entries += len(rows)
            progress(len(rows))
            tenant, index = rows[-1].tenant, rows[-1].index
            await self._pace()

    async def _is_purged(self, category: str, day: date) -> bool:
        """Tell whether the day has been purged since this run began."""
        gone = (category, day) not in {(row.category, row.day) for row in await self._store.partitions()}
        return gone and await self._is_fenced(category, day)

    async def _is_being_purged(self, category: str, day: date) -> bool:
        """Tell whether a purge of the day has begun, or ended, since this run began."""
        if self._was_fenced(category, day):
            return await self._is_purged(category, day)
        return await self._is_fenced(category, day)

    async def _is_fenced(self, category: str, day: date) -> bool:
        """Tell whether the day is fenced now."""
        fences = {row.code: row.fence for row in await self._store.read_categories()}
        return _is_past(fences.get(category), day)

    def _was_fenced(self, category: str, day: date) -> bool:
        """Tell whether the day was fenced when this run began."""
        row = self._categories.get(category)
        return row is not None and _is_past(row.fence, day)

    async def _check_beyond(self, chain: ExpectedChain, walk: ChainDay) -> None:
        """Report rows past the head read first, unless they are new and the head has reached them since."""
        compartment = chain.compartment
        heads = await self._store.read_heads([compartment.tenant], [compartment.category])
        size = heads[0].size if heads else 0
        if chain.walked is not None and size < chain.walked.size:
            where = f"{walk.name} entry {max(size, walk.beyond or 0)}"
            self._findings.report("foreign entry", where, "it is past the head of its chain")

    async def _check_absent(self, chain: ExpectedChain, leaves: set[tuple[str, date]]) -> None:
        """Report the entries of days that have no leaf."""
        category = chain.compartment.category
        moves = chain.moves()
        if chain.live is not None and chain.live.recorded_at is not None:
            moves.append((day_of(chain.live.recorded_at), chain.last_close, chain.live_head))
        for day, before, after in moves:
            first = max(before.size, chain.kept_from)
            if (category, day) in leaves or first >= after.size or await self._is_moved(chain, after.size):
                continue
            index = f"entries {first} to {after.size - 1}" if after.size - first > 1 else f"entry {first}"
            where = f"{chain.name} {format_day(day)} {index}"
            if await self._is_purged(category, day):
                row = self._categories.get(category)
                waits = row is not None and is_asked_for(row, day)
                self._findings.report("gap", where, WAITS if waits else CUT_SHORT)
            else:
                self._findings.report("early deletion", where, "missing with the whole day")

    async def _is_moved(self, chain: ExpectedChain, size: int) -> bool:
        """Tell whether a purge has since moved the chain's beginning to this size or further."""
        compartment = chain.compartment
        heads = await self._store.read_heads([compartment.tenant], [compartment.category])
        return bool(heads) and size <= heads[0].kept_from != chain.kept_from

    def _check_overdue(self, category: str, day: date) -> None:
        row = self._categories.get(category)
        fence = self._service.keyring.keystore.fence(category)
        where = f"{category} {format_day(day)}"
        if row is not None and day <= overdue_through(self._today, row.stated_days):
            reason = f"its rows are kept past their limit of {row.stated_days} days: run the purge"
            self._findings.report("over-retention", where, reason)
        elif _is_past(fence, day) or (row is not None and _is_past(row.fence, day)):
            self._findings.report("over-retention", where, "it is purged, but its rows still exist: run the purge")


async def _first(
    waiting: deque[tuple[ExpectedChain, list[StoredRow], asyncio.Future[Contents | None]]],
) -> tuple[ExpectedChain, list[StoredRow], Contents | None]:
    chain, rows, coming = waiting.popleft()
    try:
        return chain, rows, await coming
    except BrokenProcessPool:
        return chain, rows, None


def _is_past(fence: date | None, day: date) -> bool:
    """Tell whether a fence covers a day."""
    return fence is not None and day <= fence
