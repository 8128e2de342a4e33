"""The service without its HTTP edge, on clocks that are moved by hand: what the tests of the writer drive."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

import orjson

from journal.audit.run import Audit
from journal.cli.installation import Installation, open_service, prepare, simulate_clock
from journal.clock import SimulatedClock
from journal.core.entry import Compartment, Event
from journal.core.times import format_time
from journal.database.refusals import read_place
from journal.settings import Settings
from journal.writing.writer import Writer
from tests.support.clocks import move_database
from tests.support.copies import Original, original
from tests.support.databases import fresh_database
from tests.support.decoding import decode_batch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from journal.audit.findings import Finding
    from journal.database.embedded import EmbeddedPostgres
    from journal.service import Service
    from journal.writing.answers import Answer

SERVICE = "journal.test"
TENANTS = ("albi", "castres")
CATEGORY = "main-courante"
SOURCE = "urn:openepm:test"


def event_body(event_id: str, moment: datetime, **members: Any) -> dict[str, Any]:
    """Return an event as a module spells it; `members` of the event are replaced."""
    event: dict[str, Any] = {
        "specversion": "1.0",
        "type": "fr.openepm.journal.consultation",
        "source": SOURCE,
        "id": event_id,
        "time": format_time(moment),
        "subject": "MC-2026-000123",
        "data": {"actor": {"account": "j.dupont"}, "justification": "Relecture", "outcome": "success"},
    }
    return event | members


def changed(body: dict[str, Any], reason: str) -> dict[str, Any]:
    """Return the same event with another justification: same id, other content."""
    return body | {"data": body["data"] | {"justification": reason}}


def read_events(bodies: Sequence[dict[str, Any]], now: datetime) -> Sequence[Event]:
    """Return events as the edge reads them."""
    return decode_batch(orjson.dumps(bodies), now, "")


@dataclass(slots=True, kw_only=True)
class Rig:
    """A service whose writer runs and whose clock, with the database's, is moved."""

    dsn: str
    clock: SimulatedClock
    installation: Installation
    stack: AsyncExitStack

    @property
    def service(self) -> Service:
        """The service itself."""
        return self.installation.service

    @property
    def database(self) -> str:
        """The name of its database."""
        return read_place(self.dsn).database

    def compartment(self, tenant: str = TENANTS[0], category: str = CATEGORY) -> Compartment:
        """Return one of its compartments."""
        return Compartment(SERVICE, tenant, category)

    def events(self, *ids: object, minutes_ago: float = 1, **members: Any) -> Sequence[Event]:
        """Return an event per id, of some minutes ago."""
        now = self.clock.now()
        moment = now - timedelta(minutes=minutes_ago)
        return read_events([event_body(str(event_id), moment, **members) for event_id in ids], now)

    def rival(self, event: Event, reason: str = "Autre motif") -> Event:
        """Return an event of the same source and id, with other content."""
        body = changed(orjson.loads(event.canonical), reason)
        return read_events([body], self.clock.now())[0]

    async def submit(
        self,
        events: Sequence[Event],
        *,
        tenant: str = TENANTS[0],
        category: str = CATEGORY,
        writer: Writer | None = None,
    ) -> Answer:
        """Submit events as one request."""
        chosen = writer or self.service.writer
        size = sum(len(event.canonical) for event in events)
        return await chosen.submit(self.compartment(tenant, category), "module", events, size)

    def make_writer(self, **bounds: Any) -> Writer:
        """Make another writer on the same parts, not running yet."""
        service = self.service
        return Writer(
            store=service.store,
            keyring=service.keyring,
            snapshot=service.snapshot,
            clock=self.clock,
            **bounds,
        )

    async def open_another(self) -> Rig:
        """Open a second process' worth of service on the same database and clock; closed with this one."""
        opened = open_service(self.dsn, self.service.settings, self.clock)
        return replace(self, installation=await self.stack.enter_async_context(opened))

    async def travel(self, moment: datetime) -> None:
        """Move the service's clock and the database's to a moment, and prepare the days around it."""
        self.clock.offset = moment - datetime.now(UTC)
        await move_database(self.service.store, self.clock.offset)
        await self.service.snapshot.refresh()
        await self.installation.maintenance.prepare()

    async def travel_to_day(self, day: date, at: time = time(12)) -> None:
        """Move to a day of UTC, by default at noon."""
        await self.travel(datetime.combine(day, at, tzinfo=UTC))

    async def size(self, tenant: str = TENANTS[0], category: str = CATEGORY) -> int:
        """Return how many entries a compartment has."""
        (head,) = await self.service.store.read_heads([tenant], [category])
        return head.size

    async def audit(self) -> list[Finding]:
        """Seal, then check everything that is stored."""
        await self.service.sealer.seal_open(even_if_still=True)
        return await Audit(self.service).run(lambda _: None)


# What the databases of rigs were copied from, by their address.
_kept: dict[str, Original] = {}


def _noon() -> datetime:
    return datetime.combine(datetime.now(UTC).date(), time(12), tzinfo=UTC)


@asynccontextmanager
async def rig_database(postgres: EmbeddedPostgres) -> AsyncIterator[str]:
    """Give the address of a database in which `open_rig` finds its service: made once in a process, then copied."""

    @asynccontextmanager
    async def found(home: Path) -> AsyncIterator[Rig]:
        async with fresh_database(postgres) as name, open_rig(postgres.dsn(database=name), home) as rig:
            yield rig

    kept = await original(postgres, ("rig", _noon()), found)
    async with fresh_database(postgres, kept.database) as name:
        dsn = postgres.dsn(database=name)
        _kept[dsn] = kept
        yield dsn
        del _kept[dsn]


@asynccontextmanager
async def open_rig(dsn: str, home: Path, **settings: Any) -> AsyncIterator[Rig]:
    """Open a service on an empty database, or on a rig's own, with communes and the days ahead prepared.

    It is noon today on its clocks, so that no test meets midnight unless it travels there.
    """
    kept = _kept.get(dsn)
    clock = SimulatedClock((kept.moment if kept else _noon()) - datetime.now(UTC))
    chosen = Settings(home=str(home), service_name=SERVICE, **settings)
    if kept is None:
        await prepare(dsn, chosen, clock, simulate=clock.offset)
    else:
        kept.copy_home(chosen)
        await simulate_clock(dsn, clock.offset)
    async with AsyncExitStack() as stack:
        installation = await stack.enter_async_context(open_service(dsn, chosen, clock))
        if kept is None:
            await installation.maintenance.prepare()
            for tenant in TENANTS:
                await installation.administration.add_tenant(tenant, tenant.capitalize())
        yield Rig(dsn=dsn, clock=clock, installation=installation, stack=stack)
