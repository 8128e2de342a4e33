"""The evidence that a commune's entries of a day are purged, how many they were, and when that was.

The seals come first: while they are kept, the heads at the close of the day and of the day before give the indexes;
the first seal whose head begins after them shows that the entries are gone. The `purge` entries of the commune tell
when, and still tell how many once those heads are pruned, a day or two after the purge. Both are gone some 60 days
after it; what neither shows is not attested. Both must agree.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from journal.core.chain import Head
from journal.core.errors import OperatorError, StoreError, UnavailableError, VerificationError
from journal.core.seal import parse_seal
from journal.core.times import format_day, purgeable_through
from journal.core.tree import Trie
from journal.database.heads import sealed_head
from journal.document.attested import CategoryFacts, NamedSeal
from journal.pki import cms
from journal.pki.certificates import pem_to_der
from retention.policy import goes_at
from retention.purge_log import read_recorded_purges

if TYPE_CHECKING:
    from datetime import date

    from journal.core.seal import Seal
    from journal.database.heads import SealHeadRow
    from journal.database.ingest import CategoryRow, TenantRow
    from journal.database.seal import BaseMove, SealRow
    from journal.document.attested import State
    from journal.service import Service
    from retention.purge_log import RecordedPurge


_ONE_DAY = timedelta(days=1)


def kept_facts(category: CategoryRow, day: date) -> CategoryFacts:
    """Return the facts of a category whose day is still kept: by the rule in force, while a shorter one is pending."""
    return _facts(category, day, state="kept", rule=category.retention_days, rule_before=category.stated_days)


def _facts(
    category: CategoryRow,
    day: date,
    *,
    state: State,
    rule: int,
    rule_before: int | None = None,
    span: tuple[int, int] = (0, 0),
    **told: Any,
) -> CategoryFacts:
    """Return the facts of a category, with the times that the rule sets for the day.

    Where the rule was changed meanwhile, the shorter one allowed the purge, and the longer one required it.
    """
    rule_before = rule if rule_before is None else rule_before
    return CategoryFacts(
        code=category.code,
        label=category.label,
        regime=category.regime,
        retention_days=rule,
        retention_days_before=rule_before,
        may_go_at=goes_at(day, min(rule, rule_before) - 1),
        must_go_at=goes_at(day, max(rule, rule_before)),
        state=state,
        first_index=span[0],
        end_index=span[1],
        **told,
    )


class Evidence:
    """Gathers the evidence about one commune's day, by category. Every method may raise StoreError."""

    def __init__(self, service: Service, tenant: TenantRow, day: date) -> None:
        """Examine this commune's day, whose purge is finished."""
        self.seals = SealEvidence(service, tenant.code)
        self._service = service
        self._store = service.store
        self._tenant = tenant
        self._day = day
        self._recorded: dict[tuple[str, date], RecordedPurge] | None = None

    async def gather(self, category: CategoryRow) -> CategoryFacts:
        """Return the facts of a category whose day is purged. OperatorError where no seal shows it yet."""
        close = await self._head(self._day, category)
        recorded = (await self._purges()).get((category.code, self._day))
        span = await self._span(category, close, recorded)
        rule = category.retention_days if close is None else close.retention_days
        if span is None:
            return _facts(category, self._day, state="untold", rule=rule)
        closing = Head(close.size, close.chain_hash) if close is not None else None
        if span[0] == span[1]:
            return _facts(category, self._day, state="destroyed", rule=rule, span=span, closing=closing)
        rule = rule if recorded is None else recorded.retention_days
        move = await self._move(category, *span)
        shown = await self.seals.named(move.number) if move is not None else None
        gone_at = shown.sealed_at if shown is not None else None
        if recorded is not None:
            # Both are after the purge, and an entry that was recorded late is after the seal: take the earlier.
            gone_at = min(recorded.at.replace(microsecond=0), gone_at or recorded.at)
        return _facts(
            category,
            self._day,
            state="destroyed",
            rule=rule if move is None else move.retention_days,
            rule_before=rule if move is None else move.retention_before,
            span=span,
            gone_at=gone_at,
            recorded=recorded is not None,
            closing=closing,
            shown=shown,
        )

    async def _span(
        self, category: CategoryRow, close: SealHeadRow | None, recorded: RecordedPurge | None
    ) -> tuple[int, int] | None:
        """Return the purged indexes, first and one past the last; None where no evidence of them is kept."""
        told = (recorded.first_index, recorded.end_index) if recorded is not None else None
        sealed = await self._sealed_span(category, close)
        if sealed is not None and told is not None and sealed != told:
            raise StoreError(
                f"the seals and the purge entry of {category.code} {format_day(self._day)} differ: run verify-store"
            )
        span = sealed or told
        if span is None and await self._is_empty(category):
            return (0, 0)
        return span

    async def _sealed_span(self, category: CategoryRow, close: SealHeadRow | None) -> tuple[int, int] | None:
        if close is None:
            return None
        eve = self._day - _ONE_DAY
        if await self._store.close_seal(eve) is None:
            return (0, close.size)  # the service's first day
        heads = await self.seals.heads_of_day(eve)
        if heads is None:
            return None
        return (heads[category.code].size if category.code in heads else 0, close.size)

    async def _is_empty(self, category: CategoryRow) -> bool:
        """Tell whether the purges of other days account for all entries that went since this day was surely kept.

        It was at the last close seal whose own rule did not allow its purge. If the recorded purges since then add up
        to the difference between the chain's base then and now, this day had no entries.
        """
        (live,) = await self._store.read_heads([self._tenant.code], [category.code])
        if live.size == 0:
            return True
        before_day = self._day + timedelta(days=category.retention_days - 3)
        before = await self._head(before_day, category)
        if before is None or self._day <= purgeable_through(before_day + _ONE_DAY, before.retention_days):
            return False
        gone = sum(
            purge.end_index - purge.first_index
            for (code, _), purge in (await self._purges()).items()
            if code == category.code and purge.first_index >= before.kept_from
        )
        return gone == live.kept_from - before.kept_from

    async def _move(self, category: CategoryRow, first: int, end: int) -> BaseMove | None:
        """Return the first kept seal that shows these indexes gone; None where its heads are pruned."""
        for move in await self._store.read_base_moves(self._tenant.code, category.code):
            if move.kept_before < end <= move.kept_from:
                heads = await self.seals.heads_of_seal(move.number)
                if move.kept_before > first or heads is None or heads[category.code].kept_from != move.kept_from:
                    raise StoreError(f"the base of {category.code} does not agree with its purge: run verify-store")
                return move
        latest = await self._store.latest_seal()
        heads = await self.seals.heads_of_seal(latest.number) if latest is not None else None
        if heads is None or heads[category.code].kept_from < end:
            raise OperatorError(
                f"no seal shows yet that {category.code} {format_day(self._day)} is purged: run openepm-journal seal, "
                "then try again"
            )
        return None

    async def _head(self, day: date, category: CategoryRow) -> SealHeadRow | None:
        heads = await self.seals.heads_of_day(day)
        return heads.get(category.code) if heads is not None else None

    async def _purges(self) -> dict[tuple[str, date], RecordedPurge]:
        if self._recorded is None:
            since = self._day + _ONE_DAY  # no purge is earlier
            self._recorded = await read_recorded_purges(self._service.chronicle, self._tenant.code, since)
        return self._recorded


class SealEvidence:
    """Reads seals and the heads of one commune in them; every method may raise StoreError."""

    def __init__(self, service: Service, tenant: str) -> None:
        """Examine this commune's chains."""
        self._store = service.store
        self._name = service.name
        self._tenant = tenant
        self._anchors = pem_to_der(service.reader.trust())
        self._heads: dict[int, dict[str, SealHeadRow] | None] = {}

    async def heads_of_day(self, day: date) -> dict[str, SealHeadRow] | None:
        """Return the heads by category at the close of a day; None where they are not kept, or it is not closed."""
        row = await self._store.close_seal(day)
        return await self._heads_of(row) if row is not None else None

    async def heads_of_seal(self, number: int) -> dict[str, SealHeadRow] | None:
        """Return the heads by category in a seal; None where they, or the seal, are not kept."""
        row = await self._store.read_seal(number)
        return await self._heads_of(row) if row is not None else None

    async def named(self, number: int) -> NamedSeal | None:
        """Return what identifies a seal, its signature checked; None where it is not kept."""
        row = await self._store.read_seal(number)
        if row is None:
            return None
        seal = self._check(row)
        return NamedSeal(number=seal.number, day=seal.day, sealed_at=seal.sealed_at, digest=seal.digest)

    async def _heads_of(self, row: SealRow) -> dict[str, SealHeadRow] | None:
        if row.number not in self._heads:
            self._heads[row.number] = await self._read(self._check(row))
        return self._heads[row.number]

    async def _read(self, seal: Seal) -> dict[str, SealHeadRow] | None:
        try:
            rows = await self._store.read_seal_heads(seal.number)
        except UnavailableError:
            raise
        except StoreError:
            return None
        try:
            tree = await asyncio.to_thread(Trie, [sealed_head(self._name, row) for row in rows])
        except ValueError:
            tree = None
        if tree is None or tree.root != seal.root:
            raise StoreError(f"the heads kept with seal {seal.number} do not give its root: run verify-store")
        return {row.category: row for row in rows if row.tenant == self._tenant}

    def _check(self, row: SealRow) -> Seal:
        """Return the parsed seal. Raises StoreError unless its signature verifies."""
        try:
            seal = parse_seal(row.text)
            cms.verify(row.signature, sha256(row.text).digest(), anchors=self._anchors, service=self._name)
        except VerificationError as error:
            raise StoreError(f"seal {row.number} does not verify ({error}): run verify-store") from error
        if (seal.number, seal.day) != (row.number, row.day):
            raise StoreError(f"seal {row.number} is stored under another number or day: run verify-store")
        return seal
