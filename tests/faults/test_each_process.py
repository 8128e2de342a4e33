"""Each process of the service and of PostgreSQL, killed or stopped for a while at random instants under load."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.faults.auditing import audit
from tests.faults.ledger import Ledger
from tests.faults.load import CUT_OFF, NOT_SENT, Load
from tests.faults.oracle import judge
from tests.faults.postmaster import BACKENDS, backends
from tests.faults.shown import show
from tests.support.serving import SERVICE_PROGRAM, Serving, found_site, workers_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from journal.database.embedded import EmbeddedPostgres
    from tests.faults.shown import Record
    from tests.support.serving import Site

CLIENTS = 8
LOAD_SECONDS = 0.4
SEED = 20261129
FOUND_LIMIT_SECONDS = 300
# Longer than the service waits for an answer: what it gave up may then still be written.
STOPPED_SECONDS, STOPPED_LONG_SECONDS, LONG_EVERY = 2.0, 24.0, 7
OWN = ("the first process, which writes", "a worker", SIGNER := "the signer")
# Not forked, as others of the tests are: its signer is its child, by its own name.
AS_IT_IS = ("-P", *SERVICE_PROGRAM)
TRIALS = 20
POSTMASTER = "the postmaster"
KILLED = [*OWN, *BACKENDS]
STOPPED = [*OWN, *BACKENDS, POSTMASTER]


@pytest.mark.parametrize(
    ("target", "trials"),
    [("a backend that appends", 2), *(pytest.param(name, TRIALS, marks=pytest.mark.campaign) for name in KILLED)],
)
async def test_kill_9_of_each_process(
    target: str, trials: int, seed: int, mortal_cluster: EmbeddedPostgres, tmp_path: Path, record_property: Record
) -> None:
    """The rest goes on, or is started again, and nothing acknowledged is lost or doubled."""
    fault = f"kill -9 of {target}"
    site = await found_site(tmp_path, mortal_cluster.dsn())
    load = await campaign(site, mortal_cluster, target, trials, is_killed=True, seed=SEED + seed)
    await conclude(fault, site, load, trials, SEED + seed, record_property)


@pytest.mark.campaign
@pytest.mark.parametrize("target", STOPPED)
async def test_each_process_is_stopped_for_a_while(
    target: str, seed: int, mortal_cluster: EmbeddedPostgres, tmp_path: Path, record_property: Record
) -> None:
    """What hangs is waited for or given up; what it does when it goes on loses and doubles nothing."""
    site = await found_site(tmp_path, mortal_cluster.dsn())
    load = await campaign(site, mortal_cluster, target, TRIALS, is_killed=False, seed=SEED + seed)
    await conclude(f"SIGSTOP of {target}", site, load, TRIALS, SEED + seed, record_property)


@pytest.mark.campaign
@pytest.mark.parametrize("is_killed", [True, False])
async def test_a_backend_under_a_service_with_a_fault(
    is_killed: bool,  # noqa: FBT001  (pytest passes parameters by name)
    seed: int,
    mortal_cluster: EmbeddedPostgres,
    tmp_path: Path,
    record_property: Record,
) -> None:
    """Control: a service that takes silence for a commit loses what the backend had not written."""
    site = await found_site(tmp_path, mortal_cluster.dsn())
    program = ("-m", "tests.faults.broken_service", "hopeful" if is_killed else "forgetful")
    await campaign(
        site, mortal_cluster, "a backend that appends", 14, is_killed=is_killed, seed=SEED + seed, program=program
    )
    verdict = await judge(ledger=tmp_path / "ledger", superuser_dsn=site.superuser_dsn, home=tmp_path)
    fault = f"{'kill -9' if is_killed else 'SIGSTOP'} of a backend that appends"
    show(record_property, fault, 14, verdict, broken=f"a {program[-1]} service", seed=SEED + seed)
    assert verdict.lost if is_killed else verdict.duplicated


async def campaign(
    site: Site,
    database: EmbeddedPostgres,
    target: str,
    trials: int,
    *,
    is_killed: bool,
    seed: int,
    program: Sequence[str] = SERVICE_PROGRAM,
) -> Load:
    """Kill or stop the target so often under load; the service is started again where it has ended."""
    draw = random.Random(seed)
    ledger = Ledger(site.home / "ledger")
    workers = 1 if program != SERVICE_PROGRAM else 2
    program = AS_IT_IS if target == SIGNER else program
    serving = await Serving.start(site, workers=workers, program=program)
    try:
        await serving.ready()
        async with Load(site, ledger, clients=CLIENTS, seed=seed) as load:
            for number in range(trials):
                await load.acknowledgements(1)
                await asyncio.sleep(draw.random() * LOAD_SECONDS)
                pid = await find(site, database, serving, target)
                if is_killed:
                    os.kill(pid, signal.SIGKILL)
                else:
                    is_long = number % LONG_EVERY == LONG_EVERY - 1
                    await hold(pid, STOPPED_LONG_SECONDS if is_long else draw.random() * STOPPED_SECONDS)
                if is_killed and target == OWN[0]:
                    await serving.ended()
                    await serving.kill()
                    serving = await Serving.start(site, workers=workers, program=program)
                    await serving.ready()
            # The last of these was sent after the last kill: the database is recovered, for who judges it.
            await load.acknowledgements(CLIENTS + 1)
            await load.finish()
            assert await serving.stop() == 0
    finally:
        await serving.kill()  # else the next case fails for what this one left
        ledger.close()
    return load


async def hold(pid: int, seconds: float) -> None:
    """Stop a process for so long; it may end meanwhile, where others give it up."""
    os.kill(pid, signal.SIGSTOP)
    await asyncio.sleep(seconds)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


async def find(site: Site, database: EmbeddedPostgres, serving: Serving, target: str) -> int:
    """Return the process id of a target, once it is there: after a crash it may not be at once."""
    async with asyncio.timeout(FOUND_LIMIT_SECONDS):
        while True:
            found = [serving.process.pid] if target == OWN[0] else []
            if target == "a worker":
                found = workers_of(serving.process.pid)
            elif target == SIGNER:
                found = signers_of(serving.process.pid)
            elif target == POSTMASTER:
                found = [pid for pid in [database.pid] if pid]
            elif target in BACKENDS:
                found = await backends(site, BACKENDS[target])
            if found:
                return found[0]
            await asyncio.sleep(0.1)


def signers_of(pid: int) -> list[int]:
    """Return the signer that a service has started."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    found = []
    for child in children:
        with contextlib.suppress(OSError):
            if b"journal.signer" in Path(f"/proc/{child}/cmdline").read_bytes():
                found.append(int(child))
    return found


async def conclude(fault: str, site: Site, load: Load, trials: int, seed: int, record: Record) -> None:
    """Judge, record, and hold the service to it."""
    verdict = await judge(ledger=site.home / "ledger", superuser_dsn=site.superuser_dsn, home=site.home)
    show(record, fault, trials, verdict, seed=seed, counts={"cut off": load.cut_off})
    assert verdict.faults == []
    assert set(load.statuses) <= {NOT_SENT, CUT_OFF, 200, 201, 400, 409, 503}
    assert await audit(site) == []
