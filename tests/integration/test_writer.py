"""The writer on a real database: the answer to every event, beside any others and through any failure."""

from __future__ import annotations

import asyncio
import gc
from contextlib import asynccontextmanager
from datetime import timedelta
from time import perf_counter
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from journal.admin.administration import NewCategory
from journal.cli.installation import simulate_clock
from journal.core.errors import (
    BusyError,
    InvalidEventError,
    JournalError,
    KnownEventError,
    LateEventError,
    OversizeEventError,
    PurgedDayError,
    StoreError,
)
from journal.core.times import day_of
from journal.snapshot import REFRESH_SECONDS
from journal.writing.queue import LIGHT_BURST_EVENTS, LIGHT_WAITING_SUBMISSIONS
from tests.support.rig import CATEGORY, TENANTS, open_rig

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import asyncpg

    from journal.core.entry import Event
    from journal.writing.answers import Acknowledgement
    from journal.writing.writer import Writer
    from tests.support.rig import Rig

ALBI, CASTRES = TENANTS
PATIENCE_SECONDS = 60

# Long beside what is waited for, short beside a hang: machines are noisy.
PATIENCE_SECONDS = 60


@pytest.fixture
async def rig(dsn: str, tmp_path: Path) -> AsyncIterator[Rig]:
    """A service of two communes whose writer runs."""
    async with open_rig(dsn, tmp_path) as running:
        yield running


@asynccontextmanager
async def running(writer: Writer) -> AsyncIterator[Writer]:
    """Run a writer for as long as the block lasts; what waits at its end is written."""
    task = asyncio.create_task(writer.run())
    try:
        yield writer
    finally:
        writer.close()
        await task


def indexes(acknowledgements: list[Acknowledgement] | BaseException) -> list[int]:
    """Return the indexes of the receipts; an error instead of acknowledgements is raised."""
    if isinstance(acknowledgements, BaseException):
        raise acknowledgements
    return [acknowledgement.receipt.index for acknowledgement in acknowledgements]


async def blocked_append(superuser: asyncpg.Connection) -> int:
    """Wait until an append waits for a lock; return its backend's pid."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            pid: int | None = await superuser.fetchval(
                "SELECT pid FROM pg_stat_activity WHERE usename = 'journal_ingest' AND wait_event_type = 'Lock'"
                " AND datname = current_database()"
            )
            if pid is not None:
                return pid


# Duplicates


async def test_copies_within_a_batch_share_one_receipt(rig: Rig) -> None:
    """A batch that holds an event twice is valid; both places get the receipt of the one entry."""
    first, second = rig.events("a", "b")
    acknowledgements = await rig.submit([first, second, first])
    assert indexes(acknowledgements) == [0, 1, 0]
    assert acknowledgements[0].receipt == acknowledgements[2].receipt
    assert await rig.size() == 2


async def test_copies_with_other_content_within_a_batch_are_refused_whole(rig: Rig) -> None:
    """Every position that repeats an id with other content is named; nothing of the batch is recorded."""
    first, second = rig.events("a", "b")
    with pytest.raises(KnownEventError) as caught:
        await rig.submit([first, second, rig.rival(first), rig.rival(second)])
    assert [fault.position for fault in caught.value.faults] == [2, 3]
    assert await rig.size() == 0


async def test_copies_in_many_requests_at_once_are_one_entry(rig: Rig) -> None:
    """One event sent in many requests at once is recorded once: one creates it, all hold the same receipt."""
    (event,) = rig.events("a")
    started = perf_counter()
    answers = await asyncio.gather(*(rig.submit([event]) for _ in range(1_000)))
    assert perf_counter() - started < PATIENCE_SECONDS
    assert {acknowledgement.receipt for (acknowledgement,) in answers} == {answers[0][0].receipt}
    assert sum(acknowledgement.created for (acknowledgement,) in answers) == 1
    assert await rig.size() == 1


async def test_copies_of_a_recorded_event_in_many_requests_at_once(rig: Rig) -> None:
    """A storm of retries of an event recorded long ago is answered at once with its first receipt."""
    events = rig.events("a", "b")
    recorded = await rig.submit(events)
    started = perf_counter()
    answers = await asyncio.gather(*(rig.submit(events) for _ in range(1_000)))
    assert perf_counter() - started < PATIENCE_SECONDS
    for acknowledgements in answers:
        assert [acknowledgement.receipt for acknowledgement in acknowledgements] == [
            acknowledgement.receipt for acknowledgement in recorded
        ]
        assert not any(acknowledgement.created for acknowledgement in acknowledgements)


async def test_overlapping_batches_at_once(rig: Rig) -> None:
    """Batches that share events with their neighbours get one receipt per event, whoever was first."""
    events = rig.events(*range(60))
    answers = await asyncio.gather(*(rig.submit(events[start : start + 20]) for start in range(41)))
    receipts: dict[int, set[Any]] = {}
    for start, acknowledgements in enumerate(answers):
        for place, acknowledgement in enumerate(acknowledgements, start):
            receipts.setdefault(place, set()).add(acknowledgement.receipt)
    assert all(len(found) == 1 for found in receipts.values())
    assert sorted(receipt.index for found in receipts.values() for receipt in found) == list(range(60))
    assert await rig.audit() == []


async def test_rivals_in_many_requests_at_once(rig: Rig) -> None:
    """Of many requests with one id and different contents one wins; every other is refused, its batch-mates too."""
    (event,) = rig.events("a")
    others = rig.events(*range(200))
    answers = await asyncio.gather(
        *(rig.submit([other, rig.rival(event, f"Motif {number}")]) for number, other in enumerate(others)),
        return_exceptions=True,
    )
    assert sum(isinstance(answer, KnownEventError) for answer in answers) == 199
    assert await rig.size() == 2


async def test_rivals_do_not_hold_up_other_communes(rig: Rig) -> None:
    """While one commune's module repeats an id with ever other content, others are served as usual."""
    (event,) = rig.events("a")
    rivals = [asyncio.create_task(rig.submit([rig.rival(event, f"Motif {number}")])) for number in range(600)]
    for name in range(10):
        await rig.submit(rig.events(name), tenant=CASTRES)
    assert not all(task.done() for task in rivals)
    for task in rivals:
        task.cancel()


async def test_a_copy_after_midnight_is_recognised(rig: Rig) -> None:
    """An event recorded just before midnight and sent again after it, its day closed, has its first receipt."""
    today = day_of(rig.clock.now())
    await rig.travel_to_day(today, rig.clock.now().time().replace(23, 59, 30, 0))
    events = rig.events("late", minutes_ago=0)
    recorded = await rig.submit(events)
    await rig.travel_to_day(today + timedelta(days=1), rig.clock.now().time().replace(0, 0, 8, 0))
    await rig.service.sealer.close_due_days()
    (again, new) = await rig.submit([*events, *rig.events("new", minutes_ago=0)])
    assert (again.receipt, again.created) == (recorded[0].receipt, False)
    assert (new.receipt.index, new.created) == (1, True)
    assert new.receipt.recorded_at.startswith((today + timedelta(days=1)).isoformat())
    with pytest.raises(KnownEventError):
        await rig.submit([rig.rival(events[0])])
    assert await rig.audit() == []


async def test_midnight_passes_while_events_stream_in(rig: Rig) -> None:
    """Over midnight nothing is refused or lost, and no entry of the old day comes after one of the new."""
    today = day_of(rig.clock.now())
    await rig.travel_to_day(today, rig.clock.now().time().replace(23, 59, 58, 0))
    midnight = rig.clock.now() + timedelta(seconds=2)
    number = 0
    recorded = []
    while rig.clock.now() < midnight + timedelta(seconds=0.2):
        events = rig.events(*range(number, number + 5), minutes_ago=0)
        recorded += await rig.submit(events)
        number += 5
    assert indexes(recorded) == list(range(number))
    days = [acknowledgement.receipt.recorded_at[:10] for acknowledgement in recorded]
    assert days == sorted(days)
    assert set(days) == {today.isoformat(), (today + timedelta(days=1)).isoformat()}


# Mixed drafts


async def test_known_with_other_content_in_the_middle_leaves_neighbours(rig: Rig) -> None:
    """Of requests appended together, only the one that contradicts a recorded event is refused, whole."""
    (known,) = rig.events("known")
    await rig.submit([known])
    before, mates, after = rig.events("before"), rig.events("mate-1", "mate-2"), rig.events("after")
    answers = await asyncio.gather(
        rig.submit(before),
        rig.submit([mates[0], rig.rival(known), mates[1]]),
        rig.submit(after),
        return_exceptions=True,
    )
    assert isinstance(answers[1], KnownEventError)
    (fault,) = answers[1].faults
    assert (fault.position, fault.pointer, fault.code.name) == (1, "/id", "id-reused")
    assert fault.reason.startswith("already recorded with other content: ")
    assert "use another id" in fault.reason
    assert [indexes(answers[0]), indexes(answers[2])] == [[1], [2]]
    recorded = await rig.submit(mates)
    assert indexes(recorded) == [3, 4]
    assert await rig.audit() == []


async def test_a_batch_of_known_and_new_is_accepted_whole(rig: Rig) -> None:
    """Known events keep their first receipts, new ones get theirs, in the order they were sent."""
    events = rig.events(*range(6))
    first = await rig.submit(events[::2])
    acknowledgements = await rig.submit(events)
    assert [acknowledgement.created for acknowledgement in acknowledgements] == [False, True] * 3
    assert [acknowledgement.receipt for acknowledgement in acknowledgements[::2]] == [
        acknowledgement.receipt for acknowledgement in first
    ]
    assert indexes(acknowledgements) == [0, 3, 1, 4, 2, 5]


async def test_a_closed_commune_leaves_neighbours(rig: Rig) -> None:
    """A commune whose contract ends while its events wait is refused; others in the same append are recorded."""
    await asyncio.gather(rig.submit(rig.events(1)), rig.submit(rig.events(1), tenant=CASTRES))
    await rig.service.store.close_tenant(CASTRES)
    ours, theirs = await asyncio.gather(
        rig.submit(rig.events(2)), rig.submit(rig.events(2), tenant=CASTRES), return_exceptions=True
    )
    assert indexes(ours) == [1]
    assert isinstance(theirs, StoreError)
    assert await rig.size(CASTRES) == 1


async def test_a_compartment_that_does_not_exist_is_refused(rig: Rig) -> None:
    """Events for a commune that was never added are refused, before and beside others."""
    rig.service.keyring.keystore.make_tenant_key("nowhere")
    ours, theirs = await asyncio.gather(
        rig.submit(rig.events(1)), rig.submit(rig.events(1), tenant="nowhere"), return_exceptions=True
    )
    assert indexes(ours) == [0]
    assert isinstance(theirs, StoreError)


async def test_a_damaged_first_copy_harms_nobody_else(rig: Rig, superuser: asyncpg.Connection) -> None:
    """Where the recorded copy of a repeated event does not open any more, that request alone fails."""
    events = rig.events("damaged")
    await rig.submit(events)
    await superuser.execute("SET session_replication_role = replica")
    await superuser.execute("UPDATE journal.entry SET ciphertext = overlay(ciphertext PLACING '\\x00'::bytea FROM 40)")
    for number in range(3):
        answers = await asyncio.gather(rig.submit(events), rig.submit(rig.events(number)), return_exceptions=True)
        assert isinstance(answers[0], JournalError)
        assert not isinstance(answers[0], KnownEventError)
        assert indexes(answers[1]) == [number + 1]


async def test_events_of_a_day_destroyed_meanwhile_are_refused(rig: Rig) -> None:
    """A fence raised while late events wait refuses them, their first copy being gone; others are recorded."""
    await rig.installation.administration.add_category(NewCategory(code="brief", label="Brief", retention_days=2))
    await rig.installation.maintenance.prepare()
    today = day_of(rig.clock.now())
    await rig.travel_to_day(today + timedelta(days=1))
    await rig.service.sealer.close_due_days()
    await rig.submit(rig.events("x"), category="brief")
    late = rig.events("late", minutes_ago=24 * 60)
    # This process has not heard of it yet.
    await rig.service.store.raise_fence("brief", today)
    started = perf_counter()
    answers = await asyncio.gather(
        rig.submit(late, category="brief"),
        rig.submit(rig.events("y"), category="brief"),
        rig.submit(rig.events("z")),
        return_exceptions=True,
    )
    assert isinstance(answers[0], PurgedDayError)
    assert [indexes(answers[1]), indexes(answers[2])] == [[1], [0]]
    assert perf_counter() - started < PATIENCE_SECONDS


async def test_a_missing_partition_harms_only_its_category(rig: Rig, superuser: asyncpg.Connection) -> None:
    """Where one category cannot be written, its events are refused for now and the others' are recorded."""
    today = day_of(rig.clock.now())
    await rig.submit(rig.events(0))
    name = await superuser.fetchval(
        "SELECT journal.leaf_name(id, $2) FROM journal.category WHERE code = $1", "ecrits", today
    )
    await superuser.execute(f"DROP TABLE journal.{name}")
    answers = await asyncio.gather(
        rig.submit(rig.events(1)),
        rig.submit(rig.events(1), category="ecrits"),
        rig.submit(rig.events(1), tenant=CASTRES),
        return_exceptions=True,
    )
    assert isinstance(answers[1], JournalError)
    assert [indexes(answers[0]), indexes(answers[2])] == [[1], [0]]
    await rig.installation.maintenance.prepare()
    assert indexes(await rig.submit(rig.events(1), category="ecrits")) == [0]


async def test_a_day_without_key_is_refused_for_now(rig: Rig) -> None:
    """A day without a key made ahead is refused at once; events are accepted once the key exists."""
    far = day_of(rig.clock.now()) + timedelta(days=30)
    rig.clock.offset += timedelta(days=30)
    await simulate_clock(rig.dsn, rig.clock.offset)
    with pytest.raises(BusyError, match="no key"):
        await rig.submit(rig.events("a"))
    await rig.travel_to_day(far)
    assert indexes(await rig.submit(rig.events("a"))) == [0]


# Times


@pytest.mark.parametrize(
    ("minutes_ago", "error"),
    [
        (-6, InvalidEventError),
        (-4, None),
        (6 * 24 * 60, None),
        (8 * 24 * 60, LateEventError),
        (61 * 24 * 60, PurgedDayError),
    ],
)
async def test_times_that_are_taken(rig: Rig, minutes_ago: float, error: type[JournalError] | None) -> None:
    """Five minutes ahead are forgiven; what is too late, or may have been recorded and purged, is refused."""
    now = rig.clock.now()
    (event,) = rig.events("a")
    event = event._replace(time=now - timedelta(minutes=minutes_ago))
    if error is None:
        assert indexes(await rig.submit([event])) == [0]
    else:
        with pytest.raises(error):
            await rig.submit([event])


async def test_clocks_that_differ_stop_the_writing(rig: Rig) -> None:
    """Where service and database disagree on the time nothing is recorded, until they agree again."""
    for seconds in (60, -60):
        await simulate_clock(rig.dsn, rig.clock.offset + timedelta(seconds=seconds))
        with pytest.raises(BusyError, match="clocks"):
            await rig.submit(rig.events("a"))
    await simulate_clock(rig.dsn, rig.clock.offset)
    assert indexes(await rig.submit(rig.events("a"))) == [0]


async def test_a_small_difference_of_clocks_is_borne(rig: Rig) -> None:
    """A second of difference, either way, changes nothing."""
    for number, seconds in enumerate((1, -1)):
        await simulate_clock(rig.dsn, rig.clock.offset + timedelta(seconds=seconds))
        assert indexes(await rig.submit(rig.events(number))) == [number]


async def test_a_chain_ahead_of_the_clock_waits_alone(rig: Rig) -> None:
    """After the clock was set back, chains with entries from its future wait for it; the others go on."""
    here = rig.clock.offset
    ahead = here + timedelta(minutes=10)
    await rig.travel(rig.clock.now() + timedelta(minutes=10))
    await rig.submit(rig.events("a"))
    rig.clock.offset = here
    await simulate_clock(rig.dsn, here)
    started = perf_counter()
    ours, theirs = await asyncio.gather(
        rig.submit(rig.events("b")), rig.submit(rig.events("b"), tenant=CASTRES), return_exceptions=True
    )
    assert isinstance(ours, BusyError)
    assert indexes(theirs) == [0]
    assert perf_counter() - started < PATIENCE_SECONDS
    rig.clock.offset = ahead
    await simulate_clock(rig.dsn, ahead)
    assert indexes(await rig.submit(rig.events("b"))) == [1]


async def test_a_clock_moved_while_the_service_runs_stops_the_writing(rig: Rig) -> None:
    """A wall clock that leaves the monotonic one by more than 15 minutes ends all writing by this process."""
    writer = rig.make_writer()
    # Only the wall clock: what a hand on `date` does. Half a minute more, as the two drift.
    writer._guard._start -= timedelta(minutes=16, seconds=30)
    async with running(writer):
        with pytest.raises(JournalError, match="clock was moved by 16 minutes"):
            await rig.submit(rig.events("a"), writer=writer)


# Bounds and fairness


async def test_the_queue_is_bounded_in_events(rig: Rig) -> None:
    """Events beyond the limit are refused with a time to retry; one commune may fill half of the queue."""
    writer = rig.make_writer(queue_events=100)
    waiting = [asyncio.create_task(rig.submit(rig.events(*range(50)), writer=writer))]
    await asyncio.sleep(0)
    with pytest.raises(BusyError) as caught:
        await rig.submit(rig.events("one"), writer=writer)
    assert caught.value.retry_after_seconds > 0
    waiting.append(asyncio.create_task(rig.submit(rig.events(*range(50)), tenant=CASTRES, writer=writer)))
    await asyncio.sleep(0)
    assert writer._queue.events == 100
    with pytest.raises(BusyError):
        await rig.submit(rig.events("other"), tenant=CASTRES, writer=writer)
    async with running(writer):
        assert [indexes(acknowledgements) for acknowledgements in await asyncio.gather(*waiting)] == [
            list(range(50))
        ] * 2
    assert writer._queue.events == 0


async def test_the_queue_is_bounded_in_bytes(rig: Rig) -> None:
    """Few but large events fill it too, and there as well one commune leaves room for the others."""
    (event,) = rig.events("a")
    size = len(event.canonical)
    writer = rig.make_writer(queue_bytes=100 * size)
    waiting = [asyncio.create_task(rig.submit(rig.events(*range(100, 150)), writer=writer))]
    await asyncio.sleep(0)
    with pytest.raises(BusyError):
        await rig.submit(rig.events("one"), writer=writer)
    waiting.append(asyncio.create_task(rig.submit(rig.events("two"), tenant=CASTRES, writer=writer)))
    async with running(writer):
        assert [len(acknowledgements) for acknowledgements in await asyncio.gather(*waiting)] == [50, 1]


async def test_room_is_given_back(rig: Rig) -> None:
    """However often the queue was full, written events and refused ones leave no trace in its counts."""
    writer = rig.make_writer(queue_events=10, queue_bytes=100_000)
    async with running(writer):
        for turn in range(30):
            await asyncio.gather(
                *(rig.submit(rig.events(f"{turn}-{number}"), writer=writer) for number in range(10)),
                return_exceptions=True,
            )
    assert (writer._queue.events, writer._queue.bytes) == (0, 0)


async def test_a_flood_does_not_hold_up_other_communes(rig: Rig) -> None:
    """While one commune's flood waits, another's event is answered after a few appends, not after the flood."""
    writer = rig.make_writer(queue_events=40_000)
    flood = [
        asyncio.create_task(rig.submit(rig.events(*range(start, start + 500)), writer=writer))
        for start in range(0, 20_000, 500)
    ]
    await asyncio.sleep(0)
    async with running(writer):
        await rig.submit(rig.events("one"), tenant=CASTRES, writer=writer)
        answered = sum(task.done() for task in flood)
        assert answered <= 8
        await asyncio.gather(*flood)


async def test_a_heavy_commune_is_appended_apart(rig: Rig, superuser: asyncpg.Connection) -> None:
    """While the append of a commune that submits much is held up, another's event is recorded on another connection."""
    async with superuser.transaction():
        await superuser.execute(
            "SELECT FROM journal.head WHERE tenant = $1 AND category = $2 FOR UPDATE", ALBI, CATEGORY
        )
        heavy = asyncio.create_task(rig.submit(rig.events(*range(LIGHT_BURST_EVENTS + 1))))
        await blocked_append(superuser)
        async with asyncio.timeout(PATIENCE_SECONDS):
            await rig.submit(rig.events("one"), tenant=CASTRES)
        assert not heavy.done()
    await heavy
    assert await rig.size(ALBI) == LIGHT_BURST_EVENTS + 1


async def test_a_commune_with_much_waiting_is_heavy(rig: Rig) -> None:
    """However slow the machine, and so the rate at which it submits; another that submits an event is not."""
    writer = rig.make_writer()
    many = [
        asyncio.create_task(rig.submit(rig.events(number), writer=writer))
        for number in range(LIGHT_WAITING_SUBMISSIONS + 1)
    ]
    one = asyncio.create_task(rig.submit(rig.events("one"), tenant=CASTRES, writer=writer))
    await asyncio.sleep(0)
    assert (writer.takes_turns(ALBI), writer.takes_turns(CASTRES)) == (True, False)
    async with running(writer):
        await asyncio.gather(*many, one)


async def test_a_commune_with_much_waiting_elsewhere_is_heavy(rig: Rig) -> None:
    """It is as soon as the writer is told so, also before it has submitted anything."""
    writer = rig.make_writer()
    writer.burden(ALBI)
    assert not writer.takes_turns(ALBI)
    one = asyncio.create_task(rig.submit(rig.events("one"), tenant=CASTRES, writer=writer))
    await asyncio.sleep(0)
    assert (writer.takes_turns(ALBI), writer.takes_turns(CASTRES)) == (True, False)
    async with running(writer):
        await one


async def test_a_large_batch_is_not_starved_by_small_ones(rig: Rig) -> None:
    """While another commune keeps the queue busy with single events and rivals, a large batch gets its turn."""
    (event,) = rig.events("a")
    stop = asyncio.Event()

    async def keep_busy(name: int) -> None:
        number = 0
        while not stop.is_set():
            number += 1
            rival = rig.rival(event, f"{name} {number}")
            await asyncio.gather(
                rig.submit(rig.events(f"{name} {number}"), tenant=CASTRES),
                rig.submit([rival], tenant=CASTRES),
                return_exceptions=True,
            )

    busy = [asyncio.create_task(keep_busy(name)) for name in range(20)]
    await rig.submit(rig.events("b"), tenant=CASTRES)
    async with asyncio.timeout(PATIENCE_SECONDS):
        acknowledgements = await rig.submit(rig.events(*range(5_000)))
    stop.set()
    await asyncio.gather(*busy)
    assert indexes(acknowledgements) == list(range(5_000))


async def test_the_largest_batch(rig: Rig) -> None:
    """A batch of 10,000 events is recorded whole, in order, and others are served meanwhile."""
    events = rig.events(*range(10_000))
    large = asyncio.create_task(rig.submit(events))
    waits: list[float] = []
    while not large.done():
        started = perf_counter()
        await rig.submit(rig.events(len(waits)), tenant=CASTRES)
        waits.append(perf_counter() - started)
    acknowledgements = await large
    assert indexes(acknowledgements) == list(range(10_000))
    assert len(waits) > 2, "others waited for the whole of it"
    again = await rig.submit(events)
    assert [acknowledgement.receipt for acknowledgement in again] == [
        acknowledgement.receipt for acknowledgement in acknowledgements
    ]
    rivals = [rig.rival(events[number]) for number in (0, 5_000, 9_999)]
    with pytest.raises(KnownEventError) as caught:
        await rig.submit([*rig.events("new"), *rivals])
    assert [fault.position for fault in caught.value.faults] == [1, 2, 3]
    assert await rig.audit() == []


async def test_an_event_beyond_the_record_limit_is_refused_before_it_waits(rig: Rig) -> None:
    """What could never become a record is refused at the door, and named; the writer does not stumble on it."""
    good, large = rig.events("good", "large")
    large = large._replace(canonical=large.canonical.replace(b"Relecture", b"R" * 20 * 1024))
    with pytest.raises(OversizeEventError) as caught:
        await rig.submit([good, large])
    assert [fault.position for fault in caught.value.faults] == [1]
    assert indexes(await rig.submit([good])) == [0]


# Callers that go, services that stop


async def test_a_caller_that_goes_away_takes_nothing_with_it(rig: Rig) -> None:
    """Events of disconnected callers are recorded, and those beside them answered."""
    events = rig.events(*range(20))
    calls = [asyncio.create_task(rig.submit([event])) for event in events]
    await asyncio.sleep(0)
    for call in calls[::2]:
        call.cancel()
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(answer, asyncio.CancelledError) for answer in answers[::2])
    assert [indexes(answer) for answer in answers[1::2]] == [[number] for number in range(1, 20, 2)]
    assert await rig.size() == 20
    again = await rig.submit(events)
    assert not any(acknowledgement.created for acknowledgement in again)


async def test_a_refusal_of_a_caller_that_went_away_is_no_unhandled_error(rig: Rig) -> None:
    """Nobody is told it, and the event loop logs nothing."""
    (event,) = rig.events("a")
    await rig.submit([event])
    unhandled: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unhandled.append(context["message"]))
    call = asyncio.create_task(rig.submit([rig.rival(event)]))
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    del call
    await rig.submit(rig.events("b"))
    gc.collect()
    assert unhandled == []


async def test_closing_writes_what_waits(rig: Rig) -> None:
    """Events accepted before the end are recorded and answered; later ones are refused for now."""
    writer = rig.make_writer()
    calls = [
        asyncio.create_task(rig.submit(rig.events(*range(start, start + 100)), writer=writer))
        for start in range(0, 5_000, 100)
    ]
    await asyncio.sleep(0)
    task = asyncio.create_task(writer.run())
    await calls[0]
    writer.close()
    with pytest.raises(BusyError, match="stopping"):
        await rig.submit(rig.events("later"), writer=writer)
    await task
    answers = await asyncio.gather(*calls)
    assert sorted(index for acknowledgements in answers for index in indexes(acknowledgements)) == list(range(5_000))
    assert await rig.audit() == []


async def test_a_writer_that_is_killed_leaves_nobody_waiting(rig: Rig) -> None:
    """If the writer ends early every caller gets an error, and later calls are refused."""
    writer = rig.make_writer()
    calls = [asyncio.create_task(rig.submit(rig.events(number), writer=writer)) for number in range(10)]
    await asyncio.sleep(0)
    task = asyncio.create_task(writer.run())
    await asyncio.sleep(0)
    task.cancel()
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(answer, BusyError) for answer in answers)
    with pytest.raises(BusyError):
        await rig.submit(rig.events("later"), writer=writer)


# A database that is slow, gone, or back


async def test_an_append_whose_connection_dies_is_found_or_done_again(rig: Rig, superuser: asyncpg.Connection) -> None:
    """A backend ended in the middle of an append loses nothing: the writer repeats the append."""
    await rig.submit(rig.events("first"))
    async with superuser.transaction():
        await superuser.execute("SELECT FROM journal.head WHERE tenant = $1 FOR UPDATE", ALBI)
        call = asyncio.create_task(rig.submit(rig.events("second")))
        await superuser.execute("SELECT pg_terminate_backend($1)", await blocked_append(superuser))
    assert indexes(await call) == [1]
    assert await rig.audit() == []


async def test_an_append_that_is_cancelled_by_hand_is_done_again(rig: Rig, superuser: asyncpg.Connection) -> None:
    """A statement cancelled by the database's administrator is no reason to stop."""
    await rig.submit(rig.events("first"))
    async with superuser.transaction():
        await superuser.execute("SELECT FROM journal.head WHERE tenant = $1 FOR UPDATE", ALBI)
        call = asyncio.create_task(rig.submit(rig.events("second")))
        await superuser.execute("SELECT pg_cancel_backend($1)", await blocked_append(superuser))
    assert indexes(await call) == [1]


async def test_backends_that_die_at_random(rig: Rig, superuser: asyncpg.Connection) -> None:
    """With every connection ended again and again under load, each event is recorded once and answered."""
    calls = [asyncio.create_task(rig.submit(rig.events(number))) for number in range(400)]
    kills = 0
    while kills < 15:
        kills += await superuser.fetchval(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE usename = 'journal_ingest' AND datname = current_database()"
        )
        calls += [asyncio.create_task(rig.submit(rig.events(number))) for number in range(len(calls), len(calls) + 9)]
        await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
    acknowledgements = [acknowledgement for answer in await asyncio.gather(*calls) for acknowledgement in answer]
    assert sorted(indexes(acknowledgements)) == list(range(len(calls)))
    assert await rig.audit() == []


async def test_what_is_acknowledged_while_heads_are_read(rig: Rig) -> None:
    """A head that was read before an acknowledgement, and arrives after it, contradicts nothing; a later one does."""
    chain, memory = rig.compartment(), rig.service.writer.appender.memory
    await rig.submit(rig.events("first"))
    (stale,) = await rig.service.store.read_heads([chain.tenant], [chain.category])
    before = memory.acknowledged([chain])
    await rig.submit(rig.events("second"))
    memory.compare(chain, stale.size, stale.chain_hash, before)
    assert not memory.stops(chain)
    memory.compare(chain, stale.size, stale.chain_hash, memory.acknowledged([chain]))
    assert memory.stops(chain)
    await memory.look()
    assert indexes(await rig.submit(rig.events("third"))) == [2]


async def test_a_database_that_takes_no_connection_is_waited_for(rig: Rig, superuser: asyncpg.Connection) -> None:
    """Events sent while the database cannot be reached are answered once it can."""
    await rig.submit(rig.events("before"))
    name = await superuser.fetchval("SELECT current_database()")
    await superuser.execute(f"ALTER DATABASE {name} CONNECTION LIMIT 0")
    await superuser.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND usename LIKE 'journal_%'"
    )
    call = asyncio.create_task(rig.submit(rig.events("meanwhile")))
    done, _ = await asyncio.wait([call], timeout=1)
    assert not done
    await superuser.execute(f"ALTER DATABASE {name} CONNECTION LIMIT -1")
    assert indexes(await call) == [1]


async def test_a_database_that_is_gone_is_told_once(rig: Rig, superuser: asyncpg.Connection) -> None:
    """An outage of hours is two lines of the log, its beginning, with why, and its end; not two a second."""
    name = await superuser.fetchval("SELECT current_database()")
    age = rig.service.snapshot.age_seconds
    with capture_logs() as lines:
        await superuser.execute(f"ALTER DATABASE {name} CONNECTION LIMIT 0")
        await superuser.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND usename LIKE 'journal_%'"
        )
        async with asyncio.timeout(PATIENCE_SECONDS):
            while age() < 4 * REFRESH_SECONDS:  # noqa: ASYNC110 - nothing rings
                await asyncio.sleep(0.1)
            await superuser.execute(f"ALTER DATABASE {name} CONNECTION LIMIT -1")
            while age() > 2 * REFRESH_SECONDS:  # noqa: ASYNC110 - nothing rings
                await asyncio.sleep(0.1)
    told = [line for line in lines if "the snapshot" in line["event"]]
    assert [line["event"] for line in told] == [
        "the snapshot cannot be refreshed",
        "the snapshot is refreshed again",
    ]
    assert "the database" in told[0]["reason"]


async def test_a_database_that_answers_and_takes_no_entry_is_told(rig: Rig, superuser: asyncpg.Connection) -> None:
    """On a full disk callers are told at once, readiness says why; with room again, what is sent again is recorded."""
    assert (await rig.service.checks.run())["database"] is None
    await superuser.execute(
        "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS"
        " $$BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = 'disk_full'; END$$"
    )
    await superuser.execute(
        "CREATE TRIGGER full_disk BEFORE INSERT ON journal.entry FOR EACH ROW EXECUTE FUNCTION full_disk()"
    )
    events = rig.events("a")
    for _ in range(2):  # the second is not even tried
        with pytest.raises(BusyError, match="no room to write"):
            await rig.submit(events)
    problem = rig.service.writer.appender.problem()
    assert problem is not None
    assert "no entry could be written" in problem
    assert "53100 DiskFullError" in problem
    assert (await rig.service.checks.run())["database"] is not None
    await superuser.execute("DROP TRIGGER full_disk ON journal.entry")
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            try:
                acknowledged = await rig.submit(events)
            except BusyError:
                await asyncio.sleep(0.1)
            else:
                break
    assert indexes(acknowledged) == [0]
    assert (await rig.service.checks.run())["database"] is None


async def test_nobody_waits_for_ever(rig: Rig, superuser: asyncpg.Connection) -> None:
    """While an append hangs every caller is told, after the limit, to send the same events again."""
    await rig.submit(rig.events("first"))
    writer = rig.make_writer(answer_limit_seconds=0.5)
    second = rig.events("second")
    async with running(writer), superuser.transaction():
        await superuser.execute("SELECT FROM journal.head WHERE tenant = $1 FOR UPDATE", ALBI)
        hanging = asyncio.create_task(rig.submit(second, writer=writer))
        await blocked_append(superuser)
        behind = asyncio.create_task(rig.submit(rig.events("third"), tenant=CASTRES, writer=writer))
        answers = await asyncio.gather(hanging, behind, return_exceptions=True)
        assert all(isinstance(answer, BusyError) for answer in answers)
    assert indexes(await rig.submit(second)) == [1]
    assert await rig.audit() == []


# Other processes


async def test_a_storm_of_conflicts(rig: Rig) -> None:
    """Four writers, as of four processes, on one chain: each makes progress without an error."""
    rigs = [rig, *[await rig.open_another() for _ in range(3)]]

    async def work(number: int, chosen: Rig) -> list[Acknowledgement]:
        acknowledgements = []
        for turn in range(50):
            acknowledgements += await chosen.submit(rig.events(f"{number}-{turn}"))
        return acknowledgements

    answers = await asyncio.gather(*(work(number, chosen) for number, chosen in enumerate(rigs)))
    assert sorted(index for acknowledgements in answers for index in indexes(acknowledgements)) == list(range(200))
    for acknowledgements in answers:
        assert indexes(acknowledgements) == sorted(indexes(acknowledgements))
    assert await rig.audit() == []


async def test_a_contested_chain_progresses_under_its_lock(rig: Rig, superuser: asyncpg.Connection) -> None:
    """After a few conflicts on end the append takes the chain's row lock: then no rival can come before it."""
    await superuser.execute("ALTER SYSTEM SET track_functions = 'all'")
    await superuser.execute("SELECT pg_reload_conf()")
    rigs = [rig, *[await rig.open_another() for _ in range(3)]]

    async def work(number: int, chosen: Rig) -> None:
        for turn in range(100):
            await chosen.submit(rig.events(*(f"{number}-{turn}-{place}" for place in range(20))))

    await asyncio.gather(*(work(number, chosen) for number, chosen in enumerate(rigs)))
    for chosen in rigs:
        await chosen.service.store.close()
    calls = await superuser.fetchval("SELECT calls FROM pg_stat_user_functions WHERE funcname = 'lock_heads'")
    assert calls


async def test_the_same_events_through_two_processes(rig: Rig) -> None:
    """Events sent to two processes at once are recorded once; both hand out the same receipts."""
    other = await rig.open_another()
    events = rig.events(*range(500))
    answers = await asyncio.gather(
        *(chosen.submit(events[start : start + 25]) for start in range(0, 500, 25) for chosen in (rig, other))
    )
    by_event: dict[str, set[Any]] = {}
    for position, acknowledgements in enumerate(answers):
        for event, acknowledgement in zip(_slice(events, position), acknowledgements, strict=True):
            by_event.setdefault(event.id, set()).add(acknowledgement.receipt)
    assert all(len(receipts) == 1 for receipts in by_event.values())
    created = sum(acknowledgement.created for acknowledgements in answers for acknowledgement in acknowledgements)
    assert created == await rig.size() == 500
    assert await rig.audit() == []


def _slice(events: list[Event], position: int) -> list[Event]:
    start = position // 2 * 25
    return events[start : start + 25]


async def test_categories_of_one_commune_do_not_know_each_other(rig: Rig) -> None:
    """The same event in two categories is two entries, each the first of its own chain."""
    (event,) = rig.events("a")
    answers = await asyncio.gather(rig.submit([event]), rig.submit([event], category="ecrits"))
    assert [indexes(acknowledgements) for acknowledgements in answers] == [[0], [0]]
    assert [await rig.size(category=category) for category in (CATEGORY, "ecrits")] == [1, 1]
