"""What a process counts besides requests: appends, its queue, its event loop, its clock."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, get_args

from journal.database.ingest import Answer
from journal.metrics import Metrics

if TYPE_CHECKING:
    from journal.clock import ClockGuard
    from journal.writing.queue import FairQueue

PULSE_SECONDS = 0.5
# From a healthy loop, and from a small append, to values that need attention.
LAG_BOUNDS_SECONDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
APPEND_BOUNDS_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
# Besides the database's answers: it was unavailable, or it refused the draft with an error.
APPEND_RESULTS = (*get_args(Answer), "unavailable", "refused")


class Instruments:
    """The process's own metrics; without `metrics` they are counted for the caller alone."""

    def __init__(self, metrics: Metrics | None = None) -> None:
        """Declare them."""
        self.metrics = metrics = metrics or Metrics()
        self.entries_appended = metrics.counter(
            "openepm_journal_entries_appended", "Entries committed, including those about the service itself."
        )
        self.appends = metrics.counter(
            "openepm_journal_appends",
            "Attempts to append a draft, by result; only 'appended' is certain to have written it, most others are "
            "retried.",
            result=APPEND_RESULTS,
        )
        self.append_seconds = metrics.histogram(
            "openepm_journal_append_duration_seconds",
            "Duration of the attempts that committed a draft.",
            APPEND_BOUNDS_SECONDS,
        )
        self.loop_lag_seconds = metrics.histogram(
            "openepm_journal_event_loop_lag_seconds",
            "Delay of a task that the event loop should run twice a second.",
            LAG_BOUNDS_SECONDS,
        )
        # As the last look at it found.
        self.last_lag_seconds = 0.0
        self._queue_events = metrics.gauge("openepm_journal_queue_events", "Events waiting in the queue.")
        self._queue_bytes = metrics.gauge("openepm_journal_queue_bytes", "Bytes of the waiting events, as submitted.")
        self._limit_events = metrics.gauge(
            "openepm_journal_queue_limit_events", "How many events may wait; more are refused (503)."
        )
        self._limit_bytes = metrics.gauge("openepm_journal_queue_limit_bytes", "How many bytes may wait.")
        self.stopped_chains = metrics.gauge(
            "openepm_journal_stopped_chains",
            "Chains that accept nothing, because the database does not hold what was acknowledged.",
            merge="max",
        )
        self.missing_numbers = metrics.gauge(
            "openepm_journal_missing_numbers",
            "Numbers of events that neither came nor are declared lost; openepm-journal sources tells whose.",
            merge="max",
        )
        self.silent_sources = metrics.gauge(
            "openepm_journal_silent_sources",
            "Sources that sent nothing for longer than declared; openepm-journal sources tells which.",
            merge="max",
        )
        self.audit_findings = metrics.gauge(
            "openepm_journal_audit_findings",
            "What the audit inside the service finds wrong; openepm-journal verify-store names it.",
            merge="max",
        )
        self.audited_at = metrics.gauge(
            "openepm_journal_audited_timestamp_seconds",
            "When the audit inside the service last compared the catalog and the keys; 0 before the first time.",
            merge="max",
        )
        self._clock_departure_seconds = metrics.gauge(
            "openepm_journal_clock_departure_seconds",
            "By how much the system clock was moved while a process ran; above 900 nothing is written, sealed or "
            "purged.",
            merge="max",
        )

    def set_limits(self, *, events: int, size_bytes: int) -> None:
        """Set the limits of the queue."""
        self._limit_events.set(events)
        self._limit_bytes.set(size_bytes)

    def set_queue(self, queue: FairQueue) -> None:
        """Set the current size of the queue."""
        self._queue_events.set(queue.events)
        self._queue_bytes.set(queue.bytes)

    async def pulse(self, guard: ClockGuard) -> None:
        """Measure the loop's lag and the clock's departure, for ever, by the loop's own time."""
        loop = asyncio.get_running_loop()
        while True:
            self._clock_departure_seconds.set(guard.departure().total_seconds())
            wanted_at = loop.time() + PULSE_SECONDS
            await asyncio.sleep(PULSE_SECONDS)
            self.last_lag_seconds = max(0.0, loop.time() - wanted_at)
            self.loop_lag_seconds.observe(self.last_lag_seconds)
