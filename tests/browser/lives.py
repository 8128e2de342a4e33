"""Whole lives of a service, honest and not, and what an auditor may have kept of them."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from journal.extract.listing import encode_head_answer, withheld_line
from tests.browser.kept_receipts import kept_receipts
from tests.browser.kinds import KINDS, container
from tests.support.extracts import Extract, World, march, noon

if TYPE_CHECKING:
    from random import Random

    from journal.extract.listing import ListedSeal

DAY = timedelta(days=1)
Known = tuple[tuple[str, bytes], ...]


class Life:
    """A service that lives some days, and follows the rules or breaks some of them."""

    def __init__(self, random: Random) -> None:
        """Be born honest, or not."""
        self.random = random
        self.is_honest = random.random() < 0.4
        self.world = World(retention_days=random.choice((2, 3, 4, 60)))
        self.kept: list[ListedSeal] = []
        self.lag = random.choice((0, 0, 0, 1))

    def errs(self, probability: float = 0.03) -> bool:
        """Return whether it breaks a rule now."""
        return not self.is_honest and self.random.random() < probability

    def live(self, days: int) -> None:
        """Live from 1 March on; the last day may not be over."""
        for number in range(1, days + 1):
            day = march(number)
            self._purge(day)
            for minute in range(self.random.choice((0, 1, 1, 2, 3))):
                self.world.append(noon(day, hour=1, minutes=minute))
            if self.random.random() < 0.3:
                self.kept.append(self.world.seal(noon(day, hour=13)))
            self._stray(day)
            if number < days or self.random.random() < 0.5:
                self._close(day)

    def _purge(self, day: date) -> None:
        random, world = self.random, self.world
        due = day - (world.retention_days - 1 + self.lag) * DAY
        if due in world.closes:
            world.purge(due)
        if self.errs(0.06) and world.closes:
            world.purge(random.choice(list(world.closes)))
        if self.errs(0.04):
            world.kept_from = random.randrange(world.size + 1)

    def _stray(self, day: date) -> None:
        random, world = self.random, self.world
        if self.errs(0.05):
            world.retention_days = random.choice((2, 3, 4, 60))
        if self.errs():
            world.append(noon(day + random.choice((-1, 1)) * DAY, hour=2))
        if self.errs():
            world.others.append(replace(world.others[0], origin=f"{world.origin}-{random.randrange(99)}"))
        if self.errs() and len(world.others) > 1:
            world.others.pop()

    def _close(self, day: date) -> None:
        random, world = self.random, self.world
        changes: dict[str, Any] = {}
        if self.errs():
            changes["size"] = random.randrange(world.size + 1)
        if self.errs():
            changes["late"] = timedelta(seconds=random.choice((1, 86400, 200000)))
        if self.errs():
            changes["chain_hash"] = bytes(31) + b"x"
        if self.errs(0.04):
            changes["recovered_from"] = random.randrange(1, 6)
        if self.errs():
            changes[random.choice(("previous", "previous_close"))] = bytes(31) + b"x"
        if self.errs(0.02):
            changes["number"] = random.randrange(2, 9)
        try:
            world.close(day, **changes)
        except ValueError:
            # What cannot be written at all: it closes the day as it should.
            world.close(day)
        if self.errs():
            world.closes.pop(day)

    def extract(self, days: int) -> Extract:
        """Return an extract of some of its days; KeyError or ValueError where there is none to be had."""
        random, world = self.random, self.world
        first = random.randrange(1, days + 1)
        last = min(days + 1, random.randrange(first, days + 2))
        at = noon(march(days + random.choice((0, 0, 1, 1, 2, 5))), hour=14)
        due = at.date() - (world.retention_days - 1) * DAY
        if due in world.closes and random.random() < 0.9:
            world.purge(due)
        extract = world.extract(march(first), march(last), at=at)
        match random.randrange(8):
            case 0:
                return self._shortened(extract)
            case 1:
                return self._forgetful(extract)
            case _:
                return extract

    def _shortened(self, extract: Extract) -> Extract:
        """Begin later, or list fewer seals; all parts agree with it."""
        random, world, manifest = self.random, self.world, extract.manifest
        base = random.randrange(manifest.base.size, manifest.head.size + 1)
        skip = base - manifest.base.size
        seals = extract.seals[random.randrange(len(extract.seals)) :] if random.random() < 0.5 else extract.seals
        records, proof = extract.records[skip:], extract.proof[skip:]
        if random.random() < 0.2:
            proof = [withheld_line(base + place, world.leaf(base + place)) for place in range(len(proof))]
        changed = replace(manifest, base=world.head(base), disclosed=manifest.head.size - base)
        return replace(extract, manifest=changed, seals=list(seals), records=records, proof=proof)

    def _forgetful(self, extract: Extract) -> Extract:
        """List the seals from the last day purged on: older heads are forgotten."""
        purged = [seal for seal in extract.seals if seal.head.size <= self.world.kept_from]
        return replace(extract, seals=extract.seals[max(0, len(purged) - 1) :])

    def known(self) -> Known:
        """Return what an auditor brings: seals of this life, of a twin that lost some, or an extract of another."""
        random = self.random
        chosen = random.sample(self.kept, min(len(self.kept), random.randrange(3))) if random.random() < 0.6 else []
        if self.world.seals and random.random() < 0.2:
            chosen.append(random.choice(self.world.seals))
        known = [(f"seal-{place}.json", encode_head_answer(seal)) for place, seal in enumerate(chosen)]
        if random.random() < 0.15:
            known.append(("older.asice", container(random.choice(list(KINDS)))))
        return tuple(known)


def recovery(random: Random) -> tuple[Extract, Known]:
    """Return a life whose end was lost and lived again, declared or not, with seals of the part that was lost."""
    days, lost_from = random.randrange(3, 6), random.randrange(2, 4)
    before, after = World(), World()
    for world, subject in ((before, "before"), (after, "after")):
        for number in range(1, days + 1):
            is_lost = number >= lost_from
            for minute in range(1 + number % 2):
                world.append(noon(march(number), minutes=minute), **({"subject": subject} if is_lost else {}))
            if number % 2:
                world.seal(noon(march(number), hour=13))
            changes: dict[str, Any] = {}
            if world is after and is_lost:
                changes["late"] = timedelta(hours=random.choice((0, 5)), seconds=5)
            if world is after and number == lost_from and random.random() < 0.8:
                last = len(world.seals)
                recovered_from = random.choice((last, last, max(1, last - 1)))
                if random.random() < 0.5:
                    world.seal(noon(march(number), hour=14), recovered_from=recovered_from)
                else:
                    changes["recovered_from"] = recovered_from
            world.close(march(number), **changes)
    seals = random.sample(before.seals, random.randrange(1, 3)) + random.sample(after.seals, random.randrange(2))
    first = random.randrange(1, days + 1)
    last_day = random.randrange(first, days + 1)
    extract = after.extract(march(first), march(last_day), at=noon(march(days + 1)))
    return extract, tuple((f"seal-{place}.json", encode_head_answer(seal)) for place, seal in enumerate(seals))


def life(random: Random) -> tuple[bytes | None, Known, Known]:
    """Return an extract of a life, or none, and what an auditor brings: seals and receipts."""
    if random.random() < 0.15:
        extract, known = recovery(random)
        return extract.pack(), known, ()
    while True:
        lived = Life(random)
        days = random.randrange(3, 9)
        # A life too broken to be told is not told.
        with suppress(KeyError, ValueError):
            lived.live(days)
            extract = lived.extract(days).pack()
            receipts = kept_receipts(random, lived.world) if random.random() < 0.7 else ()
            return None if receipts and random.random() < 0.2 else extract, lived.known(), receipts
