"""The metrics in Prometheus's words: what the processes counted, then where the service stands.

Labels are categories, checks, and what the code declares. Nothing says whose anything is.
"""

from __future__ import annotations

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

from ingest.gauges import category_gauges, service_gauges
from journal import __version__

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from journal.metrics import Family, Metrics
    from journal.status.figures import CategoryStatus, Status

PLAIN = "text/plain"
OPEN_METRICS = "application/openmetrics-text"
PLAIN_HEADER = f"{PLAIN}; version=0.0.4; charset=utf-8"
OPEN_METRICS_HEADER = f"{OPEN_METRICS}; version=1.0.0; charset=utf-8"


class Exposition:
    """One scrape."""

    def __init__(self, metrics: Metrics, checks: Mapping[str, str | None], status: Status | None) -> None:
        """Show what was counted, what holds, and, where the database answered, where the service stands."""
        self._metrics = metrics
        self._checks = checks
        self._status = status

    def write(self, accept: str) -> tuple[bytes, str]:
        """Return the text and its content type: OpenMetrics to whoever names it, else what every scraper reads."""
        # Not the library's own choice: it repeats in its answer what was asked for.
        wanted = {part.split(";")[0].strip().lower() for part in accept.split(",")}
        if OPEN_METRICS in wanted:
            text: bytes = write_open_metrics(self)  # type: ignore[no-untyped-call]  # it is typed by its docstring
            return text, OPEN_METRICS_HEADER
        return write_plain(self), PLAIN_HEADER

    def collect(self) -> Iterator[Metric]:
        """Yield every metric."""
        yield InfoMetricFamily("openepm_journal_build", "What runs.", value={"version": __version__})
        yield GaugeMetricFamily(
            "openepm_journal_processes", "Processes that share the address.", value=self._metrics.processes()
        )
        ready = GaugeMetricFamily(
            "openepm_journal_ready",
            "1 where a check holds, 0 where it fails; openepm-journal doctor says why.",
            labels=["check"],
        )
        for name, reason in self._checks.items():
            ready.add_metric([name], float(reason is None))
        yield ready
        for family in self._metrics.collect():
            yield _counted(family)
        if self._status is not None:
            for name, text, value in service_gauges(self._status):
                if value is not None:
                    yield GaugeMetricFamily(name, text, value=value)
            yield from _by_category(self._status.categories)


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
                # Of many sets of labels most never occur: those would be most of the text.
                if sample.buckets[-1][1] or not sample.labels:
                    buckets = [(_bound(bound), count) for bound, count in sample.buckets]
                    histogram.add_metric(sample.labels, buckets, sample.value)
            return histogram


def _by_category(categories: list[CategoryStatus]) -> Iterator[Metric]:
    families: dict[str, GaugeMetricFamily] = {}
    for status in categories:
        for name, text, value in category_gauges(status):
            family = families.setdefault(name, GaugeMetricFamily(name, text, labels=["category"]))
            if value is not None:
                family.add_metric([status.category], value)
    yield from families.values()


def _bound(bound: float) -> str:
    """Write an upper bound as OpenMetrics wants it, everywhere the same."""
    return "+Inf" if bound == float("inf") else str(float(bound))
