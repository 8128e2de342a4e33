"""The network between the service and its database: nothing passes for a while, or everything takes long."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import pytest

from tests.faults.auditing import audit
from tests.faults.ledger import Ledger
from tests.faults.load import Load
from tests.faults.oracle import judge
from tests.faults.shown import show
from tests.faults.wire import wired
from tests.support.serving import SERVICE_PROGRAM, Serving, found_site

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from journal.database.embedded import EmbeddedPostgres
    from tests.faults.shown import Record
    from tests.support.serving import Site

CLIENTS = 8
SEED = 20261130
TRIALS = 20
# Longer than the service uses a connection without an answer: what it had sent arrives when it has given it up.
PARTED_SECONDS, PARTED_LONG_SECONDS, LONG_EVERY = 3.0, 24.0, 4
DELAY_SECONDS, DELAYED_SECONDS = 0.3, 3.0
FAULT = {"parted": "partition between service and database", "delayed": "delay between service and database"}


@pytest.mark.campaign
@pytest.mark.parametrize("what", FAULT)
async def test_the_network_fails(
    what: str, seed: int, mortal_cluster: EmbeddedPostgres, tmp_path: Path, record_property: Record
) -> None:
    """Clients get their acknowledgement or are told to come back; what arrives late is not recorded twice."""
    site = await found_site(tmp_path, mortal_cluster.dsn())
    load = await campaign(site, what, TRIALS, SEED + seed)
    verdict = await judge(ledger=tmp_path / "ledger", superuser_dsn=site.superuser_dsn, home=tmp_path)
    counts = {"answered 503": load.statuses.get(503, 0)}
    show(record_property, FAULT[what], TRIALS, verdict, seed=SEED + seed, counts=counts)
    assert verdict.faults == []
    # No client waited longer than it does for an answer.
    assert set(load.statuses) <= {200, 201, 400, 409, 503}
    assert await audit(site) == []


@pytest.mark.campaign
async def test_a_partition_under_a_service_with_a_fault(
    seed: int, mortal_cluster: EmbeddedPostgres, tmp_path: Path, record_property: Record
) -> None:
    """Control: one that appends again without looking repeats what arrived late."""
    site = await found_site(tmp_path, mortal_cluster.dsn())
    program = ("-m", "tests.faults.broken_service", "forgetful")
    await campaign(site, "parted", LONG_EVERY, SEED + seed, program)
    verdict = await judge(ledger=tmp_path / "ledger", superuser_dsn=site.superuser_dsn, home=tmp_path)
    show(record_property, FAULT["parted"], LONG_EVERY, verdict, broken="a forgetful service", seed=SEED + seed)
    assert verdict.duplicated


async def campaign(site: Site, what: str, trials: int, seed: int, program: Sequence[str] = SERVICE_PROGRAM) -> Load:
    """Part or slow the network so often under load; in between it works until something is acknowledged."""
    draw = random.Random(seed)
    ledger = Ledger(site.home / "ledger")
    async with (
        wired(site, seed) as (served, wire),
        await Serving.start(served, program=program) as serving,
        Load(site, ledger, clients=CLIENTS, seed=seed) as load,
    ):
        for number in range(trials):
            await load.acknowledgements(1)
            await asyncio.sleep(draw.random())
            if what == "parted":
                is_long = number % LONG_EVERY == LONG_EVERY - 1
                wire.part()
                await asyncio.sleep(PARTED_LONG_SECONDS if is_long else draw.random() * PARTED_SECONDS)
                wire.join()
            else:
                wire.delay_seconds = draw.random() * DELAY_SECONDS
                await asyncio.sleep(DELAYED_SECONDS)
                wire.delay_seconds = 0.0
        await load.finish()
        assert await serving.stop() == 0
    ledger.close()
    return load
