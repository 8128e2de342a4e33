"""The service as it is really run: `openepm-journal serve` in processes of its own, beside a PostgreSQL of ours."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Self

from journal.cli.installation import open_service, prepare
from journal.clock import SystemClock
from journal.database.embedded import OWNER, SUPERUSER
from journal.keys.wrapped import make_master_key
from journal.seals.dev_authority import make_development_authority
from journal.settings import NO_SIGNER_SOCKET, Settings
from tests.support import forks
from tests.support.ports import free_port
from tests.support.rig import CATEGORY, SERVICE, SOURCE, TENANTS
from tests.support.world import PERSON

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.support.world import World

CATEGORIES = (CATEGORY, "ecrits")
SERVICE_PROGRAM = ("-m", "journal.cli.main")
START_LIMIT_SECONDS = 60
STOP_LIMIT_SECONDS = 60


def workers_of(pid: int) -> list[int]:
    """Return the workers that a process has started and that still run; it may have a signer beside them."""
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    return [int(child) for child in found if b"--worker-number" in _command_line(child)]


def _command_line(pid: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:  # it has ended meanwhile
        return b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """An installation: where it lives, its database, its address, the tokens of its communes."""

    home: Path
    dsn: str
    port: int
    modules: dict[str, str] = field(default_factory=dict)  # by tenant
    clients: dict[str, str] = field(default_factory=dict)
    signer_socket: str = NO_SIGNER_SOCKET
    # On another host than this machine: its address, and the namespace of its network.
    host: str = "127.0.0.1"
    space: str = ""
    variables: Mapping[str, str] = field(default_factory=dict)
    service: str = SERVICE

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://{self.host}:{self.port}"

    @property
    def superuser_dsn(self) -> str:
        """Its database's address for the superuser."""
        return self.dsn.replace(f"//{OWNER}@", f"//{SUPERUSER}@")

    @property
    def settings(self) -> Settings:
        """Its settings, as the service reads them from the environment."""
        return Settings(
            home=str(self.home),
            service_name=self.service,
            dsn=self.dsn,
            listen=f"127.0.0.1:{self.port}",
            signer_socket=self.signer_socket,
        )

    def sealing_as_usual(self) -> Site:
        """Return it with seals as far apart as where nobody sets it: those of tests follow at once."""
        usual = {"JOURNAL_SEAL_INTERVAL_SECONDS": str(self.settings.seal_interval_seconds)}
        return replace(self, variables={**self.variables, **usual})

    @property
    def environment(self) -> dict[str, str]:
        """Its settings as variables, and nothing else of ours."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("JOURNAL_")}
        return kept | {
            "JOURNAL_HOME": str(self.home),
            "JOURNAL_SERVICE_NAME": self.service,
            "JOURNAL_DSN": self.dsn,
            "JOURNAL_LISTEN": f"{self.host}:{self.port}",
            "JOURNAL_SEAL_INTERVAL_SECONDS": "1",
            "JOURNAL_SIGNER_SOCKET": self.signer_socket,
            **self.variables,
        }


async def found_site(
    home: Path, dsn: str, tenants: Sequence[str] = TENANTS, *, source_prefix: str = SOURCE, service: str = SERVICE
) -> Site:
    """Make an installation with communes, and a module's and a client's credential for each."""
    site = Site(home=home, dsn=dsn, port=free_port(), service=service)
    clock = SystemClock()
    make_master_key(site.settings.master_key_path)
    make_development_authority(
        site.settings.signing_key_path.parent, service, datetime.now(UTC), trust_path=site.settings.trust_path
    )
    await prepare(dsn, site.settings, clock)
    async with open_service(dsn, site.settings, clock) as installation:
        await installation.maintenance.prepare()
        for tenant in tenants:
            administration = installation.administration
            await administration.add_tenant(tenant, tenant.capitalize())
            _, site.modules[tenant] = await administration.credentials.add(
                role="module", tenant=tenant, categories=CATEGORIES, source_prefix=source_prefix
            )
            _, site.clients[tenant] = await administration.credentials.add(
                role="client", tenant=tenant, categories=CATEGORIES, person=PERSON
            )
    return site


async def site_of(world: World) -> Site:
    """Give a world, whose clock has come to the present, to real processes: its communes, and their credentials."""
    site = Site(home=world.settings.home_path, dsn=world.dsn, port=free_port())
    for tenant in TENANTS:
        for role, tokens, source in (("module", site.modules, SOURCE), ("client", site.clients, "")):
            _, tokens[tenant] = await world.installation.administration.credentials.add(
                role=role,
                tenant=tenant,
                categories=CATEGORIES,
                source_prefix=source,
                person=PERSON if role == "client" else None,
            )
    return site


class Serving:
    """One run of the service: a process group, its log, and how long it took to listen."""

    def __init__(self, process: asyncio.subprocess.Process | forks.Service, log: Path) -> None:
        """Watch a process just started."""
        self.process = process
        self.start_seconds = 0.0
        self._log = log
        self._started_at = perf_counter()
        self._ready = asyncio.Event()
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def start(cls, site: Site, *, workers: int = 1, program: Sequence[str] = SERVICE_PROGRAM) -> Self:
        """Start the service; it may not listen yet."""
        arguments = ["serve", "--workers", str(workers)]
        if program[0] == "-m":
            _, module, *first = program
            service = await forks.Service.start([*first, *arguments], site.environment, module=module, space=site.space)
            return cls(service, site.home / "serve.log")
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *program,
            *arguments,
            env=site.environment,
            stdin=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        return cls(process, site.home / "serve.log")

    async def __aenter__(self) -> Self:
        """Wait until it listens."""
        try:
            await self.ready()
        except BaseException:
            await self.kill()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        """Leave nothing running."""
        await self.kill()

    async def ready(self) -> None:
        """Wait until it listens. Raises RuntimeError with its words where it ends instead."""
        async with asyncio.timeout(START_LIMIT_SECONDS):
            await self._ready.wait()
        if not self.start_seconds:
            raise RuntimeError(f"the service did not start: {self._log.read_text(encoding='utf-8')[-2000:]}")

    async def kill(self) -> None:
        """Kill the whole group, without a word; nothing to do where it has ended."""
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):  # it has ended, and nobody has said so yet
                os.killpg(self.process.pid, signal.SIGKILL)
        await self.process.wait()
        await self._reading

    async def ended(self) -> None:
        """Wait until every process of it has ended: the last one closes its log."""
        await asyncio.shield(self._reading)

    async def stop(self) -> int:
        """Ask it to stop; return its exit status."""
        self.process.terminate()
        try:
            async with asyncio.timeout(STOP_LIMIT_SECONDS):
                status = await self.process.wait()
        except TimeoutError:
            await self.kill()
            raise
        await self._reading
        return status

    async def _read(self) -> None:
        """Copy its log until every process of it has ended."""
        assert self.process.stderr is not None
        with self._log.open("ab") as log:
            async for line in self.process.stderr:
                log.write(line)
                if b" listens on " in line:
                    self.start_seconds = perf_counter() - self._started_at
                    self._ready.set()
        self._ready.set()
