"""One life of sixty days with everything that happens to a journal: all who tell of it say the same."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from journal.core.entry import Compartment
from journal.document.attestation import attestation_content
from journal.extract.layout import DOCUMENT
from retention.attestation import Attestations
from tests.browser.chromium import browser, page_address
from tests.support.communes import commune, opened, receives
from tests.support.contents import entries
from tests.support.extracts import contents_of
from tests.support.pdf import read_text
from tests.support.world import CATEGORY, DAY, FIRST, SERVICE, TENANT, World, make_event, new_world

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from journal.database.embedded import EmbeddedPostgres

# The rule is made shorter on this day; nothing is purged from the next on until the host is back.
SHORTENED, BACK, DAYS_KEPT = 30, 59, 55
SOURCE = "/openepm/numbered"

TOLD = """async ({ extract, trust }) => {
  const bytes = Uint8Array.from(atob(extract), (character) => character.charCodeAt(0));
  const anchors = Verifier.readAnchors(trust);
  const told = Verifier.tell(await Verifier.verify(Verifier.bytesSource(bytes), { anchors, stampers: null }, []));
  return [told.sentence, ...told.facts.flat(), ...told.checked, ...told.remarks, ...told.unchecked];
}"""


def on_the_page(extract: bytes, trust: str) -> str:
    """Return what the page says of an extract; in a thread, for its driver keeps an event loop of its own."""
    with browser() as chromium:
        page = chromium.new_page()
        page.goto(page_address())
        told: list[str] = page.evaluate(TOLD, {"extract": base64.b64encode(extract).decode(), "trust": trust})
        return "\n".join(told)


def plain(text: str) -> str:
    """Return a text with ordinary spaces and apostrophes."""
    return re.sub(r"[\s\u00a0\u202f]+", " ", text).replace("\u2019", "'")


async def numbered(world: World, *numbers: int, ago: timedelta = timedelta(0)) -> None:
    """Record events of one source with these numbers, which happened so long ago."""
    at = world.clock.now() - ago
    events = [make_event(at, source=SOURCE, sequence=str(number))._replace(sequence=number) for number in numbers]
    await world.record(0, events=events)


async def declare_lost(world: World, number: int) -> None:
    """Declare lost what a source numbered so."""
    compartment = Compartment(SERVICE, TENANT, CATEGORY)
    key, name = world.service.keyring.source(compartment, SOURCE, "")
    await world.service.store.declare_loss(compartment, key=key, name=name, first=number, last=number)


@asynccontextmanager
async def lived(postgres: EmbeddedPostgres, home: Path) -> AsyncIterator[World]:
    """Live up to the day on which a host that was away is back."""
    async with new_world(postgres, home) as world:
        administration = world.installation.administration
        await receives(world)
        for number in range(BACK):
            await world.travel_to(FIRST + number * DAY, hour=0.02 if number else 9.5)
            await world.seal()
            if number in {0, 1, 2, 3, BACK - 2}:
                await world.record(2)
            if number == 5:
                await numbered(world, 1, 2, 6, 7)
            if number == 6:
                await numbered(world, 8, ago=3 * DAY)
            if number == 7:
                await declare_lost(world, 3)
            if number == SHORTENED:
                await administration.set_category(CATEGORY, instruction="AVENANT-2026-3", retention_days=DAYS_KEPT)
                await world.installation.purger.run()
                await world.seal()
        yield world


@pytest.mark.campaign
@pytest.mark.documents
async def test_they_agree(postgres: EmbeddedPostgres, tmp_path: Path) -> None:
    """Extract, PDF, page, command and attestation: late by how much, under which rule, by which instruction."""
    async with lived(postgres, tmp_path / "home") as world:
        # A hand-over by hand on the late host: refused, and the alarms name the days that held entries.
        await world.travel_to(FIRST + BACK * DAY)
        assert CATEGORY not in [done.file.category for done in await world.installation.handover.run()]
        (fault,) = await world.service.store.read_handover_faults()
        assert "the purge is late" in fault.reason
        lapsed = [one["day"] for one in await entries(world, "alarm") if "arrivé à son terme" in one.get("reason", "")]
        assert lapsed == [str(FIRST + number * DAY) for number in range(4)]
        await world.installation.purger.run(max_days=None)
        done = {handed.file.category: handed for handed in await world.installation.handover.run()}
        world.verify(opened(done[CATEGORY].path, commune(), tmp_path))

        extract = await world.extract(FIRST, world.today)
        report = world.verify(extract)
        command = plain("\n".join([report.verdict, *report.checked, *report.remarks, *report.not_checked]))
        page = plain(await asyncio.to_thread(on_the_page, extract, world.settings.trust_path.read_text()))
        document = plain(read_text(contents_of(extract)[DOCUMENT], tmp_path / "extrait.pdf"))
        attestation = await Attestations(world.service).gather(TENANT, FIRST)
        attested = plain(json.dumps(attestation_content(attestation), ensure_ascii=False))
        (facts,) = [one for one in attestation.categories if one.code == CATEGORY]

    assert report.purged is not None
    (late,) = report.purged.of("late")
    least, most = late.late_days
    assert (late.first, late.last) == (FIRST, FIRST + 3 * DAY)
    assert timedelta(days=least) <= facts.lateness <= timedelta(days=most)
    # Of the four days, the first was late the longest.
    assert most == facts.lateness // DAY + 1
    english, french = (f"{least} to {most} days", f"{least} à {most} jours")
    if least == 0:
        english, french = f"up to {most} days", f"{most} jours au plus"
    said: dict[str, tuple[str, Any]] = {
        "command": (command, f"purged late, by {english}"),
        "page": (page, f"Purge en retard de {french}"),
        "document": (document, f"un retard de {french}" if least else f"un retard d'au plus {most} jours"),
        "attestation": (attested, f"retard : {facts.lateness // DAY} jours"),
    }
    for who, (text, says) in said.items():
        assert says in text, who
        assert not re.search(r"(?i)l[a]wful(?!ness)|l[é]gal", text), who
    for who in ("command", "page", "document"):
        text = said[who][0]
        assert "AVENANT-2026-3" in text, who
        assert "contrat, art. 13.2" in text, who
        # Of the numbers 3 to 5 that never came, one is declared lost.
        assert re.search(r"\b2 (numbers are missing|numéros manquent|manquent|manquants)", text), who
        assert re.search(r"\b1 (are|est|sont)?[^.;]{0,30}(declared lost|déclarés? perdus?)", text), who
