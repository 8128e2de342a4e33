"""`kill -9` at every boundary of the purge's steps: after one more run there is what an undisturbed run leaves."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from itertools import product
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from journal.admin.administration import NewCategory
from journal.cli.installation import open_service, prepare
from journal.clock import SimulatedClock
from journal.core.entry import JOURNAL_CATEGORY, RESERVED_TENANT, Compartment
from journal.database.embedded import SUPERUSER
from journal.keys.store import open_keystore
from journal.settings import Settings
from retention.purge_steps import Step
from tests.faults.postmaster import restart
from tests.faults.purging import NOT_REACHED, Kill, ended, start
from tests.support.brief import BRIEF, BRIEF_DAYS, LEAF
from tests.support.communes import receives
from tests.support.relations import stray_files, table_files
from tests.support.slices import use_slices
from tests.support.world import DAY, FIRST, OTHER_TENANT, SERVICE, START, TENANT, World

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Sequence
    from pathlib import Path

    from journal.database.embedded import EmbeddedPostgres

# In the last two hours before a day's limit: one commune's hand-over was never made, and lapses.
LAST_CALL = time(22, 30)
T = TypeVar("T")

# Of the key store's two copies: the fence in one and the other, the key in one and the other.
FILE_OPERATIONS = 4


@dataclass(slots=True, kw_only=True)
class Site:
    """An installation on a database that is killed, with a day due every morning; its key store has two copies."""

    cluster: EmbeddedPostgres
    settings: Settings
    clock: SimulatedClock
    day: date = FIRST

    @asynccontextmanager
    async def open(self) -> AsyncIterator[World]:
        """Open it again, as a new process does."""
        async with open_service(self.cluster.dsn(), self.settings, self.clock) as installation:
            yield World(
                installation=installation,
                clock=self.clock,
                dsn=self.cluster.dsn(),
                superuser_dsn=self.cluster.dsn(SUPERUSER),
                settings=self.settings,
            )

    async def purge(self, kill: Kill | None = None) -> int:
        """Purge in a process of its own; return its status."""
        return await ended(start(self.cluster.dsn(), self.settings, self.clock.offset, kill))

    async def next_day(self) -> list[Path]:
        """Let the next day become due, after another was lived; return the files that hold its rows."""
        async with self.open() as world:
            lived = self.day + (BRIEF_DAYS - 1) * DAY
            await world.travel(datetime.combine(lived, LAST_CALL, tzinfo=UTC))
            for tenant in (TENANT, OTHER_TENANT):
                await world.record(2, tenant=tenant, category=BRIEF)
            await world.seal()
            async with world.superuser() as superuser:
                return await table_files(superuser, LEAF.format(self.day))


async def found(cluster: EmbeddedPostgres, home: Path, slices: int = 1) -> Site:
    """Make the installation, whose days have so many slices, and live the days before the first is due."""
    settings = Settings(home=str(home), service_name=SERVICE, keystore_replicas=(str(home / "replica"),))
    clock = SimulatedClock(START - datetime.now(UTC))
    await prepare(cluster.dsn(), settings, clock, simulate=clock.offset)
    site = Site(cluster=cluster, settings=settings, clock=clock)
    async with site.open() as world:
        async with world.superuser() as superuser:
            await use_slices(superuser, slices)
        await world.installation.maintenance.prepare()
        for tenant in (TENANT, OTHER_TENANT):
            await world.installation.administration.add_tenant(tenant, tenant.capitalize())
        category = NewCategory(code=BRIEF, label="Brève", retention_days=BRIEF_DAYS)
        await world.installation.administration.add_category(category)
        await receives(world)
        for number in range(BRIEF_DAYS - 1):
            await world.travel_to(FIRST + number * DAY)
            for tenant in (TENANT, OTHER_TENANT):
                await world.record(2, tenant=tenant, category=BRIEF)
            await world.seal()
    return site


async def picture(site: Site, files: Iterable[Path]) -> dict[str, Any]:
    """Return all that a purge leaves of a day and says about it, in words that are the same for every day."""
    async with site.open() as world:
        await world.seal()
        async with world.superuser() as superuser:
            strays = await stray_files(superuser)
            pending = await superuser.fetchval("SELECT count(*) FROM pg_inherits WHERE inhdetachpending")
            counters = await superuser.fetchval(
                "SELECT (SELECT count(*) FROM journal.activity WHERE category = $1 AND day <= $2)"
                " + (SELECT count(*) FROM journal.source_span WHERE category = $1 AND day <= $2)",
                BRIEF,
                site.day,
            )
        store = world.service.store
        close = await store.close_seal(site.day)
        assert close is not None
        latest = await store.latest_seal()
        assert latest is not None
        stated = {(row.tenant, row.category): row.kept_from for row in await store.read_seal_heads(latest.number)}
        closed = {(row.tenant, row.category): row.size for row in await store.read_seal_heads(close.number)}
        heads = await store.read_heads([TENANT, OTHER_TENANT], [BRIEF, BRIEF])
        partitions = [row for row in await store.partitions() if row.category == BRIEF]
        [fence] = [row.fence for row in await store.read_categories() if row.code == BRIEF]
        fences = (fence, open_keystore(site.settings).fence(BRIEF))
        return {
            "partitions": [(row.day - site.day, row.attached) for row in partitions if row.day <= world.today],
            "pending detachments": pending,
            "files of the day": [str(path) for path in files if path.exists()],
            "files of nothing": strays,
            "counters": counters,
            "keys": key_files(site),
            "fences": [*(day - site.day for day in fences if day is not None), *copied_fences(site)],
            "bases": [head.kept_from - closed[head.tenant, BRIEF] for head in heads],
            "bases as sealed": [stated[head.tenant, BRIEF] - closed[head.tenant, BRIEF] for head in heads],
            "told": {tenant: await told(world, site, tenant) for tenant in (TENANT, OTHER_TENANT, RESERVED_TENANT)},
            "not yet told": [await store.read_purge_spans(), await store.read_handover_alarms()],
            "not finished": await store.unfinished_purges(),
            "due": await world.installation.purger.due(),
            "audit": [str(finding) for finding in await world.audit()],
        }


def key_files(site: Site) -> dict[str, list[str]]:
    """Return by copy of the key store what there is up to the day: keys, and what a killed process left on the way."""
    found = {}
    for directory in (site.settings.keystore_path, site.settings.home_path / "replica"):
        names = sorted(path.name for path in (directory / "days" / BRIEF).iterdir())
        found[directory.name] = [name for name in names if name.startswith(".") or name <= site.day.isoformat()]
        found[directory.name] += sorted(path.name for path in (directory / "fences").iterdir() if path.name != BRIEF)
    return found


def copied_fences(site: Site) -> list[timedelta]:
    """Return how far the fence of each copy is from the day."""
    directories = (site.settings.keystore_path, site.settings.home_path / "replica")
    return [date.fromisoformat((path / "fences" / BRIEF).read_text().strip()) - site.day for path in directories]


async def told(world: World, site: Site, tenant: str) -> dict[str, Any]:
    """Return what the entries of a journal of the journal say, of this day and of those before it."""
    days: Counter[str] = Counter()
    alarms: Counter[str] = Counter()
    said: list[Any] = []
    compartment = Compartment(SERVICE, tenant, JOURNAL_CATEGORY)
    for row in await world.service.store.partitions():
        if row.category != JOURNAL_CATEGORY or row.day > world.today:
            continue
        for entry in await world.service.store.read_entries(tenant, JOURNAL_CATEGORY, row.day, 0, 1000):
            box = world.service.keyring.box(compartment, row.day)
            _, record = box.open(entry.index, entry.ciphertext, entry.leaf_hash)
            event = json.loads(record)["event"]
            if event["type"].endswith("service.alarm"):
                alarms[event["data"]["day"]] += 1
            elif event["type"].endswith("service.purge"):
                days.update(gone["day"] for gone in event["data"]["days"])
                said += [gone for gone in event["data"]["days"] if gone["day"] == site.day.isoformat()]
    before = {(FIRST + number * DAY).isoformat() for number in range((site.day - FIRST).days + 1)}
    return {
        "of each day": sorted(set(days.values())),
        "missing": sorted(before - set(days)) if tenant != RESERVED_TENANT else [],
        "alarms of each day": sorted(set(alarms.values())),
        "days without alarm": sorted(before - set(alarms)) if tenant != OTHER_TENANT else [],
        "of this day": [{name: gone[name] for name in ("category", "count", "retention_days")} for gone in said],
    }


async def undisturbed(site: Site) -> dict[str, Any]:
    """Purge one day without harm, and return what it leaves, looked at closely once."""
    files = await site.next_day()
    assert await site.purge() == 0
    left = await picture(site, files)
    assert len(files) >= 3
    assert left["partitions"][0] == (DAY, True)
    empty = ("pending detachments", "files of the day", "files of nothing", "counters", "not finished", "due", "audit")
    assert not any(left[name] for name in empty), left
    assert left["keys"] == {"keys": [], "replica": []}
    assert (set(left["fences"]), len(left["fences"])) == ({timedelta(0)}, 4)
    assert left["bases"] == left["bases as sealed"] == [0, 0]
    assert left["not yet told"] == [[], []]
    assert all(said["of each day"] == [1] for tenant, said in left["told"].items() if tenant != RESERVED_TENANT)
    assert all(said["alarms of each day"] == [1] for tenant, said in left["told"].items() if tenant != OTHER_TENANT)
    assert not any(said["missing"] or said["days without alarm"] for said in left["told"].values())
    return left


async def kill_and_resume(site: Site, kill: Kill) -> dict[str, Any]:
    """Let a day become due, kill, start again what was killed, purge once more; return what is left."""
    site.day += DAY
    files = await site.next_day()
    if kill.postmaster is None:
        assert await site.purge(kill) == -signal.SIGKILL, kill
    else:
        status = await site.purge(replace(kill, postmaster=site.cluster.pid))
        # It ends by itself, and says that it failed: one that had to be ended would wait for ever.
        assert status not in (NOT_REACHED, -signal.SIGKILL), kill
        await asyncio.to_thread(site.cluster.stop)
        await restart(site.cluster)
    assert await site.purge() == 0, kill
    return await picture(site, files)


async def kill_all(cluster: EmbeddedPostgres, home: Path, kills: Iterable[Kill], slices: int = 1) -> int:
    """Kill each time on a day of its own, and hold what is left against an undisturbed purge; return how often."""
    site = await found(cluster, home, slices)
    expected = await undisturbed(site)
    count = 0
    for kill in kills:
        assert await kill_and_resume(site, kill) == expected, kill
        count += 1
    return count


def boundaries(places: Sequence[T], *, both_sides: bool) -> list[tuple[T, bool]]:
    """Return when to kill: before the first place and after each; on both sides of each if asked.

    After one and before the next, the disk holds the same.
    """
    if both_sides:
        return list(product(places, (False, True)))
    return [(places[0], False), *((place, True) for place in places)]


def evidence(who: str, steps: Sequence[Step], count: int) -> str:
    """Say what was done: figures without their number mean nothing."""
    return (
        f"kill -9 of {who} around each of {len(steps)} steps of the purge: {count} kills, each time one more "
        "run left what an undisturbed one leaves: catalog, disk, key store, fences, bases, entries, seals, verify-store"
    )


# Who dies; a postmaster's number is known only once it runs.
VICTIMS = {"the purge": None, "PostgreSQL": 1}


# After which steps one of the two dies in every run of the tests; between a step's end and the next, nothing happens.
SOME = {
    "the purge": (Step.DROP_ROWS, Step.MOVE_BASE),
    "PostgreSQL": (Step.DROP_ROWS,),
}


# A day in one table, and one in three.
@pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.campaign)])
@pytest.mark.parametrize(("who", "slices"), [("the purge", 1), ("PostgreSQL", 3)])
@pytest.mark.long
async def test_killed_at_every_boundary(
    who: str,
    slices: int,
    mortal_cluster: EmbeddedPostgres,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
    *,
    every: bool,
) -> None:
    """The purge, or its database, dies before and after each step: the next run ends where an undisturbed one ends."""
    steps = list(Step) if every else SOME[who]
    kills = [
        Kill(step=step, after=after, postmaster=VICTIMS[who]) for step, after in boundaries(steps, both_sides=every)
    ]
    count = await kill_all(mortal_cluster, tmp_path, kills, slices)
    record_property("evidence", evidence(who, steps, count))


@pytest.mark.campaign
@pytest.mark.parametrize("step", Step)
@pytest.mark.parametrize("who", VICTIMS)
async def test_killed_many_times(
    who: str,
    step: Step,
    mortal_cluster: EmbeddedPostgres,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    """Twenty times before and twenty times after each step."""
    kills = [Kill(step=step, after=number % 2 == 1, postmaster=VICTIMS[who]) for number in range(40)]
    count = await kill_all(mortal_cluster, tmp_path, kills)
    record_property("evidence", evidence(f"{who} ({step.value})", [step], count))


@pytest.mark.parametrize("both_sides", [False, pytest.param(True, marks=pytest.mark.campaign)])
async def test_killed_between_the_copies_of_the_key_store(
    mortal_cluster: EmbeddedPostgres, tmp_path: Path, *, both_sides: bool
) -> None:
    """The purge dies while one copy of the key store has the fence, or has lost the key, and the other has not."""
    operations = boundaries(range(1, FILE_OPERATIONS + 1), both_sides=True) if both_sides else [(1, True), (3, True)]
    kills = [Kill(file_operation=number, after=after) for number, after in operations]
    assert await kill_all(mortal_cluster, tmp_path, kills) == len(operations)


@pytest.mark.campaign
@pytest.mark.parametrize("who", VICTIMS)
async def test_killed_at_random_instants(who: str, mortal_cluster: EmbeddedPostgres, tmp_path: Path) -> None:
    """Wherever in a step that is, in the middle of a statement too."""
    site = await found(mortal_cluster, tmp_path)
    started_at = perf_counter()
    expected = await undisturbed(site)
    longest = perf_counter() - started_at
    draw = random.Random(20261126)
    for _ in range(50):
        site.day += DAY
        files = await site.next_day()
        process = start(site.cluster.dsn(), site.settings, site.clock.offset)
        await asyncio.sleep(draw.random() * longest)
        if VICTIMS[who] is None:
            process.kill()
        else:
            assert site.cluster.pid is not None
            os.kill(site.cluster.pid, signal.SIGKILL)
        await ended(process)
        if VICTIMS[who] is not None:
            await asyncio.to_thread(site.cluster.stop)
            await restart(site.cluster)
        assert await site.purge() == 0
        assert await picture(site, files) == expected
