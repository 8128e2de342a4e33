"""`kill -9` of the service under load: nothing acknowledged is lost, nothing is there twice, order holds."""

from __future__ import annotations

import asyncio
import random
from statistics import median
from typing import TYPE_CHECKING

import pytest

from tests.faults.auditing import audit
from tests.faults.ledger import Ledger
from tests.faults.load import CUT_OFF, NOT_SENT, Load
from tests.faults.oracle import judge
from tests.faults.shown import show
from tests.support.serving import SERVICE_PROGRAM, Serving, Site, found_site

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from journal.database.embedded import EmbeddedPostgres
    from tests.faults.shown import Record

FAULT = "kill -9 of the service (all its processes)"
CLIENTS = 8
LOAD_SECONDS = 0.4
SEED = 20261123


def counts(load: Load) -> dict[str, int]:
    """Count what the clients met."""
    return {
        "requests": load.requests - load.refused_connections,
        "cut off": load.cut_off,
        "of those found recorded when sent again": load.found_recorded,
    }


async def campaign(
    site: Site, kills: int, *, seed: int, workers: int = 2, program: Sequence[str] = SERVICE_PROGRAM
) -> tuple[Load, list[float]]:
    """Kill the service at random instants while clients post; return them, and how long each start took."""
    draw = random.Random(seed)
    ledger = Ledger(site.home / "ledger")
    starts: list[float] = []
    async with Load(site, ledger, clients=CLIENTS, seed=seed) as load:
        for number in range(kills):
            serving = await Serving.start(site, workers=1 + number % workers, program=program)
            if number % 5 == 4:
                # An instant of the start itself.
                await asyncio.sleep(draw.random() * median(starts))
            else:
                await serving.ready()
                starts.append(serving.start_seconds)
                await load.acknowledgements(1)
                if number % 5 == 0:
                    await load.show_heads()
                await asyncio.sleep(draw.random() * LOAD_SECONDS)
            await serving.kill()
        serving = await Serving.start(site, program=program)
        await serving.ready()
        await load.finish()
    assert await serving.stop() == 0
    ledger.close()
    return load, starts


@pytest.mark.parametrize(
    ("kills", "part"), [(5, 0), *(pytest.param(50, part, marks=pytest.mark.campaign) for part in range(20))]
)
async def test_kill_9_of_the_service(
    kills: int, part: int, seed: int, cluster: EmbeddedPostgres, tmp_path: Path, record_property: Record
) -> None:
    """Killed at random instants under load, the service loses nothing it acknowledged and repeats nothing."""
    site = await found_site(tmp_path, cluster.dsn())
    seed += SEED + kills + part
    load, starts = await campaign(site, kills, seed=seed)
    verdict = await judge(ledger=tmp_path / "ledger", superuser_dsn=site.superuser_dsn, home=tmp_path)
    show(record_property, FAULT, kills, verdict, seed=seed, counts=counts(load), longest={"start": max(starts)})
    assert verdict.faults == []
    assert set(load.statuses) <= {NOT_SENT, CUT_OFF, 200, 201, 400, 409, 503}
    # Otherwise the kills met nothing they could have harmed.
    assert load.cut_off > kills
    assert load.found_recorded > 0
    assert await audit(site) == []


@pytest.mark.control
@pytest.mark.parametrize("fault", ["hasty", "forgetful"])
async def test_kill_9_of_a_service_with_a_fault(
    fault: str, seed: int, cluster: EmbeddedPostgres, tmp_path: Path, record_property: Record
) -> None:
    """The same kills show what a service loses that acknowledges early, and what one repeats that forgets."""
    site = await found_site(tmp_path, cluster.dsn())
    kills = 3
    # One process: what is lost then is lost by the kills, not by the conflicts of two.
    program = ("-m", "tests.faults.broken_service", fault)
    await campaign(site, kills, seed=SEED + seed, workers=1, program=program)
    verdict = await judge(ledger=tmp_path / "ledger", superuser_dsn=site.superuser_dsn, home=tmp_path)
    show(record_property, FAULT, kills, verdict, broken=f"a {fault} service", seed=SEED + seed)
    assert verdict.lost if fault == "hasty" else verdict.duplicated
