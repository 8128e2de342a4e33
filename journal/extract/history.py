"""What the seals of an extract establish of its chain: coverage, where it begins and ends, what is purged.

FORMAT.md, "Verdicts". The rules here concern only seals and manifest; `journal.extract.verify` compares the entries
with what they establish.

The close seals listed are of consecutive days. They begin with the day before the period (its eve), or later. If
later, either the chain begins at its genesis, so that nothing can be missing before, or what came before is purged,
and the first day listed could be purged when the extract was made. They end with the last day of the period, or the
day before if the period ends on the day the extract was made. Where something of the period is purged, they go on up
to the day before the extract was made, and so show when it went. Where the whole period is purged and its heads are no
longer kept, they begin with the close seal up to which the chain is purged.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING

from journal.core.canonical import INTEGER_LIMIT
from journal.core.chain import Head, genesis
from journal.core.errors import (
    BrokenChainError,
    EarlyDeletionError,
    MalformedError,
    MismatchedPartError,
    NotCoveredError,
    OverRetentionError,
)
from journal.core.times import day_of, format_day, overdue_through, purgeable_through
from journal.extract.layout import MANIFEST, SEALS, SIGNATURE
from journal.extract.purges import PurgedDays, purged_days

if TYPE_CHECKING:
    from collections.abc import Sequence

    from journal.core.seal import SealedHead
    from journal.extract.listed_seal import CheckedSeal
    from journal.extract.manifest import Manifest

_ONE_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Purged:
    """What is purged under its rule: the days up to `through`, the entries before `before_index`.

    `count` is how many of the period's entries that is, where the seals listed show it; `days` says which of the
    period's days went in time, late, or with nothing to show when.
    """

    through: date
    before_index: int
    count: int | None
    days: tuple[PurgedDays, ...]

    def of(self, outcome: str) -> list[PurgedDays]:
        """Return the days that went in one of these ways."""
        return [days for days in self.days if days.outcome == outcome]


class History:
    """The seals of an extract, checked against its manifest.

    The constructor raises the error of the first rule broken; after it, every attribute is established.
    """

    def __init__(self, seals: Sequence[CheckedSeal], manifest: Manifest, *, signed_at: datetime) -> None:
        """Check `seals`, in the order of seals.json, already verified one by one and as one history.

        `signed_at` is when the extract was signed: the signer still held its entries then.
        """
        _check_order(seals, genesis(manifest.origin))
        *closes, self.last = seals
        self._manifest = manifest
        self._signed_at = signed_at
        self._closes = [(checked.seal.day or date.min, checked) for checked in closes]
        self._heads = {day: checked.head for day, checked in self._closes}
        self._eve = manifest.first_day - _ONE_DAY
        self._begins_late = self._eve not in self._heads
        self._start = genesis(manifest.origin) if self._begins_late else _plain(self._heads[self._eve])
        # Where the extract begins by the seals: at the eve, or at the end of the purge.
        self._begin = max(self._start.size, min(self.last.head.kept_from, manifest.head.size))
        self._check_coverage()
        self.late_purges = self._check_purges()
        self._check_head()
        self._check_base()
        self._check_issue()

    @property
    def day_limits(self) -> list[tuple[int, date]]:
        """Return, in order, (size, day): an index below a size, and not below an earlier one, is of that day."""
        return [*((head.size, day) for day, head in self._heads.items()), (INTEGER_LIMIT, self.last.day)]

    @property
    def purged(self) -> Purged | None:
        """What of the period is purged, if anything."""
        base = self._manifest.base
        if base.size == self._start.size:
            return None
        through = min(day for day, head in self._heads.items() if head.size == base.size)
        count = None if self._begins_late else base.size - self._start.size
        first, last = self._manifest.first_day, self._manifest.last_day
        return Purged(through, base.size, count, purged_days(first, last, base.size, self._closes, self.last))

    def _check_coverage(self) -> None:
        days = list(self._heads)
        today = self.last.day
        if self._manifest.last_day > today:
            raise NotCoveredError(
                f"{format_day(self._manifest.last_day)} is after the last seal, of {format_day(today)}",
                part=SEALS,
            )
        for before, after in zip(days, days[1:]):
            if after != before + _ONE_DAY:
                raise NotCoveredError(f"no close seal of {format_day(before + _ONE_DAY)}", part=SEALS)
        end = min(self._manifest.last_day, today - _ONE_DAY)
        is_after = bool(days) and days[0] > end
        if is_after and self._manifest.base != self._manifest.head:
            raise MismatchedPartError("no close seal of a day of the period, of which something is left", part=SEALS)
        if self._begin > self._start.size:
            end = today - _ONE_DAY  # something of the period is purged: up to now, to show when it went
        elif is_after:
            end = days[0]  # nothing of the period is left, if there was any
        if days and (days[0] < self._eve or days[-1] > end):
            raise MismatchedPartError("close seals of days other than the period and its eve", part=SEALS)
        # Without close seals, only a chain that begins on the day of the extract is covered.
        if days[-1:] != [end] and (days or self._manifest.last_day < today):
            raise NotCoveredError(f"no close seal of {format_day(end)}", part=SEALS)

    def _size_bound(self, checked: CheckedSeal, through: date) -> int:
        """Return how many entries may have been purged at a seal, if days up to `through` could be."""
        if through in self._heads:
            return self._heads[through].size
        if self._closes and through > self._closes[-1][0]:
            return checked.head.size
        if checked is self.last and self._begins_late:
            # No listed seal shows that the chain had entries on those days, or that they could be purged.
            return 0
        return self._closes[0][1].head.size

    def _size_floor(self, through: date) -> int:
        """Return how many entries had to be purged, if days up to `through` had to be."""
        return max((head.size for day, head in self._heads.items() if day <= through), default=0)

    def _check_purges(self) -> tuple[str, ...]:
        """Check the beginning of the chain in each seal against the retention rule; return the purges that were late.

        A purge late in an earlier seal is over, and is reported; one late in the last seal is refused.
        """
        excused = 0
        faults = []
        for checked in (*(close for _, close in self._closes), self.last):
            self._check_not_early(checked, excused)
            # What was purged under its rule stays so under a longer one. The first close seal of a list
            # that begins late does not show what could be purged before its own day.
            through = purgeable_through(checked.day, checked.head.retention_days)
            if not self._begins_late or through >= min(self._heads, default=date.max):
                excused = checked.head.kept_from
            faults.append(self._lateness(checked))
        if faults[-1]:
            raise OverRetentionError(faults[-1], part=self.last.name)
        return tuple(fault for fault in faults if fault)

    def _check_not_early(self, checked: CheckedSeal, excused: int) -> None:
        head = checked.head
        through = purgeable_through(checked.day, head.retention_days)
        bound = max(excused, self._size_bound(checked, through))
        if head.kept_from > bound:
            raise EarlyDeletionError(
                f"entries before index {head.kept_from} were purged; kept {head.retention_days} days, days "
                f"up to {format_day(through)} could be, and no seal here shows more than {bound} entries in them",
                part=checked.name,
            )

    def _lateness(self, checked: CheckedSeal) -> str:
        head = checked.head
        overdue = overdue_through(checked.day, head.retention_days)
        if head.kept_from >= self._size_floor(overdue):
            return ""
        return (
            f"on {format_day(checked.day)} entries from index {head.kept_from} on were still kept; with a retention of "
            f"{head.retention_days} days, days up to {format_day(overdue)} had to be purged"
        )

    def _check_head(self) -> None:
        last = self._end()
        if self._manifest.head != _plain(last.head):
            raise MismatchedPartError(f"its head is not the one in {last.name}", part=MANIFEST)

    def _end(self) -> CheckedSeal:
        """Return the seal that states where the extract ends: of the last day, or the first listed if it is later."""
        if self._manifest.last_day == self.last.day:
            return self.last
        ends = (checked for day, checked in self._closes if day == self._manifest.last_day)
        return next(ends, self._closes[0][1])

    def _check_base(self) -> None:
        """Compare the base with where the extract begins by the seals."""
        base, start, expected = self._manifest.base, self._start, self._begin
        if base.size > expected:
            raise EarlyDeletionError(
                f"it begins at index {base.size}, and no seal justifies that those from {expected} on are missing",
                part=MANIFEST,
            )
        if base.size < start.size:
            raise MismatchedPartError("it begins before its period", part=MANIFEST)
        if base.size < expected:
            raise OverRetentionError("it holds entries that the seals say are purged", part=MANIFEST)
        heads = {start.size: start, **{head.size: _plain(head) for head in self._heads.values()}}
        if base.size not in heads:
            raise EarlyDeletionError("it begins in the middle of a day", part=MANIFEST)
        if base != heads[base.size]:
            raise BrokenChainError("its base is not the head in the seals", part=MANIFEST)

    def _check_issue(self) -> None:
        if self._manifest.issued_at < self.last.seal.sealed_at:
            raise MismatchedPartError("issued before the seal that was made for it", part=MANIFEST)
        if self._holds_overdue(self._manifest.issued_at):
            raise OverRetentionError("it holds entries that had to be purged when it was issued", part=MANIFEST)
        if self._holds_overdue(self._signed_at):
            raise OverRetentionError("it holds entries that had to be purged when it was signed", part=SIGNATURE)

    def _holds_overdue(self, at: datetime) -> bool:
        """Tell whether entries of the extract had to be purged at a moment."""
        overdue = overdue_through(day_of(at), self.last.head.retention_days)
        return self._manifest.base.size < min(self._manifest.head.size, self._size_floor(overdue))


def _plain(head: SealedHead) -> Head:
    return Head(head.size, head.chain_hash)


def _check_order(seals: Sequence[CheckedSeal], beginning: Head) -> None:
    numbers = [checked.seal.number for checked in seals]
    if any(after <= before for before, after in zip(numbers, numbers[1:])):
        raise MalformedError("the seals are not in the order of their numbers", part=SEALS)
    if [checked.seal.day is None for checked in seals] != [False] * (len(numbers) - 1) + [True]:
        raise MalformedError("not close seals followed by one open seal", part=SEALS)
    for checked in seals:
        if checked.head.size == 0 and _plain(checked.head) != beginning:
            raise BrokenChainError("the empty chain has another chain hash", part=checked.name)
