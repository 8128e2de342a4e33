"""No honest service is ever accused: extracts of any life that follows the rules verify."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from journal.core.times import overdue_through, purgeable_through
from journal.extract.verify import verify_extract
from tests.support.extracts import ANCHORS, World, march, noon, opened

if TYPE_CHECKING:
    from datetime import date

pytestmark = pytest.mark.untraced

DAY = timedelta(days=1)


@given(
    retention_days=st.integers(2, 5),
    entries=st.lists(st.integers(0, 2), min_size=1, max_size=12),
    first=st.integers(0, 11),
    length=st.integers(0, 3),
    early=st.booleans(),
    forgets=st.booleans(),
)
def test_an_honest_service_is_never_accused(
    *, retention_days: int, entries: list[int], first: int, length: int, early: bool, forgets: bool
) -> None:
    """Whatever the days, the entries, the rule and the hour of the purge, every extract it makes verifies."""
    world = World(retention_days=retention_days)
    today = march(len(entries))
    for day, count in zip(map(march, range(1, len(entries) + 1)), entries):
        _purge(world, day, retention_days, early=early)
        for number in range(count):
            world.append(noon(day, minutes=number))
        if day != today:
            world.close(day)
    last = min(march(first + 1) + length * DAY, today)
    period_first = min(march(first + 1), last)
    at = noon(today, hour=13)
    fresh = world.seal(at - timedelta(seconds=1))
    eve = period_first - DAY
    # The heads of close seals before the last day purged may be gone: then the list begins there.
    begin = max(eve, world.purged_through) if forgets else eve
    start = world.closes[eve].head.size if begin == eve in world.closes else 0
    end = fresh.head if last == today else world.closes[max(begin, last)].head
    # What is purged is listed up to yesterday, to show when it went.
    until = today - DAY if min(world.kept_from, end.size) > start else max(begin, last)
    listed = [day for day in sorted(world.closes) if begin <= day <= until]
    base = max(start, min(world.kept_from, end.size))
    extract = world.extract(
        period_first,
        last,
        at=at,
        seals=[*(world.closes[day] for day in listed), fresh],
        base=world.head(base),
        head=world.head(end.size),
    )
    report = verify_extract(opened(extract.pack()), anchors=ANCHORS)
    assert report.manifest.disclosed == end.size - base


def _purge(world: World, today: date, retention_days: int, *, early: bool) -> None:
    """Purge in the night as soon as the rule allows, or as late as it allows."""
    due = purgeable_through(today, retention_days) if early else overdue_through(today, retention_days)
    if due in world.closes:
        world.purge(due)
