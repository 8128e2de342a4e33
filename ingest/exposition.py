"""The metrics in Prometheus's formats: what the processes counted, then the figures of the status.

Labels are categories, checks, and values declared in the code. No label names a tenant or a person.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import generate_latest as write_plain
from prometheus_client.openmetrics.exposition import generate_latest as write_open_metrics

from ingest.figures import category_figures, service_figures
from journal import __version__
from journal.notices.host import copied_at, free, places
from journal.notices.progress import progress_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from journal.metrics import Family, Metrics
    from journal.settings import Settings
    from journal.status.figures import Status

PLAIN = "text/plain"
OPEN_METRICS = "application/openmetrics-text"
PLAIN_HEADER = f"{PLAIN}; version=0.0.4; charset=utf-8"
OPEN_METRICS_HEADER = f"{OPEN_METRICS}; version=1.0.0; charset=utf-8"


class Exposition:
    """The answer to one scrape."""

    def __init__(
        self, metrics: Metrics, checks: Mapping[str, str | None], status: Status | None, settings: Settings
    ) -> None:
        """Show these counters and checks, the host and, if the database answered, the status."""
        self._settings = settings
        self._metrics = metrics
        self._checks = checks
        self._status = status

    def write(self, accept: str) -> tuple[bytes, str]:
        """Return the text and its content type: OpenMetrics if `accept` names it, else the classic text format."""
        # Not the library's own negotiation: it echoes the request in its answer.
        wanted = {part.split(";")[0].strip().lower() for part in accept.split(",")}
        if OPEN_METRICS in wanted:
            text: bytes = write_open_metrics(self)  # type: ignore[no-untyped-call]  # it is typed by its docstring
            return text, OPEN_METRICS_HEADER
        return write_plain(self), PLAIN_HEADER

    def collect(self) -> Iterator[Metric]:
        """Yield every metric."""
        yield InfoMetricFamily("openepm_journal_build", "The version that runs.", value={"version": __version__})
        yield GaugeMetricFamily(
            "openepm_journal_processes", "Processes that share the address.", value=self._metrics.processes()
        )
        ready = GaugeMetricFamily(
            "openepm_journal_ready",
            "1 if the check passes, 0 if it fails; openepm-journal doctor gives the reason.",
            labels=["check"],
        )
        for name, reason in self._checks.items():
            ready.add_metric([name], float(reason is None))
        yield ready
        for family in self._metrics.collect():
            yield _counted(family)
        yield from _of_host(self._settings)
        if self._status is not None:
            for figure in service_figures(self._status):
                value = figure.sample(self._status.at) if figure.gauge else None
                if value is not None:
                    yield GaugeMetricFamily(figure.name, figure.help, value=value)
            yield from _by_category(self._status)


def _counted(family: Family) -> Metric:
    match family.kind:
        case "counter":
            counter = CounterMetricFamily(family.name, family.help, labels=family.labels)
            for sample in family.samples:
                counter.add_metric(sample.labels, sample.value)
            return counter
        case "gauge":
            gauge = GaugeMetricFamily(family.name, family.help, labels=family.labels)
            for sample in family.samples:
                gauge.add_metric(sample.labels, sample.value)
            return gauge
        case "histogram":
            histogram = HistogramMetricFamily(family.name, family.help, labels=family.labels)
            for sample in family.samples:
                # Most combinations of labels never occur, and would be most of the text.
                if sample.buckets[-1][1] or not sample.labels:
                    buckets = [(_bound(bound), count) for bound, count in sample.buckets]
                    histogram.add_metric(sample.labels, buckets, sample.value)
            return histogram


def _of_host(settings: Settings) -> Iterator[Metric]:
    left = GaugeMetricFamily("openepm_journal_disk_free_bytes", "Free bytes of a directory's disk.", labels=["place"])
    size = GaugeMetricFamily("openepm_journal_disk_size_bytes", "Size of that disk.", labels=["place"])
    for name, path in places(settings).items():
        if (room := free(path)) is not None:
            left.add_metric([name], room[0])
            size.add_metric([name], room[1])
    yield from (left, size)
    if (at := copied_at(settings)) is not None:
        yield GaugeMetricFamily(
            "openepm_journal_keys_copied_timestamp_seconds",
            "When keys backup last copied everything; absent if it never did.",
            value=at,
        )
    progress = progress_of(settings)
    yield GaugeMetricFamily(
        "openepm_journal_mails_waiting",
        "Mails to persons of communes that the last round left unsent; 0 where no mail is set.",
        value=progress.unsent,
    )
    yield GaugeMetricFamily(
        "openepm_journal_mails_waiting_seconds",
        "For how long the first of them waits; 0 if none does.",
        value=progress.waits_seconds(time.time()),
    )


def _by_category(status: Status) -> Iterator[Metric]:
    families: dict[str, GaugeMetricFamily] = {}
    for category in status.categories:
        for figure in (figure for figure in category_figures(category) if figure.gauge):
            family = families.setdefault(figure.name, GaugeMetricFamily(figure.name, figure.help, labels=["category"]))
            if (value := figure.sample(status.at)) is not None:
                family.add_metric([category.category], value)
    yield from families.values()


def _bound(bound: float) -> str:
    """Write an upper bound as OpenMetrics requires."""
    return "+Inf" if bound == float("inf") else str(float(bound))
