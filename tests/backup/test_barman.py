"""Real Barman with the files of deploy/: streamed, backed up, the database lost, restored to its last entry."""

from __future__ import annotations

import argparse
import asyncio
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, perf_counter, time
from typing import TYPE_CHECKING

import asyncpg
import pytest

from journal.audit.run import Audit
from journal.cli import recover
from journal.cli.installation import check_restored, open_service, prepare
from journal.clock import SimulatedClock, SystemClock
from journal.core.errors import OperatorError
from journal.database.binaries import find_binaries
from journal.database.embedded import SUPERUSER, EmbeddedPostgres
from journal.settings import Settings
from tests.backup.cluster import room
from tests.support.scrape import Scrape
from tests.support.world import SERVICE, TENANT, World

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

DEPLOY = Path(__file__).parents[2] / "deploy"
NAME = "openepm-journal"
LIMIT_SECONDS = 60
ENTRIES = 200


def has_distribution() -> bool:
    """Tell whether this machine has its distribution's PostgreSQL: Barman's own programs are of no other version."""
    try:
        find_binaries("distribution")
    except OperatorError:
        return False
    return True


pytestmark = [
    pytest.mark.needs("barman", "psql"),
    pytest.mark.skipif(not has_distribution(), reason="Barman needs the distribution's PostgreSQL (postgresql)"),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Barman:
    """Barman in a directory of its own, with the project's own configuration of the server."""

    place: Path

    @property
    def environment(self) -> dict[str, str]:
        """Where it finds its configuration, and the database."""
        return os.environ | {
            "BARMAN_CONFIG_FILE": str(self.place / "barman.conf"),
            "PGSERVICEFILE": str(self.place / "pg_service.conf"),
        }

    def make(self) -> None:
        """Write what is Debian's and the operator's own: the program's file, and where the database is."""
        (self.place / "home").mkdir(parents=True)
        user = pwd.getpwuid(os.geteuid()).pw_name
        (self.place / "barman.conf").write_text(
            f"[barman]\nbarman_user = {user}\nbarman_home = {self.place}/home\nlog_file = {self.place}/barman.log\n"
            f"configuration_files_directory = {DEPLOY}/backup/barman.d\n"
        )

    def follow(self, server: EmbeddedPostgres) -> None:
        """Say where the database is."""
        sections = {NAME: "barman", f"{NAME}-streaming": "streaming_barman"}
        where = f"host={server._cluster.socket}\nport=5432\ndbname=postgres\n"
        lines = (f"[{section}]\nuser={user}\n{where}" for section, user in sections.items())
        (self.place / "pg_service.conf").write_text("\n".join(lines))

    def run(self, *command: str) -> str:
        """Run one command of Barman's; return what it said."""
        done = subprocess.run(
            ["barman", *command, NAME], env=self.environment, check=False, capture_output=True, text=True
        )
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        return done.stdout

    @contextmanager
    def receiving(self) -> Iterator[None]:
        """Stream the WAL to the block's end, as `barman cron` has it done."""
        with subprocess.Popen(
            ["barman", "receive-wal", NAME],
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        ) as receiver:
            try:
                yield
            finally:
                os.killpg(receiver.pid, signal.SIGINT)
                receiver.wait()

    def watch(self) -> str:
        """Run the script that looks after slots and backups; return what it said, nothing where all is well."""
        with tempfile.TemporaryDirectory() as directory:
            textfile = Path(directory) / "backup.prom"
            environment = {**self.environment, "JOURNAL_BACKUP_TEXTFILE": str(textfile)}
            program = [str(DEPLOY / "backup" / "watch")]
            done = subprocess.run(program, env=environment, check=False, capture_output=True, text=True)
            told = Scrape.read(textfile.read_text(encoding="utf-8"))
        assert done.returncode == bool(done.stdout), (done.stdout, done.stderr)
        assert told.value("backup_ok") == 1 - done.returncode
        assert abs(told.value("backup_checked_timestamp_seconds") - time()) < 60
        return done.stdout

    def restore(self, directory: Path) -> str:
        """Run the script that the guide says to run."""
        command = [str(DEPLOY / "backup" / "restore"), str(directory)]
        done = subprocess.run(command, env=self.environment, check=False, capture_output=True, text=True)
        assert done.returncode == 0, (done.stdout, done.stderr)
        return done.stdout


async def ask(server: EmbeddedPostgres, question: str) -> object:
    """Return the answer of the superuser's own database."""
    superuser = await asyncpg.connect(server.dsn(SUPERUSER, database="postgres"))
    try:
        return await superuser.fetchval(question)
    finally:
        await superuser.close()


async def until(server: EmbeddedPostgres, condition: str) -> None:
    """Wait until the database says that it holds."""
    deadline = monotonic() + LIMIT_SECONDS
    while not await ask(server, f"SELECT {condition}"):
        assert monotonic() < deadline, condition
        await asyncio.sleep(0.05)


def grant(server: EmbeddedPostgres) -> None:
    """Make Barman's roles as the guide says."""
    address = server.dsn(SUPERUSER, database="postgres")
    command = ["psql", "-v", "ON_ERROR_STOP=1", "-qX", "-d", address, "-f", str(DEPLOY / "backup" / "roles.sql")]
    subprocess.run(command, check=True, capture_output=True)


async def run_busily(barman: Barman, server: EmbeddedPostgres, *command: str) -> None:
    """Run a command of Barman's that waits for a segment's end, which comes when something more is written."""
    running = asyncio.create_task(asyncio.to_thread(barman.run, *command))
    while not running.done():
        await ask(server, "SELECT pg_create_restore_point('busy')")
        await asyncio.sleep(0.05)
    await running


async def begin(barman: Barman, server: EmbeddedPostgres) -> None:
    """Have a first segment archived: Barman makes no backup before."""
    await until(server, "EXISTS (SELECT FROM pg_stat_replication WHERE state = 'streaming')")
    await run_busily(barman, server, "switch-wal", "--archive")


@asynccontextmanager
async def opened_world(server: EmbeddedPostgres, home: Path) -> AsyncIterator[World]:
    """Make a service of one commune, on the machine's own clock."""
    settings, clock = Settings(home=str(home), service_name=SERVICE), SimulatedClock()
    await prepare(server.dsn(), settings, clock)
    async with open_service(server.dsn(), settings, clock) as installation:
        await installation.maintenance.prepare()
        await installation.administration.add_tenant(TENANT, TENANT.capitalize())
        yield World(
            installation=installation,
            clock=clock,
            dsn=server.dsn(),
            superuser_dsn=server.dsn(SUPERUSER),
            settings=settings,
        )


@pytest.mark.long
async def test_the_database_lost_and_restored(record_property: Callable[[str, object], None]) -> None:
    """Every entry that was streamed when the database was killed is there again, and verifies; backups then go on."""
    with room("barman") as place:
        barman = Barman(place=place / "barman")
        barman.make()
        with EmbeddedPostgres(place / "own", origin="distribution") as server:
            grant(server)
            barman.follow(server)
            barman.run("receive-wal", "--create-slot")
            async with opened_world(server, place / "home") as world:
                with barman.receiving():
                    await begin(barman, server)
                    await world.record(ENTRIES)
                    await world.seal()
                    started_at = perf_counter()
                    await run_busily(barman, server, "backup", "--wait")
                    backup_seconds = perf_counter() - started_at
                    for _ in range(5):
                        receipts = await world.record(ENTRIES)
                    await world.seal()
                    await until(
                        server, "EXISTS (SELECT FROM pg_stat_replication WHERE write_lsn >= pg_current_wal_lsn())"
                    )
                assert server.pid is not None
                os.kill(server.pid, signal.SIGKILL)
                await asyncio.to_thread(server.stop)
                shutil.rmtree(place / "own")
                started_at = perf_counter()
                said = barman.restore(place / "new" / "postgresql" / "data")
                assert "is added" in said
                seconds = await check_restored_database(barman, world, place, receipts[-1].chain_hash, started_at)
    record_property(
        "evidence",
        f"Barman: a base backup in {backup_seconds:.1f} s, the database killed {5 * ENTRIES} entries later; of "
        f"{6 * ENTRIES} acknowledged and streamed 0 lost, all verify; restored and answering after {seconds:.1f} s",
    )


async def check_restored_database(barman: Barman, world: World, place: Path, last: bytes, started_at: float) -> float:
    """Hold the restored database against what was acknowledged; return when it answered, in seconds."""
    data = place / "new" / "postgresql" / "data"
    shutil.copy(DEPLOY / "postgresql" / "openepm-journal.conf", data)
    with (data / "postgresql.conf").open("a") as settings:
        settings.write("include 'openepm-journal.conf'\n")
    with (data / "pg_hba.conf").open("a") as rules:
        rules.write((DEPLOY / "backup" / "pg_hba.conf").read_text())
    with EmbeddedPostgres(place / "new", origin="distribution") as server:
        seconds = perf_counter() - started_at
        await until(server, "NOT pg_is_in_recovery()")
        assert await ask(server, "SELECT timeline_id FROM pg_control_checkpoint()") == 2
        # The settings we ship are settings of this PostgreSQL.
        faults = "SELECT count(*) FROM pg_hba_file_rules WHERE error NOT LIKE '%SSL is disabled'"
        assert await ask(server, faults) == 0
        faults = (
            "SELECT count(*) FROM pg_file_settings WHERE sourcefile LIKE '%openepm-journal.conf' AND error IS NOT NULL"
        )
        assert await ask(server, faults) == 0
        values = {name: getattr(world.settings, name) for name in Settings.__struct_fields__}
        chosen = Settings(**values | {"dsn": server.dsn(), "signer_socket": "none"})
        assert chosen.dsn is not None
        await check_restored(chosen.dsn, chosen)
        async with open_service(chosen.dsn, chosen, SystemClock()) as installation:
            [head] = await installation.service.store.read_heads([TENANT], ["main-courante"])
            assert (head.size, head.chain_hash) == (6 * ENTRIES, last)
            assert await Audit(installation.service).run(lambda _: None) == []
        # Nothing is lost: `recover` alone says the number, and that there is nothing to do.
        with pytest.raises(OperatorError, match="else do nothing"):
            await recover.recover(chosen, argparse.Namespace(confirm_facts=None, declare_loss=None))
        barman.follow(server)
        barman.run("receive-wal", "--create-slot")
        with barman.receiving():
            await begin(barman, server)
            await run_busily(barman, server, "backup", "--wait")
            assert barman.watch() == ""
        await until(server, "NOT EXISTS (SELECT FROM pg_replication_slots WHERE active)")
        assert "slot barman: read by nobody" in barman.watch()
        assert barman.run("list-backups").count(" - Size: ") == 2
        return seconds
