"""Seals in the database: one a number, days closed in order, heads kept as long as they are needed and no longer."""

from __future__ import annotations

import asyncio
import random
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from journal.core.errors import StoreError
from tests.support.chains import (
    CATEGORY,
    add_chains,
    append,
    batch,
    fresh,
    genesis_of,
    midnight_after,
)
from tests.support.closing import after, close, moved_of, sealed, until_waiting

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    import asyncpg

    from journal.database.store import Store
    from tests.support.clocks import MoveClock


async def put_open(store: Store) -> int:
    """Take an open seal of the moment; return its number."""
    state = await store.seal_state()
    moved = moved_of(state.heads, await store.heads_of_seal(state.number))
    assert await store.put_seal(state.number + 1, None, state.now, b"open", b"signature", moved)
    return state.number + 1


async def test_a_number_is_taken_once(store: Store) -> None:
    """Of two sealers that saw the same state, one stores its seal; the other learns that it must look again."""
    (head,) = await add_chains(store, ["albi"])
    head = await append(store, head, fresh(1))
    now = await store.read_now()
    results = await asyncio.gather(
        *(store.put_seal(1, None, now, b"text %d" % place, b"", [sealed(head)]) for place in range(2))
    )
    assert sorted(results) == [False, True]
    stored = await store.read_seal(1)
    assert stored is not None
    assert stored.text == b"text %d" % results.index(True)
    assert not await store.put_seal(3, None, now, b"", b"", [])
    assert await store.read_seals(0, 10) == [stored]


async def test_a_seal_with_a_head_of_no_chain_is_not_stored(store: Store) -> None:
    """Whoever has the role's password cannot put a head where there is no chain: not even the seal stays."""
    (head,) = await add_chains(store, ["albi"])
    now = await store.read_now()
    for strange in ({"tenant": "sete"}, {"category": "journal"}):
        with pytest.raises(StoreError, match="ForeignKeyViolation"):
            await store.put_seal(1, None, now, b"open", b"", [sealed(head), sealed(head)._replace(**strange)])
    assert await store.read_seals(0, 10) == []
    assert await store.put_seal(1, None, now, b"open", b"", [sealed(head)])


async def test_the_state_is_what_the_next_seal_needs(store: Store) -> None:
    """Number, texts, live heads and heads as last sealed come in one snapshot."""
    albi, castres = await add_chains(store, ["albi", "castres"])
    state = await store.seal_state()
    assert (state.number, state.text, state.close_text, state.close_day) == (0, None, None, None)
    assert state.heads == [albi, castres]
    assert state.closed_day == state.first_day - timedelta(days=1)
    first = await append(store, albi, fresh(2))
    assert await put_open(store) == 1
    second = await append(store, castres, fresh(1))
    state = await store.seal_state()
    assert (state.number, state.text) == (1, b"open")
    assert state.heads == [first, second]
    assert await store.heads_of_seal(state.number) == [sealed(first), sealed(castres)]


async def test_a_chain_made_after_a_seal_is_not_in_it(store: Store) -> None:
    """What a seal covers does not grow afterwards."""
    await add_chains(store, ["albi"])
    await put_open(store)
    await store.add_tenant("castres", "Castres", {CATEGORY: genesis_of("castres", CATEGORY)})
    assert [row.tenant for row in await store.read_seal_heads(1)] == ["albi"]
    await put_open(store)
    assert [row.tenant for row in await store.read_seal_heads(2)] == ["albi", "castres"]
    assert [row.tenant for row in await store.read_seal_heads(1)] == ["albi"]


async def test_a_day_is_not_closed_before_it_is_over(store: Store, move_clock: MoveClock) -> None:
    """Not a second early: an append may be 2 s off, and 5 leave no doubt."""
    await add_chains(store, ["albi"])
    day = (await store.read_now()).date()
    with pytest.raises(StoreError, match="not over"):
        await store.close_day(day)
    await move_clock(**after(day, 1))
    with pytest.raises(StoreError, match="not over"):
        await store.close_day(day)
    await move_clock(**after(day, 6))
    await store.close_day(day)


async def test_days_are_closed_and_sealed_one_after_the_other(store: Store, move_clock: MoveClock) -> None:
    """None is skipped, none is sealed unclosed or twice, and no open seal is taken in between."""
    await add_chains(store, ["albi"])
    day = (await store.read_now()).date()
    next_day = day + timedelta(days=1)
    await move_clock(**after(next_day))
    await store.ensure_partitions(1)
    now = await store.read_now()
    with pytest.raises(StoreError, match="must wait for the close seal"):
        await store.put_seal(1, None, now, b"", b"", [])
    with pytest.raises(StoreError, match="the next day to close"):
        await store.close_day(next_day)
    with pytest.raises(StoreError, match="does not await its seal"):
        await store.put_seal(1, day, now, b"", b"", [])
    await store.close_day(day)
    with pytest.raises(StoreError, match="closed but not yet sealed"):
        await store.close_day(next_day)
    with pytest.raises(StoreError, match="must wait for the close seal"):
        await store.put_seal(1, None, now, b"", b"", [])
    assert await store.put_seal(1, day, now, b"", b"", [])
    with pytest.raises(StoreError, match="does not await its seal"):
        await store.put_seal(2, day, now, b"", b"", [])
    with pytest.raises(StoreError, match="does not await its seal"):
        await store.close_day(day)
    with pytest.raises(StoreError, match="must wait for the close seal"):
        await store.put_seal(2, None, now, b"", b"", [])
    await store.close_day(next_day)
    with pytest.raises(StoreError, match="must wait for the close seal"):
        await store.put_seal(2, None, now, b"", b"", [])
    assert await close(store, next_day) == 2
    assert await put_open(store) == 3
    closes = await store.read_close_seals(day, next_day)
    assert [(seal.number, seal.day) for seal in closes] == [(1, day), (2, next_day)]
    found = await store.close_seal(next_day)
    assert found == closes[1]
    assert await store.close_seal(next_day + timedelta(days=1)) is None


async def test_a_close_cut_short_is_resumed(store: Store, move_clock: MoveClock) -> None:
    """A day closed and not sealed shows in the state, and closing it again gives the same heads."""
    (head,) = await add_chains(store, ["albi"])
    day = (await store.read_now()).date()
    head = await append(store, head, fresh(2))
    await move_clock(**after(day))
    heads = await store.close_day(day)
    await append(store, head, fresh(3))
    state = await store.seal_state()
    assert (state.closed_day, state.close_day) == (day, None)
    again = await store.close_day(day)
    assert [sealed(row) for row in again] == [sealed(row) for row in heads] == [sealed(head)]
    await close(store, day)
    assert (await store.seal_state()).close_day == day


async def test_closing_waits_for_the_appends_under_way(
    store: Store, owner: asyncpg.Connection, superuser: asyncpg.Connection, move_clock: MoveClock
) -> None:
    """An append that passed its checks before the close is in the closed day's heads."""
    (head,) = await add_chains(store, ["albi"])
    day = (await store.read_now()).date()
    await move_clock(**after(day, -60))
    made = batch([(head, fresh(1))], await store.read_now())
    # The head is held, so the append waits in the middle of its transaction, past its checks.
    async with superuser.transaction():
        await superuser.execute("SELECT FROM journal.head FOR UPDATE")
        appending = asyncio.create_task(store.append(made))
        await until_waiting(owner, "transactionid", appending)
        await move_clock(**after(day))
        closing = asyncio.create_task(store.close_day(day))
        await until_waiting(owner, "advisory", closing)
    assert (await appending).answer == "appended"
    assert [row.size for row in await closing] == [1]


async def test_the_heads_at_a_days_end_are_what_they_were(store: Store, move_clock: MoveClock) -> None:
    """However chains moved before and since: still, busy all along, busy again, new, empty, of a new category."""
    names = ["still", "that-day", "since", "both", "empty", "yesterday-and-since"]
    heads = {head.tenant: head for head in await add_chains(store, names)}
    first_day = (await store.read_now()).date()
    day = first_day + timedelta(days=1)

    async def extend(*tenants: str) -> None:
        for tenant in tenants:
            heads[tenant] = await append(store, heads[tenant], fresh(2))

    await extend("still", "yesterday-and-since")
    await move_clock(**after(first_day))
    await close(store, first_day)
    await put_open(store)
    await extend("that-day", "both")
    await put_open(store)
    await extend("both")
    at_the_end = {tenant: sealed(head) for tenant, head in heads.items()}
    await move_clock(**after(day))
    await extend("since", "both", "yesterday-and-since")
    await store.add_tenant("new", "New", {CATEGORY: genesis_of("new", CATEGORY)})
    (heads["new"],) = await store.read_heads(["new"], [CATEGORY])
    at_the_end["new"] = sealed(heads["new"])
    await extend("new")
    everyone = [*names, "new"]
    await store.add_category(
        "ecrits",
        label="e",
        regime="LED",
        retention_days=60,
        needs_authorisation=True,
        genesis={tenant: genesis_of(tenant, "ecrits") for tenant in everyone},
    )
    await store.ensure_partitions(1)
    (young,) = await store.read_heads(["still"], ["ecrits"])
    await append(store, young, fresh(1))
    found = await store.close_day(day)
    assert {row.tenant: sealed(row) for row in found if row.category == CATEGORY} == at_the_end
    of_the_new_category = [row for row in found if row.category == "ecrits"]
    assert [(row.size, row.chain_hash) for row in of_the_new_category] == [
        (0, genesis_of(tenant, "ecrits")) for tenant in sorted(everyone)
    ]


async def test_a_day_whose_partition_is_missing_is_not_sealed(
    store: Store, owner: asyncpg.Connection, move_clock: MoveClock
) -> None:
    """Its last entry could not be found, and the seal would state another head."""
    await add_chains(store, ["albi"])
    day = (await store.read_now()).date()
    await move_clock(**after(day))
    await owner.execute(f"DROP TABLE journal.entry_1_{day:%Y%m%d}")
    with pytest.raises(StoreError, match="there is no partition"):
        await store.close_day(day)


async def test_a_day_fenced_before_it_came_is_sealed_without_a_partition(
    store: Store, owner: asyncpg.Connection, move_clock: MoveClock
) -> None:
    """An old backup restored beside a newer key store has no partition for it, and will never have one."""
    (head,) = await add_chains(store, ["albi"])
    day = (await store.read_now()).date()
    head = await append(store, head, fresh(2))
    await move_clock(**after(day))
    await close(store, day)
    fenced = day + timedelta(days=1)
    await owner.execute(f"DROP TABLE journal.entry_1_{fenced:%Y%m%d}")
    await store.raise_fence(CATEGORY, fenced)
    await move_clock(**after(fenced))
    await append(store, head, fresh(1))
    assert [sealed(row) for row in await store.close_day(fenced)] == [sealed(head)]


async def test_reading_seals(store: Store) -> None:
    """By number, by page, the latest; None where there is none."""
    await add_chains(store, ["albi"])
    assert await store.latest_seal() is None
    for number in range(1, 6):
        assert await put_open(store) == number
    assert [seal.number for seal in await store.read_seals(0, 2)] == [1, 2]
    assert [seal.number for seal in await store.read_seals(2, 9)] == [3, 4, 5]
    latest = await store.latest_seal()
    assert latest is not None
    assert latest == await store.read_seal(5)
    assert (latest.text, latest.signature, latest.day) == (b"open", b"signature", None)
    assert await store.read_seal(6) is None


async def live(store: Store, move_clock: MoveClock, *, seed: int, days: int) -> list[date]:
    """Live some days of random appends and seals; return the days closed."""
    chance = random.Random(seed)
    heads = {head.tenant: head for head in await add_chains(store, [f"commune-{number}" for number in range(5)])}
    first_day = (await store.read_now()).date()
    closed = []
    for number in range(days):
        day = first_day + timedelta(days=number)
        await move_clock(**after(day - timedelta(days=1), 60))
        await store.ensure_partitions(1)
        for _ in range(chance.randint(0, 4)):
            for tenant in chance.sample(sorted(heads), chance.randint(0, len(heads))):
                heads[tenant] = await append(store, heads[tenant], fresh(chance.randint(1, 3)))
            await put_open(store)
        if chance.random() < 0.3:
            tenant = f"late-{number}"
            await store.add_tenant(tenant, tenant, {CATEGORY: genesis_of(tenant, CATEGORY)})
            (heads[tenant],) = await store.read_heads([tenant], [CATEGORY])
        await move_clock(**after(day))
        await close(store, day)
        closed.append(day)
    return closed


@pytest.mark.parametrize("seed", range(4))
async def test_thinning_changes_nothing_of_what_stays(
    store: Store, owner: asyncpg.Connection, move_clock: MoveClock, seed: int
) -> None:
    """After thinning, every kept seal answers as before, and no head of a removed seal is left behind."""
    closed = await live(store, move_clock, seed=seed, days=12)
    seals = await store.read_seals(0, 1000)
    before = {seal.number: await store.read_seal_heads(seal.number) for seal in seals}
    limit = midnight_after(closed[3])
    going = {seal.number for seal in seals if seal.day is None and seal.sealed_at < limit}
    removed = await store.thin_seals(limit)
    assert removed == len(going)
    kept = await store.read_seals(0, 1000)
    assert {seal.number for seal in kept} == set(before) - going
    for seal in kept:
        assert await store.read_seal_heads(seal.number) == before[seal.number], seal.number
    numbers = {row["number"] for row in await owner.fetch("SELECT DISTINCT number FROM journal.seal_head")}
    assert numbers <= {seal.number for seal in kept}
    assert await store.thin_seals(limit) == 0


async def test_thinning_spares_a_week_and_the_latest(store: Store, move_clock: MoveClock) -> None:
    """A younger limit is refused whole; the latest seal stays however old, for its number must not come twice."""
    await add_chains(store, ["albi"])
    await put_open(store)
    assert await store.thin_seals(await store.read_now()) == 0
    await put_open(store)
    with pytest.raises(StoreError, match="only open seals older than a week"):
        await store.thin_seals(await store.read_now())
    await move_clock(days=8)
    assert await store.thin_seals(await store.read_now()) == 1
    assert [seal.number for seal in await store.read_seals(0, 10)] == [2]


async def purge(store: Store, category: str, days: Sequence[date]) -> None:
    """Destroy days of a category, and move its chains' base."""
    await store.raise_fence(category, days[-1])
    for day in days:
        await store.drop_day(category, day)
    await store.move_kept_from(category, days[-1])


async def test_heads_are_kept_as_long_as_a_base_may_be_among_them(
    store: Store, owner: asyncpg.Connection, move_clock: MoveClock
) -> None:
    """Pruning goes up to the base of the slowest category; what is pruned is refused, never answered short."""
    closed = await live(store, move_clock, seed=7, days=8)
    seals = await store.read_seals(0, 1000)
    before = {seal.number: await store.read_seal_heads(seal.number) for seal in seals}
    assert await store.prune_seal_heads(days=0) == 0
    await store.add_category(
        "ecrits",
        label="e",
        regime="LED",
        retention_days=60,
        needs_authorisation=True,
        genesis={tenant.code: genesis_of(tenant.code, "ecrits") for tenant in await store.read_tenants()},
    )
    await purge(store, CATEGORY, closed[:5])
    assert await store.prune_seal_heads(days=0) == 0, "one category never purged anything"
    await store.raise_fence("ecrits", closed[3])
    assert await store.prune_seal_heads(days=0) == 0, "the base of its chains has not moved: a head is still needed"
    await purge(store, "ecrits", closed[:4])
    horizon = await store.close_seal(closed[3])
    assert horizon is not None
    assert await store.prune_seal_heads(days=0) > 0
    for seal in seals:
        if seal.number < horizon.number:
            with pytest.raises(StoreError, match="no longer kept"):
                await store.read_seal_heads(seal.number)
        else:
            assert await store.read_seal_heads(seal.number) == before[seal.number]
    assert await store.read_seals(0, 1000) == seals, "texts and signatures stay"
    rows_of_the_past = await owner.fetchval(
        "SELECT count(*) FROM journal.seal_head WHERE number <= $1 GROUP BY tenant, category ORDER BY 1 DESC LIMIT 1",
        horizon.number,
    )
    assert rows_of_the_past == 1
    assert await store.prune_seal_heads(days=0) == 0
