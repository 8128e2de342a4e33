"""What the seals and the head table state of the chains, for their entries to be held against.

Close seals cut every chain in days: as long as those of two days in a row hold, the entries of the second can
be checked by themselves, whatever became of the others.
"""

from __future__ import annotations

from bisect import bisect_right
from datetime import timedelta
from typing import TYPE_CHECKING

from journal.core.chain import Head, genesis
from journal.core.entry import Compartment
from journal.core.times import day_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from datetime import date

    from journal.database.ingest import HeadRow
    from journal.database.seal import SealHeadRow

_ONE_DAY = timedelta(days=1)


class ExpectedChain:
    """One chain: its head at the close of each day, and every chain hash stated of it."""

    def __init__(self, compartment: Compartment) -> None:
        """Know the empty chain only."""
        self.compartment = compartment
        self.name = f"{compartment.tenant}/{compartment.category}"
        self.genesis = genesis(compartment.origin)
        self.live: HeadRow | None = None
        # The chain hashes that are stated, by size.
        self.hashes: dict[int, bytes] = {0: self.genesis.chain_hash}
        # Where the check of its last day ended: what the next begins with if no seal says better.
        self.walked: Head | None = None
        self._days: list[date] = []
        self._heads: list[Head] = []

    @property
    def kept_from(self) -> int:
        """The first index still kept, by the head table."""
        return self.live.kept_from if self.live is not None else 0

    @property
    def live_head(self) -> Head:
        """The head by the head table; genesis where it has none."""
        return Head(self.live.size, self.live.chain_hash) if self.live is not None else self.genesis

    @property
    def last_close(self) -> Head:
        """The head at the last close seal."""
        return self._heads[-1] if self._heads else self.genesis

    def note_hash(self, size: int, chain_hash: bytes) -> bool:
        """Note a chain hash; False, and the first one stays, if another is stated at that size."""
        return self.hashes.setdefault(size, chain_hash) == chain_hash

    def note_close(self, day: date, head: Head) -> None:
        """Note where the chain stood at the end of a day; days come in their order."""
        if self.at_close(day) != head:
            self._days.append(day)
            self._heads.append(head)

    def at_close(self, day: date) -> Head:
        """Return where the chain stood at the end of that day, by the close seals noted so far."""
        place = bisect_right(self._days, day)
        return self._heads[place - 1] if place else self.genesis

    def closes_at(self, size: int) -> bool:
        """Tell whether a day ended at this size."""
        return size == 0 or any(head.size == size for head in self._heads)

    def moves(self) -> list[tuple[date, Head, Head]]:
        """Return the days in which it moved, with the heads before and after."""
        return list(zip(self._days, [self.genesis, *self._heads], self._heads, strict=False))


class ExpectedChains:
    """All chains, and the days whose close seal was proven."""

    def __init__(
        self, service: str, *, first_day: date, horizon: date | None, ended: Collection[str] = frozenset()
    ) -> None:
        """Begin with nothing.

        No chain is older than `first_day`; seals before the close of `horizon` may have forgotten their heads. Those
        of tenants in `ended` may say that nothing is kept, whatever the rule.
        """
        self._service = service
        self.first_day = first_day
        self.horizon = horizon
        self.ended = ended
        self.chains: dict[tuple[str, str], ExpectedChain] = {}
        self._by_category: dict[str, list[ExpectedChain]] = {}
        self.closed: set[date] = set()

    def chain(self, tenant: str, category: str) -> ExpectedChain:
        """Return the chain, which exists because somebody states something of it. ValueError if it cannot be."""
        chain = self.chains.get((tenant, category))
        if chain is None:
            chain = ExpectedChain(Compartment(self._service, tenant, category))
            self.chains[tenant, category] = chain
            self._by_category.setdefault(category, []).append(chain)
        return chain

    def of_category(self, category: str) -> list[ExpectedChain]:
        """Return the category's chains."""
        return self._by_category.get(category, [])

    def note_close(self, day: date, heads: Iterable[SealHeadRow]) -> None:
        """Note a close seal that holds."""
        for row in heads:
            self.chain(row.tenant, row.category).note_close(day, Head(row.size, row.chain_hash))
        self.closed.add(day)

    def is_close(self, chain: ExpectedChain, size: int) -> bool:
        """Tell whether the chain stood at this size when some day ended, as far as the seals still say."""
        forgotten = self.horizon is not None and size <= chain.at_close(self.horizon).size
        return forgotten or chain.closes_at(size)

    def at_close(self, chain: ExpectedChain, day: date) -> Head | None:
        """Return where the chain stood at the end of that day; None where no seal that holds says so."""
        if day < self.first_day:
            return chain.genesis
        return chain.at_close(day) if day in self.closed else None

    def limits(self, chain: ExpectedChain, day: date) -> tuple[Head | None, Head | None]:
        """Return the heads between which the chain's entries of that day stand, None for what nothing says."""
        end = self.at_close(chain, day)
        live = chain.live
        if end is None and live is not None and (live.recorded_at is None or day_of(live.recorded_at) <= day):
            end = Head(live.size, live.chain_hash)
        return self.at_close(chain, day - _ONE_DAY) or chain.walked, end

    def lawful_size(self, chain: ExpectedChain, through: date) -> int | None:
        """Return how much of the chain may be gone if days up to `through` may; None where nothing says.

        Where the heads of that day are lawfully forgotten, it is no more than what the oldest kept show.
        """
        if self.horizon is not None and through < self.horizon and self.horizon in self.closed:
            return chain.at_close(self.horizon).size
        head = self.at_close(chain, through)
        return head.size if head is not None else None
