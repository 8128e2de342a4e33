"""What the seals of an extract establish: coverage, base and head, purge and its opposites."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from journal.core.chain import Head
from journal.core.errors import (
    BrokenChainError,
    EarlyDeletionError,
    MalformedError,
    MismatchedPartError,
    NotCoveredError,
    OverRetentionError,
    VerificationError,
)
from journal.core.times import purgeable_through
from journal.extract.grounds import Rule, RuleChange
from journal.extract.verify import verify_extract
from tests.support.extracts import ANCHORS, Extract, World, march, noon, opened

if TYPE_CHECKING:
    from journal.extract.report import Report

DAY = timedelta(days=1)


def verify(extract: Extract) -> Report:
    """Verify an extract that the service signs, whatever is in it."""
    return verify_extract(opened(extract.pack()), anchors=ANCHORS)


def failure(extract: Extract) -> VerificationError:
    """Return the error an extract is refused with."""
    with pytest.raises(VerificationError) as caught:
        verify(extract)
    return caught.value


def listing(world: World, days: range, **changes: Any) -> Extract:
    """Return the extract of 3 and 4 March, made on the 6th, that lists the close seals of `days` alone."""
    fresh = world.seal(noon(march(6)))
    seals = [world.closes[march(day)] for day in days] + [fresh]
    return world.extract(march(3), march(4), at=noon(march(6), minutes=1), seals=seals, **changes)


# --- coverage


def test_the_seals_reach_the_whole_period() -> None:
    """From the eve to the last day; neither fewer nor more."""
    verify(listing(World().live(1, 5), range(2, 5)))
    error = failure(listing(World().live(1, 5), range(2, 4), head=World().live(1, 3).head()))
    assert (type(error), error.reason) == (NotCoveredError, "no close seal of 2026-03-04")
    for days in (range(1, 5), range(2, 6)):
        error = failure(listing(World().live(1, 5), days))
        assert (type(error), error.part) == (MismatchedPartError, "seals.json")


def test_no_day_is_missing_from_the_seals_not_even_an_empty_one() -> None:
    """The close seal of an empty day is what shows that it was empty (T-06)."""
    world = World().live(1, 2).live(3, 3, entries=0).live(4, 5)
    extract = listing(world, range(2, 5))
    verify(extract)
    extract.seals.pop(1)
    error = failure(extract)
    assert (type(error), error.reason) == (NotCoveredError, "no close seal of 2026-03-03")


def test_a_period_that_is_not_over_is_covered_up_to_the_open_seal() -> None:
    """The report says to which second; a period in the future is refused."""
    world = World().live(1, 3)
    world.append(noon(march(4)))
    report = verify(world.extract(march(3), march(4), at=noon(march(4), hour=13)))
    assert report.covered_until == noon(march(4), hour=13)
    assert report.verdict.endswith("up to 2026-03-04T13:00:00Z")
    error = failure(world.extract(march(3), march(5), at=noon(march(4), hour=14)))
    assert (type(error), error.part) == (NotCoveredError, "seals.json")


def test_today_alone_is_covered() -> None:
    """The close seal of its eve begins it."""
    world = World().live(1, 3)
    world.append(noon(march(4)))
    assert verify(world.extract(march(4), march(4), at=noon(march(4), hour=13))).manifest.disclosed == 1


def test_a_chain_that_begins_in_the_period_is_covered_from_its_genesis() -> None:
    """Nothing can come before index 0; with close seals of its own, or on its first day."""
    assert verify(World().live(3, 4).extract(march(1), march(4), at=noon(march(5)))).manifest.disclosed == 4
    world = World()
    world.append(noon(march(4)))
    assert verify(world.extract(march(1), march(4), at=noon(march(4), hour=13))).manifest.disclosed == 1
    assert verify(World().extract(march(4), march(4), at=noon(march(4)))).manifest.disclosed == 0


def test_a_chain_that_no_seal_of_the_period_holds_is_not_covered() -> None:
    """An open seal made later says nothing of days before it."""
    world = World()
    fresh = world.seal(noon(march(4)))
    world.closes[march(3)] = fresh
    error = failure(world.extract(march(1), march(3), at=noon(march(4), minutes=1), seals=[fresh]))
    assert (type(error), error.reason) == (NotCoveredError, "no close seal of 2026-03-03")


def test_an_entry_of_before_the_first_close_seal_shows() -> None:
    """Early close seals cannot be left out to hide when the first entries were recorded."""
    world = World().live(1, 4)
    seals = [world.closes[march(4)], world.seal(noon(march(5)))]
    error = failure(world.extract(march(3), march(4), at=noon(march(5), minutes=1), seals=seals, base=world.head(0)))
    assert type(error).__name__ == "ForeignEntryError"


def test_seals_stand_in_their_order_the_open_one_last() -> None:
    """Whatever else is in the list, or is not."""
    world = World().live(1, 5)
    extract = listing(world, range(2, 5))
    seals = extract.seals
    orders = {
        "no open seal": seals[:-1],
        "two open seals": [*seals, world.seal(noon(march(7)))],
        "reversed": seals[::-1],
        "swapped": [seals[1], seals[0], *seals[2:]],
        "twice": [seals[0], *seals],
        "open first": [seals[-1], *seals[:-1]],
    }
    for name, order in orders.items():
        error = failure(replace(extract, seals=order))
        assert (type(error), error.part) == (MalformedError, "seals.json"), name


# --- head and base


def test_the_head_is_the_one_of_the_last_day() -> None:
    """Neither another size nor another hash."""
    for head in (World().live(1, 5).head(6), Head(8, bytes(32))):
        error = failure(_with_head(head))
        assert (type(error), error.part) == (MismatchedPartError, "manifest.json")


def _with_head(head: Head) -> Extract:
    world = World().live(1, 5)
    extract = listing(world, range(2, 5))
    count = head.size - extract.manifest.base.size
    return replace(extract, manifest=replace(extract.manifest, head=head, disclosed=count))


def with_base(world: World, base: Head) -> Extract:
    """Return the extract of 3 and 4 March that begins elsewhere."""
    return listing(world, range(2, 5), base=base)


def test_nothing_is_missing_at_the_beginning() -> None:
    """An extract that begins after its eve, with no purge to excuse it, hides entries."""
    world = World().live(1, 5)
    for size in (5, 6, 8):
        error = failure(with_base(world, world.head(size)))
        assert (type(error), error.part) == (EarlyDeletionError, "manifest.json")


def test_nothing_is_added_at_the_beginning() -> None:
    """An extract that begins before its eve discloses what was not asked for."""
    world = World().live(1, 5)
    error = failure(with_base(world, world.head(2)))
    assert (type(error), error.part) == (MismatchedPartError, "manifest.json")


def test_the_base_is_the_head_of_the_eve() -> None:
    """Its chain hash too: the chain is walked from there."""
    error = failure(with_base(World().live(1, 5), Head(4, bytes(32))))
    assert (type(error), error.part) == (BrokenChainError, "manifest.json")


def test_an_extract_is_issued_after_the_seal_made_for_it() -> None:
    """A seal of the future covers nothing."""
    error = failure(listing(World().live(1, 5), range(2, 5), issued_at=noon(march(6)) - DAY))
    assert (type(error), error.part) == (MismatchedPartError, "manifest.json")


# --- purge


def purged(through: int, *, last: int = 5, retention_days: int = 3) -> World:
    """Return a chain that purged each night what it might, up to a day, and lived on to another."""
    world = World(retention_days=retention_days)
    for day in map(march, range(1, last + 1)):
        world.append(noon(day))
        if (due := purgeable_through(day, retention_days)) in world.closes and due <= march(through):
            world.purge(due)
        world.close(day)
    return world


def test_a_period_without_entries_is_shown_long_after() -> None:
    """What came before it is purged, and so would it be: the list ends with its last day, and nothing is accused."""
    world = World(retention_days=2)
    for day in map(march, range(1, 9)):
        if (due := purgeable_through(day, 2)) in world.closes:
            world.purge(due)
        if day <= march(2):
            world.append(noon(day))
        world.close(day)
    at = noon(march(9))
    seals = [*(world.closes[march(day)] for day in (2, 3, 4)), world.seal(at - timedelta(seconds=1))]
    report = verify(world.extract(march(3), march(4), at=at, seals=seals))
    assert (report.manifest.disclosed, report.purged) == (0, None)


def night(world: World, day: int, due: int) -> World:
    """Let the purge of one more day be done on a day."""
    world.append(noon(march(day)))
    world.purge(march(due))
    return world


def test_a_purge_is_stated_with_its_days() -> None:
    """The extract begins where the chain does, and says up to when it is purged, and how much."""
    world = night(purged(3), 6, 4)
    report = verify(world.extract(march(3), march(6), at=noon(march(6), hour=13)))
    assert report.purged is not None
    assert (report.purged.through, report.purged.before_index, report.purged.count) == (march(4), 4, 2)
    assert "still kept" in report.verdict
    assert any("2 entries of the period, before index 4, are gone" in sentence for sentence in report.checked)
    assert "The content of the purged entries." in report.not_checked


def test_a_period_purged_whole_is_covered() -> None:
    """By the close seals from its eve on, while their heads are kept, or by those from the last day purged on."""
    world = purged(6, last=8)
    full = world.extract(march(2), march(3), at=noon(march(9)))
    full = replace(full, manifest=replace(full.manifest, base=world.head(3), disclosed=0), records=[], proof=[])
    assert verify(full).purged is not None
    world = night(purged(6, last=8), 9, 7)
    seals = [world.closes[march(7)], world.closes[march(8)], world.seal(noon(march(9), hour=13))]
    late = world.extract(
        march(2), march(3), at=noon(march(9), hour=14), seals=seals, base=world.head(7), head=world.head(7)
    )
    report = verify(late)
    assert report.purged is not None
    assert (report.purged.through, report.purged.count) == (march(7), None)


def test_one_late_close_seal_covers_only_a_period_of_which_nothing_is_left() -> None:
    """It cannot stand for the days before it while there are entries to show."""
    world = World().live(1, 5)
    seals = [world.closes[march(5)], world.seal(noon(march(6)))]
    error = failure(
        world.extract(
            march(2), march(3), at=noon(march(6), minutes=1), seals=seals, base=world.head(0), head=world.head()
        )
    )
    assert (type(error), error.part) == (MismatchedPartError, "seals.json")


def test_a_list_may_begin_after_a_period_of_a_chain_that_was_always_empty() -> None:
    """Heads of its days are forgotten, and nothing was ever purged of it: one close seal after the period is enough."""
    world = World().live(1, 3, entries=0)
    seals = [world.closes[march(3)], world.seal(noon(march(5)))]
    report = verify(world.extract(march(1), march(2), at=noon(march(5), minutes=1), seals=seals))
    assert (report.manifest.disclosed, report.purged) == (0, None)


def test_a_list_that_begins_at_the_last_day_purged_is_enough() -> None:
    """Heads of older close seals are forgotten with the entries they counted."""
    world = night(purged(3), 6, 4)
    fresh = world.seal(noon(march(6), hour=13))
    seals = [world.closes[march(4)], world.closes[march(5)], fresh]
    report = verify(world.extract(march(1), march(6), at=noon(march(6), hour=14), seals=seals, base=world.head(4)))
    assert report.purged is not None
    assert (report.purged.through, report.purged.count) == (march(4), None)


def test_a_list_that_begins_with_the_first_day_of_a_purged_period() -> None:
    """The head of the eve is forgotten: when that day went is shown, and not how much it held."""
    world = night(purged(3), 6, 4)
    seals = [world.closes[march(4)], world.closes[march(5)], world.seal(noon(march(6), hour=13))]
    report = verify(world.extract(march(4), march(6), at=noon(march(6), hour=14), seals=seals, base=world.head(4)))
    assert report.purged is not None
    assert [(days.days_text, days.entries, days.outcome) for days in report.purged.days] == [
        ("2026-03-04", None, "in time")
    ]


def test_when_each_day_was_purged_is_told_as_the_seals_show_it() -> None:
    """In time, late by how much, or not shown; days without entries are passed over."""
    world = World(retention_days=3).live(1, 2).live(3, 3, entries=0).live(4, 4)
    world.purge(march(1))  # at the close of the 5th: two days late
    world.live(5, 5)
    world.purge(march(4))  # on the 6th: days 2 and 4, of which one is late
    report = verify(world.extract(march(1), march(5), at=noon(march(6))))
    assert report.purged is not None
    assert [(days.days_text, days.entries, days.outcome) for days in report.purged.days] == [
        ("2026-03-01 to 2026-03-02", None, "late"),
        ("2026-03-04", 2, "in time"),
    ]
    assert report.purged.days[0].late_days == (1, 2)
    report = verify(world.extract(march(2), march(5), at=noon(march(6), hour=13)))
    assert report.as_json()["purged"] == {
        "before_index": 6,
        "days": [
            {"entries": 2, "from": "2026-03-02", "late_days": [1, 2], "to": "2026-03-02", "when": "late"},
            {"entries": 2, "from": "2026-03-04", "to": "2026-03-04", "when": "in time"},
        ],
        "through": "2026-03-04",
    }
    assert "2026-03-02: 2 entries purged late, by 1 to 2 days." in report.remarks


def test_what_no_listed_seal_shows_of_a_purge_is_said() -> None:
    """Of days whose heads are forgotten; and where the close seal of a day was itself made late."""
    world = night(purged(3), 6, 4)
    seals = [world.closes[march(4)], world.closes[march(5)], world.seal(noon(march(6), hour=13))]
    report = verify(world.extract(march(1), march(6), at=noon(march(6), hour=14), seals=seals, base=world.head(4)))
    said = "Whether 2026-03-01 to 2026-03-03 were purged in time: the seals here do not show when it was."
    assert said in report.not_checked
    assert "2026-03-04: purged in time." in report.checked
    assert report.remarks == ()
    world = World(retention_days=3).live(1, 2)
    world.purge(march(1))
    world.append(noon(march(3)))
    world.close(march(3), late=timedelta(hours=14))
    report = verify(world.extract(march(1), march(3), at=noon(march(4), hour=15)))
    assert report.purged is not None
    assert [days.outcome for days in report.purged.days] == ["not shown"]


def test_a_purge_is_late_by_less_than_a_day_by_one_day_or_by_some() -> None:
    """Each is said as people say it."""
    for minutes, day, says in ((60, 4, "up to 1 day"), (60, 5, "1 to 2 days"), (30, 5, "1 day"), (30, 6, "2 days")):
        world = World(retention_days=3).live(1, day - 1)
        world.purge(march(day - 3))
        report = verify(world.extract(march(1), march(1), at=noon(march(day), hour=0, minutes=minutes)))
        assert report.remarks == (f"2026-03-01: entries purged late, by {says}.",)


def test_entries_still_there_at_the_moment_their_time_is_up_were_purged_late() -> None:
    """By a close seal of midnight itself, even where they are gone half an hour after it."""
    world = World(retention_days=3).live(1, 2)
    world.append(noon(march(3)))
    world.close(march(3), late=timedelta(0))
    world.purge(march(1))
    report = verify(world.extract(march(1), march(1), at=noon(march(4), hour=0, minutes=30)))
    assert report.remarks == ("2026-03-01: entries purged late, by up to 1 day.",)


@pytest.mark.parametrize(("seconds", "outcome"), [(3599, "in time"), (3600, "not shown")])
def test_a_seal_within_an_hour_of_the_time_shows_that_a_purge_was_in_time(seconds: int, outcome: str) -> None:
    """The day's time is up at the end of the third; the first seal after it is made so long after."""
    world = World(retention_days=3).live(1, 2)
    world.append(noon(march(3)))
    world.purge(march(1))
    world.close(march(3), late=timedelta(seconds=seconds))
    report = verify(world.extract(march(1), march(1), at=noon(march(4))))
    assert report.purged is not None
    assert [days.outcome for days in report.purged.days] == [outcome]


def test_the_first_seal_of_a_list_may_be_the_last_that_shows_a_day_or_the_first_that_does_not() -> None:
    """No seal of the eve is listed: a day that the first shows was gone in time, one that it does not is not shown."""
    world = World(retention_days=2).live(1, 1)
    world.purge(march(1))
    world.live(2, 2)
    report = verify(world.extract(march(1), march(2), at=noon(march(3))))
    assert report.purged is not None
    assert [(days.days_text, days.outcome) for days in report.purged.days] == [("2026-03-01", "in time")]
    world = World(retention_days=2)
    world.append(noon(march(1)))
    world.kept_from = 1
    world.close(march(1), late=timedelta(hours=36))
    world.close(march(2), late=timedelta(hours=12.5))
    report = verify(world.extract(march(1), march(1), at=noon(march(3), hour=13)))
    assert report.purged is not None
    assert [(days.days_text, days.outcome) for days in report.purged.days] == [("2026-03-01", "not shown")]


def test_a_purge_before_its_time_is_an_early_deletion() -> None:
    """In the last seal, or in one that was closed while the entries should still have been there."""
    world = night(purged(3), 6, 5)
    error = failure(world.extract(march(3), march(6), at=noon(march(6), hour=13)))
    assert (type(error), error.part) == (EarlyDeletionError, "seals.json seal 6")
    world = World(retention_days=4).live(1, 3, entries=1)
    world.purge(march(3))
    world.close(march(4))
    error = failure(world.extract(march(3), march(5), at=noon(march(5))))
    assert (type(error), error.part) == (EarlyDeletionError, "seals.json seal 4")


def test_leaving_close_seals_out_hides_no_early_deletion() -> None:
    """A list that begins late proves that what came before could be purged, or the extract is refused."""
    world = night(World(retention_days=4).live(1, 5, entries=1), 6, 5)
    fresh = world.seal(noon(march(6), hour=13))
    error = failure(
        world.extract(
            march(1), march(6), at=noon(march(6), hour=14), seals=[world.closes[march(5)], fresh], base=world.head(5)
        )
    )
    assert (type(error), error.part) == (EarlyDeletionError, "seals.json seal 6")
    world = World()
    world.append(noon(march(1)))
    world.kept_from = 1
    error = failure(world.extract(march(1), march(1), at=noon(march(1), hour=13), base=world.head(1)))
    assert (type(error), error.part) == (EarlyDeletionError, "seals.json seal 1")


def test_a_purge_ends_with_a_day() -> None:
    """A base in the middle of one is no purge."""
    world = World(retention_days=3).live(1, 5)
    world.kept_from = 3
    error = failure(world.extract(march(1), march(5), at=noon(march(6))))
    assert type(error) is OverRetentionError  # 3 and 4 March had to be purged
    world = World(retention_days=5).live(1, 5)
    world.kept_from = 3
    error = failure(world.extract(march(2), march(5), at=noon(march(6))))
    assert (type(error), error.reason) == (EarlyDeletionError, "it begins in the middle of a day")


def test_what_is_kept_past_its_limit_is_over_retention() -> None:
    """By the last seal, or by what the extract holds although the seals say it is gone."""
    world = purged(1)
    error = failure(world.extract(march(2), march(5), at=noon(march(6))))
    assert (type(error), error.part) == (OverRetentionError, "seals.json seal 6")
    world = night(purged(3), 6, 4)
    error = failure(world.extract(march(3), march(6), at=noon(march(6), hour=13), base=world.head(2)))
    assert (type(error), error.part) == (OverRetentionError, "manifest.json")


def test_an_extract_issued_late_holds_nothing_that_is_due_by_then() -> None:
    """The day it is issued counts, not that of its seal."""
    world = night(purged(3), 6, 4)
    at = noon(march(6), hour=13)
    verify(world.extract(march(5), march(6), at=at, issued_at=noon(march(7))))
    error = failure(world.extract(march(5), march(6), at=at + timedelta(hours=1), issued_at=noon(march(8))))
    assert (type(error), error.part) == (OverRetentionError, "manifest.json")


def test_an_extract_signed_late_holds_nothing_that_is_due_by_then() -> None:
    """The signer still holds the entries: the day of the signature counts as well."""
    extract = night(purged(3), 6, 4).extract(march(5), march(6), at=noon(march(6), hour=13))
    verify_extract(opened(extract.pack(signed_at=noon(march(7), hour=23))), anchors=ANCHORS)
    with pytest.raises(OverRetentionError, match="when it was signed") as caught:
        verify_extract(opened(extract.pack(signed_at=noon(march(8)))), anchors=ANCHORS)
    assert caught.value.part == "META-INF/signature.p7s"


def test_a_purge_that_was_late_and_is_done_is_told_not_refused() -> None:
    """Over-retention is judged when the extract is issued; what is over is worth knowing."""
    world = World(retention_days=3).live(1, 4, entries=1)
    world.append(noon(march(5)))
    world.purge(march(3))
    report = verify(world.extract(march(1), march(5), at=noon(march(5), hour=13)))
    assert report.remarks == ("2026-03-01 to 2026-03-02: entries purged late, by up to 2 days.",)
    assert "2026-03-03: purged in time." in report.checked
    assert report.verdict.endswith("; days of it were purged late")
    # Where nothing of the period is purged, seals in it may still show a purge that was late.
    world = World(retention_days=3).live(1, 3, entries=1)
    world.purge(march(1))
    report = verify(world.extract(march(2), march(4), at=noon(march(4), hour=14)))
    assert report.purged is None
    assert [remark[:30] for remark in report.remarks] == ["A purge was late, and has been"]
    assert "days up to 2026-03-01 had to be purged" in report.remarks[0]


def test_a_longer_retention_does_not_make_an_old_purge_early() -> None:
    """What was purged under the shorter rule stays so; the report tells the change."""
    world = purged(3)
    world.retention_days = 60
    report = verify(world.extract(march(2), march(5), at=noon(march(6))))
    assert any("entries are kept 60 days; before, 3" in remark for remark in report.remarks)
    world.kept_from = 4
    error = failure(world.extract(march(2), march(5), at=noon(march(6), hour=13)))
    assert (type(error), error.part) == (EarlyDeletionError, "seals.json seal 7")


def test_a_rule_that_grows_is_told_once() -> None:
    """A longer rule is stated a day more each day: one sentence, from where to where; others are told one by one."""
    world = World(retention_days=20).live(1, 2)
    for number, days in ((3, 21), (4, 22), (5, 22), (6, 23), (7, 10), (8, 11)):
        world.retention_days = days
        world.live(number, number)
    report = verify(world.extract(march(2), march(8), at=noon(march(9))))
    *rules, without = report.remarks
    assert without == "The service names no instruction for the change of the retention."
    assert [remark.partition("(")[0] + remark.rpartition(")")[2] for remark in rules] == [
        "From seal 3 , the retention grows from 20 to 23 days.",
        "From seal 7  on, entries are kept 10 days; before, 23.",
        "From seal 8  on, entries are kept 11 days; before, 10.",
    ]


def test_a_shorter_retention_takes_effect_at_once() -> None:
    """From the change on, the entries that would be past the new limit must be gone."""
    world = World(retention_days=60).live(1, 5, entries=1)
    world.retention_days = 3
    error = failure(world.extract(march(2), march(5), at=noon(march(6))))
    assert type(error) is OverRetentionError
    world.purge(march(4))
    report = verify(world.extract(march(2), march(5), at=noon(march(6), hour=13)))
    assert report.purged is not None
    assert any("entries are kept 3 days; before, 60" in remark for remark in report.remarks)
    assert "The service names no instruction for the change of the retention." in report.remarks
    rule = Rule("contrat, art. 13.2", (RuleChange(noon(march(1)), 3, "AVENANT-2026-3"),))
    report = verify(world.extract(march(2), march(5), at=noon(march(6), hour=14), rule=rule))
    said = "By the service's word, instruction AVENANT-2026-3 of 2026-03-01 asked for 3 days."
    assert said in report.remarks


def test_days_long_ago_and_the_end_of_the_calendar_are_compared_without_harm() -> None:
    """No date of a signed extract makes the arithmetic fail."""
    world = World().live(1, 2)
    assert (
        verify(world.extract(march(1).replace(year=1970, month=1), march(2), at=noon(march(3)))).manifest.disclosed == 4
    )
    error = failure(world.extract(march(1), march(1).replace(year=9999), at=noon(march(3), hour=13)))
    assert type(error) is NotCoveredError
