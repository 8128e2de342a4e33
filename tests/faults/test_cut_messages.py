"""The connection to the database cut at every message of what records an event, under load: before, inside, after."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.faults.auditing import audit
from tests.faults.ledger import Ledger
from tests.faults.load import Load
from tests.faults.oracle import judge
from tests.faults.shown import show
from tests.faults.wire import CONNECT, Boundary, boundaries, wired
from tests.support.serving import SERVICE_PROGRAM, Serving, found_site

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from journal.database.embedded import EmbeddedPostgres
    from tests.faults.shown import Record
    from tests.support.serving import Site

CLIENTS = 6
SEED = 20261126
CUT_LIMIT_SECONDS = 120
REPEATED = 20
LOCKED_PARTS = 5
FAULT = "connection to the database cut at each message of"
ASKED, ANSWERED = "Bind Execute Sync", "BindComplete DataRow CommandComplete ReadyForQuery"
APPEND = list(boundaries("append", ASKED, ANSWERED))
# One row is asked for: the rest of the answer is not.
FLUSH = list(boundaries("flush", ASKED, ANSWERED.replace("CommandComplete", "PortalSuspended")))
LOCKED = [
    *boundaries("begin", "Query", "CommandComplete ReadyForQuery"),
    *boundaries("lock", ASKED, ANSWERED),
    *APPEND,
    *boundaries("commit", "Query", "CommandComplete ReadyForQuery"),
]
# Only of connections that are new: all are cut before.
CONNECTING = [
    *boundaries(CONNECT, "StartupMessage", "Authentication ParameterStatus ReadyForQuery"),
    *boundaries("append", "Parse", "ParseComplete"),
]
WAYS = {
    "an append": APPEND,
    "the flush after it": FLUSH,
    "an append under locks, up to COMMIT": LOCKED,
    "a new connection": CONNECTING,
}


# The longest in parts: each ends within a case's time, on a slow machine too.
CASES = [
    (way, REPEATED // parts, part)
    for way in WAYS
    for parts in [LOCKED_PARTS if WAYS[way] is LOCKED else 1]
    for part in range(parts)
]


@pytest.mark.parametrize(
    ("way", "repeated", "part"),
    [
        ("an append", 1, 0),
        ("the flush after it", 1, 0),
        *(pytest.param(*case, marks=pytest.mark.campaign) for case in CASES),
    ],
)
async def test_the_connection_is_cut_at_each_message(
    way: str,
    repeated: int,
    part: int,
    seed: int,
    mortal_cluster: EmbeddedPostgres,
    tmp_path: Path,
    record_property: Record,
) -> None:
    """Whatever the service could not know of a commit, it finds out: nothing is lost, nothing is there twice."""
    site = await found_site(tmp_path, mortal_cluster.dsn())
    program = ("-m", "tests.faults.locking_service") if WAYS[way] is LOCKED else SERVICE_PROGRAM
    seed += SEED + part
    load, cuts = await campaign(site, WAYS[way], repeated, seed=seed, program=program)
    verdict = await judge(ledger=tmp_path / "ledger", superuser_dsn=site.superuser_dsn, home=tmp_path)
    assert set(cuts.values()) == {repeated}
    note = f"{repeated} at each of {len(cuts)} boundaries" + (" in each part" if WAYS[way] is LOCKED else "")
    show(record_property, f"{FAULT} {way}", cuts.total(), verdict, seed=seed, note=note)
    assert verdict.faults == []
    # The service asks the database again by itself: a client learns of nothing, or is told to come back.
    assert set(load.statuses) <= {200, 201, 400, 409, 503}
    assert await audit(site) == []


@pytest.mark.control
@pytest.mark.parametrize("fault", ["hopeful", "forgetful"])
async def test_the_connection_is_cut_under_a_service_with_a_fault(
    fault: str, seed: int, mortal_cluster: EmbeddedPostgres, tmp_path: Path, record_property: Record
) -> None:
    """One that takes silence for a commit loses, one that appends again without looking repeats."""
    site = await found_site(tmp_path, mortal_cluster.dsn())
    program = ("-m", "tests.faults.broken_service", fault)
    _, cuts = await campaign(site, APPEND, 1, seed=SEED + seed, program=program)
    verdict = await judge(ledger=tmp_path / "ledger", superuser_dsn=site.superuser_dsn, home=tmp_path)
    fault_of = f"{FAULT} an append"
    show(record_property, fault_of, cuts.total(), verdict, broken=f"a {fault} service", seed=SEED + seed)
    assert verdict.lost if fault == "hopeful" else verdict.duplicated


async def campaign(
    site: Site, ways: Sequence[Boundary], repeated: int, *, seed: int, program: Sequence[str]
) -> tuple[Load, Counter[Boundary]]:
    """Cut at each of these boundaries so many times, in any order, under load; count the cuts."""
    order = [boundary for boundary in ways for _ in range(repeated)]
    random.Random(seed).shuffle(order)
    cuts: Counter[Boundary] = Counter()
    ledger = Ledger(site.home / "ledger")
    async with (
        wired(site, seed) as (served, wire),
        await Serving.start(served, program=program) as serving,
        Load(site, ledger, clients=CLIENTS, seed=seed) as load,
    ):
        for boundary in order:
            await load.acknowledgements(1)
            cut = wire.arm(boundary)
            if ways is CONNECTING:
                wire.cut_all()
            async with asyncio.timeout(CUT_LIMIT_SECONDS):
                await cut.wait()
            cuts[boundary] += 1
        await load.finish()
        assert await serving.stop() == 0
    ledger.close()
    return load, cuts
