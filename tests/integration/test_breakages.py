"""What else breaks: what `doctor`, readiness and the log say, and that it heals without hands once it is repaired."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import pytest

from journal.cli.installation import Installation
from journal.cli.store_checks import check_readiness, judge_archive
from journal.clock import SimulatedClock, SystemClock
from journal.database.embedded import SUPERUSER, EmbeddedPostgres
from journal.seals.dev_authority import make_development_authority
from journal.service import Service
from journal.settings import load_settings
from tests.support.broken import Broken, running, small_disk, wait_for
from tests.support.commands import environment

if TYPE_CHECKING:
    from collections.abc import Iterator

UNIT = Path(__file__).parents[2] / "deploy" / "openepm-journal.service"
DAY = timedelta(days=1)
YEAR = 365 * DAY


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broken]:
    """A service that is ready."""
    with running(tmp_path_factory.mktemp("broken") / "var", JOURNAL_SERVICE_NAME="journal.example.fr") as made:
        yield made


def test_the_database_is_down_at_the_start(broken: Broken) -> None:
    """The start is refused in one line, which names where it looked; systemd tries again until the server is there."""
    broken.stop()
    server = EmbeddedPostgres(broken.home)
    outside = Broken(broken.home, broken.settings | {"JOURNAL_DSN": server.dsn(), "JOURNAL_SIGNER_SOCKET": "none"})
    where = f"database journal on {broken.home}/postgresql/run"
    assert where in outside.refused()
    assert where in outside.bad()["database"]
    unit = UNIT.read_text(encoding="utf-8").splitlines()
    assert {"Restart=on-failure", "StartLimitIntervalSec=0"} <= set(unit)
    with server:
        outside.start()
        try:
            outside.await_listening()
            outside.await_failing()
            the_wal_leaves_the_server(outside, server)
        finally:
            outside.stop()
    broken.start()
    broken.await_listening()
    broken.await_failing()


def the_wal_leaves_the_server(outside: Broken, server: EmbeddedPostgres) -> None:
    """Doctor says that nothing does; of a slot, whether it is read."""

    def said() -> list[tuple[str, str]]:
        return [(check["severity"], check["told"]) for check in outside.doctor()[1]["backups"]]

    [(severity, told)] = said()
    assert (severity, told[:20]) == ("note", "the WAL is neither a")
    superuser = server.dsn(SUPERUSER)
    asyncio.run(execute(superuser, "SELECT pg_create_physical_replication_slot('barman', true)"))
    try:
        [(severity, told)] = said()
        assert (severity, told[:34]) == ("warning", "the slot barman is read by nobody:")
    finally:
        asyncio.run(execute(superuser, "SELECT pg_drop_replication_slot('barman')"))


async def execute(dsn: str, statement: str) -> None:
    """Run a statement."""
    connection = await asyncpg.connect(dsn)
    await connection.execute(statement)
    await connection.close()


@pytest.mark.parametrize(
    ("archived", "failed", "severity", "told"),
    [
        (5, None, "ok", "the last WAL was archived at"),
        (120, None, "warning", "the last WAL was archived at"),
        (None, None, "warning", "no WAL has been archived yet"),
        (None, 3, "warning", "archiving the WAL fails, at 2026-03-02T08:57:00Z for the last time; none has succeeded"),
        (9, 3, "warning", "archiving the WAL fails, at 2026-03-02T08:57:00Z for the last time; the last success is of"),
        (3, 9, "ok", "the last WAL was archived at"),
    ],
)
def test_what_is_said_of_the_archive(archived: int | None, failed: int | None, severity: str, told: str) -> None:
    """Minutes ago: success and failure, whichever was last; a success is late after an hour."""
    now = datetime(2026, 3, 2, 9, tzinfo=UTC)
    ago = {"last_archived_time": archived, "last_failed_time": failed}
    row = {name: None if minutes is None else now - timedelta(minutes=minutes) for name, minutes in ago.items()}
    finding = judge_archive(row, now)
    assert (finding.severity, finding.told.startswith(told)) == (severity, True), finding


@pytest.mark.parametrize("age", [2 * YEAR - 10 * DAY, 3 * YEAR], ids=["expiring", "expired"])
def test_the_certificate_ends(broken: Broken, age: timedelta) -> None:
    """It is a warning before, a failure after; entries are accepted meanwhile, and a new one is all it needs."""
    identity, trust = broken.home / "identity", broken.home / "trust.pem"
    kept, anchors = broken.home.parent / "kept", trust.read_bytes()
    broken.stop()
    identity.rename(kept)
    made_at = SystemClock().now() - age
    make_development_authority(identity, "journal.example.fr", made_at, trust_path=trust)
    shutil.copy2(kept / "signer.state", identity)
    broken.start()
    broken.await_listening()
    try:
        said = broken.bad()["identity"]
        if age < 2 * YEAR:
            broken.await_failing()
            assert "signing.pem expires in " in said
        else:
            broken.await_failing("certificate")
            assert "signing.pem expired on " in said
            assert "nothing is sealed or extracted" in said
        assert said.endswith("install one with openepm-journal identity request, then identity install")
    finally:
        broken.stop()
        shutil.copy2(identity / "signer.state", kept)
        shutil.rmtree(identity)
        kept.rename(identity)
        trust.write_bytes(anchors)
        broken.start()
        broken.await_listening()
    broken.await_failing()


@pytest.mark.parametrize("hours", [3, -3])
def test_the_clock_of_the_host_is_wrong_from_the_start(broken: Broken, hours: int) -> None:
    """Readiness names both clocks and the command; a clock that is right again is all it needs.

    One that is moved while the service runs is named too; the service must then be started anew, as it cannot tell
    which of the two was right.
    """
    settings = load_settings(environment(broken.home, **broken.settings))
    dsn = EmbeddedPostgres(broken.home).dsn()

    async def look(clock: SimulatedClock) -> dict[str, str]:
        service = await Service.open(dsn=dsn, settings=settings, clock=clock)
        try:
            found = [finding async for finding in check_readiness(Installation(service, dsn))]
        finally:
            await service.close()
        return {finding.name: finding.told for finding in found if finding.severity == "failure"}

    said = asyncio.run(look(SimulatedClock(timedelta(hours=hours))))
    assert "no entry can be written: the clocks of this machine and of database journal on" in said["database"]
    assert "correct the wrong one (timedatectl)" in said["database"]
    if hours < 0:
        assert "correct the clock (timedatectl)" in said["clock"]

    async def move() -> dict[str, str]:
        clock = SimulatedClock()
        service = await Service.open(dsn=dsn, settings=settings, clock=clock)
        try:
            clock.now = SimulatedClock(timedelta(hours=hours)).now  # type: ignore[method-assign]
            return {name: said for name, said in (await service.checks.run()).items() if said}
        finally:
            await service.close()

    said = asyncio.run(move())
    assert re.match("the system clock was moved by 1(79|80) minutes while the service ran: nothing more", said["clock"])
    assert said["clock"].endswith("correct the clock (timedatectl), then restart the service")
    assert asyncio.run(look(SimulatedClock())).keys() <= {"identity"}


@pytest.mark.campaign
@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small file system")
@pytest.mark.parametrize("what", ["database", "WAL"])
def test_the_disk_of_the_database_is_full(what: str, tmp_path: Path) -> None:
    """Doctor names which; where the server ends of it, the service does too, and starts again once there is room."""
    home = tmp_path / "var"
    with running(home, JOURNAL_SERVICE_NAME="journal.example.fr") as full:
        full.stop()
        data = home / "postgresql" / "data"
        with small_disk(data if what == "database" else data / "pg_wal", "200m"):
            full.start()
            full.await_listening()
            full.await_failing()
            disk = data if what == "database" else data / "pg_wal"
            filler = disk / "filler"
            subprocess.run(["dd", "if=/dev/zero", f"of={filler}", "bs=4k"], capture_output=True, check=False)
            assert f"{what} {disk}: 0 MiB free" in full.bad()["disk"]
            # More than the segment under way has room for.
            noise = "SELECT pg_logical_emit_message(true, 'fill', repeat(md5(random()::text), 1000000))"
            with suppress(OSError, asyncpg.PostgresError):
                asyncio.run(execute(EmbeddedPostgres(home).dsn(), noise))
            wait_for(lambda: is_over(full) or "database" in failing(full), lambda: f"{failing(full)}")
            filler.unlink()
            if is_over(full):  # systemd starts it again
                full.start()
                full.await_listening()
            full.await_failing()
            full.stop()


def failing(broken: Broken) -> set[str]:
    """Return the readiness checks that fail; none if nobody answers."""
    try:
        return broken.failing()
    except OSError:
        return set()


def is_over(broken: Broken) -> bool:
    """Tell whether the service has ended."""
    assert broken.process is not None
    return broken.process.poll() is not None
