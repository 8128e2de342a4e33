"""The service ended in milder ways: asked to stop, robbed of a worker, or of the process that started its workers."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from typing import TYPE_CHECKING, cast

import pytest
import uvloop

from journal.cli import workers
from journal.cli.workers import Workers
from journal.metrics import make_shared_memory
from tests.faults.ledger import Ledger
from tests.faults.load import CUT_OFF, NOT_SENT, Load
from tests.faults.oracle import judge
from tests.support.serving import Serving, Site, found_site, workers_of

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncIterator
    from pathlib import Path
    from typing import Any

    from journal.writing.writer import Writer

CLIENTS = 8
SEED = 20261125
STOPS = 2
GONE_LIMIT_SECONDS = 60
LOOK_SECONDS = 0.1


@pytest.fixture
async def site(dsn: str, tmp_path: Path) -> Site:
    """An installation of its own on the shared PostgreSQL."""
    return await found_site(tmp_path, dsn)


@pytest.fixture
async def load(site: Site) -> AsyncIterator[Load]:
    """Clients that post all the time."""
    ledger = Ledger(site.home / "ledger")
    async with Load(site, ledger, clients=CLIENTS, seed=SEED) as running:
        yield running
    ledger.close()


async def faults(site: Site) -> list[str]:
    """Return where what the clients were told is not what is stored."""
    verdict = await judge(ledger=site.home / "ledger", superuser_dsn=site.superuser_dsn, home=site.home)
    assert verdict.acknowledged > 0
    return verdict.faults


async def test_asked_to_stop_under_load(site: Site, load: Load) -> None:
    """A service asked to stop writes what it has taken and ends with 0; what it did not answer is asked for again."""
    for number in range(STOPS):
        async with await Serving.start(site, workers=1 + number % 2) as serving:
            await load.acknowledgements(20)
            assert await serving.stop() == 0
    async with await Serving.start(site):
        await load.finish()
    assert set(load.statuses) <= {NOT_SENT, CUT_OFF, 200, 201, 400, 409, 503}
    # At most what each client had just sent, and once more on the worker that was still there.
    assert load.cut_off <= 2 * CLIENTS * STOPS
    assert await faults(site) == []


async def test_a_worker_that_dies_is_replaced(site: Site, load: Load) -> None:
    """When a worker is killed the others go on, and another takes its place; what it had not answered is sent again."""
    async with await Serving.start(site, workers=2) as serving:
        await load.acknowledgements(20)
        (worker,) = workers_of(serving.process.pid)
        os.kill(worker, signal.SIGKILL)
        async with asyncio.timeout(GONE_LIMIT_SECONDS):
            while workers_of(serving.process.pid) in ([], [worker]):  # noqa: ASYNC110  (the kernel tells nobody)
                await asyncio.sleep(LOOK_SECONDS)
        await load.acknowledgements(20)
        assert serving.process.returncode is None
        assert await serving.stop() == 0
    async with await Serving.start(site):
        await load.finish()
    assert load.cut_off <= 2 * CLIENTS
    assert await faults(site) == []


def test_a_worker_that_dies_as_it_starts_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed before it was told the database's address, on the service's own event loop: another takes its place."""
    program, told = tmp_path / "worker", tmp_path / "told"
    program.write_text(f"#!/bin/sh\nexec cat >>{told}\n", encoding="ascii")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    monkeypatch.setattr(workers, "PAUSE_SECONDS", 0.0)
    start, started = asyncio.create_subprocess_exec, []

    async def start_and_kill_the_second(*line: str, **options: Any) -> Process:
        process = await start(*line, **options)
        started.append(process)
        if len(started) == 2:
            process.kill()
            assert process.stdin is not None
            while not process.stdin.is_closing():  # noqa: ASYNC110  (nobody is told)
                await asyncio.sleep(0)
        return process

    async def tell_three() -> None:
        with socket.socket() as listener:
            kept = Workers("the address", listener, make_shared_memory(2), 1, is_held=False)
            await kept.start()
            await kept.write_by(cast("Writer", object()))  # it is sent nothing
            kept.keep()
            async with asyncio.timeout(GONE_LIMIT_SECONDS):
                await told_times(1)
                started[0].kill()
                await told_times(2)
            await kept.stop()

    async def told_times(times: int) -> None:
        while not told.exists() or told.read_text(encoding="ascii") != times * "the address\n":  # noqa: ASYNC110
            await asyncio.sleep(LOOK_SECONDS)

    monkeypatch.setattr(asyncio, "create_subprocess_exec", start_and_kill_the_second)
    uvloop.run(tell_three())
    assert [process.returncode for process in started] == [-signal.SIGKILL, -signal.SIGKILL, -signal.SIGTERM]


async def test_workers_do_not_outlive_the_process_that_started_them(site: Site, load: Load) -> None:
    """Where only the first process is killed its workers end by themselves: the next service finds its address free."""
    async with await Serving.start(site, workers=3) as serving:
        await load.acknowledgements(20)
        workers = workers_of(serving.process.pid)
        assert len(workers) == 2
        os.kill(serving.process.pid, signal.SIGKILL)
        async with asyncio.timeout(GONE_LIMIT_SECONDS):
            await serving.ended()
    async with await Serving.start(site):
        await load.finish()
    assert await faults(site) == []
