"""Where the service stands, as readiness answers it in JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from journal.core.times import format_day, format_seconds

if TYPE_CHECKING:
    from datetime import date, datetime

    from journal.standing import CategoryStanding, Standing


def facts_of(standing: Standing) -> dict[str, Any]:
    """Return what `/readyz` states beside its checks; what is not, or not yet, is left out."""
    row = standing.row
    return {
        "at": _at(standing.at),
        "certificate_expires_at": _at(standing.certificate_not_after),
        "retention": [_retention(category) for category in standing.categories],
        "seals": _present(
            last_number=row.number,
            last_at=_at(row.sealed_at),
            unsealed_heads=row.unsealed_heads,
            unsealed_days=standing.unsealed_days,
        ),
        "timestamps": _present(
            configured=standing.is_stamping,
            waiting=standing.unstamped_seals,
            waiting_since=_at(standing.unstamped_since),
            failing_since=_at(standing.stamping_failed_since),
        ),
        "handover": _present(failing=row.handover_faults, failing_since=_at(row.handover_failed_since)),
    }


def _retention(category: CategoryStanding) -> dict[str, Any]:
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
