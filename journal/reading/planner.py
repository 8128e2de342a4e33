"""Fixes what an extract will hold: its range of indexes, the seals it lists, what of its days is purged."""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING

from journal.core import faults
from journal.core.chain import Head, genesis
from journal.core.entry import RESERVED_TENANT
from journal.core.errors import BusyError, RequestError, StoreError, UnavailableError
from journal.core.times import MAX_RETENTION_DAYS, day_of, format_day, overdue_through, parse_time
from journal.extract.grounds import RULE_CHANGES_LIMIT, Rule, RuleChange
from journal.extract.manifest import Lateness
from journal.extract.numbering import SOURCES_LIMIT, SourceNumbers
from journal.extract.purges import PurgedDays, purged_days
from journal.keys.store import PURGE_RETRY_SECONDS
from journal.reading.reader import DayRange
from journal.reading.sources import read_sources
from journal.reading.stream import Plan

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from journal.core.entry import Compartment
    from journal.database.store import Store
    from journal.keys.ring import Keyring
    from journal.reading.plan import ExtractRequest
    from journal.reading.reader import ChainSeal, Reader
    from journal.snapshot import Snapshot
    from journal.writing.chronicle import Chronicle

_ONE_DAY = timedelta(days=1)


class Planner:
    """Plans the extracts of one service."""

    def __init__(
        self,
        *,
        store: Store,
        keyring: Keyring,
        snapshot: Snapshot,
        chronicle: Chronicle,
        reader: Reader,
        lateness_days: int,
    ) -> None:
        """Use the parts of the running service."""
        self._lateness_days = lateness_days
        self._store = store
        self._keyring = keyring
        self._snapshot = snapshot
        self._chronicle = chronicle
        self._reader = reader

    async def plan(
        self, compartment: Compartment, request: ExtractRequest, latest: ChainSeal, *, before_purge: bool
    ) -> Plan:
        """Fix the range of indexes from the seals (FORMAT.md, "Extract").

        Raises RequestError where the chain did not exist, BusyError where a purge is due or under way.
        """
        categories = {row.code: row for row in await self._store.read_categories()}
        category = categories[compartment.category]
        retention_days = category.stated_days if before_purge else category.retention_days
        eve, today = request.from_day - _ONE_DAY, latest.seal.sealed_at.date()
        # The key store may know of purges that a restored database does not.
        fences = (category.fence, self._keyring.keystore.fence(compartment.category))
        fence = max((day for day in fences if day is not None and day > eve), default=None)
        # What is purged is listed up to now, to show when it went.
        last = request.to_day if fence is None else max(request.to_day, today - _ONE_DAY)
        closes, is_forgotten = await self._closes(compartment, eve, last, fence)
        before = is_forgotten and request.to_day < min(closes, default=request.to_day)
        if request.to_day < today and request.to_day not in closes and not before:
            raise RequestError("/to", faults.DAY, "this compartment did not exist on that day")
        start = _head(closes[eve]) if eve in closes else genesis(compartment.origin)
        base = start
        if fence is not None:
            # Purged entries cannot be shown: the extract begins where the chain does.
            base = self._begin(closes, fence, request.to_day, latest) or start
        if base == start:
            closes = {day: closes[day] for day in closes if day <= max(request.to_day, min(closes))}
        ranges, head = _ranges(closes, latest, request, base, fence or eve)
        _check_due(closes, latest, ranges, retention_days)
        purged: tuple[PurgedDays, ...] = ()
        if base != start:
            purged = purged_days(request.from_day, request.to_day, base.size, list(closes.items()), latest)
        seals = [*closes.values(), latest]
        elsewhere = await self._store.count_elsewhere(
            compartment.tenant, compartment.category, request.from_day, request.to_day
        )
        tenant = self._snapshot.tenant(compartment.tenant)
        return Plan(
            compartment=compartment,
            tenant_name=tenant.name if tenant else compartment.tenant,
            category_label=category.label,
            first_day=request.from_day,
            last_day=request.to_day,
            retention_days=retention_days,
            lateness=Lateness(self._lateness_days, elsewhere),
            base=base,
            head=head,
            ranges=ranges,
            seals=seals,
            purged=purged,
            numbering=await self._numbering(compartment),
            rule=Rule(category.basis, await self._rule_changes(compartment.category, seals)),
        )

    async def _numbering(self, compartment: Compartment) -> tuple[SourceNumbers, ...]:
        """Return what is not in order of the numbers of sources, those with most missing first."""
        sources = await read_sources(
            self._store, self._keyring, compartment.service, compartment.tenant, compartment.category
        )
        found = [one.numbers for one in sources if one.row.missing or one.row.declared or one.row.repeated]
        return tuple(sorted(found, key=lambda one: -one.missing)[:SOURCES_LIMIT])

    def _begin(self, closes: dict[date, ChainSeal], fence: date, last: date, latest: ChainSeal) -> Head | None:
        """Return where the chain begins behind a fence; None where it did not exist then. Raises BusyError."""
        day = min(fence, max(last, min(closes, default=last)))
        if day not in closes:
            return None
        if latest.head.kept_from < closes[day].head.size:
            raise BusyError("a purge is being completed", retry_after_seconds=PURGE_RETRY_SECONDS)
        return _head(closes[day])

    async def _closes(
        self, compartment: Compartment, first: date, last: date, fence: date | None
    ) -> tuple[dict[date, ChainSeal], bool]:
        """Return, by day, the compartment's head in the close seals of these days; True if the oldest are forgotten.

        Heads are forgotten some time after the purge of their day, and of all days before it.
        """
        closes: dict[date, ChainSeal] = {}
        is_forgotten = False
        for seal in reversed(await self._store.read_close_seals(first, last)):
            assert seal.day is not None  # only close seals were asked for
            try:
                chain_seal = await self._reader.chain_seal(seal, compartment)
            except UnavailableError:
                raise
            except StoreError:
                if fence is None or seal.day >= fence:
                    raise
                is_forgotten = True
                break
            if chain_seal is not None:
                closes[seal.day] = chain_seal
        return dict(sorted(closes.items())), is_forgotten

    async def _rule_changes(self, category: str, seals: Sequence[ChainSeal]) -> tuple[RuleChange, ...]:
        """Return the changes of a category's retention that seals show, by the entries that announced them."""
        if len({one.head.retention_days for one in seals}) == 1:
            return ()
        # A longer rule grows a day a day: the instruction for what seals show may be this much older.
        since = day_of(seals[0].seal.sealed_at) - timedelta(days=MAX_RETENTION_DAYS)
        found: list[RuleChange] = []
        async for entry in self._chronicle.entries(RESERVED_TENANT, "setting", since=since):
            data = entry.event["data"]
            if entry.event["subject"] == category and data.get("retention_days_before") and data.get("instruction"):
                changed_at = parse_time(entry.event["time"])
                found.append(RuleChange(changed_at, data["retention_days"], data["instruction"]))
        return tuple(found[-RULE_CHANGES_LIMIT:])


def _head(chain_seal: ChainSeal) -> Head:
    return Head(chain_seal.head.size, chain_seal.head.chain_hash)


def _ranges(
    closes: dict[date, ChainSeal], latest: ChainSeal, request: ExtractRequest, base: Head, gone: date
) -> tuple[list[DayRange], Head]:
    """Return the ranges of the days after `gone`, and the head where they end."""
    ranges: list[DayRange] = []
    head, today = base, latest.seal.sealed_at.date()
    for day in _days(max(request.from_day, gone + _ONE_DAY), request.to_day):
        chain_seal = closes.get(day) if day < today else latest
        if chain_seal is None:
            continue
        if chain_seal.head.size > head.size:
            ranges.append(DayRange(day=day, start=head.size, end=chain_seal.head.size))
        head = _head(chain_seal)
    return ranges, head


def _check_due(
    closes: dict[date, ChainSeal], latest: ChainSeal, ranges: Sequence[DayRange], retention_days: int
) -> None:
    """Raise BusyError where a day that is past its limit is still kept: such an extract would not verify."""
    today = latest.seal.sealed_at.date()
    kept = [day for day, one in closes.items() if one.head.size > latest.head.kept_from]
    overdue = [part.day for part in ranges[:1] if part.day <= overdue_through(today, retention_days)]
    overdue += [day for day in kept[:1] if day <= overdue_through(today, latest.head.retention_days)]
    if overdue:
        raise BusyError(
            f"{format_day(min(overdue))} is past its limit and waits for the purge",
            retry_after_seconds=PURGE_RETRY_SECONDS,
        )


def _days(first: date, last: date) -> Iterator[date]:
    day = first
    while day <= last:
        yield day
        day += _ONE_DAY
