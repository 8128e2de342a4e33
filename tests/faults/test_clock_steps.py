"""The clock of the service's host stepped under load, forwards and back: nothing is recorded at a time that is not."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import TYPE_CHECKING

import asyncpg
import pytest

import sql
from tests.faults.auditing import audit
from tests.faults.ledger import Ledger, read_ledger
from tests.faults.load import Load
from tests.faults.oracle import Judgement, judge
from tests.faults.shown import show
from tests.support.moved_clock import arrange
from tests.support.serving import Serving, found_site

if TYPE_CHECKING:
    from pathlib import Path

    from journal.database.embedded import EmbeddedPostgres
    from tests.faults.shown import Record
    from tests.support.serving import Site

CLIENTS = 6
SEED = 20261202
HOUR, DAY = 3600.0, 86400.0
STEPS = (-90 * DAY, -DAY, -HOUR, -60.0, 60.0, HOUR, DAY, 90 * DAY, 3650 * DAY)
STEPPED_SECONDS = 2.0
NOTICED_LIMIT_SECONDS = 120
RECORDED = frozenset({200, 201})
# So far may the service and its database be apart.
APART = timedelta(seconds=2)
FAULT = "clock of the service's host stepped by a minute to ten years, forwards and back"
PROGRAM = ("-u", "-m", "journal.cli.main")


@pytest.mark.campaign
async def test_the_clock_is_stepped(
    seed: int,
    mortal_cluster: EmbeddedPostgres,
    tmp_path: Path,
    record_property: Record,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """While the clocks differ nothing is recorded at a wrong time; then it goes on, in order."""
    site = await found_site(tmp_path, mortal_cluster.dsn())
    for name, value in arrange(tmp_path).items():
        monkeypatch.setenv(name, value)
    steps = [step for step in STEPS for _ in range(3)]
    random.Random(SEED + seed).shuffle(steps)
    ledger = Ledger(tmp_path / "ledger")
    async with (
        await Serving.start(site, program=PROGRAM) as serving,
        Load(site, ledger, clients=CLIENTS, seed=SEED + seed) as load,
    ):
        for step in steps:
            await load.acknowledgements(1)
            step_clock(tmp_path, step)
            await noticed(load)
            await asyncio.sleep(STEPPED_SECONDS)
            step_clock(tmp_path, 0.0)
        await load.finish()
        assert await serving.stop() == 0
    ledger.close()
    verdict = await judged(site, tmp_path)
    counts = {f"answered {status}": count for status, count in sorted(load.statuses.items())}
    show(record_property, FAULT, len(steps), verdict, seed=SEED + seed, counts=counts)
    assert verdict.faults == []
    assert set(load.statuses) <= {200, 201, 400, 401, 409, 422, 503}
    assert await audit(site) == []


@pytest.mark.campaign
async def test_a_clock_that_is_wrong_everywhere(
    seed: int,
    mortal_cluster: EmbeddedPostgres,
    tmp_path: Path,
    record_property: Record,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Control: where the database's clock is as wrong as the service's, the times are, and the judge says so."""
    site = await found_site(tmp_path, mortal_cluster.dsn())
    for name, value in arrange(tmp_path).items():
        monkeypatch.setenv(name, value)
    step_clock(tmp_path, HOUR)
    owner = await asyncpg.connect(site.dsn)
    await owner.execute(sql.read("simulated_clock.sql"))
    await owner.execute("UPDATE journal.simulated_clock SET ahead = interval '1 hour'")
    await owner.close()
    ledger = Ledger(tmp_path / "ledger")
    async with (
        await Serving.start(site, program=PROGRAM),
        Load(site, ledger, clients=CLIENTS, seed=SEED + seed) as load,
    ):
        await load.acknowledgements(5)
    ledger.close()
    verdict = await judged(site, tmp_path, resolved=False)
    show(record_property, FAULT, 1, verdict, broken="a database whose clock is as wrong", seed=SEED + seed)
    assert verdict.wrong


def step_clock(directory: Path, seconds: float) -> None:
    """Have the clock wrong by so much from one read to the next."""
    new = directory / "seconds.new"
    new.write_text(str(seconds), encoding="ascii")
    new.replace(directory / "seconds")


async def noticed(load: Load) -> None:
    """Wait until every client may have been told: to come back, that its event is of the future, its secret old."""

    def told() -> int:
        return sum(count for status, count in load.statuses.items() if status not in RECORDED)

    wanted = told() + CLIENTS
    async with asyncio.timeout(NOTICED_LIMIT_SECONDS), load.progress:
        await load.progress.wait_for(lambda: told() >= wanted)


async def judged(site: Site, home: Path, *, resolved: bool = True) -> Judgement:
    """Judge, and compare the time in each receipt with when the event was sent and when that was acknowledged."""
    verdict = await judge(ledger=home / "ledger", superuser_dsn=site.superuser_dsn, home=home, resolved=resolved)
    beginning = datetime.now(UTC) - timedelta(seconds=monotonic())
    sent: dict[str, datetime] = {}
    for line in read_ledger(home / "ledger"):
        at = beginning + timedelta(microseconds=line.at / 1000)
        if line.kind == "sent":
            sent.setdefault(line.id, at)
        if line.kind == "ok" and line.receipt is not None:
            recorded = datetime.fromisoformat(line.receipt["recorded_at"])
            if not sent[line.id] - APART <= recorded <= at + APART:
                verdict.wrong.append(f"{line.id} is recorded at {recorded}, sent {sent[line.id]}, acknowledged {at}")
    return verdict
