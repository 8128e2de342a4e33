"""The writer: events in, receipts out, once the entries are on the disk.

Group commit without delay: everything that waits when the connection is free goes into one append. While that
commits, the next draft is computed from the heads it will leave, and unless little waits it is appended while the one
before is on its way to the disk and to its callers: nothing is answered that is not on the disk. Communes that submit
much are drafted and committed apart from the others, on a connection of their own. Several lanes and processes may do
this at the same time: the database compares the heads, and refuses a draft made from stale ones as a whole.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from journal.clock import Clock, ClockGuard
from journal.core.entry import JOURNAL_CATEGORY
from journal.core.errors import (
    BusyError,
    InvalidEventError,
    LateEventError,
    OversizeEventError,
    PurgedDayError,
    StoreError,
)
from journal.settings import LATENESS_DAYS
from journal.writing import rules
from journal.writing.append import Appender
from journal.writing.commits import Commits
from journal.writing.deadlines import Deadlines
from journal.writing.draft import STEP_EVENTS, Draft
from journal.writing.instruments import Instruments
from journal.writing.queue import FairQueue, Submission

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from journal.core.entry import Compartment, Event
    from journal.database.ingest import CategoryRow
    from journal.database.store import Store
    from journal.keys.ring import Keyring
    from journal.snapshot import Snapshot
    from journal.writing.answers import Answer, Notary
    from journal.writing.rules import Outlook

DRAFT_EVENTS = 2_000
# A heavy commune's, while another has submitted something in the last seconds: so long may a commit keep it waiting.
SHORT_DRAFT_EVENTS = 250
RECENT_SECONDS = 10.0
STOPPING_RETRY_SECONDS = 5
ANSWER_LIMIT_SECONDS = 30.0


class Writer:
    """Takes submissions from any number of requests and appends them."""

    def __init__(
        self,
        *,
        store: Store,
        keyring: Keyring,
        snapshot: Snapshot,
        clock: Clock,
        queue_events: int = 50_000,
        queue_bytes: int = 64 * 1024 * 1024,
        lateness_days: int = LATENESS_DAYS,
        answer_limit_seconds: float = ANSWER_LIMIT_SECONDS,
        instruments: Instruments | None = None,
        notary: Notary | None = None,
    ) -> None:
        """Prepare; `run` does the work. No caller waits longer than `answer_limit_seconds`.

        An access of more than `lateness_days` ago is not recorded.
        """
        self._lateness = timedelta(days=lateness_days)
        self._keyring = keyring
        self._snapshot = snapshot
        self._guard = ClockGuard(clock)
        self._instruments = instruments or Instruments()
        self._instruments.set_limits(events=queue_events, size_bytes=queue_bytes)
        self.appender = Appender(
            store=store, keyring=keyring, clock=clock, instruments=self._instruments, notary=notary
        )
        self._queue = FairQueue(max_events=queue_events, max_bytes=queue_bytes)
        self._answer_limit_seconds = answer_limit_seconds
        self._open = Deadlines(_expire)
        self._arrived = {heavy: asyncio.Event() for heavy in (False, True)}
        self._light_at = float("-inf")
        self._closing = False

    def takes_turns(self, tenant: str) -> bool:
        """Tell whether a tenant submits so much, while others submit too, that few of its requests go on at a time."""
        return self._queue.is_heavy(tenant) and self._others_submit()

    def burden(self, tenant: str) -> None:
        """Have a tenant count as heavy for a while, as much of it waits to be read."""
        self._queue.burden(tenant)

    def _others_submit(self) -> bool:
        return asyncio.get_running_loop().time() - self._light_at < RECENT_SECONDS

    async def submit(
        self,
        compartment: Compartment,
        submitted_by: str,
        events: Sequence[Event],
        size_bytes: int,
        *,
        answer_seconds: float | None = None,
    ) -> Answer:
        """Record the events, all or none, and return an acknowledgement for each, in order, within `answer_seconds`.

        Returns only once they are durable. Raises InvalidEventError (time too far ahead), OversizeEventError,
        PurgedDayError, LateEventError, KnownEventError, BusyError (full, closing, the database writes nothing, or not
        known whether they are recorded: submit the same events again), OperatorError (clock), StoreError (no such
        compartment).
        """
        submission, now = self._prepare(compartment, submitted_by, events, size_bytes)
        if self._late(submission, now):
            await self._recall_late(submission, now)
        self._enter(submission, answer_seconds)
        # A caller that goes away does not withdraw its events: others may share their draft.
        submission.future.add_done_callback(_retrieve)
        return await asyncio.shield(submission.future)

    def offer(
        self,
        compartment: Compartment,
        submitted_by: str,
        events: Sequence[Event],
        size_bytes: int,
        *,
        answer_seconds: float | None = None,
    ) -> asyncio.Future[Answer] | None:
        """Do as `submit`, without waiting: return what will be the answer, or raise what is wrong already.

        None, and nothing done, for events so late that the database must be asked first. Nobody cancels the future.
        """
        submission, now = self._prepare(compartment, submitted_by, events, size_bytes)
        if self._late(submission, now):
            return None
        self._enter(submission, answer_seconds)
        return submission.future

    def _prepare(
        self, compartment: Compartment, submitted_by: str, events: Sequence[Event], size_bytes: int
    ) -> tuple[Submission, datetime]:
        now = self._guard.check()
        if self._closing:
            raise BusyError("the service is stopping", retry_after_seconds=STOPPING_RETRY_SECONDS)
        self.appender.check_writing()
        category = self._category(compartment)
        if not rules.are_sound(events, now, category):
            _refuse(events, now, category)
        key = self._keyring.event_key_key(compartment)
        return rules.new_submission(compartment, submitted_by, events, key=key, size_bytes=size_bytes), now

    def _enter(self, submission: Submission, answer_seconds: float | None) -> None:
        heavy = self._queue.put(submission)
        self.appender.expect(submission.compartment)
        self._instruments.set_queue(self._queue)
        seconds = self._answer_limit_seconds if answer_seconds is None else answer_seconds
        submission.waits_among = self._open.add(submission, seconds)
        if not heavy:
            self._light_at = asyncio.get_running_loop().time()
        self._arrived[heavy].set()

    async def run(self) -> None:
        """Append until `close` is called and nothing waits; an unexpected error fails every waiting submission."""
        lanes = [asyncio.create_task(self._run_lane(heavy=heavy)) for heavy in (False, True)]
        try:
            done, _ = await asyncio.wait(lanes, return_when=asyncio.FIRST_EXCEPTION)
            for lane in done:
                await lane  # raises its error here, if any
        finally:
            self._closing = True
            for lane in lanes:
                lane.cancel()
            for submission in self._open:
                submission.fail(
                    BusyError(
                        "the service stopped before it could answer",
                        retry_after_seconds=STOPPING_RETRY_SECONDS,
                    )
                )

    async def _run_lane(self, *, heavy: bool) -> None:
        """Append what heavy communes, or the others, submit."""
        arrived = self._arrived[heavy]
        commits = Commits(self.appender, arrived.set)
        try:
            while True:
                commits.raise_errors()
                if not self._queue.has(heavy=heavy):
                    if self._closing:
                        break
                    arrived.clear()
                    await arrived.wait()
                    continue
                draft = Draft(self._keyring)
                await self._fill(draft, heavy=heavy)
                await commits.wait(draft, partial(self._fill, draft, heavy=heavy))
                commits.start(draft)
            await commits.finish()
        finally:
            commits.cancel()

    def close(self) -> None:
        """Refuse new submissions; `run` returns once those that wait are written."""
        self._closing = True
        for arrived in self._arrived.values():
            arrived.set()

    async def _fill(self, draft: Draft, *, heavy: bool) -> None:
        """Move waiting submissions into the draft, as many as it may hold."""
        contradicted: set[str] = set()
        most = SHORT_DRAFT_EVENTS if heavy and self._others_submit() else DRAFT_EVENTS
        served = draft.events
        while draft.events < most:
            room = most - draft.events if draft.events else None
            submission = self._queue.take(room, passing_over=contradicted, heavy=heavy)
            if submission is None:
                break
            if submission.future.done():
                continue  # its caller was told to come back
            if not await self.appender.add(draft, submission):
                # The draft holds one of its ids with other content: the next draft will find which was recorded.
                self._queue.put_back(submission)
                contradicted.add(submission.compartment.tenant)
            if draft.events - served >= STEP_EVENTS:
                served = draft.events
                await asyncio.sleep(0)
        self._instruments.set_queue(self._queue)

    def _late(self, submission: Submission, now: datetime) -> list[int]:
        """Return the ordinals of events that come too late to be recorded."""
        # The service's own entries wait as long as they must.
        if submission.compartment.category == JOURNAL_CATEGORY:
            return []
        oldest = now - self._lateness
        return [ordinal for ordinal, event in enumerate(submission.events) if event.time < oldest]

    async def _recall_late(self, submission: Submission, now: datetime) -> None:
        """Find the first receipts of events that come too late to be recorded; LateEventError if one has none."""
        late = self._late(submission, now)
        await self.appender.recall(submission, late, self._lateness)
        positions = submission.first_positions()
        if unknown := sorted(positions[ordinal] for ordinal in late if ordinal not in submission.known):
            raise LateEventError(rules.times_too_old(unknown, now, self._lateness))

    async def look_ahead(self, compartment: Compartment, events: Sequence[Event]) -> Outlook:
        """Say what would become of events if they were submitted now; nothing is stored.

        Raises OperatorError (clock), StoreError (no such compartment, or the database does not answer).
        """
        return await rules.look_ahead(
            self.appender,
            compartment,
            events,
            key=self._keyring.event_key_key(compartment),
            category=self._category(compartment),
            now=self._guard.check(),
            lateness=self._lateness,
        )

    def _category(self, compartment: Compartment) -> CategoryRow:
        category = self._snapshot.category(compartment.category)
        if category is None:
            raise StoreError(f"category {compartment.category} does not exist")
        return category


def _refuse(events: Sequence[Event], now: datetime, category: CategoryRow) -> None:
    """Raise what is wrong with events, of the first kind that there is."""
    if ahead := rules.times_ahead(events, now):
        raise InvalidEventError(ahead)
    if gone := rules.times_purged(events, now, category):
        raise PurgedDayError(gone)
    if large := rules.oversize(events):
        raise OversizeEventError(large)


def _retrieve(answer: asyncio.Future[Answer]) -> None:
    """Look at an error whose caller has gone away, or the event loop logs it as one that nobody handles."""
    if not answer.cancelled():
        answer.exception()


def _expire(submission: Submission) -> None:
    submission.fail(
        BusyError(
            "no answer in time: it is not known whether the events are recorded; send the same events again",
            retry_after_seconds=STOPPING_RETRY_SECONDS,
        )
    )
