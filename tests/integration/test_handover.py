"""The hand-over before purge: what is about to go reaches the commune, encrypted, or somebody is told in time."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import subprocess
from contextlib import asynccontextmanager
from datetime import timedelta
from hashlib import sha256
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from journal.admin.administration import NewCategory
from journal.admin.confirmation import confirm_handover
from journal.core.canonical import encode
from journal.core.errors import OperatorError
from journal.extract.purges import LATE
from journal.pki.certificates import der_to_pem
from retention.handover import Handover
from retention.policy import goes_at, handover_through, readable_from, waits_until
from retention.purge import INTERVAL_SECONDS
from tests.support.communes import SHORT, commune, commune_world, names, opened, root
from tests.support.contents import entries, members
from tests.support.pdf import check_signature, read_text
from tests.support.world import CATEGORY, DAY, FIRST, OTHER_TENANT, START, TENANT, World, copied, new_world, with_parts

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from datetime import date
    from pathlib import Path

    from journal.database.embedded import EmbeddedPostgres
    from retention.delivery import HandedOver


@copied
@asynccontextmanager
async def recorded_world(postgres: EmbeddedPostgres, home: Path) -> AsyncIterator[World]:
    """Give an installation with the default directory, where both communes have entries of the first day."""
    async with commune_world(postgres, home) as made:
        await record_both(made)
        yield made


pytestmark = [pytest.mark.world(made_by=recorded_world), pytest.mark.usefixtures("no_documents")]


async def record_both(world: World) -> None:
    """Record entries of the moment for both communes."""
    for tenant in (TENANT, OTHER_TENANT):
        await world.record(3, tenant=tenant, category=SHORT.code)


async def run(world: World) -> list[HandedOver]:
    """Hand over what is due."""
    return await world.installation.handover.run()


async def days_kept(world: World, category: str = SHORT.code) -> list[date]:
    """Return the days of a category on disk, up to the simulated one."""
    rows = await world.service.store.partitions()
    return [row.day for row in rows if row.category == category and row.day <= world.today]


async def status(world: World, category: str = SHORT.code) -> tuple[int, int, int]:
    """Return how many days wait, how many went without, and how many communes nothing can be handed to."""
    found = await world.service.status()
    (row,) = [row for row in found.categories if row.category == category]
    assert (found.row.handover_failed_since is None) == (found.row.handover_faults == 0)
    return row.handover_days, row.handover_lapses, found.row.handover_faults


@pytest.mark.documents
@pytest.mark.parametrize("kind", ["RSA", pytest.param("EC", marks=pytest.mark.campaign)])
async def test_a_59_day_old_day(postgres: EmbeddedPostgres, tmp_path: Path, kind: str) -> None:
    """It reaches the commune before it may go, opens with openssl, verifies alone, and is then purged."""
    holder = commune(kind)
    async with new_world(postgres, tmp_path / "home") as world:
        await world.installation.administration.register_recipient(TENANT, der_to_pem([holder.certificate]))
        for tenant in (TENANT, OTHER_TENANT):
            await world.record(3, tenant=tenant)
        await world.travel_to(FIRST + 57 * DAY)
        assert await run(world) == []
        await world.travel_to(FIRST + 58 * DAY, hour=1)
        done = await run(world)
        assert [(handed.tenant, handed.file.category) for handed in done] == [(TENANT, CATEGORY), (TENANT, "journal")]
        day = FIRST.isoformat()
        extract = opened(root(world) / TENANT / f"{TENANT}_{CATEGORY}_{day}_{day}.asice.p7m", holder, tmp_path)
        await confirm_handover(world.service, TENANT, sha256(extract).hexdigest())
        assert not (root(world) / OTHER_TENANT).exists()
        # As the law wants it, in the hour in which it may first go.
        await world.travel_to(FIRST + 59 * DAY, hour=0.5)
        purged = await world.installation.purger.run()
        assert {(due.category, due.day) for due in purged} == {
            (category.code, FIRST) for category in await world.service.store.read_categories()
        }
        report = world.verify(extract)
        manifest = report.manifest
        assert (manifest.first_day, manifest.last_day, manifest.disclosed, manifest.withheld) == (FIRST, FIRST, 3, 0)
        assert (manifest.purpose, manifest.requester) == ("lawfulness", "remise avant purge")
        assert [record["index"] for record in members(extract)] == [0, 1, 2]
        assert await entries(world, "alarm") == []


@pytest.mark.parametrize("retention_days", [2, 3, 5, 30, 60])
def test_the_window(retention_days: int) -> None:
    """A day is first asked for once it is closed and at the latest a day before it may go; its wait ends in time."""
    for ahead in range(retention_days + 1):
        today = FIRST + ahead * DAY
        asked = handover_through(today, retention_days) >= FIRST
        readable = readable_from(today, retention_days) <= FIRST
        assert asked == (ahead >= max(1, retention_days - 2))
        assert readable == (ahead < retention_days)
    ends, limit = waits_until(FIRST, retention_days), goes_at(FIRST, retention_days)
    assert limit.date() == FIRST + retention_days * DAY
    # The purge runs every hour: at least one of its runs falls between the two.
    assert limit - ends > timedelta(seconds=INTERVAL_SECONDS)
    assert ends.date() >= FIRST + max(1, retention_days - 2) * DAY


async def test_by_hand_on_a_late_host(world: World, tmp_path: Path) -> None:
    """What would not verify is not handed over: refused until the purge has run; each day that went is named."""
    for number in (2, 4):
        await world.travel_to(FIRST + number * DAY)
        await record_both(world)
    await world.travel_to(FIRST + 8 * DAY)
    assert await run(world) == []
    (fault,) = await world.service.store.read_handover_faults()
    assert fault.reason == "the purge is late: what is handed over now would not verify"
    assert f"{SHORT.code} {FIRST} is past its limit and not purged: run openepm-journal purge" in fault.detail
    lapsed = [alarm["day"] for alarm in await entries(world, "alarm") if "arrivé à son terme" in alarm["reason"]]
    assert lapsed == [str(FIRST), str(FIRST + 2 * DAY)]
    await world.installation.purger.run(max_days=None)
    (handed,) = await run(world)
    assert (handed.file.first_day, handed.file.last_day) == (FIRST + 4 * DAY, FIRST + 5 * DAY)
    report = world.verify(opened(handed.path, commune(), tmp_path))
    assert (report.manifest.disclosed, report.purged) == (3, None)
    assert await world.service.store.read_handover_faults() == []
    late = world.verify(await world.extract(FIRST, world.today, category=SHORT.code))
    assert "2026-03-02 to 2026-03-04: entries purged late, by 1 to 4 days." in late.remarks


class TestFiles:
    """What the commune finds."""

    async def test_an_inventory_lists_what_was_put_there(self, world: World, tmp_path: Path) -> None:
        """Signed, canonical, with the hash of every file and where it joins its chain; nothing personal."""
        await world.travel_to(FIRST + 3 * DAY)
        (handed,) = await run(world)
        night = world.today.isoformat()
        day = FIRST.isoformat()
        name, file = f"{TENANT}_inventory_{night}.json", f"{TENANT}_{SHORT.code}_{day}_{day}.asice.p7m"
        assert names(world) == [file, name, f"{name}.p7s"]
        content = (root(world) / TENANT / name).read_bytes()
        inventory = json.loads(content)
        assert encode(inventory) == content
        (listed,) = inventory.pop("files")
        assert inventory == {
            "format": "openepm-journal/handover/v1", "night": night, "service": "journal.test", "tenant": TENANT,
        }  # fmt: skip
        held = (root(world) / TENANT / file).read_bytes()
        extract = world.verify(opened(root(world) / TENANT / file, commune(), tmp_path)).manifest
        assert listed == {
            "base": {"chain_hash": extract.base.chain_hash.hex(), "size": 0},
            "bytes": len(held),
            "from": day,
            "head": {"chain_hash": extract.head.chain_hash.hex(), "size": 3},
            "name": file,
            "origin": extract.origin,
            "placed_at": listed["placed_at"],
            "recipient": sha256(commune().certificate).hexdigest(),
            "sha256": sha256(held).hexdigest(),
            "to": day,
        }
        assert handed.path.read_bytes() == held
        signature = root(world) / TENANT / f"{name}.p7s"
        moment = str(int(world.clock.now().timestamp()))
        subprocess.run(
            ["openssl", "cms", "-verify", "-binary", "-inform", "DER", "-in", signature, "-attime", moment,
             "-content", root(world) / TENANT / name, "-CAfile", world.settings.trust_path, "-out", "/dev/null"],
            check=True, capture_output=True,
        )  # fmt: skip

    @pytest.mark.documents
    async def test_a_slip_is_beside_the_inventory(self, world: World, tmp_path: Path) -> None:
        """It is signed, and names the inventory by its hash and the category by its name."""
        await world.travel_to(FIRST + 3 * DAY)
        await run(world)
        inventory = root(world) / TENANT / f"{TENANT}_inventory_{world.today.isoformat()}.json"
        slip = inventory.with_suffix(".pdf").read_bytes()
        text = read_text(slip, tmp_path / "slip.pdf")
        assert sha256(inventory.read_bytes()).hexdigest() in text
        assert SHORT.label in text
        await check_signature(slip, world.settings.trust_path.read_bytes(), world.clock.now())

    async def test_files_of_following_nights_join(self, world: World) -> None:
        """Each begins where the one before ended, and a day without entries makes no file of its own."""
        await world.travel_to(FIRST + DAY)
        await record_both(world)
        await world.travel_to(FIRST + 3 * DAY)
        await record_both(world)
        made = []
        for ahead in range(3, 8):
            await world.travel_to(FIRST + ahead * DAY)
            made += [handed.file for handed in await run(world)]
            await world.installation.purger.run()
        assert [(file.first_day, file.last_day, file.base_size, file.head_size) for file in made] == [
            (FIRST, FIRST, 0, 3),
            (FIRST + DAY, FIRST + DAY, 3, 6),
            (FIRST + 2 * DAY, FIRST + 3 * DAY, 6, 9),
        ]
        assert all(before.head_hash == after.base_hash for before, after in pairwise(made))

    async def test_a_night_missed_makes_one_file(self, world: World) -> None:
        """Both days that are due then are one period."""
        await world.travel_to(FIRST + DAY)
        await record_both(world)
        await world.travel_to(FIRST + 4 * DAY)
        (handed,) = await run(world)
        assert (handed.file.first_day, handed.file.last_day) == (FIRST, FIRST + DAY)
        assert handed.file.head_size == 6

    async def test_nothing_is_done_twice(self, world: World) -> None:
        """Another run finds nothing, asks for no extract and touches no file."""
        await world.travel_to(FIRST + 3 * DAY)
        assert len(await run(world)) == 1
        before = {path: path.stat().st_mtime_ns for path in (root(world) / TENANT).iterdir()}
        size = await world.size(category="journal")
        assert await run(world) == []
        assert await world.size(category="journal") == size
        assert {path: path.stat().st_mtime_ns for path in (root(world) / TENANT).iterdir()} == before | {
            root(world) / TENANT / ".lock": (root(world) / TENANT / ".lock").stat().st_mtime_ns
        }

    async def test_whoever_fetches_may_read(self, world: World) -> None:
        """The group reads and nobody else, whatever the service's umask; what the directory hands down stays."""
        before = os.umask(0o077)
        try:
            root(world).mkdir(mode=0o2750)
            root(world).chmod(0o2750)
            await world.travel_to(FIRST + 3 * DAY)
            await run(world)
        finally:
            os.umask(before)
        box = root(world) / TENANT
        assert stat.S_IMODE(box.stat().st_mode) == 0o2750
        assert {stat.S_IMODE((box / name).stat().st_mode) for name in names(world)} == {0o640}

    async def test_two_runs_at_once(self, world: World) -> None:
        """One of them does the work, once; the other leaves it to that one."""
        await world.travel_to(FIRST + 3 * DAY)
        async with world.another_process() as other:
            done = await asyncio.gather(run(world), other.handover.run())
        assert sorted(map(len, done)) == [0, 1]
        assert len(names(world)) == 3
        assert await world.service.store.read_handover_faults() == []

    async def test_the_journal_of_the_journal_is_handed_over_too(self, world: World) -> None:
        """Requests made for hand-overs are entries like others, and in their time handed over themselves."""
        await world.travel_to(FIRST + 3 * DAY)
        await run(world)
        asked = await entries(world, "extract")
        assert asked[0] == {
            "category": SHORT.code, "credential": "_service", "filter": {}, "from": FIRST.isoformat(),
            "purpose": "lawfulness", "requester": "remise avant purge", "to": FIRST.isoformat(),
        }  # fmt: skip


class TestPurge:
    """What waits, for how long, and what does not."""

    async def test_it_waits_for_the_hand_over(self, world: World) -> None:
        """A due day is kept until it is handed over to every commune, and then purged."""
        await world.travel_to(FIRST + 4 * DAY, hour=0.5)
        with capture_logs() as logs:
            assert await world.installation.purger.run() == []
        assert [(log["event"], log["tenants"]) for log in logs if log["log_level"] == "warning"] == [
            ("a purge waits for its hand-over", [TENANT])
        ]
        assert FIRST in await days_kept(world)
        await run(world)
        assert [due.day for due in await world.installation.purger.run()] == [FIRST]

    async def test_without_a_certificate_nothing_waits(self, world: World) -> None:
        """Once the commune no longer asks for hand-overs, the day is purged when due."""
        await world.travel_to(FIRST + 4 * DAY, hour=0.5)
        await world.installation.administration.end_handover(TENANT)
        assert [due.day for due in await world.installation.purger.run()] == [FIRST]
        assert (await entries(world, "setting"))[-1] == {"change": "hand-over ended"}

    async def test_days_without_entries_do_not_wait(self, world: World) -> None:
        """There is nothing to hand over, and the day is purged when due."""
        await world.travel_to(FIRST + 4 * DAY)
        await run(world)
        await world.installation.purger.run()
        await world.travel_to(FIRST + 5 * DAY, hour=0.5)
        assert [due.day for due in await world.installation.purger.run()] == [FIRST + DAY]

    async def test_a_contract_does_not_end_unseen(self, world: World) -> None:
        """What waits could not be handed over any more: the operator ends the hand-over first, then the contract."""
        with pytest.raises(OperatorError, match="tenant handover albi --none"):
            await world.installation.administration.close_tenant(TENANT)
        await world.installation.administration.end_handover(TENANT)
        await world.installation.administration.close_tenant(TENANT)
        await world.travel_to(FIRST + 4 * DAY, hour=0.5)
        assert await run(world) == []
        assert [due.day for due in await world.installation.purger.run()] == [FIRST]

    async def test_a_category_kept_two_days(self, world: World) -> None:
        """It is handed over once its day is closed, in the hours before the purge."""
        await world.installation.administration.add_category(NewCategory(code="deux", label="Deux", retention_days=2))
        await world.installation.maintenance.prepare()
        await world.record(2, category="deux")
        await world.travel_to(FIRST + DAY, hour=0.1)
        assert [(due.category, due.day) for due in await world.installation.purger.run()] == []
        assert [handed.file.category for handed in await run(world)] == ["deux"]
        assert [(due.category, due.day) for due in await world.installation.purger.run()] == [("deux", FIRST)]


class TestFailure:
    """A failure is reported at once, and the limit is kept."""

    @pytest.fixture
    async def blocked(self, postgres: EmbeddedPostgres, tmp_path: Path) -> AsyncIterator[World]:
        """Give an installation whose directory lies below a regular file: even root cannot write there."""
        (tmp_path / "file").write_bytes(b"")
        where = str(tmp_path / "file" / "handover")
        async with commune_world(postgres, tmp_path / "home", handover_directory=where) as made:
            await record_both(made)
            yield made

    async def test_the_alarm_and_the_limit(self, blocked: World, tmp_path: Path) -> None:
        """A warning before any day is due, then an alarm; the purge waits as long as the limit allows."""
        assert "Not a directory" in str((await blocked.service.checks.run())["handover"])
        assert await blocked.service.store.read_handover_faults() == []
        await blocked.travel_to(FIRST + 3 * DAY, hour=3)
        size = await blocked.size(category="journal")
        with capture_logs() as logs:
            assert await run(blocked) == []
        (error,) = [log for log in logs if log["log_level"] == "error"]
        where = str(tmp_path / "file" / "handover")
        for word in (TENANT, where, "JOURNAL_HANDOVER_DIRECTORY", "openepm-journal handover", "2026-03-06 22:00 UTC"):
            assert word in error["detail"]
        # Nothing was asked for in the commune's name, but for the alarm.
        assert await blocked.size(category="journal") == size + 1
        assert where in str((await blocked.service.checks.run())["handover"])
        (told,) = await entries(blocked, "alarm")
        assert told == {
            "category": SHORT.code, "day": FIRST.isoformat(), "what": "handover",
            "reason": "le répertoire des remises n'est pas accessible en écriture",
        }  # fmt: skip
        (ours,) = await entries(blocked, "alarm", "_service")
        assert ours == told | {"detail": error["detail"], "tenant": TENANT}
        await run(blocked)
        assert len(await entries(blocked, "alarm")) == 1

        for hour in (0.5, 21.5):
            await blocked.travel_to(FIRST + 4 * DAY, hour=hour)
            assert await blocked.installation.purger.run() == []
        assert FIRST in await days_kept(blocked)
        assert await status(blocked) == (1, 0, 1)
        await blocked.travel_to(FIRST + 4 * DAY, hour=22.5)
        with capture_logs() as logs:
            assert [due.day for due in await blocked.installation.purger.run()] == [FIRST]
        assert "it cannot be recovered" in str(logs)
        lapsed = (await entries(blocked, "alarm"))[-1]
        assert lapsed["reason"] == "le jour est arrivé à son terme avant d'être remis : il a été purgé"
        assert lapsed["day"] == FIRST.isoformat()
        assert "it cannot be recovered" in (await entries(blocked, "alarm", "_service"))[-1]["detail"]
        assert await status(blocked) == (0, 1, 1)
        # No seal ever showed the day past its limit.
        await blocked.travel_to(FIRST + 5 * DAY, hour=1)
        report = blocked.verify(await blocked.extract(FIRST, blocked.today, category=SHORT.code))
        assert report.purged is not None
        assert all(days.outcome != LATE for days in report.purged.days)
        assert (await blocked.service.checks.run())["retention"] is None

    async def test_it_works_again(self, blocked: World, tmp_path: Path) -> None:
        """Once the directory is there, the next run hands over, and readiness is as before."""
        await blocked.travel_to(FIRST + 3 * DAY)
        await run(blocked)
        (tmp_path / "file").unlink()
        (tmp_path / "file" / "handover").mkdir(parents=True)
        assert len(await run(blocked)) == 1
        assert (await blocked.service.checks.run())["handover"] is None
        assert await status(blocked) == (0, 0, 0)

    async def test_a_directory_that_is_chosen_is_never_made(self, postgres: EmbeddedPostgres, tmp_path: Path) -> None:
        """One that is not there is not mounted: what was put below its name would be lost to the commune."""
        where = tmp_path / "mount"
        async with commune_world(postgres, tmp_path / "home", handover_directory=str(where)) as world:
            await run(world)
            assert not where.exists()
            (fault,) = await world.service.store.read_handover_faults()
            assert f"{where}: No such file or directory" in fault.detail

    async def test_a_directory_that_cannot_be_written(self, world: World) -> None:
        """Readiness says so before a day is due: of the whole, or of one commune's own; nobody's hand-over, nothing."""
        assert (await world.service.checks.run())["handover"] is None
        root(world).mkdir()
        (root(world) / OTHER_TENANT).write_bytes(b"")
        assert (await world.service.checks.run())["handover"] is None
        (root(world) / TENANT).write_bytes(b"")
        said = str((await world.service.checks.run())["handover"])
        assert said.startswith(
            f"{root(world) / TENANT}: Not a directory: mount it, make it writable for the service, or "
        )
        await world.installation.administration.end_handover(TENANT)
        assert (await world.service.checks.run())["handover"] is None

    async def test_a_certificate_that_has_expired(self, postgres: EmbeddedPostgres, tmp_path: Path) -> None:
        """It is reported once expired, before any day is due; a new certificate solves it."""
        async with commune_world(postgres, tmp_path / "home", commune(end=START + DAY)) as world:
            await record_both(world)
            await world.travel_to(FIRST + 2 * DAY)
            assert await run(world) == []
            (fault,) = await world.service.store.read_handover_faults()
            for word in (TENANT, "valid from", "2026-03-03", "tenant handover albi --certificate PEM"):
                assert word in fault.detail
            assert (await entries(world, "alarm"))[0]["reason"].startswith("le certificat enregistré")
            await world.travel_to(FIRST + 3 * DAY)
            assert await run(world) == []
            with pytest.raises(OperatorError, match="ask the commune for a current one"):
                await world.installation.administration.register_recipient(
                    TENANT, der_to_pem([commune(end=START + DAY).certificate])
                )
            await world.installation.administration.register_recipient(TENANT, der_to_pem([commune().certificate]))
            assert len(await run(world)) == 1
            assert await world.service.store.read_handover_faults() == []

    async def test_a_night_too_late(self, world: World) -> None:
        """If the service was down until a day may not be read any more, the day is purged and that is reported."""
        await world.travel_to(FIRST + 5 * DAY, hour=4)
        assert await run(world) == []
        (told,) = await entries(world, "alarm")
        assert (told["category"], told["day"]) == (SHORT.code, FIRST.isoformat())
        assert [due.day for due in await world.installation.purger.run()] == [FIRST, FIRST + DAY]
        assert len(await entries(world, "alarm")) == 1

    async def test_a_start_in_the_last_hours(self, world: World) -> None:
        """A service that starts then tries to hand over before it purges; at the limit itself it waits no more."""
        await world.travel_to(FIRST + 4 * DAY, hour=22.5)
        assert await world.installation.purger.run(to_the_limit=True) == []
        assert len(await run(world)) == 1
        assert len(await world.installation.purger.run(to_the_limit=True)) == 1

    async def test_the_limit_itself(self, world: World) -> None:
        """From then on nothing makes it wait."""
        await world.travel_to(FIRST + 5 * DAY, hour=0.1)
        assert FIRST in [due.day for due in await world.installation.purger.run(to_the_limit=True)]
        assert [told["day"] for told in await entries(world, "alarm")] == [FIRST.isoformat()]

    async def test_a_day_not_handed_over_by_three_shows(self, world: World) -> None:
        """If no hand-over runs at all, readiness reports it on the last day."""
        await world.travel_to(FIRST + 4 * DAY, hour=2)
        await world.seal()
        assert (await world.service.checks.run())["handover"] is None
        await world.travel_to(FIRST + 4 * DAY, hour=3.5)
        assert f"{TENANT} {SHORT.code} {FIRST}" in str((await world.service.checks.run())["handover"])

    async def test_one_compartment_that_fails_does_not_keep_the_others(self, world: World) -> None:
        """A missing row is reported; the rest is handed over."""
        await world.installation.administration.add_category(NewCategory(code="cinq", label="Cinq", retention_days=5))
        await world.installation.maintenance.prepare()
        await world.record(2, category="cinq")
        await world.seal()  # what no seal covers yet would not be signed
        async with world.superuser() as connection:
            await connection.execute("DELETE FROM journal.entry WHERE category = $1 AND index = 1", SHORT.code)
        await world.travel_to(FIRST + 3 * DAY)
        assert [handed.file.category for handed in await run(world)] == ["cinq"]
        (fault,) = await world.service.store.read_handover_faults()
        assert "entries from index 0 on are missing" in fault.detail
        assert not [name for name in names(world) if name.endswith(".part")]


class Died(BaseException):
    """The process is gone: nothing after this runs."""


class Deadly:
    """The real store, until a step at which the process dies: before it was done, or after."""

    def __init__(self, store: Any, step: str, *, after: bool) -> None:
        """Die at this step."""
        self._store = store
        self._step = step
        self._after = after

    def __getattr__(self, name: str) -> Any:
        """Return the store's own method, or the deadly one."""
        method: Callable[..., Awaitable[Any]] = getattr(self._store, name)
        if name != self._step:
            return method

        async def die(*arguments: Any) -> None:
            if self._after:
                await method(*arguments)
            raise Died

        return die


STEPS = ("note_handover", "place_handover", "list_handovers")


class TestCutShort:
    """A run that dies at any step is finished by the next one."""

    @pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
    @pytest.mark.parametrize("step", STEPS)
    async def test_at_every_step(self, world: World, tmp_path: Path, step: str, *, after: bool) -> None:
        """Afterwards there is one whole file, named by the database and a signed inventory; the day is then purged."""
        service = world.service
        await world.travel_to(FIRST + 3 * DAY)
        store: Any = Deadly(service.store, step, after=after)  # the store, but for one step
        dying = Handover(with_parts(service, store=store))
        with pytest.raises(Died):
            await dying.run()
        requests = await world.size(category="journal")
        await run(world)
        # Where the file was noted, it is the one that is kept: no second extract is asked for.
        noted = step != "note_handover" or after
        assert await world.size(category="journal") == requests + (0 if noted else 1)
        day, night = FIRST.isoformat(), world.today.isoformat()
        file, inventory = f"{TENANT}_{SHORT.code}_{day}_{day}.asice.p7m", f"{TENANT}_inventory_{night}.json"
        assert names(world) == [file, inventory, f"{inventory}.p7s"]
        (listed,) = json.loads((root(world) / TENANT / inventory).read_bytes())["files"]
        assert listed["sha256"] == sha256((root(world) / TENANT / file).read_bytes()).hexdigest()
        assert world.verify(opened(root(world) / TENANT / file, commune(), tmp_path)).manifest.disclosed == 3
        assert await run(world) == []
        await world.travel_to(FIRST + 4 * DAY, hour=0.5)
        assert [due.day for due in await world.installation.purger.run()] == [FIRST]
        assert await entries(world, "alarm") == []

    async def test_half_a_file_left_behind(self, world: World) -> None:
        """It is removed under any name, and the whole file is made."""
        await world.travel_to(FIRST + 3 * DAY)
        (root(world) / TENANT).mkdir(parents=True)
        day = FIRST.isoformat()
        for name in (f"{TENANT}_{SHORT.code}_{day}_{day}.asice.p7m.part", "other.part"):
            (root(world) / TENANT / name).write_bytes(b"half")
        await run(world)
        assert not [name for name in names(world) if name.endswith(".part")]
        assert len(names(world)) == 3

    async def test_a_noted_file_that_is_gone(self, world: World) -> None:
        """It is made again: what the database says of a file is never believed without the file."""
        await world.travel_to(FIRST + 3 * DAY)
        await run(world)
        async with world.superuser() as connection:
            await connection.execute("UPDATE journal.handover SET placed_at = NULL, listed_at = NULL")
        for path in (root(world) / TENANT).glob("*.p7m"):
            path.write_bytes(b"something else")
        assert len(await run(world)) == 1
        (path,) = (root(world) / TENANT).glob("*.p7m")
        assert path.stat().st_size > 1000

    async def test_an_alarm_not_yet_entered(self, world: World) -> None:
        """A lapse noted by a run that died before its entries is entered by whichever job runs next, once."""
        await world.travel_to(FIRST + 5 * DAY, hour=0.1)
        store: Any = Deadly(world.service.store, "read_handover_alarms", after=False)
        dying = Handover(with_parts(world.service, store=store))
        with pytest.raises(Died):
            await dying.run()
        assert await entries(world, "alarm") == []
        await world.installation.purger.run()
        await run(world)
        assert len(await entries(world, "alarm")) == 1
        assert len(await entries(world, "alarm", "_service")) == 1


class TestRegistration:
    """Who may be handed over to."""

    async def test_it_is_an_entry(self, world: World) -> None:
        """The commune's journal says which certificate, and until when it is good."""
        (told,) = await entries(world, "setting")
        assert told == {
            "change": "hand-over certificate registered",
            "not_after": "2027-03-02T09:00:00.000000Z",
            "sha256": sha256(commune().certificate).hexdigest(),
        }

    @pytest.mark.parametrize("code", ["nowhere", "_service"])
    async def test_only_communes(self, world: World, code: str) -> None:
        """Neither one that does not exist, nor the service itself."""
        with pytest.raises(OperatorError, match="no tenant"):
            await world.installation.administration.register_recipient(code, der_to_pem([commune().certificate]))

    async def test_nothing_to_end(self, world: World) -> None:
        """Ending what never began is a mistake, and nothing is recorded."""
        size = await world.size(OTHER_TENANT, "journal")
        with pytest.raises(OperatorError, match="no certificate"):
            await world.installation.administration.end_handover(OTHER_TENANT)
        assert await world.size(OTHER_TENANT, "journal") == size
