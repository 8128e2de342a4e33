"""Many days over clocks that go wrong in every way: nothing goes early, nothing late, and nobody is accused."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import product
from random import Random
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from journal.admin.administration import NewCategory
from journal.cli.installation import open_service
from journal.core.entry import JOURNAL_CATEGORY, Compartment
from journal.core.errors import BusyError, JournalError, OperatorError
from journal.core.times import overdue_through, purgeable_through
from tests.support.clocks import FaultyClock, midnight
from tests.support.ending import make_no_documents
from tests.support.world import DAY, SERVICE, World, make_event, new_world

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from journal.cli.installation import Installation
    from journal.database.embedded import EmbeddedPostgres

LEAP_DAY, SUMMER_TIME = date(2028, 2, 29), date(2028, 3, 26)
BRIEF, CHANGING = "breve", "changeante"
WRITTEN = ("main-courante", "ecrits", BRIEF, CHANGING)
MILLISECOND = timedelta(milliseconds=1)
JUMPS = (timedelta(hours=1), timedelta(days=90), timedelta(days=3650), timedelta(days=-1), timedelta(days=-90))


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Days that hold a leap day, whole from its first entry to its purge, and Paris's change to summer time."""

    begin: date
    days: int
    faults: int
    between_faults: int  # in days
    rules: dict[int, int]  # what is changed of a rule, by the number of the day
    checks: int  # days from one check of readiness to the next
    audits: tuple[int, ...]  # the days on which the whole store is checked
    asking: int  # how many communes then ask for extracts
    kept_days: int = 60  # of the categories whose rule does not change
    still: tuple[int, int] = (30, 31)  # two days on which nobody did anything


PLAN = Plan(
    begin=date(2028, 1, 4),
    days=120,
    faults=25,
    between_faults=4,
    rules={45: 10, 60: 25, 95: 3, 100: 8},
    checks=2,
    audits=(39, 79),
    asking=2,
)
# From the leap day to summer time, half as long as entries are kept by default: each
# fault and each jump, and not each with each.
DENSE = Plan(
    begin=date(2028, 2, 28),
    days=32,
    faults=10,
    between_faults=2,
    rules={9: 10, 17: 25, 23: 3, 27: 8},
    checks=4,
    audits=(19,),
    asking=1,
    kept_days=30,
    still=(28, 29),
)


@pytest.fixture(autouse=True)
def in_paris(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Live where clocks are changed twice a year, and make extracts without the people's view: many are made."""
    make_no_documents(monkeypatch)
    monkeypatch.setenv("TZ", "Europe/Paris")
    time.tzset()
    assert time.localtime(datetime(2028, 7, 1, tzinfo=UTC).timestamp()).tm_hour == 2
    yield
    monkeypatch.undo()
    time.tzset()


@dataclass(slots=True, kw_only=True)
class Tally:
    """What was counted."""

    purged: int = 0
    early: list[str] = field(default_factory=list)
    late: list[str] = field(default_factory=list)
    alarms: list[str] = field(default_factory=list)
    ages: dict[str, tuple[timedelta, timedelta]] = field(default_factory=dict)
    entries: int = 0
    ticks: int = 0
    restarts: int = 0
    jumps: int = 0
    extracts: int = 0
    checks: int = 0

    def age(self, category: str, lowest: timedelta, highest: timedelta) -> None:
        """Note how old a day's youngest and oldest entries were when they went."""
        low, high = self.ages.get(category, (lowest, highest))
        self.ages[category] = (min(low, lowest), max(high, highest))


class Life:
    """A service that lives day after day, in one process after another."""

    def __init__(
        self, world: World, owner: asyncpg.Connection, tenants: tuple[str, ...], plan: Plan, *, hourly: bool
    ) -> None:
        """Begin in this world; with `hourly`, whatever is done every hour is done every hour."""
        self.world = world
        self.owner = owner
        self.tenants = tenants
        self.plan = plan
        self.hourly = hourly
        self.random = Random(120)
        self.clock = FaultyClock(world.clock.offset)
        self.tally = Tally()
        self.known: dict[tuple[str, str], list[bytes]] = {}
        self.spans: dict[tuple[str, date], tuple[datetime, datetime]] = {}
        self.kept: set[tuple[str, date]] = set()
        self.purged_on: dict[tuple[str, date], date] = {}
        self._stack = AsyncExitStack()
        self.installation: Installation

    @property
    def today(self) -> date:
        """The true day."""
        return self.clock.true.date()

    # --- processes and clocks

    async def start(self, fault: timedelta = timedelta(0)) -> None:
        """Start a process, whose clock may be wrong from the start."""
        self.clock = FaultyClock(self.clock.offset)
        self.clock.fault = fault
        service = open_service(self.world.dsn, self.world.settings, self.clock)
        self.installation = await self._stack.enter_async_context(service)
        self.tally.restarts += 1

    async def stop(self) -> None:
        """End the process."""
        await self._stack.aclose()

    async def restart(self) -> None:
        """End the process and start another one, whose clock is right and believed."""
        await self.stop()
        await self.start()
        await self.installation.check_clock(confirmed=False)

    async def move_database(self, fault: timedelta = timedelta(0)) -> None:
        """Let the database's clock go on from the true time, or from another."""
        ahead = self.clock.true - datetime.now(UTC) + fault
        await self.owner.execute("UPDATE journal.simulated_clock SET ahead = $1", ahead)

    async def go(self, moment: datetime, *, still: bool = False) -> None:
        """Let time pass up to a moment, for every clock; the service's may then stand there."""
        self.clock.offset = self.world.clock.offset = moment - datetime.now(UTC)
        self.clock.still = moment if still else None
        await self.move_database()
        await self.installation.service.snapshot.refresh()

    # --- what a service does

    async def record(self, tenants: tuple[str, ...], categories: tuple[str, ...] = WRITTEN) -> None:
        """Record an entry of the moment in each of these compartments, all at once."""
        submit = self.installation.service.writer.submit
        places = list(product(tenants, categories))
        acknowledgements = await asyncio.gather(
            *(
                submit(Compartment(SERVICE, tenant, category), "test", [make_event(self.clock.now())], 1000)
                for tenant, category in places
            )
        )
        for (_, category), [acknowledgement] in zip(places, acknowledgements, strict=True):
            recorded_at = datetime.fromisoformat(acknowledgement.receipt.recorded_at)
            first, last = self.spans.get((category, recorded_at.date()), (recorded_at, recorded_at))
            self.spans[category, recorded_at.date()] = (min(first, recorded_at), max(last, recorded_at))
            self.tally.entries += 1

    async def tick(self) -> None:
        """Do what is done every hour, and look at what went and what stayed."""
        await self.look()
        await self.installation.service.sealer.seal_open(even_if_still=False)
        await self.installation.purger.run()
        await self.look()
        self.tally.ticks += 1

    async def look(self) -> None:
        """Hold what is on disk, rows and keys, against the rule by the true time."""
        rules = {row.code: row for row in await self.installation.service.store.read_categories()}
        keystore = self.installation.service.keyring.keystore
        rows = {(row.category, row.day) for row in await self.installation.service.store.partitions()}
        keys = {(code, day) for code in rules for day in keystore.day_keys(code)}
        now, today = self.clock.true, self.today
        for category, day in sorted(rows | keys):
            if day <= overdue_through(today, rules[category].stated_days):
                self.tally.late.append(f"{category} {day} is there at {now}")
        for category, day in self.kept - rows:
            if (category, day) in keys:
                self.tally.late.append(f"the key of {category} {day} is there at {now}")
            if day > purgeable_through(today, rules[category].retention_days):
                self.tally.early.append(f"{category} {day} is gone at {now}")
            self.tally.purged += 1
            self.purged_on[category, day] = today
            if (span := self.spans.pop((category, day), None)) is not None:
                self.tally.age(category, now - span[1], now - span[0])
        self.kept = {(category, day) for category, day in rows if day <= today}

    async def check(self, *, whole: bool) -> None:
        """Ask whatever may accuse somebody: readiness, and at times the whole store and an auditor's extracts."""
        await self.installation.service.snapshot.refresh()
        answers = await self.installation.service.checks.run()
        self.tally.alarms += [f"{name}: {said} on {self.today}" for name, said in answers.items() if said]
        self.tally.checks += 1
        if not whole:
            return
        await self.world.service.snapshot.refresh()
        self.tally.alarms += [str(finding) for finding in await self.world.audit()]
        for tenant, category in product(self.tenants[: self.plan.asking], (*WRITTEN, JOURNAL_CATEGORY)):
            known = self.known.setdefault((tenant, category), [])
            first = max(self.plan.begin, self.today - self.random.randrange(1, 70) * DAY)
            last = first + self.random.randrange((self.today - first).days + 1) * DAY
            extract = await self.world.extract(first, last, tenant=tenant, category=category)
            report = self.world.verify(extract, known=known)
            self.tally.alarms += [remark for remark in report.remarks if "late" in remark]
            self.tally.extracts += 1
            head = await self.world.service.reader.head(Compartment(SERVICE, tenant, category))
            known[:] = [*known[-1:], head]

    # --- what goes wrong

    async def refuse_all(self, error: type[JournalError], match: str) -> None:
        """Try to purge, to seal and to write, and be refused."""
        service = self.installation.service

        async def write() -> None:
            await self.record(self.tenants[:1], ("ecrits",))

        attempts: list[Callable[[], Any]] = [
            self.installation.purger.run,
            service.sealer.close_due_days,
            lambda: service.sealer.seal_open(even_if_still=True),
            write,
        ]
        for attempt in attempts:
            with pytest.raises(error, match=match):
                await attempt()

    async def jump_while_running(self, jump: timedelta, *, both: bool) -> None:
        """Set the machine's clock while the process runs, the database's with it or not; then put it right."""
        self.clock.fault = jump
        await self.move_database(jump if both else timedelta(0))
        await self.refuse_all(OperatorError, "the system clock was moved")
        self.clock.fault = timedelta(0)
        await self.move_database()
        await self.look()
        await self.restart()

    async def jump_before_start(self, jump: timedelta, *, both: bool) -> None:
        """Start with a clock that is wrong, the database's too or not; then put it right and start again."""
        await self.stop()
        await self.start(jump)
        await self.move_database(jump if both else timedelta(0))
        if jump == timedelta(hours=1):
            # Nothing tells it from an hour without entries: it must do no harm.
            await self.installation.check_clock(confirmed=False)
            await self.installation.purger.run()
            if both:
                await self.record(self.tenants)
                await self.installation.service.sealer.seal_open(even_if_still=False)
        else:
            with pytest.raises(OperatorError, match="--clock-is-right"):
                await self.installation.check_clock(confirmed=False)
        await self.stop()
        await self.start()
        await self.move_database()
        if both and jump == timedelta(hours=1):
            with pytest.raises(OperatorError, match="--clock-is-right"):
                await self.installation.check_clock(confirmed=False)
            await self.go(self.clock.true + jump + timedelta(minutes=1))
        await self.look()
        await self.restart()

    async def jump_of_the_database(self, jump: timedelta) -> None:
        """Set the database's clock alone: both must agree that a day may go, and no entry is taken meanwhile."""
        await self.move_database(jump)
        with suppress(JournalError):
            await self.installation.purger.run()
        with pytest.raises(BusyError, match="the clocks of the service and of the database differ"):
            await self.record(self.tenants[:1], ("ecrits",))
        await self.look()
        await self.move_database()
        await self.installation.service.sealer.seal_open(even_if_still=False)

    async def go_wrong(self, number: int) -> None:
        """Let the fault of the day happen, if it has one."""
        count, rest = divmod(number - 8, self.plan.between_faults)
        if count < 0 or rest:
            return
        jump = JUMPS[(count + count // len(JUMPS)) % len(JUMPS)]
        faults: list[Any] = [
            lambda: self.jump_while_running(jump, both=False),
            lambda: self.jump_while_running(jump, both=True),
            lambda: self.jump_before_start(jump, both=False),
            lambda: self.jump_before_start(jump, both=True),
            lambda: self.jump_of_the_database(jump),
        ]
        if count < self.plan.faults:
            await faults[count % len(faults)]()
            self.tally.jumps += 1

    # --- a day

    async def live_a_day(self, number: int) -> None:
        """Live from a day's first millisecond to the last of it."""
        day = self.plan.begin + number * DAY
        await self.go(midnight(day) + MILLISECOND, still=True)
        await self.record(self.tenants[:1], (BRIEF, "ecrits"))
        # An hourly task comes when it comes; hours in which nothing is due may be left out.
        offset = timedelta(seconds=6 + self.random.randrange(3590))
        for hour in range(24 if self.hourly else 1):
            await self.go(midnight(day) + hour * timedelta(hours=1) + offset)
            if hour == 0:
                await self.installation.maintenance.prepare()
            await self.tick()
        await self.go(midnight(day) + timedelta(hours=12))
        if number in self.plan.rules:
            await self.installation.administration.set_category(
                CHANGING, instruction="I-1", retention_days=self.plan.rules[number]
            )
        if number % 7 == 3:
            await self.restart()
        await self.go_wrong(number)
        if number not in self.plan.still:
            await self.record(self.tenants)
        await self.installation.service.sealer.seal_open(even_if_still=False)
        if number % self.plan.checks == self.plan.checks - 1:
            await self.check(whole=number in self.plan.audits)
        await self.go(midnight(day + DAY) - MILLISECOND, still=True)
        await self.record(self.tenants[:1], (BRIEF, "ecrits"))


async def live(
    postgres: EmbeddedPostgres, home: Path, plan: Plan, *, tenants: tuple[str, ...], hourly: bool = False
) -> Life:
    """Live the days of a plan, and return what they were."""
    start = midnight(plan.begin) - timedelta(hours=1)
    async with new_world(postgres, home, start=start, tenants=tenants) as world:
        administration = world.installation.administration
        await administration.add_category(NewCategory(code=BRIEF, label="Brève", retention_days=2))
        await administration.add_category(NewCategory(code=CHANGING, label="Changeante", retention_days=30))
        if plan.kept_days != PLAN.kept_days:
            for code in WRITTEN[:2]:
                await administration.set_category(code, instruction="I-0", retention_days=plan.kept_days)
        await world.installation.maintenance.prepare()
        await world.seal()
        owner = await asyncpg.connect(world.dsn)
        life = Life(world, owner, tenants, plan, hourly=hourly)
        try:
            await life.start()
            for number in range(plan.days):
                await life.live_a_day(number)
            await life.go(midnight(plan.begin + plan.days * DAY) + timedelta(hours=1))
            await life.tick()
            await life.check(whole=True)
        finally:
            await life.stop()
            await owner.close()
        return life


def judge(life: Life, record_property: Callable[[str, object], None]) -> None:
    """Say what came of it, and fail if anything was early, late or accused."""
    tally = life.tally
    for category in (*WRITTEN,):
        low, high = tally.ages[category]
        record_property("evidence", f"{life.plan.days} days: {category}: age at deletion from {low} to {high}")
    record_property(
        "evidence",
        f"{life.plan.days} days: {tally.purged} days of categories purged, {len(tally.early)} early, "
        f"{len(tally.late)} late, "
        f"{len(tally.alarms)} false alarms in {tally.checks} readiness checks and {tally.extracts} extracts; "
        f"{tally.entries} entries, {tally.ticks} hourly runs, {tally.restarts} starts, {tally.jumps} clock jumps",
    )
    assert (tally.early, tally.late, tally.alarms) == ([], [], [])
    assert tally.jumps == life.plan.faults
    # Of 60 days: an entry is always less than 60 × 24 h old, and no day goes before its 59th day is over.
    kept = life.plan.kept_days
    for category, days in (("main-courante", kept), ("ecrits", kept), (BRIEF, 2)):
        low, high = tally.ages[category]
        assert (days - 2) * DAY < low
        assert high < days * DAY
    assert tally.ages[CHANGING][1] < 30 * DAY
    assert life.purged_on["ecrits", LEAP_DAY] == LEAP_DAY + (kept - 1) * DAY
    assert LEAP_DAY + (PLAN.kept_days - 1) * DAY == date(2028, 4, 28)
    assert life.purged_on[BRIEF, LEAP_DAY] == date(2028, 3, 1)
    assert life.purged_on[BRIEF, SUMMER_TIME] == SUMMER_TIME + DAY


@pytest.mark.parametrize("plan", [DENSE, pytest.param(PLAN, marks=pytest.mark.campaign)], ids=["32", "120"])
@pytest.mark.long
async def test_days(
    postgres: EmbeddedPostgres, tmp_path: Path, plan: Plan, record_property: Callable[[str, object], None]
) -> None:
    """Entries at every midnight ± 1 ms, restarts, one clock and both jumping, summer time, a leap day, new rules."""
    judge(await live(postgres, tmp_path, plan, tenants=("albi", "sete")), record_property)


async def test_what_starts_ahead_of_time_can_do(postgres: EmbeddedPostgres, tmp_path: Path) -> None:
    """Without an outside clock each start up to 7 days ahead is believed, and takes 3 days a run: see journal.clock."""
    async with new_world(
        postgres, tmp_path, start=midnight(PLAN.begin) + timedelta(hours=9), tenants=["albi"]
    ) as world:
        await world.installation.administration.add_category(
            NewCategory(code=CHANGING, label="Changeante", retention_days=10)
        )
        for number in range(9):
            await world.travel_to(PLAN.begin + number * DAY)
            await world.record(1, category=CHANGING)
            await world.seal()
        true = world.clock.now()
        assert await world.installation.purger.due() == []
        for start in (1, 2):
            await world.travel(true + start * 6 * DAY)
            async with world.another_process() as ahead:
                await ahead.check_clock(confirmed=False)
                await ahead.service.sealer.seal_open(even_if_still=True)
                gone = await ahead.purger.run()
                assert [due.day for due in gone] == [
                    PLAN.begin + number * DAY for number in range(3 * start - 3, 3 * start)
                ]
        # Put right, it is not believed any more: the last seal is ahead.
        await world.travel(true)
        with pytest.raises(OperatorError, match="--clock-is-right"):
            await world.installation.check_clock(confirmed=False)


@pytest.mark.campaign
async def test_120_days_hour_by_hour(
    postgres: EmbeddedPostgres, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """The same with every hour lived, and more communes."""
    tenants = tuple(f"commune-{number}" for number in range(8))
    judge(await live(postgres, tmp_path, PLAN, tenants=tenants, hourly=True), record_property)
