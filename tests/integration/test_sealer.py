"""The sealer: every day closed once, every chain in every seal, one sequence of numbers whoever seals."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from journal.clock import SimulatedClock
from journal.core.entry import JOURNAL_CATEGORY, RESERVED_TENANT, Compartment
from journal.core.errors import BusyError, ExpiredCertificateError, NotCoveredError, OperatorError, StoreError
from journal.core.seal import NOTHING_HASH, Seal, parse_seal
from journal.core.times import MAX_RETENTION_DAYS
from journal.database import seal as store
from journal.pki import cms
from journal.pki.certificates import pem_to_der
from journal.seals.dev_authority import make_development_authority
from journal.signer import client, judge
from journal.status.checks import STALE_SEAL
from tests.support.world import CATEGORY, DAY, OTHER_TENANT, SERVICE, START, TENANT, World, new_world

if TYPE_CHECKING:
    from pathlib import Path

    from journal.database.embedded import EmbeddedPostgres
    from journal.seals.sealer import Sealer

pytestmark = pytest.mark.usefixtures("no_documents")

# Two tenants in four categories, and the reserved tenant's one chain.
CHAINS = 11
FIRST_DAY = START.date()


async def seals_of(world: World) -> list[Seal]:
    """Return every seal there is, each with its signature verified."""
    anchors = pem_to_der(world.settings.trust_path.read_bytes())
    rows = await world.service.store.read_seals(0, 10_000)
    for row in rows:
        signature = cms.verify(row.signature, parse_seal(row.text).digest, anchors=anchors, service=SERVICE)
        assert signature.signing_time == row.sealed_at
    return [parse_seal(row.text) for row in rows]


async def head_at(world: World, seal: Seal, tenant: str = TENANT, category: str = CATEGORY) -> int:
    """Return the size of a chain in a seal."""
    row = await world.service.store.read_seal(seal.number)
    assert row is not None
    chain_seal = await world.service.reader.chain_seal(row, Compartment(SERVICE, tenant, category))
    assert chain_seal is not None
    return chain_seal.head.size


def sealer_of(world: World) -> Sealer:
    """Return the service's sealer."""
    return world.service.sealer


async def test_an_open_seal_only_when_heads_moved(world: World) -> None:
    """A still journal is not sealed again, unless an extract asks for it; any entry is a reason."""
    sealer = sealer_of(world)
    first = await sealer.seal_open(even_if_still=False)
    assert first is not None
    assert (first.number, first.day) == (1, None)
    assert await sealer.seal_open(even_if_still=False) is None
    asked = await sealer.seal_open(even_if_still=True)
    assert asked is not None
    assert asked.number == 2
    await world.record(1)
    moved = await sealer.seal_open(even_if_still=False)
    assert moved is not None
    assert moved.number == 3
    seals = await seals_of(world)
    assert seals[0].root == seals[1].root != seals[2].root
    assert [seal.previous for seal in seals] == [NOTHING_HASH, seals[0].digest, seals[1].digest]


async def test_every_day_is_closed_once(world: World) -> None:
    """After days of downtime every day has its close seal, empty ones too, in order, before any open seal."""
    await world.record(3)
    await world.travel_to(FIRST_DAY + 5 * DAY)
    await world.record(2)
    closed = await sealer_of(world).close_due_days()
    assert [row.day for row in closed] == [FIRST_DAY + number * DAY for number in range(5)]
    assert await sealer_of(world).close_due_days() == []
    await world.seal()
    seals = await seals_of(world)
    assert [seal.day for seal in seals] == [row.day for row in closed] + [None]
    # What was recorded before the sealer came back is of its own day all the same.
    assert [await head_at(world, seal) for seal in seals] == [3, 3, 3, 3, 3, 5]
    closes = [NOTHING_HASH, *(seal.digest for seal in seals)]
    assert [seal.previous_close for seal in seals] == closes[:6]
    assert await world.audit() == []


async def test_a_day_closes_where_it_ended(world: World) -> None:
    """Entries of the next day, recorded before the close seal is made, are not in it."""
    await world.record(4)
    await world.seal()
    await world.travel_to(FIRST_DAY + DAY, hour=0.5)
    await world.record(2)
    await world.record(1, tenant=OTHER_TENANT)
    [row] = await sealer_of(world).close_due_days()
    assert row.day == FIRST_DAY
    close = parse_seal(row.text)
    assert await head_at(world, close) == 4
    assert await head_at(world, close, tenant=OTHER_TENANT) == 0
    with pytest.raises(StoreError, match="does not await"):
        await world.service.store.close_day(FIRST_DAY)


async def test_every_chain_is_in_every_seal(world: World) -> None:
    """Empty chains, those added later and those of closed tenants are in every seal from their first on."""
    administration = world.installation.administration
    await world.seal()
    await administration.add_tenant("castres", "Castres")
    await world.seal()
    await world.travel_to(FIRST_DAY + DAY)
    await administration.close_tenant(OTHER_TENANT)
    await world.seal()
    await world.travel_to(FIRST_DAY + 2 * DAY)
    await world.seal()
    seals = await seals_of(world)
    assert [seal.chains for seal in seals] == [CHAINS, *[CHAINS + 5] * (len(seals) - 1)]
    assert await head_at(world, seals[-1], tenant="castres") == 0
    assert await head_at(world, seals[-1], OTHER_TENANT, JOURNAL_CATEGORY) == 2
    assert await head_at(world, seals[-1], RESERVED_TENANT, JOURNAL_CATEGORY) == 0
    first = await world.service.store.read_seal(1)
    assert first is not None
    assert await world.service.reader.chain_seal(first, Compartment(SERVICE, "castres", CATEGORY)) is None


async def test_more_chains_than_go_at_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Heads are read, offered and compared some at a time: each chain is in the seal where it stands."""
    for module, name in ((store, "STEP_ROWS"), (client, "CHAINS_AT_ONCE"), (judge, "CHAINS_AT_ONCE")):
        monkeypatch.setattr(module, name, 2)
    await world.seal()
    sizes = {(TENANT, CATEGORY): 1, (OTHER_TENANT, CATEGORY): 2, (TENANT, "assistance"): 3, (TENANT, "ecrits"): 4}
    for (tenant, category), size in sizes.items():
        await world.record(size, tenant=tenant, category=category)
    await world.seal()
    last = (await seals_of(world))[-1]
    assert last.chains == CHAINS
    assert {chain: await head_at(world, last, *chain) for chain in sizes} == sizes
    await world.travel_to(FIRST_DAY + DAY)
    await world.seal()
    assert await world.audit() == []


async def test_nothing_is_sealed_of_a_day_before_the_last_is_closed(world: World) -> None:
    """In a day's first seconds, when clocks may still disagree, sealing waits; then the close seal comes first."""
    await world.record(1)
    await world.travel(datetime(2026, 3, 3, 0, 0, 2, tzinfo=UTC))
    await world.record(1)
    assert await sealer_of(world).close_due_days() == []
    await world.travel(datetime(2026, 3, 3, 0, 0, 4, 500_000, tzinfo=UTC))
    row = await sealer_of(world).seal_open(even_if_still=True)
    assert row is not None
    assert row.sealed_at >= datetime(2026, 3, 3, 0, 0, 5, tzinfo=UTC)
    seals = await seals_of(world)
    assert [(seal.day, await head_at(world, seal)) for seal in seals] == [(FIRST_DAY, 1), (None, 2)]


async def test_midnight_comes_to_the_database_first(world: World) -> None:
    """A clock a second behind the database's at midnight neither fails nor seals out of order."""
    await world.record(1)
    await world.travel(datetime(2026, 3, 3, 0, 0, 4, 200_000, tzinfo=UTC))
    late = SimulatedClock(world.clock.offset - timedelta(seconds=1.5))
    early = SimulatedClock(world.clock.offset + timedelta(seconds=1.5))
    for clock in (early, late):
        async with world.another_process(clock) as installation:
            row = await installation.service.sealer.seal_open(even_if_still=True)
            assert row is not None
    assert [seal.day for seal in await seals_of(world)] == [FIRST_DAY, None, None]


async def test_many_sealers(world: World) -> None:
    """Processes that seal at once share one sequence of numbers, each seal naming the one before."""
    async with world.another_process() as second, world.another_process() as third:
        sealers = [sealer_of(world), second.service.sealer, third.service.sealer]

        async def work(sealer: Sealer) -> None:
            for _ in range(12):
                await world.record(1)
                await sealer.seal_open(even_if_still=True)

        await asyncio.gather(*map(work, sealers))
        seals = await seals_of(world)
        assert [seal.number for seal in seals] == list(range(1, 37))
        assert [seal.previous for seal in seals[1:]] == [seal.digest for seal in seals[:-1]]
        sizes = [await head_at(world, seal) for seal in seals]
        assert sizes == sorted(sizes)
        assert await world.audit() == []


async def test_many_sealers_after_a_downtime(world: World) -> None:
    """Processes that start together after days of downtime close each day once, and none fails."""
    await world.record(1)
    await world.travel_to(FIRST_DAY + 12 * DAY)
    await world.record(1)
    async with world.another_process() as second, world.another_process() as third:
        sealers = [sealer_of(world), second.service.sealer, third.service.sealer]
        await asyncio.gather(*(sealer.seal_open(even_if_still=True) for sealer in sealers))
    days = [seal.day for seal in await seals_of(world)]
    assert days == [FIRST_DAY + number * DAY for number in range(12)] + [None] * 3
    assert await world.audit() == []


async def test_a_crash_between_the_end_of_a_day_and_its_seal(world: World) -> None:
    """A day that was ended and not sealed takes nothing more, and is sealed by whoever comes next."""
    await world.record(2)
    await world.travel_to(FIRST_DAY + DAY)
    heads = await world.service.store.close_day(FIRST_DAY)
    assert {head.size for head in heads if (head.tenant, head.category) == (TENANT, CATEGORY)} == {2}
    [found] = await world.audit()
    assert str(found).startswith("not covered: close seal of 2026-03-02: missing")
    await world.record(1)
    async with world.another_process() as other:
        [row] = await other.service.sealer.close_due_days()
    assert await head_at(world, parse_seal(row.text)) == 2
    assert await world.audit() == []


async def test_time_never_goes_back(world: World) -> None:
    """Processes whose clocks differ by as much as is tolerated make seals of one course of time."""
    async with world.another_process(SimulatedClock(world.clock.offset - timedelta(seconds=1.9))) as late:
        for _ in range(3):
            for sealer in (sealer_of(world), late.service.sealer):
                await sealer.seal_open(even_if_still=True)
    times = [seal.sealed_at for seal in await seals_of(world)]
    assert times == sorted(times)
    assert await world.audit() == []


async def test_an_expired_certificate(postgres: EmbeddedPostgres, tmp_path: Path) -> None:
    """Nothing is signed after the certificate's end, and readiness says so; entries go on; a renewed one seals all."""
    identity = tmp_path / "identity"
    # Two years, to the second, of which two days are left.
    make_development_authority(
        identity, SERVICE, START, not_before=START - timedelta(days=728, hours=12), trust_path=tmp_path / "trust.pem"
    )
    async with new_world(postgres, tmp_path) as world:
        await world.record(1)
        await world.seal()
        assert (await world.service.checks.run())["certificate"] is None
        await world.travel_to(FIRST_DAY + 4 * DAY)
        [receipt] = await world.record(1)
        assert receipt.index == 1
        size = await world.size(category=JOURNAL_CATEGORY)
        for attempt in (sealer_of(world).close_due_days(), world.seal(), world.extract(world.today, world.today)):
            with pytest.raises(ExpiredCertificateError, match=r"nothing is signed at 2026-03-0.* expired on 2026-03-0"):
                await attempt
        assert await world.size(category=JOURNAL_CATEGORY) == size, "no request is journaled for nothing"
        certificate = (await world.service.checks.run())["certificate"]
        assert certificate is not None
        assert "nothing is sealed or extracted until it is renewed" in certificate
        assert len(await seals_of(world)) == 1
        (identity / "signing.key").unlink()
        make_development_authority(identity, SERVICE, world.clock.now(), trust_path=tmp_path / "trust.pem")
        async with world.another_process() as renewed:
            assert (await renewed.service.checks.run())["certificate"] is None
            await renewed.service.sealer.seal_open(even_if_still=True)
        days = [seal.day for seal in await seals_of(world)]
        assert days == [None, *(FIRST_DAY + number * DAY for number in range(4)), None]
        assert await world.audit() == []


async def test_readiness_speaks_of_unsealed_heads(world: World) -> None:
    """Heads that wait for a seal for ten minutes are told; an entry after an idle hour is no alarm."""

    async def seals() -> str | None:
        return (await world.service.checks.run())["seals"]

    assert await seals() == "no seal has been made yet"
    await world.seal()
    await world.travel(START + timedelta(hours=1))
    assert await seals() is None
    await world.record(1)
    assert await seals() is None
    await world.travel(START + timedelta(hours=1) + STALE_SEAL / 2)
    # That it goes on moving does not excuse it.
    await world.record(1)
    assert await seals() is None
    await world.travel(START + timedelta(hours=1, minutes=1) + STALE_SEAL)
    await world.record(1)
    assert await seals() == "heads changed more than 10 minutes ago and seal 1 is still the last"
    await world.seal()
    assert await seals() is None


@pytest.mark.parametrize(
    ("days", "twice", "kept"),
    [
        (18, 9, 5),  # days with two seals, the last ones: open seals are thinned after seven
        pytest.param(66, 14, 60, marks=pytest.mark.campaign),
        pytest.param(66, 66, 60, marks=pytest.mark.campaign),
        pytest.param(120, 120, 60, marks=pytest.mark.campaign),
    ],
)
async def test_bounded_storage(world: World, days: int, twice: int, kept: int) -> None:
    """Over months, close seals stay for ever, open ones a week, and heads as long as a base may be among them."""
    store = world.service.store
    extracts: list[tuple[date, bytes]] = []
    heads: list[int] = []
    if kept != MAX_RETENTION_DAYS:
        await world.shorten_rules(kept)
    for number in range(days):
        await world.travel_to(FIRST_DAY + number * DAY)
        for _ in range(2 if number >= days - twice else 1):
            await world.record(1, tenant=TENANT if number % 2 else OTHER_TENANT)
            await world.seal()
        await world.installation.purger.run()
        await store.thin_seals(world.clock.now() - timedelta(days=7))
        await store.prune_seal_heads(days=0)
        async with world.superuser() as superuser:
            heads.append(await superuser.fetchval("SELECT count(*) FROM journal.seal_head"))
        if number % (kept // 2) == kept // 2 - 1:
            assert await world.audit() == []
            extracts.append((world.today, await world.extract(FIRST_DAY, world.today)))
    seals = await seals_of(world)
    assert [seal.day for seal in seals if seal.day] == [FIRST_DAY + number * DAY for number in range(days - 1)]
    opened = [seal.sealed_at for seal in seals if seal.day is None]
    assert min(opened) >= world.clock.now() - timedelta(days=7)
    for _, extract in extracts:
        world.verify(extract)
    report = world.verify(await world.extract(FIRST_DAY, world.today))
    assert report.manifest.disclosed == await world.size() - report.manifest.base.size
    if days > kept + 6:
        with pytest.raises(StoreError, match="no longer kept"):
            await store.read_seal_heads(1)
    # Three heads move on a day: of an entry, of the purge, of the purge's own entry; each chain has one from before.
    assert max(heads) <= 3 * (kept + 1) + len(opened) + CHAINS
    assert await world.audit() == []


async def test_before_the_first_seal(world: World) -> None:
    """Until something is sealed, nothing is stated of any chain."""
    with pytest.raises(NotCoveredError, match="no seal covers"):
        await world.service.reader.latest(Compartment(SERVICE, TENANT, CATEGORY))


async def test_a_declared_loss_is_in_the_seals_up_to_a_close_seal(world: World) -> None:
    """The next seal says from which one the database was recovered; where it is a close seal, no other does."""
    with pytest.raises(StoreError, match="no seal yet"):
        await sealer_of(world).declare_loss()
    await world.record(1)
    await sealer_of(world).seal_open(even_if_still=False)
    await world.travel(START + 2 * DAY)
    before = (await seals_of(world))[-1]
    await world.record(1)
    assert await sealer_of(world).declare_loss() == before.number
    after = (await seals_of(world))[before.number :]
    assert [seal.recovered_from for seal in after] == [before.number] + [None] * (len(after) - 1)
    second = await sealer_of(world).declare_loss()
    await world.record(1)
    async with world.another_process() as other:
        await other.service.sealer.seal_open(even_if_still=False)
    await world.travel(START + 3 * DAY)
    await world.record(1)
    await world.seal()
    after = (await seals_of(world))[second:]
    assert [(seal.day is None, seal.recovered_from) for seal in after] == [
        *((is_open, second) for is_open in (True, True, False)),
        (True, None),
    ]
    assert await world.audit() == []


@pytest.mark.parametrize("days", [1, 90, -1])
async def test_nothing_is_sealed_while_the_clocks_are_on_different_days(world: World, days: int) -> None:
    """The rule that a seal states is that of its day: both clocks must say which it is."""
    await world.record(1)
    clock = SimulatedClock(world.clock.offset - days * DAY)
    before = len(await seals_of(world))
    async with world.another_process(clock) as installation:
        assert await installation.service.sealer.close_due_days() == []
        with pytest.raises(BusyError, match="on another day"):
            await installation.service.sealer.seal_open(even_if_still=True)
    assert len(await seals_of(world)) == before


async def test_a_database_that_goes_back_under_it(world: World) -> None:
    """A process that has seen a later seal than the database now has seals nothing more, and says what to do."""
    for _ in range(2):
        await world.record(1)
        await world.seal()
    [*_, before, last] = await seals_of(world)
    async with world.superuser() as superuser:
        # As a backup of a minute ago would have it.
        await superuser.execute("DELETE FROM journal.seal_head WHERE number = $1", last.number)
        await superuser.execute("DELETE FROM journal.seal WHERE number = $1", last.number)
    await world.record(1)
    for attempt in (world.seal, sealer_of(world).declare_loss):
        with pytest.raises(OperatorError, match=rf"seal {last.number} to seal {before.number}.* --declare-loss"):
            await attempt()
    assert (await seals_of(world))[-1] == before
    async with world.another_process() as other:
        assert await other.service.sealer.declare_loss() == before.number
