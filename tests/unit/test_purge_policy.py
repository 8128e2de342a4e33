"""When a day is handed over, must be gone, and may be read: to the day, for every rule that a category may have."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone

import pytest

from journal.core.times import MAX_RETENTION_DAYS, MIN_RETENTION_DAYS, overdue_through, purgeable_through
from retention.policy import goes_at, handover_through, readable_from, waits_until
from retention.purge_plan import PlannedDay
from retention.purge_steps import Choice, DueDay

TODAY = date(2026, 5, 20)
RULES = [MIN_RETENTION_DAYS, 3, 30, MAX_RETENTION_DAYS]


def test_the_days_of_a_rule_of_30() -> None:
    """Written out, so that no formula stands on both sides."""
    assert purgeable_through(TODAY, 30) == date(2026, 4, 21)
    assert overdue_through(TODAY, 30) == date(2026, 4, 20)
    assert readable_from(TODAY, 30) == date(2026, 4, 21)
    assert handover_through(TODAY, 30) == date(2026, 4, 22)
    assert goes_at(date(2026, 4, 20), 30) == datetime(2026, 5, 20, tzinfo=timezone.utc)
    assert waits_until(date(2026, 4, 20), 30) == datetime(2026, 5, 19, 22, tzinfo=timezone.utc)


def test_today_is_never_handed_over() -> None:
    """The shortest rule lets yesterday be purged; what is handed over ends there too."""
    assert purgeable_through(TODAY, 2) == handover_through(TODAY, 2) == date(2026, 5, 19)
    assert handover_through(TODAY, 3) == date(2026, 5, 19)
    assert handover_through(TODAY, 4) == date(2026, 5, 18)


@pytest.mark.parametrize("days", RULES)
def test_a_day_may_be_read_until_the_moment_it_must_be_gone(days: int) -> None:
    """A day is readable on the last day before it must be gone, and not on the day after."""
    day = readable_from(TODAY, days)
    assert goes_at(day, days).date() == TODAY + timedelta(days=1)
    assert goes_at(day - timedelta(days=1), days).date() == TODAY


def _due(day: int, category: str = "main-courante", **flags: bool) -> DueDay:
    return DueDay(category=category, day=date(2026, 4, day), retention_days=30, **flags)


def test_a_run_takes_so_many_days_of_each_category() -> None:
    """The limit counts each category for itself; without one, every day goes."""
    choice = Choice(2)
    assert [choice.takes(_due(day)) for day in (1, 2, 3, 4)] == [True, True, False, False]
    assert [choice.takes(_due(day, "ecrits")) for day in (1, 2, 3)] == [True, True, False]
    assert all(Choice(None).takes(_due(day)) for day in range(1, 29))
    assert not Choice(0).takes(_due(1))


@pytest.mark.parametrize("flag", ["asked_for", "begun"])
def test_what_no_clock_decides_does_not_count(flag: str) -> None:
    """A day that a shorter rule asks for, or that was begun, is taken beside the limit."""
    choice = Choice(1)
    assert choice.takes(_due(1, **{flag: True}))
    assert choice.takes(_due(2))
    assert not choice.takes(_due(3))
    # Beyond the limit, even those stay: an earlier day does.
    assert not choice.takes(_due(4, **{flag: True}))


def test_no_day_goes_after_one_of_its_category_that_stays() -> None:
    """A fence covers all days before it: later days of the category stay too, those of others do not."""
    choice = Choice(None)
    assert not choice.is_held(_due(1))
    choice.hold(_due(1))
    assert choice.is_held(_due(2))
    assert not choice.takes(_due(2))
    assert not choice.is_held(_due(2, "ecrits"))
    assert choice.takes(_due(2, "ecrits"))


def _planned(*, due: DueDay | None = None, **facts: object) -> PlannedDay:
    members = {
        "due": due or _due(1),
        "entries": 0,
        "compartments": 0,
        "disk_bytes": 0,
        "has_key": False,
        "is_sealed": True,
        "gone_before": goes_at(date(2026, 4, 1), 30),
    }
    return PlannedDay(**{**members, **facts})


def test_a_planned_day_goes_unless_it_waits_or_is_beyond() -> None:
    """It waits for a hand-over, its own or an earlier day's."""
    assert _planned().goes
    assert not _planned().waits
    for facts in ({"waits_for": ("albi",)}, {"is_held": True}):
        assert _planned(**facts).waits
        assert not _planned(**facts).goes
    assert not _planned(is_beyond=True).waits
    assert not _planned(is_beyond=True).goes


def test_a_planned_day_is_gone_only_where_nothing_of_it_is_left() -> None:
    """And only under a shorter rule that asks for it: another day without entries is still to be purged."""
    asked = _due(1, asked_for=True)
    assert _planned(due=asked).is_gone
    assert not _planned().is_gone
    for facts in ({"entries": 1}, {"disk_bytes": 1}, {"has_key": True}):
        assert not _planned(due=asked, **facts).is_gone
