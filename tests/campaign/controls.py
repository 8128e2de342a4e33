"""Acts after which nobody may say anything: Z."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from contextlib import asynccontextmanager
from datetime import UTC, datetime, time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from journal.admin.administration import NewCategory
from journal.cli.installation import simulate_clock
from journal.core.errors import JournalError
from journal.database.binaries import find_binaries
from journal.database.embedded import OWNER, SUPERUSER, EmbeddedPostgres
from journal.keys.copy import follow
from journal.keys.store import KeyStore
from journal.keys.wrapped import read_master_key
from journal.pki.certificates import der_to_pem
from journal.seals.dev_authority import make_development_authority
from journal.seals.sealer import OPEN_SEALS_KEPT
from tests.campaign.serving import SERVICE, served, with_settings
from tests.campaign.table import KINDS, Kind, kind
from tests.campaign.world import ALBI, BRIEF, CASTRES, DAY, MAIN, commune, settings_in
from tests.support.programs import replace_program

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from journal.cli.installation import Installation
    from tests.campaign.scene import Scene

QUIET_SECONDS = 60.0
LOAD_SECONDS = 3.0


def _installation(scene: Scene) -> Installation:
    assert scene.running is not None
    return scene.running.installation


@asynccontextmanager
async def _load(scene: Scene) -> AsyncIterator[None]:
    """Record all the time."""

    async def record() -> None:
        number = 0
        while True:
            number += 1
            with contextlib.suppress(OSError, asyncio.TimeoutError, JournalError):
                await scene.post(f"load-{id(record)}-{number}", 5)
            await asyncio.sleep(0.05)

    task = asyncio.create_task(record())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await task


async def _quiet(scene: Scene) -> None:
    """Wait until the service is ready again after what interrupted it."""
    until = asyncio.get_running_loop().time() + QUIET_SECONDS
    while any((checks := await scene.service.checks.run()).values()):
        assert asyncio.get_running_loop().time() < until, {name: said for name, said in checks.items() if said}
        await asyncio.sleep(0.5)
    scene.mark()


async def _whole_schema(scene: Scene, *statements: str) -> None:
    async with scene.intrude() as superuser:
        for text in statements:
            await superuser.execute(text)


@kind("Z01")
async def _nothing(_: Scene) -> None:
    pass


@kind("Z02")
async def _vacuum(scene: Scene) -> None:
    await _whole_schema(scene, "VACUUM FULL")


@kind("Z18")
async def _reindex(scene: Scene) -> None:
    leaf = await scene.leaf(scene.yesterday)
    cluster = f"CLUSTER {leaf} USING {leaf.partition('.')[2]}_pkey"
    await _whole_schema(scene, "REINDEX SCHEMA journal", "ANALYZE", cluster)


@kind("Z03")
async def _dump(scene: Scene) -> None:
    """Dump the database and restore it into a new cluster, which serves from then on."""
    await scene.stop()
    other = EmbeddedPostgres(scene.root / "restored")
    await asyncio.to_thread(other.start)
    programs = find_binaries().directory
    target = scene.database
    try:
        await asyncio.to_thread(_dump_and_restore, programs, scene, other, target)
        old, scene.server = scene.server, other
        await simulate_clock(scene.dsn, scene.clock.offset)
        await scene.start()
        scene.after.append(lambda: _give_back(scene, old, other))
    except BaseException:
        await asyncio.to_thread(other.stop)
        raise


def _dump_and_restore(programs: Path, scene: Scene, other: EmbeddedPostgres, name: str) -> None:
    def psql(database: str, *arguments: str, text: bytes | None = None) -> None:
        address = other.dsn(SUPERUSER, database=database)
        line = [str(programs / "psql"), "-q", "-v", "ON_ERROR_STOP=1", "-X", "-d", address, *arguments]
        done = subprocess.run(line, input=text, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()[-2000:]

    psql("postgres", "-c", f"CREATE DATABASE {name} OWNER {OWNER}")
    source = scene.server.dsn(SUPERUSER, database=scene.database)
    dumped = subprocess.run([programs / "pg_dump", "-d", source], capture_output=True, check=True)
    psql(name, text=dumped.stdout)


async def _give_back(scene: Scene, old: EmbeddedPostgres, other: EmbeddedPostgres) -> None:
    scene.server = old
    await asyncio.to_thread(other.stop)


@kind("Z04")
async def _thin(scene: Scene) -> None:
    await scene.service.store.thin_seals(scene.clock.now() - OPEN_SEALS_KEPT)
    await scene.service.store.prune_seal_heads(days=0)


@kind("Z05")
async def _shorter(scene: Scene) -> None:
    await _installation(scene).administration.set_category(MAIN, instruction="I-5", retention_days=40)


@kind("Z06")
async def _longer(scene: Scene) -> None:
    await _installation(scene).administration.set_category(BRIEF, instruction="I-6", retention_days=20)


@kind("Z07")
async def _add(scene: Scene) -> None:
    await _installation(scene).administration.add_tenant("nimes", "Nîmes")


@kind("Z08")
async def _close(scene: Scene) -> None:
    await _installation(scene).closing.close_without_export(CASTRES)


@kind("Z09")
async def _destroy(scene: Scene) -> None:
    await _installation(scene).closing.close_without_export(CASTRES)
    await _installation(scene).destruction.run(CASTRES, lambda _: None)


@kind("Z10")
async def _credential(scene: Scene) -> None:
    credentials = _installation(scene).administration.credentials
    identifier, _ = await credentials.add(role="client", tenant=ALBI, categories=[MAIN])
    await credentials.revoke(identifier)


@kind("Z11")
async def _recipient(scene: Scene) -> None:
    administration = _installation(scene).administration
    for number in (31, 32):
        await administration.register_recipient(CASTRES, der_to_pem([commune(number).certificate]))
    await administration.end_handover(CASTRES)


async def _next_morning(scene: Scene, days: int) -> None:
    for number in range(days):
        await scene.travel(scene.clock.now() + DAY)
        await scene.post(f"morning-{number}", 3)
        await scene.service.sealer.seal_open(even_if_still=False)
    await _quiet(scene)


@kind("Z12")
async def _purge(scene: Scene) -> None:
    await _next_morning(scene, 1)


@kind("Z13")
async def _hand_over(scene: Scene) -> None:
    await _next_morning(scene, 3)


@kind("Z14")
async def _category(scene: Scene) -> None:
    await _installation(scene).administration.add_category(NewCategory(code="neuve", label="Neuve"))
    await _installation(scene).maintenance.prepare()


@kind("Z15")
async def _second(scene: Scene) -> None:
    """Record through two services in turn."""
    settings = with_settings(settings_in(scene.home), **scene.tsa)
    async with served(scene.dsn, settings, scene.clock) as other, _load(scene):
        first = scene.running
        until = asyncio.get_running_loop().time() + LOAD_SECONDS
        while asyncio.get_running_loop().time() < until:
            scene.running = first if scene.running is other else other
            await asyncio.sleep(0.3)
        scene.running = first
        assert not any((await other.service.checks.run()).values())
    scene.mark()


@kind("Z16")
async def _kill_service(scene: Scene) -> None:
    """Kill a service of its own process while it records."""
    await scene.stop()
    settings = with_settings(settings_in(scene.home), **scene.tsa)
    line = [sys.executable, "-m", "tests.campaign.child", scene.dsn, str(scene.clock.offset.total_seconds())]
    child = await asyncio.create_subprocess_exec(
        *line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write(msgspec.json.encode(settings) + b"\n")
    await child.stdout.readuntil(b"recording\n")
    await asyncio.sleep(LOAD_SECONDS)
    os.killpg(child.pid, signal.SIGKILL)
    await child.wait()
    await scene.start()
    await _quiet(scene)


@kind("Z17", own_server=True)
async def _kill_server(scene: Scene) -> None:
    """Kill PostgreSQL with all its processes while the service records, and start it again."""
    async with _load(scene):
        await asyncio.sleep(LOAD_SECONDS)
        assert scene.server.pid is not None
        await asyncio.to_thread(_kill_tree, scene.server.pid)
        await asyncio.to_thread(scene.server.stop)
        await asyncio.to_thread(scene.server.start)
        await asyncio.sleep(LOAD_SECONDS)
    await _quiet(scene)


def _kill_tree(pid: int) -> None:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    for number in (str(pid), *children):
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(number), signal.SIGKILL)


@kind("Z19")
async def _copy_keys(scene: Scene) -> None:
    copy = scene.root / "copy"
    copy.mkdir()
    settings = settings_in(scene.home)
    target = KeyStore(copy, read_master_key(settings.master_key_path))
    source = scene.service.keyring.keystore
    for to, of in ((target, source), (source, target)):
        done = await asyncio.to_thread(follow, to, of)
        assert not done.failures, done


async def _upgrade(scene: Scene) -> None:
    """Replace the programs, restart the server with them, restart the service."""
    assert scene.programs is not None
    await scene.stop()
    replace_program(scene.programs)
    await asyncio.to_thread(scene.server.restart)
    await scene.start()
    await _quiet(scene)


KINDS["Z20"] = Kind(act=_upgrade, own_server=True, own_programs=True)


@kind("Z21")
async def _midnight(scene: Scene) -> None:
    """Record through midnight."""
    end = datetime.combine(scene.today, time(23, 59, 52), tzinfo=UTC)
    await scene.travel(end)
    async with _load(scene):
        await asyncio.sleep(20)
    await _installation(scene).maintenance.prepare()
    await scene.service.sealer.seal_open(even_if_still=False)
    await _installation(scene).purger.run(to_the_limit=True)
    await _quiet(scene)


@kind("Z22")
async def _certificate(scene: Scene) -> None:
    await scene.stop()
    settings = settings_in(scene.home)
    settings.signing_key_path.unlink()
    make_development_authority(
        settings.signing_key_path.parent, SERVICE, scene.clock.now(), trust_path=settings.trust_path
    )
    await scene.start()
    await _quiet(scene)
