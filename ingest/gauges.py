"""Where the service stands, as gauges: name, help, value. Where there is no value, there is no sample."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from journal.core.times import format_day, format_seconds, midnight

if TYPE_CHECKING:
    from datetime import date, datetime

    from journal.status.figures import CategoryStatus, Status


Gauges = list[tuple[str, str, float | None]]


def service_gauges(status: Status) -> Gauges:
    """Return those of the whole service."""
    row = status.row
    return [
        (
            "openepm_journal_database_clock_departure_seconds",
            "By how much the database's clock departs from the service's; beyond 2 nothing is appended.",
            status.database_departure.total_seconds(),
        ),
        (
            "openepm_journal_certificate_expiry_timestamp_seconds",
            "When the signing certificate expires; nothing is sealed or extracted after it.",
            status.certificate_not_after.timestamp(),
        ),
        ("openepm_journal_last_seal_number", "The latest seal; 0 before the first.", row.number or 0),
        (
            "openepm_journal_last_seal_age_seconds",
            "How long ago the latest seal was made. Nothing is sealed while no head moves.",
            _seconds(status.at, row.sealed_at),
        ),
        (
            "openepm_journal_unsealed_heads",
            "Chains that moved since the latest seal.",
            row.unsealed_heads,
        ),
        ("openepm_journal_unsealed_days", "Days that are over and have no close seal yet.", status.unsealed_days),
        (
            "openepm_journal_stamping_configured",
            "1 where a time-stamping authority is configured, else 0.",
            status.is_stamping,
        ),
        (
            "openepm_journal_unstamped_seals",
            "Close seals of the last two months that are not time-stamped yet; 0 where no authority is configured.",
            status.unstamped_seals,
        ),
        (
            "openepm_journal_unstamped_seals_age_seconds",
            "How long ago the oldest of them was made; 0 where there is none.",
            _seconds(status.at, status.unstamped_since) or 0,
        ),
        (
            "openepm_journal_stamping_failing_seconds",
            "For how long the time-stamping authority has been asked in vain while seals wait; 0 while it answers.",
            _seconds(status.at, status.stamping_failed_since) or 0,
        ),
        (
            "openepm_journal_handover_faults",
            "Communes to which nothing can be handed over now.",
            row.handover_faults,
        ),
        (
            "openepm_journal_handover_failing_seconds",
            "For how long the first of them could not be handed anything; 0 where there is none.",
            _seconds(status.at, row.handover_failed_since) or 0,
        ),
    ]


def category_gauges(status: CategoryStatus) -> Gauges:
    """Return those of one category."""
    purged_day = status.purged_day
    return [
        (
            "openepm_journal_oldest_entry_age_seconds",
            "At most how old the oldest entry kept is: the time since its day began. 0 where none is kept.",
            status.oldest_age.total_seconds(),
        ),
        (
            "openepm_journal_retention_limit_seconds",
            "How old an entry may become: never older than this, by law.",
            status.retention.total_seconds(),
        ),
        (
            "openepm_journal_last_purged_day_timestamp_seconds",
            "The beginning of the last day that is wholly gone; absent before the first purge.",
            _timestamp(midnight(purged_day)) if purged_day else None,
        ),
        (
            "openepm_journal_last_purge_timestamp_seconds",
            "When that day was wholly gone, rows and keys; absent before the first purge.",
            _timestamp(status.purged_at),
        ),
        (
            "openepm_journal_next_purge_timestamp_seconds",
            "When the oldest day on disk may go; it must be gone 24 hours later.",
            _timestamp(status.next_at),
        ),
        (
            "openepm_journal_overdue_days",
            "Days on disk that must be gone already: over-retention.",
            status.overdue_days,
        ),
        (
            "openepm_journal_handover_waiting_days",
            "Days with entries that may go and wait for their hand-over.",
            status.handover_days,
        ),
        (
            "openepm_journal_handover_lapses",
            "Days of a commune that were purged at their limit without the hand-over it asked for, within a year.",
            status.handover_lapses,
        ),
        (
            "openepm_journal_partitions_ready_days",
            "For how many days, from today on, there is a partition; 0: nothing can be recorded.",
            status.partition_days,
        ),
        (
            "openepm_journal_keys_ready_days",
            "For how many days, from today on, there is a key; 0: nothing can be recorded.",
            status.key_days,
        ),
    ]


def _seconds(now: datetime, moment: datetime | None) -> float | None:
    return max(0.0, (now - moment).total_seconds()) if moment is not None else None


def _timestamp(moment: datetime | None) -> float | None:
    return moment.timestamp() if moment is not None else None


def facts_of(status: Status) -> dict[str, Any]:
    """Return what `/readyz` states beside its checks; what is not, or not yet, is left out."""
    row = status.row
    return {
        "at": _at(status.at),
        "certificate_expires_at": _at(status.certificate_not_after),
        "retention": [_retention(category) for category in status.categories],
        "seals": _present(
            last_number=row.number,
            last_at=_at(row.sealed_at),
            unsealed_heads=row.unsealed_heads,
            unsealed_days=status.unsealed_days,
        ),
        "timestamps": _present(
            configured=status.is_stamping,
            waiting=status.unstamped_seals,
            waiting_since=_at(status.unstamped_since),
            failing_since=_at(status.stamping_failed_since),
        ),
        "handover": _present(failing=row.handover_faults, failing_since=_at(row.handover_failed_since)),
    }


def _retention(category: CategoryStatus) -> dict[str, Any]:
    return _present(
        category=category.category,
        oldest_day=_day(category.oldest_day),
        oldest_entry_age_seconds=int(category.oldest_age.total_seconds()),
        limit_seconds=int(category.retention.total_seconds()),
        last_purged_day=_day(category.purged_day),
        last_purge_at=_at(category.purged_at),
        next_purge_day=_day(category.next_day),
        next_purge_at=_at(category.next_at),
        next_purge_before=_at(category.next_limit),
        overdue_days=category.overdue_days,
        waiting_for_handover_days=category.handover_days,
        partitions_ready_days=category.partition_days,
        keys_ready_days=category.key_days,
    )


def _present(**members: Any) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}


def _day(day: date | None) -> str | None:
    return format_day(day) if day is not None else None


def _at(moment: datetime | None) -> str | None:
    return format_seconds(moment.replace(microsecond=0)) if moment is not None else None
