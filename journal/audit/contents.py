"""What the records of consecutive rows say, read in this process or in others: nothing but a fast yes.

Whatever is not as it should be, right or wrong, is left to the walk by row (`journal.audit.entries`), which alone tells
what is wrong.
"""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import os
import signal
import threading
from collections import Counter
from concurrent.futures.process import BrokenProcessPool, ProcessPoolExecutor
from contextlib import suppress
from functools import lru_cache
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Final, NamedTuple, Self

from journal.core.chain import HASH_BYTES
from journal.core.entry import EVENT_KEY_BYTES, SERVICE_PREFIX, identity_time, named_keys, source_key
from journal.core.errors import KeyStoreError, VerificationError
from journal.core.times import format_day, parse_day
from journal.extract.shapes import Shapes, count_kinds, facts_of, names_of, numbered

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from journal.core.entry import Compartment
    from journal.core.envelope import Row
    from journal.database.purge import StoredRow
    from journal.keys.ring import Keyring

# So many rows of one chain are worth a try together.
TOGETHER: Final = 100
CACHED_SHAPES: Final = 16
# So many parts wait in each process, that none is idle.
WAITING: Final = 2
# Less than what serves, which may be on the same machine.
NICENESS: Final = 10


class Part(NamedTuple):
    """Rows of one chain and day, from index `first` on: their columns, each as one value, for another process."""

    compartment: Compartment
    day: date
    first: int
    keys: bytes
    leaves: bytes
    ciphertexts: bytes
    lengths: list[int]  # of ciphertexts

    @property
    def indexes(self) -> range:
        """Return the index of each row."""
        return range(self.first, self.first + len(self.lengths))

    def rows(self) -> list[Row]:
        """Return what opens them."""
        ciphertexts = [self.ciphertexts[start:end] for start, end in pairwise(accumulate(self.lengths, initial=0))]
        leaves = [self.leaves[place : place + HASH_BYTES] for place in range(0, len(self.leaves), HASH_BYTES)]
        return list(zip(self.indexes, leaves, ciphertexts, strict=True))


def join(compartment: Compartment, day: date, rows: Sequence[StoredRow]) -> Part | None:
    """Return rows of consecutive indexes as a part; None if a hash or a key of them is of another length."""
    keys, leaves = [row.event_key for row in rows], [row.leaf_hash for row in rows]
    if {*map(len, keys)} != {EVENT_KEY_BYTES} or {*map(len, leaves)} != {HASH_BYTES}:
        return None
    ciphertexts = [row.ciphertext for row in rows]
    first, lengths = rows[0].index, list(map(len, ciphertexts))
    return Part(compartment, day, first, b"".join(keys), b"".join(leaves), b"".join(ciphertexts), lengths)


class Contents(NamedTuple):
    """What records say that are those of their rows, in order, of their day.

    When the first and the last were recorded; how many there are of each action and day of access; the hashes of source
    and id (`names_of`); the numbers of each source, by its key.
    """

    earliest: str
    latest: str
    kinds: Counter[tuple[str, date]]
    names: list[int]
    numbers: dict[bytes, list[int]]


class ContentReader:
    """Opens rows and reads their records, in one process."""

    def __init__(self, keyring: Keyring) -> None:
        """Open with these keys."""
        self._keyring = keyring
        self._shapes = lru_cache(CACHED_SHAPES)(Shapes)

    def read(self, part: Part) -> Contents | None:
        """Return what the records say; None where a closer look is needed."""
        try:
            return self._read(part)
        except (ValueError, VerificationError, KeyStoreError):
            return None

    def _read(self, part: Part) -> Contents | None:
        compartment, day = part.compartment, format_day(part.day)
        _, records = self._keyring.box(compartment, part.day).open_all(part.rows())
        read = self._shapes(compartment.tenant, compartment.category).read(
            records, [record.decode() for record in records]
        )
        facts = [facts_of(one, compartment) for one in read]
        times = [recorded_at for _, recorded_at, _, _, _ in facts]
        if times != sorted(times) or not (times[0].startswith(day) and times[-1].startswith(day)):
            return None
        if [index for index, _, _, _, _ in facts] != list(map(str, part.indexes)):
            return None
        key, is_timed = self._keyring.event_key_key(compartment), bool(identity_time(compartment.category, "time"))
        named = [(source, time + name if is_timed else name) for _, _, source, name, time in facts]
        if b"".join(named_keys(key, named)) != part.keys:
            return None
        kinds: Counter[tuple[str, date]] = Counter()
        for kind, number in count_kinds(read).items():
            kinds[kind.action.removeprefix(SERVICE_PREFIX), parse_day(kind.occurred)] += number
        numbers: dict[tuple[str, str], list[int]] = {}
        for source, epoch, sequence in filter(None, map(numbered, read)):
            numbers.setdefault((source, epoch), []).append(int(sequence))
        keyed = {source_key(key, *names): found for names, found in numbers.items()}
        return Contents(times[0], times[-1], kinds, names_of(read), keyed)


class ContentReaders:
    """Reads parts in this process, or in so many forked from it. Those end with it, however it ends."""

    def __init__(self, keyring: Keyring, processes: int = 0) -> None:
        """Read with these keys; without processes, in this one."""
        self._reader = ContentReader(keyring)
        self._processes = processes
        self._pool: ProcessPoolExecutor | None = None

    @property
    def ahead(self) -> int:
        """How many parts are to be asked for before the first is waited for."""
        return WAITING * self._processes

    async def __aenter__(self) -> Self:
        """Begin: processes are forked when the first part is read."""
        if self._processes:
            context = multiprocessing.get_context("fork")
            self._pool = ProcessPoolExecutor(self._processes, context, _begin, (self._reader,))
        return self

    async def __aexit__(self, *_: object) -> None:
        """End the processes."""
        if self._pool is not None:
            await asyncio.to_thread(self._pool.shutdown, cancel_futures=True)

    def read(self, compartment: Compartment, day: date, rows: Sequence[StoredRow]) -> asyncio.Future[Contents | None]:
        """Read rows of consecutive indexes; None, once it is waited for, where a closer look is needed.

        BrokenProcessPool, then, if a process has ended: a closer look is needed there too. Later parts are read here.
        """
        loop = asyncio.get_running_loop()
        part = join(compartment, day, rows) if len(rows) >= TOGETHER else None
        if part is not None and self._pool is not None:
            with suppress(BrokenProcessPool):
                return loop.run_in_executor(self._pool, _read, part)
        found: asyncio.Future[Contents | None] = loop.create_future()
        found.set_result(self._reader.read(part) if part is not None else None)
        return found


_reader: ContentReader


def _begin(reader: ContentReader) -> None:
    """Be a process that reads: the one that forked it has the signals, and it ends with that one."""
    global _reader  # noqa: PLW0603  (the pool gives its processes no other place)
    _reader = reader
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.nice(NICENESS)
    gc.freeze()  # what is shared with that one stays so
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _read(part: Part) -> Contents | None:
    return _reader.read(part)
