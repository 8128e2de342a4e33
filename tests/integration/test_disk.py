"""How much disk an entry takes, as the operator's guide has one size a host by it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tests.support.guide import chapter
from tests.support.world import FIRST, make_event, new_world

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from journal.database.embedded import EmbeddedPostgres

BATCHES, TOGETHER = 4, 2_000


async def test_an_entry_takes_no_more_than_the_guide_says(
    postgres: EmbeddedPostgres, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """Its event and so many bytes, indexes included."""
    (told,) = re.findall(r"\| (\d+) octets et l'événement", chapter(13))
    async with new_world(postgres, tmp_path) as world:
        posted = 0
        for _ in range(BATCHES):
            events = [make_event(world.clock.now()) for _ in range(TOGETHER)]
            posted += sum(len(event.canonical) for event in events)
            await world.record(0, events=events)
        async with world.superuser() as connection:
            stored = await connection.fetchval(
                "SELECT sum(pg_total_relation_size(oid)) FROM pg_class WHERE relname ~ $1 AND relkind = 'r'",
                f"^entry_[0-9]+_{FIRST:%Y%m%d}$",
            )
    each = (int(stored) - posted) / (BATCHES * TOGETHER)
    record_property("evidence", f"an entry takes {each:.0f} bytes of disk and its event")
    assert 0 < each <= int(told)
