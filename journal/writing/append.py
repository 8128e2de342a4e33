"""The append of drafts: one round trip each, repeated until its result is certain."""

from __future__ import annotations

import asyncio
from itertools import islice
from operator import attrgetter
from typing import TYPE_CHECKING

import structlog

from journal.core import canonical
from journal.core.chain import genesis
from journal.core.entry import parse_record
from journal.core.errors import (
    BusyError,
    JournalError,
    KnownEventError,
    LockedError,
    NoRoomError,
    PurgedDayError,
    StoreError,
    UnavailableError,
)
from journal.core.faults import ID_REUSED, TIME_PURGED, Fault
from journal.core.receipt import Receipt
from journal.core.times import day_of, format_time
from journal.writing import answers
from journal.writing.draft import Draft, HeadState
from journal.writing.instruments import Instruments
from journal.writing.memory import Memory

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
    from datetime import date, datetime, timedelta

    from journal.clock import Clock
    from journal.core.entry import Compartment
    from journal.database.heads import HeadRow
    from journal.database.ingest import AppendBatch, AppendResult, KnownEntry
    from journal.database.store import Store
    from journal.keys.ring import Keyring
    from journal.writing.answers import Notary
    from journal.writing.queue import Submission


log = structlog.get_logger()

CONFLICTS_BEFORE_LOCK = 3
HEADS_AT_ONCE = 5_000
DEADLINE_SECONDS = 20.0
PAUSE_SECONDS = 0.05
# While the database refuses to write, one submission in so much time finds out whether it does again.
PROBE_SECONDS = 1.0
# Deadlocks and a restart of the database take less; without new events, nobody tries for longer.
FAILING_SECONDS = 5.0
FAILED_LONG_AGO_SECONDS = 60.0
BUSY_RETRY_SECONDS = 5
# The difference the append accepts between a chain's `recorded_at` and the database's clock.
CLOCK_TOLERANCE_SECONDS = 2.0
STOPPED = "the database does not hold what was acknowledged: nothing is accepted here until the operator has looked"
NO_ROOM = "the database has no room to write: nothing was recorded; send the same events again later"
_OTHER_CONTENT = "already recorded with other content: a recorded event cannot change, use another id"


class Appender:
    """Keeps the heads in memory and appends drafts to them.

    A head here may be out of date: the database compares it, and its answer replaces it.
    """

    def __init__(
        self,
        *,
        store: Store,
        keyring: Keyring,
        clock: Clock,
        instruments: Instruments | None = None,
        notary: Notary | None = None,
    ) -> None:
        """Start with no head known; without a notary, receipts are not signed."""
        self._notary = notary
        self._store = store
        self._keyring = keyring
        self._clock = clock
        self._instruments = instruments or Instruments()
        self._heads: dict[Compartment, HeadState] = {}
        self._expected: set[Compartment] = set()
        self.memory = Memory(store, clock, self._instruments)
        # Since when appends have failed, when the last one did, and why.
        self._failing: tuple[float, float, str] | None = None
        # Until when nothing is appended, as the database answers that it has no room to write.
        self._refused_until = float("-inf")

    def check_writing(self) -> None:
        """Raise BusyError while the database has no room to write; one caller a second asks it again."""
        now = self._clock.monotonic()
        if now < self._refused_until:
            raise come_back(NO_ROOM)
        if self._refused_until > float("-inf"):
            self._refused_until = now + PROBE_SECONDS

    def problem(self) -> str | None:
        """Return why appends have failed for a while, or for want of room, else None.

        With a full disk a database still answers queries, and may find room for less than what it refused.
        """
        if self._failing is None:
            return None
        since, last, reason = self._failing
        if self._clock.monotonic() - last > FAILED_LONG_AGO_SECONDS:
            return None
        if last - since >= FAILING_SECONDS:
            return f"no entry could be written for {last - since:.0f} s: {reason}"
        return f"no entry could be written: {reason}" if self._refused_until > float("-inf") else None

    def expect(self, compartment: Compartment) -> None:
        """Announce a submission to a compartment: the heads of all that are expected are read in one call."""
        if compartment not in self._heads:
            self._expected.add(compartment)

    async def add(self, draft: Draft, submission: Submission) -> bool:
        """Add the submission to the draft; False if one of its events is there already with other content.

        A submission that can never be appended is failed at once, and counts as added.
        """
        compartment = submission.compartment
        if compartment not in self._heads:
            wanted = [compartment, *islice(self._expected - {compartment}, HEADS_AT_ONCE - 1)]
            self._expected.difference_update(wanted)
            acknowledged = self.memory.acknowledged(wanted)
            try:
                rows = await self._store.read_heads([c.tenant for c in wanted], [c.category for c in wanted])
            except StoreError:
                # Assume it is empty: the append's answer will correct that.
                start = genesis(compartment.origin)
                self._heads[compartment] = HeadState(size=0, chain_hash=start.chain_hash, recorded_at=None)
            else:
                # A head learnt meanwhile may be ahead of what was read.
                self._learn([c for c in wanted if c not in self._heads], rows, acknowledged)
        steps = self._extending(draft, submission)
        for _ in steps or ():
            await asyncio.sleep(0)  # other requests are served meanwhile
        return steps is not None

    async def recall(self, submission: Submission, ordinals: Sequence[int], lateness: timedelta) -> None:
        """Give these events of a submission the receipts of when they were recorded, at most `lateness` after `time`.

        Raises KnownEventError if one was recorded with other content; StoreError.
        """
        compartment = submission.compartment
        found = await self._store.find_recorded(
            compartment.tenant,
            compartment.category,
            [submission.keys[ordinal] for ordinal in ordinals],
            [submission.since[ordinal] for ordinal in ordinals],
            [day_of(submission.events[ordinal].time + lateness) for ordinal in ordinals],
        )
        differing: list[int] = []
        for known in found:
            ordinal = ordinals[known.position - 1]
            try:
                receipt, content = _open_known(compartment, known, self._keyring)
            except JournalError as error:
                log.error("a recorded entry does not open", kind=type(error).__name__, reason=str(error))
                raise StoreError("an earlier copy of an event cannot be read: run verify-store") from error
            if submission.events[ordinal].canonical == content:
                submission.known[ordinal] = receipt
            else:
                differing.append(ordinal)
        if differing:
            raise _other_content(submission, differing)

    async def commit(
        self, draft: Draft, *, deadline: float | None = None, appended: Callable[[], None] = lambda: None
    ) -> None:
        """Append the draft, amended after each refusal; every submission is settled or failed.

        `deadline` is on the clock's monotonic time; DEADLINE_SECONDS from now unless given. `appended` is called once
        the draft is appended, before it is durable: the next one may follow, but nothing be answered.
        """
        if deadline is None:
            deadline = self._clock.monotonic() + DEADLINE_SECONDS
        conflicts = 0
        while draft.submissions:
            if self._clock.monotonic() > deadline:
                log.error("entries could not be written", reason=self._failing[2] if self._failing else "conflicts")
                self._give_up(draft, "the database took too long; send the same events again")
                return
            if self.memory.stopped(draft.compartments):
                draft = self._rewind(draft)
                continue
            started_at = self._clock.monotonic()
            acknowledged = self.memory.acknowledged(draft.compartments)
            is_written = False
            try:
                if conflicts < CONFLICTS_BEFORE_LOCK:
                    # Once the statement is on its way: the answers are made while the database works.
                    asyncio.get_running_loop().call_soon(draft.prepare, self._notary)
                    result = await self._store.append(draft.finish())
                else:
                    draft, result = await self._append_locked(draft)
                if result.flushed is not None:
                    is_written = True
                    appended()
                    await result.flushed
            except (UnavailableError, LockedError) as error:
                draft = await self._after_outage(draft, error, is_written=is_written)
                continue
            except StoreError as error:
                self._note_failure(error, "refused")
                await self._isolate(draft, deadline, error)
                return
            self._instruments.appends.add(1, result.answer)
            if result.answer == "appended":
                self._note_success(draft, started_at)
                await self._acknowledge(draft)
                return
            conflicts += result.answer == "conflict"
            await self._amend(draft, result, acknowledged)
            draft = self._redraft(draft.submissions)

    async def _after_outage(self, draft: Draft, error: StoreError, *, is_written: bool) -> Draft:
        """Return what is to be appended now; nothing where nothing was written and there is no room to write."""
        self._note_failure(error, "unavailable")
        if isinstance(error, NoRoomError) and not is_written:
            self._refused_until = self._clock.monotonic() + PROBE_SECONDS
            self._give_up(draft, NO_ROOM)
            return Draft(self._keyring)
        # Committed or not: the same events, appended again, are found or written.
        return await self._redraft_from_database(draft)

    async def _acknowledge(self, draft: Draft) -> None:
        """Settle the draft, but for chains of which the database does not show what it claims to have written."""
        heads = {compartment: draft.head(compartment) for compartment in draft.compartments}
        bases = {compartment: draft.base(compartment) for compartment in heads}
        for compartment in await self.memory.accept(heads, bases):
            self._heads.pop(compartment, None)
            for submission in draft.submissions:
                if submission.compartment == compartment:
                    submission.fail(come_back(STOPPED))
        draft.settle(self._notary)

    def _rewind(self, draft: Draft) -> Draft:
        """Draft the submissions again from the heads that this draft began with."""
        for compartment in draft.compartments:
            self._heads[compartment] = draft.base(compartment)
        return self._redraft(draft.submissions)

    def _note_failure(self, error: StoreError, result: str) -> None:
        now = self._clock.monotonic()
        self._failing = (self._failing[0] if self._failing else now, now, str(error))
        self._instruments.appends.add(1, result)

    def _note_success(self, draft: Draft, started_at: float) -> None:
        self._failing = None
        self._refused_until = float("-inf")
        self._instruments.entries_appended.add(draft.events)
        self._instruments.append_seconds.observe(self._clock.monotonic() - started_at)

    async def _append_locked(self, draft: Draft) -> tuple[Draft, AppendResult]:
        """Append under the row locks of the draft's chains, so that a contended chain makes progress."""
        drafts = [draft]
        compartments = draft.compartments
        acknowledged = self.memory.acknowledged(compartments)

        def build(rows: Sequence[HeadRow]) -> AppendBatch:
            self._learn(compartments, rows, acknowledged)
            drafts.append(self._redraft(draft.submissions))
            return drafts[-1].finish()

        result = await self._store.append_locked(
            [compartment.tenant for compartment in compartments],
            [compartment.category for compartment in compartments],
            build,
        )
        return drafts[-1], result

    async def _isolate(self, draft: Draft, deadline: float, error: StoreError) -> None:
        """Find the chain that the database refuses, by halving the draft, so that the others are recorded.

        It refuses a category (no partition) or a chain, never a single event.
        """
        compartments = sorted(draft.compartments, key=attrgetter("category", "tenant"))
        if len(compartments) == 1:
            log.error("the database refuses a chain", category=compartments[0].category, reason=str(error))
            self._heads.pop(compartments[0], None)
            for submission in draft.submissions:
                submission.fail(error)
            return
        for compartment in compartments:
            self._heads[compartment] = draft.base(compartment)
        middle = len(compartments) // 2
        for half in (set(compartments[:middle]), set(compartments[middle:])):
            part = [submission for submission in draft.submissions if submission.compartment in half]
            await self.commit(self._redraft(part), deadline=deadline)

    async def _amend(self, draft: Draft, result: AppendResult, acknowledged: Mapping[Compartment, HeadState]) -> None:
        """Update heads and submissions after a refusal: nothing of the draft was written."""
        for compartment in draft.compartments:
            self._heads[compartment] = draft.base(compartment)
        compartments = draft.compartments
        match result.answer:
            case "conflict":
                for head in result.moved:
                    compartment = compartments[head.position - 1]
                    self.memory.compare(compartment, head.size, head.chain_hash, acknowledged)
                    self._heads[compartment] = HeadState(
                        size=head.size, chain_hash=head.chain_hash, recorded_at=head.recorded_at
                    )
            case "known":
                recognise(draft, result.known, self._keyring)
                # They are in the chain that the draft began with, which is durable: what they are told rests on it.
                found = {draft.owners(known.position - 1)[0][0].compartment for known in result.known}
                bases = {compartment: draft.base(compartment) for compartment in found}
                await self.memory.accept(bases, bases)
            case "clock":
                await self._check_clock(draft, result.database_now)
            case "absent":
                self._drop(draft, {compartments[position - 1] for position in result.chains})
            case "fenced":
                await self._refuse_fenced(draft, {compartments[position - 1] for position in result.chains})
            case "closed":
                # Midnight passed between draft and append, or this clock is behind: try again with a new time.
                await self._clock.sleep(PAUSE_SECONDS)

    async def _check_clock(self, draft: Draft, database_now: datetime | None) -> None:
        """Give up if the clocks differ, refuse chains ahead of both; a draft that only waited is made again."""
        now = self._clock.now()
        database_now = database_now or now
        departure = abs((database_now - now).total_seconds())
        if departure > CLOCK_TOLERANCE_SECONDS:
            log.error("the service's clock and the database's differ", departure_seconds=round(departure, 1))
            self._give_up(draft, "the clocks of the service and of the database differ")
            return
        refuse_ahead(draft, database_now)
        await self._clock.sleep(PAUSE_SECONDS)

    async def _refuse_fenced(self, draft: Draft, fenced: set[Compartment]) -> None:
        try:
            rows = await self._store.read_categories()
        except StoreError:
            return  # the next append gives the same answer
        refuse_fenced(draft, fenced, {row.code: row.fence for row in rows if row.fence is not None})

    def _drop(self, draft: Draft, absent: set[Compartment]) -> None:
        for compartment in absent:
            self._heads.pop(compartment, None)
        refuse_absent(draft, absent)

    async def _redraft_from_database(self, draft: Draft) -> Draft:
        """Read the heads and draft again; keep the draft while the database does not answer and a caller waits."""
        await self._clock.sleep(PAUSE_SECONDS)
        compartments = draft.compartments
        acknowledged = self.memory.acknowledged(compartments)
        try:
            rows = await self._store.read_heads([c.tenant for c in compartments], [c.category for c in compartments])
        except StoreError:
            waits = any(not submission.future.done() for submission in draft.submissions)
            return draft if waits else Draft(self._keyring)
        self._learn(compartments, rows, acknowledged)
        return self._redraft(draft.submissions)

    def _redraft(self, submissions: Iterable[Submission]) -> Draft:
        draft = Draft(self._keyring)
        for submission in submissions:
            if not submission.future.done():
                for _ in self._extending(draft, submission) or ():
                    pass
        return draft

    def _extending(self, draft: Draft, submission: Submission) -> Iterable[None] | None:
        """Return the steps that add the submission, none if it is settled or failed at once; None as `Draft.adding`."""
        compartment = submission.compartment
        if self.memory.stops(compartment):
            submission.fail(come_back(STOPPED))
            return ()
        if not submission.pending():
            answers.settle([(submission, {})], self._notary)
            return ()
        head = self._heads.get(compartment)
        if head is None:
            submission.fail(StoreError("the compartment does not exist"))
            return ()
        try:
            steps = draft.adding(submission, head, self._clock.now())
        except JournalError as error:
            log.error("events could not be drafted", kind=type(error).__name__, reason=str(error))
            submission.fail(come_back("the service has no key for today"))
            return ()
        if steps:
            return self._followed(draft, compartment, steps)
        if steps is not None:
            self._heads[compartment] = draft.head(compartment)
        return steps

    def _followed(self, draft: Draft, compartment: Compartment, steps: Iterable[None]) -> Iterator[None]:
        """Take the steps, then note the head they lead to."""
        yield from steps
        self._heads[compartment] = draft.head(compartment)

    def _learn(
        self,
        compartments: Iterable[Compartment],
        rows: Iterable[HeadRow],
        acknowledged: Mapping[Compartment, HeadState],
    ) -> None:
        found = {(row.tenant, row.category): row for row in rows}
        for compartment in compartments:
            row = found.get((compartment.tenant, compartment.category))
            if row is None:
                self._heads.pop(compartment, None)
            else:
                self.memory.compare(compartment, row.size, row.chain_hash, acknowledged)
                self._heads[compartment] = HeadState(
                    size=row.size, chain_hash=row.chain_hash, recorded_at=row.recorded_at
                )

    def _give_up(self, draft: Draft, reason: str) -> None:
        for compartment in draft.compartments:
            self._heads.pop(compartment, None)
        for submission in draft.submissions:
            submission.fail(come_back(reason))


def come_back(reason: str) -> BusyError:
    """Return the error for a caller that may succeed later with the same events."""
    return BusyError(reason, retry_after_seconds=BUSY_RETRY_SECONDS)


def recognise(draft: Draft, entries: Iterable[KnownEntry], keyring: Keyring) -> None:
    """Give known events their first receipt, and refuse submissions that repeat an id with other content.

    A first copy that no longer opens fails only the submissions that repeat it.
    """
    faults: dict[Submission, list[int]] = {}
    for known in entries:
        owners = draft.owners(known.position - 1)
        try:
            receipt, content = _open_known(owners[0][0].compartment, known, keyring)
        except JournalError as error:
            log.error("a recorded entry does not open", kind=type(error).__name__, reason=str(error))
            for submission, _ in owners:
                submission.fail(StoreError("an earlier copy of an event cannot be read: run verify-store"))
            continue
        for submission, ordinal in owners:
            if submission.events[ordinal].canonical == content:
                submission.known[ordinal] = receipt
            else:
                faults.setdefault(submission, []).append(ordinal)
    for submission, ordinals in faults.items():
        submission.fail(_other_content(submission, ordinals))


def _other_content(submission: Submission, ordinals: Iterable[int]) -> KnownEventError:
    positions = submission.first_positions()
    found = sorted(positions[ordinal] for ordinal in ordinals)
    return KnownEventError([Fault(position, "/id", ID_REUSED, _OTHER_CONTENT) for position in found])


def refuse_ahead(draft: Draft, database_now: datetime) -> None:
    """Refuse chains whose last entry is ahead of the clock, for now: the clock was set back and must catch up."""
    for compartment in draft.compartments:
        recorded_at = draft.base(compartment).recorded_at
        ahead_seconds = (recorded_at - database_now).total_seconds() if recorded_at else 0.0
        if ahead_seconds <= CLOCK_TOLERANCE_SECONDS:
            continue
        log.error("a chain is ahead of the clock", category=compartment.category, ahead_seconds=round(ahead_seconds))
        for submission in draft.submissions:
            if submission.compartment == compartment:
                submission.fail(come_back("the last entry is ahead of the clock, which was set back"))


def refuse_fenced(draft: Draft, fenced: Container[Compartment], fences: Mapping[str, date]) -> None:
    """Refuse events whose first copy would be in a day that was destroyed since they were submitted.

    `fences` are the categories' as the database has them now.
    """
    for submission in draft.submissions:
        fence = fences.get(submission.compartment.category)
        if submission.compartment not in fenced or fence is None:
            continue
        positions = submission.first_positions()
        reason = f"too old: {fence} is purged"
        if gone := sorted(positions[ordinal] for ordinal, since in enumerate(submission.since) if since <= fence):
            submission.fail(PurgedDayError([Fault(position, "/time", TIME_PURGED, reason) for position in gone]))


def refuse_absent(draft: Draft, absent: Container[Compartment]) -> None:
    """Refuse submissions to a chain that does not exist, or takes no more entries."""
    for submission in draft.submissions:
        if submission.compartment in absent:
            submission.fail(StoreError("the compartment does not exist, or its commune has left"))


def _open_known(compartment: Compartment, known: KnownEntry, keyring: Keyring) -> tuple[Receipt, bytes]:
    """Return the receipt and the event of an entry. Raises VerificationError, KeyStoreError."""
    _, record = keyring.box(compartment, known.day).open(known.index, known.ciphertext, known.leaf_hash)
    entry = parse_record(record)
    recorded_at = format_time(entry.recorded_at)
    event = entry.event
    receipt = Receipt(
        event["source"],
        event["id"],
        event["time"],
        compartment.origin,
        known.index,
        recorded_at,
        known.leaf_hash,
        known.chain_hash,
    )
    return receipt, canonical.encode(event)
