"""The sealer: signed seals over the heads of all chains, numbered without gaps.

Any process may seal: the database accepts each number once, and the signer's memory is held by one process at a time.
Nothing that the database says is signed unless it follows from what was signed before (`judge`). The close seal of a
day precedes any seal that could show a later day, so that sizes never decrease from one seal to the next.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING

import structlog

from journal.clock import CLOCK_DEPARTURE_LIMIT, Clock, ClockGuard
from journal.core.errors import BusyError, JournalError, OperatorError, StoreError, UnavailableError, VerificationError
from journal.core.seal import NOTHING_HASH, Seal, parse_seal
from journal.core.times import day_of, format_day, format_seconds, midnight
from journal.core.tree import Trie
from journal.database.seal import SealHeadRow, SealRow, SealState
from journal.keys.last_seal import SealMoment, remember
from journal.pki import cms
from journal.pki.certificates import pem_to_der
from journal.seals.judge import Judge, Judgement, Moment, Refusal, sealed_head
from journal.seals.memory import LEARN, Memory

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from datetime import date
    from pathlib import Path

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
# The appender's: an entry may be that much ahead of the database's clock.
CLOCK_TOLERANCE = timedelta(seconds=2)
RACE_ATTEMPTS = 20
RACE_PAUSE_SECONDS = 0.2
OPEN_SEALS_KEPT = timedelta(days=7)
LEAVE = "openepm-journal signer --leave-future-seal"
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
        identity: SigningIdentity,
        memory: Memory,
        trust_path: Path,
        service_name: str,
        clock: Clock,
        tell: Callable[[Sequence[Refusal]], Awaitable[None]] | None = None,
    ) -> None:
        """Seal under this identity and by this memory; the key store remembers the last seal.

        `trust_path` holds the trust anchors for stored seals (PEM); chains that no longer follow are told to `tell`.
        """
        self._store = store
        self._keystore = keystore
        self._identity = identity
        self._memory = memory
        self._trust_path = trust_path
        self._service_name = service_name
        self._clock = clock
        self._tell = tell
        self._guard = ClockGuard(clock)
        self._judge = Judge(store=store, keystore=keystore, memory=memory, service_name=service_name)
        self._lock = asyncio.Lock()
        self._declares_loss = False
        self._last_number = 0
        self._untold: list[Refusal] = []
        self._failure: str | None = None

    async def close_due_days(self) -> list[SealRow]:
        """Make the close seal of every day that is over, oldest first."""
        async with self._lock:
            async with self._memory.held():
                made = await self._close_due_days()
            await self._tell_refusals()
        return made

    async def seal_open(self, *, even_if_still: bool) -> SealRow | None:
        """Make an open seal over the present heads; None if none has changed and not `even_if_still`.

        Raises BusyError if other processes repeatedly took the number first, OperatorError if what the database has is
        not what was signed, or if a clock is wrong.
        """
        async with self._lock:
            for _ in range(RACE_ATTEMPTS):
                await self._wait_for_grace()
                async with self._memory.held():
                    attempt = await self._try_open(even_if_still=even_if_still)
                if attempt.is_final:
                    await self._tell_refusals()
                    return attempt.row
                await self._clock.sleep(RACE_PAUSE_SECONDS)
            raise BusyError(
                "other processes are sealing, or the database's clock is on another day", retry_after_seconds=1
            )

    async def _try_open(self, *, even_if_still: bool) -> _Attempt:
        await self._close_due_days()
        before = self._clock.now()
        state = await self._read_state()
        now = self._guard.check()
        tomorrow = midnight(day_of(now) + timedelta(days=1))
        is_early = any(
            head.recorded_at is not None and tomorrow <= head.recorded_at <= now + CLOCK_DEPARTURE_LIMIT
            for head in state.heads
        )
        if day_of(state.now) != day_of(now) or is_early:
            return _AGAIN  # midnight, or a clock that is a day off
        _check_clocks(before, state.now, now)
        judgement = await self._examine(state, None, state.heads)
        if not even_if_still and not self._moved(judgement.heads):
            return _Attempt(is_final=True)
        try:
            made = await self._make(state, None, judgement.heads)
        except StoreError as error:
            await self._raise_unless_overtaken(error, state)
            return _AGAIN
        return _Attempt(is_final=made is not None, row=made)

    async def declare_loss(self) -> int:
        """Make a seal that declares everything after the last seal of this restored database lost; return that number.

        Verifiers then report a declared loss, not a fork. It must be the first seal after the restore.
        Raises StoreError if there is no seal to recover from.
        """
        async with self._lock, self._memory.held(is_lost=True):
            state = await self._store.seal_state()
            self._refuse_older(state, self._last_number)
            if state.number == 0:
                raise StoreError("there is no seal yet, so nothing after a seal can be lost")
            await self._learn(state)
            self._declares_loss = True
        await self.seal_open(even_if_still=True)
        return state.number

    async def learn(self) -> int:
        """Let the memory begin anew at the last stored seal, whose signature and heads are verified; return its number.

        Raises OperatorError if they do not verify.
        """
        async with self._lock, self._memory.held(is_lost=True):
            state = await self._store.seal_state()
            await self._learn(state)
        return state.number

    async def leave_future_seal(self) -> datetime | None:
        """Accept, for good, that the last seal is of a time that has not come; return that time, None if it is not so.

        Until then seals go on with that time.
        """
        async with self._lock, self._memory.held():
            state = await self._read_state()
            if state.text is None:
                return None
            sealed_at = parse_seal(state.text).sealed_at
            if sealed_at <= self._guard.check() + CLOCK_DEPARTURE_LIMIT:
                return None
            self._memory.leave(sealed_at)
            return sealed_at

    async def accepts(self, sealed_at: datetime) -> bool:
        """Return whether the operator has accepted seals of the future up to this time."""
        await asyncio.to_thread(self._memory.look)
        return self._memory.left_until is not None and sealed_at <= self._memory.left_until

    async def problems(self) -> list[str]:
        """Return what keeps chains from being sealed as they are, and what must be done. Raises StoreError, OSError."""
        try:
            for _ in range(LOOKS):
                row = await self._store.last_seal()
                await asyncio.to_thread(self._memory.look)
                if row is None or self._memory.number <= row.number:
                    break  # else seals were made between the two
            found = self._difference(row.number if row else 0, row.text if row else None)
        except OperatorError as error:
            found = str(error)
        problems = [found] if found else []
        if held := list(self._memory.held_back.values()):
            more = f" (and {len(held) - 1} more)" if len(held) > 1 else ""
            problems.append(
                f"what the database says of {held[0]}{more} does not follow from what was signed, and is not sealed: "
                "run openepm-journal verify-store, keep a copy of this database as evidence, then restore the last "
                "backup before it"
            )
        if self._failure is not None and not problems:
            problems.append(self._failure)
        return problems

    async def _read_state(self) -> SealState:
        """Read the state of the seals. Raises OperatorError if it is not what this process and the memory know."""
        state = await self._store.seal_state()
        self._refuse_older(state, self._last_number)
        if not self._memory.exists and state.number == 0:
            self._memory.start(0, NOTHING_HASH, ())
        if self._memory.is_foreign:
            await self._adopt(state)
        pending = self._memory.pending
        if pending is not None and state.text is not None and pending.digest == sha256(state.text).digest():
            # The process that made it was ended before it could say so.
            self._memory.done(pending.number, pending.digest)
        if problem := self._difference(state.number, state.text):
            raise OperatorError(problem)
        if state.text is not None:
            _check_close(state)
        self._last_number = state.number
        return state

    def _refuse_older(self, state: SealState, number: int) -> None:
        """Raise OperatorError if the database is behind a seal: its number is then already in use."""
        if state.number < number:
            raise OperatorError(_describe_older(number, state.number))

    def _difference(self, number: int, text: bytes | None) -> str | None:
        """Return how the last stored seal differs from the last signed one, and what to do; None if it does not."""
        memory = self._memory
        digest = sha256(text).digest() if text is not None else NOTHING_HASH
        if not memory.exists:
            if number == 0:
                return None
            return (
                f"the signer's memory {memory.path} is missing, so nothing is sealed: put it back, or, if it is lost, "
                f"let the signer learn from the stored seals: {LEARN}"
            )
        known = {(memory.number, memory.digest)}
        if memory.pending is not None:
            known.add((memory.pending.number, memory.pending.digest))
        if memory.is_foreign or (number, digest) in known:
            return None
        if number < memory.number:
            return _describe_older(memory.number, number)
        if number == memory.number:
            return (
                f"seal {number} in the database is not the one that was signed: nothing more is sealed. Run "
                "openepm-journal verify-store, keep a copy of this database as evidence, then restore the last backup"
            )
        return (
            f"the database has seal {number}, but the last that the signer's memory {memory.path} knows is "
            f"{memory.number}: nothing more is sealed. Either an older copy of that file was put back, or somebody "
            f"else wrote the seal. Run openepm-journal verify-store; if it finds nothing, let the signer learn: {LEARN}"
        )

    async def _adopt(self, state: SealState) -> None:
        """Take over the memory that was written under an earlier signing key.

        Raises OperatorError unless the stored seals, verified, say the same.
        """
        number, digest, stored = self._memory.number, self._memory.digest, self._memory.stored
        pending = self._memory.pending
        heads = await self._verified_heads(state)
        now = (state.number, sha256(state.text).digest() if state.text is not None else NOTHING_HASH)
        if pending is not None and now == (pending.number, pending.digest):
            number, digest, stored = pending.number, pending.digest, stored | pending.heads
        if (number, digest) != now or stored != {(head.tenant, head.category): head for head in heads}:
            raise OperatorError(
                f"the signer's memory {self._memory.path} was written under another signing key and does not agree "
                f"with the stored seals: put back the file that belongs to this key, or let the signer learn: {LEARN}"
            )
        self._memory.start(*now, heads)
        log.info("the signer's memory was taken over by a new signing key", number=state.number)

    async def _learn(self, state: SealState) -> None:
        heads = await self._verified_heads(state)
        left_until = self._memory.left_until
        digest = sha256(state.text).digest() if state.text is not None else NOTHING_HASH
        self._memory.start(state.number, digest, heads)
        if left_until is not None:
            self._memory.leave(left_until)

    async def _verified_heads(self, state: SealState) -> list[SealHeadRow]:
        """Return the heads of the last stored seal. Raises OperatorError unless they and its signature verify."""
        if state.text is None:
            return []
        row = await self._store.last_seal()
        heads = await self._store.heads_of_seal(state.number)
        try:
            seal = parse_seal(state.text)
            anchors = pem_to_der(self._trust_path.read_bytes())
            signature = row.signature if row is not None and row.text == state.text else b""
            cms.verify(signature, seal.digest, anchors=anchors, service=self._service_name)
            tree = await asyncio.to_thread(Trie, [sealed_head(self._service_name, head) for head in heads])
            if (tree.root, tree.chains) != (seal.root, seal.chains):
                raise VerificationError("the stored heads are not those that it seals")  # noqa: TRY301
        except (VerificationError, ValueError) as error:
            raise OperatorError(
                f"the signer cannot learn from seal {state.number}: {error}. Restore a backup of the database, then "
                "run openepm-journal recover"
            ) from error
        return heads

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
                    await self._store.prune_seal_heads()
                    thinned_on = today
            except (JournalError, OSError) as error:
                log.error("no seal was made", kind=type(error).__name__, reason=str(error))
                self._failure = None if isinstance(error, UnavailableError) else f"no seal was made: {error}"
            await self._clock.sleep(interval_seconds)

    async def _close_due_days(self) -> list[SealRow]:
        made: list[SealRow] = []
        while True:
            before = self._clock.now()
            state = await self._read_state()
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
                await self._raise_unless_overtaken(error, state)
                await self._clock.sleep(RACE_PAUSE_SECONDS)
                continue
            judgement = await self._examine(state, day, heads)
            row = await self._make(state, day, judgement.heads)
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

    async def _examine(self, state: SealState, day: date | None, heads: Sequence[HeadRow]) -> Judgement:
        """Compare the heads with what was signed, and remember which do not follow."""
        previous = parse_seal(state.text) if state.text is not None else None
        if previous is None:
            since = None
        elif previous.day is not None:
            since = previous.day + timedelta(days=1)
        else:
            since = day_of(previous.sealed_at - MIDNIGHT_MARGIN)
        moment = Moment(
            close_digest=_close_digest(previous),
            since=since,
            through=day or day_of(state.now + CLOCK_TOLERANCE),
            now=state.now,
        )
        judgement = await self._judge.judge(heads, moment)
        held = {refusal.chain: str(refusal) for refusal in judgement.refusals}
        if held != self._memory.held_back:
            known = self._memory.held_back.keys()
            self._untold += [refusal for refusal in judgement.refusals if refusal.chain not in known]
            await asyncio.to_thread(self._memory.hold_back, held)
        return judgement

    async def _tell_refusals(self) -> None:
        """Tell, once, which chains do not follow any more."""
        for refusal in self._untold:
            log.error("a chain is not sealed as the database has it", reason=str(refusal))
        untold, self._untold = self._untold, []
        if not untold or self._tell is None:
            return
        try:
            await self._tell(untold)
        except (JournalError, OSError) as error:
            self._untold = untold
            log.error("an alarm could not be recorded", kind=type(error).__name__, reason=str(error))

    def _moved(self, heads: Sequence[SealHeadRow]) -> list[SealHeadRow]:
        """Return the heads that differ from what the last seal states."""
        return [head for head in heads if self._memory.stored.get((head.tenant, head.category)) != head]

    async def _make(self, state: SealState, day: date | None, heads: Sequence[SealHeadRow]) -> SealRow | None:
        """Sign and store the next seal; None if another process took its number first."""
        now = self._guard.check()
        sealed_at = now.replace(microsecond=0)
        previous = parse_seal(state.text) if state.text is not None else None
        recovered_from = state.number if self._declares_loss else None
        if previous is not None:
            self._check_not_future(previous, now)
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
            previous_close=_close_digest(previous),
            recovered_from=recovered_from,
        )
        self._identity.check_valid(sealed_at)
        moved = self._moved(heads)
        await asyncio.to_thread(self._memory.sign, seal.number, seal.digest, moved)
        signature = self._identity.sign_seal(seal)
        stored = await self._store.put_seal(seal.number, day, sealed_at, seal.text, signature, moved)
        if not stored:
            return None
        await asyncio.to_thread(self._memory.done, seal.number, seal.digest)
        self._last_number = seal.number
        declared, self._declares_loss = self._declares_loss, False
        await self._remember(SealMoment(sealed_at, seal.number), goes_back=declared)
        return SealRow(number=seal.number, day=day, sealed_at=sealed_at, text=seal.text, signature=signature)

    def _check_not_future(self, previous: Seal, now: datetime) -> None:
        """Raise OperatorError if the last seal is of a time that has not come, unless the operator accepts that."""
        left = self._memory.left_until
        if previous.sealed_at <= now + CLOCK_DEPARTURE_LIMIT or (left is not None and previous.sealed_at <= left):
            return
        raise OperatorError(
            f"the last seal, {previous.number}, is of {format_seconds(previous.sealed_at)}, and this machine's clock "
            f"says {format_seconds(now.replace(microsecond=0))}: nothing more is sealed. Correct the clock "
            f"(timedatectl), or, if it is right and was ahead when the seal was made: {LEAVE}"
        )

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


def _close_digest(previous: Seal | None) -> bytes:
    """Return the digest of the last close seal up to `previous`."""
    if previous is None:
        return NOTHING_HASH
    return previous.digest if previous.day is not None else previous.previous_close


def _check_close(state: SealState) -> None:
    """Raise OperatorError if the last close seal, or the closed day, is not what the last seal says."""
    assert state.text is not None
    expected = _close_digest(parse_seal(state.text))
    found = sha256(state.close_text).digest() if state.close_text is not None else NOTHING_HASH
    if found != expected:
        raise OperatorError(
            "the last close seal in the database is not the one that was signed: nothing more is sealed. Run "
            "openepm-journal verify-store, keep a copy of this database as evidence, then restore the last backup"
        )
    if state.close_day is not None and state.closed_day < state.close_day:
        raise OperatorError(
            f"the database says that days are closed up to {format_day(state.closed_day)}, but "
            f"{format_day(state.close_day)} is sealed as closed: nothing more is sealed. Run openepm-journal "
            "verify-store, keep a copy of this database as evidence, then restore the last backup"
        )


def _check_clocks(before: datetime, database: datetime, after: datetime) -> None:
    """Raise OperatorError if the database's clock, read between two times of ours, is further off than appends."""
    if before - CLOCK_TOLERANCE <= database <= after + CLOCK_TOLERANCE:
        return
    raise OperatorError(
        f"this machine's clock says {format_seconds(after.replace(microsecond=0))}, the database's "
        f"{format_seconds(database.replace(microsecond=0))}: nothing is sealed until they agree to "
        f"{CLOCK_TOLERANCE.seconds} seconds. Correct the wrong one (timedatectl, on its machine)"
    )


def _describe_older(known: int, number: int) -> str:
    return (
        f"the database has gone back from seal {known} to seal {number}: a backup was restored, or seals were deleted. "
        "Nothing more is sealed: stop serve, then proceed as after a restore "
        f"(openepm-journal recover --declare-loss {number})"
    )
