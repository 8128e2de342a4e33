"""Work spread over the processors comes back as `map` gives it."""

from __future__ import annotations

import os
import subprocess
import sys
from operator import neg
from typing import TYPE_CHECKING

import pytest

from journal.verifier.processes import ALONE, spread

if TYPE_CHECKING:
    from collections.abc import Iterator

ASKING = """
import asyncio, os, threading
from journal.audit.contents import ContentReaders

async def ask():
    async with ContentReaders(None, 2) as readers:
        print(readers._pool.submit(os.getpid).result(), flush=True)
        threading.Event().wait()

asyncio.run(ask())
"""


def process_of(_: int) -> int:
    """Tell where it was done."""
    return os.getpid()


@pytest.mark.parametrize("count", [0, 1, ALONE - 1, ALONE, 50])
def test_answers_come_in_order(count: int) -> None:
    """However many there are."""
    assert list(spread(neg, iter(range(count)))) == list(map(neg, range(count)))


def test_little_work_is_done_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """No process begins for it, nor where there is one processor; otherwise others do it."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    assert set(spread(process_of, range(ALONE - 1))) == {os.getpid()}
    assert os.getpid() not in set(spread(process_of, range(20)))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0}, raising=False)
    assert set(spread(process_of, range(20))) == {os.getpid()}


def test_work_is_taken_a_little_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    """An extract is never read whole before its first slices are checked."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    taken: list[int] = []

    def works() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            yield number

    answers = spread(neg, works())
    assert next(answers) == 0
    assert len(taken) < 10
    answers.close()  # type: ignore[attr-defined] # it is a generator


def test_what_reads_ends_with_the_process_that_asked() -> None:
    """However that one ends: nothing that holds keys stays behind. What it prints to is open until the last has ended.

    A pool's processes wait for work by themselves, for ever.
    """
    asking = subprocess.Popen([sys.executable, "-c", ASKING], stdout=subprocess.PIPE)
    assert asking.stdout is not None
    assert int(asking.stdout.readline()) != asking.pid
    asking.kill()
    assert asking.communicate()[0] == b""
