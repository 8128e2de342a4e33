"""Backups of the real database, brought back on a clean directory beside the key store of today.

As the operator's guide says: restore, `recover --declare-loss`, `serve`. What was purged meanwhile is never read
again, from none of them; all else is; and the seals say what was lost.
"""

from __future__ import annotations

import argparse
import re
import shutil
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

import aiohttp
import pytest
import pytest_asyncio

from journal.admin.administration import NewCategory
from journal.audit.run import Audit
from journal.cli import commands, doctor, recover
from journal.cli.installation import check_restored, open_service, simulate_clock
from journal.clock import SimulatedClock, SystemClock
from journal.core.entry import JOURNAL_CATEGORY, RESERVED_TENANT, Compartment
from journal.core.errors import FencedDayError, ForkError, JournalError, OperatorError
from journal.database.embedded import SUPERUSER, EmbeddedPostgres
from journal.database.migrate import migrate
from journal.keys.copy import follow
from journal.keys.last_seal import SealMoment, remember
from journal.keys.store import KeyStore, open_keystore
from journal.keys.wrapped import read_master_key
from journal.settings import Settings
from tests.backup.cluster import base_backup, restored, room
from tests.backup.opening import Row, all_rows, opened_rows, unwrapped
from tests.support.ports import free_port
from tests.support.serving import Serving, Site
from tests.support.world import DAY, OTHER_TENANT, SERVICE, TENANT, World, new_world

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.asyncio(loop_scope="module")

# Purged on the eighth day after; and one of which a day goes every night.
WEEK, BRIEF = "semaine", "breve"
RETENTION = {WEEK: 9, BRIEF: 3}
LIVED_DAYS = 8
ENTRIES = 6


@dataclass(slots=True, kw_only=True)
class Lived:
    """A service that lived eight days up to this very moment, and the base backups of each evening."""

    world: World
    first: date
    server: EmbeddedPostgres
    directory: Path
    backups: dict[int, Path] = field(default_factory=dict)  # by how many days before the purge
    heads: dict[int, bytes] = field(default_factory=dict)  # what a commune kept then
    known: bytes = b""  # and what it kept last
    fences: dict[str, date] = field(default_factory=dict)

    @property
    def database(self) -> str:
        """The database's name, the same in every copy."""
        return re.sub(r"\?.*", "", self.world.dsn).rpartition("/")[2]

    def destroyed(self, row: Row) -> bool:
        """Tell whether a row is of a day that is purged."""
        return row.category in self.fences and row.day <= self.fences[row.category]

    def settings(self, server: EmbeddedPostgres, *, name: str, remembers: bool = True) -> Settings:
        """Return the settings of the service on another database: everything else is its own.

        But for the signer's memory, as the live service left it, or lost: what one test signs, no other may know.
        """
        memory = self.directory / f"{name}.state"
        if remembers:
            shutil.copy(self.world.settings.signer_state_path, memory)
        values = {name: getattr(self.world.settings, name) for name in Settings.__struct_fields__}
        own = {"dsn": server.dsn(database=self.database), "signer_state": str(memory), "signer_socket": "none"}
        return Settings(**values | own)


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A directory for clusters."""
    with room("backup") as directory:
        yield directory


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lived(place: Path) -> AsyncIterator[Lived]:
    """Live eight days up to now, a base backup each evening, a purge each morning, and that of the last morning."""
    now = datetime.now(UTC)
    start = now - LIVED_DAYS * DAY
    with EmbeddedPostgres(place / "own") as server:
        await migrate(server.dsn())
        replica = (str(place / "replica"),)
        async with new_world(server, place / "home", start=start, keystore_replicas=replica) as world:
            for code, days in RETENTION.items():
                await world.installation.administration.add_category(
                    NewCategory(code=code, label=code.capitalize(), retention_days=days)
                )
            made = Lived(world=world, first=start.date(), server=server, directory=place)
            compartment = Compartment(SERVICE, TENANT, WEEK)
            for number in range(LIVED_DAYS + 1):
                # At the end the clocks are the machine's own: the commands may then be the real ones.
                await world.travel(start + number * DAY)
                await world.installation.purger.run()
                for category in RETENTION:
                    for tenant in (TENANT, OTHER_TENANT):
                        await world.record(ENTRIES, tenant=tenant, category=category)
                await world.seal()
                if 0 < number < LIVED_DAYS:
                    made.backups[LIVED_DAYS - number] = place / f"backup-{number}"
                    base_backup(server, place / f"backup-{number}")
                    made.heads[LIVED_DAYS - number] = await world.service.reader.head(compartment)
            base_backup(server, place / "backup-last")
            await world.record(ENTRIES, category=WEEK)
            await world.seal()
            made.known = await world.service.reader.head(compartment)
            keystore = open_keystore(world.settings)
            (place / "copy").mkdir()
            follow(KeyStore(place / "copy", read_master_key(world.settings.master_key_path)), keystore)
            made.fences = {code: keystore.fence(code) or date.min for code in keystore.fenced_categories()}
            assert made.fences == {WEEK: made.first, BRIEF: made.first + (LIVED_DAYS - 2) * DAY}
            yield made


async def last_seal(dsn: str, settings: Settings) -> int:
    """Return the number of the last seal."""
    async with open_service(dsn, settings, SystemClock()) as installation:
        row = await installation.service.store.latest_seal()
        assert row is not None
        return row.number


async def check_refused(settings: Settings, lived: Lived, rows: list[Row]) -> int:
    """Ask the service's keyring for every purged day that the database holds; return how many it refused."""
    assert settings.dsn is not None
    days = {(row.tenant, row.category, row.day) for row in rows if lived.destroyed(row)}
    async with open_service(settings.dsn, settings, SystemClock()) as installation:
        for tenant, category, day in days:
            with pytest.raises(FencedDayError):
                installation.service.keyring.box(Compartment(SERVICE, tenant, category), day)
    return len(days)


@pytest.mark.parametrize(
    "chosen",
    [(1, 7), pytest.param(tuple(range(1, LIVED_DAYS)), marks=pytest.mark.campaign)],
    ids=["first and last", "every one"],
)
@pytest.mark.usefixtures("no_documents")
async def test_backups_of_the_seven_days_before_a_purge(
    lived: Lived,
    record_property: Callable[[str, object], None],
    capsys: pytest.CaptureFixture[str],
    chosen: tuple[int, ...],
) -> None:
    """Each is refused until the purge is done again; then everything verifies; no destroyed entry opens, all others do.

    With the key store's replica and its copy at hand as well, under every key that is left anywhere.
    """
    master = read_master_key(lived.world.settings.master_key_path)
    directories = [lived.world.settings.keystore_path, lived.directory / "replica", lived.directory / "copy"]
    keys = unwrapped(directories, master)
    destroyed = readable = refused = 0
    assert set(lived.backups) == set(range(1, LIVED_DAYS))
    for days_before in chosen:
        backup = lived.backups[days_before]
        home = lived.directory / f"restored-{days_before}"
        with restored(backup, home) as server:
            settings = lived.settings(server, name=home.name)
            dsn = server.dsn(database=lived.database)
            await simulate_clock(dsn, timedelta(0))
            rows = await all_rows(server.dsn(SUPERUSER, database=lived.database))
            gone = {row for row in rows if lived.destroyed(row)}
            # The backup did bring purged days back: as ciphertext.
            assert {row.day for row in gone if row.category == WEEK} == {lived.first}
            assert opened_rows(rows, keys) == set(rows) - gone
            destroyed, readable = destroyed + len(gone), readable + len(rows) - len(gone)
            number = await last_seal(dsn, settings)
            for attempt in (check_restored(dsn, settings), commands.seal(settings, argparse.Namespace())):
                with pytest.raises(OperatorError, match=rf"recover --declare-loss {number}; then start serve"):
                    await attempt
            refused += await check_refused(settings, lived, rows)
            await recover.recover(settings, argparse.Namespace(confirm_facts=None, declare_loss=number))
            said = capsys.readouterr().out
            assert f"declared: everything after seal {number} is lost" in said
            # Also the days that had not come yet when the backup was made.
            assert {f"purged again {row.category} {row.day}" for row in gone} <= set(said.splitlines())
            assert said.count("purged again") == 1 + days_before
            await check_recovered(lived, settings, number, days_before)
            left = await all_rows(server.dsn(SUPERUSER, database=lived.database))
            assert not [row for row in left if lived.destroyed(row)]
            assert opened_rows(left, unwrapped(directories, master)) == set(left)
    record_property(
        "evidence",
        f"restored: {len(chosen)} base backups of 1 to 7 days before a purge, with {destroyed} entries of "
        f"purged days and {readable} others: 0 of the first opened under any of {len(keys['days'])} day keys and "
        f"{len(keys['tenants'])} tenant keys left in the key store, its replica and its copy, all of the others did; "
        f"the service refused {refused} of {refused} days of communes; every one verifies once the purge is done again",
    )


async def check_recovered(lived: Lived, settings: Settings, number: int, days_before: int) -> None:
    """Hold the recovered database against what an auditor, the commune and the operator's own check may ask."""
    assert settings.dsn is not None
    await check_restored(settings.dsn, settings)
    async with open_service(settings.dsn, settings, SystemClock()) as installation:
        assert await Audit(installation.service).run(lambda _: None) == []
        assert await installation.purger.due() == []
        world = World(
            installation=installation,
            clock=SimulatedClock(),
            dsn=settings.dsn,
            superuser_dsn="",
            settings=settings,
        )
        await world.record(2, category=WEEK)
        await world.seal()
        for category in (WEEK, JOURNAL_CATEGORY):
            extract = await world.extract(lived.first, world.today, category=category)
            known = [lived.heads[days_before], lived.known] if category == WEEK else []
            report = world.verify(extract, known=known)
            assert any(f"what followed seal {number} is lost" in remark for remark in report.remarks), report.remarks
            if category == WEEK:
                # The purged day is served to nobody: its chain begins after it.
                assert report.purged is not None
                assert report.purged.through == lived.first
                # Of the days that the backup holds, the first but destroyed; and what was recorded just now.
                assert report.manifest.disclosed == (LIVED_DAYS - days_before) * ENTRIES + 2


async def test_a_backup_that_no_purge_followed(lived: Lived, capsys: pytest.CaptureFixture[str]) -> None:
    """What it lost is a seal alone: it is refused all the same until that is declared, and then the seals say so."""
    live = await lived.world.service.store.latest_seal()
    assert live is not None
    # As it stands before any restore of this module: each of them moves it.
    remember(open_keystore(lived.world.settings), SealMoment(live.sealed_at, live.number), goes_back=True)
    with restored(lived.directory / "backup-last", lived.directory / "hours") as server:
        settings = lived.settings(server, name="hours")
        dsn = server.dsn(database=lived.database)
        await simulate_clock(dsn, timedelta(0))
        number = await last_seal(dsn, settings)
        message = rf"has lost seal {live.number} of .*run openepm-journal recover --declare-loss {number}; then"
        assert number < live.number
        with pytest.raises(OperatorError, match=message):
            await check_restored(dsn, settings)
        assert await doctor.doctor(settings, argparse.Namespace()) == 2
        assert f"FAIL seals: the database has lost seal {live.number}" in capsys.readouterr().out
        with pytest.raises(OperatorError, match=message):
            await recover.recover(settings, argparse.Namespace(confirm_facts=None, declare_loss=None))
        for _ in range(2):
            assert await recover.recover(settings, argparse.Namespace(confirm_facts=None, declare_loss=number)) == 0
        await check_restored(dsn, settings)
        async with open_service(dsn, settings, SystemClock()) as installation:
            world = World(
                installation=installation, clock=SimulatedClock(), dsn=dsn, superuser_dsn="", settings=settings
            )
            report = world.verify(await world.extract(lived.first, world.today, category=WEEK), known=[lived.known])
            assert any(f"what followed seal {number} is lost" in remark for remark in report.remarks), report.remarks


async def test_a_loss_that_is_not_declared(lived: Lived) -> None:
    """It is not sealed; only where the signer's memory is lost too: the seal of a commune then shows two histories."""
    with restored(lived.backups[3], lived.directory / "undeclared") as server:
        dsn = server.dsn(database=lived.database)
        await simulate_clock(dsn, timedelta(0))
        number = await last_seal(dsn, lived.settings(server, name="undeclared"))
        async with open_service(dsn, lived.settings(server, name="undeclared"), SystemClock()) as installation:
            with pytest.raises(OperatorError, match=rf"gone back from seal \d+ to seal {number}: a backup"):
                await installation.service.sealer.seal_open(even_if_still=True)
        forgetful = lived.settings(server, name="forgetful", remembers=False)
        async with open_service(dsn, forgetful, SystemClock()) as installation:
            with pytest.raises(OperatorError, match=r"memory .* is missing, so nothing is sealed"):
                await installation.service.sealer.seal_open(even_if_still=True)
            assert await last_seal(dsn, forgetful) == await installation.service.sealer.learn() == number
            await installation.maintenance.prepare()
            await installation.purger.run()
            world = World(
                installation=installation, clock=SimulatedClock(), dsn=dsn, superuser_dsn="", settings=forgetful
            )
            extract = await world.extract(lived.first, world.today, category=WEEK)
            world.verify(extract, known=[lived.heads[3]])
            with pytest.raises(ForkError):
                world.verify(extract, known=[lived.known])


async def test_the_real_commands(lived: Lived) -> None:
    """As the guide says: `serve` refuses with what to type, `recover` can be repeated, `serve` then listens."""
    with restored(lived.backups[2], lived.directory / "commands") as server:
        dsn = server.dsn(database=lived.database)
        await simulate_clock(dsn, timedelta(0))
        settings = lived.settings(server, name="commands")
        site = RestoredSite(home=lived.world.settings.home_path, dsn=dsn, port=free_port())
        with pytest.raises(RuntimeError, match="did not start") as refused:
            async with await Serving.start(site, workers=2):
                pass
        said = str(refused.value).replace("\n", " ")
        command = re.search(r"run openepm-journal recover --declare-loss (\d+); then start serve", said)
        assert command is not None, said
        number = int(command[1])
        with pytest.raises(OperatorError, match=f"recover --declare-loss {number}"):
            await recover.recover(settings, argparse.Namespace(confirm_facts=None, declare_loss=number + 1))
        for _ in range(2):
            await recover.recover(settings, argparse.Namespace(confirm_facts=None, declare_loss=number))
        async with await Serving.start(site) as serving, aiohttp.ClientSession(site.url) as client:
            async with client.get("/healthz") as answer:
                assert answer.status == 200  # and it now hears that it is asked to stop
            assert await serving.stop() == 0
        async with open_service(dsn, settings, SystemClock()) as installation:
            assert await Audit(installation.service).run(lambda _: None) == []
            seals = await installation.service.store.read_seals(number, 1000)
            assert sum(b"recovered-from" in row.text for row in seals) == 1


class RestoredSite(Site):
    """An installation whose database was restored, whose key store has a replica, with a signer's memory of its own."""

    @property
    def environment(self) -> dict[str, str]:
        """Its settings as variables."""
        return super().environment | {
            "JOURNAL_KEYSTORE_REPLICAS": str(self.home.parent / "replica"),
            "JOURNAL_SIGNER_STATE": str(self.home.parent / "commands.state"),
        }


async def test_a_key_store_restored_from_an_old_backup(lived: Lived) -> None:
    """Beside the current database its destroyed keys are never used, and the first run removes them all."""
    # What a file backup of the key store would have kept, against the guide: every key, and no fence.
    keys = lived.world.settings.keystore_path
    days = [lived.first + number * DAY for number in range(LIVED_DAYS - 1)]
    for fence in (keys, lived.directory / "replica"):
        (fence / "fences" / BRIEF).unlink()
    foreign = KeyStore(lived.directory / "old", read_master_key(lived.world.settings.master_key_path))
    foreign.make_tenant_key(RESERVED_TENANT)
    for day in days:
        foreign.make_day_key(BRIEF, day)
        (keys / "days" / BRIEF / day.isoformat()).write_bytes(
            (lived.directory / "old" / "days" / BRIEF / day.isoformat()).read_bytes()
        )
    async with lived.world.another_process() as other:
        with pytest.raises(JournalError, match="is destroyed"):
            other.service.keyring.box(Compartment(SERVICE, TENANT, BRIEF), days[0])
        # More than three days: what is behind the fence waits for no later run.
        assert [due.day for due in await other.purger.run()] == days
    assert open_keystore(lived.world.settings).fence(BRIEF) == days[-1]
    assert not [day for day in days if (keys / "days" / BRIEF / day.isoformat()).exists()]
    assert await lived.world.audit() == []
