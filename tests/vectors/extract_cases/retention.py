"""Periods the seals do not reach, beginnings they do not excuse, and what was kept too long."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from journal.core.chain import Head
from journal.extract.layout import MANIFEST, SEALS, SIGNATURE
from tests.support.extracts import march, noon
from tests.vectors.extract_cases.case import Case, Small, refused, signed
from tests.vectors.extract_cases.valid import purging

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.extracts import Extract

NOT_COVERED, MISMATCHED, BROKEN = "not covered", "mismatched part", "broken chain"
EARLY, OVER, FOREIGN = "early deletion", "over-retention", "foreign entry"


def cases() -> Iterator[Case]:
    """Yield them."""
    for name, about, verdict, part, extract in (*_coverage(), *_ends(), *_early(), *_over()):
        yield refused(name, about, extract, verdict, part)
    world = purging(5, 3)
    world.append(noon(march(6)))
    world.purge(march(4))
    extract = world.extract(march(5), march(6), at=noon(march(6), hour=13))
    about = "It was signed two days after it was issued, when an entry in it had to be gone."
    yield refused("signed-too-late", about, signed(extract, signed_at=noon(march(8))), OVER, SIGNATURE)


def listing(world: Small, days: range, **changes: Any) -> Extract:
    """Return the extract of 3 and 4 March, made on the 6th, that lists the close seals of `days` alone."""
    fresh = world.seal(noon(march(6)))
    seals = [world.closes[march(day)] for day in days] + [fresh]
    return world.extract(march(3), march(4), at=noon(march(6), minutes=1), seals=seals, **changes)


def five() -> Small:
    """Return a chain that lived five days."""
    return Small().live(1, 5)


def _coverage() -> Iterator[tuple[str, str, str, str, Extract]]:
    missing = listing(Small().live(1, 2).live(3, 3, entries=0).live(4, 5), range(2, 5))
    missing.seals.pop(1)
    yield "empty-day-without-seal", "The close seal of an empty day is missing.", NOT_COVERED, SEALS, missing
    short = listing(five(), range(2, 4), head=Small().live(1, 3).head())
    yield "last-day-without-seal", "The close seal of the last day is missing.", NOT_COVERED, SEALS, short
    about = "A close seal of before the eve is listed."
    yield "day-before-listed", about, MISMATCHED, SEALS, listing(five(), range(1, 5))
    about = "A close seal of after the period is listed."
    yield "day-after-listed", about, MISMATCHED, SEALS, listing(five(), range(2, 6))
    world = Small().live(1, 3)
    world.append(noon(march(4)))
    future = world.extract(march(3), march(5), at=noon(march(4), hour=14))
    yield "period-in-the-future", "The last day is after that of the open seal.", NOT_COVERED, SEALS, future
    world = Small()
    fresh = world.seal(noon(march(4)))
    world.closes[march(3)] = fresh
    young = world.extract(march(1), march(3), at=noon(march(4), minutes=1), seals=[fresh])
    yield "only-a-later-open-seal", "No close seal; the open one is of after the period.", NOT_COVERED, SEALS, young
    world = Small().live(1, 4)
    seals = [world.closes[march(4)], world.seal(noon(march(5)))]
    hidden = world.extract(march(3), march(4), at=noon(march(5), minutes=1), seals=seals, base=world.head(0))
    part = "entries.ndjson index 0"
    yield "early-seals-left-out", "Seals are left out to show an entry on a later day.", FOREIGN, part, hidden
    world = purging(7, 5)
    seals = [world.closes[march(day)] for day in range(2, 5)] + [world.seal(noon(march(8)))]
    hidden = world.extract(march(3), march(4), at=noon(march(8), minutes=1), seals=seals)
    about = "A day of the period is purged, and the seals that show when are left out."
    yield "seals-of-the-purge-left-out", about, NOT_COVERED, SEALS, hidden
    world = five()
    seals = [world.closes[march(5)], world.seal(noon(march(6)))]
    stand_in = world.extract(
        march(2), march(3), at=noon(march(6), minutes=1), seals=seals, base=world.head(0), head=world.head()
    )
    about = "One late close seal stands for a period of which there are entries."
    yield "late-seal-for-a-period", about, MISMATCHED, SEALS, stand_in


def _ends() -> Iterator[tuple[str, str, str, str, Extract]]:
    for name, head in (("size", five().head(6)), ("hash", Head(8, bytes(32)))):
        extract = listing(five(), range(2, 5))
        count = head.size - extract.manifest.base.size
        changed = replace(extract, manifest=replace(extract.manifest, head=head, disclosed=count))
        about = f"The manifest's head has another {name} than the seal's."
        yield f"head-of-another-{name}", about, MISMATCHED, MANIFEST, changed
    for name, about, verdict, base in (
        ("base-in-a-day", "It begins in the middle of a day, unexcused.", EARLY, five().head(5)),
        ("base-a-day-late", "It begins a day late, unexcused.", EARLY, five().head(6)),
        ("base-at-the-head", "It begins at its end, unexcused.", EARLY, five().head(8)),
        ("base-before-the-eve", "It begins before its period.", MISMATCHED, five().head(2)),
        ("base-of-another-hash", "The base's chain hash is not that of the eve.", BROKEN, Head(4, bytes(32))),
    ):
        yield name, about, verdict, MANIFEST, listing(five(), range(2, 5), base=base)


def _early() -> Iterator[tuple[str, str, str, str, Extract]]:
    world = purging(5, 3)
    world.append(noon(march(6)))
    world.purge(march(5))
    extract = world.extract(march(3), march(6), at=noon(march(6), hour=13))
    yield "purged-too-early", "By the open seal a day is gone that had to be kept.", EARLY, "seals.json seal 6", extract
    world = Small(retention_days=4).live(1, 3, entries=1)
    world.purge(march(3))
    world.close(march(4))
    extract = world.extract(march(3), march(5), at=noon(march(5)))
    about = "By a close seal a day was gone that had to be kept then."
    yield "was-purged-too-early", about, EARLY, "seals.json seal 4", extract
    world = Small(retention_days=4).live(1, 5, entries=1)
    world.append(noon(march(6)))
    world.purge(march(5))
    seals = [world.closes[march(5)], world.seal(noon(march(6), hour=13))]
    extract = world.extract(march(1), march(6), at=noon(march(6), hour=14), seals=seals, base=world.head(5))
    about = "Close seals are left out, and those listed do not show that what is gone could be."
    yield "early-purge-hidden", about, EARLY, "seals.json seal 6", extract
    world = Small()
    world.append(noon(march(1)))
    world.kept_from = 1
    extract = world.extract(march(1), march(1), at=noon(march(1), hour=13), base=world.head(1))
    yield "gone-the-same-day", "An entry of today is gone.", EARLY, "seals.json seal 1", extract
    world = Small(retention_days=5).live(1, 5)
    world.kept_from = 3
    extract = world.extract(march(2), march(5), at=noon(march(6)))
    yield "purged-within-a-day", "The chain begins in the middle of a day.", EARLY, MANIFEST, extract
    world = purging(5, 3)
    world.retention_days = 60
    world.kept_from = 4
    extract = world.extract(march(2), march(5), at=noon(march(6)))
    about = "A day was purged after the retention had been made longer."
    yield "purged-under-a-longer-rule", about, EARLY, "seals.json seal 6", extract


def _over() -> Iterator[tuple[str, str, str, str, Extract]]:
    extract = purging(5, 1).extract(march(2), march(5), at=noon(march(6)))
    yield "kept-too-long", "By the open seal a day is kept that had to be gone.", OVER, "seals.json seal 6", extract
    world = Small(retention_days=60).live(1, 5, entries=1)
    world.retention_days = 3
    extract = world.extract(march(2), march(5), at=noon(march(6)))
    about = "The retention was made shorter, and nothing purged."
    yield "kept-past-a-shorter-rule", about, OVER, "seals.json seal 6", extract
    world = purging(5, 3)
    world.append(noon(march(6)))
    world.purge(march(4))
    at = noon(march(6), hour=13)
    extract = world.extract(march(3), march(6), at=at, base=world.head(2))
    about = "It holds entries that the seals say are purged."
    yield "holds-what-is-purged", about, OVER, MANIFEST, extract
    extract = world.extract(march(5), march(6), at=at + timedelta(hours=1), issued_at=noon(march(8)))
    about = "It was issued two days after its open seal, when an entry in it had to be gone."
    yield "issued-too-late", about, OVER, MANIFEST, extract
