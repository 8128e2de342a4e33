"""The preview of a purge, on a real database and key store: what it says would go is what a run then takes."""

from __future__ import annotations

from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from journal.admin.administration import NewCategory
from journal.core.times import midnight
from retention.purge_plan import plan
from tests.support.communes import SHORT, commune_world
from tests.support.world import DAY, FIRST, OTHER_TENANT, TENANT, World, copied

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from journal.database.embedded import EmbeddedPostgres
    from retention.purge_plan import PlannedDay

# Of this category, three days are due when of `SHORT` the first alone would be, but for its pending shorter rule.
QUICK = NewCategory(code="rapides", label="Rapides", retention_days=2)
SECOND, THIRD = FIRST + DAY, FIRST + 2 * DAY
TWO_HOURS = timedelta(hours=2)


@copied
@asynccontextmanager
async def due_world(postgres: EmbeddedPostgres, home: Path) -> AsyncIterator[World]:
    """Give three days of two categories that are due: one commune receives its days, the other does not.

    The first commune has its first day of `SHORT` in hand, and has not confirmed that it can open it; its third day of
    `QUICK` is not handed over yet.
    """
    async with commune_world(postgres, home, confirmed=False) as made:
        await made.installation.administration.add_category(QUICK)
        await made.installation.maintenance.prepare()
        await made.record(2, category=SHORT.code)
        await made.record(3, tenant=OTHER_TENANT, category=SHORT.code)
        await made.record(4, tenant=OTHER_TENANT, category=QUICK.code)
        await made.travel_to(SECOND)
        await made.record(5, tenant=OTHER_TENANT, category=SHORT.code)
        await made.record(6, tenant=OTHER_TENANT, category=QUICK.code)
        await made.travel_to(THIRD)
        await made.record(7, category=QUICK.code)
        await made.travel_to(FIRST + 3 * DAY)
        await made.installation.handover.run()
        await made.installation.administration.set_category(SHORT.code, instruction="I-1", retention_days=2)
        yield made


pytestmark = [pytest.mark.world(made_by=due_world), pytest.mark.usefixtures("no_documents")]


async def planned(world: World, max_days: int | None = None) -> dict[tuple[str, int], PlannedDay]:
    """Return the preview: by category, and by how many days after the first a day is."""
    service = world.service
    days = await plan(world.installation.purger, service.store, service.keyring.keystore, max_days=max_days)
    assert [one.due for one in days] == await world.installation.purger.due()
    return {(one.due.category, (one.due.day - FIRST).days): one for one in days}


@pytest.mark.parametrize("max_days", [0, 1, None])
async def test_what_the_preview_says_goes_is_what_a_run_takes(world: World, max_days: int | None) -> None:
    """Whatever the limit of the run is; what a run left is in the next preview, with the same reasons."""
    before = await planned(world, max_days)
    assert len(before) == 6
    done = await world.installation.purger.run(max_days=max_days)
    assert done == [one.due for one in before.values() if one.goes]
    assert len(done) == {0: 0, 1: 1, None: 2}[max_days]
    after = await planned(world, max_days)
    assert after.keys() == {place for place, one in before.items() if not one.goes}
    assert [one.waits_for for one in after.values()] == [before[place].waits_for for place in after]


async def test_why_a_day_stays(world: World) -> None:
    """It waits for its own hand-over, for an earlier day of its category, or is beyond the limit of a run."""
    everything, one_day = await planned(world), await planned(world, 1)
    waits = {place for place, one in everything.items() if one.waits_for}
    assert waits == {(SHORT.code, 0), (QUICK.code, 2)}
    assert {place for place, one in everything.items() if one.is_held} == {(SHORT.code, 1), (SHORT.code, 2)}
    assert not any(one.is_beyond for one in everything.values())
    # A shorter rule is pending: its days do not count, and those behind the first wait rather than are beyond.
    assert {place for place, one in one_day.items() if one.is_beyond} == {(QUICK.code, 1), (QUICK.code, 2)}
    assert {place for place, one in one_day.items() if one.is_held} == {(SHORT.code, 1), (SHORT.code, 2)}
    # Nobody is asked whether a day waits that no run would take.
    assert {place for place, one in one_day.items() if one.waits_for} == {(SHORT.code, 0)}


async def test_for_whom_a_day_waits_and_until_when(world: World) -> None:
    """It names who has not the day yet apart from who has not confirmed it, and stops two hours before its limit."""
    found = await planned(world)
    asked = {place: (one.waits_for, one.unconfirmed, one.waits_until) for place, one in found.items() if one.waits_for}
    assert asked == {
        (SHORT.code, 0): ((TENANT,), (TENANT,), midnight(FIRST + 5 * DAY) - TWO_HOURS),
        (QUICK.code, 2): ((TENANT,), (), midnight(THIRD + 2 * DAY) - TWO_HOURS),
    }
    others = [one for one in found.values() if not one.waits_for]
    assert [(one.unconfirmed, one.waits_until) for one in others] == [((), None)] * 4
    # The rule in force is the limit, not the shorter one that is pending.
    assert {place: one.gone_before for place, one in found.items()} == {
        (category, number): midnight(FIRST + (number + days) * DAY)
        for category, days in ((SHORT.code, 5), (QUICK.code, 2))
        for number in range(3)
    }


async def test_how_much_there_is_of_a_day(world: World) -> None:
    """Its entries, its chains, its bytes and its key, as they are; a day whose purge was cut short has no key left."""
    found = await planned(world)
    assert {place: (one.entries, one.compartments) for place, one in found.items()} == {
        (SHORT.code, 0): (5, 2),
        (SHORT.code, 1): (5, 1),
        (SHORT.code, 2): (0, 0),
        (QUICK.code, 0): (4, 1),
        (QUICK.code, 1): (6, 1),
        (QUICK.code, 2): (7, 1),
    }
    sizes = [await world.service.store.day_figures(one.due.category, one.due.day) for one in found.values()]
    assert [one.disk_bytes for one in found.values()] == [size.disk_bytes for size in sizes]
    assert all(one.has_key and one.disk_bytes for one in found.values())
    keystore = world.service.keyring.keystore
    keystore.raise_fence(SHORT.code, FIRST)
    keystore.shred_day_key(SHORT.code, FIRST)
    assert [place for place, one in (await planned(world)).items() if not one.has_key] == [(SHORT.code, 0)]


async def test_a_day_without_its_close_seal_is_told(world: World) -> None:
    """Three days are sealed; the fourth is over since midnight, and no run has sealed it."""
    await world.travel_to(FIRST + 4 * DAY)
    found = await planned(world)
    assert [place for place, one in found.items() if not one.is_sealed] == [(SHORT.code, 3), (QUICK.code, 3)]
