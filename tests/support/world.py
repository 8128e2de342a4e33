"""A whole service without HTTP, on a clock that tests move: what is written, sealed, purged, extracted, checked."""

from __future__ import annotations

import io
from contextlib import asynccontextmanager
from copy import copy
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from itertools import count
from typing import TYPE_CHECKING, Any

import asyncpg
import msgspec

from journal.audit.run import Audit
from journal.cli.installation import Installation, open_service, prepare
from journal.clock import SimulatedClock
from journal.core import canonical
from journal.core.entry import Compartment, Event
from journal.core.times import format_time
from journal.database.embedded import SUPERUSER, EmbeddedPostgres
from journal.database.refusals import read_place
from journal.extract.grounds import Person
from journal.extract.known import read_known
from journal.extract.verify import verify_extract
from journal.pki.certificates import pem_to_der
from journal.reading.plan import ExtractRequest
from journal.settings import NO_SIGNER_SOCKET, Settings
from tests.support.clocks import move_database
from tests.support.copies import holds_something, original
from tests.support.databases import fresh_database

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Sequence
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from journal.audit.findings import Finding
    from journal.core.receipt import Receipt
    from journal.extract.report import Report
    from journal.service import Service
    from tests.support.copies import Original

    MakeWorld = Callable[[EmbeddedPostgres, Path], AbstractAsyncContextManager["World"]]

SERVICE = "journal.test"
TENANT, OTHER_TENANT = "albi", "sete"
PERSON = Person("Jeanne Obé", "déléguée à la protection")
CATEGORY = "main-courante"
DAY = timedelta(days=1)
SETTING_UP = timedelta(minutes=1)
START = datetime(2026, 3, 2, 9, tzinfo=UTC)
FIRST = START.date()

# Settings that an installation does not keep.
COPIED_WITH = frozenset({"keystore_replicas", "rule_delay_days", "tsa_trust", "tsa_url"})

_numbers = count(1)


def make_event(at: datetime, **members: Any) -> Event:
    """Return an event of its own, as the edge would hand it over; `members` replace or add some."""
    number = next(_numbers)
    value = {
        "data": {"actor": {"account": f"agent-{number % 3}"}, "justification": "x", "outcome": "success"},
        "id": f"{number}",
        "source": "/openepm",
        "specversion": "1.0",
        "subject": f"MC-{number % 5}",
        "time": format_time(at),
        "type": "fr.openepm.journal.consultation",
    } | members
    action = value["type"].removeprefix("fr.openepm.journal.")
    return Event(source=value["source"], id=value["id"], time=at, action=action, canonical=canonical.encode(value))


@dataclass(slots=True, kw_only=True)
class World:
    """An installation, the clock it lives by, and the address of its database."""

    installation: Installation
    clock: SimulatedClock
    dsn: str
    superuser_dsn: str
    settings: Settings
    extracts: list[bytes] = field(default_factory=list)
    has_travelled: bool = False

    @property
    def service(self) -> Service:
        """The service."""
        return self.installation.service

    @property
    def database(self) -> str:
        """The name of its database."""
        return read_place(self.dsn).database

    @property
    def today(self) -> date:
        """The simulated day."""
        return self.clock.now().date()

    async def travel(self, moment: datetime) -> None:
        """Move every clock to a moment and prepare the days around, as the running service would have.

        The first time, not back to the moment at which it began: a seal would then be older than the service.
        """
        if self.has_travelled or not timedelta(0) < self.clock.now() - moment < SETTING_UP:
            self.clock.offset = moment - datetime.now(UTC)
        self.has_travelled = True
        await move_database(self.service.store, self.clock.offset)
        await self.service.snapshot.refresh()
        await self.installation.maintenance.prepare()

    async def shorten_rules(self, days: int) -> None:
        """Keep nothing longer than so many days from now on: sixty, lived or passed over, take seconds of processor."""
        for row in await self.service.store.read_categories():
            if row.retention_days > days:
                await self.installation.administration.set_category(row.code, instruction="I-0", retention_days=days)

    async def travel_to(self, day: date, hour: float = 9) -> None:
        """Move every clock to an hour of a day."""
        await self.travel(datetime.combine(day, time(), tzinfo=UTC) + timedelta(hours=hour))

    async def record(
        self, entries: int, *, tenant: str = TENANT, category: str = CATEGORY, events: Iterable[Event] = ()
    ) -> list[Receipt]:
        """Record events of the moment, made here unless given."""
        given = list(events) or [make_event(self.clock.now()) for _ in range(entries)]
        compartment = Compartment(SERVICE, tenant, category)
        acknowledgements = await self.service.writer.submit(compartment, "test", given, 1000 * len(given))
        return [acknowledgement.receipt for acknowledgement in acknowledgements]

    async def seal(self) -> None:
        """Close the days that are over, then seal the heads of the moment."""
        await self.service.sealer.seal_open(even_if_still=False)

    async def extract(
        self,
        first: date,
        last: date,
        *,
        tenant: str = TENANT,
        category: str = CATEGORY,
        disclose: bool = True,
        **asked: Any,
    ) -> bytes:
        """Return an extract, whole."""
        values: dict[str, Any] = {"purpose": "lawfulness", "requester": "DPD", "person": PERSON} | asked
        request = ExtractRequest(from_day=first, to_day=last, **values)
        chunks = (
            await self.service.extraction.open(
                Compartment(SERVICE, tenant, category), request, requested_by="test", disclose=disclose
            )
        ).chunks()
        return b"".join([chunk async for chunk in chunks])

    def verify(self, extract: bytes, *, known: Iterable[bytes] = ()) -> Report:
        """Verify an extract as an auditor who was given the certificate on the first day."""
        anchors = pem_to_der(self.settings.trust_path.read_bytes())
        seals = [read_known(io.BytesIO(answer), "kept") for answer in known]
        return verify_extract(io.BytesIO(extract), anchors=anchors, known=seals)

    async def audit(self) -> list[Finding]:
        """Check the whole store."""
        return await Audit(self.service).run(lambda _: None)

    async def size(self, tenant: str = TENANT, category: str = CATEGORY) -> int:
        """Return how many entries the chain ever had."""
        (head,) = await self.service.store.read_heads([tenant], [category])
        return head.size

    @asynccontextmanager
    async def superuser(self) -> AsyncIterator[asyncpg.Connection]:
        """Lend the connection of somebody whom no trigger, no key and no privilege stops."""
        connection = await asyncpg.connect(self.superuser_dsn)
        try:
            # Harm is done by the thousand: its commits need not wait for a disk.
            await connection.execute("SET session_replication_role = replica; SET synchronous_commit = off")
            yield connection
        finally:
            await connection.close()

    @asynccontextmanager
    async def another_process(self, clock: SimulatedClock | None = None) -> AsyncIterator[Installation]:
        """Open the same installation a second time, as another process would."""
        async with open_service(self.dsn, self.settings, clock or self.clock) as installation:
            yield installation


def settings_of(world: World) -> Settings:
    """Return the settings with which a command opens this world."""
    return msgspec.structs.replace(world.settings, dsn=world.dsn, signer_socket=NO_SIGNER_SOCKET)


@asynccontextmanager
async def new_world(
    postgres: EmbeddedPostgres,
    home: Path,
    *,
    start: datetime = START,
    tenants: Iterable[str] = (TENANT, OTHER_TENANT),
    afresh: bool = False,
    **settings: Any,
) -> AsyncIterator[World]:
    """Give an installation that begins at a simulated moment, with these tenants and the default categories.

    One that begins at START in an empty home is made once in a process, and copied, but for one wanted `afresh`.
    """
    settings.setdefault("rule_delay_days", 0)
    chosen = Settings(home=str(home), service_name=SERVICE, **settings)
    communes = tuple(tenants)
    if afresh or start != START or settings.keys() - COPIED_WITH or holds_something(home):
        async with _found(postgres, chosen, start, communes) as world:
            yield world
        return

    def found(place: Path) -> AbstractAsyncContextManager[World]:
        return _found(postgres, msgspec.structs.replace(chosen, home=str(place), keystore_replicas=()), start, communes)

    async with open_copy(postgres, await original(postgres, communes, found), chosen) as world:
        yield world


def copied(make: Callable[[EmbeddedPostgres, Path], AbstractAsyncContextManager[World]]) -> MakeWorld:
    """Decorate what makes a world that is the same every time: it is made once in a process, and copied."""

    @asynccontextmanager
    async def copy_world(postgres: EmbeddedPostgres, home: Path) -> AsyncIterator[World]:
        """Give a copy."""
        kept = await original(postgres, make, lambda place: make(postgres, place))
        replicas = [replica.replace(kept.settings.home, str(home)) for replica in kept.settings.keystore_replicas]
        settings = msgspec.structs.replace(kept.settings, home=str(home), keystore_replicas=tuple(replicas))
        async with open_copy(postgres, kept, settings) as world:
            world.has_travelled = kept.moment - START > SETTING_UP
            yield world

    return copy_world


@asynccontextmanager
async def _found(
    postgres: EmbeddedPostgres, settings: Settings, start: datetime, tenants: Sequence[str]
) -> AsyncIterator[World]:
    """Make an installation in an empty database."""
    clock = SimulatedClock(start - datetime.now(UTC))
    async with fresh_database(postgres) as name:
        dsn = postgres.dsn(database=name)
        await prepare(dsn, settings, clock, simulate=clock.offset)
        async with open_service(dsn, settings, clock) as installation:
            await installation.maintenance.prepare()
            for tenant in tenants:
                await installation.administration.add_tenant(tenant, tenant.capitalize())
            yield _world(postgres, name, installation, clock)


@asynccontextmanager
async def open_copy(postgres: EmbeddedPostgres, kept: Original, settings: Settings) -> AsyncIterator[World]:
    """Open a copy of an installation, at the moment at which the original was left."""
    kept.copy_home(settings)
    clock = SimulatedClock(kept.moment - datetime.now(UTC))
    async with (
        fresh_database(postgres, kept.database, ahead=clock.offset) as name,
        open_service(postgres.dsn(database=name), settings, clock) as installation,
    ):
        yield _world(postgres, name, installation, clock)


def _world(postgres: EmbeddedPostgres, database: str, installation: Installation, clock: SimulatedClock) -> World:
    return World(
        installation=installation,
        clock=clock,
        dsn=postgres.dsn(database=database),
        superuser_dsn=postgres.dsn(SUPERUSER, database=database),
        settings=installation.service.settings,
    )


def with_parts(service: Service, **parts: Any) -> Service:
    """Return the same service with other parts, by their names."""
    made = copy(service)
    for name, part in parts.items():
        setattr(made, name, part)
    return made
