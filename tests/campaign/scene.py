"""One clone of the world with its service, and what an attacker does to it."""

from __future__ import annotations

import asyncio
import shutil
import time
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import asyncpg

from journal.cli.installation import simulate_clock
from journal.clock import SimulatedClock
from journal.core.errors import JournalError
from journal.database.embedded import OWNER, SUPERUSER, EmbeddedPostgres
from tests.campaign.serving import Running, make_events, served, with_settings
from tests.campaign.world import ALBI, DAY, EVE, MAIN, WORLD, Witness, copy_directory, settings_in

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from journal.service import Service

LATER = timedelta(minutes=2)


@dataclass(frozen=True, slots=True)
class Notice:
    """Who noticed, how many seconds after the harm, and what was said."""

    who: str
    seconds: float
    said: str


@dataclass(slots=True, kw_only=True)
class Scene:
    """A clone: its database and files, its clock, its service while it runs, and what was noticed."""

    root: Path
    world: Path
    server: EmbeddedPostgres
    database: str
    witness: Witness
    clock: SimulatedClock = field(default_factory=SimulatedClock)
    # The settings of the authority of time, which lives by this clock.
    tsa: dict[str, str] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)
    # The directory of the server's programs, where it has its own; what is undone at the end.
    programs: Path | None = None
    owns_server: bool = False
    disk: Path | None = None
    after: list[Callable[[], Awaitable[None]]] = field(default_factory=list)
    running: Running | None = None
    notices: list[Notice] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    harmed_at: float | None = None
    # What the service was ready with before the harm.
    facts: dict[tuple[str, str], Any] = field(default_factory=dict)
    rows: dict[tuple[str, str, int], bytes] = field(default_factory=dict)
    keys_before: set[str] = field(default_factory=set)
    _stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    # Where things are

    @property
    def home(self) -> Path:
        """The service's files."""
        return self.root / "home"

    @property
    def keys(self) -> Path:
        """The key store."""
        return self.home / "keys"

    @property
    def today(self) -> date:
        """The simulated day."""
        return self.clock.now().date()

    @property
    def yesterday(self) -> date:
        """The last closed day."""
        return self.today - DAY

    @property
    def month_ago(self) -> date:
        """A day that was closed long ago and is kept."""
        return self.today - 30 * DAY

    @property
    def dsn(self) -> str:
        """The owner's address of the database."""
        return self.server.dsn(database=self.database)

    @property
    def service(self) -> Service:
        """The running service."""
        assert self.running is not None
        return self.running.service

    def key(self, category: str, day: date) -> Path:
        """Return the file of a day's key."""
        return self.keys / "days" / category / day.isoformat()

    # The service

    async def clone(self) -> None:
        """Make the clone, two minutes after the world's last event."""
        self.root.mkdir(parents=True)
        copy_directory(self.world / "home", self.home)
        await self.make_database(WORLD)
        self.clock.offset = self.witness.ended_at + LATER - datetime.now(UTC)
        await simulate_clock(self.dsn, self.clock.offset)

    async def make_database(self, template: str) -> None:
        """Make the clone's database from one of the world's, or from a copy made here."""
        async with self.elsewhere() as superuser:
            await superuser.execute(
                f"CREATE DATABASE {self.database} TEMPLATE {template} OWNER {OWNER} STRATEGY file_copy"
            )

    async def drop_database(self, name: str = "") -> None:
        """Drop the clone's database, or another one."""
        async with self.elsewhere() as superuser:
            await superuser.execute(f"DROP DATABASE IF EXISTS {name or self.database} WITH (FORCE)")

    async def start(self) -> bool:
        """Start the service; False, and the refusal is noted, where it refuses."""
        settings = with_settings(settings_in(self.home), **self.tsa, **self.extra)
        stack = AsyncExitStack()
        try:
            self.running = await stack.enter_async_context(served(self.dsn, settings, self.clock))
        except (JournalError, OSError) as error:
            if self.harmed_at is None:
                raise
            self.notice("start", str(error))
            return False
        self._stack = stack
        return True

    async def stop(self) -> None:
        """Stop the service."""
        stack, self._stack, self.running = self._stack, AsyncExitStack(), None
        await stack.aclose()

    async def close(self) -> None:
        """Leave nothing."""
        await self.stop()
        for undo in self.after:
            await undo()
        if not self.owns_server:  # which may be stopped or full, and goes with its directory
            await self.drop_database()
            await self.drop_database(f"{self.database}_copy")
        shutil.rmtree(self.root, ignore_errors=True)

    async def travel(self, moment: datetime) -> None:
        """Move every clock, and do at once what the service does hourly."""
        self.clock.offset = moment - datetime.now(UTC)
        await simulate_clock(self.dsn, self.clock.offset)
        assert self.running is not None
        installation = self.running.installation
        await self.service.snapshot.refresh()
        await installation.maintenance.prepare()
        await self.service.sealer.seal_open(even_if_still=False)
        await installation.handover.run()
        await installation.purger.run(to_the_limit=True)

    async def post(self, name: str, count: int = 1, *, category: str = MAIN, token: str = "") -> int:
        """Record events of the moment; return the status."""
        assert self.running is not None
        events = make_events(self.clock.now(), name, count, source=f"/openepm/{ALBI}/{category}", first=900_000)
        for event in events:
            del event["sequence"]
        status, answer = await self.running.post(token or self.witness.tokens[f"module {ALBI}"], category, events)
        if status == 201 and category == MAIN:
            self.witness.receipts |= {receipt["index"]: receipt["leaf_hash"] for receipt in answer["receipts"]}
        return status

    # The attacker

    @asynccontextmanager
    async def elsewhere(self) -> AsyncIterator[asyncpg.Connection]:
        """Lend a superuser's connection to the server, in another database."""
        connection = await asyncpg.connect(self.server.dsn(SUPERUSER, database="postgres"))
        try:
            yield connection
        finally:
            await connection.close()

    @asynccontextmanager
    async def intrude(self) -> AsyncIterator[asyncpg.Connection]:
        """Lend a superuser's connection to the database, that no trigger stops."""
        connection = await asyncpg.connect(self.server.dsn(SUPERUSER, database=self.database))
        try:
            await connection.execute("SET session_replication_role = replica")
            yield connection
        finally:
            await connection.close()

    async def execute(self, statement: str, *arguments: Any) -> None:
        """Do what one or several statements do."""
        async with self.intrude() as superuser:
            await superuser.execute(statement, *arguments)

    async def fetch(self, statement: str, *arguments: Any) -> list[asyncpg.Record]:
        """Read as the attacker."""
        async with self.intrude() as superuser:
            rows: list[asyncpg.Record] = await superuser.fetch(statement, *arguments)
        return rows

    async def leaf(self, day: date, category: str = MAIN) -> str:
        """Return the name of a day's table."""
        ((number,),) = await self.fetch("SELECT id FROM journal.category WHERE code = $1", category)
        return f"journal.entry_{number}_{day:%Y%m%d}"

    @asynccontextmanager
    async def replaced(self) -> AsyncIterator[None]:
        """Keep everyone out of the clone's database for the block."""
        async with self.elsewhere() as superuser:
            await superuser.execute(f"ALTER DATABASE {self.database} ALLOW_CONNECTIONS false")
            await superuser.execute(
                "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = $1", self.database
            )
            yield
            await superuser.execute(f"ALTER DATABASE {self.database} ALLOW_CONNECTIONS true")

    async def copy_database(self) -> None:
        """Keep the database as it is, as a backup does; whoever is connected connects again."""
        async with self.replaced(), self.elsewhere() as superuser:
            await superuser.execute(
                f"CREATE DATABASE {self.database}_copy TEMPLATE {self.database} OWNER {OWNER} STRATEGY file_copy"
            )

    async def restore_copy(self) -> None:
        """Put the copy in the database's place."""
        async with self.replaced(), self.elsewhere() as superuser:
            await superuser.execute(f"DROP DATABASE {self.database}")
            await superuser.execute(f"ALTER DATABASE {self.database}_copy RENAME TO {self.database}")
        await simulate_clock(self.dsn, self.clock.offset)

    async def restore_eve(self, *, database: bool = False, keys: bool = False, signer: bool = False) -> None:
        """Put yesterday's backup in the place of some of what there is; the service must not run."""
        assert self.running is None
        if database:
            await self.drop_database()
            await self.make_database(EVE)
            await simulate_clock(self.dsn, self.clock.offset)
        eve = self.world / EVE
        if keys:
            await asyncio.to_thread(shutil.rmtree, self.keys)
            copy_directory(eve / "keys", self.keys)
        if signer:
            shutil.copy2(eve / "identity" / "signer.state", self.home / "identity" / "signer.state")

    # What is noticed

    def mark(self) -> None:
        """Say that the harm was done just now: what came before was its preparation."""
        self.harmed_at = time.monotonic()

    def notice(self, who: str, said: str) -> None:
        """Note it, the first time that somebody says something."""
        assert self.harmed_at is not None
        if who not in {notice.who for notice in self.notices}:
            self.notices.append(Notice(who, time.monotonic() - self.harmed_at, said))
