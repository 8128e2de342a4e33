"""Makes partitions and day keys seven days before they are needed."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from itertools import product
from typing import TYPE_CHECKING, TypeVar

import structlog

from journal.core.errors import JournalError, KeyStoreError, LockedError
from journal.core.times import day_of
from journal.keys.files import describe
from journal.status.restored import lacks_last_seal

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from datetime import date

    from journal.clock import Clock
    from journal.database.store import Store
    from journal.keys.ring import Keyring


log = structlog.get_logger()

DAYS_AHEAD = 7
INTERVAL_SECONDS = 3600


class Maintenance:
    """Makes partitions and keys ahead of time: a request never makes either."""

    def __init__(self, *, store: Store, keyring: Keyring, clock: Clock) -> None:
        """Maintain this store and this key store."""
        self._store = store
        self._keystore = keyring.keystore
        self._clock = clock

    async def prepare(self) -> None:
        """Make what is missing for today and the next seven days: keys first, durable, then partitions.

        No key is made for a day that holds entries: its own is lost, and another would make the loss final. Nor for a
        day that was prepared elsewhere, with a key store that knows of later seals: this one is an older copy of it.
        Where the keys of a category cannot be made, that is logged and shows in readiness; the others go on. Raises
        StoreError.
        """
        today = day_of(self._clock.now())
        days = [today + timedelta(days=ahead) for ahead in range(DAYS_AHEAD + 1)]
        taken = await politely(self._clock, self._store.recorded_days)
        if await lacks_last_seal(self._store, self._keystore):
            taken |= {(row.category, row.day) for row in await self._store.partitions()}
        codes = [category.code for category in await self._store.read_categories()]
        # In one thread, one after the other: a thread for each would take longer than most keys, which are there.
        await asyncio.to_thread(self._make_keys, codes, days, taken)
        await politely(self._clock, lambda: self._store.ensure_partitions(DAYS_AHEAD))
        # Last: a failed repair must not stop the preparation of the next days.
        try:
            await asyncio.to_thread(self._keystore.repair)
        except (KeyStoreError, OSError) as error:
            log.error("the key store's copies could not all be repaired", reason=describe(error))

    def _make_keys(self, categories: Iterable[str], days: Iterable[date], taken: set[tuple[str, date]]) -> None:
        for category, day in product(categories, days):
            try:
                self._keystore.make_day_key(category, day, is_used=(category, day) in taken)
            except (KeyStoreError, OSError) as error:
                log.error("no key was made", category=category, reason=describe(error))

    async def run(self) -> None:
        """Prepare for ever, every hour."""
        while True:
            try:
                await self.prepare()
            except (JournalError, OSError) as error:
                log.error("the next days could not be prepared", kind=type(error).__name__, reason=str(error))
            await self._clock.sleep(INTERVAL_SECONDS)


T = TypeVar("T")

LOCK_ATTEMPTS = 200
LOCK_PAUSE_SECONDS = 0.05


async def politely(clock: Clock, attempt: Callable[[], Awaitable[T]]) -> T:
    """Repeat an attempt until it finds no lock taken. Raises LockedError after LOCK_ATTEMPTS."""
    for _ in range(LOCK_ATTEMPTS - 1):
        try:
            return await attempt()
        except LockedError:
            await clock.sleep(LOCK_PAUSE_SECONDS)
    return await attempt()
