"""The append: contiguous, once, all or nothing, whatever other processes append at the same time."""

from __future__ import annotations

import asyncio
import re
import sys
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from journal.core.errors import StoreError, UnavailableError
from journal.database.ingest import AppendBatch, append_arguments
from tests.support.appending import TENANTS, Appending
from tests.support.chains import (
    CATEGORY,
    Pending,
    add_chains,
    advanced,
    append,
    batch,
    check_chain,
    empty_batch,
    fresh,
    genesis_of,
    keys,
    midnight_after,
    read_chain,
    seconds_until,
)

if TYPE_CHECKING:
    from journal.database.heads import HeadRow
    from journal.database.store import Store
    from tests.support.clocks import MoveClock

REPOSITORY = Path(__file__).parents[2]


async def everything(owner: asyncpg.Connection) -> dict[str, Any]:
    """Return what an append may change."""
    tables = ("head", "entry", "activity", "source_span")
    return {
        table: await owner.fetchval(f"SELECT md5(string_agg(t::text, '|' ORDER BY t::text)) FROM journal.{table} AS t")
        for table in tables
    }


async def test_entries_are_stored_as_given_and_the_head_advances(store: Store) -> None:
    """What is appended is read back byte for byte, in order, and the chain verifies."""
    (head,) = await add_chains(store, ["albi"])
    now = await store.read_now()
    made = batch([(head, fresh(3))], now)
    assert (await store.append(made)).answer == "appended"
    rows = await read_chain(store, head, now.date())
    assert [row.ciphertext for row in rows] == made.entry_ciphertext
    assert [row.event_key for row in rows] == made.entry_key
    (stands,) = await store.read_heads(["albi"], [CATEGORY])
    assert stands == advanced(head, made)
    check_chain(rows, stands)


async def test_a_batch_spans_chains_of_several_categories(store: Store) -> None:
    """Each entry lands in its own chain and partition."""
    heads = await add_chains(store, ["albi", "castres"], ["ecrits", "main-courante"])
    now = await store.read_now()
    made = batch([(head, fresh(number)) for number, head in enumerate(heads, start=1)], now)
    assert (await store.append(made)).answer == "appended"
    for place, head in enumerate(heads, start=1):
        check_chain(await read_chain(store, head, now.date()), advanced(head, made, place))


async def test_an_empty_batch_is_appended(store: Store) -> None:
    """Nothing to do is done."""
    await add_chains(store, ["albi"])
    assert (await store.append(empty_batch())).answer == "appended"


async def test_counters_add_up(store: Store) -> None:
    """Activity is counted per action; what a source numbered and did not send is missing, whatever came twice."""
    (head,) = await add_chains(store, ["albi"])
    for ranges in ([(1, 2, 2), (5, 5, 1)], [(5, 6, 3)]):
        made = batch([(head, fresh(sum(count for _, _, count in ranges)))], await store.read_now())
        spans = {
            "span_chain": [1] * len(ranges),
            "span_source": [b"s"] * len(ranges),
            "span_name": [b"n"] * len(ranges),
            "span_low": [low for low, _, _ in ranges],
            "span_high": [high for _, high, _ in ranges],
            "span_count": [count for _, _, count in ranges],
        }
        assert (await store.append(replace(made, **spans))).answer == "appended"
        head = advanced(head, made)
    (counted,) = await store.read_activity("albi")
    assert (counted.action, counted.count) == ("consultation", 6)
    (source,) = await store.read_sources("albi")
    assert (source.category, source.last, source.numbers, source.repeated) == (CATEGORY, 6, 4, 2)
    assert (source.missing, source.gaps, source.declared) == (2, [(3, 4)], 0)


async def test_a_moved_head_is_a_conflict(store: Store, owner: asyncpg.Connection) -> None:
    """A batch computed from an old head writes nothing; its answer holds the head of every chain that moved."""
    albi, castres, gaillac = await add_chains(store, ["albi", "castres", "gaillac"])
    moved = await append(store, albi, fresh(2))
    also_moved = await append(store, gaillac, fresh(1))
    before = await everything(owner)
    result = await store.append(batch([(head, fresh(1)) for head in (albi, castres, gaillac)], await store.read_now()))
    assert result.answer == "conflict"
    assert [(row.position, row.size, row.chain_hash, row.recorded_at) for row in result.moved] == [
        (1, moved.size, moved.chain_hash, moved.recorded_at),
        (3, also_moved.size, also_moved.chain_hash, also_moved.recorded_at),
    ]
    assert await everything(owner) == before


async def test_another_hash_at_the_same_size_is_a_conflict(store: Store) -> None:
    """Two histories of one length are not one."""
    (head,) = await add_chains(store, ["albi"])
    other = head._replace(chain_hash=b"\1" * 32)
    assert (await store.append(batch([(other, fresh(1))], await store.read_now()))).answer == "conflict"


async def test_time_never_goes_back_within_a_chain(store: Store) -> None:
    """An entry recorded before the head's own time is a conflict."""
    (head,) = await add_chains(store, ["albi"])
    head = await append(store, head, fresh(1))
    assert head.recorded_at is not None
    earlier = head._replace(recorded_at=None)
    result = await store.append(batch([(earlier, fresh(1))], head.recorded_at - timedelta(milliseconds=1)))
    assert result.answer == "conflict"


async def test_a_known_event_is_found_and_nothing_is_written(store: Store, owner: asyncpg.Connection) -> None:
    """All known entries of a batch are named, with their first copy; the new ones beside them are not stored."""
    albi, castres = await add_chains(store, ["albi", "castres"])
    first = batch([(albi, keys("a", "b")), (castres, keys("a"))], await store.read_now())
    assert (await store.append(first)).answer == "appended"
    before = await everything(owner)
    again = [(advanced(albi, first, 1), keys("x", "b", "a")), (advanced(castres, first, 2), keys("a", "y"))]
    result = await store.append(batch(again, await store.read_now()))
    assert result.answer == "known"
    found = {row.position: row for row in result.known}
    assert sorted(found) == [2, 3, 4]
    assert [
        (found[place].index, found[place].leaf_hash, found[place].chain_hash, found[place].ciphertext)
        for place in (3, 2)
    ] == [
        (0, first.entry_leaf[0], first.entry_hash[0], first.entry_ciphertext[0]),
        (1, first.entry_leaf[1], first.entry_hash[1], first.entry_ciphertext[1]),
    ]
    assert found[4].index == 0
    assert await everything(owner) == before


async def test_one_key_in_two_chains_is_two_events(store: Store) -> None:
    """A compartment knows nothing of another's events."""
    albi, castres = await add_chains(store, ["albi", "castres"])
    await append(store, albi, keys("a"))
    await append(store, castres, keys("a"))


async def test_duplicates_are_found_across_midnight(store: Store, move_clock: MoveClock) -> None:
    """A retry after midnight finds the copy recorded before it, and today's copies in the same answer."""
    (head,) = await add_chains(store, ["albi"])
    day = (await store.read_now()).date()
    head = await append(store, head, keys("before"))
    await move_clock(seconds=seconds_until(midnight_after(day)) + 60)
    await store.ensure_partitions(7)
    head = await append(store, head, [Pending(key=keys("after")[0].key, since=day)])
    retry = [Pending(key=event.key, since=day) for event in keys("before", "after", "new")]
    result = await store.append(batch([(head, retry)], await store.read_now()))
    assert result.answer == "known"
    assert sorted((row.position, row.index, row.day) for row in result.known) == [
        (1, 0, day),
        (2, 1, day + timedelta(days=1)),
    ]
    await append(store, head, [retry[2]])


async def test_only_the_days_since_are_searched(store: Store, move_clock: MoveClock) -> None:
    """An event that cannot have been recorded before today is not looked for there."""
    (head,) = await add_chains(store, ["albi"])
    day = (await store.read_now()).date()
    head = await append(store, head, keys("a"))
    await move_clock(seconds=seconds_until(midnight_after(day)) + 60)
    await append(store, head, keys("a"))


async def test_an_event_twice_in_a_batch_is_an_error(store: Store, owner: asyncpg.Connection) -> None:
    """The caller answers such twins from one entry; two would be a mistake, and nothing is written."""
    (head,) = await add_chains(store, ["albi"])
    before = await everything(owner)
    with pytest.raises(StoreError, match="twice"):
        await store.append(batch([(head, keys("a", "b", "a"))], await store.read_now()))
    assert await everything(owner) == before


async def test_a_chain_twice_in_a_batch_is_an_error(store: Store, owner: asyncpg.Connection) -> None:
    """One of the two would overwrite the other's head."""
    (head,) = await add_chains(store, ["albi"])
    before = await everything(owner)
    with pytest.raises(StoreError, match="twice"):
        await store.append(batch([(head, fresh(1)), (head, fresh(1))], await store.read_now()))
    assert await everything(owner) == before


@pytest.mark.parametrize(
    "mistake",
    [
        {"next_size": [3]},
        {"next_size": [1]},
        {"next_size": [0]},
        {"next_hash": [bytes(32)]},
        {"entry_ciphertext": [b"one"]},
        {"entry_key": [bytes(16), bytes(15)]},
        {"entry_key": [], "entry_leaf": [], "entry_hash": [], "entry_ciphertext": []},
    ],
    ids=str,
)
async def test_entries_that_do_not_lead_to_the_next_head_are_refused(
    store: Store, owner: asyncpg.Connection, mistake: dict[str, Any]
) -> None:
    """A batch with an error that would break a chain is refused whole."""
    (head,) = await add_chains(store, ["albi"])
    before = await everything(owner)
    with pytest.raises(StoreError):
        await store.append(replace(batch([(head, fresh(2))], await store.read_now()), **mistake))
    assert await everything(owner) == before


@pytest.mark.parametrize("seconds", [-2.5, 2.5])
async def test_a_clock_too_far_off_is_told(store: Store, owner: asyncpg.Connection, seconds: float) -> None:
    """More than 2 s from the database's clock, nothing is written and the answer gives the database's time."""
    (head,) = await add_chains(store, ["albi"])
    now = await store.read_now()
    before = await everything(owner)
    result = await store.append(batch([(head, fresh(1))], now + timedelta(seconds=seconds)))
    assert result.answer == "clock"
    assert result.database_now is not None
    assert now <= result.database_now <= await store.read_now()
    assert await everything(owner) == before


async def test_a_closed_day_receives_nothing(store: Store, owner: asyncpg.Connection, move_clock: MoveClock) -> None:
    """Even a database clock set back after the close does not reopen the day."""
    albi, castres = await add_chains(store, ["albi", "castres"])
    day = (await store.read_now()).date()
    await move_clock(seconds=seconds_until(midnight_after(day)) + 10)
    await store.close_day(day)
    await move_clock(seconds=seconds_until(midnight_after(day)) - 10)
    before = await everything(owner)
    result = await store.append(batch([(albi, fresh(1)), (castres, fresh(1))], await store.read_now()))
    assert (result.answer, result.chains) == ("closed", [1, 2])
    assert await everything(owner) == before


async def test_an_event_that_may_be_in_a_destroyed_day_is_refused(store: Store, owner: asyncpg.Connection) -> None:
    """At or before the fence no earlier copy can be looked for, so the event cannot be told from a new one."""
    albi, castres = await add_chains(store, ["albi", "castres"])
    now = await store.read_now()
    yesterday = now.date() - timedelta(days=1)
    await store.raise_fence(CATEGORY, yesterday)
    before = await everything(owner)
    late = [Pending(key=b"k" * 16, since=yesterday)]
    result = await store.append(batch([(albi, fresh(1)), (castres, late)], now))
    assert (result.answer, result.chains) == ("fenced", [2])
    await store.raise_fence(CATEGORY, now.date())
    assert (await store.append(batch([(albi, fresh(1))], await store.read_now()))).answer == "fenced"
    assert await everything(owner) == before


async def test_absent_chains_are_named(store: Store, owner: asyncpg.Connection) -> None:
    """Nothing is appended to a chain that does not exist or whose contract has ended."""
    albi, castres = await add_chains(store, ["albi", "castres"])
    assert await store.close_tenant("castres")
    ghost = albi._replace(tenant="ghost", chain_hash=genesis_of("ghost", CATEGORY))
    before = await everything(owner)
    result = await store.append(
        batch([(albi, fresh(1)), (castres, fresh(1)), (ghost, fresh(1))], await store.read_now())
    )
    assert (result.answer, result.chains) == ("absent", [2, 3])
    assert await everything(owner) == before


async def test_a_missing_partition_is_an_error(store: Store, owner: asyncpg.Connection) -> None:
    """There is no default partition where entries would hide from the purge."""
    (head,) = await add_chains(store, ["albi"])
    leaf = f"journal.entry_1_{(await store.read_now()).date():%Y%m%d}"
    before = await everything(owner)
    await owner.execute(f"ALTER TABLE journal.entry_1 DETACH PARTITION {leaf}")
    with pytest.raises(StoreError, match=f"^there is no partition {leaf.removeprefix('journal.')}$"):
        await store.append(batch([(head, fresh(1))], await store.read_now()))
    assert await everything(owner) == before
    await owner.execute(f"DROP TABLE {leaf}")
    with pytest.raises(StoreError, match=f"^there is no partition {leaf.removeprefix('journal.')}$"):
        await store.append(batch([(head, fresh(1))], await store.read_now()))
    assert await everything(owner) == before


async def test_a_value_that_no_row_may_have_is_an_error(store: Store, owner: asyncpg.Connection) -> None:
    """What a column refuses is told as such, not as a missing partition, and nothing is written."""
    (head,) = await add_chains(store, ["albi"])
    before = await everything(owner)
    await owner.execute("ALTER TABLE journal.entry ADD CONSTRAINT none_is_allowed CHECK (index > 9)")
    with pytest.raises(StoreError, match="none_is_allowed"):
        await store.append(batch([(head, fresh(1))], await store.read_now()))
    assert await everything(owner) == before


async def test_a_day_whose_partition_is_missing_is_not_skipped_by_the_search(
    store: Store, owner: asyncpg.Connection, move_clock: MoveClock
) -> None:
    """Not finding a day's partition is not the same as finding no copy in it."""
    (head,) = await add_chains(store, ["albi"])
    day = (await store.read_now()).date()
    head = await append(store, head, keys("a"))
    await move_clock(seconds=seconds_until(midnight_after(day)) + 60)
    await owner.execute(f"DROP TABLE journal.entry_1_{day:%Y%m%d}")
    with pytest.raises(StoreError, match="there is no partition"):
        await store.append(batch([(head, [Pending(key=b"k" * 16, since=day)])], await store.read_now()))


async def test_moving_heads_leaves_their_index_alone(store: Store, owner: asyncpg.Connection) -> None:
    """Every update is heap-only, so that a chain's ten-thousandth batch costs what its first did."""
    (head,) = await add_chains(store, ["albi"])
    for _ in range(50):
        head = await append(store, head, fresh(1))
    counters = "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'head'"
    updated = heap_only = 0
    while updated < 50:  # statistics arrive when the backend that made them is idle
        await asyncio.sleep(0.05)
        updated, heap_only = await owner.fetchrow(counters)
        await owner.execute("SELECT pg_stat_clear_snapshot()")
    assert (updated, heap_only) == (50, 50)


async def test_another_isolation_level_is_refused(store: Store, dsn: str) -> None:
    """In an old snapshot, a day just closed would still look open."""
    (head,) = await add_chains(store, ["albi"])
    made = batch([(head, fresh(1))], await store.read_now())
    connection = await asyncpg.connect(dsn, user="journal_ingest")
    try:
        with pytest.raises(asyncpg.PostgresError, match="read committed"):
            async with connection.transaction(isolation="repeatable_read"):
                await connection.fetch(*call_of(made))
        await connection.execute("SET synchronous_commit = off")
        with pytest.raises(asyncpg.PostgresError, match="synchronous_commit"):
            await connection.fetch(*call_of(made))
    finally:
        await connection.close()


def call_of(made: AppendBatch) -> list[Any]:
    """Return the statement and arguments of an append."""
    values = append_arguments(made)
    places = ", ".join(f"${place}" for place in range(1, len(values) + 1))
    return [f"SELECT * FROM journal.append({places})", *values]


async def test_known_events_are_found_by_index_probes_in_the_days_own_leaves(
    store: Store, superuser: asyncpg.Connection, move_clock: MoveClock
) -> None:
    """Full or nearly empty: through the parent, or by a scan, each event would cost a hundred times more."""
    (head,) = await add_chains(store, ["albi"])
    day = (await store.read_now()).date()
    # One is full while its statistics say that it is empty; the other is one page.
    await superuser.execute("ANALYZE")
    head = await append(store, head, fresh(5000))
    await move_clock(seconds=seconds_until(midnight_after(day)) + 60)
    head = await append(store, head, fresh(5))
    made = batch([(head, [Pending(key=event.key, since=day) for event in fresh(1000)])], await store.read_now())
    plans: list[str] = []
    superuser.add_log_listener(lambda _, message: plans.append(message.message))
    await superuser.execute("LOAD 'auto_explain'")
    for name, value in {"log_min_duration": 0, "log_nested_statements": True, "log_analyze": True}.items():
        await superuser.execute(f"SET auto_explain.{name} = {value}")
    await superuser.execute("SET auto_explain.log_level = notice; SET client_min_messages = notice")
    await superuser.fetch(
        "SELECT * FROM journal.find_recorded($1, $2, $3, $4, $5, true)", *find_arguments(made, day, head)
    )
    plans = [plan for plan in plans if "SELECT asked.place" in plan.partition("Nested Loop")[0]]
    for leaf_day, plan in zip((day, day + timedelta(days=1)), plans, strict=True):
        leaf = f"entry_1_{leaf_day:%Y%m%d}"
        assert re.findall(r"Index Scan using (\w+) on (\w+)", plan) == [(f"{leaf}_event_key_tenant_key", leaf)]
        assert "Seq Scan" not in plan
        assert "Index Cond: ((event_key = asked.event_key) AND (tenant = asked.tenant))" in plan


def find_arguments(made: AppendBatch, day: date, head: HeadRow) -> list[Any]:
    """Return what `journal.find_recorded` is given, for copies of that day and the next."""
    places = len(made.entry_key)
    days = [[day] * places, [day + timedelta(days=1)] * places]
    return [[head.tenant] * places, [head.category] * places, made.entry_key, *days]


async def test_under_the_lock_there_is_no_conflict(store: Store) -> None:
    """Many at once on one chain all get through, each from the head that the one before left."""
    (head,) = await add_chains(store, ["albi"])

    def build(rows: list[HeadRow]) -> AppendBatch:
        return batch([(rows[0], fresh(2))], now)

    now = await store.read_now()
    results = await asyncio.gather(*(store.append_locked(["albi"], [CATEGORY], build) for _ in range(20)))
    assert {result.answer for result in results} == {"appended"}
    (stands,) = await store.read_heads(["albi"], [CATEGORY])
    assert stands.size == 40
    check_chain(await read_chain(store, head, now.date()), stands)


async def test_what_is_raised_under_the_lock_undoes_it(store: Store, owner: asyncpg.Connection) -> None:
    """The caller's error passes through, nothing is written, the lock is gone and the connection usable."""
    (head,) = await add_chains(store, ["albi"])
    before = await everything(owner)
    now = await store.read_now()

    def fail(_: list[HeadRow]) -> AppendBatch:
        raise KeyError("no key for today")

    with pytest.raises(KeyError):
        await store.append_locked(["albi"], [CATEGORY], fail)
    with pytest.raises(StoreError):
        await store.append_locked(["albi"], [CATEGORY], lambda rows: batch([(rows[0], keys("a", "a"))], now))
    assert await everything(owner) == before
    await append(store, head, fresh(1))


async def test_processes_that_append_at_once_agree(store: Store, dsn: str) -> None:
    """Four processes on the same chains: every chain whole, every event once, and each was told the truth."""
    await add_chains(store, TENANTS)
    day = (await store.read_now()).date()
    processes = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.support.appending", dsn, str(seed)),
            stdout=asyncio.subprocess.PIPE,
            cwd=REPOSITORY,
        )
        for seed in range(4)
    ]
    outputs = [await process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0] * 4
    told = {line for output, _ in outputs for line in output.decode().splitlines()}
    await check_everything(store, day, told)


async def check_everything(store: Store, day: Any, told: set[str]) -> None:
    """Assert that every chain verifies, and holds exactly the events that someone was told are recorded."""
    for head in await store.read_heads(TENANTS, [CATEGORY] * len(TENANTS)):
        rows = await read_chain(store, head, day)
        check_chain(rows, head)
        names = {line for line in told if line.startswith(f"{head.tenant} ")}
        assert {row.event_key for row in rows} == {event.key for event in keys(*names)}


async def test_killed_connections_lose_and_double_nothing(store: Store, superuser: asyncpg.Connection) -> None:
    """With backends killed under way, what was told recorded is there once; what was not told is asked again."""
    await add_chains(store, TENANTS)
    day = (await store.read_now()).date()
    workers = [Appending(store, seed) for seed in (1, 2)]
    kills = 0
    # A backend may be found idle each time.
    while kills < 2:
        running = asyncio.gather(*(worker.run(10) for worker in workers))
        while not running.done():
            kills += await superuser.fetchval(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
                "WHERE usename = 'journal_ingest' AND datname = current_database() AND state = 'active'"
            )
            await asyncio.wait([running], timeout=0.02)
        await running
    await check_everything(store, day, {line for worker in workers for line in worker.recorded})


async def test_a_connection_killed_while_it_waits_wrote_nothing(
    store: Store, owner: asyncpg.Connection, superuser: asyncpg.Connection
) -> None:
    """An append that waits for a lock when its backend dies has no definite answer, and asked again succeeds."""
    (head,) = await add_chains(store, ["albi"])
    made = batch([(head, fresh(1))], await store.read_now())
    async with owner.transaction():
        await owner.execute("SELECT FROM journal.head FOR UPDATE")
        waiting = asyncio.create_task(store.append(made))
        waiter = None
        while waiter is None:
            assert not waiting.done()
            waiter = await owner.fetchval(
                "SELECT pid FROM pg_locks WHERE NOT granted AND locktype IN ('transactionid', 'tuple')"
            )
        await superuser.execute("SELECT pg_terminate_backend($1)", waiter)
        with pytest.raises(UnavailableError):
            await waiting
    await append(store, head, fresh(1))
