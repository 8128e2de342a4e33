"""The hand-over killed with `kill -9` wherever it is: what the commune finds is whole, named, and there once."""

from __future__ import annotations

import asyncio
import json
import random
import signal
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pytest

from journal.admin.administration import NewCategory
from tests.faults.handing_over import start
from tests.faults.purging import ended
from tests.support.communes import commune, opened, receives
from tests.support.world import DAY, START, TENANT, World, new_world

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from journal.database.embedded import EmbeddedPostgres

pytestmark = pytest.mark.usefixtures("no_documents")

CATEGORIES = ("un", "deux", "trois")
ENTRIES = 3_000


@asynccontextmanager
async def due_world(postgres: EmbeddedPostgres, home: Path) -> AsyncIterator[World]:
    """Make an installation where three compartments are due to be handed over."""
    async with new_world(postgres, home, tenants=[TENANT]) as world:
        administration = world.installation.administration
        for code in CATEGORIES:
            await administration.add_category(NewCategory(code=code, label=code.capitalize(), retention_days=5))
        await world.installation.maintenance.prepare()
        await receives(world)
        for code in CATEGORIES:
            await world.record(ENTRIES, category=code)
        await world.travel(START + 3 * DAY)
        yield world


async def kill_when(world: World, happens: Callable[[], bool]) -> bool:
    """Run the hand-over in a process of its own, and kill it once something happens; False if it ended before."""
    process = await start(world.dsn, world.settings, world.clock.offset)
    while process.is_alive() and not happens():  # noqa: ASYNC110  (a file tells nobody that it appears)
        await asyncio.sleep(0.001)
    process.kill()
    return await ended(process) == -signal.SIGKILL


async def test_killed_at_every_stage(postgres: EmbeddedPostgres, tmp_path: Path) -> None:
    """While it writes, once a file has its name, at an inventory, and at random: the next run makes all of it whole."""
    async with due_world(postgres, tmp_path / "home") as world:
        box = world.settings.handover_path / TENANT
        chance = random.Random(3)
        loop = asyncio.get_running_loop()

        def within(seconds: float) -> Callable[[], bool]:
            seconds *= chance.random()
            end = 0.0

            def happens() -> bool:
                nonlocal end
                end = end or loop.time() + seconds
                return loop.time() > end

            return happens

        def count(pattern: str) -> Callable[[], bool]:
            before = len(list(box.glob(pattern)))
            return lambda: len(list(box.glob(pattern))) > before

        kills = 0
        stages = [
            count("*.part"),
            within(0.1),
            count("*.p7m"),
            within(0.1),
            count("*.p7m.part"),
            within(0.2),
            count("*.p7s"),
        ]
        for happens in stages:
            kills += await kill_when(world, happens)
        assert kills >= 3
        await world.installation.handover.run()
        check(world, box, tmp_path)
        assert await world.installation.handover.run() == []
        await world.travel(START + 4 * DAY)
        assert sorted(due.category for due in await world.installation.purger.run()) == sorted(CATEGORIES)
        assert await world.service.store.read_handover_alarms() == []


def check(world: World, box: Path, directory: Path) -> None:
    """Hold what the commune finds against itself."""
    day = START.date().isoformat()
    files = {f"{TENANT}_{code}_{day}_{day}.asice.p7m": code for code in CATEGORIES}
    found = {path.name for path in box.iterdir() if path.suffix == ".p7m"}
    assert found == set(files)
    assert not list(box.glob("*.part"))
    listed: dict[str, dict[str, Any]] = {}
    for path in sorted(box.glob("*.json")):
        listed |= {file["name"]: file for file in json.loads(path.read_bytes())["files"]}
        assert (box / f"{path.name}.p7s").exists()
    assert set(listed) == set(files)
    for name, code in files.items():
        assert listed[name]["sha256"] == sha256((box / name).read_bytes()).hexdigest()
        report = world.verify(opened(box / name, commune(), directory))
        assert (report.manifest.disclosed, report.manifest.origin.endswith(f"/{code}")) == (ENTRIES, True)


@pytest.mark.campaign
async def test_killed_many_times(postgres: EmbeddedPostgres, tmp_path: Path) -> None:
    """Thirty kills at random moments of one night's hand-over end as one that was never disturbed."""
    async with due_world(postgres, tmp_path / "home") as world:
        chance = random.Random(17)
        loop = asyncio.get_running_loop()
        for _ in range(30):
            end = loop.time() + chance.random()
            await kill_when(world, lambda end=end: loop.time() > end)  # type: ignore[misc]  # bound at each turn
        await world.installation.handover.run()
        check(world, world.settings.handover_path / TENANT, tmp_path)
