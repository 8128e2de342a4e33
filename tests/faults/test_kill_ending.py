"""The end of a contract killed with `kill -9` wherever it is: said again, it gives all, and then leaves nothing."""

from __future__ import annotations

import asyncio
import json
import random
import signal
from typing import TYPE_CHECKING

from journal.core.entry import JOURNAL_CATEGORY
from tests.faults.ending import start
from tests.faults.purging import ended
from tests.support.ending import destroy, make_no_documents, open_export, rows_of
from tests.support.world import CATEGORY, OTHER_TENANT, TENANT, World, new_world

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    import asyncpg
    import pytest

    from journal.database.embedded import EmbeddedPostgres

ENTRIES = 3_000
CATEGORIES = (CATEGORY, "ecrits", "assistance")


async def kill_when(world: World, step: str, directory: Path, happens: Callable[[], Awaitable[bool]]) -> bool:
    """Take a step in a process of its own, and kill it once something happens; False if it ended before."""
    process = await start(world.dsn, world.settings, world.clock.offset, step, directory)
    while process.is_alive() and not await happens():  # noqa: ASYNC110  (a file tells nobody that it appears)
        await asyncio.sleep(0.001)
    process.kill()
    status = await ended(process)
    await world.service.snapshot.refresh()
    return status == -signal.SIGKILL


async def test_killed_at_every_stage(
    postgres: EmbeddedPostgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it closes, writes, signs, destroys the key, removes rows: all of it is given, then all of it is gone."""
    make_no_documents(monkeypatch)
    home = tmp_path / "home"
    async with new_world(postgres, home, keystore_replicas=[str(home / "replica")]) as world:
        for category, tenant in [(CATEGORY, OTHER_TENANT), *((category, TENANT) for category in CATEGORIES)]:
            await world.record(ENTRIES, category=category, tenant=tenant)
        chance = random.Random(5)
        box = tmp_path / f"{TENANT}.export"
        kills = 0
        for happens in (
            within(chance, 0.3),
            closed(world),
            there(box, "*.part"),
            there(box, "*.p7m"),
            there(box, "*.p7s"),
        ):
            kills += await kill_when(world, "close", tmp_path, happens)
        assert kills >= 3
        await world.installation.closing.close(TENANT, tmp_path)
        reports = open_export(world, tmp_path)
        assert [reports[category][0].manifest.disclosed for category in CATEGORIES] == [ENTRIES] * 3
        assert len(json.loads((box / f"{TENANT}_export.json").read_bytes())["chains"]) == 5

        whole = await rows_of(world)
        keys = world.settings.keystore_path
        kills = 0
        async with world.superuser() as superuser:
            for happens in (
                within(chance, 0.2), there(keys / "ended", TENANT), fewer(superuser, whole),
                fewer(superuser, whole - ENTRIES), within(chance, 0.2), emptied(world),
            ):  # fmt: skip
                kills += await kill_when(world, "destroy", tmp_path, happens)
        assert kills >= 3
        record = await destroy(world)
        assert record["entries"] == whole
        assert await rows_of(world) == 0
        assert await rows_of(world, OTHER_TENANT) == ENTRIES + 1
        for directory in (keys, home / "replica"):
            assert not (directory / "tenants" / TENANT).exists()
        assert await world.audit() == []
        assert await destroy(world) == record


def within(chance: random.Random, seconds: float) -> Callable[[], Awaitable[bool]]:
    """Wait for a moment, from the first look on."""
    seconds *= chance.random()
    end = 0.0

    async def happens() -> bool:
        nonlocal end
        now = asyncio.get_running_loop().time()
        end = end or now + seconds
        return now > end

    return happens


def there(directory: Path, pattern: str) -> Callable[[], Awaitable[bool]]:
    """Wait for a file that was not there."""
    before = names(directory, pattern)

    async def happens() -> bool:
        return bool(names(directory, pattern) - before)

    return happens


def names(directory: Path, pattern: str) -> set[str]:
    """Return the files there."""
    return {path.name for path in directory.glob(pattern)}


def closed(world: World) -> Callable[[], Awaitable[bool]]:
    """Wait until the commune is closed."""

    async def happens() -> bool:
        return await world.service.store.read_ending(TENANT) is not None

    return happens


def fewer(superuser: asyncpg.Connection, rows: int) -> Callable[[], Awaitable[bool]]:
    """Wait until there are fewer rows of the commune than these."""

    async def happens() -> bool:
        return bool(await superuser.fetchval("SELECT count(*) FROM journal.entry WHERE tenant = $1", TENANT) < rows)

    return happens


def emptied(world: World) -> Callable[[], Awaitable[bool]]:
    """Wait until the commune's heads say that nothing is kept."""

    async def happens() -> bool:
        (head,) = await world.service.store.read_heads([TENANT], [JOURNAL_CATEGORY])
        return head.kept_from == head.size

    return happens
