"""The world that is tampered with: 62 days of five chains, recorded over HTTP, sealed, handed over and purged.

Four communes: one with everything (a recipient since the 30th day, a credential of each role), one plain, one whose
contract ended and is kept, one that was destroyed. The rule of 60 days has purged the oldest days; that of `brefs` was
made longer once; that of `assistance` is about to be made shorter. The world as it was the evening before, its eve, is
kept beside it: what a backup of yesterday is.
"""

from __future__ import annotations

import asyncio
import subprocess
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import asyncpg
import msgspec

from journal.admin.administration import NewCategory
from journal.cli.installation import prepare, simulate_clock
from journal.clock import SimulatedClock
from journal.database.embedded import OWNER, SUPERUSER, EmbeddedPostgres
from journal.pki.certificates import der_to_pem
from journal.settings import Settings
from tests.campaign.serving import SERVICE, Running, make_events, served, stamping
from tests.support.authority import Holder, issue, key_usage, new_key
from tests.support.world import PERSON

if TYPE_CHECKING:
    from pathlib import Path

START = datetime(2026, 3, 2, 9, tzinfo=UTC)
DAY = timedelta(days=1)
DAYS = 62
ALBI, CASTRES, SETE, VENCE = "albi", "castres", "sete", "vence"
MAIN, WRITINGS, BRIEF, ASSISTANCE = "main-courante", "ecrits", "brefs", "assistance"
CATEGORIES = (MAIN, WRITINGS, BRIEF)
# Chains, and how many events each gets a day.
CHAINS = {(ALBI, MAIN): 60, (ALBI, WRITINGS): 30, (ALBI, BRIEF): 20, (CASTRES, MAIN): 40, (SETE, MAIN): 10}
DESTROYED_ON, LONGER_ON, RECEIVES_FROM, ENDED_ON, SHORTER_ON = 8, 20, 30, 40, 60
KEPT_HEADS = (5, 30, 60)
WORLD, EVE = "world", "eve"


class Witness(msgspec.Struct):
    """What the communes and an auditor hold, and what the outsider knows: no key of the service among it."""

    started_at: datetime
    ended_at: datetime
    tokens: dict[str, str] = {}
    ids: dict[str, str] = {}
    heads: list[bytes] = []  # answers of GET …/head for albi's main-courante
    receipts: dict[int, str] = {}  # of the last day there, by index: the leaf hash

    @property
    def today(self) -> Any:
        """The last day."""
        return self.ended_at.date()


def commune(number: int = 21) -> Holder:
    """Return a certificate of hand-over and its key."""
    issuer = issue("AC", new_key(9), end=START + 400 * DAY)
    return issue("Mairie", new_key(number), issuer=issuer, extensions=(key_usage(0x08),), end=START + 365 * DAY)


def settings_in(home: Path, **settings: Any) -> Settings:
    """Return the settings of an installation in a directory."""
    values: dict[str, Any] = {"rule_delay_days": 7, "audit_share": 0.2} | settings
    return Settings(home=str(home), service_name=SERVICE, listen="127.0.0.1:0", **values)


def copy_directory(source: Path, target: Path) -> None:
    """Copy a directory with its owners, as a backup does."""
    subprocess.run(["cp", "-a", "--reflink=auto", source, target], check=True)


@dataclass(slots=True)
class Builder:
    """Lives the days."""

    root: Path
    server: EmbeddedPostgres
    clock: SimulatedClock
    settings: Settings
    witness: Witness
    counts: dict[tuple[str, str], int] = field(default_factory=dict)

    @property
    def dsn(self) -> str:
        """The world's address."""
        return self.server.dsn(database=WORLD)

    async def travel(self, running: Running, moment: datetime) -> None:
        """Move every clock and do what the service would have done meanwhile."""
        self.clock.offset = moment - datetime.now(UTC)
        await simulate_clock(self.dsn, self.clock.offset)
        installation = running.installation
        await running.service.snapshot.refresh()
        await installation.maintenance.prepare()
        await running.service.sealer.seal_open(even_if_still=False)
        await installation.handover.run()
        await installation.purger.run(to_the_limit=True)
        if running.service.stamper is not None:
            async for _ in running.service.stamper.stamp_waiting():
                pass

    async def record(self, running: Running, tenant: str, category: str, count: int) -> Any:
        """Post events of the moment, as a module does; return its receipts."""
        first = self.counts.get((tenant, category), 0)
        source = f"/openepm/{tenant}/{category}"
        events = make_events(self.clock.now(), category, count, source=source, first=first)
        status, answer = await running.post(self.witness.tokens[f"module {tenant}"], category, events)
        assert status == 201, (status, answer)
        self.counts[tenant, category] = first + count
        return answer["receipts"]

    async def found(self, running: Running) -> None:
        """Make communes, categories and credentials."""
        administration = running.installation.administration
        await administration.add_category(NewCategory(code=BRIEF, label="Brefs", retention_days=10))
        for tenant in (ALBI, CASTRES, SETE, VENCE):
            await administration.add_tenant(tenant, tenant.capitalize())
            await self.credential(running, f"module {tenant}", role="module", tenant=tenant)
        for role in ("client", "auditor", "operator"):
            await self.credential(running, role, role=role, tenant=ALBI)
        await self.credential(running, "client castres", role="client", tenant=CASTRES)
        for name in ("revoked early", "revoked late"):
            await self.credential(running, name, role="client", tenant=ALBI)
        await administration.credentials.revoke(self.witness.ids["revoked early"])

    async def credential(self, running: Running, name: str, *, role: str, tenant: str) -> None:
        """Make a credential, and keep its token under a name."""
        prefix = f"/openepm/{tenant}/" if role == "module" else ""
        made = await running.installation.administration.credentials.add(
            role=role,
            tenant=tenant,
            categories=CATEGORIES,
            source_prefix=prefix,
            person=PERSON if role == "client" else None,
        )
        self.witness.ids[name], self.witness.tokens[name] = made

    async def live(self, running: Running, number: int) -> None:
        """Live one day."""
        await self.travel(running, START + number * DAY)
        installation = running.installation
        administration = installation.administration
        match number:
            case _ if number == DESTROYED_ON:
                await installation.closing.close_without_export(VENCE)
                await installation.destruction.run(VENCE, lambda _: None)
            case _ if number == LONGER_ON:
                await administration.set_category(BRIEF, instruction="I-1", retention_days=14)
            case _ if number == RECEIVES_FROM:
                await administration.register_recipient(ALBI, der_to_pem([commune(20).certificate]))
                await administration.register_recipient(ALBI, der_to_pem([commune().certificate]))
                await installation.service.store.confirm_recipient(ALBI, commune().certificate)
            case _ if number == ENDED_ON:
                await installation.closing.close_without_export(SETE)
            case _ if number == SHORTER_ON:
                await administration.set_category(ASSISTANCE, instruction="I-2", retention_days=50)
        for (tenant, category), count in CHAINS.items():
            if tenant != SETE or number < ENDED_ON:
                await self.record(running, tenant, category, count)
        if number < DESTROYED_ON:
            await self.record(running, VENCE, MAIN, 10)
        await running.service.sealer.seal_open(even_if_still=False)
        if number in KEPT_HEADS:
            await self.keep_head(running)

    async def keep_head(self, running: Running) -> None:
        """Keep what an auditor keeps."""
        status, answer = await running.get(self.witness.tokens["client"], f"/v1/categories/{MAIN}/head")
        assert status == 200, answer
        self.witness.heads.append(answer)

    async def last_morning(self, running: Running) -> None:
        """Live the last morning: 20 events in a seal, 10 more in another, 5 in none; and a revocation."""
        await self.travel(running, START + DAYS * DAY)
        await running.installation.administration.credentials.revoke(self.witness.ids["revoked late"])
        for count in (20, 10, 5):
            for receipt in await self.record(running, ALBI, MAIN, count):
                self.witness.receipts[receipt["index"]] = receipt["leaf_hash"]
            await self.record(running, CASTRES, MAIN, count)
            if count != 5:
                await running.service.sealer.seal_open(even_if_still=False)
        await self.keep_head(running)

    async def keep_eve(self) -> None:
        """Back up the database and the service's files as they are, with the service stopped."""
        copy_directory(self.root / "home", self.root / EVE)
        superuser = await asyncpg.connect(self.server.dsn(SUPERUSER, database="postgres"))
        await superuser.execute(f"CREATE DATABASE {EVE} TEMPLATE {WORLD} OWNER {OWNER} STRATEGY file_copy")
        await superuser.close()

    async def build(self) -> None:
        """Live it all."""
        superuser = await asyncpg.connect(self.server.dsn(SUPERUSER, database="postgres"))
        await superuser.execute(f"CREATE DATABASE {WORLD} OWNER {OWNER}")
        await superuser.close()
        async with stamping(self.clock, self.root) as authority:
            settings = msgspec.structs.replace(self.settings, **authority)
            await prepare(self.dsn, settings, self.clock, simulate=self.clock.offset)
            async with served(self.dsn, settings, self.clock, alone=True) as running:
                await self.found(running)
                for number in range(DAYS):
                    await self.live(running, number)
            await self.keep_eve()
            async with served(self.dsn, settings, self.clock, alone=True) as running:
                await self.last_morning(running)
        self.witness.ended_at = self.clock.now()


def build_world(root: Path) -> Witness:
    """Build the world below `root`: its server's cluster, its files, those of its eve, and what witnesses hold."""
    (root / "home").mkdir(parents=True)
    clock = SimulatedClock(START - datetime.now(UTC))
    witness = Witness(started_at=START, ended_at=START)
    with EmbeddedPostgres(root / "server") as server:
        builder = Builder(root, server, clock, settings_in(root / "home"), witness)
        asyncio.run(builder.build())
    (root / "witness").write_bytes(msgspec.msgpack.encode(witness))
    return witness


def read_witness(root: Path) -> Witness:
    """Return what witnesses of a world hold."""
    return msgspec.msgpack.decode((root / "witness").read_bytes(), type=Witness)
