"""The audit inside the service: the catalog, the counters, the keys and the entries, each changed by a superuser.

The kinds of KINDS.md that it must notice; each is named, by the check of its own subject and by nothing else.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import asyncpg
import pytest

from journal.admin.administration import NewCategory
from journal.audit.pace import Pace, in_thread
from journal.audit.watch import Watch
from journal.core.entry import RESERVED_TENANT
from journal.database.catalog import (
    digest_catalog,
    find_catalog_faults,
    load_expected,
    read_catalog,
    write_expected,
)
from journal.database.embedded import OWNER
from tests.support.catalog import FILE, describe
from tests.support.catalog_harm import ROLE_HARMS, catalog_harms
from tests.support.rig import open_rig
from tests.support.world import CATEGORY, DAY, START, TENANT, World, copied, make_event, new_world

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from journal.database.embedded import EmbeddedPostgres

PATIENCE_SECONDS = 60
LEAF = "journal.entry_1_20260302"
FIRST = START.date()


async def test_the_expected_catalog_is_that_of_the_schema(dsn: str) -> None:
    """`sql/catalog.json` is what `sql/schema.sql` makes, on whichever PostgreSQL: else run `make catalog`."""
    assert await describe(dsn) == FILE.read_text(encoding="utf-8")


@asynccontextmanager
async def opened(dsn: str, user: str | None = None) -> AsyncIterator[asyncpg.Connection]:
    """Open a connection for a moment."""
    connection = await asyncpg.connect(dsn, user=user)
    try:
        yield connection
    finally:
        await connection.close()


async def look(world: World) -> list[str]:
    """Let the audit look once at catalog and keys; return what readiness would name."""
    await Watch(world.service).look()
    return [alarm.reason for alarm in world.service.alarms.findings]


@copied
@asynccontextmanager
async def filled_world(postgres: EmbeddedPostgres, home: Path) -> AsyncIterator[World]:
    """Make two closed days, of which the first holds numbered events, and a third that is open."""
    async with new_world(postgres, home) as world:
        for number in range(3):
            await world.travel_to(FIRST + number * DAY)
            numbers = [7 * number + skipping for skipping in (1, 2, 4)]
            events = [make_event(world.clock.now(), sequence=f"{n}")._replace(sequence=n) for n in numbers]
            await world.record(0, events=events)
            await world.record(2, category="ecrits")
            await world.seal()
        yield world


@pytest.fixture
async def filled(postgres: EmbeddedPostgres, tmp_path: Path) -> AsyncIterator[World]:
    """One of those."""
    async with filled_world(postgres, tmp_path) as world:
        yield world


async def test_catalog(filled: World) -> None:
    """K01 to K18: each is named, alone or with what goes with it; before and after, nothing is."""
    assert await look(filled) == []
    for kind, (statement, words) in catalog_harms(LEAF).items():
        async with opened(filled.superuser_dsn) as superuser:
            await superuser.execute("SET session_replication_role = replica")
            transaction = superuser.transaction(isolation="repeatable_read")
            await transaction.start()
            await superuser.execute(statement)
            await superuser.execute("SET LOCAL ROLE journal_owner")
            faults = await find_catalog_faults(superuser, load_expected())
            named = [fault for fault in faults if "simulated_clock" not in fault and "journal.now()" not in fault]
            assert any(words in fault for fault in named), (kind, named)
            await transaction.rollback()
    assert await look(filled) == []


async def test_a_purge_that_is_said_to_be_done(filled: World) -> None:
    """R12: done past where it was begun."""
    async with opened(filled.superuser_dsn) as superuser:
        await superuser.execute("UPDATE journal.category SET purged_day = first_day")
    assert any(f"category {CATEGORY}: its purge is said to be done" in said for said in await look(filled))


async def test_roles(filled: World) -> None:
    """K15: a role that may do more than call functions is named by readiness, and no more once it may not."""
    for done, undone, words in ROLE_HARMS.values():
        async with opened(filled.superuser_dsn) as superuser:
            await superuser.execute(done)
            try:
                assert any(words in said for said in await look(filled)), done
            finally:
                await superuser.execute(undone)
        assert await look(filled) == []


async def test_nothing_is_told_while_something_is_destroyed(filled: World) -> None:
    """Z09, Z12: what a purge or a destruction has begun is not looked at half done; what stays afterwards is told."""
    watch = Watch(filled.service)
    async with opened(filled.superuser_dsn) as superuser:
        await superuser.execute("SET session_replication_role = replica")
        await superuser.execute(f"DELETE FROM {LEAF} WHERE index = (SELECT min(index) FROM {LEAF})")
    with filled.service.keyring.keystore.destroying():
        await watch.pass_once()
        assert filled.service.alarms.findings == []
    await watch.pass_once()
    assert filled.service.alarms.findings != []


async def test_a_finding_is_told_everywhere(filled: World) -> None:
    """Readiness is red and names it, the metric counts it, one entry tells of it, `verify-store` finds it too."""
    async with opened(filled.superuser_dsn) as superuser:
        await superuser.execute("ALTER FUNCTION journal.read_seal SECURITY INVOKER")
    for _ in range(2):
        await look(filled)
        await filled.service.alarms.look()
    checks = await filled.service.checks.run()
    assert "function journal.read_seal" in (checks["audit"] or "")
    assert filled.service.instruments.metrics.total("openepm_journal_audit_findings") == 1
    told = [
        entry.event["data"]["reason"]
        async for entry in filled.service.chronicle.entries(RESERVED_TENANT, "alarm", since=FIRST)
    ]
    assert len(told) == 1
    assert "read_seal" in told[0]


async def passed(world: World) -> list[str]:
    """Let the audit check every closed day once; return what readiness would name."""
    watch = Watch(world.service)
    await watch.pass_once()
    return [alarm.reason for alarm in world.service.alarms.findings]


COUNTERS = {
    "A01": ("UPDATE journal.activity SET count = count + 1", "its activity"),
    "A02": ("DELETE FROM journal.activity", "its activity"),
    "A03": (
        (
            "UPDATE journal.source_span SET numbers = "
            "(SELECT range_agg(int8range(lower(r) + 1, upper(r) + 1)) FROM unnest(numbers) AS r)"
        ),
        "the numbers of its sources",
    ),
}


@pytest.mark.parametrize("kind", COUNTERS)
async def test_counters(filled: World, kind: str) -> None:
    """A01 to A03: recounted from the entries of closed days."""
    assert await passed(filled) == []
    statement, words = COUNTERS[kind]
    async with filled.superuser() as superuser:
        await superuser.execute(f"{statement} WHERE category = '{CATEGORY}' AND day = '{FIRST}'")
    (said,) = await passed(filled)
    assert f"{TENANT}/{CATEGORY} {FIRST}" in said
    assert words in said


ENTRIES = {
    "E01": f"UPDATE {LEAF} SET ciphertext = set_byte(ciphertext, 40, get_byte(ciphertext, 40) # 1) WHERE index = 1",
    "E03": f"UPDATE {LEAF} SET leaf_hash = set_byte(leaf_hash, 3, get_byte(leaf_hash, 3) # 1) WHERE index = 1",
    "E05": f"UPDATE {LEAF} SET event_key = substr(sha256(event_key), 1, 16) WHERE index = 1",
    "E06": f"DELETE FROM {LEAF} WHERE index = 1",
    "E08": f"DELETE FROM {LEAF} WHERE index = 0",
    "E19": f"DELETE FROM {LEAF} WHERE tenant = '{TENANT}'",
    "E20": f"DROP TABLE {LEAF}",
    "E21": f"ALTER TABLE journal.entry_1 DETACH PARTITION {LEAF}",
}


# The campaign plays the others too, each on its own clone.
@pytest.mark.parametrize("kind", ["E01", "E06", *(pytest.param(kind, marks=pytest.mark.campaign) for kind in ENTRIES)])
async def test_entries(filled: World, kind: str) -> None:
    """E01 to E21: a closed day's rows; found by one pass, named by tenant, category and day."""
    async with filled.superuser() as superuser:
        await superuser.execute(ENTRIES[kind])
    found = await passed(filled)
    assert any(f"{CATEGORY} {FIRST}" in said for said in found), found


async def test_a_key_that_is_missing(filled: World) -> None:
    """F02: the key of a day that is kept."""
    for day in (FIRST, FIRST + DAY):
        (file,) = filled.settings.keystore_path.rglob(f"{CATEGORY}/{day}*")
        file.rename(file.with_name("away"))
        (said,) = await look(filled)
        assert f"missing key: {CATEGORY} {day}" in said
        file.with_name("away").rename(file)
        assert await look(filled) == []


async def test_controls(filled: World) -> None:
    """VACUUM FULL, REINDEX, ANALYZE, a new commune, a purge: nothing is said."""
    async with opened(filled.superuser_dsn) as superuser:
        await superuser.execute("VACUUM FULL")
        await superuser.execute("REINDEX SCHEMA journal")
        await superuser.execute("ANALYZE")
    administration = filled.installation.administration
    await administration.add_tenant("nimes", "Nîmes")
    await filled.installation.maintenance.prepare()
    assert await look(filled) == []
    assert await passed(filled) == []
    await filled.shorten_rules(5)
    await filled.travel_to(FIRST + 7 * DAY)
    await filled.seal()
    await filled.installation.purger.run(to_the_limit=True)
    assert await look(filled) == []
    assert await passed(filled) == []
    # A category that has never purged, beside heads that are no longer kept.
    assert await filled.service.store.prune_seal_heads(days=0)
    await administration.add_category(NewCategory(code="neuve", label="Neuve"))
    await filled.installation.maintenance.prepare()
    assert await passed(filled) == []
    assert await filled.audit() == []
    # F06: what the key store knew of the purge is taken away.
    (filled.settings.keystore_path / "fences" / CATEGORY).unlink()
    assert any(f"fence of {CATEGORY}: days are purged up to" in said for said in await passed(filled))


async def test_it_runs_while_entries_are_written(dsn: str, tmp_path: Path) -> None:
    """Control: an audit beside a writer finds nothing, and ends with its task."""
    async with open_rig(dsn, tmp_path, audit_share=1.0) as rig:
        watch = Watch(rig.service)
        task = asyncio.create_task(watch.run())
        for number in range(20):
            await rig.submit(rig.events(*(f"{number}-{n}" for n in range(20))))
        await watch.pass_once()
        assert rig.service.alarms.findings == []
        assert not task.done()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_a_schema_of_a_newer_version(filled: World) -> None:
    """An upgrade beside an older process: what the key store vouches for is no alarm, what it does not is one."""
    service = filled.service
    async with opened(filled.superuser_dsn) as superuser:
        await superuser.execute("ALTER TABLE journal.service ADD COLUMN more text")
        await superuser.execute("ALTER TABLE journal.service OWNER TO journal_owner")
    assert any("more" in said for said in await look(filled))
    assert service.store.facts is not None
    async with service.store.connect_anew("owner") as connection:
        found = write_expected(digest_catalog(await read_catalog(connection), OWNER))
    service.store.facts.vouch_catalog(found)
    assert await look(filled) == []
    async with opened(filled.superuser_dsn) as superuser:
        await superuser.execute("ALTER FUNCTION journal.read_seal SECURITY INVOKER")
    assert any("read_seal" in said for said in await look(filled))


async def test_the_round_goes_on_after_a_restart(filled: World) -> None:
    """Days are checked again in the order in which they were last checked, whoever did; what is not sound first."""
    first = Watch(filled.service)
    await first.pass_once()
    audit, _ = await first._prepare(Pace(1.0))
    leaves = audit.closed_leaves()
    known = dict(first._rounds.checked)
    assert set(known) == set(leaves)
    second = Watch(filled.service)
    assert second._rounds.checked.keys() == known.keys()
    oldest = leaves[-1]
    second._rounds.checked[oldest] = 0.0
    assert second._order(list(leaves))[0] == oldest
    async with filled.superuser() as superuser:
        await superuser.execute(ENTRIES["E01"])
    assert await passed(filled) != []
    assert (CATEGORY, FIRST) not in Watch(filled.service)._rounds.checked
    filled.settings.audit_path.write_text("{", encoding="ascii")
    assert Watch(filled.service)._rounds.checked == {}


def spin(seconds: float) -> None:
    """Use a processor for so long."""
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


async def test_the_share_is_of_work_and_not_of_waiting() -> None:
    """A piece rests for what it worked, in the loop and in threads; what it waited for is rest already."""
    pace = Pace(0.1)

    async def piece(work: float, threaded: float, waiting: float) -> float:
        started = time.monotonic()
        spin(work)
        await in_thread(spin, threaded)
        await asyncio.sleep(waiting)
        await pace()
        return time.monotonic() - started

    async def pieces() -> tuple[float, float]:
        return await piece(0.01, 0.01, 0.0), await piece(0.01, 0.01, 0.5)

    busy, waiting = await pace.run(pieces())
    assert busy >= 0.2
    assert waiting < 0.5 + busy


async def test_a_paced_pass_is_cancelled_and_fails_as_its_work_does() -> None:
    """A cancellation and an error pass through; and what the work catches, it catches."""

    async def fails() -> None:
        await asyncio.sleep(0)
        raise KeyError("x")

    with pytest.raises(KeyError):
        await Pace(1.0).run(fails())
    seen = []

    async def lasts() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            seen.append("ended")

    task = asyncio.create_task(Pace(1.0).run(lasts()))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert seen == ["ended"]
