"""Whether entries can be recorded now: tried, not inferred from a database that answers.

Tried on connections made for it, because those in the pools survive a changed pg_hba.conf, a dropped role, a setting
for a role and replaced programs until they are lost.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from journal.core.chain import extend
from journal.core.entry import EVENT_KEY_BYTES, JOURNAL_CATEGORY, RESERVED_TENANT
from journal.core.errors import StoreError
from journal.database.ingest import AppendBatch

if TYPE_CHECKING:
    from datetime import datetime

    from journal.clock import Clock
    from journal.database.store import Store
    from journal.writing.instruments import Instruments

FRESH_SECONDS = 10.0
# The difference of the clocks that the append accepts.
CLOCK_TOLERANCE_SECONDS = 2.0
HASH_BYTES = 32
CIPHERTEXT_BYTES = 256
# Of an attempt that another process's append came before, or that a busy machine took long for: a clock that is wrong
# shows in the time that the database gives.
HARMLESS = {None, "appended", "clock", "conflict"}


class Probe:
    """The last attempt. A success counts for ten seconds, a failure until the next question."""

    def __init__(self, store: Store, clock: Clock, instruments: Instruments) -> None:
        """Start without an attempt."""
        self._store = store
        self._clock = clock
        self._instruments = instruments
        self._tried_at = float("-inf")
        self._appended: float | None = None
        self._lock = asyncio.Lock()

    async def find_problem(self, *, anew: bool = False) -> str | None:
        """Return why nothing can be recorded now, in one sentence, else None; `anew`: whatever was found before."""
        async with self._lock:
            if not anew and 0 <= self._clock.monotonic() - self._tried_at < FRESH_SECONDS:
                return None
            problem = await self._try()
            if problem is None:
                self._tried_at = self._clock.monotonic()
            return problem

    async def _try(self) -> str | None:
        try:
            if faults := await self._store.check_new_sessions():
                return "; ".join(faults)
            # Entries that were appended meanwhile have shown it better.
            appended = self._instruments.metrics.total("openepm_journal_entries_appended")
            batch = await self._draft() if self._appended in {None, appended} else None
            self._appended = appended
            before = self._clock.now()
            attempt = await self._store.attempt(batch)
            after = self._clock.now()
        except StoreError as error:
            return f"no entry could be written: {error}"
        # Read between the two, however long a busy machine takes.
        departure = max(before - attempt.database_now, attempt.database_now - after).total_seconds()
        if departure > CLOCK_TOLERANCE_SECONDS:
            return (
                f"no entry can be written: the clocks of this machine and of {self._store.place('ingest')} differ by "
                f"{departure:.1f} s; correct the wrong one (timedatectl)"
            )
        if attempt.answer not in HARMLESS:
            return f"no entry can be written: the database answers that its chain or day is {attempt.answer}"
        return None

    async def _draft(self) -> AppendBatch | None:
        """Return an entry of random bytes for the service's own chain; None if there is no chain yet."""
        rows = await self._store.read_heads([RESERVED_TENANT], [JOURNAL_CATEGORY])
        if not rows:
            return None
        (head,) = rows
        now: datetime = self._clock.now()
        recorded_at = max(now, head.recorded_at) if head.recorded_at else now
        leaf = os.urandom(HASH_BYTES)
        chain_hash = extend(head.chain_hash, leaf)
        return AppendBatch(
            chain_tenant=[RESERVED_TENANT],
            chain_category=[JOURNAL_CATEGORY],
            chain_size=[head.size],
            chain_hash=[head.chain_hash],
            next_size=[head.size + 1],
            next_hash=[chain_hash],
            chain_recorded_at=[recorded_at],
            entry_key=[os.urandom(EVENT_KEY_BYTES)],
            entry_leaf=[leaf],
            entry_hash=[chain_hash],
            entry_ciphertext=[os.urandom(CIPHERTEXT_BYTES)],
        )
