"""The figures of the status, in one table: member of /readyz, gauge and its help, value.

A figure without a gauge is in /readyz alone, one without a member in /metrics alone.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from journal.core.times import format_day, format_seconds, midnight

if TYPE_CHECKING:
    from collections.abc import Iterable

    from journal.status.figures import CategoryStatus, Status

AGES = ("_age_seconds", "_failing_seconds")


class Figure(NamedTuple):
    """One figure; `member` is a path in /readyz, `absent` what the gauge shows instead of None (None: no sample)."""

    member: str
    gauge: str
    help: str
    value: date | datetime | timedelta | float | str | None
    absent: float | None = None

    @property
    def name(self) -> str:
        """Return the gauge's full name."""
        return f"openepm_journal_{self.gauge}"

    def sample(self, now: datetime) -> float | None:
        """Return the gauge's value: a number, seconds or Unix time; for an age, the seconds up to `now`."""
        match self.value:
            case None:
                return self.absent
            case datetime() as moment if self.gauge.endswith(AGES):
                return max(0.0, (now - moment).total_seconds())
            case datetime() as moment:
                return moment.timestamp()
            case date() as day:
                return midnight(day).timestamp()
            case timedelta() as span:
                return span.total_seconds()
            case number:
                return float(number)

    def fact(self) -> Any:
        """Return the value as JSON: moments and days as text, durations in whole seconds."""
        match self.value:
            case datetime() as moment:
                return format_seconds(moment.replace(microsecond=0))
            case date() as day:
                return format_day(day)
            case timedelta() as span:
                return int(span.total_seconds())
            case value:
                return value


def service_figures(status: Status) -> list[Figure]:
    """Return the figures of the whole service."""
    row = status.row
    return [
        Figure("at", "", "", status.at),
        Figure(
            "certificate_expires_at",
            "certificate_expiry_timestamp_seconds",
            "When the signing certificate expires; after that nothing is sealed or extracted.",
            status.certificate_not_after,
        ),
        Figure(
            "",
            "database_clock_departure_seconds",
            "Difference between the clocks of the database and the service; above 2 nothing is appended.",
            status.database_departure,
        ),
        Figure(
            "seals.last_number", "last_seal_number", "Number of the latest seal; 0 before the first.", row.number, 0
        ),
        Figure(
            "seals.last_at",
            "last_seal_age_seconds",
            "Age of the latest seal. No seal is made while no head changes.",
            row.sealed_at,
        ),
        Figure(
            "seals.unsealed_heads", "unsealed_heads", "Chains with entries after the latest seal.", row.unsealed_heads
        ),
        Figure(
            "seals.unsealed_days",
            "unsealed_days",
            "Days that are over and have no close seal yet.",
            status.unsealed_days,
        ),
        Figure(
            "timestamps.configured",
            "stamping_configured",
            "1 if a time-stamping authority is configured, else 0.",
            status.is_stamping,
        ),
        Figure(
            "timestamps.waiting",
            "unstamped_seals",
            "Close seals of the last two months without a time-stamp; 0 if no authority is configured.",
            status.unstamped_seals,
        ),
        Figure(
            "timestamps.waiting_since",
            "unstamped_seals_age_seconds",
            "Age of the oldest of them; 0 if there is none.",
            status.unstamped_since,
            0,
        ),
        Figure(
            "timestamps.failing_since",
            "stamping_failing_seconds",
            "For how long requests to the time-stamping authority have failed while seals wait; 0 while they succeed.",
            status.stamping_failed_since,
            0,
        ),
        Figure("handover.failing", "handover_faults", "Communes whose hand-over currently fails.", row.handover_faults),
        Figure(
            "handover.failing_since",
            "handover_failing_seconds",
            "For how long the first of them has failed; 0 if there is none.",
            row.handover_failed_since,
            0,
        ),
    ]


def category_figures(status: CategoryStatus) -> list[Figure]:
    """Return the figures of one category."""
    return [
        Figure("category", "", "", status.category),
        Figure("oldest_day", "", "", status.oldest_day),
        Figure(
            "oldest_entry_age_seconds",
            "oldest_entry_age_seconds",
            "Upper bound of the age of the oldest entry: the time since its day began. 0 if there is none.",
            status.oldest_age,
        ),
        Figure(
            "limit_seconds",
            "retention_limit_seconds",
            "The limit of the retention: no entry may become older than this.",
            status.retention,
        ),
        Figure(
            "last_purged_day",
            "last_purged_day_timestamp_seconds",
            "Beginning of the last day that is purged completely; absent before the first purge.",
            status.purged_day,
        ),
        Figure(
            "last_purge_at",
            "last_purge_timestamp_seconds",
            "When the purge of that day was complete, rows and keys; absent before the first purge.",
            status.purged_at,
        ),
        Figure("next_purge_day", "", "", status.next_day),
        Figure(
            "next_purge_at",
            "next_purge_timestamp_seconds",
            "When the oldest day on disk may be purged; it must be purged within 24 hours from then.",
            status.next_at,
        ),
        Figure("next_purge_before", "", "", status.next_limit),
        Figure("overdue_days", "overdue_days", "Days on disk past their limit: over-retention.", status.overdue_days),
        Figure(
            "waiting_for_handover_days",
            "handover_waiting_days",
            "Days with entries that may be purged and wait for their hand-over.",
            status.handover_days,
        ),
        Figure(
            "",
            "handover_lapses",
            "Days purged at their limit without the hand-over the commune asked for, within a year.",
            status.handover_lapses,
        ),
        Figure(
            "",
            "handover_unconfirmed",
            "Communes that have not confirmed that they can open what is handed over to them.",
            status.handover_unconfirmed,
        ),
        Figure(
            "partitions_ready_days",
            "partitions_ready_days",
            "Consecutive days from today that have a partition; at 0 nothing can be recorded.",
            status.partition_days,
        ),
        Figure(
            "keys_ready_days",
            "keys_ready_days",
            "Consecutive days from today that have a key; at 0 nothing can be recorded.",
            status.key_days,
        ),
    ]


def facts_of(status: Status) -> dict[str, Any]:
    """Return the `facts` of /readyz; what has no value is left out."""
    facts = _members(service_figures(status))
    return facts | {"retention": [_members(category_figures(category)) for category in status.categories]}


def _members(figures: Iterable[Figure]) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for figure in figures:
        if figure.member and (fact := figure.fact()) is not None:
            group, _, name = figure.member.rpartition(".")
            (members.setdefault(group, {}) if group else members)[name] = fact
    return members
