"""What the service takes over HTTP, beside floors and peers over the same HTTP, in alternating rounds."""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Self

import asyncpg

from journal.core.errors import OperatorError
from journal.database.embedded import EmbeddedPostgres
from journal.database.store import Store
from tests.bench.costs import Found, Row, table
from tests.bench.figures import say
from tests.bench.floors import CopyFloor
from tests.bench.peers import CONNECTIONS
from tests.bench.processor import seconds_of
from tests.bench.sending import Plan, Sent
from tests.support.databases import fresh_database
from tests.support.ports import free_port
from tests.support.serving import Serving, found_site

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.support.serving import Site

COMMUNES = [f"t{number}" for number in range(64)]
SINGLES, BATCHES = (64, 0), (4, 1_000)
OPEN_SHARE = 0.7
PEERS = Path(__file__).with_name("peers.sql")


@dataclass(slots=True, kw_only=True)
class Target:
    """A server that events are sent to, and as whom; what was measured of it."""

    title: str
    port: int
    tokens: list[str]
    pid: int
    postmaster: int
    processes: int = 1
    sessions: int = 1  # of PostgreSQL, that work at once
    singles: Found = field(default_factory=Found)
    batches: Found = field(default_factory=Found)
    runs: int = 0

    async def measure(self, shape: tuple[int, int], seconds: float, into: Found) -> None:
        """Send as fast as it answers, and note what that gave."""
        before = seconds_of(self.pid), seconds_of(self.postmaster)
        sent = await self.send(shape, seconds)
        into.rates.append(sent.per_second)
        into.server.append(1e6 * (seconds_of(self.pid) - before[0]) / sent.events)
        into.postgres.append(1e6 * (seconds_of(self.postmaster) - before[1]) / sent.events)
        into.sending.append(1e6 * sent.processor_seconds / sent.events)

    async def send(self, shape: tuple[int, int], seconds: float, rate: float = 0) -> Sent:
        """Send events over so many connections, in batches of so many; OperatorError unless all are recorded."""
        self.runs += 1
        connections, batch = shape
        # A batch's connections take communes far apart.
        tokens = self.tokens if not batch else self.tokens[:: len(self.tokens) // connections][:connections]
        plan = Plan(
            port=self.port,
            tokens=tokens,
            connections=connections,
            seconds=seconds,
            name=f"r{self.runs}",
            batch=batch,
            rate=rate,
        )
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.bench.sending"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        told, _ = await process.communicate(json.dumps(asdict(plan)).encode())
        sent = Sent(**json.loads(told))
        if set(sent.statuses) != {"201"}:
            raise OperatorError(f"{self.title}: {sent.statuses}")
        return sent


class Peer:
    """A peer's process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        """Keep it."""
        self._process = process

    @classmethod
    async def start(cls, kind: str, port: int, dsn: str) -> Self:
        """Start it, and wait until it listens."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.bench.peers", kind, str(port), dsn)
        )
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except ConnectionRefusedError:
                if process.returncode is not None:
                    raise
                await asyncio.sleep(0.05)
            else:
                writer.close()
                return cls(process)

    @property
    def pid(self) -> int:
        """Return its process id."""
        return self._process.pid

    async def stop(self) -> None:
        """End it."""
        self._process.terminate()
        await self._process.wait()


async def peer(stack: AsyncExitStack, cluster: EmbeddedPostgres, kind: str, title: str, dsn: str) -> Target:
    """Return a peer that runs until the stack is left."""
    port = free_port()
    started = await Peer.start(kind, port, dsn)
    stack.push_async_callback(started.stop)
    return Target(
        title=title, port=port, tokens=COMMUNES, pid=started.pid, sessions=CONNECTIONS, postmaster=cluster.pid or 0
    )


async def service(stack: AsyncExitStack, cluster: EmbeddedPostgres, home: Path, workers: int) -> tuple[Site, Target]:
    """Return an installation whose service runs, and is idle, until the stack is left."""
    dsn = cluster.dsn(database=await stack.enter_async_context(fresh_database(cluster)))
    site = (await found_site(home, dsn, COMMUNES)).sealing_as_usual()
    serving = await stack.enter_async_context(await Serving.start(site, workers=workers))
    title = f"the service, {workers} worker" + ("s" if workers > 1 else "")
    return site, Target(
        title=title,
        port=site.port,
        tokens=list(site.modules.values()),
        pid=serving.process.pid,
        postmaster=cluster.pid or 0,
        processes=workers,
    )


async def check_durability(dsn: str) -> None:
    """Raise OperatorError where a crash could lose what was committed."""
    store = await Store.connect(dsn, application="bench")
    try:
        if faults := await store.check_durability():
            raise OperatorError("; ".join(faults))
    finally:
        await store.close()


async def prepare_peers(dsn: str) -> None:
    """Make the peers' tables."""
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(PEERS.read_text(encoding="utf-8"))
        await connection.executemany(
            "INSERT INTO peer.head (tenant, category) VALUES ($1, 'main-courante')", [(code,) for code in COMMUNES]
        )
    finally:
        await connection.close()


async def measure_http(runs: int, seconds: float) -> None:
    """Print what there is to say about events over HTTP: a closed loop, an open loop at 70 %, batches."""
    with tempfile.TemporaryDirectory(prefix="oej-bench-") as directory:
        async with AsyncExitStack() as stack:
            root = Path(directory)
            cluster = stack.enter_context(EmbeddedPostgres(root))
            for name in ("one", "two"):
                (root / name).mkdir()
            one, first = await service(stack, cluster, root / "one", 1)
            _, second = await service(stack, cluster, root / "two", 2)
            await check_durability(one.dsn)
            await prepare_peers(one.superuser_dsn)
            targets = []
            for kind, title in (
                ("bare", "(a) aiohttp, an answer and nothing else"),
                ("plain", "(d) aiohttp and INSERT, no chain"),
                ("chained", "(e) aiohttp and INSERT, chain by trigger"),
            ):
                targets.append(await peer(stack, cluster, kind, title, one.superuser_dsn))
            copy = CopyFloor(one.superuser_dsn, "main-courante")
            targets += [first, second]
            for _ in range(runs):
                for target in targets:
                    await target.measure(SINGLES, seconds, target.singles)
            say(f"singles over {SINGLES[0]} connections, {len(COMMUNES)} communes")
            table([Row(target.title, target.singles, target.processes, target.sessions) for target in targets])
            say()
            await measure_open((first, second), runs, 2 * seconds)
            copied = Found()
            for _ in range(runs):
                await copied.measure_here(copy.rate(seconds), first.postmaster)
                for target in targets[1:]:
                    await target.measure(BATCHES, seconds, target.batches)
            say()
            say(f"batches of {BATCHES[1]:,} over {BATCHES[0]} connections")
            rows = [Row(target.title, target.batches, target.processes, target.sessions) for target in targets[1:]]
            table([Row("(b) COPY of such rows, 1,000 a transaction", copied), *rows])


async def measure_open(targets: Iterable[Target], runs: int, seconds: float) -> None:
    """Print how long answers take where requests come at a rate, whether or not they are answered.

    Before the batches: a million rows of theirs, and a checkpoint, would be what each answer waits for.
    """
    say(f"open loop, singles at {OPEN_SHARE:.0%} of its median      median ms     p99 ms longest ms")
    for target in targets:
        rate = OPEN_SHARE * median(target.singles.rates)
        sent = [await target.send(SINGLES, seconds, rate) for _ in range(runs)]
        middle, high = median(one.median_ms for one in sent), median(one.p99_ms for one in sent)
        longest = max(one.longest_ms for one in sent)
        say(f"{target.title:<44} {middle:>10.1f} {high:>10.1f} {longest:>10.1f} ms")
