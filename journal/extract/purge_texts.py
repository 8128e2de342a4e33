"""What a report says of purged days and of changes of their rule, in sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from journal.core.times import day_of, format_day
from journal.extract.purges import IN_TIME, LATE, NOT_SHOWN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from journal.extract.grounds import Rule
    from journal.extract.history import Purged
    from journal.extract.listed_seal import CheckedSeal
    from journal.extract.purges import PurgedDays


def purged_json(days: PurgedDays) -> dict[str, Any]:
    """Return one of the `days` of the member `purged` (FORMAT.md, section 12.5)."""
    result: dict[str, Any] = {"from": format_day(days.first), "to": format_day(days.last), "when": days.outcome}
    if days.entries is not None:
        result["entries"] = days.entries
    if days.outcome == LATE:
        result["late_days"] = list(days.late_days)
    return result


def purged_texts(purged: Purged, basis: str) -> list[str]:
    """Say what is purged, and which days were in time."""
    count = "all entries" if purged.count is None else f"{purged.count} entries"
    return [
        (
            f"Days up to {format_day(purged.through)} are purged under their rule ({basis}): {count} of the period, "
            f"before index {purged.before_index}, are gone."
        ),
        *(f"{days.days_text}: purged in time." for days in purged.of(IN_TIME)),
    ]


def late_texts(purged: Purged | None) -> list[str]:
    """Say which days were purged late, and by how much."""
    return [_late_text(days) for days in purged.of(LATE)] if purged is not None else []


def _late_text(days: PurgedDays) -> str:
    least, most = days.late_days
    unit = "day" if most == 1 else "days"
    span = f"up to {most} {unit}" if least == 0 else f"{most} {unit}" if least == most else f"{least} to {most} {unit}"
    entries = "entries" if days.entries is None else f"{days.entries} entries"
    return f"{days.days_text}: {entries} purged late, by {span}."


def not_shown_texts(purged: Purged) -> list[str]:
    """Say of which days the seals do not show when they were purged."""
    return [
        f"Whether {days.days_text} were purged in time: the seals here do not show when it was."
        for days in purged.of(NOT_SHOWN)
    ]


def instruction_texts(rule: Rule, seals: Sequence[CheckedSeal]) -> list[str]:
    """Say by which instructions the retention was changed, in the service's word; or that it names none."""
    if not rule.changes and len({checked.head.retention_days for checked in seals}) > 1:
        return ["The service names no instruction for the change of the retention."]
    return [
        f"By the service's word, instruction {change.instruction} of {format_day(day_of(change.changed_at))} asked for "
        f"{change.retention_days} days."
        for change in rule.changes
    ]
