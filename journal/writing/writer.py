"""The writer: events in, receipts out, once the database has committed them.

Group commit without delay: everything that waits when the connection is free goes into one append. While that
commits, the next draft is computed from the heads it will leave. Several processes may do this at the same time:
the database compares the heads, and refuses a draft made from stale ones as a whole.
"""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from journal.clock import Clock, ClockGuard
from journal.core.entry import RECORD_LIMIT_BYTES, SKEW, Compartment, Event, event_key
from journal.core.errors import BusyError, InvalidEventError, OversizeEventError, PurgedDayError, StoreError
from journal.core.times import day_of, format_time, midnight
from journal.writing.append import Appender
from journal.writing.draft import Draft
from journal.writing.instruments import Instruments
from journal.writing.queue import Acknowledgement, FairQueue, Submission, distinct_events

if TYPE_CHECKING:
    from collections.abc import Sequence

    from journal.database.store import Store
    from journal.keys.ring import Keyring
    from journal.snapshot import Snapshot

DRAFT_EVENTS = 2_000
LARGE_EVENTS = 500
STOPPING_RETRY_SECONDS = 5
ANSWER_LIMIT_SECONDS = 30.0
# The other members of a record (names, an index, a time) always fit in the rest.
EVENT_LIMIT_BYTES = RECORD_LIMIT_BYTES - 1024


class Writer:
    """Takes submissions from any number of requests and appends them, one draft at a time."""

    def __init__(
        self,
        *,
        store: Store,
        keyring: Keyring,
        snapshot: Snapshot,
        clock: Clock,
        queue_events: int = 50_000,
        queue_bytes: int = 64 * 1024 * 1024,
        answer_limit_seconds: float = ANSWER_LIMIT_SECONDS,
        instruments: Instruments | None = None,
    ) -> None:
        """Prepare; `run` does the work. No caller waits longer than `answer_limit_seconds`."""
        self._keyring = keyring
        self._snapshot = snapshot
        self._guard = ClockGuard(clock)
        self._instruments = instruments or Instruments()
        self._instruments.set_limits(events=queue_events, size_bytes=queue_bytes)
        self.appender = Appender(store=store, keyring=keyring, clock=clock, instruments=self._instruments)
        self._queue = FairQueue(max_events=queue_events, max_bytes=queue_bytes)
        self._answer_limit_seconds = answer_limit_seconds
        self._open: set[Submission] = set()
        self._arrived = asyncio.Event()
        self._closing = False

    @property
    def waiting_events(self) -> int:
        """Return how many events wait to be drafted."""
        return self._queue.events

    async def submit(
        self, compartment: Compartment, submitted_by: str, events: Sequence[Event], size_bytes: int
    ) -> list[Acknowledgement]:
        """Record the events, all or none, and return an acknowledgement for each, in order.

        Returns only once they are committed. Raises InvalidEventError (time too far ahead),
        OversizeEventError, PurgedDayError, KnownEventError, BusyError (full, closing, or not known whether they are
        recorded: submit the same events again), OperatorError (clock), StoreError (no such compartment).
        """
        now = self._guard.check()
        if self._closing:
            raise BusyError("the service is stopping", retry_after_seconds=STOPPING_RETRY_SECONDS)
        self._refuse_times(compartment, events, now)
        _refuse_oversize(events)
        distinct, places = distinct_events(events)
        key = self._keyring.event_key_key(compartment)
        submission = Submission(
            compartment=compartment,
            submitted_by=submitted_by,
            events=distinct,
            keys=[event_key(key, event.source, event.id) for event in distinct],
            since=[day_of(event.time - SKEW) for event in distinct],
            places=places,
            size_bytes=size_bytes,
            future=asyncio.get_running_loop().create_future(),
        )
        self._queue.put(submission)
        self.appender.expect(compartment)
        self._instruments.set_queue(self._queue)
        self._open.add(submission)
        limit = asyncio.get_running_loop().call_later(self._answer_limit_seconds, _expire, submission)
        submission.future.add_done_callback(lambda future: self._closed(submission, future, limit))
        self._arrived.set()
        # A caller that goes away does not withdraw its events: others may share their draft.
        return await asyncio.shield(submission.future)

    async def run(self) -> None:
        """Append until `close` is called and nothing waits; an unexpected error fails every waiting submission."""
        commit: asyncio.Task[None] | None = None
        try:
            while True:
                if commit is not None and commit.done():
                    await commit  # raises its error here, if any
                    commit = None
                if not self._queue.events:
                    if self._closing:
                        break
                    self._arrived.clear()
                    await self._arrived.wait()
                    continue
                draft = Draft(self._keyring)
                await self._fill(draft)
                if commit is not None:
                    await commit
                    await self._fill(draft)  # with what arrived meanwhile
                commit = asyncio.create_task(self.appender.commit(draft))
                commit.add_done_callback(lambda _: self._arrived.set())
            if commit is not None:
                await commit
        finally:
            self._closing = True
            if commit is not None and not commit.done():
                commit.cancel()
            for submission in list(self._open):
                submission.fail(
                    BusyError(
                        "the service stopped before it could answer",
                        retry_after_seconds=STOPPING_RETRY_SECONDS,
                    )
                )

    def close(self) -> None:
        """Refuse new submissions; `run` returns once those that wait are written."""
        self._closing = True
        self._arrived.set()

    def _closed(
        self, submission: Submission, future: asyncio.Future[list[Acknowledgement]], limit: asyncio.TimerHandle
    ) -> None:
        self._open.discard(submission)
        limit.cancel()
        if not future.cancelled():
            future.exception()  # retrieved, so that asyncio does not log it when the caller has gone away

    async def _fill(self, draft: Draft) -> None:
        """Move waiting submissions into the draft, as many as it may hold."""
        contradicted: set[str] = set()
        while draft.events < DRAFT_EVENTS:
            room = DRAFT_EVENTS - draft.events if draft.events else None
            submission = self._queue.take(room, passing_over=contradicted)
            if submission is None:
                break
            if submission.future.done():
                continue  # its caller was told to come back
            if not await self.appender.add(draft, submission):
                # The draft holds one of its ids with other content: the next draft will find which was recorded.
                self._queue.put_back(submission)
                contradicted.add(submission.compartment.tenant)
            if len(submission.events) >= LARGE_EVENTS:
                await asyncio.sleep(0)  # serve requests between two large batches
        self._instruments.set_queue(self._queue)

    def _refuse_times(self, compartment: Compartment, events: Sequence[Event], now: datetime) -> None:
        if ahead := [
            (position, "/time", f"more than 5 minutes after the service's clock ({format_time(now)})")
            for position, event in enumerate(events)
            if event.time > now + SKEW
        ]:
            raise InvalidEventError(ahead)
        category = self._snapshot.category(compartment.category)
        if category is None:
            raise StoreError(f"category {compartment.category} does not exist")
        # Events this old may have been recorded and lawfully purged: a copy could not be recognised.
        gone = day_of(now) - timedelta(days=category.retention_days)
        gone = max(gone, category.fence) if category.fence else gone
        oldest = midnight(gone + timedelta(days=1)) + SKEW
        if late := [
            (position, "/time", f"too old: this category takes events from {format_time(oldest)} on")
            for position, event in enumerate(events)
            if event.time < oldest
        ]:
            raise PurgedDayError(late)


def _refuse_oversize(events: Sequence[Event]) -> None:
    """Refuse events too large for a record before they reach a draft shared with others."""
    if faults := [
        (position, "", "is larger than a record may be")
        for position, event in enumerate(events)
        if len(event.canonical) > EVENT_LIMIT_BYTES
    ]:
        raise OversizeEventError(faults)


def _expire(submission: Submission) -> None:
    submission.fail(
        BusyError(
            "no answer in time: it is not known whether the events are recorded; send the same events again",
            retry_after_seconds=STOPPING_RETRY_SECONDS,
        )
    )
