"""What a thief of the database finds: nothing that anyone wrote."""

from __future__ import annotations

import subprocess
from io import BytesIO
from typing import TYPE_CHECKING

import asyncpg

from journal.core.times import day_of
from journal.database.binaries import find_binaries
from journal.database.embedded import SUPERUSER, EmbeddedPostgres
from journal.extract.grounds import Authorisation, Person
from journal.reading.plan import ExtractRequest
from tests.support.markers import Markers, marked_event
from tests.support.rig import open_rig, read_events

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.rig import Rig

EVENTS = 100


async def ask_for_extract(rig: Rig, markers: Markers) -> bytes:
    """Ask for an extract with a marker wherever its requester may write; return its bytes."""
    today = day_of(rig.clock.now())
    request = ExtractRequest(
        from_day=today,
        to_day=today,
        purpose="lawfulness",
        requester=markers.draw(),
        request_reference=markers.draw(),
        authorisation=Authorisation(markers.draw(), today, markers.draw()),
        person=Person(markers.draw(), markers.draw()),
        even_if_empty=True,
        account=markers.draw(),
    )
    chunks = (
        await rig.service.extraction.open(rig.compartment(), request, requested_by="client", disclose=True)
    ).chunks()
    return b"".join([chunk async for chunk in chunks])


async def test_no_marker_is_found_in_dump_files_or_wal(tmp_path: Path) -> None:
    """Of 1,000 strings and more that events and requests carried none is in a dump, a file or the WAL.

    One planted in clear is found by the same search in all three.
    """
    markers = Markers()
    home = tmp_path / "apart"
    # A cluster of its own: files of other tests are none of its business.
    with EmbeddedPostgres(home) as server:
        async with open_rig(server.dsn(), tmp_path / "home") as rig:
            now = rig.clock.now()
            events = read_events([marked_event(markers, now) for _ in range(EVENTS)], now)
            await rig.submit(events)
            await ask_for_extract(rig, markers)
            assert all(event.canonical.count(markers.prefix.encode()) == 11 for event in events)
            assert markers.count > 1_000
        superuser = await asyncpg.connect(server.dsn(SUPERUSER))
        await superuser.execute("CHECKPOINT")
        assert markers.find(await _dump(server, superuser)) == set()
        assert _search(home, markers) == {"files": set(), "wal": set()}
        assert _search(tmp_path / "home", markers)["files"] == set()
        planted = markers.draw()
        await superuser.execute("CREATE TABLE public.planted AS SELECT $1::text AS clear", planted)
        await superuser.execute("CHECKPOINT")
        assert markers.find(await _dump(server, superuser)) == {planted.encode()}
        await superuser.close()
        assert _search(home, markers) == {"files": {planted.encode()}, "wal": {planted.encode()}}


async def _dump(server: EmbeddedPostgres, superuser: asyncpg.Connection) -> bytes:
    """Return what pg_dumpall gives a superuser; where these binaries lack it, every table of every schema."""
    program = find_binaries().directory / "pg_dumpall"
    if program.exists():
        command = [str(program), "--dbname", server.dsn(SUPERUSER)]
        return subprocess.run(command, check=True, capture_output=True).stdout
    content = BytesIO()
    for row in await superuser.fetch("SELECT format('%I.%I', schemaname, tablename) AS name FROM pg_tables"):
        await superuser.copy_from_query(f"TABLE {row['name']}", output=content)
    return content.getvalue()


def _search(directory: Path, markers: Markers) -> dict[str, set[bytes]]:
    """Return what is found in every file under a directory, apart what is in the write-ahead log."""
    found: dict[str, set[bytes]] = {"files": set(), "wal": set()}
    for path in directory.rglob("*"):
        if path.is_file():
            found["wal" if "pg_wal" in path.parts else "files"] |= markers.find(path.read_bytes())
    return found
