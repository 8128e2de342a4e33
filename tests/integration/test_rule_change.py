"""A category's rule is changed: what must go goes, nothing comes back, and an auditor can tell that it was obeyed."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from journal.admin.rules import RuleChanges
from journal.core.entry import JOURNAL_CATEGORY, RESERVED_TENANT, Compartment
from journal.core.errors import BusyError, EarlyDeletionError, OperatorError, StoreError
from journal.writing.chronicle import Chronicle
from tests.support.communes import commune, names, opened, receives
from tests.support.contents import events_of, purge_entries
from tests.support.obedience import let_the_signer_obey
from tests.support.rule_changes import LONG, live, long_world, row_of, set_days
from tests.support.world import DAY, FIRST, OTHER_TENANT, SERVICE, TENANT, World, with_parts

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from journal.database.embedded import EmbeddedPostgres
    from retention.purge_steps import Boundary

pytestmark = [pytest.mark.world(made_by=long_world), pytest.mark.usefixtures("no_documents")]


async def kept(world: World) -> list[int]:
    """Return the days on disk up to today, counted from 0."""
    rows = await world.service.store.partitions()
    return [(row.day - FIRST).days for row in rows if row.category == LONG.code and row.day <= world.today]


async def stated(world: World) -> list[tuple[int, int]]:
    """Return what every seal states of the first commune's chain, in order and once: its rule and its beginning."""
    found: list[tuple[int, int]] = []
    for seal in await world.service.store.read_seals(0, 10_000):
        chain_seal = await world.service.reader.chain_seal(seal, Compartment(SERVICE, TENANT, LONG.code))
        if chain_seal is not None and (one := (chain_seal.head.retention_days, chain_seal.head.kept_from)) not in found:
            found.append(one)
    return found


async def check_every_extract(world: World, first: int = 0, *, stride: int = 1) -> int:
    """Verify extracts that begin on every day from one on to today, or on one in so many; return how many."""
    count = 0
    today = (world.today - FIRST).days
    for start in range(first, today + 1, stride):
        for end in sorted({start, min(start + 2, today), today}):
            extract = await world.extract(FIRST + start * DAY, FIRST + end * DAY, category=LONG.code)
            world.verify(extract)
            count += 1
    return count


async def settings(world: World, tenant: str) -> list[dict[str, Any]]:
    """Return the data of the `setting` entries about the category in a tenant's journal of the journal."""
    compartment = Compartment(SERVICE, tenant, JOURNAL_CATEGORY)
    found = []
    for leaf in await world.service.store.partitions():
        if leaf.category != JOURNAL_CATEGORY:
            continue
        for row in await world.service.store.read_entries(tenant, JOURNAL_CATEGORY, leaf.day, 0, 1000):
            box = world.service.keyring.box(compartment, leaf.day)
            _, record = box.open(row.index, row.ciphertext, row.leaf_hash)
            event = json.loads(record)["event"]
            if event["type"].endswith("service.setting") and event["data"]["change"] == "category changed":
                found.append(event["data"])
    return found


@pytest.mark.parametrize("stride", [4, pytest.param(1, marks=pytest.mark.campaign)])
async def test_a_shorter_rule(world: World, stride: int) -> None:
    """Days past it are read no more at once, go with the next run, and the seals state both in one step."""
    await live(world, 0, 7, empty=(3,))
    row = await set_days(world, 4)
    assert (row.retention_days, row.stated_days, row.next_retention_days) == (4, 10, 4)
    with pytest.raises(BusyError, match="is past its limit and waits for the purge"):
        await world.extract(FIRST, world.today, category=LONG.code)
    # Until they are gone the old rule is in force: nobody is accused.
    world.verify(await world.extract(FIRST + 5 * DAY, world.today, category=LONG.code))
    assert (await world.service.checks.run())["retention"] is None
    assert await world.audit() == []
    # More than three at once: it was asked for, and is no clock's doing.
    await world.installation.purger.run()
    assert await kept(world) == [6, 7, 8]
    row = await row_of(world)
    assert (row.retention_days, row.stated_days, row.next_retention_days) == (4, 4, None)
    # Five days of two entries were gone with the first seal that states four days.
    assert await stated(world) == [(10, 0), (4, 10)]
    assert await world.audit() == []
    assert (await world.service.checks.run())["retention"] is None
    report = world.verify(await world.extract(FIRST, world.today, category=LONG.code))
    assert report.purged is not None
    assert (report.purged.through, report.purged.before_index) == (FIRST + 5 * DAY, 10)
    assert any("entries are kept 4 days; before, 10" in remark for remark in report.remarks)
    await live(world, 8, 12)
    assert await check_every_extract(world, stride=stride) > 30 / stride
    told = [day for entry in await purge_entries(world) for day in entry["days"] if day["category"] == LONG.code]
    assert [(day["count"], day["retention_days"]) for day in told[:3]] == [(2, 4)] * 3
    assert sum(day["count"] for day in told) == 2 * 10


async def test_auditors_are_told(world: World) -> None:
    """The change is an entry of the service and of every open commune, once; a closed one's chain takes nothing."""
    await world.installation.administration.close_tenant(OTHER_TENANT)
    change = {
        "change": "category changed",
        "effective_from": world.today.isoformat(),
        "instruction": "I-1",
        "retention_days": 5,
        "retention_days_before": 10,
    }
    await set_days(world, 5)
    await set_days(world, 5)
    assert await settings(world, RESERVED_TENANT) == await settings(world, TENANT) == [change]
    assert await settings(world, OTHER_TENANT) == []
    await world.installation.administration.set_category(
        LONG.code, instruction="I-1", label="Autre", needs_authorisation=True
    )
    said = (await settings(world, TENANT))[1]
    assert said == {"change": "category changed", "instruction": "I-1", "label": "Autre", "needs_authorisation": True}
    row = await row_of(world)
    assert (row.label, row.needs_authorisation, row.retention_days) == ("Autre", True, 5)
    await world.seal()
    assert "fr.openepm.journal.service.setting" in [
        event["type"] for event in events_of(await world.extract(FIRST, FIRST, category=JOURNAL_CATEGORY))
    ]


async def test_entries_that_a_crash_left_out(world: World) -> None:
    """A change whose entries were cut short is entered by the next purge, once in each journal."""
    await world.service.store.set_category(LONG.code, retention_days=5)

    class DyingWriter:
        done = 0

        async def submit(self, *arguments: Any) -> Any:
            if self.done:
                raise StopError
            self.done += 1
            return await world.service.writer.submit(*arguments)

    writer: Any = DyingWriter()
    service = world.service
    chronicle = Chronicle(
        store=service.store,
        keyring=service.keyring,
        snapshot=service.snapshot,
        writer=writer,
        service_name=SERVICE,
        clock=world.clock,
    )
    rules = RuleChanges(with_parts(service, chronicle=chronicle))
    with pytest.raises(StopError):
        await rules.enter()
    assert [len(await settings(world, tenant)) for tenant in (RESERVED_TENANT, TENANT, OTHER_TENANT)] == [1, 0, 0]
    await world.installation.purger.run()
    assert [len(await settings(world, tenant)) for tenant in (RESERVED_TENANT, TENANT, OTHER_TENANT)] == [1, 1, 1]
    assert await world.service.store.read_category_changes() == []


@pytest.mark.parametrize(("days", "stride"), [(12, 4), pytest.param(14, 1, marks=pytest.mark.campaign)])
async def test_a_longer_rule(world: World, days: int, stride: int) -> None:
    """Nothing more goes, nothing comes back; seals state a day more each day, so that each extract verifies alone."""
    await set_days(world, 4)
    await live(world, 0, 7)
    assert await kept(world) == [6, 7, 8]
    row = await set_days(world, 8)
    assert (row.retention_days, row.next_retention_days) == (4, 8)
    # Tonight's day stays although the old rule would have let it go.
    for number in range(9, days + 1):
        await live(world, number, number)
        assert await kept(world) == list(range(max(6, number + 1 - 6), number + 2))
        row = await row_of(world)
        assert row.stated_days == min(8, 4 + number - 8 + 1)
        assert await world.audit() == []
        assert (await world.service.checks.run())["retention"] is None
        assert await check_every_extract(world, number) == 3
    assert row.next_retention_days is None
    assert await check_every_extract(world, stride=stride) > 30 / stride
    assert [days for days, _ in await stated(world)][-1] == 8


async def test_a_longer_rule_of_a_young_category(world: World) -> None:
    """Where nothing was ever purged, the new rule is stated at once."""
    await live(world, 0, 1)
    row = await set_days(world, 60)
    assert (row.stated_days, row.next_retention_days) == (60, None)
    await world.seal()
    assert [days for days, _ in await stated(world)] == [10, 60]
    assert await world.audit() == []


async def test_after_days_without_a_service(world: World) -> None:
    """While a longer rule grows and nobody runs, nothing is late and nothing is early."""
    await set_days(world, 3)
    await live(world, 0, 5)
    await set_days(world, 10)
    await world.travel_to(FIRST + 11 * DAY)
    await world.installation.purger.run()
    await world.seal()
    row = await row_of(world)
    assert (row.stated_days, row.next_retention_days) == (8, 10)
    assert await world.audit() == []
    reports = [
        world.verify(await world.extract(FIRST + number * DAY, world.today, category=LONG.code)) for number in range(11)
    ]
    assert not any("late" in remark for report in reports for remark in report.remarks)


async def test_shorter_then_longer_then_shorter(world: World) -> None:
    """Whatever the order, every extract of every period verifies, and the store too."""
    await live(world, 0, 8)
    await set_days(world, 4)
    await world.installation.purger.run()
    await live(world, 9, 10)
    await set_days(world, 9)
    await live(world, 11, 12)
    row = await set_days(world, 4)
    assert row.next_retention_days == 4 < row.stated_days
    assert await world.installation.purger.run()
    await live(world, 13, 14, empty=(13,))
    assert (await row_of(world)).stated_days == 4
    assert await check_every_extract(world, stride=3) > 35 / 3
    assert await world.audit() == []


async def test_taken_back_before_anything_went(world: World) -> None:
    """A shorter rule may be withdrawn as long as nothing went under it; after that it must be finished first."""
    await live(world, 0, 7)
    await set_days(world, 4)
    row = await set_days(world, 10)
    assert (row.retention_days, row.next_retention_days) == (10, None)
    assert await world.installation.purger.run() == []
    await set_days(world, 4)
    await end_run(world, lambda boundary: boundary.step.name == "SHRED_KEY" and not boundary.is_done)
    with pytest.raises(StoreError, match="is destroyed already under the rule of 4 days"):
        await set_days(world, 10)
    await set_days(world, 3)
    await world.installation.purger.run()
    assert await kept(world) == [7, 8]
    await set_days(world, 10)
    await world.seal()
    assert await world.audit() == []
    await check_every_extract(world)


async def test_a_key_that_cannot_be_destroyed(world: World) -> None:
    """Rows gone and a key left is not gone: the seals go on stating the old rule until the key is destroyed too."""
    await live(world, 0, 7)
    path = world.settings.keystore_path / "days" / LONG.code / f"{FIRST + 5 * DAY}"
    content = path.read_bytes()
    path.unlink()
    (path / "in the way").mkdir(parents=True)
    await set_days(world, 4)
    with pytest.raises(OSError, match=f"{FIRST + 5 * DAY}"):
        await world.installation.purger.run()
    assert await kept(world) == [6, 7, 8]
    row = await row_of(world)
    assert (row.stated_days, row.next_retention_days) == (10, 4)
    await world.seal()
    assert await stated(world) == [(10, 0)]
    (path / "in the way").rmdir()
    path.rmdir()
    path.write_bytes(content)
    await world.installation.purger.run()
    assert await stated(world) == [(10, 0), (4, 12)]
    assert not path.exists()
    assert await world.audit() == []


class StopError(Exception):
    """The process ends here."""


async def end_run(world: World, where: Callable[[Boundary], bool]) -> bool:
    """Purge as a process of its own does, and end it at the first boundary that is meant; False if none was."""

    def on_step(boundary: Boundary) -> None:
        if where(boundary):
            raise StopError

    async with world.another_process() as other:
        try:
            await other.purger.run(on_step=on_step)
        except StopError:
            return True
    return False


async def test_handed_over_first(world: World) -> None:
    """What waits for a commune waits under the old rule: handed over, verified, then gone, and nothing lapses."""
    await receives(world)
    await live(world, 0, 5)
    await set_days(world, 3)
    assert await world.installation.purger.run() == []
    assert await kept(world) == [0, 1, 2, 3, 4, 5, 6]
    assert (await world.service.checks.run())["retention"] is None
    assert (await world.service.checks.run())["handover"] is None
    done = await world.installation.handover.run()
    assert [(handed.file.first_day, handed.file.last_day) for handed in done] == [(FIRST, FIRST + 5 * DAY)]
    assert f"{TENANT}_{LONG.code}_{FIRST}_{FIRST + 5 * DAY}.asice.p7m" in names(world)
    assert len(await world.installation.purger.run()) == 5
    assert (await row_of(world)).stated_days == 3
    assert await world.service.store.read_handover_alarms() == []
    assert await world.audit() == []
    await world.travel_to(world.today + DAY)
    await world.seal()
    await check_every_extract(world)


async def test_a_hand_over_after_a_part_of_it(postgres: EmbeddedPostgres, tmp_path: Path) -> None:
    """What was handed over is gone and the rest waits: the next hand-over takes the rest, and it is settled."""
    holder = commune()
    async with long_world(postgres, tmp_path / "home") as world:
        await receives(world, holder)
        await live(world, 0, 3)
        await set_days(world, 3)
        await world.installation.handover.run()
        # Nobody hands over for three days.
        await world.record(1, category=LONG.code)
        await world.travel_to(FIRST + 7 * DAY)
        await world.seal()
        await world.installation.purger.run()
        assert await kept(world) == [4, 5, 6, 7]
        assert (await row_of(world)).stated_days == 10
        found = await world.audit()
        assert len(found) == 4 * 2
        assert {finding.reason.partition("run ")[2] for finding in found} == {
            "openepm-journal handover, then openepm-journal purge"
        }
        [handed] = await world.installation.handover.run()
        assert (handed.file.first_day, handed.file.last_day) == (FIRST + 4 * DAY, FIRST + 6 * DAY)
        report = world.verify(opened(handed.path, holder, tmp_path))
        assert (report.manifest.disclosed, report.purged) == (1, None)
        await world.installation.purger.run()
        assert await kept(world) == [6, 7]
        assert (await row_of(world)).stated_days == 3
        assert await world.service.store.read_handover_alarms() == []
        assert await world.audit() == []


async def test_a_hand_over_that_never_comes(world: World) -> None:
    """It is told after a day, and the old rule's limit is the last word: the pending rule never destroys unseen."""
    await receives(world)
    await live(world, 0, 5)
    await set_days(world, 3)
    await world.travel_to(world.today + 2 * DAY)
    await world.seal()
    assert await world.installation.purger.run() == []
    said = (await world.service.checks.run())["retention"]
    assert said is not None
    assert "the retention of 3 days, asked for on" in said
    # Day 0 must go on the tenth day, handed over or not.
    await world.travel(datetime.combine(FIRST + 9 * DAY, datetime.min.time(), tzinfo=UTC) + timedelta(hours=22.5))
    await world.seal()
    done = await world.installation.purger.run()
    assert [due.day for due in done if due.category == LONG.code] == [FIRST]
    await world.seal()
    assert await world.audit() == []
    world.verify(await world.extract(world.today - DAY, world.today, category=LONG.code))


async def test_the_brake_for_clocks_holds(world: World) -> None:
    """What a rule asked for goes whatever the number; what became due since, three days a run."""
    await live(world, 0, 7)
    await set_days(world, 4)
    await world.travel_to(world.today + 5 * DAY)
    done = await world.installation.purger.run()
    # Asked for: days 0 to 5. Since: 6, 7, 8 of 6 to 10.
    assert [(due.day - FIRST).days for due in done if due.category == LONG.code] == [0, 1, 2, 3, 4, 5, 6, 7, 8]
    assert (await row_of(world)).next_retention_days == 4
    await world.installation.purger.run()
    assert (await row_of(world)).next_retention_days is None
    assert await world.audit() == []


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ({"retention_days": 1}, "choose 2 to 60"),
        ({"retention_days": 61}, "choose 2 to 60"),
        ({"label": " "}, "--label"),
        ({"label": "a\nb"}, "--label"),
    ],
)
async def test_refused(world: World, asked: dict[str, Any], reason: str) -> None:
    """What cannot be is refused in one line, and nothing is changed."""
    before = await row_of(world)
    with pytest.raises(OperatorError, match=reason):
        await world.installation.administration.set_category(LONG.code, instruction="I-1", **asked)
    with pytest.raises(OperatorError, match="there is no category absente"):
        await world.installation.administration.set_category("absente", instruction="I-1", retention_days=30)
    assert await row_of(world) == before
    assert await settings(world, TENANT) == []


async def test_real_misdeeds_are_named_all_the_same(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """After an announced change: a day deleted beyond it is early deletion, one kept past it over-retention."""
    let_the_signer_obey(monkeypatch)
    await live(world, 0, 7)
    await set_days(world, 4)
    await world.installation.purger.run()
    extract = await world.extract(FIRST, world.today, category=LONG.code)
    world.verify(extract)
    async with world.superuser() as superuser:
        await superuser.execute(
            "UPDATE journal.head SET kept_from = 14 WHERE tenant = $1 AND category = $2", TENANT, LONG.code
        )
    await world.seal()
    with pytest.raises(EarlyDeletionError):
        world.verify(await world.extract(FIRST + 6 * DAY, world.today, category=LONG.code))
    assert any(finding.verdict == "early deletion" for finding in await world.audit())


async def test_a_rule_stated_before_its_purge_is_over_retention(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Were the seals to state the shorter rule while older days are kept, no extract is made that accuses itself."""
    let_the_signer_obey(monkeypatch)
    await live(world, 0, 7)
    async with world.superuser() as superuser:
        await superuser.execute("UPDATE journal.category SET retention_days = 4 WHERE code = $1", LONG.code)
    await world.seal()
    with pytest.raises(BusyError, match="is past its limit and waits for the purge"):
        await world.extract(FIRST + 4 * DAY, date.max.replace(year=2026, month=3, day=10), category=LONG.code)
