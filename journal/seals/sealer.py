"""The sealer: signed seals over the heads of all chains, numbered without gaps.

Any process may seal: the database accepts each number once, and the signer has one sealing session at a time. The
signer makes and signs the seals (`journal.signer`); the sealer brings it heads and evidence, and stores what it makes.
The close seal of a day precedes any seal that could show a later day, so that sizes never decrease from one seal to the
next.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import structlog

from journal.clock import (
    CLOCK_DEPARTURE_LIMIT,
    CLOCK_TOLERANCE,
    CLOSE_GRACE,
    MIDNIGHT_MARGIN,
    Clock,
    ClockGuard,
)
from journal.core.errors import BusyError, JournalError, OperatorError, StoreError, UnavailableError
from journal.core.seal import parse_seal
from journal.core.times import MAX_RETENTION_DAYS, day_of, format_seconds, midnight
from journal.database.seal import SealRow, SealState
from journal.keys.last_seal import SealMoment, remember
from journal.seals.evidence import StoredEvidence
from journal.signer.evidence import StoredSeals
from journal.signer.memory import describe_older
from journal.signer.protocol import Still

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from datetime import date

    from journal.database.heads import HeadRow, SealHeadRow
    from journal.database.store import Store
    from journal.keys.store import KeyStore
    from journal.signer.client import SealingSession, SignerClient
    from journal.signer.evidence import HeldChain

log = structlog.get_logger()

CLOSE_MARGIN_SECONDS = 0.2
RACE_ATTEMPTS = 20
RACE_PAUSE_SECONDS = 0.2
OPEN_SEALS_KEPT = timedelta(days=7)
# They show when a purge was done; the entries that tell of it are kept as long.
PURGED_HEADS_KEPT_DAYS = MAX_RETENTION_DAYS
LOOKS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class _Attempt:
    """What one attempt at an open seal led to; it is repeated unless it is final."""

    is_final: bool
    row: SealRow | None = None


_AGAIN = _Attempt(is_final=False)


class Sealer:
    """Makes close seals of days that are over, and open seals of the present heads."""

    def __init__(
        self,
        *,
        store: Store,
        keystore: KeyStore,
        signer: SignerClient,
        clock: Clock,
        tell: Callable[[Sequence[HeldChain]], Awaitable[None]] | None = None,
        follow: Callable[[int, Sequence[SealHeadRow]], None] | None = None,
    ) -> None:
        """Have seals made by this signer; the key store remembers the last one.

        Chains that no longer follow from what was signed are told to `tell`, and the heads that moved in a new seal,
        with its number, to `follow`.
        """
        self._store = store
        self._keystore = keystore
        self._signer = signer
        self._evidence = StoredEvidence(store, keystore)
        self._clock = clock
        self._tell = tell
        self._follow = follow
        self._guard = ClockGuard(clock)
        self._lock = asyncio.Lock()
        self._last_number = 0
        self._declared: int | None = None
        self._untold: list[HeldChain] = []
        self._failure: str | None = None

    async def close_due_days(self) -> list[SealRow]:
        """Make the close seal of every day that is over, oldest first."""
        async with self._lock:
            async with self._signer.session(self._evidence) as session:
                made = await self._close_due_days(session)
            await self._tell_refusals()
        return made

    async def seal_open(self, *, even_if_still: bool) -> SealRow | None:
        """Make an open seal over the present heads; None if none has changed and not `even_if_still`.

        Raises BusyError if other processes repeatedly took the number first, OperatorError if what the database has is
        not what was signed, or if a clock is wrong, SignerError if the signer cannot be asked.
        """
        async with self._lock:
            for _ in range(RACE_ATTEMPTS):
                await self._wait_for_grace()
                async with self._signer.session(self._evidence) as session:
                    attempt = await self._try_open(session, even_if_still=even_if_still)
                if attempt.is_final:
                    await self._tell_refusals()
                    return attempt.row
                await self._clock.sleep(RACE_PAUSE_SECONDS)
            raise BusyError(
                "other processes are sealing, or the database's clock is on another day", retry_after_seconds=1
            )

    async def _try_open(self, session: SealingSession, *, even_if_still: bool) -> _Attempt:
        await self._close_due_days(session)
        before = self._clock.now()
        state = await self._read_state(session, heads=True)
        now = self._guard.check()
        tomorrow = midnight(day_of(now) + timedelta(days=1))
        is_early = any(
            head.recorded_at is not None and tomorrow <= head.recorded_at <= now + CLOCK_DEPARTURE_LIMIT
            for head in state.heads
        )
        if day_of(state.now) != day_of(now) or is_early:
            return _AGAIN  # midnight, or a clock that is a day off
        _check_clocks(before, state.now, now)
        return await self._make(session, state, None, state.heads, even_if_still=even_if_still)

    async def declare_loss(self) -> int:
        """Make a seal that declares everything after the last seal of this restored database lost; return that number.

        Verifiers then report a declared loss, not a fork. It must be the first seal after the restore.
        Raises StoreError if there is no seal to recover from.
        """
        async with self._lock, self._signer.session(self._evidence, is_lost=True) as session:
            state = await self._store.seal_state(heads=False)
            self._refuse_older(state)
            if state.number == 0:
                raise StoreError("there is no seal yet, so nothing after a seal can be lost")
            await session.learn(_stored(state), declares_loss=True)
            self._declared = state.number
        await self.seal_open(even_if_still=True)
        return state.number

    async def learn(self) -> int:
        """Let the signer go on from the last stored seal, whose signature and heads it verifies; return its number.

        Raises OperatorError if they do not verify, or if the signer's memory is sound and knows a later one.
        """
        async with self._lock, self._signer.session(self._evidence, is_lost=True) as session:
            state = await self._store.seal_state(heads=False)
            await session.learn(_stored(state), declares_loss=False)
        return state.number

    async def leave_future_seal(self) -> datetime | None:
        """Accept, for good, that the last seal is of a time that has not come; return that time, None if it is not so.

        Until then seals go on with that time.
        """
        async with self._lock, self._signer.session(self._evidence) as session:
            await self._read_state(session)
            return await session.leave()

    async def accepts(self, sealed_at: datetime) -> bool:
        """Return whether the operator has accepted seals of the future up to this time."""
        left_until = (await self._signer.look(0, None)).left_until
        return left_until is not None and sealed_at <= left_until

    async def problems(self) -> list[str]:
        """Return what keeps chains from being sealed as they are, and what must be done. Raises JournalError."""
        for _ in range(LOOKS):
            row = await self._store.last_seal()
            number = row.number if row else 0
            view = await self._signer.look(number, row.text if row else None)
            if view.number <= number:
                break  # else seals were made between the two
        problems = [view.difference] if view.difference else []
        if held := view.held:
            more = f" (and {len(held) - 1} more)" if len(held) > 1 else ""
            problems.append(
                f"what the database says of {held[0]}{more} does not follow from what was signed, and is not sealed: "
                "run openepm-journal verify-store, keep a copy of this database as evidence, then restore the last "
                "backup before it"
            )
        if self._failure is not None and not problems:
            problems.append(self._failure)
        return problems

    async def _read_state(self, session: SealingSession, *, heads: bool = False) -> SealState:
        """Read the state of the seals. Raises OperatorError if it is not what this process and the signer know."""
        state = await self._store.seal_state(heads=heads)
        self._refuse_older(state)
        await session.compare(_stored(state))
        self._last_number = state.number
        return state

    def _refuse_older(self, state: SealState) -> None:
        """Raise OperatorError if the database is behind a seal that this process has seen."""
        if state.number < self._last_number:
            raise OperatorError(describe_older(self._last_number, state.number))

    async def run(self, interval_seconds: int) -> None:
        """Close days that are over, seal changed heads, thin old seals; for ever."""
        thinned_on: date | None = None
        while True:
            try:
                await self.seal_open(even_if_still=False)
                self._failure = None
                today = day_of(self._clock.now())
                if thinned_on != today:
                    await self._store.thin_seals(self._clock.now() - OPEN_SEALS_KEPT)
                    await self._store.prune_seal_heads(days=PURGED_HEADS_KEPT_DAYS)
                    thinned_on = today
            except (JournalError, OSError) as error:
                log.error("no seal was made", kind=type(error).__name__, reason=str(error))
                self._failure = None if isinstance(error, UnavailableError) else f"no seal was made: {error}"
            await self._clock.sleep(interval_seconds)

    async def _close_due_days(self, session: SealingSession) -> list[SealRow]:
        made: list[SealRow] = []
        while True:
            before = self._clock.now()
            state = await self._read_state(session)
            now = self._guard.check()
            # Both clocks must agree that the day is over.
            day = _next_close(state, min(now, state.now))
            # They must also agree on today: the heads state the rule by the database's day, the text by this clock's.
            if day is None or day_of(now) != day_of(state.now):
                return made
            _check_clocks(before, state.now, now)
            try:
                heads = await self._store.close_day(day)
            except StoreError as error:
                await self._raise_unless_overtaken(session, error, state)
                await self._clock.sleep(RACE_PAUSE_SECONDS)
                continue
            attempt = await self._make(session, state, day, heads)
            if attempt.row is not None:
                made.append(attempt.row)

    async def _raise_unless_overtaken(self, session: SealingSession, error: StoreError, before: SealState) -> None:
        """Raise `error`, unless another process has sealed, or the database has passed midnight before this clock."""
        if isinstance(error, UnavailableError):
            raise error
        state = await self._read_state(session)
        sealed = (state.number, state.close_day) != (before.number, before.close_day)
        closing = state.closed_day > before.closed_day
        # The day may have begun, or its first seconds ended, during the attempt.
        passing = before.now - midnight(day_of(state.now)) <= MIDNIGHT_MARGIN
        if not sealed and not closing and not passing:
            raise error

    async def _tell_refusals(self) -> None:
        """Tell, once, which chains do not follow any more."""
        for refusal in self._untold:
            log.error("a chain is not sealed as the database has it", reason=refusal.reason)
        untold, self._untold = self._untold, []
        if not untold or self._tell is None:
            return
        try:
            await self._tell(untold)
        except (JournalError, OSError) as error:
            self._untold = untold
            log.error("an alarm could not be recorded", kind=type(error).__name__, reason=str(error))

    async def _make(
        self,
        session: SealingSession,
        state: SealState,
        day: date | None,
        heads: Sequence[HeadRow],
        *,
        even_if_still: bool = True,
    ) -> _Attempt:
        """Have the next seal made and store it."""
        found = await session.propose(day, heads, even_if_still=even_if_still)
        self._untold += found.told
        if isinstance(found, Still):
            return _Attempt(is_final=not found.again)
        seal = parse_seal(found.text)
        row = SealRow(
            number=seal.number, day=seal.day, sealed_at=seal.sealed_at, text=found.text, signature=found.signature
        )
        try:
            if not await self._store.put_seal(row.number, row.day, row.sealed_at, row.text, row.signature, found.moved):
                return _AGAIN
        except StoreError as error:
            await self._raise_unless_overtaken(session, error, state)
            return _AGAIN
        if self._follow is not None:
            self._follow(row.number, found.moved)
        await session.done()
        self._last_number = seal.number
        declared, self._declared = self._declared, None
        await self._remember(SealMoment(seal.sealed_at, seal.number), goes_back=declared == state.number)
        return _Attempt(is_final=True, row=row)

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


def _next_close(state: SealState, now: datetime) -> date | None:
    """Return the oldest day that is over and has no close seal, or None."""
    day = state.close_day + timedelta(days=1) if state.close_day is not None else state.first_day
    over_at = midnight(day + timedelta(days=1)) + CLOSE_GRACE
    return day if now >= over_at else None


def _stored(state: SealState) -> StoredSeals:
    return StoredSeals(number=state.number, text=state.text, close_text=state.close_text, closed_day=state.closed_day)


def _check_clocks(before: datetime, database: datetime, after: datetime) -> None:
    """Raise OperatorError if the database's clock, read between two times of ours, is further off than appends."""
    if before - CLOCK_TOLERANCE <= database <= after + CLOCK_TOLERANCE:
        return
    raise OperatorError(
        f"this machine's clock says {format_seconds(after.replace(microsecond=0))}, the database's "
        f"{format_seconds(database.replace(microsecond=0))}: nothing is sealed until they agree to "
        f"{CLOCK_TOLERANCE.seconds} seconds. Correct the wrong one (timedatectl, on its machine)"
    )
