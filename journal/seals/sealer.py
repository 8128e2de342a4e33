"""The sealer: signed seals over the heads of all chains, numbered without gaps.

Any process may seal: the database accepts each number once. The close seal of a day precedes any seal that could show a
later day, so that sizes never decrease from one seal to the next.
"""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import structlog

from journal.clock import Clock, ClockGuard
from journal.core.entry import Compartment
from journal.core.errors import BusyError, JournalError, OperatorError, StoreError, UnavailableError
from journal.core.seal import NOTHING_HASH, Seal, SealedHead, parse_seal
from journal.core.times import day_of, midnight
from journal.core.tree import Trie
from journal.database.seal import SealHeadRow, SealRow, SealState
from journal.keys.last_seal import SealMoment, remember

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from journal.database.ingest import HeadRow
    from journal.database.store import Store
    from journal.keys.store import KeyStore
    from journal.seals.identity import SigningIdentity

log = structlog.get_logger()

# After midnight, until all clocks within the tolerance of appends agree that the day is over.
CLOSE_GRACE = timedelta(seconds=5)
CLOSE_MARGIN_SECONDS = 0.2
# How long after midnight a refusal may still be due to midnight, on a slow machine.
MIDNIGHT_MARGIN = timedelta(minutes=1)
RACE_ATTEMPTS = 20
RACE_PAUSE_SECONDS = 0.2
OPEN_SEALS_KEPT = timedelta(days=7)


class Sealer:
    """Makes close seals of days that are over, and open seals of the present heads."""

    def __init__(
        self, *, store: Store, keystore: KeyStore, identity: SigningIdentity, service_name: str, clock: Clock
    ) -> None:
        """Seal under this identity; the key store remembers the last seal."""
        self._store = store
        self._keystore = keystore
        self._identity = identity
        self._service_name = service_name
        self._clock = clock
        self._guard = ClockGuard(clock)
        self._lock = asyncio.Lock()
        self._declares_loss = False
        self._last_number = 0

    async def close_due_days(self) -> list[SealRow]:
        """Make the close seal of every day that is over, oldest first."""
        async with self._lock:
            return await self._close_due_days()

    async def seal_open(self, *, even_if_still: bool) -> SealRow | None:
        """Make an open seal over the present heads; None if none has changed and not `even_if_still`.

        Raises BusyError if other processes repeatedly took the number first.
        """
        async with self._lock:
            for _ in range(RACE_ATTEMPTS):
                await self._wait_for_grace()
                await self._close_due_days()
                state = await self._read_state()
                moved = _moved(state.heads, state.sealed)
                if not moved and not even_if_still:
                    return None
                if day_of(state.now) != day_of(self._guard.check()):
                    await self._clock.sleep(RACE_PAUSE_SECONDS)  # midnight, or a clock that is a day off
                    continue
                try:
                    made = await self._make(state, None, state.heads, moved)
                except StoreError as error:
                    await self._raise_unless_overtaken(error, state)
                    await self._clock.sleep(RACE_PAUSE_SECONDS)
                    continue
                if made is not None:
                    return made
            raise BusyError(
                "other processes are sealing, or the database's clock is on another day", retry_after_seconds=1
            )

    async def declare_loss(self) -> int:
        """Make a seal that declares everything after the last seal of this restored database lost; return that number.

        Verifiers then report a declared loss, not a fork. It must be the first seal after the restore.
        Raises StoreError if there is no seal to recover from.
        """
        async with self._lock:
            state = await self._read_state()
            if state.number == 0:
                raise StoreError("there is no seal yet, so nothing after a seal can be lost")
            self._declares_loss = True
        await self.seal_open(even_if_still=True)
        return state.number

    async def _read_state(self) -> SealState:
        """Read the state of the seals. Raises OperatorError if it is older than what this process has seen.

        A backup was then restored while it ran, and the next number is already in use.
        """
        state = await self._store.seal_state()
        if state.number < self._last_number:
            raise OperatorError(
                f"the database has gone back from seal {self._last_number} to seal {state.number}: a backup was "
                "restored while the service ran. Nothing more is sealed: stop serve, then proceed as after a restore "
                f"(openepm-journal recover --declare-loss {state.number})"
            )
        self._last_number = state.number
        return state

    async def run(self, interval_seconds: int) -> None:
        """Close days that are over, seal changed heads, thin old seals; for ever."""
        thinned_on: date | None = None
        while True:
            try:
                await self.seal_open(even_if_still=False)
                today = day_of(self._clock.now())
                if thinned_on != today:
                    await self._store.thin_seals(self._clock.now() - OPEN_SEALS_KEPT)
                    await self._store.prune_seal_heads()
                    thinned_on = today
            except (JournalError, OSError) as error:
                log.error("no seal was made", kind=type(error).__name__, reason=str(error))
            await self._clock.sleep(interval_seconds)

    async def _close_due_days(self) -> list[SealRow]:
        made: list[SealRow] = []
        while True:
            state = await self._read_state()
            now = self._guard.check()
            # Both clocks must agree that the day is over.
            day = _next_close(state, min(now, state.now))
            # They must also agree on today: the heads state the rule by the database's day, the text by this clock's.
            if day is None or day_of(now) != day_of(state.now):
                return made
            try:
                heads = await self._store.close_day(day)
            except StoreError as error:
                await self._raise_unless_overtaken(error, state)
                await self._clock.sleep(RACE_PAUSE_SECONDS)
                continue
            row = await self._make(state, day, heads, _moved(heads, state.sealed))
            if row is not None:
                made.append(row)

    async def _raise_unless_overtaken(self, error: StoreError, before: SealState) -> None:
        """Raise `error`, unless another process has sealed, or the database has passed midnight before this clock."""
        if isinstance(error, UnavailableError):
            raise error
        state = await self._read_state()
        sealed = (state.number, state.close_day) != (before.number, before.close_day)
        closing = state.closed_day > before.closed_day
        # The day may have begun, or its first seconds ended, during the attempt.
        passing = before.now - midnight(day_of(state.now)) <= MIDNIGHT_MARGIN
        if not sealed and not closing and not passing:
            raise error

    async def _make(
        self,
        state: SealState,
        day: date | None,
        heads: Sequence[HeadRow],
        moved: Sequence[SealHeadRow],
    ) -> SealRow | None:
        """Sign and store the next seal; None if another process took its number first."""
        sealed_at = self._guard.check().replace(microsecond=0)
        previous = parse_seal(state.text) if state.text is not None else None
        previous_close = parse_seal(state.close_text) if state.close_text is not None else None
        recovered_from = state.number if self._declares_loss else None
        if previous is not None:
            if recovered_from is None and previous.day is None:
                # Repeated up to a close seal, which every extract of that day lists and which is never thinned.
                recovered_from = previous.recovered_from
            # The clock may be slightly behind that of the last seal: times never decrease.
            sealed_at = max(sealed_at, previous.sealed_at)
        try:
            tree = await asyncio.to_thread(Trie, [sealed_head(self._service_name, head) for head in heads])
        except ValueError as error:
            raise StoreError(f"the heads that are stored cannot be sealed ({error}): run verify-store") from error
        seal = Seal(
            service=self._service_name,
            number=state.number + 1,
            sealed_at=sealed_at,
            day=day,
            chains=tree.chains,
            root=tree.root,
            previous=previous.digest if previous else NOTHING_HASH,
            previous_close=previous_close.digest if previous_close else NOTHING_HASH,
            recovered_from=recovered_from,
        )
        signature = self._identity.sign(seal.text, sealed_at)
        stored = await self._store.put_seal(seal.number, day, sealed_at, seal.text, signature, moved)
        if not stored:
            return None
        self._last_number = seal.number
        declared, self._declares_loss = self._declares_loss, False
        await self._remember(SealMoment(sealed_at, seal.number), goes_back=declared)
        return SealRow(number=seal.number, day=day, sealed_at=sealed_at, text=seal.text, signature=signature)

    async def _remember(self, moment: SealMoment, *, goes_back: bool) -> None:
        """Tell the key store, so that an older database is recognised; the seal itself does not depend on it."""
        try:
            await asyncio.to_thread(remember, self._keystore, moment, goes_back=goes_back)
        except (JournalError, OSError) as error:
            log.warning("the key store could not remember a seal", number=moment.number, reason=str(error))

    async def _wait_for_grace(self) -> None:
        """Wait for the end of a day's first seconds: no open seal may show it before the day before is closed."""
        now = self._clock.now()
        if (left := (midnight(day_of(now)) + CLOSE_GRACE - now).total_seconds()) > 0:
            await self._clock.sleep(left + CLOSE_MARGIN_SECONDS)


def sealed_head(service_name: str, head: HeadRow | SealHeadRow) -> SealedHead:
    """Return the head as the seal tree states it."""
    return SealedHead(
        origin=Compartment(service_name, head.tenant, head.category).origin,
        size=head.size,
        chain_hash=head.chain_hash,
        kept_from=head.kept_from,
        retention_days=head.retention_days,
    )


def _next_close(state: SealState, now: datetime) -> date | None:
    """Return the oldest day that is over and has no close seal, or None."""
    day = state.close_day + timedelta(days=1) if state.close_day is not None else state.first_day
    over_at = midnight(day + timedelta(days=1)) + CLOSE_GRACE
    return day if now >= over_at else None


def _moved(heads: Sequence[HeadRow], sealed: Sequence[SealHeadRow]) -> list[SealHeadRow]:
    """Return the heads that differ from what the last seal states."""
    last = {(row.tenant, row.category): row for row in sealed}
    moved = []
    for head in heads:
        row = SealHeadRow(
            tenant=head.tenant,
            category=head.category,
            size=head.size,
            chain_hash=head.chain_hash,
            kept_from=head.kept_from,
            retention_days=head.retention_days,
        )
        if last.get((head.tenant, head.category)) != row:
            moved.append(row)
    return moved
