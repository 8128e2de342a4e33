"""`kill -9` at every boundary of a purge under a pending rule: no false finding, and one more run completes it."""

from __future__ import annotations

import re
import signal
from typing import TYPE_CHECKING

import pytest

from retention.purge_steps import AFTER_DAYS, BEFORE_DAYS, OF_A_DAY, Step
from tests.faults.purging import Kill, ended, start
from tests.support.rule_changes import LONG, live, long_world, row_of, set_days
from tests.support.world import DAY, FIRST, World

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [pytest.mark.world(made_by=long_world), pytest.mark.usefixtures("no_documents")]


ALL = (*BEFORE_DAYS, *OF_A_DAY, *AFTER_DAYS)
SOME = (Step.DROP_ROWS, Step.SETTLE_RULES)


@pytest.mark.parametrize("steps", [SOME, pytest.param(ALL, marks=pytest.mark.campaign)], ids=["some", "all"])
async def test_killed_at_every_boundary(
    world: World, record_property: Callable[[str, object], None], steps: tuple[Step, ...]
) -> None:
    """The seals state the old rule and all that it kept, or the new one and all that it let go, at any moment."""
    await live(world, 0, 7)
    # Between the end of a step and the begin of the next there is nothing.
    kills = [Kill(step=step, after=True) for step in steps]
    for kill in kills:
        await set_days(world, 4)
        status = await ended(start(world.dsn, world.settings, world.clock.offset, kill))
        assert status == -signal.SIGKILL, kill
        await world.service.snapshot.refresh()
        await world.seal()
        for finding in await world.audit():
            assert finding.verdict in ("gap", "over-retention"), str(finding)
            assert re.search("run the purge|then openepm-journal purge", str(finding))
        world.verify(await world.extract(world.today - DAY, world.today, category=LONG.code))
        assert await ended(start(world.dsn, world.settings, world.clock.offset)) == 0
        row = await row_of(world)
        assert (row.stated_days, row.next_retention_days) == (4, None)
        await world.service.snapshot.refresh()
        assert await world.audit() == []
        world.verify(await world.extract(FIRST, world.today, category=LONG.code))
        # Again from the beginning: two more days under the longer rule.
        today = (world.today - FIRST).days
        await set_days(world, 10)
        await live(world, today, today + 1)
    record_property(
        "evidence",
        f"kill -9 of the purge at {len(kills)} boundaries of its steps under a pending rule: 0 wrong accusations by "
        "verify-store and extracts in between, and one more run settles the rule each time",
    )
