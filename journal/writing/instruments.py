"""The metrics of a process besides requests: appends, queue, event loop, clock."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, get_args

from journal.database.ingest import Outcome
from journal.metrics import Metrics

if TYPE_CHECKING:
    from journal.clock import ClockGuard
    from journal.writing.queue import FairQueue

PULSE_SECONDS = 0.5
# From the delay of a healthy loop, or a small append, to what needs attention.
LAG_BOUNDS_SECONDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
APPEND_BOUNDS_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
# Besides the database's answers: it could not be reached, or it raised an error.
APPEND_OUTCOMES = (*get_args(Outcome), "unavailable", "refused")


class Instruments:
    """The metrics of the process; without `metrics`, only the caller can read them."""

    def __init__(self, metrics: Metrics | None = None) -> None:
        """Register the metrics."""
        self.metrics = metrics = metrics or Metrics()
        self.entries_appended = metrics.counter(
            "openepm_journal_entries_appended", "Entries committed, those of the service itself included."
        )
        self.appends = metrics.counter(
            "openepm_journal_appends",
            "Attempts to append a draft, by the database's answer; all but 'appended' wrote nothing or are repeated.",
            outcome=APPEND_OUTCOMES,
        )
        self.append_seconds = metrics.histogram(
            "openepm_journal_append_duration_seconds",
            "Duration of the attempt that committed a draft.",
            APPEND_BOUNDS_SECONDS,
        )
        self.loop_lag_seconds = metrics.histogram(
            "openepm_journal_event_loop_lag_seconds",
            "Delay of a task that runs twice a second in each process.",
            LAG_BOUNDS_SECONDS,
        )
        self._queue_events = metrics.gauge("openepm_journal_queue_events", "Events that wait to be drafted.")
        self._queue_bytes = metrics.gauge("openepm_journal_queue_bytes", "Their bytes, as they were submitted.")
        self._limit_events = metrics.gauge(
            "openepm_journal_queue_limit_events", "Largest number of events that may wait; more are refused (503)."
        )
        self._limit_bytes = metrics.gauge("openepm_journal_queue_limit_bytes", "Largest number of bytes that may wait.")
        self._clock_departure_seconds = metrics.gauge(
            "openepm_journal_clock_departure_seconds",
            "By how much the system clock was moved while a process ran; beyond 900 nothing is written, sealed or "
            "purged.",
            merge="max",
        )

    def set_limits(self, *, events: int, size_bytes: int) -> None:
        """Set the limits of the queue."""
        self._limit_events.set(events)
        self._limit_bytes.set(size_bytes)

    def set_queue(self, queue: FairQueue) -> None:
        """Set the current content of the queue."""
        self._queue_events.set(queue.events)
        self._queue_bytes.set(queue.bytes)

    async def pulse(self, guard: ClockGuard) -> None:
        """Measure the loop and the clock, for ever, on the loop's own time, which clock changes do not affect."""
        loop = asyncio.get_running_loop()
        while True:
            self._clock_departure_seconds.set(guard.departure().total_seconds())
            wanted_at = loop.time() + PULSE_SECONDS
            await asyncio.sleep(PULSE_SECONDS)
            self.loop_lag_seconds.observe(max(0.0, loop.time() - wanted_at))
