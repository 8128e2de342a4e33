"""Ten times what the service can take: what it acknowledges is there, it refuses with a word, and it does not grow.

What the excess is told says when to come back. Once it ends, a lone client is served as before.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from math import inf
from pathlib import Path
from statistics import median, quantiles
from typing import TYPE_CHECKING

import pytest

from ingest.connections import EACH, FEWEST, RESERVED_DESCRIPTORS
from tests.faults.oracle import judge
from tests.faults.overloading import RECORDED, Offered, Plan
from tests.faults.shown import show
from tests.support.serving import Serving, Site, found_site

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from journal.database.embedded import EmbeddedPostgres
    from tests.faults.oracle import Judgement
    from tests.faults.shown import Record

TIMES = 10
# A service with so few descriptors that it takes the fewest connections.
DESCRIPTORS = RESERVED_DESCRIPTORS + FEWEST
CRAMPED = f"""
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, ({DESCRIPTORS}, {DESCRIPTORS}))
from journal.cli.main import main
sys.exit(main())
"""
# An address may have a quarter of 8,192 connections: the last of these are refused.
CONNECTIONS = 2_200
CAPACITY_CONNECTIONS = 64
CAPACITY_SECONDS = 6
LOOK_SECONDS = 5
GROWTH_LIMIT_MIB = 32
# Of each process, beside what it had: all of the bodies that it may hold.
PEAK_LIMIT_MIB = 256
RECOVERY_LIMIT_SECONDS = 10
QUIET_PER_SECOND = 50
QUIET_CONNECTIONS = 32
# A flood's beginning, which is dearer, counts for what it is: a moment of it. Before and after, half as long together.
FLOOD_SECONDS = 300
CALM_SECONDS = 75
# A flood comes from other machines, so what sends it here takes the processor that the others leave.
ELSEWHERE = ("nice", "-n", "19")
AFTER_SECONDS = 15


@dataclass(slots=True)
class Memory:
    """How much memory each process of a service has, looked at every so often, in MiB."""

    pid: int
    looks: list[tuple[float, dict[int, float]]] = field(default_factory=list)

    def look(self) -> None:
        """Look once."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text(encoding="ascii").split()
        found = {pid: read_memory(pid) for pid in (self.pid, *map(int, children))}
        self.looks.append((time.monotonic(), found))

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Look as long as the block lasts."""

        async def watch() -> None:
            while True:
                self.look()
                await asyncio.sleep(LOOK_SECONDS)

        watching = asyncio.create_task(watch())
        try:
            yield
        finally:
            watching.cancel()
            await asyncio.wait([watching])
            self.look()

    def between(self, first: float, last: float) -> dict[int, float]:
        """Return the median of each process over a part of the time, from 0 to 1."""
        begun, ended = self.looks[0][0], self.looks[-1][0]
        chosen = [found for at, found in self.looks if first <= (at - begun) / (ended - begun) <= last]
        return {pid: median(found[pid] for found in chosen if pid in found) for pid in chosen[0]}

    def peak(self, pid: int) -> float:
        """Return the most that a process had."""
        return max(found.get(pid, 0) for _, found in self.looks)


def read_memory(pid: int) -> float:
    """Return how much of a process is resident, in MiB."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    (line,) = [line for line in status.splitlines() if line.startswith("VmRSS:")]
    return int(line.split()[1]) / 1024


async def offer(site: Site, communes: list[str], name: str, nice: Sequence[str] = (), **plan: float | str) -> Offered:
    """Have a process of its own offer events as these communes; what it saw is in a ledger of its own."""
    chosen = Plan(
        port=site.port,
        tokens={commune: site.modules[commune] for commune in communes},
        name=name,
        ledger=str(site.home / f"{name}.part"),
        found=str(site.home / f"{name}.found"),
        **plan,  # type: ignore[arg-type]
    )
    process = await asyncio.create_subprocess_exec(
        *(*nice, sys.executable, "-m", "tests.faults.overloading"),
        stdin=asyncio.subprocess.PIPE,
    )
    await process.communicate(json.dumps(asdict(chosen)).encode())
    assert process.returncode == 0
    told = await asyncio.to_thread(Path(chosen.found).read_bytes)
    return Offered(**json.loads(told))


async def measure_capacity(site: Site, communes: list[str]) -> float:
    """Return how many events a second the service takes from clients that each wait for their answers."""
    found = await offer(site, communes, "capacity", connections=CAPACITY_CONNECTIONS, seconds=CAPACITY_SECONDS)
    assert set(found.statuses) == {RECORDED}
    return len(found.took_ms) / CAPACITY_SECONDS


async def overload(site: Site, communes: list[str], seconds: float, rate: float, nice: Sequence[str] = ()) -> Offered:
    """Offer so many events a second, from an address of its own."""
    return await offer(
        site, communes, "load", nice, connections=CONNECTIONS, seconds=seconds, rate=rate, address="127.0.0.2"
    )


async def ask(site: Site, commune: str, name: str, seconds: float) -> Offered:
    """Ask one event after the other, on one connection."""
    return await offer(site, [commune], name, connections=1, seconds=seconds)


async def pace(site: Site, commune: str, name: str, seconds: float) -> Offered:
    """Offer events at the pace of a busy commune."""
    return await offer(site, [commune], name, connections=QUIET_CONNECTIONS, seconds=seconds, rate=QUIET_PER_SECOND)


async def judge_all(site: Site) -> Judgement:
    """Compare all that the loads were told with what is stored."""
    ledger = site.home / "ledger"
    with ledger.open("wb") as file:
        for part in sorted(site.home.glob("*.part")):
            file.write(part.read_bytes())
    return await judge(ledger=ledger, superuser_dsn=site.superuser_dsn, home=site.home, resolved=False)


def p99(took_ms: list[float]) -> float:
    """Return the 99th percentile."""
    return quantiles(took_ms, n=100, method="inclusive")[98]


def describe(took_ms: list[float]) -> str:
    """Say how long answers took."""
    return f"{median(took_ms):.1f} ms (p99 {p99(took_ms):.1f}, at most {max(took_ms):.1f})"


def check_answers(found: Offered) -> None:
    """See that every request was answered: recorded, or refused with a time to come back."""
    assert {status.split()[0] for status in found.statuses} <= {RECORDED, "429", "503"}, found.statuses
    assert found.unhelpful == 0
    assert found.statuses[RECORDED] > 0


def check_stored(verdict: Judgement) -> int:
    """See that what is stored was acknowledged; return how many were recorded and told otherwise: "not known"."""
    assert verdict.faults == []
    assert verdict.entries >= verdict.acknowledged
    return verdict.entries - verdict.acknowledged


def check_memory(memory: Memory) -> str:
    """See that no process grew; say what each had."""
    second, tenth = memory.between(0.1, 0.2), memory.between(0.9, 1.0)
    before = memory.looks[0][1]
    told = []
    for pid, start in before.items():
        told.append(f"{start:.0f}, {second[pid]:.0f}, {tenth[pid]:.0f} (peak {memory.peak(pid):.0f})")
        assert tenth[pid] - second[pid] < GROWTH_LIMIT_MIB, told
        assert memory.peak(pid) - start < PEAK_LIMIT_MIB, told
    return "; ".join(told)


def recovery_seconds(alone: Offered, ended_at: int, usual_ms: float) -> float:
    """Return how long after the load a lone client was first answered in its usual time; for ever, if it never was."""
    answers = zip(alone.answered_at, alone.took_ms, strict=True)
    return min((at - ended_at for at, took_ms in answers if at > ended_at and took_ms <= usual_ms), default=inf) / 1e9


async def test_a_connection_too_many(cluster: EmbeddedPostgres, tmp_path: Path) -> None:
    """It is told to come back, also by the event loop that the service runs on, and is not reset."""
    site = await found_site(tmp_path, cluster.dsn())
    async with await Serving.start(site, program=("-c", CRAMPED)):
        held = [
            await asyncio.open_connection("127.0.0.1", site.port, local_addr=("127.0.0.2", 0))
            for _ in range(FEWEST // EACH)
        ]
        reader, refused = await asyncio.open_connection("127.0.0.1", site.port, local_addr=("127.0.0.2", 0))
        async with asyncio.timeout(60):
            told = await reader.read()
        for writer in (refused, *(writer for _, writer in held)):
            writer.close()
            await writer.wait_closed()
    assert told.startswith(b"HTTP/1.1 503 ")
    assert b"\r\nRetry-After: " in told


@pytest.mark.parametrize("seconds", [pytest.param(600, marks=[pytest.mark.campaign, pytest.mark.timeout(3600)])])
async def test_ten_times_the_load(
    seconds: int, cluster: EmbeddedPostgres, tmp_path: Path, record_property: Record
) -> None:
    """What is acknowledged is stored, no process grows, and it is over when the load is over."""
    site = await found_site(tmp_path, cluster.dsn())
    communes = list(site.modules)
    async with await Serving.start(site) as serving:
        capacity = await measure_capacity(site, communes)
        usual = await ask(site, communes[0], "usual", CAPACITY_SECONDS)
        memory = Memory(serving.process.pid)
        alone = asyncio.create_task(ask(site, communes[0], "alone", seconds + AFTER_SECONDS))
        async with memory.watched():
            load = await overload(site, communes, seconds, TIMES * capacity)
        recovery = recovery_seconds(await alone, load.ended_at, p99(usual.took_ms))
        assert await serving.stop() == 0
    verdict = await judge_all(site)
    show(
        record_property,
        "ten times the load for ten minutes",
        1,
        verdict,
        counts={f"answered {status}": count for status, count in sorted(load.statuses.items())}
        | {"due while every connection waited": load.held, "recorded, but not known to be": check_stored(verdict)},
        longest={"a lone client served as before": recovery},
        note=(
            f"capacity {capacity:.0f} events/s, offered {load.due / seconds:.0f}, recorded "
            f"{load.statuses[RECORDED] / seconds:.0f} ({load.statuses[RECORDED] / seconds / capacity:.0%}); "
            "MiB of each process at the start, in minute 2 and in minute 10: "
            f"{check_memory(memory)}; the load took {load.processor_seconds / seconds:.0%} of a processor"
        ),
    )
    check_answers(load)
    assert recovery <= RECOVERY_LIMIT_SECONDS


@pytest.mark.campaign
async def test_a_flood_of_ten_times_the_load(
    cluster: EmbeddedPostgres, tmp_path: Path, record_property: Record
) -> None:
    """A commune that goes on at its pace is never refused while another floods; the flood's excess is told when."""
    site = await found_site(tmp_path, cluster.dsn())
    flooding, quiet = site.modules
    async with await Serving.start(site):
        capacity = await measure_capacity(site, [flooding])
        before = await pace(site, quiet, "before", CALM_SECONDS)
        flood = asyncio.create_task(overload(site, [flooding], FLOOD_SECONDS, TIMES * capacity, ELSEWHERE))
        beside = await pace(site, quiet, "beside", FLOOD_SECONDS)
        load = await flood
        after = await pace(site, quiet, "after", CALM_SECONDS)
    verdict = await judge_all(site)
    check_stored(verdict)
    calm = before.took_ms + after.took_ms
    record_property(
        "evidence",
        f"one commune offers {load.due / FLOOD_SECONDS:.0f} events/s for {FLOOD_SECONDS} s, ten times the capacity "
        f"({load.statuses}, {load.held} due while every connection waited): another, at {QUIET_PER_SECOND} events/s, "
        f"waits {describe(beside.took_ms)}; before {describe(before.took_ms)}, after {describe(after.took_ms)}: "
        f"p99 {p99(beside.took_ms) / p99(calm):.2f} times that of the two; in the first second "
        f"{describe(beside.took_ms[:QUIET_PER_SECOND])}",
    )
    check_answers(load)
    assert load.statuses.keys() & {"429", "503"}
    for found in (before, beside, after):
        assert set(found.statuses) == {RECORDED}
