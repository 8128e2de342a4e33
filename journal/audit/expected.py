"""The chains as seals and head table say they should be: the entries are compared with this.

Close seals divide every chain into days. If those of two consecutive days are valid, the entries of the second day
can be checked by themselves, whatever happened to the others.
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

    from journal.database.heads import HeadRow, SealHeadRow

_ONE_DAY = timedelta(days=1)


class ExpectedChain:
    """One chain: its head at the close of each day, and every chain hash a seal or the head table gives."""

    def __init__(self, compartment: Compartment) -> None:
        """Begin with the empty chain."""
        self.compartment = compartment
        self.name = f"{compartment.tenant}/{compartment.category}"
        self.genesis = genesis(compartment.origin)
        self.live: HeadRow | None = None
        # The chain hashes that were noted, by size.
        self.hashes: dict[int, bytes] = {0: self.genesis.chain_hash}
        # The head at the end of the check of its last day: the next day begins with it if no seal gives one.
        self.walked: Head | None = None
        self._days: list[date] = []
        self._heads: list[Head] = []

    @property
    def kept_from(self) -> int:
        """The first index still kept, by the head table."""
        return self.live.kept_from if self.live is not None else 0

    @property
    def live_head(self) -> Head:
        """The head by the head table; genesis if it has none."""
        return Head(self.live.size, self.live.chain_hash) if self.live is not None else self.genesis

    @property
    def last_close(self) -> Head:
        """The head at the last close seal."""
        return self._heads[-1] if self._heads else self.genesis

    def note_hash(self, size: int, chain_hash: bytes) -> bool:
        """Note a chain hash; False, and the first one stays, if another was noted at that size."""
        return self.hashes.setdefault(size, chain_hash) == chain_hash

    def note_close(self, day: date, head: Head) -> None:
        """Note the head at the end of a day; days come in order."""
        if self.at_close(day) != head:
            self._days.append(day)
            self._heads.append(head)

    def at_close(self, day: date) -> Head:
        """Return the head at the end of that day, by the close seals noted so far."""
        place = bisect_right(self._days, day)
        return self._heads[place - 1] if place else self.genesis

    def closes_at(self, size: int) -> bool:
        """Tell whether a day ended at this size."""
        return size == 0 or any(head.size == size for head in self._heads)

    def moves(self) -> list[tuple[date, Head, Head]]:
        """Return the days on which it grew, with the heads before and after."""
        return list(zip(self._days, [self.genesis, *self._heads], self._heads, strict=False))


class ExpectedChains:
    """All chains, and the days that have a valid close seal."""

    def __init__(
        self, service: str, *, first_day: date, horizon: date | None, ended: Collection[str] = frozenset()
    ) -> None:
        """Begin without chains.

        No chain is older than `first_day`; the heads of seals before the close of `horizon` may be deleted. Chains of
        tenants in `ended` may say that nothing is kept, whatever the rule.
        """
        self._service = service
        self.first_day = first_day
        self.horizon = horizon
        self.ended = ended
        self.chains: dict[tuple[str, str], ExpectedChain] = {}
        self._by_category: dict[str, list[ExpectedChain]] = {}
        self.closed: set[date] = set()

    def chain(self, tenant: str, category: str) -> ExpectedChain:
        """Return the chain, adding it if it is new. ValueError if a code is not valid."""
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
        """Note a valid close seal."""
        for row in heads:
            self.chain(row.tenant, row.category).note_close(day, Head(row.size, row.chain_hash))
        self.closed.add(day)

    def is_close(self, chain: ExpectedChain, size: int) -> bool:
        """Tell whether the chain had this size at the end of some day, as far as the seals still show."""
        forgotten = self.horizon is not None and size <= chain.at_close(self.horizon).size
        return forgotten or chain.closes_at(size)

    def at_close(self, chain: ExpectedChain, day: date) -> Head | None:
        """Return the head at the end of that day; None if no valid seal gives it."""
        if day < self.first_day:
            return chain.genesis
        return chain.at_close(day) if day in self.closed else None

    def limits(self, chain: ExpectedChain, day: date) -> tuple[Head | None, Head | None]:
        """Return the heads before and after the chain's entries of that day, None for one that is not known."""
        end = self.at_close(chain, day)
        live = chain.live
        if end is None and live is not None and (live.recorded_at is None or day_of(live.recorded_at) <= day):
            end = Head(live.size, live.chain_hash)
        return self.at_close(chain, day - _ONE_DAY) or chain.walked, end

    def purgeable_size(self, chain: ExpectedChain, through: date) -> int | None:
        """Return how many entries may be purged if days up to `through` may be; None if that is not known.

        Where the heads of that day are deleted, it is at most what the oldest heads kept show.
        """
        if self.horizon is not None and through < self.horizon and self.horizon in self.closed:
            return chain.at_close(self.horizon).size
        head = self.at_close(chain, through)
        return head.size if head is not None else None
