"""What signed receipts cost: rounds with and without their tree and signature, in turn, in one run."""

from __future__ import annotations

import asyncio
import statistics
import time
from typing import TYPE_CHECKING

import pytest

from journal.core.receipt import receipt_text
from journal.writing import answers
from tests.bench.append import BATCH_EVENTS
from tests.bench.processor import seconds_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from journal.core.entry import Event
    from journal.core.receipt import Members
    from journal.writing.queue import Submission
    from tests.bench.site import Site

    Settled = Iterable[tuple[Submission, dict[int, Members]]]
    Settle = Callable[[Settled, answers.Notary | None], None]

BATCHES, SINGLES = 10, 2_000


def _settle_bare(settled: Settled, _notary: answers.Notary | None) -> None:
    """Answer with receipts that nothing proves."""
    for submission, created in settled:
        if not submission.future.done():
            receipts = submission.receipts(created)
            submission.future.set_result(answers.Answer(receipts, [receipt_text(receipt) for receipt in receipts]))


async def _round(site: Site, count: int, size: int, settle: Settle, postmaster: int) -> tuple[float, float]:
    """Submit so many submissions of so many events; return the seconds of processor to answer them, and of all."""
    submissions = [site.make(size) for _ in range(count)]
    answering = 0.0

    def timed(settled: Settled, notary: answers.Notary | None) -> None:
        nonlocal answering
        begun = time.thread_time()
        settle(settled, notary)
        answering += time.thread_time() - begun

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(answers, "settle", timed)
        begun = time.process_time() + seconds_of(postmaster)
        bodies = await asyncio.gather(*(_answered(site, events) for events in submissions))
        whole = time.process_time() + seconds_of(postmaster) - begun
    assert all((b'"signature"' in body) is (settle is not _settle_bare) for body in bodies)
    return answering, whole


async def _answered(site: Site, events: list[Event]) -> bytes:
    return (await site.service.writer.submit(site.compartment(0), "bench", events, 0)).body


async def measure_receipts(site: Site, postmaster: int, runs: int) -> None:
    """Print how much processor receipts take beside all that it takes to append, PostgreSQL included: medians."""
    keys = site.service.receipt_keys
    while keys.problem():  # on a busy machine the signer may answer late
        await keys.prepare()
    signed = answers.settle
    for title, count, size in (("batches of 1,000", BATCHES, BATCH_EVENTS), ("single events", SINGLES, 1)):
        costs = []
        for _ in range(runs + 1):
            bare, _all = await _round(site, count, size, _settle_bare, postmaster)
            proven, whole = await _round(site, count, size, signed, postmaster)
            costs.append(100 * (proven - bare) / (whole - proven + bare))
        cost = statistics.median(costs[1:])  # the first round warms up
        print(f"{f'receipts, {title}':<44} {cost:>+9.1f} % of the processor; median of {runs} pairs", flush=True)
