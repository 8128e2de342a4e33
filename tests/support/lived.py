"""A commune that papers are made of: a module that numbers events, gaps, silence, people, markers everywhere."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pyotp

from journal.admin.persons import STEP_SECONDS, People
from journal.core.entry import Compartment
from journal.extract.grounds import Person
from journal.keys.persons import Identity
from journal.pki.certificates import der_to_pem
from tests.support.communes import commune
from tests.support.markers import Markers
from tests.support.world import CATEGORY, DAY, FIRST, SERVICE, TENANT, World, copied, make_event, new_world

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import datetime
    from pathlib import Path

    from journal.core.entry import Event
    from journal.database.embedded import EmbeddedPostgres

MARKERS = Markers()
SOURCE = "urn:openepm:pve"
# What is recorded each day: action, operation, how many, whether with a motive.
EACH_DAY = (
    ("consultation", "view", 25, True),
    ("consultation", "search", 3, False),
    ("modification", "update", 12, False),
)
DAYS = 3
PER_DAY = sum(count for _, _, count, _ in EACH_DAY)
SUBJECTS, ACCOUNTS = 10, 4
SUBJECT_NAMES = [MARKERS.draw() for _ in range(SUBJECTS)]
ACCOUNT_NAMES = [MARKERS.draw() for _ in range(ACCOUNTS)]
MISSING, LOST = 5, 9
RHYTHM_MINUTES = 60


def personal_event(at: datetime, action: str, operation: str, number: int, *, motivated: bool) -> Event:
    """Return an event of the module, with a marker wherever a person may be named."""
    data: dict[str, Any] = {
        "actor": {
            "account": ACCOUNT_NAMES[number % ACCOUNTS],
            "name": MARKERS.draw(),
            "role": MARKERS.draw(),
            "unit": MARKERS.draw(),
        },
        "client": {"address": MARKERS.draw(), "session": MARKERS.draw(), "workstation": MARKERS.draw()},
        "operation": operation,
        "outcome": "success",
        "recipients": [MARKERS.draw()],
    }
    if motivated:
        data["justification"] = MARKERS.draw()
    event = make_event(
        at,
        data=data,
        id=MARKERS.draw(),
        sequence=str(number),
        source=SOURCE,
        subject=SUBJECT_NAMES[number % SUBJECTS],
        type=f"fr.openepm.journal.{action}",
    )
    return event._replace(sequence=number)


async def module_of(world: World) -> str:
    """Return the id of the module's credential."""
    (row,) = [row for row in await world.service.store.list_credentials() if row.role == "module"]
    return row.id


async def client_of(world: World) -> str:
    """Return the id of the client's credential."""
    (row,) = [row for row in await world.service.store.list_credentials() if row.role == "client"]
    return row.id


async def submit(world: World, events: list[Event], submitted_by: str, category: str = CATEGORY) -> None:
    """Record events as this credential."""
    compartment = Compartment(SERVICE, TENANT, category)
    await world.service.writer.submit(compartment, submitted_by, events, 2000 * len(events))


@copied
@asynccontextmanager
async def lived_world(postgres: EmbeddedPostgres, home: Path) -> AsyncIterator[World]:
    """Three days of one module, sealed; a number that never came, one declared lost, and silence since."""
    async with new_world(postgres, home) as world:
        administration = world.installation.administration
        await administration.register_recipient(TENANT, der_to_pem([commune().certificate]))
        module, _ = await administration.credentials.add(
            role="module", tenant=TENANT, categories=[CATEGORY], source_prefix=SOURCE
        )
        await administration.credentials.add(
            role="client",
            tenant=TENANT,
            categories=[CATEGORY],
            person=Person(MARKERS.draw(), MARKERS.draw()),
        )
        await _join(world)
        number = 0
        for day in range(DAYS):
            await world.travel_to(FIRST + day * DAY)
            events = []
            for action, operation, count, motivated in EACH_DAY:
                for _ in range(count):
                    number += 1 + (number + 1 in {MISSING, LOST})
                    events.append(personal_event(world.clock.now(), action, operation, number, motivated=motivated))
            await submit(world, events, module)
            await world.seal()
        compartment = Compartment(SERVICE, TENANT, CATEGORY)
        key, name = world.service.keyring.source(compartment, SOURCE, "")
        await world.service.store.declare_loss(compartment, key=key, name=name, first=LOST, last=LOST)
        await world.service.store.set_rhythm(compartment, key=key, name=name, minutes=RHYTHM_MINUTES)
        await world.travel_to(FIRST + DAYS * DAY)
        await world.seal()
        yield world


async def _join(world: World) -> None:
    """Have somebody accept an invitation, with a second factor."""
    people = People(world.service)
    identity = Identity(name=MARKERS.draw(), function=MARKERS.draw(), login=f"{MARKERS.draw()}@albi.example")
    row, secret = await people.invite(tenant=TENANT, role="referent", categories=[CATEGORY], identity=identity)
    opening = "0" * 32
    totp = pyotp.TOTP(people.proposed_secret(row, secret, opening))
    code = totp.generate_otp(int(world.clock.now().timestamp()) // STEP_SECONDS)
    password = "quatre mots sans rapport"
    await people.accept(row, secret, opening=opening, password=password, repeated=password, code=code)
