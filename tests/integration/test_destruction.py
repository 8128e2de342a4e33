"""The end of a contract, second step: a commune's key and rows are removed, and all the rest still verifies."""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING

import pytest

from journal.admin.administration import NewCategory
from journal.admin.persons import People
from journal.audit.findings import AGAIN
from journal.core.entry import JOURNAL_CATEGORY, RESERVED_TENANT, Compartment
from journal.core.errors import BusyError, EarlyDeletionError, EndedTenantError, OperatorError, RequestError, StoreError
from journal.core.times import format_time
from journal.extract.manifest import Request
from journal.keys.persons import Identity
from journal.keys.store import open_keystore
from journal.reading.plan import ExtractRequest
from tests.support.contents import told
from tests.support.ending import PEM, StopError, destroy, interrupted, lived_world, rows_of
from tests.support.world import CATEGORY, DAY, FIRST, OTHER_TENANT, PERSON, SERVICE, TENANT, World

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.world(made_by=lived_world), pytest.mark.usefixtures("no_documents")]


# What a destruction does, in its order; the writer submits its entry last.
STEPS = (
    "store.begin_destruction",
    "keystore.destroy_tenant_key",
    "store.remove_entries",
    "store.remove_traces",
    "store.empty_heads",
    "store.finish_destruction",
    "writer.submit",
)


async def close(world: World, tenant: str = TENANT) -> None:
    """Close a commune without an export."""
    await world.installation.closing.close_without_export(tenant)


async def findings(world: World) -> list[str]:
    """Return what is wrong with the store, as the operator reads it."""
    return [str(finding) for finding in await world.audit()]


async def test_a_destroyed_commune(world: World, tmp_path: Path) -> None:
    """No row, no key, no counter of it is left; its heads say so; the other, and all seals, verify as before."""
    mine, _ = await world.installation.administration.credentials.add(
        role="module", tenant=TENANT, categories=[CATEGORY], source_prefix="/openepm/", label="Guichet"
    )
    identity = Identity(name="Anne Martin", function="cheffe de service", login="a.martin@albi.example")
    person, _ = await People(world.service).invite(
        tenant=TENANT, role="referent", categories=[CATEGORY], identity=identity
    )
    assert await world.service.store.use_code(person.id, 1)
    earlier = [await world.extract(FIRST, world.today, tenant=tenant) for tenant in (TENANT, OTHER_TENANT)]
    await world.installation.closing.close(TENANT, tmp_path, PEM)
    record = await destroy(world)
    assert await rows_of(world) == 0
    store = world.service.store
    assert await store.read_activity(TENANT) == []
    assert await store.read_activity(OTHER_TENANT) != []
    (row,) = [row for row in await store.list_credentials() if row.id == mine]
    assert (row.secret_hash, row.categories, row.source_prefix, row.label) == (bytes(32), [], None, "")
    (left,) = [row for row in await store.read_persons() if row.id == person.id]
    assert (left.sealed, left.categories, left.login_key, left.invitation_hash) == (b"", [], bytes(32), None)
    assert left.revoked_at is not None
    async with world.superuser() as superuser:
        assert await superuser.fetchval("SELECT count(*) FROM journal.person_code") == 0
    heads = await store.read_heads([TENANT] * 2, [CATEGORY, JOURNAL_CATEGORY])
    assert [(head.kept_from, head.size) for head in heads] == [(9, 9), (6, 6)]
    tenant = world.installation.administration.find_tenant(TENANT)
    assert (tenant.name, tenant.closed, tenant.destroyed) == (TENANT.capitalize(), True, True)
    for directory in (world.settings.keystore_path, world.settings.home_path / "replica"):
        assert not (directory / "tenants" / TENANT).exists()
        assert (directory / "tenants" / OTHER_TENANT).exists()
    assert record["entries"] == 9 + 6 + 6
    assert await findings(world) == []
    for extract in earlier:
        assert world.verify(extract).manifest.disclosed == 9
    assert world.verify(await world.extract(FIRST, world.today, tenant=OTHER_TENANT)).manifest.disclosed == 9
    assert set((await world.service.checks.run()).values()) == {None}
    # Days later, the others go on, are purged, and the store is in order.
    await world.shorten_rules(5)
    await world.travel_to(world.today + 6 * DAY)
    await world.record(1, tenant=OTHER_TENANT)
    await world.installation.purger.run(max_days=None)
    assert await world.service.store.read_purge_spans() == []
    await world.seal()
    assert await findings(world) == []
    await world.service.store.prune_seal_heads(days=0)
    await world.service.store.thin_seals(world.clock.now() - 7 * DAY)
    assert await findings(world) == []


async def test_the_record(world: World) -> None:
    """It states every chain, the seals before and after, and when; the service's journal holds its hash, once."""
    await world.seal()
    last = await world.service.store.latest_seal()
    assert last is not None
    await close(world)
    record = await destroy(world)
    ending = await world.service.store.read_ending(TENANT)
    assert ending is not None
    assert ending.destroyed_at is not None
    assert record["destroyed_at"] == format_time(ending.destroyed_at)
    assert record["seals"]["before"]["number"] == last.number + 1
    assert record["seals"]["after"]["number"] == last.number + 2
    for number, kept in ((last.number + 1, 0), (last.number + 2, 9)):
        stated = {(row.tenant, row.category): row for row in await world.service.store.read_seal_heads(number)}
        assert (stated[TENANT, CATEGORY].kept_from, stated[TENANT, CATEGORY].size) == (kept, 9)
        assert stated[OTHER_TENANT, CATEGORY].kept_from == 0
    assert {chain["origin"].rpartition("/")[2]: chain["size"] for chain in record["chains"]} == {
        CATEGORY: 9, "ecrits": 6, "assistance": 0, "comptes": 0, JOURNAL_CATEGORY: 2,
    }  # fmt: skip
    assert "export" not in record
    assert await destroy(world) == record
    destroyed = [data for _, subject, data in await told(world, RESERVED_TENANT) if subject == TENANT]
    assert [data["change"] for data in destroyed] == ["destroyed"]
    # When the entry that tells of it is purged, the same, and it is not told again.
    await world.shorten_rules(5)
    await world.travel_to(world.today + 6 * DAY)
    await world.installation.purger.run(max_days=None)
    size = await world.size(RESERVED_TENANT, JOURNAL_CATEGORY)
    assert await destroy(world) == record
    assert await world.size(RESERVED_TENANT, JOURNAL_CATEGORY) == size


async def test_what_is_not_destroyed(world: World) -> None:
    """An active contract, an export announced and not made, the service itself: nothing is removed."""
    with pytest.raises(OperatorError, match="the contract of albi has not ended: end it first"):
        await destroy(world)
    for code in ("castres", RESERVED_TENANT):
        with pytest.raises(OperatorError, match="there is no tenant"):
            await destroy(world, code)
    async with world.another_process() as other:
        with interrupted(other, "sealer.seal_open", happened=False), pytest.raises(StopError):
            await other.closing.close(TENANT, world.settings.home_path, PEM)
    await world.service.snapshot.refresh()
    with pytest.raises(OperatorError, match=r"the export of albi is not made: make it .*--without-export"):
        await destroy(world)
    assert await rows_of(world) == 9 + 6 + 2
    assert world.service.keyring.keystore.ended_tenants() == []
    await close(world)
    with world.service.keyring.keystore.destroying(), pytest.raises(BusyError):
        await destroy(world)
    assert await rows_of(world) == 9 + 6 + 2
    await destroy(world)


async def test_an_ending_removed_by_hand(world: World) -> None:
    """Nothing is destroyed by an ending that the key store does not vouch for."""
    await close(world)
    async with world.superuser() as superuser:
        await superuser.execute("DELETE FROM journal.ending")
    with pytest.raises((OperatorError, StoreError), match=r"the export of albi is not made|the row of ending albi"):
        await destroy(world)
    assert await rows_of(world) == 9 + 6 + 2


async def test_nothing_of_it_can_be_made_again(world: World) -> None:
    """Neither the code nor its key, in any process; and nothing can be exported, asked for or posted any more."""
    async with world.another_process() as other:
        # It knows the keys, and has them in memory.
        compartment = Compartment(SERVICE, TENANT, CATEGORY)
        other.service.keyring.box(compartment, FIRST)
        other.service.keyring.event_key_key(compartment)
        await close(world)
        await destroy(world)
        await other.service.snapshot.refresh()
        with pytest.raises(EndedTenantError, match="the contract of albi has ended"):
            other.service.keyring.box(compartment, FIRST)
        with pytest.raises(EndedTenantError):
            other.service.keyring.event_key_key(compartment)
        with pytest.raises(OperatorError, match="codes are never reused"):
            await other.administration.add_tenant(TENANT, "Another")
    with pytest.raises(RequestError, match="the contract has ended"):
        await world.extract(FIRST, world.today)
    with pytest.raises(OperatorError, match="its entries can be neither read nor exported"):
        await world.installation.closing.close(TENANT, world.settings.home_path, PEM)
    with pytest.raises(EndedTenantError):
        await world.record(1)
    await world.installation.administration.add_category(NewCategory(code="tard", label="Tard"))
    await world.installation.maintenance.prepare()
    assert await world.service.store.read_heads([TENANT], ["tard"]) == []
    assert await findings(world) == []


# One in three: before one step and after another.
@pytest.mark.parametrize("stride", [3, pytest.param(1, marks=pytest.mark.campaign)])
async def test_cut_short_anywhere(world: World, stride: int) -> None:
    """Interrupted before or after any step, the same command run again finishes it, and all verifies."""
    cases = list(product(STEPS, (False, True)))[::stride]
    tenants = [f"t{number}" for number in range(len(cases))]
    for tenant in tenants:
        await world.installation.administration.add_tenant(tenant, tenant)
        await world.record(2, tenant=tenant)
        await close(world, tenant)
    for tenant, (step, happened) in zip(tenants, cases, strict=True):
        async with world.another_process() as other:
            with interrupted(other, step, happened=happened), pytest.raises(StopError):
                await other.destruction.run(tenant, lambda _: None)
        # Between the two, nothing is in its way: neither the purge, nor maintenance, nor a seal.
        await world.service.snapshot.refresh()
        await world.installation.purger.run()
        await world.installation.maintenance.prepare()
        await world.seal()
        record = await destroy(world, tenant)
        assert record["entries"] == 4
        assert await rows_of(world, tenant) == 0
        assert tenant not in world.service.keyring.keystore.tenant_keys()
    assert await findings(world) == []
    told_of = [subject for _, subject, data in await told(world, RESERVED_TENANT) if data["change"] == "destroyed"]
    assert sorted(told_of) == sorted(tenants)


async def test_half_done(world: World) -> None:
    """The check of the store names what a destruction that was cut short has left."""
    await close(world)
    async with world.another_process() as other:
        with interrupted(other, "store.remove_entries", happened=False), pytest.raises(StopError):
            await other.destruction.run(TENANT, lambda _: None)
    found = await findings(world)
    assert any("albi/main-courante 2026-03-02: 3 entries of a destroyed tenant exist" in line for line in found)
    assert any("head of albi/main-courante: its tenant was destroyed, but it does not say so" in line for line in found)
    assert all(line.startswith("over-retention: ") for line in found)
    await destroy(world)
    assert await findings(world) == []


async def test_what_a_verifier_says(world: World) -> None:
    """No extract of it is made any more; one that were would be an early deletion by the rule: a record excuses it."""
    await close(world)
    await destroy(world)
    seal = await world.service.store.latest_seal()
    assert seal is not None
    stream = await world.service.extraction.open_last(
        Compartment(SERVICE, TENANT, CATEGORY),
        ExtractRequest(from_day=FIRST + DAY, to_day=world.today, purpose="lawfulness", requester="x", person=PERSON),
        announced=Request(index=0, leaf=bytes(32), reference=None),
        seal=seal,
    )
    # What a host would make that says: all of it was purged under its rule.
    stream._plan = replace(stream.plan, base=stream.plan.head, ranges=[])
    extract = b"".join([chunk async for chunk in stream.chunks()])
    with pytest.raises(EarlyDeletionError):
        world.verify(extract)


class TestBackups:
    """What a backup brings back is unreadable, is reported, and is removed again."""

    async def test_rows(self, world: World) -> None:
        """Rows of it that are put back are counted, and removed by the same command; the others' are untouched."""
        async with world.superuser() as superuser:
            await superuser.execute("CREATE TABLE public.backup AS SELECT * FROM journal.entry WHERE tenant = 'albi'")
            await close(world)
            await destroy(world)
            await superuser.execute("INSERT INTO journal.entry SELECT * FROM public.backup")
        found = await findings(world)
        assert len(found) == 7
        for number, (category, rows) in product(range(3), (("ecrits", 2), (CATEGORY, 3))):
            where = f"albi/{category} {(FIRST + number * DAY).isoformat()}"
            assert f"over-retention: {where}: {rows} entries of a destroyed tenant exist: {AGAIN}" in found
        await destroy(world)
        assert await findings(world) == []
        assert await rows_of(world, OTHER_TENANT) == 9 + 6 + 1

    async def test_a_key_in_one_copy(self, world: World) -> None:
        """It is refused at once, and destroyed again within the hour."""
        copy = world.settings.keystore_path / "tenants" / TENANT
        kept = copy.read_bytes()
        await close(world)
        await destroy(world)
        for directory in (world.settings.keystore_path, world.settings.home_path / "replica"):
            (directory / "tenants" / TENANT).write_bytes(kept)
            keystore = open_keystore(world.settings)
            with pytest.raises(EndedTenantError):
                keystore.read_tenant_key(TENANT)
            assert any(
                "key of tenant albi: it was destroyed, but the key exists" in line for line in await findings(world)
            )
            await world.installation.maintenance.prepare()
            assert not (directory / "tenants" / TENANT).exists()
            assert await findings(world) == []

    async def test_the_whole_key_store(self, world: World, tmp_path: Path) -> None:
        """Put back in every copy: no process that knows the database uses the key, and it is destroyed again."""
        shutil.copytree(world.settings.keystore_path, tmp_path / "backup")
        await close(world)
        await destroy(world)
        for directory in (world.settings.keystore_path, world.settings.home_path / "replica"):
            shutil.rmtree(directory)
            shutil.copytree(tmp_path / "backup", directory)
        async with world.another_process() as other:
            with pytest.raises(EndedTenantError):
                other.service.keyring.keystore.read_tenant_key(TENANT)
            found = await findings(world)
            assert any("tenant albi: the database says that it was destroyed, the key store" in line for line in found)
            assert any("key of tenant albi" in line for line in found)
            # Nobody's word but the key store's own excuses the beginning of a chain.
            assert any(line.startswith("early deletion: ") for line in found)
            # The ledger is of before as well: what the database says is confirmed first.
            store = other.service.store
            await store.confirm_facts({key: fact.digest for key, fact in (await store.suspended_facts()).items()})
            await other.service.snapshot.refresh(whole=True)
            await other.destruction.run(TENANT, lambda _: None)
        assert not (world.settings.home_path / "replica" / "tenants" / TENANT).exists()
        await world.service.snapshot.refresh(whole=True)
        assert await findings(world) == []

    async def test_a_database_from_before(self, world: World) -> None:
        """One in which its contract runs: its entries are unreadable and named, and it is ended again."""
        other = open_keystore(world.settings)
        other.destroy_tenant_key(TENANT)
        await world.installation.administration.credentials.add(
            role="client", tenant=OTHER_TENANT, categories=[CATEGORY]
        )
        async with world.another_process() as restored:
            problem = (await restored.service.checks.run())["keys"]
            assert problem is not None
            assert "the contract of albi has ended" in problem
            assert any("this database, an older copy, does not say so" in line for line in await findings(world))
            assert any("3 entries of a destroyed tenant" in line for line in await findings(world))
            with pytest.raises(OperatorError, match="the key of albi is destroyed"):
                await restored.closing.close(TENANT, world.settings.home_path, PEM)
            await restored.closing.close_without_export(TENANT)
            await restored.destruction.run(TENANT, lambda _: None)
        assert await rows_of(world) == 0
        assert await findings(world) == []


async def test_an_early_deletion_is_none_of_it(world: World) -> None:
    """A chain that begins too late is an early deletion, unless its tenant is destroyed, and all of it gone."""
    await world.seal()
    async with world.superuser() as superuser:
        await superuser.execute(
            "UPDATE journal.head SET kept_from = size WHERE tenant = 'sete' AND category = 'ecrits'"
        )
        await superuser.execute("DELETE FROM journal.entry WHERE tenant = 'sete' AND category = 'ecrits'")
    assert any(line.startswith("early deletion: head of sete/ecrits") for line in await findings(world))
    async with world.superuser() as superuser:
        await superuser.execute("UPDATE journal.tenant SET closed_at = now(), destroyed_at = now() WHERE code = 'sete'")
    assert any(line.startswith("early deletion: head of sete/ecrits") for line in await findings(world))


async def test_others_append_meanwhile(world: World) -> None:
    """Rows go in short steps: no commune waits for another's end."""
    async with world.another_process() as other:
        for _ in range(3):
            await world.record(2000)
        await close(world)
        left: list[int] = []

        async def go_on() -> None:
            await world.record(1, tenant=OTHER_TENANT)
            left.append(await rows_of(world))

        tasks: list[asyncio.Task[None]] = []
        await other.destruction.run(TENANT, lambda _: tasks.append(asyncio.ensure_future(go_on())))
        await asyncio.gather(*tasks)
    assert len(tasks) > 4
    # They were recorded while rows were still going.
    assert left[0] > 0
    assert await world.size(OTHER_TENANT) == 9 + len(tasks)
    assert await rows_of(world) == 0
    assert await findings(world) == []


async def test_the_room_is_given_back(world: World) -> None:
    """The owner's VACUUM reaches every partition, and finds in it what the others have."""
    leaf = f"entry_1_{world.today:%Y%m%d}"
    async with world.superuser() as superuser:
        # Nobody else is to come first, a minute after the rows.
        await superuser.execute(f"ALTER TABLE journal.{leaf} SET (autovacuum_enabled = false)")
    await world.record(2000)
    await close(world)
    await destroy(world)
    async with world.superuser() as superuser:
        counted = "SELECT reltuples FROM pg_class WHERE relname = $1"
        assert await superuser.fetchval(counted, leaf) == -1
        await world.installation.vacuum_removed()
        assert await superuser.fetchval(counted, leaf) == 3


async def test_what_is_kept_of_it_is_altered(world: World) -> None:
    """D10: the last state of an ended chain is compared with its head, which seals cover."""
    await world.installation.closing.close_without_export(TENANT)
    await destroy(world)
    assert await world.audit() == []
    async with world.superuser() as superuser:
        await superuser.execute(
            "UPDATE journal.ended_chain SET chain_hash = sha256(chain_hash) WHERE category = $1", CATEGORY
        )
    (finding,) = await world.audit()
    assert str(finding) == f"mismatched part: ended chain {TENANT}/{CATEGORY}: it is not what its head says"
