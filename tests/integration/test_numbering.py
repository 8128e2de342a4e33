"""What the numbers of sources say, on a real database: in extracts and alarms, after a declared loss, after a purge."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from journal.cli.store_checks import check_sources
from journal.core.entry import Compartment
from journal.document.french import solid_moment
from journal.extract.numbering import SourceNumbers
from journal.papers.coverage import coverage
from journal.papers.situation import gather
from journal.reading.sources import read_sources
from tests.support.brief import BRIEF, brief_world
from tests.support.world import DAY, FIRST, SERVICE, TENANT, make_event

if TYPE_CHECKING:
    from datetime import datetime

    from journal.core.entry import Event
    from tests.support.world import World

pytestmark = [pytest.mark.world(made_by=brief_world), pytest.mark.usefixtures("no_documents")]
SOURCE = "urn:openepm:numbered"


def numbered(at: datetime, number: int) -> Event:
    """Return an event with a number."""
    return make_event(at, source=SOURCE, sequence=str(number))._replace(sequence=number)


async def numbers(world: World) -> SourceNumbers:
    """Return what the numbers of the one source say."""
    (found,) = await read_sources(world.service.store, world.service.keyring, world.service.name, TENANT, BRIEF)
    return found.numbers


async def test_what_is_missing_is_told_and_stays_known(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the manifest, an alarm, after part is declared lost, and once the days are purged; what is late is counted."""
    await world.travel_to(FIRST)
    began = world.clock.now()
    events = [numbered(began, number) for number in (1, 2, 4, 4)]
    await world.record(0, category=BRIEF, events=events)
    await world.seal()
    await world.travel_to(FIRST + DAY)
    await world.record(0, category=BRIEF, events=[numbered(world.clock.now(), 6), numbered(began, 7)])
    await world.seal()
    assert await world.audit() == []
    expected = SourceNumbers(7, 2, ((3, 3), (5, 5)), 0, 1, SOURCE)
    assert await numbers(world) == expected

    of_first = world.verify(await world.extract(FIRST, FIRST, category=BRIEF))
    assert of_first.manifest.numbering == (expected,)
    assert expected.describe() in of_first.remarks
    assert (of_first.manifest.lateness.here, of_first.manifest.lateness.elsewhere) == (0, 1)
    of_both = world.verify(await world.extract(FIRST, FIRST + DAY, category=BRIEF, occurred_to=FIRST))
    assert (of_both.manifest.disclosed, of_both.manifest.withheld) == (5, 1)
    assert (of_both.manifest.lateness.here, of_both.manifest.lateness.elsewhere) == (0, 0)
    of_second = world.verify(await world.extract(FIRST + DAY, FIRST + DAY, category=BRIEF, disclose=False))
    assert of_second.manifest.lateness.here is None
    assert of_second.manifest.numbering == (replace(expected, source=None),)

    await world.service.sources.look()
    assert list(world.service.sources.lasting()) == []
    monkeypatch.setattr("journal.reading.sources.GRACE_SECONDS", 0.0)
    assert {missing.first for missing in world.service.sources.lasting()} == {3, 5}
    await world.service.alarms.look()
    entries = [entry async for entry in world.service.chronicle.entries(TENANT, "alarm", since=FIRST)]
    reasons = {entry.event["data"]["reason"] for entry in entries}
    said = "la source {} a donné le numéro {} à un événement qui n'est jamais arrivé"
    assert reasons == {said.format(SOURCE, number) for number in (3, 5)}

    compartment = Compartment(SERVICE, TENANT, BRIEF)
    key, name = world.service.keyring.source(compartment, SOURCE, "")
    await world.service.store.declare_loss(compartment, key=key, name=name, first=3, last=3)
    lost = replace(expected, missing=1, gaps=((5, 5),), declared=1)
    assert await numbers(world) == lost
    for day in range(2, 6):
        await world.travel_to(FIRST + day * DAY)
        await world.seal()
        await world.installation.purger.run()
    assert await numbers(world) == lost
    assert await world.audit() == []


async def test_a_silent_source_is_told(world: World) -> None:
    """Once it has sent nothing for longer than declared: by name in an alarm entry, until something comes."""
    await world.travel_to(FIRST + DAY)
    await world.record(0, category=BRIEF, events=[numbered(world.clock.now(), 1)])
    compartment = Compartment(SERVICE, TENANT, BRIEF)
    key, name = world.service.keyring.source(compartment, SOURCE, "")
    await world.service.store.set_rhythm(compartment, key=key, name=name, minutes=60)
    await world.service.sources.look()
    assert world.service.sources.silent == []
    await world.travel_to(FIRST + DAY, hour=11)
    await world.service.sources.look()
    (silent,) = world.service.sources.silent
    told = [finding.told async for finding in check_sources(world.installation) if finding.severity == "warning"]
    assert f"{silent.tenant} {silent.category}: {silent.describe()}" in told
    await world.service.alarms.look()
    entries = [entry async for entry in world.service.chronicle.entries(TENANT, "alarm", since=FIRST)]
    assert silent.describe().endswith("and is to every 60 minutes")
    said = {entry.event["data"]["reason"] for entry in entries}
    assert any(
        reason.startswith(f"la source {SOURCE} n'a rien") and reason.endswith("toutes les 60 minutes")
        for reason in said
    )
    # The paper tells the last event as the table of numbers does, and from when the rhythm counts.
    await world.seal()
    paper = await coverage(await gather(world.service, TENANT))
    tables = [block for section in paper.sections for block in section.blocks if "Dernier reçu (UTC)" in str(block)]
    numbering, silence = (table["rows"][0] for table in tables)
    assert silence[1][0]["text"] == numbering[-1][0]["text"]
    declared = solid_moment(silent.since.replace(microsecond=0))
    assert [line["text"] for line in silence[1][1:]] == [f"compté depuis la déclaration, le {declared}"]
    await world.service.store.set_rhythm(compartment, key=key, name=name, minutes=None)
    await world.service.sources.look()
    assert world.service.sources.silent == []
