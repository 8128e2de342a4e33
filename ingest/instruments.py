"""What the edge counts: requests by route and status, submissions, refusals by reason.

All labels are declared here (routes, classes of status, kinds of problem): no part of a request becomes a label.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ingest.problems import KINDS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from journal.metrics import Metrics
    from journal.writing.remote import Given

# From a probe to an extract of 60 days.
REQUEST_BOUNDS_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 120)
UNKNOWN_ROUTE = "unknown"
# The caller disconnected before the answer.
ABANDONED = "abandoned"
STATUSES = ("2xx", "3xx", "4xx", "5xx", ABANDONED)


class EdgeInstruments:
    """The metrics of the edge."""

    def __init__(self, metrics: Metrics, routes: Iterable[str]) -> None:
        """Declare them; `routes` are the paths of all calls."""
        self._requests = metrics.histogram(
            "openepm_journal_request_duration_seconds",
            "Duration of requests, by route and class of status.",
            REQUEST_BOUNDS_SECONDS,
            route=(*sorted(set(routes)), UNKNOWN_ROUTE),
            status=STATUSES,
        )
        self._events = metrics.counter(
            "openepm_journal_events",
            "Events submitted: 'recorded' now, 'known' (recorded before, answered with the first receipt), or "
            "'refused' in a body that could be parsed.",
            result=("recorded", "known", "refused"),
        )
        self._submissions = metrics.counter(
            "openepm_journal_submissions",
            "Complete bodies received, single events or batches.",
            shape=("single", "batch"),
        )
        self._bytes = metrics.counter("openepm_journal_submitted_bytes", "Bytes of these bodies.")
        self._refusals = metrics.counter(
            "openepm_journal_submissions_refused",
            "Submissions refused, by kind of problem; after 'busy' or 'unavailable' the events may be recorded or not, "
            "and are sent again.",
            reason=tuple(kind.name for kind in KINDS),
        )

        self._connections = metrics.gauge("openepm_journal_connections", "Open connections of callers.")
        self._refused_connections = metrics.counter(
            "openepm_journal_connections_refused",
            "Connections refused, or closed while idle, because an address or the process had as many as it may have.",
        )

    def set_connections(self, count: int) -> None:
        """Set how many connections are open."""
        self._connections.set(count)

    def refused_connection(self) -> None:
        """Count a connection that found no room, or made room for another."""
        self._refused_connections.add(1)

    def received(self, shape: str, size_bytes: int) -> None:
        """Count a body of events."""
        self._submissions.add(1, shape)
        self._bytes.add(size_bytes)

    def settled(self, given: Given) -> None:
        """Count the events of an accepted submission; a second copy within a batch counts as known."""
        self._events.add(given.recorded, "recorded")
        self._events.add(given.events - given.recorded, "known")

    def refused(self, reason: str, events: int) -> None:
        """Count a refused submission and its events, if their number is known."""
        self._refusals.add(1, reason)
        self._events.add(events, "refused")

    def answered(self, route: str, status: int, duration_seconds: float) -> None:
        """Count an answer; status 0 means that the caller had disconnected."""
        self._requests.observe(duration_seconds, route, f"{status // 100}xx" if status else ABANDONED)
