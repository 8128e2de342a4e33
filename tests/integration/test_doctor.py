"""`doctor`, readiness and the log on what breaks: each names what, where and the mend, and each heals without hands.

One installation with PostgreSQL of its own, one service; each case breaks it, looks, mends, and waits for readiness.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

import pytest

from journal.clock import SystemClock
from journal.notices.host import copied_path
from journal.seals.dev_authority import make_development_authority
from journal.settings import load_settings
from tests.support.broken import Broken, running, small_disk, wait_for
from tests.support.commands import command, environment

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broken]:
    """A service that is ready, with a replica of its key store."""
    home = tmp_path_factory.mktemp("doctor") / "var"
    replica = home.parent / "replica"
    replica.mkdir()
    with running(home, JOURNAL_KEYSTORE_REPLICAS=str(replica)) as made:
        yield made


def test_nothing_is_wrong_and_nothing_is_changed(broken: Broken) -> None:
    """It says 0, looks at everything, and leaves no trace in files or in the database."""

    def files() -> list[Path]:
        # Without what the service is about to rename.
        found = (path for path in broken.home.rglob("*") if "postgresql" not in path.parts and path.name[0] != ".")
        return sorted(found)

    before = files()
    code, found = broken.doctor()
    assert code == 0, broken.bad()
    assert {"service", "identity", "key store", "disk", "database", "schema", "accounts", "credentials", "sources",
            "key copy", "clock", "seals"} <= found.keys()  # fmt: skip
    assert files() == before


def test_replica_absent(broken: Broken) -> None:
    """Named with its path, by doctor and readiness; back, nothing is left to do."""
    replica = Path(broken.settings["JOURNAL_KEYSTORE_REPLICAS"])
    replica.rename(replica.with_name("away"))
    broken.await_failing("facts", "keys")
    said = broken.bad()
    assert said["key store"].startswith(f"{replica}: No such file or directory; mount it, or make it writable")
    assert str(replica) in said["ledger"]
    replica.with_name("away").rename(replica)
    broken.await_failing()


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads whatever the mode says")
def test_key_directory_unreadable(broken: Broken) -> None:
    """Named with its path; readable again, nothing is left to do."""
    keys = broken.home / "keys"
    keys.chmod(0)
    try:
        assert str(keys) in broken.bad()["key store"]
    finally:
        keys.chmod(0o700)
    broken.await_failing()


def test_disk_full_of_the_replica(broken: Broken) -> None:
    """Of the key store's disk it names path and room."""
    if os.geteuid() != 0:
        pytest.skip("mounts a small file system")
    replica = Path(broken.settings["JOURNAL_KEYSTORE_REPLICAS"])
    with small_disk(replica):
        filler = replica / "filler"
        done = subprocess.run(
            ["dd", "if=/dev/zero", f"of={filler}", "bs=4k"], capture_output=True, text=True, check=False
        )
        assert "No space left on device" in done.stderr
        said = broken.bad()
        assert f"replica 1 {replica}: 0 MiB free" in said["disk"]
        assert said["disk"].endswith("make room, or enlarge the file system; df -h shows it")
        done = command(broken.home, "tenant", "add", "plein", "--name", "Plein", **broken.settings)
        assert (done.returncode, done.stdout) == (2, "")
        assert f"{replica}/tenants" in done.stderr
        assert "No space left on device" in done.stderr
        filler.unlink()
        done = command(broken.home, "tenant", "add", "plein", "--name", "Plein", **broken.settings)
        assert done.returncode == 0, done.stderr
    broken.await_failing()


def test_database_down_while_running(broken: Broken) -> None:
    """Doctor says what stopped; readiness fails; back, it is ready."""
    pid = int((broken.home / "postgresql" / "data" / "postmaster.pid").read_text().split()[0])
    os.kill(pid, signal.SIGSTOP)
    try:
        wait_for(lambda: "database" in broken.failing(), lambda: f"{broken.failing()}")
    finally:
        os.kill(pid, signal.SIGCONT)
    broken.await_failing()


def test_grants_lost(broken: Broken) -> None:
    """Doctor and readiness name role, database and what to repeat; granted again, it is ready."""
    change(broken, "REVOKE USAGE ON SCHEMA journal FROM journal_ingest")
    try:
        wait_for(lambda: "database" in broken.failing(), lambda: f"{broken.failing()}")
        said = broken.bad()
        assert "journal_ingest lacks a right in database journal on" in " ".join(said.values())
        assert "openepm-journal verify-store names it" in " ".join(said.values())
        assert "bring it back from sql/schema.sql as the owner" in said["schema"]
    finally:
        change(broken, "GRANT USAGE ON SCHEMA journal TO journal_ingest")
    broken.await_failing()
    assert broken.doctor()[0] == 0


def change(broken: Broken, statement: str) -> None:
    """Run a statement as the owner of the database."""
    import asyncio  # noqa: PLC0415

    import asyncpg  # noqa: PLC0415

    from journal.database.embedded import EmbeddedPostgres  # noqa: PLC0415

    async def run() -> None:
        connection = await asyncpg.connect(EmbeddedPostgres(broken.home).dsn())
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    asyncio.run(run())


def test_certificate_of_another_authority(broken: Broken) -> None:
    """Doctor says that the trust anchor does not vouch, a start is refused; put back, it starts."""
    trust = broken.home / "trust.pem"
    kept = trust.read_bytes()
    other = broken.home.parent / "other"
    make_development_authority(other, "journal.example.fr", SystemClock().now(), trust_path=other / "trust.pem")
    trust.write_bytes((other / "trust.pem").read_bytes())
    try:
        said = broken.bad()["identity"]
        assert f"{trust} does not vouch for {broken.home}/identity/signing.pem" in said
        assert "openepm-journal identity install --trust" in said
        refused = broken.refused()
        assert f"no certificate in {trust} vouches for the signing certificate" in refused
    finally:
        trust.write_bytes(kept)
        broken.start()
        broken.await_listening()
    broken.await_failing()


def test_wrong_master_key_and_port_taken(broken: Broken) -> None:
    """A start is refused in one line; doctor names the key store, and the program on the port."""
    master = broken.home / "master.key"
    kept = master.read_bytes()
    broken.stop()
    host, port = broken.settings["JOURNAL_LISTEN"].split(":")
    try:
        master.write_text("ab" * 32 + "\n")
        with socket.create_server((host, int(port))) as taken:
            Thread(target=greet, args=(taken,), daemon=True).start()
            said = broken.bad()
            assert "does not answer as the service does" in said["service"]
            assert f"ss -ltnp 'sport = :{port}'" in said["service"]
            assert "is damaged in line 1" in said["ledger"]
            assert "the embedded PostgreSQL does not run" in said["database"]
            assert f"cannot listen on {host}:{port}: Address already in use" in broken.refused()
            taken.shutdown(socket.SHUT_RDWR)  # the thread that accepts would hold it
        ledger = broken.home / "keys" / "facts" / "ledger"
        before = ledger.read_bytes()
        assert "is damaged in line 1 (unless the master key is another one's)" in broken.refused()
        assert ledger.read_bytes() == before
    finally:
        master.write_bytes(kept)
        broken.start()
        broken.await_listening()
    broken.await_failing()


def greet(listener: socket.socket) -> None:
    """Answer as something that is no HTTP server."""
    with listener:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.sendall(b"220 mail.example.fr ESMTP\r\n")


def test_the_key_copy_ages(broken: Broken) -> None:
    """Noted until a first copy is made, then dated; an old one is a warning, with the command."""
    copy = broken.home.parent / "copy"
    copy.mkdir(exist_ok=True)
    assert command(broken.home, "keys", "backup", "--to", str(copy), **broken.settings).returncode == 0
    _, found = broken.doctor()
    assert found["key copy"][0]["severity"] == "ok"
    stamp = copied_path(load_settings(environment(broken.home, **broken.settings)))
    os.utime(stamp, (time.time() - 9 * 86400 - 60,) * 2)
    code, found = broken.doctor()
    assert (code, found["key copy"][0]["severity"]) == (1, "warning")
    assert "9 days ago" in found["key copy"][0]["told"]
    assert found["key copy"][0]["mend"].startswith("openepm-journal keys backup --to DIR")
    assert command(broken.home, "keys", "backup", "--to", str(copy), **broken.settings).returncode == 0
    assert broken.doctor()[0] == 0


def test_master_key_replaced_while_it_runs(broken: Broken) -> None:
    """The service, a reader of keys ever since, stays ready, takes a commune, and the store verifies."""
    copy = broken.home.parent / "copy"
    copy.mkdir(exist_ok=True)
    old = (broken.home / "master.key").read_text()
    done = command(broken.home, "keys", "rotate", "--copy", str(copy), **broken.settings)
    assert done.returncode == 0, done.stderr
    assert (broken.home / "master.key").read_text() != old
    assert len((broken.home / "master.key").read_text()) == 65
    done = command(broken.home, "tenant", "add", "sete", "--name", "Sète", **broken.settings)
    assert done.returncode == 0, done.stderr
    broken.await_failing()
    assert command(broken.home, "verify-store", **broken.settings).returncode == 0
    assert command(broken.home, "keys", "backup", "--to", str(copy), **broken.settings).returncode == 0
    assert broken.doctor()[0] == 0
