"""What the edge counts: requests by route and outcome, submissions, why some are refused.

Routes, classes of status and kinds of problem are all the labels there are: nothing of a request becomes one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ingest.problems import KINDS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from journal.metrics import Metrics
    from journal.writing.queue import Acknowledgement

# From a probe to an extract of 60 days.
REQUEST_BOUNDS_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 120)
UNKNOWN_ROUTE = "unknown"
# A status of which nobody was there any more to be told.
ABANDONED = "abandoned"
STATUSES = ("2xx", "3xx", "4xx", "5xx", ABANDONED)


class EdgeInstruments:
    """The edge's metrics, beside those of the process behind it."""

    def __init__(self, metrics: Metrics, routes: Iterable[str]) -> None:
        """Declare them; `routes` are all there are."""
        self._requests = metrics.histogram(
            "openepm_journal_request_duration_seconds",
            "How long requests took to be answered, by route and class of status.",
            REQUEST_BOUNDS_SECONDS,
            route=(*sorted(set(routes)), UNKNOWN_ROUTE),
            status=STATUSES,
        )
        self._events = metrics.counter(
            "openepm_journal_events",
            "Events of submissions: 'recorded' now, 'known' (recorded before: the first receipt was given again), or "
            "'refused' with a body that could be read.",
            outcome=("recorded", "known", "refused"),
        )
        self._submissions = metrics.counter(
            "openepm_journal_submissions",
            "Bodies of events that arrived whole, single events or batches.",
            shape=("single", "batch"),
        )
        self._bytes = metrics.counter("openepm_journal_submitted_bytes", "Their bytes.")
        self._refusals = metrics.counter(
            "openepm_journal_submissions_refused",
            "Submissions refused, by the kind of problem answered; of those that are 'busy' or 'unavailable' the "
            "outcome may not be known: they are sent again.",
            reason=tuple(kind.name for kind in KINDS),
        )

    def received(self, shape: str, size_bytes: int) -> None:
        """Count a body of events."""
        self._submissions.add(1, shape)
        self._bytes.add(size_bytes)

    def settled(self, acknowledgements: list[Acknowledgement]) -> None:
        """Count what became of the events of a submission; a copy within a batch is known by then."""
        recorded = len(
            {acknowledgement.receipt.index for acknowledgement in acknowledgements if acknowledgement.created}
        )
        self._events.add(recorded, "recorded")
        self._events.add(len(acknowledgements) - recorded, "known")

    def refused(self, reason: str, events: int) -> None:
        """Count a submission that was refused, and its events where they could be counted."""
        self._refusals.add(1, reason)
        self._events.add(events, "refused")

    def answered(self, route: str, status: int, duration_seconds: float) -> None:
        """Count an answer; status 0 where nobody waited for it."""
        self._requests.observe(duration_seconds, route, f"{status // 100}xx" if status else ABANDONED)
