"""What this process has acknowledged, compared with what the database holds.

The database may answer from behind it: restored from a backup, its newest rows deleted, a failover to a standby that
had not received them, an `append` that only answers. Such a chain accepts nothing more, because other events would get
the indexes that receipts name; the operator is told.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from journal.core.errors import StoreError
from journal.core.times import day_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import date

    from journal.clock import Clock
    from journal.core.entry import Compartment
    from journal.database.owner import StoredChain
    from journal.database.store import Store
    from journal.writing.draft import HeadState
    from journal.writing.instruments import Instruments

log = structlog.get_logger()

CONFIRM_SECONDS = 1.0
# How often every chain is compared, whether anything was appended to it or not.
ROUND_SECONDS = 20.0
TOGETHER = 2_000


class Memory:
    """The last acknowledged head of each chain, and the chains that the database contradicts."""

    def __init__(self, store: Store, clock: Clock, instruments: Instruments) -> None:
        """Remember nothing yet."""
        self._instruments = instruments
        self._store = store
        self._clock = clock
        self._heads: dict[Compartment, HeadState] = {}
        self._unconfirmed: set[Compartment] = set()
        self._accepted_at = self._compared_at = float("-inf")
        # Chains that accept nothing, and why. What the append claimed and did not write stays until the restart.
        self._behind: dict[Compartment, str] = {}
        self._feigned: dict[Compartment, str] = {}
        self._blind: str | None = None

    @property
    def faults(self) -> Mapping[Compartment, str]:
        """Return the chains that accept nothing, each with the reason."""
        return self._behind | self._feigned

    def stops(self, compartment: Compartment) -> bool:
        """Tell whether the chain accepts nothing."""
        return compartment in self._behind or compartment in self._feigned

    def stopped(self, compartments: Iterable[Compartment]) -> list[Compartment]:
        """Return those of these chains that accept nothing."""
        return [compartment for compartment in compartments if self.stops(compartment)] if self.faults else []

    def problem(self) -> str | None:
        """Return why the database cannot be believed, else None."""
        if faults := self.faults:
            chain, reason = next(iter(faults.items()))
            more = f" (and {len(faults) - 1} more chains)" if len(faults) > 1 else ""
            return f"{chain.tenant}/{chain.category}: {reason}{more}"
        return self._blind

    def acknowledged(self, compartments: Iterable[Compartment]) -> Mapping[Compartment, HeadState]:
        """Return the heads acknowledged so far, for `compare` with what is read from now on."""
        return {compartment: self._heads[compartment] for compartment in compartments if compartment in self._heads}

    def compare(
        self,
        compartment: Compartment,
        size: int,
        chain_hash: bytes | None,
        acknowledged: Mapping[Compartment, HeadState],
    ) -> None:
        """Stop the chain if a head read from the database is behind the one acknowledged before it was asked.

        What is acknowledged while the answer is on its way contradicts nothing.
        """
        known = acknowledged.get(compartment)
        if known is not None and (reason := _contradiction(known, size, chain_hash)):
            self._stop(self._behind, compartment, reason)

    async def accept(
        self, heads: Mapping[Compartment, HeadState], bases: Mapping[Compartment, HeadState]
    ) -> list[Compartment]:
        """Remember the heads of an append that claims success; return the chains that must not be acknowledged.

        `bases` are the heads that it began with. Where one is not the head that is remembered, that one is looked for
        in its table first: appends end in any order, and an older one never replaces what was acknowledged later.
        Once a second, and always while something is wrong, the tables are read before the caller is told; heads in
        between are confirmed a second later.
        """
        apart = [chain for chain in heads if chain in self._heads and not _is_same(self._heads[chain], bases[chain])]
        if apart:
            for compartment, reason in (await self._confirm(apart)).items():
                self._stop(self._feigned, compartment, f"an append claimed to have written, but {reason}")
        for compartment, head in heads.items():
            if (known := self._heads.get(compartment)) is None or head.size > known.size:
                self._heads[compartment] = head
                self._unconfirmed.add(compartment)
        if self.faults or not 0 <= self._clock.monotonic() - self._accepted_at < CONFIRM_SECONDS:
            self._accepted_at = self._clock.monotonic()
            for compartment, reason in (await self._confirm(heads)).items():
                self._stop(self._feigned, compartment, f"an append claimed to have written, but {reason}")
        return self.stopped(heads)

    async def run(self) -> None:
        """Compare for ever: after a second what was appended, every chain each round."""
        while True:
            await asyncio.sleep(CONFIRM_SECONDS)
            await self.look()

    async def look(self, *, everything: bool = False) -> None:
        """Compare the chains that are due, or all."""
        now = self._clock.monotonic()
        due: set[Compartment] = self._unconfirmed | self._behind.keys()
        if everything or not 0 <= now - self._compared_at < ROUND_SECONDS:
            self._compared_at, due = now, set(self._heads)
        if not due:
            return
        faults = await self._confirm(due)
        for compartment in due & self._behind.keys():
            if compartment not in faults and self._blind is None:
                del self._behind[compartment]
                self._instruments.stopped_chains.set(len(self.faults))
                log.warning("the database has what was acknowledged again", **_names(compartment))
        for compartment, reason in faults.items():
            self._stop(self._behind, compartment, reason)

    async def _confirm(self, compartments: Iterable[Compartment]) -> dict[Compartment, str]:
        """Return what the tables contradict; what they cannot be asked about stays unconfirmed."""
        groups: dict[tuple[str, date], list[Compartment]] = {}
        for compartment in compartments:
            if (recorded_at := self._heads[compartment].recorded_at) is not None:
                groups.setdefault((compartment.category, day_of(recorded_at)), []).append(compartment)
        faults: dict[Compartment, str] = {}
        try:
            for (category, day), chains in groups.items():
                for start in range(0, len(chains), TOGETHER):
                    faults |= await self._read(category, day, chains[start : start + TOGETHER])
        except StoreError as error:
            if self._blind is None:
                log.error("the tables cannot be compared with what was acknowledged", reason=str(error))
            self._blind = f"the tables cannot be compared with what was acknowledged: {error}"
        else:
            self._blind = None
        return faults

    async def _read(self, category: str, day: date, chains: list[Compartment]) -> dict[Compartment, str]:
        heads = [self._heads[chain] for chain in chains]
        rows = await self._store.read_stored_chains(
            category, day, [chain.tenant for chain in chains], [head.size - 1 for head in heads]
        )
        faults: dict[Compartment, str] = {}
        for chain, head, row in zip(chains, heads, rows, strict=True):
            if reason := self._judge(head, row, day):
                faults[chain] = reason
            if self._heads[chain] is head:
                self._unconfirmed.discard(chain)
        return faults

    def _judge(self, known: HeadState, stored: StoredChain, day: date) -> str | None:
        if stored.destroyed:
            return None
        if stored.size is None or stored.kept_from is None:
            return "its head is gone"
        if reason := _contradiction(known, stored.size, stored.chain_hash):
            return reason
        # A day that is over may have been purged meanwhile.
        gone = stored.entry_hash is None and day >= day_of(self._clock.now()) and stored.kept_from < known.size
        if gone or stored.entry_hash not in {None, known.chain_hash}:
            return f"entry {known.size - 1}, which was acknowledged, is not in its table any more"
        return None

    def _stop(self, faults: dict[Compartment, str], compartment: Compartment, reason: str) -> None:
        if not self.stops(compartment):
            log.error("the database is behind what was acknowledged", reason=reason, **_names(compartment))
        faults[compartment] = reason
        self._instruments.stopped_chains.set(len(self.faults))


def _contradiction(known: HeadState, size: int, chain_hash: bytes | None) -> str | None:
    """Return how a head of the database contradicts an acknowledged one, None if it may follow it."""
    if size < known.size:
        return (
            f"the database has {size} entries, but {known.size} were acknowledged: it was restored or altered; "
            "nothing more is accepted here"
        )
    if size == known.size and chain_hash != known.chain_hash:
        return f"the chain hash at {size} entries is not the acknowledged one: it was altered; nothing more is accepted"
    return None


def _is_same(one: HeadState, other: HeadState) -> bool:
    return (one.size, one.chain_hash) == (other.size, other.chain_hash)


def _names(compartment: Compartment) -> dict[str, str]:
    return {"tenant": compartment.tenant, "category": compartment.category}
