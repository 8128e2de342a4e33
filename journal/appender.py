"""Drafts become entries: one round trip each, repeated until the outcome is certain."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from journal import canonical
from journal.chain import Receipt
from journal.draft import Draft, HeadState
from journal.entry import Compartment, parse_record
from journal.envelope import open_entry
from journal.errors import BusyError, JournalError, KnownEventError, StoreError, UnavailableError
from journal.times import format_time

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from journal.clock import Clock
    from journal.keyring import Keyring
    from journal.store import AppendBatch, AppendResult, HeadRow, KnownEntry, Store
    from journal.submission import Submission

log = structlog.get_logger()

CONFLICTS_BEFORE_LOCK = 3
DEADLINE_SECONDS = 20.0
PAUSE_SECONDS = 0.05
BUSY_RETRY_SECONDS = 5
CLOCK_TOLERANCE_SECONDS = 2.0


class Appender:
    """Keeps the heads in memory and appends drafts to them.

    A head here is a belief: the database compares it, and what it answers replaces it.
    """

    def __init__(self, *, store: Store, keyring: Keyring, clock: Clock) -> None:
        """Start with no head known."""
        self._store = store
        self._keyring = keyring
        self._clock = clock
        self._heads: dict[Compartment, HeadState] = {}

    async def add(self, draft: Draft, submission: Submission) -> bool:
        """Add the submission to the draft; False if one of its events is there already.

        What can never be appended is failed here and now, and counts as added.
        """
        compartment = submission.compartment
        if compartment not in self._heads:
            try:
                rows = await self._store.read_heads([compartment.tenant], [compartment.category])
            except UnavailableError:
                submission.fail(_busy("the database does not answer"))
                return True
            self._learn([compartment], rows)
        return self._extend(draft, submission)

    async def commit(self, draft: Draft) -> None:
        """Append the draft, amended as often as the database asks; every submission is settled or failed."""
        deadline = self._clock.monotonic() + DEADLINE_SECONDS
        conflicts = 0
        while draft.submissions:
            if self._clock.monotonic() > deadline:
                self._give_up(draft, "the database took too long; send the same events again")
                return
            try:
                if conflicts < CONFLICTS_BEFORE_LOCK:
                    result = await self._store.append(draft.finish())
                else:
                    draft, result = await self._append_locked(draft)
            except UnavailableError:
                # Committed or not: the same events, asked for again, will be found or written.
                draft = await self._redraft_from_database(draft)
                continue
            if result.outcome == "appended":
                draft.settle()
                return
            conflicts += result.outcome == "conflict"
            await self._amend(draft, result)
            draft = self._redraft(draft.submissions)

    async def _append_locked(self, draft: Draft) -> tuple[Draft, AppendResult]:
        """Append under the row locks of the draft's chains, so that a much contended chain progresses."""
        drafts = [draft]
        compartments = draft.compartments

        def build(rows: Sequence[HeadRow]) -> AppendBatch:
            self._learn(compartments, rows)
            drafts.append(self._redraft(draft.submissions))
            return drafts[-1].finish()

        result = await self._store.append_locked(
            [compartment.tenant for compartment in compartments],
            [compartment.category for compartment in compartments],
            build,
        )
        return drafts[-1], result

    async def _amend(self, draft: Draft, result: AppendResult) -> None:
        """Learn from a refusal: nothing of the draft was written."""
        for compartment in draft.compartments:
            self._heads[compartment] = draft.base(compartment)
        compartments = draft.compartments
        match result.outcome:
            case "conflict":
                for head in result.moved:
                    self._heads[compartments[head.position - 1]] = HeadState(
                        size=head.size, chain_hash=head.chain_hash, recorded_at=head.recorded_at
                    )
            case "known":
                self._recognise(draft, result.known)
            case "clock":
                self._check_clock(draft, result.database_now)
            case "absent":
                self._drop(draft, {compartments[position - 1] for position in result.chains})
            case "closed" | "fenced":
                # Midnight passed between the draft and the append, or this clock lags: try with a new time.
                await self._clock.sleep(PAUSE_SECONDS)

    def _recognise(self, draft: Draft, entries: Iterable[KnownEntry]) -> None:
        """Give known events their first receipt, and refuse whole what repeats an id with other content."""
        faults: dict[Submission, list[tuple[int, str, str]]] = {}
        for known in entries:
            submission, ordinal = draft.owner(known.position - 1)
            receipt = self._first_receipt(submission, ordinal, known)
            if receipt is None:
                fault = (submission.position_of(ordinal), "/id", "already recorded with other content")
                faults.setdefault(submission, []).append(fault)
            else:
                submission.known[ordinal] = receipt
        for submission, found in faults.items():
            submission.fail(KnownEventError(sorted(found)))

    def _first_receipt(self, submission: Submission, ordinal: int, known: KnownEntry) -> Receipt | None:
        compartment = submission.compartment
        cipher = self._keyring.cipher(compartment, known.day)
        prefix = compartment.origin.encode() + b"\0"
        _, record = open_entry(cipher, known.sealed, origin_prefix=prefix, index=known.index)
        entry = parse_record(record)
        if canonical.encode(entry.event) != submission.events[ordinal].canonical:
            return None
        recorded_at = format_time(entry.recorded_at)
        return Receipt(compartment.origin, known.index, recorded_at, known.leaf_hash, known.chain_hash)

    def _check_clock(self, draft: Draft, database_now: datetime | None) -> None:
        """Give up where the clocks differ; a draft that merely waited is made again."""
        now = self._clock.now()
        departure = abs((database_now - now).total_seconds()) if database_now else 0.0
        if departure > CLOCK_TOLERANCE_SECONDS:
            log.error("the service's clock and the database's differ", departure_seconds=round(departure, 1))
            self._give_up(draft, "the clocks of the service and of the database differ")

    def _drop(self, draft: Draft, absent: set[Compartment]) -> None:
        for compartment in absent:
            self._heads.pop(compartment, None)
        for submission in draft.submissions:
            if submission.compartment in absent:
                submission.fail(StoreError("the compartment does not exist, or its contract has ended"))

    async def _redraft_from_database(self, draft: Draft) -> Draft:
        """Draft again from heads read anew, once the database answers."""
        await self._clock.sleep(PAUSE_SECONDS)
        compartments = draft.compartments
        try:
            rows = await self._store.read_heads([c.tenant for c in compartments], [c.category for c in compartments])
        except UnavailableError:
            return draft
        self._learn(compartments, rows)
        return self._redraft(draft.submissions)

    def _redraft(self, submissions: Iterable[Submission]) -> Draft:
        draft = Draft(self._keyring)
        for submission in submissions:
            if not submission.future.done():
                self._extend(draft, submission)
        return draft

    def _extend(self, draft: Draft, submission: Submission) -> bool:
        if not submission.pending():
            submission.settle({})
            return True
        head = self._heads.get(submission.compartment)
        if head is None:
            submission.fail(StoreError("the compartment does not exist"))
            return True
        try:
            added = draft.add(submission, head, self._clock.now())
        except JournalError as error:
            log.error("events could not be drafted", kind=type(error).__name__, reason=str(error))
            submission.fail(_busy("the service has no key for today"))
            return True
        if added:
            self._heads[submission.compartment] = draft.head(submission.compartment)
        return added

    def _learn(self, compartments: Iterable[Compartment], rows: Iterable[HeadRow]) -> None:
        found = {(row.tenant, row.category): row for row in rows}
        for compartment in compartments:
            row = found.get((compartment.tenant, compartment.category))
            if row is None:
                self._heads.pop(compartment, None)
            else:
                self._heads[compartment] = HeadState(
                    size=row.size, chain_hash=row.chain_hash, recorded_at=row.recorded_at
                )

    def _give_up(self, draft: Draft, reason: str) -> None:
        for compartment in draft.compartments:
            self._heads.pop(compartment, None)
        for submission in draft.submissions:
            submission.fail(_busy(reason))


def _busy(reason: str) -> BusyError:
    return BusyError(reason, retry_after_seconds=BUSY_RETRY_SECONDS)
