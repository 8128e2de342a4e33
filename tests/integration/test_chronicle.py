"""The journal of the journal: which tenant's journal gets an entry, and what happens to a late one."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from journal.core.entry import ACTIONS, JOURNAL_CATEGORY, RESERVED_TENANT, SERVICE_PREFIX
from journal.core.errors import EndedTenantError, RequestError
from tests.support.world import CATEGORY, DAY, OTHER_TENANT, START, TENANT, World, new_world

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from journal.core.entry import Entry
    from journal.database.embedded import EmbeddedPostgres
    from journal.database.ingest import AppendBatch, AppendResult

pytestmark = pytest.mark.usefixtures("no_documents")


@pytest_asyncio.fixture
async def world(postgres: EmbeddedPostgres, tmp_path: Path) -> AsyncIterator[World]:
    """Give a service with two communes."""
    async with new_world(postgres, tmp_path, tenants=[TENANT, OTHER_TENANT]) as made:
        yield made


async def written(world: World, journal: str, subject: str) -> list[Entry]:
    """Return the entries about a subject in one journal."""
    kinds = [action.removeprefix(SERVICE_PREFIX) for action in ACTIONS]
    pages = [page async for page in world.service.chronicle.pages(journal, *kinds)]
    return [entry for page in pages for entry in page.entries if entry.event["subject"] == subject]


async def test_what_concerns_an_ended_tenant(world: World) -> None:
    """It is in the service's journal, which names the tenant, and is found there by who asks about the tenant."""
    chronicle = world.service.chronicle
    await world.installation.administration.close_tenant(TENANT)
    size = await world.size(category=JOURNAL_CATEGORY)
    receipt = await chronicle.write("alarm", tenant=TENANT, subject="thing", data={"what": "x", "left_out": None})
    assert receipt.origin.endswith(f"/{RESERVED_TENANT}/{JOURNAL_CATEGORY}")
    at = world.clock.now()
    for tenant in (TENANT, OTHER_TENANT):
        for _ in range(2):
            await chronicle.write_once(
                "alarm",
                tenant=tenant,
                subject="both",
                data={},
                event_id=tenant,
                at=at,
                for_operator={"detail": "y"},
            )
    assert await world.size(category=JOURNAL_CATEGORY) == size
    (entry,) = await written(world, RESERVED_TENANT, "thing")
    assert entry.event["data"] == {"tenant": TENANT, "what": "x"}
    both = [entry.event["data"] for entry in await written(world, RESERVED_TENANT, "both")]
    assert both == [{"detail": "y"}, {"detail": "y"}]
    assert [entry.event["data"] for entry in await written(world, OTHER_TENANT, "both")] == [{}]
    about = [entry.event["subject"] async for entry in chronicle.entries(TENANT, "alarm", "tenant", since=world.today)]
    assert about == [TENANT, TENANT, "thing"]


async def test_what_must_be_in_the_tenants_journal(world: World) -> None:
    """An extract's request, or the announcement of an export, is never written elsewhere."""
    await world.installation.administration.close_tenant(TENANT)
    size = await world.size(RESERVED_TENANT, JOURNAL_CATEGORY)
    with pytest.raises(EndedTenantError):
        await world.service.chronicle.write("extract", tenant=TENANT, subject=CATEGORY, data={}, own_only=True)
    with pytest.raises(RequestError):
        await world.extract(world.today, world.today)
    assert await world.size(RESERVED_TENANT, JOURNAL_CATEGORY) == size


async def test_a_revocation_that_a_restored_database_forgets(world: World) -> None:
    """Where the key store remembers the end of the contract and the database does not, it is recorded all the same."""
    administration = world.installation.administration
    identifier, _ = await administration.credentials.add(role="client", tenant=TENANT, categories=[CATEGORY])
    await asyncio.to_thread(world.service.keyring.keystore.destroy_tenant_key, TENANT)
    for _ in range(2):
        await administration.credentials.revoke(identifier)
    (entry,) = await written(world, RESERVED_TENANT, identifier)
    assert entry.event["data"] == {"change": "revoked", "role": "client", "tenant": TENANT}


async def test_what_is_too_old_is_recorded_late(world: World) -> None:
    """What waited longer than entries are kept is recorded with today's time; what is only repeated is not."""
    await world.shorten_rules(5)
    store, administration = world.service.store, world.installation.administration
    await store.set_category(CATEGORY, label="Autre")
    await store.raise_handover_fault(TENANT, category=None, day=None, reason="r", detail="d")
    identifier, _ = await administration.credentials.add(role="client", tenant=TENANT, categories=[CATEGORY])
    await store.revoke_credential(identifier)
    await world.travel(START + timedelta(days=8))
    await world.installation.purger.run()
    await administration.credentials.revoke(identifier)
    for subject in (CATEGORY, TENANT):
        entries = [entry for entry in await written(world, TENANT, subject) if "days" not in entry.event["data"]]
        assert [entry.event["time"][:10] for entry in entries] == [world.today.isoformat()], subject
    assert await written(world, TENANT, identifier) == []
    assert await store.read_category_changes() == []
    assert await store.read_handover_alarms() == []


async def test_one_append_for_every_tenant(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry in every journal costs an append or two, however many communes; written again, it is there once."""
    for number in range(20):
        await world.installation.administration.add_tenant(f"commune-{number}", f"Commune {number}")
    store, at = world.service.store, world.clock.now()
    append, appends = store.append, []

    async def counted(batch: AppendBatch) -> AppendResult:
        appends.append(batch)
        return await append(batch)

    monkeypatch.setattr(store, "append", counted)
    for _ in range(2):
        await world.service.chronicle.write_everywhere(
            "setting", subject="everyone", data={"change": "x"}, event_id="once", at=at
        )
    for tenant in world.service.snapshot.tenants():
        assert len(await written(world, tenant.code, "everyone")) == 1
    # The first finds the writer idle and may go alone; the second time, the database says that all are known.
    assert len(appends) <= 2 + 3


async def test_first_the_days_that_may_be_read(world: World) -> None:
    """Entries are read from a day on, never from a day that reached its limit."""
    await world.shorten_rules(5)
    chronicle = world.service.chronicle
    for _ in range(3):
        await chronicle.write("alarm", tenant=TENANT, subject="daily", data={})
        await world.travel(world.clock.now() + DAY)
    found = [entry async for entry in chronicle.entries(TENANT, "alarm", since=world.today - 2 * DAY)]
    assert len(found) == 2
    await world.travel(START + timedelta(days=6))
    found = [entry async for entry in chronicle.entries(TENANT, "alarm", since=START.date())]
    assert len(found) == 1
