"""What a thief of the database finds: nothing that anyone wrote."""

from __future__ import annotations

import secrets
import string
import subprocess
from io import BytesIO
from typing import TYPE_CHECKING, Any

import asyncpg

from journal.core.times import day_of
from journal.database.binaries import find_binaries
from journal.database.embedded import SUPERUSER, EmbeddedPostgres
from journal.reading.plan import ExtractRequest
from tests.faults.rig import event_body, open_rig, read_events

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from pathlib import Path

    from tests.faults.rig import Rig

EVENTS = 100
PREFIX_LENGTH = 6
MARKER_LENGTH = 30


class Markers:
    """High-entropy strings that begin alike: one look finds any of them, also a piece cut short by compression."""

    def __init__(self) -> None:
        """Draw the beginning, which no other file of this machine holds."""
        self.prefix = "".join(secrets.choice(string.ascii_letters) for _ in range(PREFIX_LENGTH))
        self.count = 0

    def draw(self) -> str:
        """Return a marker never drawn before."""
        self.count += 1
        return self.prefix + secrets.token_hex((MARKER_LENGTH - PREFIX_LENGTH) // 2)

    def find(self, content: bytes) -> set[bytes]:
        """Return every piece of the content that begins like a marker, in clear or in hexadecimal."""
        plain = self.prefix.encode()
        found = {bytes(piece) for piece in _pieces(content, plain, MARKER_LENGTH)}
        return found | {
            bytes.fromhex(piece.decode()) for piece in _pieces(content, plain.hex().encode(), 2 * MARKER_LENGTH)
        }


def _pieces(content: bytes, beginning: bytes, length: int) -> Iterator[bytes]:
    place = content.find(beginning)
    while place >= 0:
        yield content[place : place + length]
        place = content.find(beginning, place + 1)


def marked_event(markers: Markers, now: datetime) -> dict[str, Any]:
    """Return an event with a marker wherever a module may write something of a person."""
    data = {
        "actor": {"account": markers.draw(), "name": markers.draw(), "role": markers.draw(), "unit": markers.draw()},
        "justification": f"Suite de {markers.draw()}",
        "recipients": [markers.draw()],
        "outcome": "success",
        "client": {"address": "10.0.0.12", "workstation": markers.draw(), "session": markers.draw()},
    }
    return event_body(markers.draw(), now, subject=markers.draw(), source=f"urn:openepm:{markers.draw()}", data=data)


async def ask_for_extract(rig: Rig, markers: Markers) -> bytes:
    """Ask for an extract with a marker wherever its requester may write; return its bytes."""
    today = day_of(rig.clock.now())
    request = ExtractRequest(
        from_day=today,
        to_day=today,
        purpose="lawfulness",
        requester=markers.draw(),
        request_reference=markers.draw(),
        authorisation=markers.draw(),
        account=markers.draw(),
    )
    chunks = await rig.service.extraction.extract(rig.compartment(), request, requested_by="client", disclose=True)
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
