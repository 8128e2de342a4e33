"""A commune moves between two deployments under load: nothing acknowledged is lost, and every extract verifies."""

from __future__ import annotations

import asyncio
import json
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from journal.admin.administration import NewCategory
from journal.core.entry import JOURNAL_CATEGORY, Compartment
from journal.core.errors import JournalError, OperatorError
from retention.continuation import continue_tenant, read_ended
from retention.moving import move_tenant
from tests.support.contents import events_of
from tests.support.ending import PEM, check_signed, lived_world
from tests.support.world import CATEGORY, DAY, FIRST, SERVICE, TENANT, World, make_event, new_world

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from journal.core.entry import Event
    from journal.core.receipt import Receipt
    from journal.database.embedded import EmbeddedPostgres

pytestmark = [pytest.mark.world(made_by=lived_world), pytest.mark.usefixtures("no_documents")]

THERE, ELSEWHERE = "albi-suite", "journal2.example.fr"
MODULES = 4
# Each module has so many acknowledged before the move begins.
BEFORE = 3


class Module:
    """Posts one event after the other to one deployment, and what it refuses to the other, as a spool does."""

    def __init__(self, number: int, here: World, there: World) -> None:
        """Post as module `number`, here first."""
        self._number = number
        self._places = [(here, TENANT), (there, THERE)]
        self.acknowledged: list[list[tuple[Event, Receipt]]] = [[], []]
        self.has_begun, self.has_moved = asyncio.Event(), asyncio.Event()

    async def run(self) -> None:
        """Post until a few are acknowledged at the other deployment."""
        place, count = 0, 0
        while len(self.acknowledged[1]) < BEFORE:
            world, tenant = self._places[place]
            event = make_event(world.clock.now(), id=f"{self._number}-{count}")
            # Asked again where the answer is not known, elsewhere once the first deployment refuses.
            while True:
                world, tenant = self._places[place]
                try:
                    (receipt,) = await world.record(1, tenant=tenant, events=[event])
                except JournalError:
                    await self.has_moved.wait()
                    place = 1
                    continue
                break
            self.acknowledged[place].append((event, receipt))
            count += 1
            if len(self.acknowledged[0]) == BEFORE:
                self.has_begun.set()


async def move(world: World, path: Path) -> dict[str, Any]:
    """Move the commune, and return the inventory, checked with openssl."""
    await move_tenant(world.service, world.installation.administration, TENANT, ELSEWHERE, path)
    return check_signed(world, path, path.with_name(f"{path.name}.p7s"))


async def ids_of(world: World, tenant: str) -> list[str]:
    """Return the ids of all events in an extract of today, which verifies."""
    extract = await world.extract(world.today, world.today, tenant=tenant)
    assert world.verify(extract).manifest.withheld == 0
    return [event["id"] for event in events_of(extract)]


def ids(acknowledged: Iterable[tuple[Event, Receipt]]) -> set[str]:
    """Return the ids of acknowledged events."""
    return {event.id for event, _ in acknowledged}


async def test_a_commune_moves_under_load(world: World, postgres: EmbeddedPostgres, tmp_path: Path) -> None:
    """Each event is where it was acknowledged; extracts before, across and after the move verify."""
    before = await world.extract(FIRST, FIRST + DAY)
    async with new_world(postgres, tmp_path / "there", tenants=(THERE,)) as there:
        await there.travel(world.clock.now())
        modules = [Module(number, world, there) for number in range(MODULES)]
        async with asyncio.TaskGroup() as group:
            for module in modules:
                group.create_task(module.run())
            await asyncio.gather(*(module.has_begun.wait() for module in modules))
            inventory = await move(world, tmp_path / "albi_move.json")
            ended = read_ended(tmp_path / "albi_move.json", world.settings.trust_path)
            await continue_tenant(there.service, there.installation.administration, THERE, ended)
            for module in modules:
                module.has_moved.set()
        heads = {head["origin"]: head for head in inventory["chains"]}
        for place, (deployment, tenant) in enumerate(((world, TENANT), (there, THERE))):
            acknowledged = [one for module in modules for one in module.acknowledged[place]]
            found = await ids_of(deployment, tenant)
            assert len(found) == len(set(found))
            assert ids(acknowledged) <= set(found)
            if place == 0:
                # What was acknowledged before lies below the head that the inventory signs, for ever.
                size = heads[Compartment(SERVICE, TENANT, CATEGORY).origin]["size"]
                assert all(receipt.index < size for _, receipt in acknowledged)
                assert await world.size() == size
        cited = [
            event["data"]
            for event in events_of(
                await there.extract(there.today, there.today, tenant=THERE, category=JOURNAL_CATEGORY)
            )
            if event["data"].get("change") == "continued"
        ]
    assert {one["what"]: (one["entries"], one["sha256"]) for one in cited[1:]} == {
        origin: (head["size"], head["chain_hash"]) for origin, head in heads.items()
    }
    across = await world.extract(FIRST, world.today)
    for extract in (before, across):
        world.verify(extract)


async def entries_of(world: World, member: str) -> list[dict[str, Any]]:
    """Return the entries of the commune's journal whose data have a member."""
    extract = await world.extract(FIRST, world.today, category=JOURNAL_CATEGORY)
    return [event for event in events_of(extract) if member in event["data"]]


async def test_what_a_moved_commune_may_still_do(world: World, tmp_path: Path) -> None:
    """Its people ask, and are journaled; no module records or gets a credential; repeated, the move changes nothing."""
    credentials = world.installation.administration.credentials
    add_module = partial(
        credentials.add, role="module", tenant=TENANT, categories=(CATEGORY,), source_prefix="/openepm"
    )
    await add_module()
    await world.installation.administration.add_category(NewCategory(code="brefs", label="Brefs", retention_days=2))
    await world.installation.maintenance.prepare()
    await world.record(2, category="brefs")
    first = await move(world, tmp_path / "one.json")
    assert [row.revoked_at is None for row in await world.service.store.list_credentials()] == [False]
    with pytest.raises(OperatorError, match="has moved"):
        await add_module()
    with pytest.raises(JournalError):
        await world.record(1)
    await world.record(1, tenant="sete")
    second = await move(world, tmp_path / "two.json")
    origin = Compartment(SERVICE, TENANT, JOURNAL_CATEGORY).origin
    own = [next(head for head in one["chains"] if head["origin"] == origin) for one in (first, second)]
    assert [head for head in first["chains"] if head["origin"] != origin] == [
        head for head in second["chains"] if head["origin"] != origin
    ]
    assert own[0] == own[1]
    report = world.verify(await world.extract(FIRST, world.today))
    assert report.manifest.disclosed == 9
    told = [event["data"] for event in await entries_of(world, "change") if event["data"]["change"] == "moved"]
    assert [data["name"] for data in told] == [ELSEWHERE]
    assert await world.audit() == []
    # Its days are purged as everybody's, which its people see.
    day = world.today
    await world.travel_to(day + 3 * DAY)
    await world.installation.purger.run()
    assert world.verify(await world.extract(day, day, category="brefs")).manifest.disclosed == 0
    assert [event["data"]["days"] for event in await entries_of(world, "days")] != []
    # The end of a contract may come afterwards.
    await world.installation.closing.close(TENANT, tmp_path, PEM)
    with pytest.raises(OperatorError, match="has ended"):
        await move(world, tmp_path / "three.json")
    assert json.loads((tmp_path / "albi.export" / "albi_export.json").read_bytes())["files"]
