"""`kill -9` of PHP, outages and a full disk: what the connector accepted is stored once, in order."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from tests.faults import postmaster
from tests.support.broken import small_disk
from tests.support.fpm import Fpm, running_fpm
from tests.support.php import DIRECTORY, Connector
from tests.support.rig import CATEGORY
from tests.support.serving import Serving, Site, found_site

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from journal.database.embedded import EmbeddedPostgres

    Record = Callable[[str, object], None]

SEED = 20261128
BROWSERS = 3
PAGE = """<?php
require '{connector}';
$j = OpenepmJournal::fromFile('{config}')->agent('c.martin');
echo $j->consultation($_GET['reference'], 'Relecture') ? 'accepted' : 'refused';
"""
FLUSH = "while (true) { $j->flush(5.0); usleep(1000); }"
REFUSALS = 20

# What goes on while so many events are accepted. A full disk lasts until pages were refused, and it was emptied.
Plan = list[tuple[str, int]]
SAMPLE: Plan = [("service down", 60), ("disk full", 0), ("up", 60)]
WHOLE: Plan = [
    ("up", 2_500),
    *(("service down", 1_500), ("up", 2_500)) * 3,
    ("database down", 1_500),
    ("disk full", 0),
    ("up", 4_000),
]


@dataclass(slots=True, kw_only=True)
class World:
    """Browsers that ask php-fpm for pages, a sender in a php-cli, and what they were told: the ledger."""

    site: Site
    cluster: EmbeddedPostgres
    connector: Connector
    fpm: Fpm
    page: Path
    kills: int
    serving: Serving
    sender: asyncio.subprocess.Process
    draw: random.Random = field(default_factory=lambda: random.Random(SEED))
    ledger: list[list[int]] = field(default_factory=lambda: [[] for _ in range(BROWSERS)])
    asked: list[int] = field(default_factory=lambda: [0] * BROWSERS)
    refusals: int = 0
    killed: int = 0
    every: int = 1

    @property
    def accepted(self) -> int:
        """How many events pages were told are recorded."""
        return sum(map(len, self.ledger))

    async def browse(self, browser: int, until: Callable[[], bool]) -> None:
        """Ask for one page after the other; a page that is killed tells nothing."""
        while not until():
            self.asked[browser] += 1
            number = self.asked[browser]
            with contextlib.suppress(ConnectionError):
                answer = await self.fpm.ask(self.page, f"reference={browser}-{number}")
                if answer.endswith(b"accepted"):
                    self.ledger[browser].append(number)
                    await self.kill_in_time()
                else:
                    assert answer.endswith(b"refused")
                    self.refusals += 1

    async def kill_in_time(self) -> None:
        """Kill one of PHP's processes, wherever it is, as often as the plan wants."""
        if self.killed >= self.kills or self.accepted < self.every * (self.killed + 1):
            return
        self.killed += 1
        victim = self.draw.choice([*self.fpm.workers(), self.sender.pid])
        with contextlib.suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)
        if victim == self.sender.pid:
            await self.sender.wait()
            self.sender = await start_sender(self.connector)

    async def go_on(self, count: int) -> None:
        """Let the browsers have so many more events accepted."""
        goal = self.accepted + count
        await asyncio.gather(*(self.browse(one, lambda: self.accepted >= goal) for one in range(BROWSERS)))

    async def sent(self) -> None:
        """Wait until the sender has sent all that waits."""
        while self.connector.waiting():  # noqa: ASYNC110  (PHP tells nobody)
            await asyncio.sleep(0.05)

    async def service_down(self, count: int) -> None:
        """Kill the service, and start it again."""
        await self.serving.kill()
        await self.go_on(count)
        await self.start_service()

    async def database_down(self, count: int) -> None:
        """Kill the database, and start it again."""
        await postmaster.kill(self.cluster)
        await self.go_on(count)
        await postmaster.restart(self.cluster)

    async def disk_full(self, _: int) -> None:
        """Fill the spool's disk while the service is down; it is emptied by sending alone."""
        await self.serving.kill()
        ballast = self.connector.spool / "ballast"
        with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        goal = self.refusals + REFUSALS
        await asyncio.gather(*(self.browse(one, lambda: self.refusals >= goal) for one in range(BROWSERS)))
        await self.start_service()
        await self.sent()
        ballast.unlink()

    async def start_service(self) -> None:
        """Start the service again."""
        self.serving = await Serving.start(self.site)
        await self.serving.ready()

    async def play(self, plan: Plan) -> None:
        """Play the whole plan."""
        self.every = max(1, sum(count for _, count in plan) // (self.kills + 1))
        acts = {
            "up": self.go_on,
            "service down": self.service_down,
            "database down": self.database_down,
            "disk full": self.disk_full,
        }
        for name, count in plan:
            await acts[name](count)

    def missing(self) -> set[int]:
        """Return the numbers that the connector itself says are lost."""
        lines = [path.read_text(encoding="utf-8") for path in self.connector.spool.glob(f"{CATEGORY}/losses.ndjson")]
        losses = [json.loads(line) for line in "".join(lines).splitlines()]
        return {number for loss in losses for number in range(loss["first"], loss["last"] + 1)}


async def start_sender(connector: Connector) -> asyncio.subprocess.Process:
    """Start a php-cli that sends without end."""
    return await asyncio.create_subprocess_exec(*connector.program(FLUSH))


@pytest.mark.needs("php", "php-fpm")
@pytest.mark.parametrize(
    ("plan", "kills"), [(SAMPLE, 8), pytest.param(WHOLE, 200, marks=pytest.mark.campaign)], ids=["sample", "whole"]
)
async def test_kill_9_of_php(
    plan: Plan, kills: int, mortal_cluster: EmbeddedPostgres, tmp_path: Path, record_property: Record
) -> None:
    """PHP killed at random instants, page and sender, amid outages and on a full disk: nothing accepted is lost."""
    site = await found_site(tmp_path / "service", mortal_cluster.dsn())
    connector = Connector.install(site, tmp_path / "module")
    page = tmp_path / "page.php"
    page.write_text(PAGE.format(connector=DIRECTORY / "OpenepmJournal.php", config=connector.config), encoding="utf-8")
    with small_disk(connector.spool, "48m"):
        async with await Serving.start(site) as serving, running_fpm(tmp_path / "fpm", children=BROWSERS) as fpm:
            world = World(
                site=site,
                cluster=mortal_cluster,
                connector=connector,
                fpm=fpm,
                page=page,
                kills=kills,
                serving=serving,
                sender=await start_sender(connector),
            )
            try:
                await world.play(plan)
            finally:
                world.sender.kill()
                await world.sender.wait()
            assert await asyncio.to_thread(connector.flush) == ""
            events = await connector.entries()
            assert await world.serving.stop() == 0
        missing = world.missing()
        assert connector.aside() == []
    stored = [tuple(map(int, event["subject"].split("-"))) for event in events]
    lost = {(browser, number) for browser, told in enumerate(world.ledger) for number in told} - set(stored)
    doubled = len(stored) - len(set(stored))
    assert not lost
    assert not doubled
    for browser in range(BROWSERS):
        numbers = [number for one, number in stored if one == browser]
        assert numbers == sorted(numbers)
    # One more at a kill: what was written when PHP ended, before it could tell.
    assert world.accepted <= len(stored) <= world.accepted + world.killed
    sequences = [int(event["sequence"]) for event in events]
    assert sequences == sorted(set(sequences))
    assert set(range(1, sequences[-1] + 1)) - set(sequences) == missing
    assert 0 < world.refusals <= len(missing) <= world.refusals + world.killed
    record_property(
        "evidence",
        f"PHP: {world.killed} kills, {[name for name, _ in plan if name != 'up']}: {world.accepted:,} events accepted, "
        f"{len(stored):,} stored: {len(lost)} lost, {doubled} doubled, in order; {world.refusals} "
        "refused on a full disk, each a number declared lost",
    )
