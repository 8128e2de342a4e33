"""The attestation of a destruction: what it says is what the seals and the purge entries show, and no more."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from journal.admin.administration import NewCategory
from journal.core.entry import JOURNAL_CATEGORY
from journal.core.errors import OperatorError, StoreError
from journal.core.seal import parse_seal
from retention import evidence
from retention.attestation import Attestations
from retention.purge_log import read_recorded_purges
from tests.support.world import DAY, FIRST, OTHER_TENANT, TENANT, World, copied, new_world

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import date
    from pathlib import Path

    from journal.database.embedded import EmbeddedPostgres
    from journal.document.attested import Attestation, CategoryFacts
    from retention.purge_log import RecordedPurge

# Kept three days: purged from the third day on, gone before the fourth.
BRIEF, BRIEF_DAYS = "breve", 3
QUIET = "muette"
UNTOLD = r"so is the evidence of how many entries it had: .* 60 days after a purge"


@copied
@asynccontextmanager
async def attested_world(postgres: EmbeddedPostgres, home: Path) -> AsyncIterator[World]:
    """A service of two tenants, whose key store has a replica, with two categories that are kept three days."""
    async with new_world(postgres, home, keystore_replicas=(str(home / "replica"),)) as made:
        for code, regime in ((BRIEF, "LED"), (QUIET, "GDPR")):
            category = NewCategory(code=code, label=code.title(), regime=regime, retention_days=BRIEF_DAYS)
            await made.installation.administration.add_category(category)
        await made.installation.maintenance.prepare()
        yield made


pytestmark = [pytest.mark.world(made_by=attested_world), pytest.mark.usefixtures("no_documents")]


async def live(world: World, days: int, *, first: int = 0) -> None:
    """Live so many days from a first: some entries, a seal, the purge."""
    for number in range(first, first + days):
        await world.travel_to(FIRST + number * DAY)
        for tenant in (TENANT, OTHER_TENANT):
            await world.record(2 + number % 3, tenant=tenant, category=BRIEF)
        await world.seal()
        await world.installation.purger.run()


async def attest(world: World, day: date = FIRST, tenant: str = TENANT) -> Attestation:
    """What can be attested."""
    return await Attestations(world.service).gather(tenant, day)


def facts_of(attestation: Attestation, code: str) -> CategoryFacts:
    """One category's facts."""
    (found,) = [facts for facts in attestation.categories if facts.code == code]
    return found


def at(day: date, hours: float = 0) -> datetime:
    """An hour of a day."""
    return datetime.combine(day, time(), tzinfo=UTC) + timedelta(hours=hours)


async def test_the_facts_are_those_that_an_auditor_finds(world: World) -> None:
    """Indexes, base, rule, moment and seals agree with the extracts made before and after, and with the head."""
    await live(world, 2)
    before = world.verify(await world.extract(FIRST, FIRST, category=BRIEF))
    await live(world, 1, first=2)
    attestation = await attest(world)
    facts = facts_of(attestation, BRIEF)
    assert (facts.state, facts.first_index, facts.end_index, facts.count) == ("destroyed", 0, 2, 2)
    assert facts.closing == before.manifest.head
    assert (facts.may_go_at, facts.must_go_at) == (at(FIRST + 2 * DAY), at(FIRST + 3 * DAY))
    assert facts.recorded
    assert facts.gone_at is not None
    assert facts.may_go_at <= facts.gone_at < facts.must_go_at
    assert abs(facts.gone_at - at(FIRST + 2 * DAY, 9)) < timedelta(minutes=5)
    assert facts.lateness == timedelta(0)
    # The seals it names are those that are served, by their own digests.
    closing, shown = await world.service.store.close_seal(FIRST), facts.shown
    assert closing is not None
    assert shown is not None
    assert (attestation.closing.number, attestation.closing.digest) == (closing.number, parse_seal(closing.text).digest)
    served = {seal["number"]: seal["text"].encode() for seal in await world.service.reader.seals(0, 1000)}
    assert parse_seal(served[shown.number]).digest == shown.digest
    for number, kept_from in ((closing.number, 0), (shown.number - 1, 0), (shown.number, 2)):
        rows = await world.service.store.read_seal_heads(number)
        (head,) = [row for row in rows if (row.tenant, row.category) == (TENANT, BRIEF)]
        assert head.kept_from == kept_from, number
    # An extract made now states the same purge.
    report = world.verify(await world.extract(FIRST, FIRST + DAY, category=BRIEF))
    assert report.purged is not None
    assert (report.purged.through, report.purged.before_index) == (FIRST, facts.end_index)
    assert report.manifest.base == facts.closing
    assert await world.audit() == []


async def test_what_is_kept_is_listed_and_not_attested(world: World) -> None:
    """Of a day of which only the brief categories are gone, the others are named with their own terms."""
    await live(world, 3)
    attestation = await attest(world)
    assert {facts.code for facts in attestation.of_state("destroyed")} == {BRIEF, QUIET}
    kept = attestation.of_state("kept")
    assert {facts.code for facts in kept} == {"main-courante", "ecrits", "assistance", "comptes", JOURNAL_CATEGORY}
    assert {facts.must_go_at for facts in kept} == {at(FIRST + 60 * DAY)}
    quiet = facts_of(attestation, QUIET)
    assert (quiet.count, quiet.gone_at, quiet.shown) == (0, None, None)
    assert quiet.regime == "GDPR"


async def test_a_late_purge_is_told_as_late(world: World) -> None:
    """A day that went after its term says by how much; several days of one run are told apart."""
    await live(world, 2)
    await world.travel_to(FIRST + 5 * DAY, 7)
    await world.installation.purger.run()
    first, second = facts_of(await attest(world), BRIEF), facts_of(await attest(world, FIRST + DAY), BRIEF)
    assert timedelta(days=2, hours=7) <= first.lateness < timedelta(days=2, hours=7, minutes=5)
    assert timedelta(days=1, hours=7) <= second.lateness < timedelta(days=1, hours=7, minutes=5)
    assert (first.first_index, first.end_index, second.first_index, second.end_index) == (0, 2, 2, 5)
    assert first.shown == second.shown


@pytest.mark.parametrize(
    ("kept", "nights"),
    [(10, 11), pytest.param(60, 61, marks=pytest.mark.campaign), pytest.param(60, 120, marks=pytest.mark.campaign)],
)
async def test_what_can_be_said_as_time_goes_by(world: World, kept: int, nights: int) -> None:
    """First heads are pruned, then entries are purged: each time less is said, never anything else, at last nothing."""
    await world.shorten_rules(kept)
    await world.travel_to(FIRST)
    await world.record(4, category="main-courante")
    await live(world, 1)
    for category in ("ecrits", "assistance", "comptes", QUIET):
        await world.travel_to(FIRST + DAY)
        await world.record(3, category=category)
    await live(world, 2, first=1)
    early = await attest(world)
    await purge_all(world, kept - 1)
    whole = await attest(world)
    await world.service.store.prune_seal_heads(days=0)
    assert {facts.state for facts in whole.categories} == {"destroyed"}
    assert facts_of(whole, BRIEF) == facts_of(early, BRIEF)
    # The next night, the heads at the close of the day are gone.
    await purge_all(world, kept)
    await world.service.store.prune_seal_heads(days=0)
    pruned = await attest(world)
    assert pruned.closing == whole.closing
    for code, count in ((BRIEF, 2), ("main-courante", 4), ("ecrits", 0), ("assistance", 0), ("comptes", 0)):
        then, now = facts_of(whole, code), facts_of(pruned, code)
        assert (now.state, now.closing, now.count, now.gone_at) == ("destroyed", None, count, then.gone_at), code
        if count:
            assert (now.first_index, now.recorded, now.shown) == (then.first_index, True, then.shown), code
    # Purged on the third day and heads of that day pruned: nothing tells any more that there was nothing.
    assert facts_of(pruned, QUIET).state == "untold"
    # Nor where the entries cannot be read: what moved since, nobody can tell the days of, and none is called empty.
    key = world.settings.keystore_path / "tenants" / TENANT
    copy = world.settings.home_path / "replica" / "tenants" / TENANT
    content = key.read_bytes()
    key.unlink()
    copy.unlink()
    async with world.another_process() as other:
        with pytest.raises(OperatorError, match=UNTOLD):
            await Attestations(other.service).gather(TENANT, FIRST)
    key.write_bytes(content)
    copy.write_bytes(content)
    # The night after, the entry that recorded the purge of the brief category is purged.
    await purge_all(world, kept + 1)
    await world.service.store.prune_seal_heads(days=0)
    later = await attest(world)
    assert {facts.code for facts in later.of_state("untold")} == {BRIEF, QUIET}
    assert facts_of(later, "main-courante").count == 4
    assert await world.audit() == []
    if nights == kept + 1:
        return
    await purge_all(world, nights)
    await world.service.store.prune_seal_heads(days=0)
    with pytest.raises(OperatorError, match=UNTOLD):
        await attest(world)


async def purge_all(world: World, days: int) -> None:
    """Come to a day, close those before it, purge what is due."""
    await world.travel_to(FIRST + days * DAY)
    await world.seal()
    await world.installation.purger.run(max_days=None)


async def test_a_contract_that_has_ended(world: World) -> None:
    """Closed tenants' days are attested like any other's, from the entries in the service's own journal."""
    await live(world, 1)
    await world.record(5, tenant=OTHER_TENANT, category=BRIEF)
    await world.travel_to(FIRST + DAY)
    for tenant in (TENANT, OTHER_TENANT):
        await world.installation.administration.close_tenant(tenant)
    await world.travel_to(FIRST + 2 * DAY)
    await world.seal()
    await world.installation.purger.run()
    for tenant, count in ((TENANT, 2), (OTHER_TENANT, 7)):
        facts = facts_of(await attest(world, tenant=tenant), BRIEF)
        assert (facts.count, facts.recorded) == (count, True)
        assert facts.shown is not None


async def test_a_tenant_whose_key_is_gone(world: World) -> None:
    """If the entries that recorded the purge cannot be read any more, the seals give the latest possible time."""
    await live(world, 3)
    whole = facts_of(await attest(world), BRIEF)
    for directory in ("keys", "replica"):
        (world.settings.home_path / directory / "tenants" / TENANT).unlink()
    async with world.another_process() as other:
        facts = facts_of(await Attestations(other.service).gather(TENANT, FIRST), BRIEF)
    assert whole.shown is not None
    assert facts == replace(whole, recorded=False, gone_at=whole.shown.sealed_at)


async def test_what_cannot_be_attested(world: World) -> None:
    """Each refusal says why, and when or how it can be had."""
    await live(world, 2)
    await world.travel_to(FIRST + 2 * DAY)
    for tenant, days, says in (
        ("toulouse", 0, "there is no tenant toulouse: see openepm-journal tenant list"),
        ("_service", 0, "there is no tenant _service"),
        (TENANT, 2, "2026-03-04 is not over"),
        (TENANT, 9, "2026-03-11 is not over"),
        (TENANT, -1, "2026-03-01 is before albi became a tenant, on 2026-03-02"),
        (TENANT, 1, "its breve may be purged from 2026-03-05T00:00:00Z on, and is purged before 2026-03-06T00:00:00Z"),
        (TENANT, 0, "before 2026-03-05T00:00:00Z: openepm-journal purge does it now"),
    ):
        with pytest.raises(OperatorError, match=says):
            await attest(world, FIRST + days * DAY, tenant)


async def test_an_overdue_day(world: World) -> None:
    """A day past its limit is refused with the command to run; beside purged days it is listed with its delay."""
    await live(world, 1)
    await world.travel_to(FIRST + 3 * DAY)
    with pytest.raises(OperatorError, match="was due before 2026-03-05T00:00:00Z and is overdue: run openepm-journal"):
        await attest(world)


async def test_a_purge_that_is_not_finished(world: World) -> None:
    """Cut short at any step, or undone by a backup, a purge is not attested; once it is finished, it is."""
    await live(world, 2)
    key = world.settings.keystore_path / "days" / BRIEF / str(FIRST)
    content = key.read_bytes()
    await world.travel_to(FIRST + 2 * DAY)
    await world.seal()
    store, keyring = world.service.store, world.service.keyring
    not_finished = f"the purge of {BRIEF} {FIRST} is not finished"
    keyring.keystore.raise_fence(BRIEF, FIRST)
    with pytest.raises(OperatorError, match=not_finished):  # a restored database has forgotten it
        await attest(world)
    for step in (store.raise_fence, store.drop_day, store.move_kept_from):
        await step(BRIEF, FIRST)
        with pytest.raises(OperatorError, match=not_finished):
            await attest(world)
    await world.installation.purger.run()
    assert facts_of(await attest(world), BRIEF).count == 2
    key.write_bytes(content)
    with pytest.raises(OperatorError, match=not_finished):
        await attest(world)
    await world.installation.purger.run()
    attestation = await attest(world)
    assert (facts_of(attestation, BRIEF).count, attestation.key_copies) == (2, 2)
    replica = world.settings.home_path / "replica"
    replica.rename(replica.with_name("elsewhere"))
    with pytest.raises(OperatorError, match="a copy of the key store is not there to confirm it"):
        await attest(world)


async def test_no_seal_shows_it_yet(world: World) -> None:
    """A purge that no seal shows is not attested; the error says to seal."""
    await live(world, 3)
    async with world.superuser() as connection:  # as if the run that purged could not seal
        for table in ("seal_head", "seal"):
            await connection.execute(
                f"DELETE FROM journal.{table} WHERE number = (SELECT max(number) FROM journal.seal)"
            )
    with pytest.raises(OperatorError, match=f"no seal shows yet that {BRIEF} {FIRST} is purged"):
        await attest(world)
    # One that has seen the later seal would take this for a restored database.
    async with world.another_process() as other:
        await other.service.sealer.declare_loss()
    assert facts_of(await attest(world), BRIEF).count == 2


async def test_what_the_seals_do_not_bear_out(world: World) -> None:
    """A seal is checked again before a word of it is repeated."""
    await live(world, 3)
    close = await world.service.store.close_seal(FIRST)
    assert close is not None
    chain = f"number < $1 AND tenant = '{TENANT}' AND category = '{BRIEF}'"
    for harm, repair, says in (
        ("seal_head SET size = size + 1", "seal_head SET size = size - 1", "do not give its root"),
        ("seal SET text = text || '1'", "seal SET text = substr(text, 1, length(text) - 1)", "does not verify"),
        ("seal SET signature = signature || '1'", "seal SET signature = substr(signature, 1, 9)", "does not verify"),
    ):
        where = chain if "seal_head" in harm else "number = $1"
        async with world.superuser() as connection:
            await connection.execute(f"UPDATE journal.{harm} WHERE {where}", close.number)
            with pytest.raises(StoreError, match=says):
                await attest(world)
            await connection.execute(f"UPDATE journal.{repair} WHERE {where}", close.number)


async def test_two_accounts_of_one_purge(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the purge entry tells of other indexes than the seals, nothing is attested."""
    await live(world, 3)
    read = read_recorded_purges

    async def other(*arguments: Any) -> dict[tuple[str, date], RecordedPurge]:
        found = await read(*arguments)
        return {name: replace(purge, end_index=purge.end_index + 1) for name, purge in found.items()}

    monkeypatch.setattr(evidence, "read_recorded_purges", other)
    with pytest.raises(StoreError, match=f"the seals and the purge entry of {BRIEF} {FIRST} differ"):
        await attest(world)


@pytest.mark.documents
async def test_nothing_is_written(world: World) -> None:
    """An attestation moves no head: it is not itself an entry."""
    await live(world, 3)
    sizes = [await world.size(category=code) for code in (BRIEF, JOURNAL_CATEGORY)]
    await Attestations(world.service).make(await attest(world))
    assert [await world.size(category=code) for code in (BRIEF, JOURNAL_CATEGORY)] == sizes
