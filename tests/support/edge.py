"""The whole service behind real HTTP on the loopback, on a real database: what the HTTP tests talk to."""

from __future__ import annotations

import io
import json
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import aiohttp
from aiohttp import web

from ingest.app import create_app
from ingest.server import Runner
from journal.cli.installation import Installation, open_service, prepare
from journal.clock import SimulatedClock
from journal.database.embedded import SUPERUSER, EmbeddedPostgres
from journal.settings import Settings
from retention.attestation import Attestations
from retention.slips import Slips
from tests.support.copies import holds_something, original
from tests.support.databases import fresh_database
from tests.support.refused_events import SOURCE_PREFIX
from tests.support.world import PERSON

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from ingest.access import Limits
    from journal.service import Service

SERVICE = "journal.test"
TENANT, OTHER_TENANT = "albi", "castres"
CATEGORY, OTHER_CATEGORY = "main-courante", "ecrits"
EVENTS = f"/v1/categories/{CATEGORY}/events"
EXTRACTS = f"/v1/categories/{CATEGORY}/extracts"
HEAD = f"/v1/categories/{CATEGORY}/head"
SINGLE = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An HTTP answer, read whole."""

    status: int
    headers: Mapping[str, str]  # names in any case
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def faults(self) -> list[tuple[int, str]]:
        """Where a problem says that something is wrong."""
        return [(fault["position"], fault["pointer"]) for fault in self.json.get("faults", [])]


@dataclass(slots=True, kw_only=True)
class RunningEdge:
    """A service that listens, credentials for it, and a way to ask."""

    installation: Installation
    clock: SimulatedClock
    app: web.Application
    port: int
    session: aiohttp.ClientSession
    superuser_dsn: str
    tokens: dict[str, str] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=dict)

    @property
    def service(self) -> Service:
        """The service itself."""
        return self.installation.service

    async def ask(
        self, method: str, path: str, *, token: str | None = None, body: bytes | None = None, **headers: str
    ) -> Answer:
        """Send one request; header names are given with underscores."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if token is not None:
            sent["Authorization"] = f"Bearer {self.tokens.get(token, token)}"
        async with self.session.request(
            method,
            path,
            data=None if body is None else io.BytesIO(body),
            headers=sent,
            skip_auto_headers=["Content-Type"],
            allow_redirects=False,
        ) as got:
            return Answer(status=got.status, headers=got.headers, body=await got.read())

    async def post(
        self, value: Any, *, token: str = "module", path: str = EVENTS, media_type: str | None = None, **headers: str
    ) -> Answer:
        """Post an event, a batch (a list) or bytes."""
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        kind = (BATCH if isinstance(value, list) else SINGLE) if media_type is None else media_type
        return await self.ask("POST", path, token=token, body=body, Content_Type=kind, **headers)

    async def size(self, category: str = CATEGORY, tenant: str = TENANT) -> int:
        """Return how many entries a compartment has."""
        (head,) = await self.service.store.read_heads([tenant], [category])
        return head.size

    async def add_credential(self, name: str, **new: Any) -> None:
        """Make a credential and keep its token under a name."""
        values = {"tenant": TENANT, "categories": [CATEGORY]} | new
        if values["role"] == "module":
            values.setdefault("source_prefix", SOURCE_PREFIX)
        if values["role"] == "client":
            values.setdefault("person", PERSON)
        self.ids[name], self.tokens[name] = await self.installation.administration.credentials.add(**values)


@asynccontextmanager
async def running_edge(
    postgres: EmbeddedPostgres, home: Path, *, limits: Limits | None = None, **settings: Any
) -> AsyncIterator[RunningEdge]:
    """Run a service with two communes and a credential of each role for the first, named after the role."""
    clock = SimulatedClock()
    chosen = Settings(home=str(home), service_name=SERVICE, **settings)
    async with AsyncExitStack() as stack:
        if holds_something(home):
            name = (await stack.enter_async_context(_found(postgres, home))).database
        else:
            kept = await original(postgres, "edge", lambda place: _found(postgres, place))
            kept.copy_home(chosen)
            name = await stack.enter_async_context(fresh_database(postgres, kept.database))
        dsn = postgres.dsn(database=name)
        async with open_service(dsn, chosen, clock) as installation:
            service = installation.service
            app = create_app(service, limits, attest=Attestations(service).issue, slip=Slips(service).issue)
            runner = Runner(app)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            port = runner.addresses[0][1]
            async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
                edge = RunningEdge(
                    installation=installation,
                    clock=clock,
                    app=app,
                    port=port,
                    session=session,
                    superuser_dsn=postgres.dsn(SUPERUSER, database=name),
                )
                for role in ("module", "client", "auditor", "operator"):
                    await edge.add_credential(role, role=role)
                try:
                    yield edge
                finally:
                    await session.close()
                    await runner.cleanup()


@dataclass(slots=True, kw_only=True)
class _Founded:
    """What is copied."""

    database: str
    clock: SimulatedClock
    service: Service


@asynccontextmanager
async def _found(postgres: EmbeddedPostgres, home: Path) -> AsyncIterator[_Founded]:
    """Make the installation, without credentials."""
    clock = SimulatedClock()
    chosen = Settings(home=str(home), service_name=SERVICE)
    async with fresh_database(postgres) as name:
        dsn = postgres.dsn(database=name)
        await prepare(dsn, chosen, clock)
        async with open_service(dsn, chosen, clock) as installation:
            await installation.maintenance.prepare()
            for tenant in (TENANT, OTHER_TENANT):
                await installation.administration.add_tenant(tenant, tenant.capitalize())
            yield _Founded(database=name, clock=clock, service=installation.service)
