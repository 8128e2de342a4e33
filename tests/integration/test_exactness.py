"""To the microsecond: what is kept and served in the last of a day's life, and nothing of it in the next."""

from __future__ import annotations

from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

import sql
from journal.admin.administration import NewCategory
from journal.cli.installation import simulate_clock
from journal.core.entry import JOURNAL_CATEGORY, Compartment
from journal.core.errors import BusyError, PurgedDayError, StoreError, VerificationError
from journal.core.times import overdue_through, purgeable_through
from journal.extract.grounds import Authorisation
from journal.reading.plan import ExtractRequest
from journal.reading.register import Register
from journal.writing.chronicle import Chronicle
from retention.policy import goes_at
from tests.support.clocks import MICROSECOND, StillClock, StrikingClock, midnight
from tests.support.world import DAY, FIRST, PERSON, SERVICE, TENANT, World, copied, make_event, new_world

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import date
    from pathlib import Path

    from journal.cli.installation import Installation
    from journal.database.embedded import EmbeddedPostgres

BRIEF, BRIEF_DAYS = "breve", 3
# When the first day must be gone.
LIMIT = goes_at(FIRST, BRIEF_DAYS)
GRANTED = Authorisation("Parquet d'Albi", FIRST, "OP-1")
ALL = {"purpose": "lawfulness", "requester": "DPD", "person": PERSON, "authorisation": GRANTED}


@copied
@asynccontextmanager
async def filled_world(postgres: EmbeddedPostgres, home: Path) -> AsyncIterator[World]:
    """A service with a category kept three days, with entries of the first two; nothing purges by itself."""
    async with new_world(postgres, home) as made:
        await made.installation.administration.add_category(
            NewCategory(code=BRIEF, label="Brève", retention_days=BRIEF_DAYS)
        )
        await made.installation.maintenance.prepare()
        for day in (FIRST, FIRST + DAY):
            await made.travel_to(day)
            await made.record(1200, category=BRIEF)
            await made.seal()
        await made.travel(LIMIT - timedelta(minutes=10))
        await made.seal()
        yield made


pytestmark = [pytest.mark.world(made_by=filled_world), pytest.mark.usefixtures("no_documents")]


STOPPED = (
    "CREATE OR REPLACE FUNCTION journal.now() RETURNS timestamptz LANGUAGE sql VOLATILE SECURITY DEFINER"
    " SET search_path = pg_catalog, pg_temp AS $$SELECT timestamptz '{}'$$"
)
RUNNING = sql.read("simulated_clock.sql").partition("\n\n")[2]


async def stand(world: World, clock: StillClock, moment: datetime) -> None:
    """Let the clock stand at a moment, and the database's a second before it, however slow the machine is."""
    await execute(world, STOPPED.format((moment - timedelta(seconds=1)).isoformat()))
    clock.still = moment


async def execute(world: World, statement: str) -> None:
    """Run a statement as the owner."""
    connection = await asyncpg.connect(world.dsn)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


async def begin(installation: Installation, *, first: date = FIRST, disclose: bool = True, **asked: Any) -> Any:
    """Begin an extract of the first two days."""
    request = ExtractRequest(from_day=first, to_day=FIRST + DAY, **(ALL | asked))
    compartment = Compartment(SERVICE, TENANT, BRIEF)
    return (
        await installation.service.extraction.open(compartment, request, requested_by="test", disclose=disclose)
    ).chunks()


@pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.campaign)])
@pytest.mark.parametrize("asked", [{}, {"account": "agent-1"}, {"disclose": False}])
async def test_an_extract_across_midnight(world: World, asked: dict[str, Any], *, every: bool) -> None:
    """Wherever midnight finds it, not a chunk more is given out, and what was given out does not verify.

    It is found before the first chunk, the second, one in the middle and the last; by `make campaign`, before each.
    """
    clock = StillClock(world.clock.offset)
    async with world.another_process(clock) as installation:
        chunks = [chunk async for chunk in await begin(installation, **asked)]
        world.verify(b"".join(chunks))
        await stand(world, clock, LIMIT - MICROSECOND)
        whole = [chunk async for chunk in await begin(installation, **asked)]
        world.verify(b"".join(whole))
        assert len(whole) > 8
        for served in range(len(whole)) if every else (0, 1, len(whole) // 2, len(whole) - 1):
            await stand(world, clock, LIMIT - MICROSECOND)
            stream = await begin(installation, **asked)
            got = [await anext(stream) for _ in range(served)]
            clock.still = LIMIT
            with pytest.raises(StoreError, match=f"{FIRST} reached its limit"):
                await anext(stream)
            with pytest.raises(StopAsyncIteration):
                await anext(stream)
            with pytest.raises(VerificationError):
                world.verify(b"".join(got))
        # An extract of days that have not reached theirs goes on.
        await stand(world, clock, LIMIT - MICROSECOND)
        stream = await begin(installation, first=FIRST + DAY, **asked)
        got = [await anext(stream)]
        clock.still = LIMIT
        got += [chunk async for chunk in stream]
        assert len(got) > 8


async def test_begun_after_midnight(world: World) -> None:
    """A read that begins after the limit is refused, even if the day is not purged yet."""
    await world.travel(LIMIT + timedelta(seconds=6))
    with pytest.raises(BusyError, match=f"{FIRST} is past its limit"):
        await begin(world.installation)


async def test_the_database_is_a_second_witness(world: World) -> None:
    """A service whose clock is behind reads nothing that is past its limit by the database's."""
    read = world.service.store.read_entries
    await simulate_clock(world.dsn, LIMIT - timedelta(minutes=1) - datetime.now(UTC))
    assert len(await read(TENANT, BRIEF, FIRST, 0, 10)) == 10
    await simulate_clock(world.dsn, LIMIT - datetime.now(UTC))
    with pytest.raises(StoreError, match=f"the day {FIRST} is past its limit of 3 days"):
        await read(TENANT, BRIEF, FIRST, 0, 10)
    assert len(await read(TENANT, BRIEF, FIRST + DAY, 0, 5000)) == 1200


async def test_a_repeated_event_at_the_limit(world: World) -> None:
    """A copy is answered with the first one's receipt, which holds no content; from the limit on it is refused."""
    clock = StillClock(world.clock.offset)
    compartment = Compartment(SERVICE, TENANT, BRIEF)
    event = make_event(world.clock.now())
    await world.record(1, category=BRIEF, events=[event])
    limit = goes_at(world.today, BRIEF_DAYS)
    await world.travel(limit - timedelta(minutes=1))
    async with world.another_process(clock) as installation:
        await stand(world, clock, limit - MICROSECOND)
        [again] = await installation.service.writer.submit(compartment, "test", [event], 100)
        assert (again.created, again.receipt.index) == (False, 2400)
        clock.still = limit
        with pytest.raises(PurgedDayError, match="too old"):
            await installation.service.writer.submit(compartment, "test", [event], 100)


@pytest.mark.parametrize("reads", range(4))
async def test_the_register_across_midnight(world: World, reads: int) -> None:
    """A request of the first day is listed up to its last microsecond, by whatever reading of the clock comes last."""
    await world.installation.administration.set_category(JOURNAL_CATEGORY, instruction="I-1", retention_days=BRIEF_DAYS)
    await world.extract(FIRST + DAY, FIRST + DAY, category=BRIEF)
    limit = goes_at(world.today, BRIEF_DAYS)
    await world.travel(limit - timedelta(minutes=1))
    clock = StrikingClock(limit.date() - DAY, reads)
    service = world.service
    chronicle = Chronicle(
        store=service.store,
        keyring=service.keyring,
        snapshot=service.snapshot,
        writer=service.writer,
        service_name=SERVICE,
        clock=clock,
    )
    page = await Register(chronicle).page(TENANT, [BRIEF], after=-1, limit=100, values=True)
    # It is read twice: to know where to begin, and before the answer is given.
    assert len(page.extracts) == (1 if reads >= 2 else 0)


@pytest.mark.parametrize(
    "day",
    [
        *("2028-02-29", "2028-03-26", "2028-12-31"),
        *(pytest.param(day, marks=pytest.mark.campaign) for day in ("2028-02-28", "2028-03-25", "2028-10-29")),
    ],
)
async def test_at_the_end_of_a_day(postgres: EmbeddedPostgres, tmp_path: Path, day: str) -> None:
    """An entry of the last millisecond is of its day, one of the next millisecond of the next: leap day, DST or not."""
    start = datetime.fromisoformat(f"{day}T23:59:00Z")
    async with new_world(postgres, tmp_path, start=start) as world:
        clock = StillClock(world.clock.offset)
        end = midnight(start.date() + DAY)
        async with world.another_process(clock) as installation:
            compartment = Compartment(SERVICE, TENANT, "ecrits")
            for moment in (end - timedelta(milliseconds=1), end - MICROSECOND, end, end + timedelta(milliseconds=1)):
                await stand(world, clock, moment)
                [acknowledgement] = await installation.service.writer.submit(
                    compartment, "test", [make_event(moment)], 100
                )
                assert datetime.fromisoformat(acknowledgement.receipt.recorded_at) == moment
            read = installation.service.store.read_entries
            assert [row.index for row in await read(TENANT, "ecrits", start.date(), 0, 10)] == [0, 1]
            assert [row.index for row in await read(TENANT, "ecrits", end.date(), 0, 10)] == [2, 3]
            clock.still = None
            await execute(world, RUNNING)
        await world.travel(end + timedelta(seconds=6))
        await world.seal()
        assert await world.audit() == []


@pytest.mark.parametrize("days", range(2, 61))
def test_the_rule_is_of_whole_days(days: int) -> None:
    """Around a leap day as ever: a day must be gone n × 24 h after it began, and may go a day before."""
    day = datetime(2027, 2, 28, tzinfo=UTC)
    while day.year < 2029:
        limit = goes_at(day.date(), days)
        assert limit - day == days * DAY
        assert overdue_through(limit.date(), days) == day.date() == purgeable_through(limit.date() - DAY, days)
        day += DAY
