"""The tree of a new seal is made of the one before and of what has moved, and is what it would be if all were read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from journal.core.entry import Compartment
from journal.core.seal import parse_seal
from journal.core.tree import root_from_path
from journal.reading import reader as reading
from tests.support.world import CATEGORY, SERVICE, TENANT, make_event, new_world

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from journal.reading.reader import ChainSeal
    from tests.support.world import World


@pytest.fixture
async def world(postgres: Any, tmp_path: Path) -> AsyncIterator[World]:
    """Give a service that seals when it is told to."""
    async with new_world(postgres, tmp_path) as made:
        made.service.start(seal=False)
        yield made


async def sealed(world: World) -> ChainSeal:
    """Record something, seal it, and return what the seal states of its chain; the path is held against the seal."""
    await world.record(0, events=[make_event(world.clock.now())])
    await world.seal()
    stated = await world.service.reader.latest(Compartment(SERVICE, TENANT, CATEGORY))
    assert root_from_path(stated.head, stated.path) == parse_seal(stated.seal.text).root
    return stated


@pytest.fixture
def grown(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count the trees that are grown of all heads."""
    found: list[int] = []
    grow = reading.grow

    def counted(name: str, rows: Any) -> Any:
        found.append(1)
        return grow(name, rows)

    monkeypatch.setattr(reading, "grow", counted)
    return found


async def test_all_heads_are_read_once(world: World, grown: list[int]) -> None:
    """Later seals are followed, also where nobody asked for one in between."""
    sizes = [(await sealed(world)).head.size for _ in range(2)]
    await world.record(0, events=[make_event(world.clock.now())])
    await world.seal()
    sizes.append((await sealed(world)).head.size)
    assert [sizes, len(grown)] == [[1, 2, 4], 1]


async def test_what_cannot_be_followed_is_read(world: World, grown: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Of seals that others made, of more than is kept of moves, and where a move was told wrongly."""
    follow = world.service.reader.follow
    await sealed(world)
    told: list[Any] = []
    monkeypatch.setattr(world.service.sealer, "_follow", lambda *moved: told.append(moved))
    await sealed(world)
    follow(told[0][0], told[0][1])
    wrong = lambda number, moved: follow(number, [row._replace(size=row.size - 1) for row in moved])  # noqa: E731
    for way in (wrong, lambda number, moved: follow(number, [row._replace(tenant="zz") for row in moved])):
        monkeypatch.setattr(world.service.sealer, "_follow", way)
        await sealed(world)
    assert len(grown) == 4
    monkeypatch.setattr(world.service.sealer, "_follow", follow)
    await sealed(world)
    assert len(grown) == 4
    monkeypatch.setattr(reading, "FOLLOWED_HEADS", 0)
    await sealed(world)
    assert len(grown) == 5
