"""Extracts across a change of the retention: shorter, longer, one after the other; right, and not."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING, Any

from journal.core.times import purgeable_through
from journal.extract.layout import MANIFEST
from journal.extract.listing import encode_head_answer
from tests.support.extracts import march, noon
from tests.vectors.extract_cases.case import ONE_DAY, Case, Small, facts, refused, verified

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.support.extracts import Extract

EARLY, OVER, GAP = "early deletion", "over-retention", "gap"
LONG, SHORT = 8, 3


def cases() -> Iterator[Case]:
    """Yield them."""
    yield from _right()
    for name, about, verdict, part, extract in _refused():
        yield refused(name, about, extract, verdict, part)


def grow(world: Small, today: date, wanted: int) -> None:
    """State as much of a longer rule as the purged days allow on that day."""
    if wanted > world.retention_days:
        purged = world.purged_through
        world.retention_days = wanted if purged == date.min else min(wanted, (today - purged).days + 1)


def keep_rule(world: Small, today: date, wanted: int) -> None:
    """Do what the purge does on a day under a rule that was asked for."""
    grow(world, today, wanted)
    due = purgeable_through(today, min(wanted, world.retention_days))
    if due in world.closes:
        world.purge(due)
    world.retention_days = min(wanted, world.retention_days)


def lived(last: int, rules: Mapping[int, int], *, empty: tuple[int, ...] = ()) -> Small:
    """Return an honest service's chain, up to the purge of the day after `last`; `rules` by the day of their asking."""
    world, wanted = Small(retention_days=LONG), LONG
    for number in range(1, last + 2):
        day, wanted = march(number), rules.get(number, wanted)
        keep_rule(world, day, wanted)
        if number <= last:
            if number not in empty:
                world.append(noon(day))
            grow(world, day + ONE_DAY, wanted)  # its close seal is made on the next
            world.close(day)
    return world


def asked(world: Small, first: int, last: int, today: int, **changes: Any) -> Extract:
    """Return the extract that an honest service makes at noon of a day: its list begins where the chain still does."""
    fresh = world.seal(noon(march(today)))
    begin = max(march(first) - ONE_DAY, world.purged_through)
    until = march(today) - ONE_DAY if world.purged_through >= march(first) else march(last)
    listed = [world.closes[day] for day in sorted(world.closes) if begin <= day <= until]
    base = world.head(world.closes[begin].head.size if begin in world.closes else 0)
    head = world.head(max(base.size, world.closes[march(last)].head.size))
    whole = {"seals": [*listed, fresh], "base": base, "head": head} | changes
    return world.extract(march(first), march(last), at=noon(march(today), minutes=1), **whole)


def _right() -> Iterator[Case]:
    world = lived(8, {9: SHORT})
    about = "The rule was made shorter, and six days went at once; of two days of the period nothing is left."
    found = facts(1, purged_through=march(7), purged=("6: ? not shown", "7: ? in time"))
    yield verified("rule-shortened", about, asked(world, 6, 8, 9), found)
    about = "The rule was made shorter, and of the period nothing is left."
    gone = facts(0, purged_through=march(7), purged=("3-5: ? not shown",))
    yield verified("rule-shortened-all-gone", about, asked(world, 3, 5, 9), gone)
    about = "The same change in a list that begins with the eve: it shows how much of the period went."
    extract = world.extract(march(4), march(8), at=noon(march(9), hour=13), base=world.head(7), head=world.head(8))
    from_eve = facts(1, purged_through=march(7), purged=("4-7: 4 in time",))
    yield verified("rule-shortened-from-the-eve", about, extract, from_eve)
    known = encode_head_answer(lived(6, {}).closes[march(6)])
    about = "The auditor kept a seal from before the change, of an entry that is gone since."
    then = facts(1, purged_through=march(7), purged=("5-6: ? not shown", "7: ? in time"), unanswered=1)
    yield verified(
        "rule-shortened-known", about, asked(lived(8, {9: SHORT}), 5, 8, 9), then, known={"before.json": known}
    )
    about = "The rule was made shorter; some of the days that went with it, and the last, were empty."
    extract = asked(lived(8, {9: SHORT}, empty=(4, 6, 7)), 6, 8, 9)
    yield verified("rule-shortened-empty-days", about, extract, found)
    about = "The rule was made shorter: of the close seals listed one is from before, one from after."
    yield verified("rule-shortened-since", about, asked(lived(9, {9: SHORT}), 9, 9, 10), facts(1))
    about = "The rule was made longer: seals state a day more each day; the list begins with the last day gone."
    extract = asked(lived(9, {1: SHORT, 8: LONG}), 4, 6, 10)
    found = facts(1, purged_through=march(5), purged=("4: ? not shown", "5: ? in time"))
    yield verified("rule-lengthened", about, extract, found)
    about = "The rule was made longer long ago: nothing of the period is gone, and seals state the whole of it."
    yield verified("rule-lengthened-whole", about, asked(lived(14, {1: SHORT, 8: LONG}), 9, 12, 15), facts(4))
    about = "Shorter, then longer: nothing came back, and a list without the seals in between excuses it."
    extract = asked(lived(12, {9: SHORT, 11: LONG}), 7, 10, 13)
    found = facts(2, purged_through=march(8), purged=("7: ? not shown", "8: ? in time"))
    yield verified("rule-shortened-then-lengthened", about, extract, found)
    about = "Longer, then shorter before the longer one was whole."
    extract = asked(lived(12, {1: SHORT, 8: LONG, 13: 4}), 9, 12, 13)
    found = facts(2, purged_through=march(10), purged=("9: ? not shown", "10: ? in time"))
    yield verified("rule-lengthened-then-shortened", about, extract, found)


def _refused() -> Iterator[tuple[str, str, str, str, Extract]]:
    world = lived(8, {})
    world.retention_days = SHORT
    world.purge(march(4))
    extract = asked(world, 4, 8, 9)
    about = "The rule was made shorter, and only some of the days past it are gone."
    yield "rule-shortened-half-purged", about, OVER, "seals.json seal 9", extract
    world = lived(7, {})
    world.purge(march(6))
    world.append(noon(march(8)))
    world.close(march(8))
    world.retention_days = SHORT
    world.purge(march(7))
    about = "Days went while the seals stated the old rule; the shorter one came a seal later."
    extract = world.extract(march(6), march(8), at=noon(march(9)))
    yield "rule-shortened-after-its-purge", about, EARLY, "seals.json seal 8", extract
    world = lived(8, {9: SHORT})
    world.purge(march(8))
    about = "The rule was made shorter, and a day more went than it lets go."
    yield "rule-shortened-too-much-gone", about, EARLY, "seals.json seal 9", asked(world, 8, 8, 9, base=world.head(8))
    world = lived(8, {9: SHORT})
    extract = asked(world, 8, 8, 9, base=world.head(8))
    about = "The rule was made shorter, and the extract begins a day later than the seals excuse."
    yield "rule-shortened-begins-late", about, EARLY, MANIFEST, extract
    world = lived(8, {9: SHORT})
    extract = world.extract(march(7), march(8), at=noon(march(9), hour=13), base=world.head(6))
    about = "The rule was made shorter, and the extract holds entries that the seals say are purged."
    yield "rule-shortened-holds-what-is-purged", about, OVER, MANIFEST, extract
    extract = asked(lived(10, {9: SHORT}), 9, 10, 11)
    extract = replace(extract, manifest=replace(extract.manifest, issued_at=noon(march(13))))
    about = "Under the shorter rule it was issued too late: an entry in it had to be gone, which the old one kept."
    yield "rule-shortened-issued-too-late", about, OVER, MANIFEST, extract
    extract = asked(lived(12, {9: SHORT, 11: LONG}), 7, 11, 13)
    hidden = replace(
        extract, records=extract.records[:1] + extract.records[2:], proof=extract.proof[:1] + extract.proof[2:]
    )
    about = "Shorter, then longer: a day that neither rule let go is missing in the middle."
    yield "rule-changed-gap", about, GAP, "proof.ndjson", hidden
    world = lived(9, {1: SHORT})
    world.retention_days = LONG
    about = (
        "A longer rule is stated at once, and no seal listed shows that what is gone could go under the shorter one."
    )
    yield "rule-lengthened-at-once", about, EARLY, "seals.json seal 10", asked(world, 4, 7, 10)
    world = lived(9, {1: SHORT, 8: LONG})
    world.purge(march(6))
    about = "While a longer rule grows a day went that it keeps."
    yield "rule-lengthened-and-purged", about, EARLY, "seals.json seal 10", asked(world, 5, 8, 10)
    world = lived(9, {1: SHORT, 8: LONG})
    world.retention_days = SHORT
    about = "A longer rule was taken back, and what it kept is still there."
    yield "rule-taken-back-unpurged", about, OVER, "seals.json seal 10", asked(world, 5, 8, 10)
