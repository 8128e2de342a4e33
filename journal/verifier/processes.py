"""Work spread over the processors: as `map` does it, in the same order, in processes forked for it.

What is long in a work or its answer goes through memory that two processes share: a pipe would take it in small pieces,
with a change of process after each.
"""

from __future__ import annotations

import gc
import mmap
import multiprocessing
import os
import pickle
import signal
from collections import deque
from contextlib import suppress
from functools import partial
from io import BytesIO
from itertools import chain, cycle, islice
from typing import TYPE_CHECKING, Any, Callable, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from multiprocessing.connection import Connection

# Below so many pieces of work, a fork costs more than it saves.
ALONE = 3
# So many wait in each process, that none is idle.
WAITING = 2
# For what is long in one work, or in its answer; what is not used takes no room.
MEMORY_BYTES = 8 * 2**20
LONG_BYTES = 1024
# What is sent of a work besides. More might wait for the other process to read, which may be waiting for this one.
SENT_BYTES = 4096

Work = TypeVar("Work")
Answer = TypeVar("Answer")


def spread(function: Callable[[Work], Answer], works: Iterable[Work]) -> Iterator[Answer]:
    """Yield the answers to all works in order, a few of them ahead.

    Where there is one processor, or processes are not forked (they would begin the command again), it is `map`.
    """
    coming = iter(works)
    first = list(islice(coming, ALONE))
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    if len(first) < ALONE or processors == 1:
        yield from map(function, chain(first, coming))
        return
    helpers: list[_Helper[Work, Answer]] = []
    try:
        while len(helpers) < processors:
            helpers.append(_Helper(function, helpers))
        yield from _share(helpers, chain(first, coming))
    finally:
        for helper in helpers:
            helper.end()


def _share(helpers: Sequence[_Helper[Work, Answer]], works: Iterable[Work]) -> Iterator[Answer]:
    """Give each work to the process that has least to do, once one has room; yield the answers in the works' order."""
    asked: deque[Callable[[], Answer]] = deque()
    for work in works:
        while min(helper.waiting for helper in helpers) == WAITING:
            yield asked.popleft()()
        asked.append(min(helpers, key=lambda one: one.waiting).give(work))
    for take in asked:
        yield take()


class _Helper(Generic[Work, Answer]):
    """A forked process that does one work after another, as they are given."""

    def __init__(self, function: Callable[[Work], Answer], others: Sequence[_Helper[Work, Answer]]) -> None:
        """Fork it; `others` are those forked before."""
        context = multiprocessing.get_context("fork")
        self._function = function
        self._memories = [mmap.mmap(-1, MEMORY_BYTES) for _ in range(WAITING)]
        self.pipe, theirs = context.Pipe()
        # It sees the end of this process only if no process holds this end of its pipe any more.
        ours = [self.pipe, *[other.pipe for other in others]]
        self._process = context.Process(target=_help, args=(function, theirs, self._memories, ours), daemon=True)
        self._process.start()
        theirs.close()
        self._given = self._taken = 0

    @property
    def waiting(self) -> int:
        """How many works were given whose answers were not taken."""
        return self._given - self._taken

    def give(self, work: Work) -> Callable[[], Answer]:
        """Give it one more work; return what takes the answer. A work that is too long for it is done there."""
        message = _write(work, self._memories[self._given % WAITING])
        if len(message) > SENT_BYTES:
            return partial(self._function, work)
        self._given += 1
        with suppress(OSError):  # one that has ended gives no answer
            self.pipe.send_bytes(message)
        return self._take

    def _take(self) -> Answer:
        """Return the answer to the oldest work whose answer was not taken."""
        memory = self._memories[self._taken % WAITING]
        try:
            answer, wrong = _read(self.pipe.recv_bytes(), memory)
        except (EOFError, OSError) as error:
            raise RuntimeError("a process that was forked for it has ended") from error
        self._taken += 1
        if wrong is not None:
            raise wrong
        return answer  # type: ignore[no-any-return]

    def end(self) -> None:
        """End it, after the work that it is at."""
        self.pipe.close()
        self._process.join()


def _help(
    function: Callable[[Any], Any], pipe: Connection, memories: Sequence[mmap.mmap], ours: Iterable[Connection]
) -> None:
    """Do works until no more are wanted. An interrupt is left to the process that forked this one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # What is done makes no cycles, and many objects: to look among them for some takes a twentieth of the time.
    gc.freeze()
    gc.disable()
    for one in ours:
        one.close()
    with suppress(EOFError, OSError):
        for memory in cycle(memories):
            work = _read(pipe.recv_bytes(), memory)
            pipe.send_bytes(_write(_do(function, work), memory))


def _do(function: Callable[[Work], Answer], work: Work) -> tuple[Answer | None, Exception | None]:
    try:
        return function(work), None
    except Exception as error:  # noqa: BLE001  (whatever it is, it is raised where it was asked for)
        return None, error


class _Writing(pickle.Pickler):
    """Writes a value, its long bytes into a memory while there is room."""

    def __init__(self, file: BytesIO, memory: mmap.mmap) -> None:
        super().__init__(file, pickle.HIGHEST_PROTOCOL)
        self._memory = memory
        self._end = 0

    def persistent_id(self, value: Any) -> tuple[int, int] | None:
        """Return where these bytes are."""
        if type(value) is not bytes or len(value) < LONG_BYTES or len(value) > len(self._memory) - self._end:
            return None
        begin, self._end = self._end, self._end + len(value)
        self._memory[begin : self._end] = value
        return begin, self._end


class _Reading(pickle.Unpickler):
    def __init__(self, file: BytesIO, memory: mmap.mmap) -> None:
        super().__init__(file)
        self._memory = memory

    def persistent_load(self, place: tuple[int, int]) -> bytes:
        """Return the bytes that are there."""
        return self._memory[slice(*place)]


def _write(value: object, memory: mmap.mmap) -> bytes:
    file = BytesIO()
    _Writing(file, memory).dump(value)
    return file.getvalue()


def _read(message: bytes, memory: mmap.mmap) -> Any:
    return _Reading(BytesIO(message), memory).load()
