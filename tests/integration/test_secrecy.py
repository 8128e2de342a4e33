"""What a thief of the database finds: nothing that anyone wrote."""

from __future__ import annotations

import secrets
import shutil
import subprocess
from typing import TYPE_CHECKING

import asyncpg
import orjson

from journal.postgres import SUPERUSER, EmbeddedPostgres
from journal.postgres_binaries import find_binaries
from tests.faults.rig import event_body, open_rig, read_events

if TYPE_CHECKING:
    from pathlib import Path

MARKERS = 1_000
PER_EVENT = 5


def find_markers(content: bytes, markers: list[bytes]) -> set[bytes]:
    """Return which of the markers are in the content, in clear or in hexadecimal."""
    # One look at the whole for each would take minutes: what begins like a marker is looked at.
    found = set()
    for prefix in (b"MARK", b"MARK".hex().encode()):
        place = content.find(prefix)
        while place >= 0:
            piece = content[place : place + 96]
            found |= {marker for marker in markers if piece.startswith((marker, marker.hex().encode()))}
            place = content.find(prefix, place + 1)
    return found


async def test_no_marker_is_found_in_dump_files_or_wal(tmp_path: Path) -> None:
    """1,000 strings that events carried are in no dump and no file; one planted in clear is found by that search."""
    markers = [f"MARK{secrets.token_hex(12)}" for _ in range(MARKERS)]
    wanted = [marker.encode() for marker in markers]
    # A cluster of its own: files of other tests are none of its business.
    with EmbeddedPostgres(tmp_path / "apart") as server:
        async with open_rig(server.dsn(), tmp_path / "home") as rig:
            now = rig.clock.now()
            bodies = []
            for number in range(0, MARKERS, PER_EVENT):
                account, name, subject, reason, recipient = markers[number : number + PER_EVENT]
                data = {
                    "actor": {"account": account, "name": name},
                    "justification": f"Suite de {reason}",
                    "outcome": "success",
                    "recipients": [recipient],
                }
                bodies.append(event_body(f"e{number}", now, subject=subject, data=data))
            await rig.submit(read_events(bodies, now))
            assert orjson.loads(read_events(bodies[:1], now)[0].canonical)["subject"] == markers[2]
            await rig.service.sealer.seal_open(even_if_still=True)
        connection = await asyncpg.connect(server.dsn(SUPERUSER))
        await connection.execute("CHECKPOINT")
        assert find_markers(_dump(server), wanted) == set()
        assert _search(tmp_path / "apart", wanted) == set()
        await connection.execute("CREATE TABLE public.planted AS SELECT $1::text AS clear", markers[0])
        await connection.execute("CHECKPOINT")
        await connection.close()
        assert find_markers(_dump(server), wanted) == {wanted[0]}
        assert _search(tmp_path / "apart", wanted) == {wanted[0]}


def _dump(server: EmbeddedPostgres) -> bytes:
    """Return what pg_dumpall gives a superuser."""
    program = shutil.which("pg_dumpall") or str(find_binaries().directory / "pg_dumpall")
    return subprocess.run([program, "--dbname", server.dsn(SUPERUSER)], check=True, capture_output=True).stdout


def _search(directory: Path, markers: list[bytes]) -> set[bytes]:
    """Return which markers are in any file of the cluster, its WAL and logs included."""
    found: set[bytes] = set()
    files = [path for path in directory.rglob("*") if path.is_file()]
    assert any("pg_wal" in path.parts for path in files)
    for path in files:
        found |= find_markers(path.read_bytes(), markers)
    return found
