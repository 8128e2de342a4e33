"""What signed receipts cost: rounds with and without their tree and signature, in turn, in one run."""

from __future__ import annotations

import asyncio
import gc
import statistics
import time
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

import pytest

from journal.writing import answers
from tests.bench.append import BATCH_EVENTS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from journal.core.entry import Event
    from journal.core.receipt import Receipt
    from journal.writing.queue import Submission
    from tests.bench.site import Site

BATCHES, SINGLES = 10, 4_000


def _settle_bare(settled: Iterable[tuple[Submission, dict[int, Receipt]]], _notary: answers.Notary | None) -> None:
    """Answer with receipts that nothing proves."""
    for submission, created in settled:
        if not submission.future.done():
            said = submission.acknowledgements(created)
            submission.future.set_result(answers.Answer(said, [answer.receipt.text for answer in said]))


@contextmanager
def _bare() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(answers, "settle", _settle_bare)
        yield


async def _round(site: Site, count: int, size: int, *, is_bare: bool) -> tuple[float, float]:
    """Submit so many submissions of so many events; return the seconds, of the clock and of this processor."""
    submissions = [site.make(size) for _ in range(count)]
    gc.collect()
    wall, processor = time.perf_counter(), time.process_time()
    with _bare() if is_bare else nullcontext():
        await asyncio.gather(*(_answered(site, events, is_bare=is_bare) for events in submissions))
        return time.perf_counter() - wall, time.process_time() - processor


async def _answered(site: Site, events: list[Event], *, is_bare: bool) -> None:
    answer = await site.service.writer.submit(site.compartment(0), "bench", events, 0)
    assert (b'"signature"' in answer.body) is not is_bare


async def measure_receipts(site: Site, runs: int) -> None:
    """Print by how much receipts lengthen a round, of batches and of single events: the median of its runs."""
    for title, count, size in (("batches of 1,000", BATCHES, BATCH_EVENTS), ("single events", SINGLES, 1)):
        ratios, taken = [], {}
        for number in range(2 * runs + 2):
            for is_bare in (True, False) if number % 2 else (False, True):  # each as often the first
                taken[is_bare] = await _round(site, count, size, is_bare=is_bare)
            if number > 1:  # the first ones warm up
                ratios.append([after / before - 1 for after, before in zip(taken[False], taken[True], strict=True)])
        wall, processor = ([100 * value for value in values] for values in zip(*ratios, strict=True))
        print(
            f"{f'receipts, {title}':<44} {statistics.median(wall):>+9.1f} % of the time, "
            f"{statistics.median(processor):>+.1f} % of the service's processor; median of {2 * runs} pairs"
        )
