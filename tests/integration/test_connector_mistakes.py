"""What becomes of a connector's usual mistakes: nothing is recorded twice in silence, and nothing missing is hidden.

Each case is what a module sends, when, and what is answered; then what the numbers of its source say, and whether its
source and id are named as repeated.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import orjson
import pytest
import pytest_asyncio

from journal.audit.run import Audit
from journal.core.errors import InvalidEventError, KnownEventError, LateEventError
from tests.support.rig import event_body, open_rig, read_events, rig_database

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from journal.database.embedded import EmbeddedPostgres
    from tests.support.rig import Rig

pytestmark = pytest.mark.asyncio(loop_scope="module")

MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
REFUSALS = {KnownEventError: "known", LateEventError: "late", InvalidEventError: "invalid"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """An event, `after` the case began, of an access at `time` from then; and the answer."""

    answer: str = "recorded"
    id: str = "1"
    after: timedelta = timedelta()
    time: timedelta = timedelta()
    reason: str = "Relecture"
    number: str = ""
    epoch: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What is sent; then by epoch the first missing numbers and how many came twice; and the ids named as repeated."""

    sent: list[Sent]
    missing: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    twice: int = 0
    named: int = 0


def numbered(*numbers: int, epoch: str = "", start: int = 0) -> list[Sent]:
    """Return events that differ and have these numbers."""
    return [Sent(id=f"{start + place}{epoch}", number=str(number), epoch=epoch) for place, number in enumerate(numbers)]


CASES = {
    "sent again as it was": Case(sent=[Sent(), Sent(answer="first receipt", after=10 * MINUTE)]),
    "sent again the next day": Case(sent=[Sent(), Sent(answer="first receipt", after=DAY)]),
    "dated anew when sent again": Case(
        sent=[Sent(), Sent(after=MINUTE, time=MINUTE), Sent(answer="first receipt", after=2 * MINUTE)], named=2
    ),
    "dated anew when sent again the next day": Case(
        sent=[Sent(), Sent(after=DAY, time=DAY), Sent(answer="first receipt", after=DAY)], named=2
    ),
    "id used again for another access": Case(sent=[Sent(), Sent(reason="Autre", after=MINUTE, time=MINUTE)], named=2),
    "id used again at the same time": Case(sent=[Sent(), Sent(answer="known", reason="Autre")]),
    "another number when sent again": Case(sent=[Sent(number="1"), Sent(answer="known", number="2")], missing={"": []}),
    "number skipped": Case(sent=numbered(1, 2, 4), missing={"": [(3, 3)]}),
    "first numbers lost": Case(sent=numbered(3, 4), missing={"": [(1, 2)]}),
    "number given twice beside one skipped": Case(sent=numbered(1, 2, 2, 4), missing={"": [(3, 3)]}, twice=1),
    "number that comes late": Case(sent=numbered(1, 3, 2), missing={"": []}),
    "counter restarted in silence": Case(sent=numbered(1, 2, 3, 1, 2), missing={"": []}, twice=2),
    "counter restarted in another epoch": Case(
        sent=[*numbered(1, 2, 3, epoch="a"), *numbered(1, 3, epoch="b")], missing={"a": [], "b": [(2, 2)]}
    ),
    "clock ahead": Case(sent=[Sent(answer="invalid", time=10 * MINUTE), Sent(after=10 * MINUTE, time=10 * MINUTE)]),
    "six days late": Case(sent=[Sent(time=-6 * DAY)]),
    "eight days late": Case(
        sent=[Sent(answer="late", time=-8 * DAY, number="1"), *numbered(2, start=2)], missing={"": [(1, 1)]}
    ),
    "sent again after eight days": Case(
        sent=[
            Sent(),
            Sent(answer="first receipt", after=8 * DAY),
            Sent(answer="known", after=8 * DAY, reason="Autre"),
            Sent(answer="late", after=8 * DAY, time=MINUTE),
        ]
    ),
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rig(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rig]:
    """One service for all cases: each has a source of its own."""
    async with rig_database(postgres) as dsn, open_rig(dsn, tmp_path_factory.mktemp("rig")) as running:
        yield running


async def answer(rig: Rig, body: dict[str, Any]) -> tuple[str, int | None]:
    """Submit an event; return what becomes of it, and its index."""
    try:
        (acknowledged,) = await rig.submit(read_events([body], rig.clock.now()))
    except (InvalidEventError, KnownEventError, LateEventError) as error:
        return REFUSALS[type(error)], None
    return "recorded" if acknowledged.created else "first receipt", acknowledged.receipt.index


@pytest.mark.parametrize("name", CASES)
async def test_a_mistake_is_answered_and_told(rig: Rig, name: str) -> None:
    """As the table above says."""
    case, source, began = CASES[name], f"urn:{name.replace(' ', '-')}", rig.clock.now()
    first: dict[str, int | None] = {}
    indexes = []
    for sent in case.sent:
        if sent.after > rig.clock.now() - began:
            await rig.travel(began + sent.after)
        members = {"sequence": sent.number, "epoch": sent.epoch}
        body = event_body(sent.id, began + sent.time, source=source, **{k: v for k, v in members.items() if v})
        body["data"] = body["data"] | {"justification": sent.reason}
        found, index = await answer(rig, body)
        assert found == sent.answer, sent
        if found == "recorded":
            indexes.append(index)
        if found == "first receipt":
            assert index == first[orjson.dumps(body).decode()]
        first.setdefault(orjson.dumps(body).decode(), index)
    compartment = rig.compartment()
    names = rig.service.keyring.source_names(compartment)
    told = {}
    for row in await rig.service.store.read_sources(compartment.tenant, compartment.category):
        name_of, epoch = names.open(row.name, key=row.source_key)
        if name_of == source:
            told[epoch] = row
    assert {epoch: row.gaps for epoch, row in told.items()} == case.missing
    assert {epoch: row.missing for epoch, row in told.items()} == {
        epoch: sum(high - low + 1 for low, high in gaps) for epoch, gaps in case.missing.items()
    }
    assert sum(row.repeated for row in told.values()) == case.twice
    await rig.service.sealer.seal_open(even_if_still=True)
    audit = Audit(rig.service)
    assert await audit.run(lambda _: None) == []
    named = [note for note in audit.notes if str(indexes[0]) in note.replace(",", "").split()]
    assert len(named) == (case.named > 0)
    assert all(", ".join(map(str, indexes)) in note for note in named)
