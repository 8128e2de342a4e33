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

from journal import __version__
from journal.standing import midnight

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from journal.metrics import Family, Metrics
    from journal.standing import CategoryStanding, Standing

PLAIN = "text/plain"
OPEN_METRICS = "application/openmetrics-text"
PLAIN_HEADER = f"{PLAIN}; version=0.0.4; charset=utf-8"
OPEN_METRICS_HEADER = f"{OPEN_METRICS}; version=1.0.0; charset=utf-8"

# Name, help, value; where there is none, there is no sample.
Gauges = list[tuple[str, str, float | None]]


class Exposition:
    """One scrape."""

    def __init__(self, metrics: Metrics, checks: Mapping[str, str | None], standing: Standing | None) -> None:
        """Show what was counted, what holds, and, where the database answered, where the service stands."""
        self._metrics = metrics
        self._checks = checks
        self._standing = standing

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
        if self._standing is not None:
            for name, text, value in _service(self._standing):
                if value is not None:
                    yield GaugeMetricFamily(name, text, value=value)
            yield from _by_category(self._standing.categories)


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


def _service(standing: Standing) -> Gauges:
    row = standing.row
    return [
        (
            "openepm_journal_database_clock_departure_seconds",
            "By how much the database's clock departs from the service's; beyond 2 nothing is appended.",
            standing.database_departure.total_seconds(),
        ),
        (
            "openepm_journal_certificate_expiry_timestamp_seconds",
            "When the signing certificate expires; nothing is sealed or extracted after it.",
            standing.certificate_not_after.timestamp(),
        ),
        ("openepm_journal_last_seal_number", "The latest seal; 0 before the first.", row.number or 0),
        (
            "openepm_journal_last_seal_age_seconds",
            "How long ago the latest seal was made. Nothing is sealed while no head moves.",
            _seconds(standing.at, row.sealed_at),
        ),
        (
            "openepm_journal_unsealed_heads",
            "Chains that moved since the latest seal.",
            row.unsealed_heads,
        ),
        ("openepm_journal_unsealed_days", "Days that are over and have no close seal yet.", standing.unsealed_days),
        (
            "openepm_journal_stamping_configured",
            "1 where a time-stamping authority is configured, else 0.",
            standing.is_stamping,
        ),
        (
            "openepm_journal_unstamped_seals",
            "Close seals of the last two months that are not time-stamped yet; 0 where no authority is configured.",
            standing.unstamped_seals,
        ),
        (
            "openepm_journal_unstamped_seals_age_seconds",
            "How long ago the oldest of them was made; 0 where there is none.",
            _seconds(standing.at, standing.unstamped_since) or 0,
        ),
        (
            "openepm_journal_stamping_failing_seconds",
            "For how long the time-stamping authority has been asked in vain while seals wait; 0 while it answers.",
            _seconds(standing.at, standing.stamping_failed_since) or 0,
        ),
        (
            "openepm_journal_handover_faults",
            "Communes to which nothing can be handed over now.",
            row.handover_faults,
        ),
        (
            "openepm_journal_handover_failing_seconds",
            "For how long the first of them could not be handed anything; 0 where there is none.",
            _seconds(standing.at, row.handover_failed_since) or 0,
        ),
    ]


def _category(standing: CategoryStanding) -> Gauges:
    purged_day = standing.purged_day
    return [
        (
            "openepm_journal_oldest_entry_age_seconds",
            "At most how old the oldest entry kept is: the time since its day began. 0 where none is kept.",
            standing.oldest_age.total_seconds(),
        ),
        (
            "openepm_journal_retention_limit_seconds",
            "How old an entry may become: never older than this, by law.",
            standing.retention.total_seconds(),
        ),
        (
            "openepm_journal_last_purged_day_timestamp_seconds",
            "The beginning of the last day that is wholly gone; absent before the first purge.",
            _timestamp(midnight(purged_day)) if purged_day else None,
        ),
        (
            "openepm_journal_last_purge_timestamp_seconds",
            "When that day was wholly gone, rows and keys; absent before the first purge.",
            _timestamp(standing.purged_at),
        ),
        (
            "openepm_journal_next_purge_timestamp_seconds",
            "When the oldest day on disk may go; it must be gone 24 hours later.",
            _timestamp(standing.next_at),
        ),
        (
            "openepm_journal_overdue_days",
            "Days on disk that must be gone already: over-retention.",
            standing.overdue_days,
        ),
        (
            "openepm_journal_handover_waiting_days",
            "Days with entries that may go and wait for their hand-over.",
            standing.handover_days,
        ),
        (
            "openepm_journal_handover_lapses",
            "Days of a commune that were purged at their limit without the hand-over it asked for, within a year.",
            standing.handover_lapses,
        ),
        (
            "openepm_journal_partitions_ready_days",
            "For how many days, from today on, there is a partition; 0: nothing can be recorded.",
            standing.partition_days,
        ),
        (
            "openepm_journal_keys_ready_days",
            "For how many days, from today on, there is a key; 0: nothing can be recorded.",
            standing.key_days,
        ),
    ]


def _by_category(categories: list[CategoryStanding]) -> Iterator[Metric]:
    families: dict[str, GaugeMetricFamily] = {}
    for standing in categories:
        for name, text, value in _category(standing):
            family = families.setdefault(name, GaugeMetricFamily(name, text, labels=["category"]))
            if value is not None:
                family.add_metric([standing.category], value)
    yield from families.values()


def _bound(bound: float) -> str:
    """Write an upper bound as OpenMetrics wants it, everywhere the same."""
    return "+Inf" if bound == float("inf") else str(float(bound))


def _seconds(now: datetime, moment: datetime | None) -> float | None:
    return max(0.0, (now - moment).total_seconds()) if moment is not None else None


def _timestamp(moment: datetime | None) -> float | None:
    return moment.timestamp() if moment is not None else None
