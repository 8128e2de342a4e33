"""Work spread over the processors: as `map` does it, in the same order, in processes forked for it."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import deque
from concurrent.futures import ProcessPoolExecutor
from itertools import chain, islice
from typing import TYPE_CHECKING, Callable, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# Below so many pieces of work, a fork costs more than it saves.
ALONE = 3
# So many wait in each process, that none is idle.
WAITING = 2

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
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(processors, context, _leave_signals) as pool:
        waiting = deque(pool.submit(function, work) for work in first)
        try:
            for work in coming:
                waiting.append(pool.submit(function, work))
                if len(waiting) > WAITING * processors:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for one in waiting:
                one.cancel()


def _leave_signals() -> None:
    """Leave an interrupt to the process that forked this one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
