"""`doctor` on a service that is well, and on what ages: copies of keys, the WAL; what breaks is in tests/faults."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from journal.cli.store_checks import judge_archive
from journal.notices.host import copied_path
from journal.settings import load_settings
from tests.support.breakages import execute
from tests.support.broken import Broken, running
from tests.support.commands import environment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def broken() -> Iterator[Broken]:
    """A service that is ready, with a replica of its key store."""
    with running() as made:
        yield made


def checks(broken: Broken) -> dict[str, dict[str, Any]]:
    """Return what doctor says, by name: the first of each."""
    done = broken.command("doctor", "--json")
    assert done.stderr == "", done.stderr
    return {check["name"]: check for check in reversed(orjson.loads(done.stdout)["checks"])}


def test_nothing_is_wrong_and_nothing_is_changed(broken: Broken) -> None:
    """It looks at everything, and leaves no trace in files or in the database."""

    def files() -> list[Path]:
        # Without what the service is about to rename.
        return sorted(path for path in broken.home.rglob("*") if path.name[0] != ".")

    before = files()
    found = checks(broken)
    broken.await_fine()
    assert {"service", "identity", "key store", "disk", "database", "schema", "accounts", "credentials", "sources",
            "key copy", "clock", "seals", "receipts"} <= found.keys()  # fmt: skip
    assert files() == before


def test_the_key_copy_ages(broken: Broken) -> None:
    """Noted until a first copy is made, then dated; an old one is a warning, with the command."""
    copy = broken.base / "copy"
    copy.mkdir(exist_ok=True)
    assert broken.command("keys", "backup", "--to", str(copy)).returncode == 0
    assert checks(broken)["key copy"]["severity"] == "ok"
    stamp = copied_path(load_settings(environment(broken.home, **broken.settings)))
    os.utime(stamp, (time.time() - 9 * 86400 - 60,) * 2)
    said = checks(broken)["key copy"]
    assert (said["severity"], said["told"][-11:]) == ("warning", " 9 days ago")
    assert said["mend"].startswith("openepm-journal keys backup --to DIR")
    assert broken.command("keys", "backup", "--to", str(copy)).returncode == 0
    broken.await_fine()


def test_master_key_replaced_while_it_runs(broken: Broken) -> None:
    """The service, a reader of keys ever since, stays ready, takes a commune, and the store verifies."""
    copy = broken.base / "copy"
    copy.mkdir(exist_ok=True)
    old = broken.master_key.read_text()
    done = broken.command("keys", "rotate", "--copy", str(copy))
    assert done.returncode == 0, done.stderr
    assert broken.master_key.read_text() != old
    assert len(broken.master_key.read_text()) == 65
    done = broken.command("tenant", "add", "sete", "--name", "Sète")
    assert done.returncode == 0, done.stderr
    broken.await_failing()
    assert broken.command("verify-store").returncode == 0
    assert broken.command("keys", "backup", "--to", str(copy)).returncode == 0
    broken.await_fine()


def test_the_wal_leaves_the_server(broken: Broken) -> None:
    """Doctor says that nothing does; of a slot, whether it is read."""
    said = checks(broken)["backups"]
    assert (said["severity"], said["told"][:20]) == ("note", "the WAL is neither a")
    execute(broken, "SELECT pg_create_physical_replication_slot('barman', true)")
    try:
        said = checks(broken)["backups"]
        assert (said["severity"], said["told"][:34]) == ("warning", "the slot barman is read by nobody:")
    finally:
        execute(broken, "SELECT pg_drop_replication_slot('barman')")


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
