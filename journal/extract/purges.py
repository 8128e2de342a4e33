"""How far the seals of an extract show when days were purged: in time, late, or not (FORMAT.md, "Retention")."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol

from journal.core.times import format_day, midnight

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import date, datetime

    from journal.core.seal import SealedHead

IN_TIME, LATE, NOT_SHOWN = "in time", "late", "not shown"
# A seal made this soon after a day's time was up shows of the time itself: the close seal is made just after midnight.
GRACE = timedelta(hours=1)
_ONE_DAY = timedelta(days=1)
_NOTHING = timedelta(0)


class _Seal(Protocol):
    @property
    def sealed_at(self) -> datetime:
        """When it was made."""


class Stating(Protocol):
    """A seal with the head that it states of one chain."""

    @property
    def seal(self) -> _Seal:
        """The seal."""

    @property
    def head(self) -> SealedHead:
        """The chain's head in it."""


@dataclass(frozen=True)
class PurgedDays:
    """Purged days of a period, one after another, of which the seals show the same.

    `entries` is how many they held, None where the seals listed do not show it. Where `outcome` is LATE, the entries
    were gone `least` to `most` after their time.
    """

    first: date
    last: date
    entries: int | None
    outcome: str
    least: timedelta = _NOTHING
    most: timedelta = _NOTHING

    @property
    def days_text(self) -> str:
        """Return the day, or the first and the last."""
        first, last = format_day(self.first), format_day(self.last)
        return first if first == last else f"{first} to {last}"

    @property
    def late_days(self) -> tuple[int, int]:
        """Return by how many days they were late, at least and at most."""
        return self.least // _ONE_DAY, max((self.most - GRACE) // _ONE_DAY + 1, 1)

    def joined(self, after: PurgedDays) -> PurgedDays:
        """Return these days and later ones of the same outcome as one."""
        counts = (self.entries, after.entries)
        return PurgedDays(
            self.first,
            after.last,
            None if None in counts else sum(count or 0 for count in counts),
            self.outcome,
            min(self.least, after.least),
            max(self.most, after.most),
        )


def purged_days(
    first: date, last: date, base_size: int, closes: Sequence[tuple[date, Stating]], latest: Stating
) -> tuple[PurgedDays, ...]:
    """Return what seals show of each purged day of a period that held entries, or may have held some.

    The period is `first` to `last`; up to `base_size`, a size at the end of one of the days in `closes`, the chain is
    purged. `closes` are the close seals listed, by day, `latest` the open seal.
    """
    seals = [*(one for _, one in closes), latest]
    begin = closes[0][0]
    found: list[PurgedDays] = []
    if first < begin:
        found.append(PurgedDays(first, min(last, begin - _ONE_DAY), None, NOT_SHOWN))
    before: int | None = None
    for day, one in closes:
        size = one.head.size
        if first <= day <= last and size <= base_size and size != before:
            found.append(_judge(day, size, None if before is None else size - before, seals))
        before = size
    return tuple(_joined(found))


def _judge(day: date, size: int, entries: int | None, seals: Sequence[Stating]) -> PurgedDays:
    """Return what seals show of the purge of a day at whose end the chain had this size.

    The longer rule of the seals before and after the purge required it; the shorter one allowed it.
    """
    place = next(place for place, one in enumerate(seals) if one.head.kept_from >= size)
    around = seals[max(place - 1, 0) : place + 1]
    end = midnight(day) + timedelta(days=max(one.head.retention_days for one in around))
    shown, before = seals[place].seal.sealed_at, around[0].seal.sealed_at
    if place and before >= end:
        return PurgedDays(day, day, entries, LATE, before - end, shown - end)
    return PurgedDays(day, day, entries, IN_TIME if shown < end + GRACE else NOT_SHOWN)


def _joined(days: Sequence[PurgedDays]) -> Iterator[PurgedDays]:
    """Join what was purged with the same outcome, day after day; there is one day or more."""
    current = days[0]
    for one in days[1:]:
        if current.outcome == one.outcome:
            current = current.joined(one)
        else:
            yield current
            current = one
    yield current
