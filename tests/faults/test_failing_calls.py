"""The system refuses to write or to sync: PostgreSQL's log under load, and every call of a command on the key store."""

from __future__ import annotations

import asyncio
import random
import re
import subprocess
import sys
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING

import asyncpg
import pytest

from tests.faults.auditing import audit
from tests.faults.ledger import Ledger
from tests.faults.load import Load
from tests.faults.oracle import judge
from tests.faults.postmaster import BACKENDS, backends
from tests.faults.shown import show
from tests.support.serving import SERVICE_PROGRAM, Serving, found_site

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from journal.database.embedded import EmbeddedPostgres
    from tests.faults.shown import Record
    from tests.support.serving import Site

pytestmark = [pytest.mark.campaign, pytest.mark.needs("strace")]
CLIENTS = 8
SEED = 20261203
TRIALS = 20
FIRST_CALLS = 10
ATTACHED_LIMIT_SECONDS, ENDED_LIMIT_SECONDS = 60, 120
SYNCS, WRITES = "fsync,fdatasync", "pwrite64"
FAULT = {SYNCS: "failing fsync of the WAL (EIO)", WRITES: "failing write of the WAL (EIO)"}
KEPT = "fsync,fdatasync,rename,renameat,renameat2,link,linkat"
KEPT_CALL = re.compile(rf"\b({KEPT.replace(',', '|')})\(")
# The calls of one command are shared out: each part ends within a case's time, on a slow machine too.
PARTS = 6


@pytest.mark.parametrize("calls", FAULT)
async def test_the_database_cannot_write(
    calls: str, seed: int, mortal_cluster: EmbeddedPostgres, tmp_path: Path, record_property: Record
) -> None:
    """PostgreSQL panics and recovers; nothing is acknowledged that it could not keep."""
    site = await found_site(tmp_path, mortal_cluster.dsn())
    load = await campaign(site, calls, TRIALS, SEED + seed)
    verdict = await judge(ledger=tmp_path / "ledger", superuser_dsn=site.superuser_dsn, home=tmp_path)
    show(record_property, FAULT[calls], TRIALS, verdict, seed=SEED + seed)
    assert verdict.faults == []
    assert set(load.statuses) <= {200, 201, 400, 409, 503}
    assert await audit(site) == []


async def test_the_database_cannot_write_under_a_service_with_a_fault(
    seed: int, mortal_cluster: EmbeddedPostgres, tmp_path: Path, record_property: Record
) -> None:
    """Control: one that acknowledges whatever its flush says loses what was never written."""
    site = await found_site(tmp_path, mortal_cluster.dsn())
    await campaign(site, WRITES, 5, SEED + seed, ("-m", "tests.faults.broken_service", "deaf"))
    verdict = await judge(ledger=tmp_path / "ledger", superuser_dsn=site.superuser_dsn, home=tmp_path)
    show(record_property, FAULT[WRITES], 5, verdict, broken="a deaf service", seed=SEED + seed)
    assert verdict.lost


async def campaign(site: Site, calls: str, trials: int, seed: int, program: Sequence[str] = SERVICE_PROGRAM) -> Load:
    """Have one of the next calls of every backend that appends fail, so often, under load."""
    draw = random.Random(seed)
    ledger = Ledger(site.home / "ledger")
    async with (
        await Serving.start(site, program=program) as serving,
        Load(site, ledger, clients=CLIENTS, seed=seed) as load,
    ):
        for _ in range(trials):
            await load.acknowledgements(2)
            pids = await backends(site, BACKENDS["a backend that appends"])
            if pids:
                with failing(pids, calls, draw.randrange(1, FIRST_CALLS)) as tracer:
                    await asyncio.to_thread(tracer.wait, ENDED_LIMIT_SECONDS)
        await load.finish()
        assert await serving.stop() == 0
    ledger.close()
    return load


@contextmanager
def failing(pids: list[int], calls: str, number: int) -> Iterator[subprocess.Popen[str]]:
    """Have the call of this number fail in each of these processes; it ends with the last of them."""
    line = ["strace", "-o", "/dev/null", "-e", f"trace={calls}", "-e", f"inject={calls}:error=EIO:when={number}+"]
    for pid in pids:
        line += ["-p", str(pid)]
    with subprocess.Popen(line, stderr=subprocess.PIPE, text=True) as tracer:
        try:
            yield tracer
        finally:
            tracer.kill()


@pytest.mark.parametrize("part", range(PARTS))
async def test_every_call_of_a_command_fails_once(
    part: int, mortal_cluster: EmbeddedPostgres, tmp_path: Path, record_property: Record
) -> None:
    """A commune added while the n-th sync, rename or link fails: refused or done, and a repeat completes it."""
    site = await found_site(tmp_path, mortal_cluster.dsn())
    whole, trace = add_commune(site, "c0", failing=None)
    assert whole.returncode == 0, whole.stderr
    counts = Counter(found[1] for line in trace if (found := KEPT_CALL.search(line)))
    calls = [(name, number) for name, count in counts.items() for number in range(1, count + 1)]
    assert len(calls) > PARTS
    refused, numbers = 0, range(1 + part, len(calls) + 1, PARTS)
    for number in numbers:
        first, trace = add_commune(site, f"c{number}", calls[number - 1])
        assert any("(INJECTED)" in line for line in trace), calls[number - 1]
        assert "Traceback" not in first.stderr
        if first.returncode != 0:
            refused += 1
            again = subprocess.run(
                adding(f"c{number}"), env=site.environment, capture_output=True, text=True, check=False
            )
            assert again.returncode == 0 or "already" in again.stderr, (first.stderr, again.stderr)
    connection = await asyncpg.connect(site.superuser_dsn)
    added = await connection.fetchval("SELECT count(*) FROM journal.tenant WHERE code ~ '^c[0-9]'")
    await connection.close()
    assert added == 1 + len(numbers)
    assert await audit(site) == []
    record_property(
        "evidence",
        f"part {part + 1} of {PARTS}: {len(numbers)} of the {len(calls)} syncs, renames and links of `tenant add` fail "
        f"once each: {refused} refused, all completed",
    )


def adding(name: str) -> list[str]:
    """Return the command that adds a commune; its calls are made, and counted, in one thread."""
    return [sys.executable, "-m", "tests.faults.one_thread", "tenant", "add", name, "--name", name]


def add_commune(
    site: Site, name: str, failing: tuple[str, int] | None
) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """Add a commune, this call, the n-th of its name, failing if one is given; return how it ended, and the calls.

    strace counts the calls of each name, and of each thread, apart.
    """
    path = site.home / "trace"
    line = ["strace", "-f", "--seccomp-bpf", "-o", str(path), "-e", f"trace={KEPT}"]
    line += [] if failing is None else ["-e", f"inject={failing[0]}:error=EIO:when={failing[1]}"]
    done = subprocess.run([*line, *adding(name)], env=site.environment, capture_output=True, text=True, check=False)
    return done, path.read_text(encoding="utf-8").splitlines()
