"""What the numbers of sources say, by name; alarms about numbers that stay missing, and about silent sources."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import structlog

from journal.core.entry import Compartment
from journal.core.errors import JournalError, KeyStoreError
from journal.core.times import format_seconds
from journal.extract.numbering import GAPS_LIMIT, SourceNumbers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from journal.clock import Clock
    from journal.database.read import SourceRow
    from journal.database.store import Store
    from journal.keys.ring import Keyring
    from journal.writing.instruments import Instruments

LOOK_SECONDS = 60.0
# Events come out of their order, and are sent again; what is missing for longer is told.
GRACE_SECONDS = 900.0

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedSource:
    """A source in one epoch of its counter (empty if it names none), and what its numbers say."""

    source: str
    epoch: str
    row: SourceRow

    @property
    def numbers(self) -> SourceNumbers:
        """What an extract's manifest tells of it."""
        row = self.row
        gaps = tuple(row.gaps[:GAPS_LIMIT])
        return SourceNumbers(row.last, row.missing, gaps, row.declared, row.repeated, self.source, self.epoch or None)


async def read_sources(
    store: Store, keyring: Keyring, service: str, tenant: str | None = None, category: str | None = None
) -> list[NamedSource]:
    """Return every source that numbers its events, of one tenant or category or all, in the order of their names.

    Those of a tenant whose key is destroyed are left out. Raises StoreError, BrokenChainError for a name that was
    altered.
    """
    found: list[NamedSource] = []
    for row in await store.read_sources(tenant, category):
        compartment = Compartment(service, row.tenant, row.category)
        try:
            names = keyring.source_names(compartment)
        except KeyStoreError:
            continue
        source, epoch = names.open(row.name, key=row.source_key)
        found.append(NamedSource(source=source, epoch=epoch, row=row))
    return sorted(found, key=lambda one: (one.row.tenant, one.row.category, one.source, one.epoch))


@dataclass(frozen=True, slots=True)
class Missing:
    """A range of numbers that did not come, by its first one."""

    tenant: str
    category: str
    source: str
    epoch: str
    first: int

    def describe(self) -> str:
        """Return why an alarm is raised; the same while the first number of the range is missing."""
        epoch = f" in the epoch {self.epoch} of its counter" if self.epoch else ""
        return f"the source {self.source}{epoch} gave the number {self.first} to an event that never came"


@dataclass(frozen=True, slots=True)
class Silent:
    """A source that has sent nothing for longer than its rhythm allows: since its last numbered event, or ever.

    `since` is the later of that event and of when its rhythm was declared; `last_at` is the event alone.
    """

    tenant: str
    category: str
    source: str
    minutes: int
    since: datetime
    last_at: datetime | None

    def describe(self) -> str:
        """Return why an alarm is raised; the same while nothing comes."""
        since = format_seconds(self.since.replace(microsecond=0))
        return (
            f"the source {self.source} has sent nothing numbered since {since}, and is to every {self.minutes} minutes"
        )


async def read_silent(store: Store, keyring: Keyring, service: str, sources: list[NamedSource]) -> list[Silent]:
    """Return which of the sources with a rhythm are silent by the database's clock; `sources` are all of them."""
    last: dict[tuple[str, str, str], datetime] = {}
    for one in sources:
        place = (one.row.tenant, one.row.category, one.source)
        last[place] = max(one.row.last_at, last.get(place, one.row.last_at))
    found: list[Silent] = []
    now = await store.read_now()
    for row in await store.read_rhythms():
        names = keyring.source_names(Compartment(service, row.tenant, row.category))
        source, _ = names.open(row.name, key=row.source_key)
        last_at = last.get((row.tenant, row.category, source))
        since = max(row.declared_at, last_at or row.declared_at)
        if now - since > timedelta(minutes=row.minutes):
            found.append(Silent(row.tenant, row.category, source, row.minutes, since, last_at))
    return found


class SourceWatch:
    """Looks once a minute for numbers that stay missing, and for sources that are silent."""

    def __init__(self, *, store: Store, keyring: Keyring, service: str, clock: Clock, instruments: Instruments) -> None:
        """Watch every source of one service."""
        self._store = store
        self._keyring = keyring
        self._service = service
        self._clock = clock
        self._instruments = instruments
        self._since: dict[Missing, float] = {}
        self.silent: list[Silent] = []

    async def run(self) -> None:
        """Look for ever."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await self.look()

    async def look(self) -> None:
        """Note what is missing now, and who is silent."""
        try:
            sources = await read_sources(self._store, self._keyring, self._service)
            self.silent = await read_silent(self._store, self._keyring, self._service, sources)
        except (JournalError, OSError) as error:
            log.warning("the numbers of sources cannot be looked at", reason=str(error))
            return
        now = self._clock.monotonic()
        current = {
            Missing(one.row.tenant, one.row.category, one.source, one.epoch, low)
            for one in sources
            for low, _ in one.row.gaps
        }
        self._since = {missing: self._since.get(missing, now) for missing in current}
        self._instruments.missing_numbers.set(sum(one.row.missing for one in sources))
        self._instruments.silent_sources.set(len(self.silent))

    def lasting(self) -> Iterator[Missing]:
        """Yield what has been missing for longer than events take to come."""
        limit = self._clock.monotonic() - GRACE_SECONDS
        yield from (missing for missing, since in self._since.items() if since <= limit)
