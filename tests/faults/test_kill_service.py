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
from tests.faults.oracle import Judgement, judge
from tests.support.serving import SERVICE_PROGRAM, Serving, Site, found_site

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from journal.database.embedded import EmbeddedPostgres

    Record = Callable[[str, object], None]

CLIENTS = 8
LOAD_SECONDS = 0.4
SEED = 20261123


def evidence(title: str, kills: int, verdict: Judgement, load: Load, starts: list[float]) -> str:
    """Say what was shown, and what it bounds."""
    return (
        f"{title}: {kills} kills, {load.requests - load.refused_connections} requests, {load.cut_off} cut off, "
        f"{load.found_recorded} of those sent again found recorded; "
        f"{verdict.acknowledged} events acknowledged, {verdict.refused} refused, {verdict.entries} stored: "
        f"{len(verdict.lost)} lost, {len(verdict.duplicated)} duplicated, {len(verdict.wrong)} otherwise wrong; "
        f"a fault in more than {3 / kills:.1%} of kills is excluded at 95 %; "
        f"start {median(starts):.2f} s (longest {max(starts):.2f} s)"
    )


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


@pytest.mark.parametrize("kills", [5, pytest.param(200, marks=pytest.mark.campaign)])
async def test_kill_9_of_the_service(
    kills: int, cluster: EmbeddedPostgres, tmp_path: Path, record_property: Record
) -> None:
    """Killed at random instants under load, the service loses nothing it acknowledged and repeats nothing."""
    site = await found_site(tmp_path, cluster.dsn())
    load, starts = await campaign(site, kills, seed=SEED + kills)
    verdict = await judge(ledger=tmp_path / "ledger", superuser_dsn=site.superuser_dsn, home=tmp_path)
    record_property("evidence", evidence("kill -9 of the service", kills, verdict, load, starts))
    assert verdict.faults == []
    assert set(load.statuses) <= {NOT_SENT, CUT_OFF, 200, 201, 400, 409, 503}
    # Otherwise the kills met nothing they could have harmed.
    assert load.cut_off > kills
    assert load.found_recorded > 0
    assert await audit(site) == []


@pytest.mark.parametrize("fault", ["hasty", "forgetful"])
async def test_kill_9_of_a_service_with_a_fault(
    fault: str, cluster: EmbeddedPostgres, tmp_path: Path, record_property: Record
) -> None:
    """The same kills show what a service loses that acknowledges early, and what one repeats that forgets."""
    site = await found_site(tmp_path, cluster.dsn())
    kills = 3
    # One process: what is lost then is lost by the kills, not by the conflicts of two.
    program = ("-m", "tests.faults.broken_service", fault)
    load, starts = await campaign(site, kills, seed=SEED, workers=1, program=program)
    verdict = await judge(ledger=tmp_path / "ledger", superuser_dsn=site.superuser_dsn, home=tmp_path)
    record_property("evidence", evidence(f"control, a {fault} service", kills, verdict, load, starts))
    assert verdict.lost if fault == "hasty" else verdict.duplicated
