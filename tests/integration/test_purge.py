"""The purge: rows and keys gone for ever, at their time and not before, proved to whoever looks afterwards."""

from __future__ import annotations

import asyncio
import shutil
from collections import Counter
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from journal.admin.administration import NewCategory
from journal.clock import SimulatedClock
from journal.core.entry import JOURNAL_CATEGORY, RESERVED_TENANT, Compartment
from journal.core.errors import (
    BusyError,
    EarlyDeletionError,
    FencedDayError,
    JournalError,
    OperatorError,
    PurgedDayError,
    StoreError,
    VerificationError,
)
from journal.database.facts import Facts
from journal.database.store import Store
from journal.keys.ring import Keyring
from journal.keys.store import KeyStore, open_keystore
from journal.reading.plan import ExtractRequest
from journal.seals.dev_authority import make_development_authority
from journal.seals.sealer import Sealer
from journal.writing.chronicle import SUBMITTED_BY, Chronicle
from retention.purge import DueDay, Purger
from tests.support.brief import BRIEF, BRIEF_DAYS, LEAF, brief_world, key_files, leaves, live
from tests.support.clocks import MovedClock
from tests.support.contents import events_of, purge_entries
from tests.support.obedience import let_the_signer_obey
from tests.support.world import (
    DAY,
    FIRST,
    OTHER_TENANT,
    PERSON,
    SERVICE,
    START,
    TENANT,
    World,
    make_event,
    new_world,
    with_parts,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from journal.database.embedded import EmbeddedPostgres

pytestmark = [pytest.mark.world(made_by=brief_world), pytest.mark.usefixtures("no_documents")]


def what(due: list[DueDay]) -> list[tuple[str, date]]:
    """Return categories and days."""
    return [(row.category, row.day) for row in due]


async def test_when_a_day_may_go_and_must_be_gone(world: World) -> None:
    """With a rule of n days a day goes from D+(n−1) on, in UTC, and is over-retention from D+n on."""
    await live(world, 1)
    limit = FIRST + (BRIEF_DAYS - 1) * DAY
    await world.travel(datetime.combine(limit, datetime.min.time(), tzinfo=UTC) - timedelta(minutes=1))
    assert await world.installation.purger.due() == []
    assert await world.installation.purger.run() == []
    await world.travel(datetime.combine(limit, datetime.min.time(), tzinfo=UTC) + timedelta(seconds=6))
    assert what(await world.installation.purger.due()) == [(BRIEF, FIRST)]
    await world.travel(datetime.combine(limit, datetime.min.time(), tzinfo=UTC) + timedelta(hours=23.9))
    await world.seal()
    assert (await world.service.checks.run())["retention"] is None
    assert await world.audit() == []
    await world.travel(datetime.combine(limit + DAY, datetime.min.time(), tzinfo=UTC) + timedelta(minutes=1))
    retention = (await world.service.checks.run())["retention"]
    assert retention is not None
    assert f"{BRIEF} {FIRST} is kept past its limit" in retention
    said = "\n".join(map(str, await world.audit()))
    assert f"over-retention: {BRIEF} {FIRST}: its rows are kept past their limit of 3 days" in said
    assert f"over-retention: key of {BRIEF} {FIRST}" in said


async def test_what_a_purge_leaves(world: World) -> None:
    """Rows, counters and every copy of the key are gone; the chain goes on from its new base; all is recorded once."""
    await live(world, 2)
    known = await world.service.reader.head(Compartment(SERVICE, TENANT, BRIEF))
    before = await world.extract(FIRST, FIRST, category=BRIEF)
    assert all(path.exists() for path in key_files(world, FIRST))
    assert what(await world.installation.purger.run()) == [(BRIEF, FIRST)]
    assert FIRST not in await leaves(world)
    assert not any(path.exists() for path in key_files(world, FIRST))
    for directory in (world.settings.keystore_path, world.settings.home_path / "replica"):
        assert (directory / "fences" / BRIEF).read_text() == f"{FIRST}\n"
    [head] = await world.service.store.read_heads([TENANT], [BRIEF])
    assert (head.size, head.kept_from) == (3, 1)
    days = {row["category"]: row["days"] for row in await world.service.reader.status(TENANT)}
    assert list(days[BRIEF]) == [str(FIRST + DAY)]
    for tenant in (TENANT, OTHER_TENANT):
        close = await world.service.store.close_seal(FIRST)
        assert close is not None
        gone = {"category": BRIEF, "count": 1, "day": str(FIRST), "first_index": 0, "last_index": 0}
        gone |= {"retention_days": 3, "seal": close.number}
        assert await purge_entries(world, tenant) == [{"days": [gone]}]
    assert await world.audit() == []
    assert await world.installation.purger.run() == []
    journal = await world.extract(FIRST, world.today, category=JOURNAL_CATEGORY)
    world.verify(journal)
    assert "fr.openepm.journal.service.purge" in [event["type"] for event in events_of(journal)]
    # What was handed out while it was kept still proves itself; what is made now states the purge.
    world.verify(before, known=[known])
    report = world.verify(await world.extract(FIRST, FIRST + 2 * DAY, category=BRIEF), known=[before])
    assert report.purged is not None
    assert (report.purged.through, report.purged.before_index) == (FIRST, 1)
    assert (report.manifest.base.size, report.manifest.disclosed) == (1, 2)
    assert "purged under their rule (contrat, art. 13.2)" in " ".join(report.checked)


async def test_nothing_of_a_purged_day_comes_back(world: World) -> None:
    """A purged day is neither written, nor read, nor given a key again, by any process."""
    await live(world, 2)
    late = make_event(START)
    await world.installation.purger.run()
    compartment = Compartment(SERVICE, TENANT, BRIEF)
    async with world.another_process() as other:
        for service in (world.service, other.service):
            with pytest.raises(FencedDayError):
                service.keyring.box(compartment, FIRST)
            with pytest.raises(FencedDayError):
                service.keyring.keystore.make_day_key(BRIEF, FIRST)
            with pytest.raises(StoreError, match="is purged"):
                await service.store.read_entries(TENANT, BRIEF, FIRST, 0, 10)
            with pytest.raises(PurgedDayError, match="too old"):
                await service.writer.submit(compartment, "test", [late], 1000)
        await other.maintenance.prepare()
    assert FIRST not in await leaves(world)
    assert not any(path.exists() for path in key_files(world, FIRST))


async def test_a_key_from_a_backup(world: World) -> None:
    """A destroyed key that is copied back serves nobody, is named by the check, and goes with the next run."""
    await live(world, 2)
    [copy, *_] = key_files(world, FIRST)
    content = copy.read_bytes()
    await world.installation.purger.run()
    entries = await purge_entries(world)
    copy.write_bytes(content)
    compartment = Compartment(SERVICE, TENANT, BRIEF)
    async with world.another_process() as other:
        for keyring in (world.service.keyring, other.service.keyring):
            with pytest.raises(FencedDayError):
                keyring.box(compartment, FIRST)
    report = world.verify(await world.extract(FIRST, FIRST, category=BRIEF))
    assert report.manifest.disclosed == 0
    assert [str(found) for found in await world.audit()] == [
        f"over-retention: key of {BRIEF} {FIRST}: its day is over: run the purge"
    ]
    await world.installation.maintenance.prepare()
    assert not key_files(world, FIRST)[1].exists()
    assert what(await world.installation.purger.run()) == [(BRIEF, FIRST)]
    assert not copy.exists()
    assert await purge_entries(world) == entries
    assert await world.audit() == []


async def test_a_rule_made_longer(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes back of a purged day goes again under any rule; what was only begun then waits for the longer one."""
    let_the_signer_obey(monkeypatch)
    await live(world, 3)
    [copy, *_] = key_files(world, FIRST)
    content = copy.read_bytes()
    assert what(await world.installation.purger.run(max_days=1)) == [(BRIEF, FIRST)]
    copy.write_bytes(content)
    await world.service.store.raise_fence(BRIEF, FIRST + DAY)
    async with world.superuser() as superuser:
        await superuser.execute("UPDATE journal.category SET retention_days = 5 WHERE code = $1", BRIEF)
    # Not by an instruction, which the purges so far would bound, but as an operator confirms it after a restore.
    store = world.service.store
    suspended = await store.suspended_facts()
    assert list(suspended) == [("category", BRIEF)]
    await store.confirm_facts({key: fact.digest for key, fact in suspended.items()})
    assert what(await world.installation.purger.run()) == [(BRIEF, FIRST)]
    assert not copy.exists()
    await world.travel_to(FIRST + 5 * DAY)
    assert what(await world.installation.purger.run()) == [(BRIEF, FIRST + DAY)]
    assert await world.audit() == []


async def test_rows_from_a_backup(world: World) -> None:
    """Rows of a purged day that are put back, with their key, are not served, are named, and go again."""
    await live(world, 2)
    [copy, *_] = key_files(world, FIRST)
    content = copy.read_bytes()
    leaf = LEAF.format(FIRST)
    async with world.superuser() as superuser:
        await superuser.execute(f"CREATE TABLE journal.backup AS TABLE {leaf}")
        await world.installation.purger.run()
        await superuser.execute(f"CREATE TABLE {leaf} (LIKE journal.entry INCLUDING CONSTRAINTS)")
        await superuser.execute(f"INSERT INTO {leaf} SELECT * FROM journal.backup; DROP TABLE journal.backup")
        await superuser.execute(f"ALTER TABLE {leaf} OWNER TO journal_owner")
        limits = f"FROM ('{FIRST}') TO ('{FIRST + DAY}')"
        await superuser.execute(f"ALTER TABLE journal.entry_6 ATTACH PARTITION {leaf} FOR VALUES {limits}")
    copy.write_bytes(content)
    with pytest.raises(StoreError, match="is purged"):
        await world.service.store.read_entries(TENANT, BRIEF, FIRST, 0, 10)
    report = world.verify(await world.extract(FIRST, FIRST + DAY, category=BRIEF))
    assert report.manifest.base.size == 1
    said = "\n".join(map(str, await world.audit()))
    assert f"over-retention: {BRIEF} {FIRST}: it is purged, but its rows still exist: run the purge" in said
    assert what(await world.installation.purger.run()) == [(BRIEF, FIRST)]
    assert await world.audit() == []


async def test_a_whole_key_store_from_a_backup(world: World, tmp_path: Path) -> None:
    """A key store restored with its older fence is told by the database what is destroyed."""
    await live(world, 2)
    shutil.copytree(world.settings.keystore_path, tmp_path / "backup")
    await world.installation.purger.run()
    for copy in (world.settings.keystore_path, world.settings.home_path / "replica"):
        shutil.rmtree(copy)
        shutil.copytree(tmp_path / "backup", copy)
    assert open_keystore(world.settings).fence(BRIEF) is None
    async with world.another_process() as other:
        with pytest.raises(FencedDayError):
            other.service.keyring.box(Compartment(SERVICE, TENANT, BRIEF), FIRST)
        assert what(await other.purger.run()) == [(BRIEF, FIRST)]
    assert not any(path.exists() for path in key_files(world, FIRST))
    assert await world.audit() == []


async def test_a_database_from_a_backup(world: World) -> None:
    """A database that has forgotten a purge is told by the key store: its day is not read, and goes again."""
    await live(world, 2)
    store = open_keystore(world.settings)
    store.raise_fence(BRIEF, FIRST)
    store.shred_day_key(BRIEF, FIRST)
    async with world.another_process() as restored:
        chunks = restored.service.extraction.open(
            Compartment(SERVICE, TENANT, BRIEF),
            ExtractRequest(from_day=FIRST, to_day=FIRST + DAY, purpose="lawfulness", requester="DPD", person=PERSON),
            requested_by="test",
            disclose=False,
        )
        with pytest.raises(BusyError, match="a purge is being completed"):
            await chunks
        assert what(await restored.purger.run()) == [(BRIEF, FIRST)]
    report = world.verify(await world.extract(FIRST, FIRST + DAY, category=BRIEF))
    assert report.purged is not None
    assert await world.audit() == []


class StopError(Exception):
    """The process ends here."""


class Stop:
    """Ends the work at its n-th step, before it happens or after."""

    def __init__(self, at: int, *, before: bool) -> None:
        """Count from 1."""
        self.at = at
        self.before = before
        self.done = 0

    def step(self) -> Callable[[], None]:
        """Begin a step; call what is returned once it has happened."""
        self.done += 1
        now = self.done == self.at
        if now and self.before:
            raise StopError

        def end() -> None:
            if now:
                raise StopError

        return end


class StoppingStore(Store):
    """The store, until the process ends."""

    stop: Stop

    async def _fetch(self, role: Any, name: str, *arguments: Any) -> Any:
        if role != "purge" or name in ("partitions", "unfinished_purges", "read_purge_spans", "handover_due"):
            return await super()._fetch(role, name, *arguments)
        end = self.stop.step()
        answer = await super()._fetch(role, name, *arguments)
        end()
        return answer

    async def _fetch_value(self, role: Any, name: str, *arguments: Any) -> Any:
        if role not in ("purge", "seal") or name == "read_now":
            return await super()._fetch_value(role, name, *arguments)
        end = self.stop.step()
        answer = await super()._fetch_value(role, name, *arguments)
        end()
        return answer


class StoppingKeyStore(KeyStore):
    """The key store, until the process ends."""

    stop: Stop

    def raise_fence(self, category: str, day: date) -> None:
        """Do it, or end."""
        end = self.stop.step()
        super().raise_fence(category, day)
        end()

    def shred_day_key(self, category: str, day: date) -> None:
        """Do it, or end."""
        end = self.stop.step()
        super().shred_day_key(category, day)
        end()


@asynccontextmanager
async def stopping_purger(world: World, stop: Stop) -> AsyncIterator[Purger]:
    """Put a purge together as a process of its own does, one that ends at some step; entries are steps too."""
    keystore = open_keystore(world.settings)
    keystore.__class__ = StoppingKeyStore
    keystore.stop = stop  # type: ignore[attr-defined]  # it is one now
    service = world.service

    class StoppingWriter:
        async def submit(self, *arguments: Any) -> Any:
            end = stop.step()
            answer = await service.writer.submit(*arguments)
            end()
            return answer

    async with await StoppingStore.connect(world.dsn, application="test") as store:
        store.stop = stop
        sealer = Sealer(
            store=store,
            keystore=service.keyring.keystore,
            signer=service.signer,
            clock=world.clock,
        )
        chronicle = Chronicle(
            store=store,
            keyring=service.keyring,
            snapshot=service.snapshot,
            writer=StoppingWriter(),  # type: ignore[arg-type]  # the one method that the chronicle calls
            service_name=SERVICE,
            clock=world.clock,
        )
        yield Purger(with_parts(service, store=store, keyring=Keyring(keystore), sealer=sealer, chronicle=chronicle))


# After one step and before the next, the disk holds the same.
@pytest.mark.parametrize(
    ("before", "stride"),
    [(False, 3), pytest.param(False, 1, marks=pytest.mark.campaign), pytest.param(True, 1, marks=pytest.mark.campaign)],
)
async def test_ended_at_any_step(world: World, *, before: bool, stride: int) -> None:
    """Wherever a process ends, just before a step or just after, the next run leaves what one whole run leaves."""
    await live(world, 2)
    steps = 0
    while True:
        # One day more is due every morning; its purge is cut short some steps later each time.
        steps += 1
        due = FIRST + (steps - 1) * DAY
        stop = Stop(1 + (steps - 1) * stride, before=before)
        async with stopping_purger(world, stop) as purger:
            try:
                await purger.run()
            except StopError:
                was_stopped = True
            else:
                was_stopped = False
        if was_stopped:
            await world.service.snapshot.refresh()
            await world.installation.purger.run()
        await check_purged(world, due, steps)
        if not was_stopped:
            break
        for tenant in (TENANT, OTHER_TENANT):
            await world.record(1, tenant=tenant, category=BRIEF)
        await world.seal()
        await world.travel_to(world.today + DAY)
    assert steps * stride > 12


async def check_purged(world: World, day: date, runs: int) -> None:
    """Hold what there is against what a whole purge of this day leaves."""
    assert min(await leaves(world)) == day + DAY
    assert not any(path.exists() for path in key_files(world, day))
    categories = {row.code: row for row in await world.service.store.read_categories()}
    assert categories[BRIEF].fence == open_keystore(world.settings).fence(BRIEF) == day
    close = await world.service.store.close_seal(day)
    assert close is not None
    for tenant in (TENANT, OTHER_TENANT):
        chain_seal = await world.service.reader.chain_seal(close, Compartment(SERVICE, tenant, BRIEF))
        [head] = await world.service.store.read_heads([tenant], [BRIEF])
        assert chain_seal is not None
        assert head.kept_from == chain_seal.head.size
        told = [row["day"] for entry in await purge_entries(world, tenant) for row in entry["days"]]
        assert Counter(told) == Counter(str(FIRST + number * DAY) for number in range(runs))
    assert await world.service.store.read_purge_spans() == []
    assert await world.service.store.unfinished_purges() == []
    await world.seal()
    assert await world.audit() == []


async def test_three_days_a_run(world: World) -> None:
    """A run takes three days of a category, oldest first, whatever a clock may have done; `None` takes all."""
    await live(world, 9)
    every = [FIRST + number * DAY for number in range(8)]
    assert what(await world.installation.purger.due()) == [(BRIEF, day) for day in every]
    for part in (every[:3], every[3:6]):
        assert what(await world.installation.purger.run()) == [(BRIEF, day) for day in part]
    assert len(await purge_entries(world)) == 2
    assert what(await world.installation.purger.run(max_days=None)) == [(BRIEF, day) for day in every[6:]]
    assert await world.audit() == []


async def test_every_category_of_sixty_days(postgres: EmbeddedPostgres, tmp_path: Path) -> None:
    """All default categories go after sixty days, that of the journal itself too; a whole period leaves its proof."""
    async with new_world(postgres, tmp_path) as world:
        categories = [row.code for row in await world.service.store.read_categories()]
        for number in range(3):
            await world.travel_to(FIRST + number * DAY)
            for category in categories:
                if category != JOURNAL_CATEGORY:
                    await world.record(2, category=category)
            await world.seal()
        made = await world.extract(FIRST, FIRST + 2 * DAY, category="ecrits")
        await world.travel_to(FIRST + 59 * DAY)
        assert what(await world.installation.purger.run()) == [(category, FIRST) for category in sorted(categories)]
        await world.travel_to(FIRST + 61 * DAY)
        await world.installation.purger.run()
        assert await world.installation.purger.due() == []
        for category in categories:
            assert FIRST + 2 * DAY not in await leaves(world, category)
            extract = await world.extract(FIRST, FIRST + 2 * DAY, category=category)
            report = world.verify(extract)
            assert events_of(extract) == []
            assert report.manifest.base == report.manifest.head
            if category != JOURNAL_CATEGORY:
                assert report.manifest.base.size == 6
                assert report.purged is not None or "purged" in report.verdict
        world.verify(made)
        assert await world.audit() == []


async def test_very_much_told_at_once(world: World) -> None:
    """After a long downtime, all that went is told, in as many entries as it takes, each day once."""
    for code in ("a", "b"):
        category = NewCategory(code=code, label=code, retention_days=BRIEF_DAYS)
        await world.installation.administration.add_category(category)
    await world.installation.maintenance.prepare()
    for number in range(21):
        await world.travel_to(FIRST + number * DAY)
        for code in (BRIEF, "a", "b"):
            await world.record(1, category=code)
    await world.travel_to(FIRST + 25 * DAY)
    await world.installation.purger.run(max_days=None)
    entries = await purge_entries(world)
    assert len(entries) == 2
    told = Counter((row["category"], row["day"]) for entry in entries for row in entry["days"])
    assert len(told) == 63
    assert set(told.values()) == {1}
    assert await world.audit() == []


async def test_ended_contracts(world: World) -> None:
    """Days of ended contracts go as well; the reserved tenant's journal tells of each, however alike they are."""
    await live(world, 1)
    for tenant in (TENANT, OTHER_TENANT):
        await world.installation.administration.close_tenant(tenant)
    await world.travel_to(FIRST + 2 * DAY)
    await world.installation.purger.run()
    entries = await purge_entries(world, RESERVED_TENANT)
    assert len(entries) == 2
    assert entries[0] == entries[1]
    assert await world.service.store.read_purge_spans() == []
    assert await world.audit() == []


async def test_a_clock_that_is_moved(world: World) -> None:
    """A process whose wall clock is moved while it runs purges and seals nothing more, and says why."""
    await live(world, 2)
    clock = MovedClock(world.clock.offset)
    async with world.another_process(clock) as installation:
        assert what(await installation.purger.due()) == [(BRIEF, FIRST)]
        for moved in (timedelta(hours=1), timedelta(days=90), timedelta(days=3650), -timedelta(days=1)):
            clock.offset = world.clock.offset + moved
            for attempt in (installation.purger.run, installation.purger.due):
                with pytest.raises(OperatorError, match="the system clock was moved"):
                    await attempt()
        assert FIRST in await leaves(world)
        # Within a quarter of an hour it is the network's own correction.
        clock.offset = world.clock.offset + timedelta(seconds=1.5)
        assert what(await installation.purger.run()) == [(BRIEF, FIRST)]


@pytest.mark.parametrize("wrong", [timedelta(days=90), timedelta(days=-90), timedelta(days=2)])
async def test_a_clock_that_is_wrong_from_the_start(world: World, wrong: timedelta) -> None:
    """A machine that starts with a wrong clock purges nothing that the database's clock would keep."""
    await live(world, 2)
    async with world.another_process(SimulatedClock(world.clock.offset + wrong)) as installation:
        expected = [] if wrong < timedelta(0) else [(BRIEF, FIRST)]
        assert what(await installation.purger.due()) == expected
    assert FIRST in await leaves(world)


async def test_the_clock_at_the_start(world: World) -> None:
    """A clock before the last seal, or a week after it, waits for the operator's word."""
    await world.seal()
    for wrong in (timedelta(days=8), timedelta(days=90), -timedelta(hours=1)):
        async with world.another_process(SimulatedClock(world.clock.offset + wrong)) as installation:
            with pytest.raises(OperatorError, match="--clock-is-right"):
                await installation.check_clock(confirmed=False)
            await installation.check_clock(confirmed=True)
    for right in (timedelta(0), timedelta(days=6), -timedelta(minutes=10)):
        async with world.another_process(SimulatedClock(world.clock.offset + right)) as installation:
            await installation.check_clock(confirmed=False)


async def test_one_run_at_a_time(world: World) -> None:
    """A run beside another is told to come back; the lock ends with the run."""
    await live(world, 2)
    keystore = open_keystore(world.settings)
    with keystore.destroying(), pytest.raises(BusyError, match="another purge is running"):
        await world.installation.purger.run()
    assert what(await world.installation.purger.run()) == [(BRIEF, FIRST)]


async def test_one_category_that_fails(world: World) -> None:
    """What keeps one category from being purged keeps no other; it is raised at the end, and done the next time."""
    await world.installation.administration.add_category(
        NewCategory(code="autre", label="Autre", retention_days=BRIEF_DAYS)
    )
    await world.installation.maintenance.prepare()
    await live(world, 2)
    fences = world.settings.keystore_path / "fences" / "autre"
    fences.mkdir(parents=True)
    with pytest.raises(JournalError, match="the fence of autre"):
        await world.installation.purger.run()
    assert FIRST not in await leaves(world)
    assert FIRST in await leaves(world, "autre")
    fences.rmdir()
    assert what(await world.installation.purger.run()) == [("autre", FIRST)]
    assert await world.audit() == []


async def test_with_an_expired_certificate(postgres: EmbeddedPostgres, tmp_path: Path) -> None:
    """The law's limit does not wait for a certificate: closed days go, and the next seal says so."""
    identity = tmp_path / "identity"
    trust = tmp_path / "trust.pem"
    begin = START - timedelta(days=728, hours=12)
    make_development_authority(identity, SERVICE, START, not_before=begin, trust_path=trust)
    async with new_world(postgres, tmp_path) as world:
        category = NewCategory(code=BRIEF, label="Brève", retention_days=BRIEF_DAYS)
        await world.installation.administration.add_category(category)
        await world.installation.maintenance.prepare()
        await live(world, 2)
        await world.travel_to(FIRST + 3 * DAY)
        with pytest.raises(OperatorError, match="nothing is signed"):
            await world.installation.purger.run()
        # The second day has no close seal: it must wait, or nothing could prove its purge.
        assert await leaves(world) == [FIRST + number * DAY for number in (1, 2, 3)]
        (identity / "signing.key").unlink()
        make_development_authority(identity, SERVICE, world.clock.now(), trust_path=trust)
        async with world.another_process() as renewed:
            assert what(await renewed.purger.run()) == [(BRIEF, FIRST + DAY)]
        assert await world.audit() == []


async def test_purged_while_an_extract_is_read(world: World) -> None:
    """An extract under way when its day is purged ends in an error, and what came of it does not verify."""
    await world.record(2500, category=BRIEF)
    await world.travel_to(FIRST + 2 * DAY)
    request = ExtractRequest(from_day=FIRST, to_day=FIRST + DAY, purpose="lawfulness", requester="DPD", person=PERSON)
    chunks = (
        await world.service.extraction.open(
            Compartment(SERVICE, TENANT, BRIEF), request, requested_by=SUBMITTED_BY, disclose=True
        )
    ).chunks()
    got = [await anext(chunks), await anext(chunks)]
    await world.installation.purger.run()
    with pytest.raises(JournalError):
        await exhaust(chunks, got)
    with pytest.raises(VerificationError):
        world.verify(b"".join(got))


async def exhaust(chunks: AsyncIterator[bytes], got: list[bytes]) -> None:
    """Read to the end."""
    async for chunk in chunks:
        got.append(chunk)  # noqa: PERF401  (one at a time: an error must not lose those before)


async def delete_by_hand(world: World, day: date, *, fence: bool) -> None:
    """Destroy a day as a superuser would who wants it to look purged: rows, keys, heads, fences."""
    close = await world.service.store.close_seal(day)
    assert close is not None
    sizes = {(row.tenant, row.category): row.size for row in await world.service.store.read_seal_heads(close.number)}
    async with world.superuser() as superuser:
        await superuser.execute(f"DROP TABLE {LEAF.format(day)}")
        for (tenant, category), size in sizes.items():
            if category == BRIEF:
                chain_seal = "UPDATE journal.head SET kept_from = $3 WHERE tenant = $1 AND category = $2"
                await superuser.execute(chain_seal, tenant, category, size)
        if fence:
            await superuser.execute(
                "UPDATE journal.category SET fence = $2, purged_day = $2 WHERE code = $1", BRIEF, day
            )
            await superuser.execute("UPDATE journal.service SET snapshot_version = snapshot_version + 1")
    for path in key_files(world, day):
        path.unlink(missing_ok=True)


@pytest.mark.parametrize("days_later", [0, 1, pytest.param(30, marks=pytest.mark.campaign)])
async def test_a_day_deleted_before_its_time(world: World, days_later: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A young day made to look purged, down to seals that the service itself signs afterwards, is early deletion."""
    let_the_signer_obey(monkeypatch)
    await world.installation.administration.add_category(NewCategory(code="longue", label="Longue"))
    await live(world, 2)
    await world.travel_to(FIRST + DAY)
    assert await world.installation.purger.due() == []
    await delete_by_hand(world, FIRST, fence=True)
    await world.service.snapshot.refresh()
    # The service does not believe the fence: it names it, and makes no extract that would call the day purged.
    [problem] = world.service.snapshot.problems()
    assert f"category {BRIEF}: its fence in the database is {FIRST}, past the last day that is due" in problem
    await world.seal()
    with pytest.raises(StoreError, match=f"the day {FIRST} is purged"):
        await world.extract(FIRST, world.today, category=BRIEF)
    # A program that an operator changed to believe it makes one, which convicts itself.
    with monkeypatch.context() as changed:
        changed.setattr(Facts, "fence", lambda _, __, noted, ___: noted)
        extract = await world.extract(FIRST, world.today, category=BRIEF)
    with pytest.raises(EarlyDeletionError, match=r"before index 1 were purged; .* no seal here shows more than 0 "):
        world.verify(extract)
    if days_later:
        # Long after, when the rule would let it go, the seals still say when it went.
        await world.travel_to(world.today + days_later * DAY)
        await world.installation.purger.run(max_days=None)
    said = "\n".join(map(str, await world.audit()))
    for tenant in (TENANT, OTHER_TENANT):
        assert f"{tenant}/{BRIEF}: it begins at index 1; at most 0 entries, up to 2026-03-01, could be purged" in said
    assert "early deletion: " in said


async def test_a_day_deleted_without_its_fence(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A young day that is simply gone is named by the check, and no extract of it is ever made."""
    let_the_signer_obey(monkeypatch)
    await live(world, 2)
    await world.travel_to(FIRST + DAY)
    await delete_by_hand(world, FIRST, fence=False)
    said = "\n".join(map(str, await world.audit()))
    assert f"early deletion: head of {TENANT}/{BRIEF}: it begins at index 1" in said
    with pytest.raises(StoreError):
        await world.extract(FIRST, FIRST + DAY, category=BRIEF)


async def test_a_rule_shortened_by_hand(world: World) -> None:
    """A rule changed to excuse an early deletion is obeyed by no process, and named by every one."""
    await live(world, 2)
    await world.travel_to(FIRST + DAY, hour=10)
    async with world.superuser() as superuser:
        await superuser.execute("UPDATE journal.category SET retention_days = 2 WHERE code = $1", BRIEF)
    kept = await leaves(world)
    refused = f"category {BRIEF}: its row in the database is not the one the key store vouches for; it is not obeyed"
    # One that read the vouched row before goes on with it; one that starts now has no rule to purge by.
    async with world.another_process() as other:
        for installation in (world.installation, other):
            assert await installation.purger.due() == []
            assert await installation.purger.run(max_days=None) == []
            [problem] = installation.service.snapshot.problems()
            assert problem.startswith(refused)
            facts = (await installation.service.checks.run())["facts"]
            assert facts is not None
            assert facts.startswith(refused)
    assert FIRST in kept
    assert await leaves(world) == kept
    assert all(path.exists() for path in key_files(world, FIRST))
    report = world.verify(await world.extract(FIRST, world.today, category=BRIEF))
    assert (report.manifest.base.size, report.purged) == (0, None)
    assert not any("entries are kept" in remark for remark in report.remarks)


async def test_a_day_kept_too_long(world: World) -> None:
    """Nothing is served past its limit, nor beside it what no verifier would accept, until the purge has run."""
    await live(world, 4)
    with pytest.raises(BusyError, match=f"{FIRST} is past its limit and waits for the purge"):
        await world.extract(FIRST, world.today, category=BRIEF)
    with pytest.raises(BusyError, match=f"{FIRST} is past its limit and waits for the purge"):
        await world.extract(FIRST + DAY, world.today, category=BRIEF)
    said = "\n".join(map(str, await world.audit()))
    assert f"over-retention: {BRIEF} {FIRST}" in said
    await world.installation.purger.run()
    world.verify(await world.extract(FIRST, world.today, category=BRIEF))
    assert await world.audit() == []


async def test_beside_entries_and_seals(world: World) -> None:
    """While a store is written, sealed and purged, the check accuses nobody."""
    await live(world, 4)
    busy = True

    async def write() -> None:
        while busy:
            await world.record(3, category=BRIEF)
            await world.service.sealer.seal_open(even_if_still=False)

    writing = asyncio.create_task(write())
    try:
        before = await world.audit()
        during, _ = await asyncio.gather(world.audit(), world.installation.purger.run())
        after = await world.audit()
    finally:
        busy = False
        await writing
    for found in (*before, *during):
        assert found.verdict == "over-retention", str(found)
    assert after == []
