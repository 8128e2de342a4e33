"""After a purge, every byte of every place that can hold one: no key, no word of what was recorded.

The data directory with its WAL and log, the archive of the WAL, base backups from before and after, the key store,
its replica, its copy, the service's home.
"""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import asyncpg
import pytest

from journal.admin.administration import NewCategory
from journal.core.entry import Compartment
from journal.core.envelope import derive_data_key
from journal.core.errors import FencedDayError
from journal.database.embedded import SUPERUSER, EmbeddedPostgres
from journal.database.migrate import migrate
from journal.keys.copy import follow
from journal.keys.store import KeyStore, open_keystore
from journal.keys.wrapped import read_master_key
from tests.backup.cluster import archiving, base_backup, room
from tests.backup.opening import all_rows, opened_rows, unwrapped
from tests.support.markers import Markers, marked_event
from tests.support.rig import read_events
from tests.support.world import DAY, FIRST, OTHER_TENANT, SERVICE, TENANT, World, new_world

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

BRIEF = "breve"
EVENTS = 50
# So much of a secret is looked for: a piece that a page's end or a compression cuts short is found as well.
PIECE_BYTES = 12
PLACES = ("own", "archive", "before", "after", "home", "replica", "copy")


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """Bytes that must not be found, and what they are."""

    kind: str
    content: bytes

    def count(self, haystack: bytes) -> int:
        """Return how often it is there, raw or in hexadecimal, from its beginning or from its middle."""
        middle = len(self.content) // 2
        pieces = [self.content[:PIECE_BYTES], self.content[middle : middle + PIECE_BYTES]]
        return sum(haystack.count(piece) + haystack.count(piece.hex().encode()) for piece in pieces)


def secrets_of(world: World) -> list[Secret]:
    """Return every key of the first day, in clear and wrapped, and every one derived from it."""
    keystore = open_keystore(world.settings)
    day_key = keystore.read_day_key(BRIEF, FIRST)
    found = [Secret(kind="day key", content=day_key)]
    # The same file in every copy.
    wrapped = (keystore.directories[0] / "days" / BRIEF / FIRST.isoformat()).read_bytes()
    found.append(Secret(kind="wrapped key", content=wrapped))
    for tenant in (TENANT, OTHER_TENANT):
        origin = Compartment(SERVICE, tenant, BRIEF).origin
        tenant_key = keystore.read_tenant_key(tenant)
        key = derive_data_key(day_key=day_key, tenant_key=tenant_key, origin=origin, day=FIRST)
        found.append(Secret(kind="data key", content=key))
    return found


class Search:
    """One look at every file of every place."""

    def __init__(self, place: Path, secrets: list[Secret], markers: Markers, *names: str) -> None:
        """Read everything once, or the places of these names alone."""
        self.found: Counter[tuple[str, str]] = Counter()
        self.bytes: Counter[str] = Counter()
        for name in names or PLACES:
            for path in (place / name).rglob("*"):
                # A socket is no file; what is being written is read as it is.
                if not path.is_file():
                    continue
                content = path.read_bytes()
                self.bytes[name] += len(content)
                for secret in secrets:
                    self.found[name, secret.kind] += secret.count(content)
                self.found[name, "marker"] += len(markers.find(content))
        self.found += Counter()  # without the zeros


@contextmanager
def places() -> Iterator[Path]:
    """Lend one directory for everything."""
    with room("raw") as place:
        yield place


async def checkpoint(server: EmbeddedPostgres, *statements: str) -> None:
    """Write out what the server holds in memory."""
    superuser = await asyncpg.connect(server.dsn(SUPERUSER))
    for statement in (*statements, "CHECKPOINT"):
        await superuser.execute(statement)
    await superuser.close()


async def test_nothing_is_left_of_a_purged_day(record_property: Callable[[str, object], None]) -> None:
    """Of a purged day's keys, in clear, derived or wrapped, and of 1,000 strings recorded on it, nothing is found.

    Its ciphertext is, in the backup and in the archive, and opens under no key that is left. Before the purge the same
    search finds the wrapped keys, and after it whatever is planted.
    """
    markers = Markers()
    with places() as place, EmbeddedPostgres(place / "own") as server, archiving(server, place / "archive"):
        await migrate(server.dsn())
        async with new_world(server, place / "home", keystore_replicas=(str(place / "replica"),)) as world:
            category = NewCategory(code=BRIEF, label="Brève", retention_days=3)
            await world.installation.administration.add_category(category)
            await world.installation.maintenance.prepare()
            (place / "copy").mkdir()
            copy = KeyStore(place / "copy", read_master_key(world.settings.master_key_path))
            for tenant in (TENANT, OTHER_TENANT):
                now = world.clock.now()
                events = read_events([marked_event(markers, now) for _ in range(EVENTS)], now)
                await world.record(EVENTS, tenant=tenant, category=BRIEF, events=events)
            assert markers.count >= 1_000
            await world.seal()
            secrets = secrets_of(world)
            follow(copy, open_keystore(world.settings))
            await checkpoint(server)
            base_backup(server, place / "before")
            rows = [row for row in await all_rows(world.superuser_dsn) if row.category == BRIEF]
            ciphertext = [Secret(kind="ciphertext", content=rows[0].ciphertext)]
            before = Search(place, secrets + ciphertext, markers)
            # In clear nowhere, ever; wrapped in three places; the entry itself where entries are.
            assert {kind for _, kind in before.found} == {"wrapped key", "ciphertext"}
            assert {name for name, kind in before.found if kind == "wrapped key"} == {"home", "replica", "copy"}

            await world.travel_to(FIRST + 2 * DAY)
            await world.installation.purger.run()
            follow(copy, open_keystore(world.settings))
            with pytest.raises(FencedDayError):
                copy.read_day_key(BRIEF, FIRST)
            await checkpoint(server)
            base_backup(server, place / "after")
            await checkpoint(server, "SELECT pg_switch_wal()")
            after = Search(place, secrets + ciphertext, markers)
            assert {kind for _, kind in after.found} == {"ciphertext"}, after.found
            assert after.found["before", "ciphertext"] > 0
            assert after.found["archive", "ciphertext"] > 0
            master = read_master_key(world.settings.master_key_path)
            keys = unwrapped([world.settings.keystore_path, place / "replica", place / "copy"], master)
            assert opened_rows(rows, keys) == set()

            # The same search finds what is there.
            planted = markers.draw()
            await checkpoint(server, f"CREATE TABLE public.planted AS SELECT '{planted}'::text AS clear")
            (place / "copy" / "days" / BRIEF / f".{FIRST}.17.ab").write_bytes(secrets[1].content)
            (place / "home" / "core").write_bytes(b"x" * 4090 + secrets[-1].content)
            found = Search(place, secrets, markers, "own", "copy", "home").found
            assert found["own", "marker"] > 0
            assert found["copy", "wrapped key"] > 0
            assert found["home", "data key"] > 0
            # What a killed run left on the way is taken away by the next.
            follow(copy, open_keystore(world.settings))
            assert not Search(place, secrets, markers, "copy").found
    record_property("evidence", told(after, secrets, markers, len(rows)))


def told(after: Search, secrets: list[Secret], markers: Markers, rows: int) -> str:
    """Say in figures what was searched and found."""
    total = sum(after.bytes.values())
    return (
        f"raw search after a purge: {total / 2**20:.0f} MiB ({', '.join(sorted(after.bytes))}), {len(secrets)} keys in "
        f"clear, derived and wrapped, {markers.count - 1} markers: 0 found of either; the purged ciphertext "
        f"{after.found['before', 'ciphertext']} times in the backup and {after.found['archive', 'ciphertext']} in the "
        f"archive, {rows} entries of it tried, 0 opened; 3 things planted, 3 found"
    )
