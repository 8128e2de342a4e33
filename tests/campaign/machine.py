"""Acts on the catalog, settings, clocks, programs, key files and backups: K, T, F, B."""

from __future__ import annotations

import asyncio
import errno
import shutil
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from journal.cli.serve import watch_database
from journal.clock import SimulatedClock
from tests.campaign import logged
from tests.campaign.table import KINDS, Kind, kind, statement
from tests.campaign.world import ALBI, EVE, MAIN, copy_directory
from tests.support.catalog_harm import FEIGNED, ROLE_HARMS, catalog_harms
from tests.support.programs import replace_program

if TYPE_CHECKING:
    from tests.campaign.scene import Scene
    from tests.campaign.table import Act

FULL_BATCH = 500
RESTART_SECONDS = 60.0
LOOK_SECONDS = 0.2


def _catalog(identifier: str) -> Act:
    async def act(scene: Scene) -> None:
        harms = catalog_harms(await scene.leaf(scene.month_ago))
        await scene.execute(harms[identifier][0])

    return act


for _identifier in ("K04", "K05", "K06", "K08", "K09", "K10", "K11", "K12", "K13", "K14", "K16", "K17", "K18"):
    KINDS[_identifier] = Kind(act=_catalog(_identifier))

statement("K01", FEIGNED % "")
statement("K07", "REVOKE EXECUTE ON FUNCTION journal.append FROM journal_ingest")
statement("K15", ROLE_HARMS["K15"][0], own_server=True)
statement(
    "K02",
    "CREATE OR REPLACE FUNCTION journal.now() RETURNS timestamptz LANGUAGE sql VOLATILE SECURITY DEFINER "
    "SET search_path = pg_catalog, pg_temp AS $$ SELECT clock_timestamp() + c.ahead + interval '1 hour' "
    "FROM journal.simulated_clock AS c $$",
)


@kind("K03")
async def _hide_a_row(scene: Scene) -> None:
    """Have the function that the audit and extracts read by leave one row out."""
    rows = await scene.fetch(
        "SELECT pg_get_functiondef(p.oid) AS text FROM pg_proc AS p WHERE p.pronamespace = 'journal'::regnamespace "
        "AND p.proname = 'read_entries'"
    )
    text = rows[0]["text"]
    hidden = text.replace("AND e.index >= $2", "AND e.index >= $2 AND e.index % 50 <> 7")
    assert hidden != text, text
    await scene.execute(hidden)


# Settings, clocks, programs


def _setting(identifier: str, setting: str) -> None:
    async def act(scene: Scene) -> None:
        await scene.execute(f"ALTER SYSTEM SET {setting} = off")
        await scene.execute("SELECT pg_reload_conf()")

    kind(identifier, own_server=True)(act)


_setting("T01", "fsync")
_setting("T03", "full_page_writes")
statement("T02", "ALTER ROLE journal_ingest SET synchronous_commit = off", own_server=True)
statement("T05", "UPDATE journal.simulated_clock SET ahead = ahead + interval '10 minutes'")
statement("T08", "ALTER ROLE journal_seal NOLOGIN", own_server=True)


@kind("T04")
async def _read_only(scene: Scene) -> None:
    await scene.execute(f"ALTER DATABASE {scene.database} SET default_transaction_read_only = on")


@kind("T06")
async def _host_ahead(scene: Scene) -> None:
    ahead = SimulatedClock(scene.clock.offset + timedelta(hours=3))
    scene.clock.now = ahead.now  # type: ignore[method-assign]


@kind("T07", own_server=True)
async def _refuse_role(scene: Scene) -> None:
    ((file,),) = await scene.fetch("SELECT current_setting('hba_file')")
    before = await asyncio.to_thread(Path(file).read_text, encoding="utf-8")
    line = "local all journal_ingest reject\n"
    await asyncio.to_thread(Path(file).write_text, line + before, encoding="utf-8")
    await scene.execute("SELECT pg_reload_conf()")


async def _replace_programs(scene: Scene) -> None:
    """Replace the programs of the server, which `serve` watches, and ask what callers ask until it has restarted."""
    assert scene.programs is not None
    first = scene.server.pid
    said = logged.listen()
    watching = asyncio.create_task(watch_database(scene.server))
    try:
        replace_program(scene.programs)
        async with asyncio.timeout(RESTART_SECONDS):
            while scene.server.pid in {None, first} or await scene.post("again") != 201:
                for name, problem in (await scene.service.checks.run()).items():
                    if problem is not None:
                        scene.notice(f"ready: {name}", problem)
                for line in said:
                    scene.notice("log", line)
                await asyncio.sleep(LOOK_SECONDS)
    finally:
        watching.cancel()


KINDS["T09"] = Kind(act=_replace_programs, own_server=True, own_programs=True)


async def _fill_disk(scene: Scene) -> None:
    """Fill the file system of the database, then record until it does not go on."""

    def fill() -> None:
        assert scene.disk is not None
        with (scene.disk / "filler").open("wb", buffering=0) as filler:
            try:
                while True:
                    filler.write(bytes(1 << 20))
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise

    await asyncio.to_thread(fill)
    for number in range(40):
        if await scene.post(f"full-{number}", FULL_BATCH) != 201:
            break


KINDS["T10"] = Kind(act=_fill_disk, own_server=True, small_disk=True)


# Key store


@kind("F01")
async def _today_key(scene: Scene) -> None:
    await scene.stop()
    scene.key(MAIN, scene.today).unlink()
    await scene.start()


@kind("F02")
async def _yesterday_key(scene: Scene) -> None:
    scene.key(MAIN, scene.yesterday).unlink()


@kind("F03")
async def _exchanged_key(scene: Scene) -> None:
    shutil.copyfile(scene.key(MAIN, scene.month_ago), scene.key(MAIN, scene.yesterday))


@kind("F04")
async def _tenant_key(scene: Scene) -> None:
    (scene.keys / "tenants" / ALBI).unlink()


@kind("F05")
async def _raised_fence(scene: Scene) -> None:
    (scene.keys / "fences" / MAIN).write_text(f"{scene.month_ago}\n", encoding="ascii")


@kind("F06")
async def _no_fence(scene: Scene) -> None:
    (scene.keys / "fences" / MAIN).unlink()


@kind("F07")
async def _short_ledger(scene: Scene) -> None:
    ledger = scene.keys / "facts" / "ledger"
    lines = ledger.read_bytes().splitlines(keepends=True)
    ledger.write_bytes(b"".join(lines[:-6]))


@kind("F08")
async def _changed_ledger(scene: Scene) -> None:
    ledger = scene.keys / "facts" / "ledger"
    lines = ledger.read_bytes().splitlines(keepends=True)
    lines[4] = lines[4].replace(b" set ", b" SET ").replace(b" done ", b" DONE ")
    ledger.write_bytes(b"".join(lines))


@kind("F09")
async def _no_ledger(scene: Scene) -> None:
    (scene.keys / "facts" / "ledger").unlink()


async def _add_replica(scene: Scene) -> None:
    replica = scene.root / "replica"
    copy_directory(scene.keys, replica)
    scene.extra["keystore_replicas"] = (str(replica),)


@kind("F10", before=_add_replica)
async def _late_replica(scene: Scene) -> None:
    replica = scene.root / "replica"
    await asyncio.to_thread(shutil.rmtree, replica)
    copy_directory(scene.world / EVE / "keys", replica)
    assert scene.running is not None
    try:
        await scene.running.installation.administration.add_tenant("intrus", "Intrus")
    except Exception as error:  # noqa: BLE001  (whatever refuses it)
        scene.refused.append(f"a change: {error}"[:160])


# Rollbacks and restores


async def _copy(scene: Scene) -> None:
    await scene.copy_database()


@kind("B01", before=_copy)
async def _restored_under(scene: Scene) -> None:
    await scene.post("lost", 5)
    await scene.service.sealer.seal_open(even_if_still=True)
    scene.mark()
    await scene.restore_copy()


def _backup(identifier: str, *, database: bool = False, keys: bool = False, signer: bool = False) -> None:
    async def act(scene: Scene) -> None:
        await scene.stop()
        await scene.restore_eve(database=database, keys=keys, signer=signer)
        scene.mark()
        await scene.start()

    kind(identifier)(act)


_backup("B02", database=True)
_backup("B03", database=True)
_backup("B04", keys=True)


@kind("B05")
async def _both(scene: Scene) -> None:
    """Put everything back, and go on for as long as it takes to use the same numbers again."""
    await scene.stop()
    await scene.restore_eve(database=True, keys=True, signer=True)
    scene.mark()
    if await scene.start():
        for number in range(8):
            await scene.post(f"again-{number}")
            await scene.service.sealer.seal_open(even_if_still=True)


_backup("B06", database=True)
_backup("B07", keys=True)


@kind("B08")
async def _no_memory(scene: Scene) -> None:
    await scene.stop()
    (scene.home / "identity" / "signer.state").unlink()
    await scene.start()


@kind("B09")
async def _older_memory(scene: Scene) -> None:
    await scene.stop()
    await scene.restore_eve(signer=True)
    await scene.start()
