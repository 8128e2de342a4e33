"""Failover under load, on the three hosts of deploy/ha: what was acknowledged is there, once, in one history.

The campaign has the files as they are; `make test` shortens Patroni's times, and with them only how long it waits.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections import Counter
from contextlib import asynccontextmanager
from itertools import cycle, islice, pairwise
from statistics import median
from typing import TYPE_CHECKING

import pytest

from tests.faults.auditing import audit
from tests.faults.ledger import Ledger, now, read_ledger
from tests.faults.load import CUT_OFF, Load
from tests.faults.oracle import judge
from tests.support.patroni import running_patroni
from tests.support.serving import Serving, found_site

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from pathlib import Path

    from tests.faults.ledger import Line
    from tests.support.patroni import Patroni

pytestmark = [
    pytest.mark.needs("etcd", "patroni", "psql", "setpriv"),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root makes hosts of network namespaces"),
]

CLIENTS = 8
SEED = 20261129
PACE_SECONDS = 0.25
BUSY_ANSWERS = 30
QUICK = {"ttl: 20": "ttl: 10", "loop_wait: 5": "loop_wait: 1", "retry_timeout: 7": "retry_timeout: 4"}
NANOSECONDS = 1e9
# What becomes of the primary's host. Parted: of the others, not of the service, which still writes to it.
KINDS = ("killed", "stopped", "parted", "cut off", "handed over")


@asynccontextmanager
async def broken(kind: str, cluster: Patroni, primary: str) -> AsyncIterator[None]:
    """Take the primary's host away in one way, for the block."""
    node, hosts = cluster.nodes[primary], cluster.hosts
    match kind:
        case "killed":
            node.kill()
            yield
            cluster.start(primary)
        case "stopped":
            node.signal(signal.SIGSTOP)
            yield
            node.signal(signal.SIGCONT)
        case "handed over":
            await cluster.switch_over(primary)
            yield
        case _:
            others = [name for name in cluster.nodes if name != primary]
            hosts.cut(primary) if kind == "cut off" else hosts.part(primary, others)
            yield
            hosts.mend(primary)


def gaps(lines: Sequence[Line], spans: Sequence[tuple[int, int]]) -> list[float]:
    """Return the longest time without an acknowledgement in each span, in seconds."""
    times = sorted({line.at for line in lines if line.kind == "ok"})
    found = []
    for begin, end in spans:
        inside = [begin, *(at for at in times if begin < at < end), end]
        found.append(max(after - before for before, after in pairwise(inside)) / NANOSECONDS)
    return found


@pytest.mark.parametrize(
    ("failovers", "changes"),
    [pytest.param(3, QUICK, id="3"), pytest.param(50, {}, id="50", marks=pytest.mark.campaign)],
)
@pytest.mark.timeout(7200)
async def test_failover_under_load(
    failovers: int,
    changes: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
) -> None:
    """The primary is lost in every way: nothing acknowledged is lost, nothing is there twice, no history is forked."""
    draw = random.Random(SEED)
    kinds = list(islice(cycle(KINDS), failovers))
    spans: list[tuple[int, int]] = []
    async with running_patroni(changes) as cluster:
        monkeypatch.setenv("PGPASSFILE", str(cluster.passwords))
        site = await found_site(tmp_path, cluster.dsn)
        ledger = Ledger(tmp_path / "ledger")
        async with (
            await Serving.start(site, workers=2) as serving,
            Load(site, ledger, clients=CLIENTS, seed=SEED) as load,
        ):
            for number, kind in enumerate(kinds):
                primary = await cluster.whole()
                load.pause_seconds = 0
                await load.acknowledgements(BUSY_ANSWERS)
                if number % 5 == 0:
                    await load.show_heads()
                await asyncio.sleep(draw.random() * PACE_SECONDS)
                begin = now()
                async with broken(kind, cluster, primary):
                    load.pause_seconds = PACE_SECONDS
                    await cluster.replaced(primary)
                    await load.acknowledgements(CLIENTS)
                await cluster.whole()
                spans.append((begin, now()))
            await load.finish()
            assert await serving.stop() == 0
        ledger.close()
        verdict = await judge(
            ledger=ledger.path, superuser_dsn=cluster.superuser_dsn(await cluster.whole()), home=tmp_path
        )
        lines = read_ledger(ledger.path)
        outages = gaps(lines, spans)
        again = {line.id for line in lines if line.kind == "unknown"} & {line.id for line in lines if line.kind == "ok"}
        by_kind = {kind: [gap for gap, its in zip(outages, kinds, strict=True) if its == kind] for kind in kinds}
        record_property(
            "evidence",
            f"failover under load: {failovers} failovers ("
            + ", ".join(
                f"{count} {kind}: {median(by_kind[kind]):.1f} s without service, longest {max(by_kind[kind]):.1f} s"
                for kind, count in Counter(kinds).items()
            )
            + f"; of all {median(outages):.1f} s, longest {max(outages):.1f} s), {load.requests} requests; "
            f"{verdict.acknowledged} events acknowledged, {len(again)} of them after an answer that left it open, "
            f"{verdict.entries} stored: {len(verdict.lost)} lost, "
            f"{len(verdict.duplicated)} duplicated, {len(verdict.wrong)} otherwise wrong (forks are among these); "
            f"a fault in more than {3 / failovers:.1%} of failovers is excluded at 95 %",
        )
        assert verdict.faults == []
        assert set(load.statuses) <= {CUT_OFF, 200, 201, 400, 409, 503}
        assert await audit(site) == []
