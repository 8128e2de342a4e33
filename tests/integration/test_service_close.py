"""Closing the service's parts: whatever they are in the middle of."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.support.world import new_world

if TYPE_CHECKING:
    from pathlib import Path

    from journal.database.embedded import EmbeddedPostgres


async def test_a_cancellation_that_is_lost(postgres: EmbeddedPostgres, tmp_path: Path) -> None:
    """A part that answers its cancellation with another error, as a driver losing its server does, is asked again."""
    heard = 0

    async def goes_on() -> None:
        nonlocal heard
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                heard += 1
                if heard > 1:
                    raise

    async with asyncio.timeout(60), new_world(postgres, tmp_path) as world:
        world.service.watch("goes on", goes_on())
        await asyncio.sleep(0)
    assert heard == 2
