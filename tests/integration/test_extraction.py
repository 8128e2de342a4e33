"""Extracts of whole days: complete or refused, verified by the auditor's own code, counted by hand."""

from __future__ import annotations

import json
import random
from collections import defaultdict
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import combinations_with_replacement
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from journal.core.entry import JOURNAL_CATEGORY, RESERVED_TENANT, Compartment, Event
from journal.core.errors import AbsentKeyError, ForkError, JournalError, RequestError, StoreError, VerificationError
from journal.extract.grounds import Authorisation
from journal.reading.plan import ExtractRequest
from tests.support.contents import events_of
from tests.support.world import (
    CATEGORY,
    DAY,
    FIRST,
    OTHER_TENANT,
    PERSON,
    SERVICE,
    TENANT,
    World,
    make_event,
    new_world,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from journal.database.embedded import EmbeddedPostgres

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("no_documents")]

DAYS = [FIRST + number * DAY for number in range(7)]
TODAY = DAYS[-1]
# Entries by day of the chain that is asked about; on the fourth day a third commune joins.
ENTRIES = (4, 0, 7, 1, 0, 5, 6)
GRANTED = Authorisation("Parquet d'Albi", DAYS[0] - DAY, "OP-1")
LATE_TENANT, LATE_DAY = "castres", DAYS[3]


class History:
    """A week of three communes, and what was recorded in it, by hand."""

    def __init__(self, world: World) -> None:
        """Begin with nothing."""
        self.world = world
        self.events: dict[tuple[str, date], list[Event]] = defaultdict(list)
        self.known: list[bytes] = []

    def recorded(self, first: date, last: date, tenant: str = TENANT) -> list[dict[str, Any]]:
        """Return the events of these days, as they were submitted."""
        days = [day for day in DAYS if first <= day <= last]
        return [json.loads(event.canonical) for day in days for event in self.events[tenant, day]]

    async def live(self) -> None:
        """Live the week."""
        for day, entries in zip(DAYS, ENTRIES, strict=True):
            await self.world.travel_to(day)
            await self.world.seal()
            if day == LATE_DAY:
                await self.world.installation.administration.add_tenant(LATE_TENANT, "Castres")
            tenants = [TENANT, OTHER_TENANT] + [LATE_TENANT] * (day >= LATE_DAY)
            for tenant in tenants:
                for number in range(entries if tenant == TENANT else 1):
                    action = ("consultation", "access", "modification")[number % 3]
                    event = make_event(self.world.clock.now(), type=f"fr.openepm.journal.{action}")
                    self.events[tenant, day].append(event)
                    await self.world.record(1, tenant=tenant, events=[event])
                await self.world.seal()
            self.known.append(await self.world.service.reader.head(Compartment(SERVICE, TENANT, CATEGORY)))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def history(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[History]:
    """A week that the tests leave as they found it, but for their requests."""
    async with new_world(postgres, tmp_path_factory.mktemp("history")) as world:
        made = History(world)
        await made.live()
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def world(postgres: EmbeddedPostgres, tmp_path: Path) -> AsyncIterator[World]:
    """A service of its own, to be harmed."""
    async with new_world(postgres, tmp_path) as made:
        yield made


@pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.campaign)])
async def test_ranges_of_days(history: History, *, every: bool) -> None:
    """Any days up to today give exactly what was recorded on them, and verify against every seal kept meanwhile."""
    ranges = list(combinations_with_replacement([FIRST - 2 * DAY, FIRST - DAY, *DAYS], 2))
    for first, last in ranges if every else random.Random(5).sample(ranges, 9):
        if last < FIRST:
            with pytest.raises(RequestError, match="did not exist"):
                await history.world.extract(first, last)
            continue
        extract = await history.world.extract(first, last)
        report = history.world.verify(extract, known=history.known)
        assert events_of(extract) == history.recorded(first, last)
        assert (report.manifest.disclosed, report.manifest.withheld) == (len(history.recorded(first, last)), 0)
        assert (report.manifest.first_day, report.manifest.last_day) == (first, last)


async def test_a_commune_that_joined_in_the_middle(history: History) -> None:
    """Its chain begins when it did: days before hold nothing, days before alone are refused."""
    for first in (FIRST - DAY, LATE_DAY - DAY, LATE_DAY, LATE_DAY + DAY):
        last = LATE_DAY + DAY if first > FIRST else TODAY
        extract = await history.world.extract(first, last, tenant=LATE_TENANT)
        history.world.verify(extract)
        assert events_of(extract) == history.recorded(first, last, LATE_TENANT)
    for last in (FIRST, LATE_DAY - DAY):
        with pytest.raises(RequestError, match="did not exist on that day"):
            await history.world.extract(FIRST, last, tenant=LATE_TENANT)


@pytest.mark.parametrize("name", ["account", "subject", "action"])
async def test_filters(history: History, name: str) -> None:
    """A filter discloses the entries that equal it and withholds all others, without breaking the proof."""
    events = history.recorded(FIRST, TODAY)
    values = {
        "account": lambda event: event["data"]["actor"]["account"],
        "subject": lambda event: event["subject"],
        "action": lambda event: event["type"].rpartition(".")[2],
    }
    found = set(map(values[name], events))
    assert len(found) > 2
    for value in [min(found), "nothing-of-the-kind"]:
        extract = await history.world.extract(FIRST, TODAY, authorisation=GRANTED, even_if_empty=True, **{name: value})
        report = history.world.verify(extract, known=history.known)
        expected = [event for event in events if values[name](event) == value]
        assert events_of(extract) == expected
        assert report.manifest.withheld == len(events) - len(expected)


async def test_several_filters_at_once(history: History) -> None:
    """Entries are disclosed that equal every member given."""
    event = history.recorded(FIRST, TODAY)[0]
    asked = {"account": event["data"]["actor"]["account"], "subject": event["subject"], "action": "consultation"}
    extract = await history.world.extract(FIRST, TODAY, authorisation=GRANTED, **asked)
    history.world.verify(extract)
    assert event in events_of(extract)
    assert len(events_of(extract)) < len(history.recorded(FIRST, TODAY)) / 3


async def test_what_an_auditor_gets(history: History) -> None:
    """All is withheld, the proof is whole; filters make no sense there."""
    extract = await history.world.extract(FIRST, TODAY, disclose=False)
    report = history.world.verify(extract, known=history.known)
    assert (report.manifest.disclosed, report.manifest.withheld) == (0, sum(ENTRIES))
    assert events_of(extract) == []
    # Lengths of compressed parts apart, nothing of what was recorded is in it.
    for event in history.recorded(FIRST, TODAY):
        assert event["data"]["actor"]["account"].encode() not in extract
    with pytest.raises(RequestError, match="withholds every entry"):
        await history.world.extract(FIRST, TODAY, disclose=False, account="agent-1")


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"first": TODAY + DAY, "last": TODAY + DAY}, "/to", "has not begun"),
    ({"last": date(9999, 12, 31)}, "/to", "has not begun"),
    ({"first": TODAY, "last": FIRST}, "/to", "the last day is before the first"),
    ({"first": date(1969, 12, 31)}, "/from", "before 1970-01-01"),
    ({"first": date.min}, "/from", "before 1970-01-01"),
    ({"purpose": "curiosity"}, "/purpose", "lawfulness"),
    ({"subject": "MC-1"}, "/authorisation", "needs an authorisation: its issuer, date and reference"),
    ({"subject": "MC-1", "authorisation": replace(GRANTED, issuer=" ")}, "/authorisation/issuer", "blank"),
    ({"subject": "MC-1", "authorisation": replace(GRANTED, reference="x" * 257)}, "/authorisation/reference", "longer"),
    ({"subject": "MC-1", "authorisation": replace(GRANTED, day=TODAY + DAY)}, "/authorisation/date", "in the future"),
    ({"requester": ""}, "/requester", "blank"),
    ({"requester": " \t"}, "/requester", "blank"),
    ({"requester": "x" * 257}, "/requester", "longer than 256"),
    ({"requester": "a\0b"}, "/requester", "U\\+0000"),
    ({"requester": "\udcff"}, "/requester", "surrogate"),
    ({"request_reference": "x" * 257}, "/request_reference", "longer than 256"),
    ({"account": ""}, "/filter/account", "blank"),
    ({"action": "\udcff"}, "/filter/action", "surrogate"),
    ({"tenant": "nobody"}, "", "does not exist"),
    ({"category": "nothing"}, "", "does not exist"),
    ({"tenant": RESERVED_TENANT}, "", "does not exist"),
]


@pytest.mark.parametrize(("asked", "pointer", "reason"), REFUSED)
async def test_what_is_refused(history: History, asked: dict[str, Any], pointer: str, reason: str) -> None:
    """A request that cannot be served is refused where it is at fault; in a compartment, that is recorded."""
    before = await history.world.size(category=JOURNAL_CATEGORY)
    values = {"first": FIRST, "last": TODAY} | asked
    with pytest.raises(RequestError, match=reason) as caught:
        await history.world.extract(values.pop("first"), values.pop("last"), **values)
    assert caught.value.pointer == pointer
    recorded = not reason.startswith("does not exist")
    assert await history.world.size(category=JOURNAL_CATEGORY) == before + recorded


async def test_the_request_is_recorded_before_a_byte(history: History) -> None:
    """The requester, purpose and scope are recorded in the journal of the journal, even if no byte is read."""
    before = await history.world.size(category=JOURNAL_CATEGORY)
    request = ExtractRequest(
        from_day=FIRST,
        to_day=TODAY,
        purpose="criminal-proceedings",
        requester="TGI",
        subject="MC-1",
        request_reference="R-1",
        authorisation=GRANTED,
        person=PERSON,
    )
    compartment = Compartment(SERVICE, TENANT, CATEGORY)
    chunks = (
        await history.world.service.extraction.open(compartment, request, requested_by="credential-7", disclose=True)
    ).chunks()
    assert await history.world.size(category=JOURNAL_CATEGORY) == before + 1
    await chunks.aclose()  # type: ignore[attr-defined]  # a generator
    extract = await history.world.extract(TODAY, TODAY, category=JOURNAL_CATEGORY)
    history.world.verify(extract)
    event = events_of(extract)[-2]
    assert event["type"] == "fr.openepm.journal.service.extract"
    assert event["data"] == {
        "authorisation": {"date": "2026-03-01", "issuer": "Parquet d'Albi", "reference": "OP-1"},
        "category": CATEGORY,
        "credential": "credential-7",
        "filter": {"subject": "MC-1"},
        "from": "2026-03-02",
        "person": {"function": PERSON.function, "name": PERSON.name},
        "purpose": "criminal-proceedings",
        "reference": "R-1",
        "requester": "TGI",
        "to": "2026-03-08",
    }


async def test_the_journal_of_the_journal(world: World) -> None:
    """Tenants, credentials, requests and purges are entries that a commune can ask for, its own request included."""
    administration = world.installation.administration
    identifier, token = await administration.credentials.add(role="client", tenant=TENANT, categories=[CATEGORY])
    await administration.credentials.revoke(identifier)
    await world.record(2)
    await world.extract(FIRST, FIRST)
    extract = await world.extract(FIRST, FIRST, category=JOURNAL_CATEGORY)
    report = world.verify(extract)
    told = [(event["type"].rpartition(".")[2], event["data"].get("change")) for event in events_of(extract)]
    assert told == [("tenant", "added"), ("credential", "added"), ("credential", "revoked"), *[("extract", None)] * 2]
    assert report.manifest.request.index == 4
    assert token.split("_", 2)[2].encode() not in extract


async def test_an_ended_contract(world: World) -> None:
    """Once a contract has ended no request can be recorded, hence no extract made; the others are served."""
    await world.record(1, tenant=OTHER_TENANT)
    await world.installation.administration.close_tenant(OTHER_TENANT)
    with pytest.raises(RequestError, match="the contract has ended"):
        await world.extract(FIRST, FIRST, tenant=OTHER_TENANT)
    world.verify(await world.extract(FIRST, FIRST))


async def test_many_pages_while_others_write(world: World) -> None:
    """An extract holds what its seal covers, over many pages, whatever is recorded while it is read."""
    for _ in range(5):
        await world.record(500)
    request = ExtractRequest(from_day=FIRST, to_day=FIRST, purpose="lawfulness", requester="DPD", person=PERSON)
    chunks = (
        await world.service.extraction.open(
            Compartment(SERVICE, TENANT, CATEGORY), request, requested_by="test", disclose=True
        )
    ).chunks()
    content = b""
    async for chunk in chunks:
        content += chunk
        await world.record(1)
    report = world.verify(content)
    assert (report.manifest.disclosed, report.manifest.head.size) == (2500, 2500)
    assert await world.size() > 2500
    known = await world.service.reader.head(Compartment(SERVICE, TENANT, CATEGORY))
    world.verify(await world.extract(FIRST, FIRST), known=[known, content])


async def test_across_midnight(world: World) -> None:
    """A day asked for while it was today is whole when midnight comes before the seal."""
    await world.record(3)
    await world.travel(datetime(2026, 3, 2, 23, 59, 59, 900_000, tzinfo=UTC))
    extract = await world.extract(FIRST, FIRST)
    world.verify(extract)
    assert len(events_of(extract)) == 3


@pytest.mark.parametrize("column", ["ciphertext", "leaf_hash", "chain_hash"])
async def test_a_row_that_was_changed(world: World, column: str) -> None:
    """What no longer is what was recorded never comes out as if it were: no extract, or one that does not verify."""
    await world.record(5)
    await world.seal()  # what no seal covers yet would not be signed
    async with world.superuser() as superuser:
        statement = "UPDATE journal.entry SET {0} = set_byte({0}, 20, (get_byte({0}, 20) + 1) % 256) WHERE index = 3"
        await superuser.execute(statement.format(column))
    if column == "chain_hash":
        # It is in no extract: the auditor computes it.
        world.verify(await world.extract(FIRST, FIRST))
    else:
        with pytest.raises(JournalError):
            await world.extract(FIRST, FIRST)
    withheld = await world.extract(FIRST, FIRST, disclose=False)
    if column == "leaf_hash":
        with pytest.raises(VerificationError):
            world.verify(withheld)
    else:
        world.verify(withheld)


@pytest.mark.parametrize("harm", ["row", "day", "key"])
async def test_what_is_gone(world: World, harm: str) -> None:
    """Where a row, a day or a key is missing, the bytes end in an error: nothing short ends properly."""
    await world.record(5)
    await world.travel_to(DAYS[1])
    await world.record(5)
    await world.seal()
    async with world.superuser() as superuser:
        if harm == "row":
            await superuser.execute("DELETE FROM journal.entry WHERE index = 3 AND category = $1", CATEGORY)
        elif harm == "day":
            await superuser.execute("DROP TABLE journal.entry_1_20260302")
    if harm == "key":
        (world.settings.keystore_path / "days" / CATEGORY / "2026-03-02").unlink()
    expected = AbsentKeyError if harm == "key" else StoreError
    async with world.another_process() as installation:
        request = ExtractRequest(from_day=FIRST, to_day=DAYS[1], purpose="lawfulness", requester="DPD", person=PERSON)
        chunks = (
            await installation.service.extraction.open(
                Compartment(SERVICE, TENANT, CATEGORY), request, requested_by="test", disclose=True
            )
        ).chunks()
        got: list[bytes] = []
        with pytest.raises(expected):
            await read(chunks, got)
        with pytest.raises(VerificationError):
            world.verify(b"".join(got))
    world.verify(await world.extract(DAYS[1], DAYS[1]))


async def read(chunks: AsyncIterator[bytes], got: list[bytes]) -> None:
    """Keep what comes, as far as it comes."""
    async for chunk in chunks:
        got.append(chunk)  # noqa: PERF401  (one at a time: an error must not lose those before)


async def test_a_rewritten_history(world: World) -> None:
    """A rewrite made with the database and the signing key fails against a seal that was kept."""
    compartment = Compartment(SERVICE, TENANT, CATEGORY)
    await world.record(5)
    await world.seal()
    known = await world.service.reader.head(compartment)
    async with world.superuser() as superuser:
        await superuser.execute("DELETE FROM journal.entry WHERE category = $1", CATEGORY)
        await superuser.execute(
            "UPDATE journal.head AS h SET size = 0, chain_hash = genesis, recorded_at = NULL FROM journal.chain AS c "
            "WHERE c.tenant = h.tenant AND c.category = h.category AND h.category = $1",
            CATEGORY,
        )
        await superuser.execute("DELETE FROM journal.seal_head; DELETE FROM journal.seal")
    world.settings.signer_state_path.unlink()  # who has the key can give the signer another memory
    async with world.another_process() as rewritten:
        events = [make_event(world.clock.now() - timedelta(minutes=1)) for _ in range(5)]
        await rewritten.service.writer.submit(compartment, "test", events, 5000)
        request = ExtractRequest(from_day=FIRST, to_day=FIRST, purpose="lawfulness", requester="DPD", person=PERSON)
        chunks = (
            await rewritten.service.extraction.open(compartment, request, requested_by="t", disclose=True)
        ).chunks()
        extract = b"".join([chunk async for chunk in chunks])
    world.verify(extract)
    with pytest.raises(ForkError):
        world.verify(extract, known=[known])
