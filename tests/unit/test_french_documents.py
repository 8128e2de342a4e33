"""The French of documents: how moments are written."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from journal.document.french import paris_moment, solid_moment


def test_a_moment_in_paris_is_what_its_clocks_show() -> None:
    """Around both changes of the hour of thirty years, to the second, and on every day between them."""
    paris = ZoneInfo("Europe/Paris")
    day, end = datetime(2020, 1, 1, 1, tzinfo=UTC), datetime(2050, 1, 1, tzinfo=UTC)
    while day < end:
        for moment in (day - timedelta(seconds=1), day):
            shown = moment.astimezone(paris).replace(tzinfo=UTC)
            assert paris_moment(moment) == f"{solid_moment(shown)}\u00a0(heure de Paris)", moment
        day += timedelta(days=1)
