"""The service's status in readiness, metrics and `doctor`, when all is well and when it is not."""

from __future__ import annotations

import socket
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from journal.admin.administration import NewCategory
from journal.cli.doctor import tell
from journal.core.errors import NotStampedError
from tests.support.scrape import Scrape, listening, scrape
from tests.support.world import CATEGORY, DAY, FIRST, TENANT, World, copied, new_world

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from journal.database.embedded import EmbeddedPostgres

# Kept three days: purged from the third day on, gone before the fourth.
BRIEF, BRIEF_DAYS = "breve", 3
HOUR_SECONDS = 3600
DAY_SECONDS = 24 * HOUR_SECONDS


@copied
@asynccontextmanager
async def observed_world(postgres: EmbeddedPostgres, home: Path) -> AsyncIterator[World]:
    """A service with a category that is kept three days; its first entry is of nine in the morning."""
    async with new_world(postgres, home) as made:
        category = NewCategory(code=BRIEF, label="Brève", retention_days=BRIEF_DAYS)
        await made.installation.administration.add_category(category)
        await made.installation.maintenance.prepare()
        await made.record(1, category=BRIEF)
        await made.seal()
        yield made


pytestmark = [pytest.mark.world(made_by=observed_world), pytest.mark.usefixtures("no_documents")]


def midnight(day: date) -> datetime:
    """Return when a day begins."""
    return datetime.combine(day, time(), tzinfo=UTC)


async def told(world: World) -> tuple[Scrape, dict[str, Any]]:
    """Return what a first scrape and readiness say now."""
    async with listening(world.service) as session:
        found = await scrape(session)
        async with session.get("/readyz") as answer:
            ready = await answer.json()
    return found, ready


def of(category: str, ready: dict[str, Any]) -> dict[str, Any]:
    """Return the facts about one category."""
    (found,) = [row for row in ready["facts"]["retention"] if row["category"] == category]
    return dict(found)


async def words(world: World) -> str:
    """Return what doctor says below its checks, by the world's own clock."""
    return "".join(f"{line}\n" for line in tell(await world.service.status()))


class TestRetention:
    """The life of a category's first days."""

    async def test_before_anything_goes(self, world: World) -> None:
        """The oldest day, how old its first entry can be, and when it goes; an empty category has no oldest entry."""
        await world.travel_to(FIRST + DAY, hour=9)
        await world.seal()
        found, ready = await told(world)
        assert found.value("oldest_entry_age_seconds", BRIEF) == pytest.approx(33 * HOUR_SECONDS, abs=60)
        assert found.value("oldest_entry_age_seconds", CATEGORY) == 0
        assert found.value("retention_limit_seconds", BRIEF) == BRIEF_DAYS * DAY_SECONDS
        assert found.value("retention_limit_seconds", CATEGORY) == 60 * DAY_SECONDS
        assert found.value("next_purge_timestamp_seconds", BRIEF) == midnight(FIRST + 2 * DAY).timestamp()
        assert found.value("overdue_days", BRIEF) == 0
        assert (BRIEF,) not in found.series("last_purge_timestamp_seconds")
        facts = of(BRIEF, ready)
        assert facts.pop("oldest_entry_age_seconds") == pytest.approx(33 * HOUR_SECONDS, abs=60)
        assert facts == {
            "category": BRIEF,
            "oldest_day": f"{FIRST}",
            "limit_seconds": BRIEF_DAYS * DAY_SECONDS,
            "next_purge_day": f"{FIRST}",
            "next_purge_at": f"{FIRST + 2 * DAY}T00:00:00Z",
            "next_purge_before": f"{FIRST + 3 * DAY}T00:00:00Z",
            "overdue_days": 0,
            "waiting_for_handover_days": 0,
            "partitions_ready_days": 8,
            "keys_ready_days": 8,
        }
        assert "oldest_day" not in of(CATEGORY, ready)

    async def test_what_a_purge_moves(self, world: World) -> None:
        """The day that went, when, and the one that goes next; what is oldest then is of a later day."""
        await world.travel_to(FIRST + DAY)
        await world.travel_to(FIRST + 2 * DAY, hour=1)
        await world.record(1, category=BRIEF)
        await world.installation.purger.run()
        found, ready = await told(world)
        assert found.value("last_purged_day_timestamp_seconds", BRIEF) == midnight(FIRST).timestamp()
        at = found.value("last_purge_timestamp_seconds", BRIEF)
        assert at == pytest.approx(world.clock.now().timestamp(), abs=60)
        # The second day has a partition and no entry.
        assert found.value("next_purge_timestamp_seconds", BRIEF) == midnight(FIRST + 3 * DAY).timestamp()
        assert found.value("oldest_entry_age_seconds", BRIEF) == pytest.approx(HOUR_SECONDS, abs=60)
        facts = of(BRIEF, ready)
        assert facts["last_purged_day"] == f"{FIRST}"
        assert facts["last_purge_at"] == f"{datetime.fromtimestamp(int(at), UTC):%Y-%m-%dT%H:%M:%SZ}"
        assert (facts["oldest_day"], facts["next_purge_day"]) == (f"{FIRST + 2 * DAY}", f"{FIRST + DAY}")
        said = await words(world)
        assert (
            f"{BRIEF}: the oldest entry is of {FIRST + 2 * DAY}, at most 0 days 1 h old; the limit is 3 days; the "
            f"last day purged is {FIRST} at {datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M} UTC; the next is "
            f"{FIRST + DAY}, from {FIRST + 3 * DAY} 00:00 UTC, before {FIRST + 4 * DAY} 00:00 UTC\n"
        ) in said
        assert f"{CATEGORY}: no entry is kept; nothing has been purged yet; the next is {FIRST}, from " in said

    async def test_the_moment_is_that_of_the_last_purge(self, world: World) -> None:
        """A later purge moves it; what changes the category otherwise does not."""
        await world.travel_to(FIRST + 2 * DAY, hour=1)
        await world.installation.purger.run()
        first, _ = await told(world)
        async with world.superuser() as connection:
            await connection.execute("SET session_replication_role = origin")
            await connection.execute("UPDATE journal.category SET label = 'x', purged_day = purged_day")
        again, _ = await told(world)
        name = "last_purge_timestamp_seconds"
        assert again.value(name, BRIEF) == first.value(name, BRIEF)
        await world.travel_to(FIRST + 3 * DAY, hour=1)
        await world.installation.purger.run()
        later, _ = await told(world)
        assert later.value(name, BRIEF) - first.value(name, BRIEF) == pytest.approx(DAY_SECONDS, abs=60)

    async def test_days_that_must_be_gone(self, world: World) -> None:
        """They are counted, the age passes the limit, and the check fails, in every place where one may look."""
        await world.travel_to(FIRST + 4 * DAY, hour=1)
        found, ready = await told(world)
        assert found.value("overdue_days", BRIEF) == 2
        assert found.value("oldest_entry_age_seconds", BRIEF) > found.value("retention_limit_seconds", BRIEF)
        assert found.value("ready", "retention") == 0
        assert ready["checks"]["retention"] == "failing"
        assert of(BRIEF, ready)["overdue_days"] == 2
        said = await words(world)
        assert f"the next is {FIRST}, from {FIRST + 2 * DAY} 00:00 UTC: 2 days are kept past their limit\n" in said
        await world.installation.purger.run(max_days=None)
        found, ready = await told(world)
        assert (found.value("overdue_days", BRIEF), found.value("ready", "retention")) == (0, 1)

    async def test_keys_and_partitions_ahead(self, world: World) -> None:
        """For how many days in a row, from today on."""
        keys = world.settings.keystore_path / "days" / BRIEF
        (keys / f"{FIRST + 2 * DAY}").unlink()
        async with world.superuser() as connection:
            await connection.execute(f"DROP TABLE journal.entry_6_{FIRST:%Y%m%d}")
        found, ready = await told(world)
        assert (found.value("keys_ready_days", BRIEF), found.value("partitions_ready_days", BRIEF)) == (2, 0)
        assert (found.value("keys_ready_days", CATEGORY), found.value("partitions_ready_days", CATEGORY)) == (8, 8)
        assert (found.value("ready", "keys"), found.value("ready", "partitions")) == (0, 0)
        assert of(BRIEF, ready)["keys_ready_days"] == 2


class TestSeals:
    """What is sealed, and what is behind."""

    async def test_heads_that_moved(self, world: World) -> None:
        """As many as chains moved, since the seal that is named, with its age."""
        before, _ = await told(world)
        await world.record(2, category=BRIEF)
        await world.record(1, category=CATEGORY)
        found, ready = await told(world)
        assert (before.value("unsealed_heads"), found.value("unsealed_heads")) == (0, 2)
        latest = await world.service.store.latest_seal()
        assert latest is not None
        assert found.value("last_seal_number") == ready["facts"]["seals"]["last_number"] == latest.number
        assert 0 <= found.value("last_seal_age_seconds") < 60
        said = await words(world)
        assert (
            f"seal {latest.number} is the last, of {latest.sealed_at:%Y-%m-%d %H:%M} UTC; 2 heads changed since" in said
        )
        await world.seal()
        found, _ = await told(world)
        assert (found.value("unsealed_heads"), found.value("last_seal_number")) == (0, latest.number + 1)

    async def test_days_that_are_not_closed(self, world: World) -> None:
        """Each day that is over and has no close seal counts, and so does the age of the last seal."""
        await world.travel_to(FIRST + 2 * DAY, hour=1)
        found, ready = await told(world)
        assert found.value("unsealed_days") == ready["facts"]["seals"]["unsealed_days"] == 2
        assert found.value("last_seal_age_seconds") == pytest.approx(40 * HOUR_SECONDS, abs=60)
        said = await words(world)
        assert "2 days are over and have no close seal yet\n" in said
        await world.seal()
        assert (await told(world))[0].value("unsealed_days") == 0

    async def test_before_the_first(self, postgres: EmbeddedPostgres, tmp_path: Path) -> None:
        """There is none: 0, no age, and every chain waits."""
        async with new_world(postgres, tmp_path, tenants=[TENANT]) as world:
            found, ready = await told(world)
        assert found.value("last_seal_number") == 0
        assert found.series("last_seal_age_seconds") == {}
        assert "last_number" not in ready["facts"]["seals"]
        assert found.value("unsealed_heads") == len(ready["facts"]["retention"]) + 1

    async def test_the_certificate(self, world: World) -> None:
        """When it expires."""
        found, ready = await told(world)
        expiry = world.service.identity.not_after
        assert found.value("certificate_expiry_timestamp_seconds") == expiry.timestamp()
        assert ready["facts"]["certificate_expires_at"] == f"{expiry:%Y-%m-%dT%H:%M:%SZ}"

    async def test_the_databases_clock(self, world: World) -> None:
        """By how much it departs from the service's."""
        assert (await told(world))[0].value("database_clock_departure_seconds") < 30
        world.clock.offset += timedelta(minutes=5)
        assert (await told(world))[0].value("database_clock_departure_seconds") == pytest.approx(300, abs=30)


@asynccontextmanager
async def dead_address() -> AsyncIterator[str]:
    """Give an address without a listener, for the length of the block."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{taken.getsockname()[1]}"


async def test_an_authority_that_is_down(postgres: EmbeddedPostgres, tmp_path: Path) -> None:
    """Its seals are not time-stamped yet: how many, since when, and for how long it was asked in vain."""
    async with dead_address() as address:
        trust = str(tmp_path / "trust.pem")
        async with new_world(postgres, tmp_path, tsa_url=f"http://{address}/tsa", tsa_trust=trust) as world:
            stamper = world.service.stamper
            assert stamper is not None
            found, _ = await told(world)
            assert (found.value("stamping_configured"), found.value("unstamped_seals")) == (1, 0)
            await world.travel_to(FIRST + 2 * DAY, hour=1)
            await world.seal()
            with pytest.raises(NotStampedError):
                _ = [stamped async for stamped in stamper.stamp_waiting()]
            await world.travel_to(FIRST + 2 * DAY, hour=9)
            found, ready = await told(world)
            assert found.value("unstamped_seals") == 2
            for name in ("unstamped_seals_age_seconds", "stamping_failing_seconds"):
                assert found.value(name) == pytest.approx(8 * HOUR_SECONDS, abs=60)
            stamps = ready["facts"]["timestamps"]
            assert (stamps["configured"], stamps["waiting"]) == (True, 2)
            assert stamps["waiting_since"].startswith(f"{FIRST + 2 * DAY}T01:0")
            assert stamps["failing_since"].startswith(f"{FIRST + 2 * DAY}T01:0")
            said = await words(world)
            assert "the oldest close seal without a time-stamp is of 2026-03-04 01:0" in said
            assert "; the authority has failed since 2026-03-04 01:0" in said
            assert found.value("ready", "timestamps") == 1, "within its first day it is no failure"
            await world.travel_to(FIRST + 3 * DAY, hour=2)
            found, ready = await told(world)
            assert found.value("ready", "timestamps") == 0
            assert ready["checks"]["timestamps"] == "failing"
            # What was had at last ends it.
            for row in await stamper.waiting():
                await world.service.store.put_timestamp(row.number, world.clock.now(), b"token")
            found, ready = await told(world)
            assert (found.value("unstamped_seals"), found.value("stamping_failing_seconds")) == (0, 0)
            assert found.value("unstamped_seals_age_seconds") == 0
            assert ready["facts"]["timestamps"] == {"configured": True, "waiting": 0}


async def test_without_an_authority(world: World) -> None:
    """Nothing waits for it, and it is said that there is none."""
    await world.travel_to(FIRST + 2 * DAY, hour=1)
    await world.seal()
    found, ready = await told(world)
    assert (found.value("stamping_configured"), found.value("unstamped_seals")) == (0, 0)
    assert ready["facts"]["timestamps"] == {"configured": False, "waiting": 0}
    said = await words(world)
    assert "no time-stamping authority is configured (JOURNAL_TSA_URL)\n" in said


async def test_every_process_says_the_same(world: World) -> None:
    """What the database knows does not depend on who is asked; how full the disk is changes meanwhile."""
    await world.record(2, category=CATEGORY)
    async with world.another_process() as other, listening(other.service) as session:
        theirs = await scrape(session)
    ours, _ = await told(world)
    gauges = [family.name for family in ours.families if family.type == "gauge"]
    assert len(gauges) > 20
    for name in gauges:
        short = name.removeprefix("openepm_journal_")
        if not short.endswith(("_age_seconds", "_departure_seconds", "_free_bytes")):
            assert ours.series(short) == theirs.series(short), name
