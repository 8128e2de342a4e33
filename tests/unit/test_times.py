"""Times and days have one spelling, in which the order of texts is the order of times."""

from __future__ import annotations

import time
from contextlib import suppress
from datetime import date, datetime, timedelta, timezone
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from journal.core import times
from journal.core.errors import MalformedError

if TYPE_CHECKING:
    from collections.abc import Callable

MOMENTS = st.datetimes(timezones=st.just(timezone.utc))
DAYS = st.dates()
ANY_TEXT = st.text() | st.text(alphabet="0123456789-:.TtZz+ \n") | st.text(st.characters())


@given(MOMENTS)
def test_a_time_reads_back_as_it_was_spelt(moment: datetime) -> None:
    """Spelling a time and reading it gives the same time, to the microsecond."""
    text = times.format_time(moment)
    assert len(text) == 27
    assert times.parse_time(text) == moment
    assert times.parse_time(text).tzinfo is timezone.utc
    assert times.normalise_time(text) == text


@given(MOMENTS, MOMENTS)
def test_the_order_of_texts_is_the_order_of_times(one: datetime, other: datetime) -> None:
    """Two times compare as their spellings do."""
    assert (one < other) == (times.format_time(one) < times.format_time(other))


@given(MOMENTS.map(lambda moment: moment.replace(microsecond=0)))
def test_a_time_of_whole_seconds_reads_back(moment: datetime) -> None:
    """The spelling of seals keeps whole seconds exactly."""
    assert times.parse_seconds(times.format_seconds(moment)) == moment


@given(DAYS)
def test_a_day_reads_back(day: date) -> None:
    """Spelling a day and reading it gives the same day."""
    assert times.parse_day(times.format_day(day)) == day


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-03-14T08:00:00Z",
        "2026-03-14T08:00:00.25Z",
        "2026-03-14T08:00:00.2500000Z",
        "2026-03-14T08:00:00.250000",
        "2026-03-14T08:00:00.250000z",
        "2026-03-14t08:00:00.250000Z",
        "2026-03-14 08:00:00.250000Z",
        "2026-03-14T08:00:00,250000Z",
        "2026-03-14T08:00:00.250000+00:00",
        "2026-03-14T08:00:00.250000Z\n",
        " 2026-03-14T08:00:00.250000Z",
        "2026-03-14T08:00:00.25000\u0660Z",
        "2026-02-29T08:00:00.250000Z",
        "2026-13-01T08:00:00.250000Z",
        "2026-03-14T24:00:00.000000Z",
        "2026-03-14T08:60:00.000000Z",
        "2026-03-14T08:00:60.000000Z",
        "0000-01-01T00:00:00.000000Z",
        "2026-W11-6T08:00:00.250000Z",
    ],
)
def test_another_spelling_of_a_time_is_refused(text: str) -> None:
    """Only the one spelling of a time of the calendar is read."""
    with pytest.raises(MalformedError):
        times.parse_time(text)


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("2026-03-14T08:00:00Z", "2026-03-14T08:00:00.000000Z"),
        ("2026-03-14t08:00:00z", "2026-03-14T08:00:00.000000Z"),
        ("2026-03-14T08:00:00.1Z", "2026-03-14T08:00:00.100000Z"),
        ("2026-03-14T08:00:00.123456Z", "2026-03-14T08:00:00.123456Z"),
        ("2026-03-14T08:00:00.123456000Z", "2026-03-14T08:00:00.123456Z"),
        ("2026-03-14T08:00:00+00:00", "2026-03-14T08:00:00.000000Z"),
        ("2026-03-14T08:00:00-00:00", "2026-03-14T08:00:00.000000Z"),
        ("2026-03-14T08:00:00.5+02:00", "2026-03-14T06:00:00.500000Z"),
        ("2026-03-14T23:30:00-01:30", "2026-03-15T01:00:00.000000Z"),
        ("2026-01-01T00:00:00+01:00", "2025-12-31T23:00:00.000000Z"),
        ("2024-03-01T00:30:00+01:00", "2024-02-29T23:30:00.000000Z"),
        ("2026-03-14T08:00:00+23:59", "2026-03-13T08:01:00.000000Z"),
    ],
)
def test_a_time_with_its_zone_is_brought_to_utc(text: str, normal: str) -> None:
    """Any RFC 3339 spelling of an instant leads to the one spelling of that instant."""
    assert times.normalise_time(text) == normal


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("2026-03-14T08:00:00", "no zone"),
        ("2026-03-14T08:00:00.5", "no zone"),
        ("2026-03-14T08:00:00.1234567Z", "finer"),
        ("2026-03-14T08:00:00.12345600001Z", "finer"),
        ("2026-03-14T08:00:00." + "0" * 9 + "1+01:00", "finer"),
        ("2016-12-31T23:59:60Z", "leap second"),
        ("2017-01-01T00:59:60+01:00", "leap second"),
        ("2026-02-30T08:00:00Z", "calendar"),
        ("2026-02-30T08:00:00.000000Z", "calendar"),
        ("2026-03-14T08:00:61Z", "calendar"),
        ("2026-03-14T08:00:00+24:00", "calendar"),
        ("2026-03-14T08:00:00+01:60", "calendar"),
        ("2026-03-14T08:00:00-00:99", "calendar"),
        ("0001-01-01T00:00:00+00:01", "calendar"),
        ("9999-12-31T23:59:59-00:01", "calendar"),
        ("2026-03-14", "RFC 3339"),
        ("20260314T080000Z", "RFC 3339"),
        ("2026-03-14 08:00:00Z", "RFC 3339"),
        ("2026-03-14T08:00Z", "RFC 3339"),
        ("2026-03-14T08:00:00.Z", "RFC 3339"),
        ("2026-03-14T08:00:00,5Z", "RFC 3339"),
        ("2026-03-14T08:00:00+0200", "RFC 3339"),
        ("2026-03-14T08:00:00+02", "RFC 3339"),
        ("2026-03-14T08:00:00Z ", "RFC 3339"),
        ("2026-03-14T08:00:00Z\n", "RFC 3339"),
        ("+2026-03-14T08:00:00Z", "RFC 3339"),
        ("yesterday", "RFC 3339"),
        ("", "RFC 3339"),
    ],
)
def test_a_time_that_cannot_be_kept_is_refused_by_name(text: str, reason: str) -> None:
    """The refusal says which rule is broken: naive, too fine, leap second, no date at all."""
    with pytest.raises(MalformedError, match=reason):
        times.normalise_time(text)


@given(MOMENTS, st.integers(-1439, 1439))
def test_an_instant_has_one_spelling_whatever_its_offset(moment: datetime, minutes: int) -> None:
    """The same instant told in two zones is normalised to the same text."""
    zone = timezone(timedelta(minutes=minutes))
    try:
        local = moment.astimezone(zone)
    except OverflowError:
        return
    assert times.normalise_time(local.isoformat(timespec="microseconds")) == times.format_time(moment)


@pytest.mark.parametrize("read", [times.parse_time, times.normalise_time, times.parse_day, times.parse_seconds])
@given(text=ANY_TEXT)
def test_any_text_is_read_or_refused(read: Callable[[str], object], text: str) -> None:
    """No text makes a reader fail in another way than by refusing."""
    with suppress(MalformedError):
        read(text)


@pytest.mark.parametrize("text", ["", "2026-3-14", "20260314", "2026-03-14T", "2026-02-29", "2026-W11-6"])
def test_another_spelling_of_a_day_is_refused(text: str) -> None:
    """Only YYYY-MM-DD of the calendar is read as a day."""
    with pytest.raises(MalformedError):
        times.parse_day(text)


@pytest.mark.parametrize("text", ["", "2026-03-14T08:00:00.0Z", "2026-03-14T08:00:00+00:00", "2026-03-14T25:00:00Z"])
def test_another_spelling_of_seconds_is_refused(text: str) -> None:
    """Only YYYY-MM-DDTHH:MM:SSZ of the calendar is read as a seal's time."""
    with pytest.raises(MalformedError):
        times.parse_seconds(text)


NAIVE = datetime(2026, 3, 14, 8, 0, 0)  # noqa: DTZ001  (naive on purpose)
PARIS = datetime(2026, 3, 14, 8, 0, 0, tzinfo=timezone(timedelta(hours=1)))


@pytest.mark.parametrize("moment", [NAIVE, PARIS])
def test_a_time_of_no_zone_or_another_is_never_spelt(moment: datetime) -> None:
    """A local time could be spelt as if it were UTC: it is refused wherever a time is written."""
    for write in (times.format_time, times.format_seconds, times.day_of):
        with pytest.raises(ValueError, match="UTC"):
            write(moment)


def test_a_fraction_is_not_cut_off() -> None:
    """A time with microseconds is refused where whole seconds are written."""
    with pytest.raises(ValueError, match="whole seconds"):
        times.format_seconds(datetime(2026, 3, 14, 8, 0, 0, 1, tzinfo=timezone.utc))


def test_a_time_is_not_a_day() -> None:
    """A datetime is a date to Python; spelling it as a day would hide its zone."""
    with pytest.raises(ValueError, match="day"):
        times.format_day(PARIS)


def test_the_day_is_that_of_utc() -> None:
    """The last microsecond of a day belongs to it, the next to the next day."""
    last = datetime(2026, 3, 14, 23, 59, 59, 999999, tzinfo=timezone.utc)
    assert times.day_of(last) == date(2026, 3, 14)
    assert times.day_of(last + timedelta(microseconds=1)) == date(2026, 3, 15)
    assert times.day_of(times.midnight(date(2026, 3, 15))) == date(2026, 3, 15)
    assert times.midnight(date(2026, 3, 15)) == last + timedelta(microseconds=1)


def test_the_zone_of_the_machine_plays_no_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """A time of another offset becomes UTC, wherever the service runs."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Pacific/Auckland")
        time.tzset()
        try:
            assert times.normalise_time("2026-03-14T08:00:00+01:00") == "2026-03-14T07:00:00.000000Z"
        finally:
            patch.undo()
            time.tzset()
