"""What was destroyed of a commune and how late, as its journal tells it: read once, then only what is new of it."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import TYPE_CHECKING

from journal.core.times import midnight, parse_day, parse_time

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from journal.core.entry import Entry
    from journal.service import Service

REMEMBERED_COMMUNES = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Purge:
    """A day's destruction, of `count` entries, at a moment; `late` is by how much after its limit."""

    day: date
    count: int
    at: datetime
    late: timedelta


@dataclass(slots=True)
class _Read:
    """How far a commune's journal is read, up to an index on a day, and what it told: by category and day."""

    last_index: int = -1
    day: date = date.min
    found: dict[tuple[str, date], Purge] = field(default_factory=dict)


class Purges:
    """Reads what the entries of destructions say, of a bounded number of communes; nothing of it is personal.

    All of it is forgotten when the first day that may be read changes: with the entries that it was read from.
    """

    def __init__(self, service: Service) -> None:
        """Start with nothing read."""
        self._chronicle = service.chronicle
        self._first_day = date.min
        self._read: OrderedDict[str, _Read] = OrderedDict()

    async def of(self, tenant: str, size: int) -> dict[str, list[Purge]]:
        """Return, by category, what was destroyed of a commune whose journal has this size, oldest day first.

        Raises what `Chronicle.pages` does.
        """
        if (first_day := await self._chronicle.first_day()) != self._first_day:
            self._first_day = first_day
            self._read.clear()
        read = self._read.get(tenant)
        # A database put back to an earlier state has lost what was read of the later one.
        if read is None or size <= read.last_index:
            read = _Read()
        if size > read.last_index + 1:
            read = await self._go_on(tenant, read)
            self._read[tenant] = read
            if len(self._read) > REMEMBERED_COMMUNES:
                self._read.popitem(last=False)
        by_category: dict[str, list[Purge]] = {}
        for category, day in sorted(read.found):
            by_category.setdefault(category, []).append(read.found[category, day])
        return by_category

    async def _go_on(self, tenant: str, read: _Read) -> _Read:
        """Return what is read now; two visits at a time each have their own."""
        now = _Read(read.last_index, read.day, dict(read.found))
        async for page in self._chronicle.pages(tenant, "purge", since=now.day, after=now.last_index):
            now.last_index, now.day = page.last_index, page.day
            for entry in page.entries:
                now.found.update(_told(entry))
        return now


def _told(entry: Entry) -> Iterator[tuple[tuple[str, date], Purge]]:
    at = parse_time(entry.event["time"])
    for told in entry.event["data"]["days"]:
        day = parse_day(told["day"])
        late = max(at - midnight(day + timedelta(days=told["retention_days"])), timedelta(0))
        yield (told["category"], day), Purge(day=day, count=told["count"], at=at, late=late)
