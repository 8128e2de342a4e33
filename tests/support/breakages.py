"""What breaks on a host, each way as a scene: the harm, what is seen of it meanwhile, the repair.

A scene leaves the installation of `tests.support.broken` as it was, also where it fails. What it expects to be said is
in the words and with the paths of an installation from the package, as `tests/faults/BREAKAGES.md` has them.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Final

import asyncpg

from journal.clock import SystemClock
from journal.database import binaries
from journal.database.embedded import SUPERUSER, EmbeddedPostgres
from journal.pki.timestamp_token import REPLY_TYPE
from journal.seals.dev_authority import make_development_authority
from tests.support.broken import WAIT_SECONDS, Broken, Seen, fill, open_to_all, small_disk, wait_for
from tests.support.commands import SERVICE, post_event
from tests.support.tsa import Authority

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

NOBODY: Final = "nobody"
UNAVAILABLE: Final = 503
BY_ITSELF: Final = "by itself"
BY_SYSTEMD: Final = "by itself: systemd starts it again every few seconds (`Restart=on-failure`)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Breakage:
    """A way to break: what `doctor` must say with which code, which checks fail in readiness, what the log must say.

    A harm yields the line with which the service refuses to start, or nothing where it goes on.
    """

    name: str
    title: str
    harm: Callable[[Broken], AbstractContextManager[str]]
    code: int
    doctor: tuple[str, ...]
    readiness: tuple[str, ...]
    log: tuple[str, ...]
    heals: str
    note: str = ""
    is_long: bool = False

    def play(self, broken: Broken) -> tuple[Seen, float]:
        """Break, look, mend; return what was seen, and the seconds from the repair until readiness had nothing to say.

        Raises AssertionError where something else is said, or where it does not heal.
        """
        began = time.monotonic()
        broken.before = len(broken.log)
        with self.harm(broken) as refusal:
            if NOBODY not in self.readiness:
                for check in self.readiness:
                    broken.await_one_failing(check)
                wait_for(lambda: all(any(words in line for line in broken.told()) for words in self.log), self._missing)
            seen = broken.look(refusal)
            while not self.readiness and seen.readiness != "200 ready" and time.monotonic() < began + WAIT_SECONDS:
                seen = broken.look(refusal)  # the checks of a busy machine may have been late
            self.judge(seen)
        began = time.monotonic()
        broken.await_failing()
        seconds = time.monotonic() - began
        broken.await_fine()
        return seen, seconds

    def _missing(self) -> str:
        return f"the log does not say {self.log}"

    def judge(self, seen: Seen) -> None:
        """Compare what was seen with what must be."""
        assert seen.code == self.code, seen
        for words in self.doctor:
            assert any(words in line for line in seen.doctor), f"{words!r} is not in {seen.doctor}"
        for words in self.log:
            assert any(words in line for line in seen.log), f"{words!r} is not in {seen.log}"
        if self.readiness == (NOBODY,):
            assert seen.readiness == "nobody answers"
        elif not self.readiness:
            assert seen.readiness == "200 ready"
        assert all(name in seen.readiness for name in self.readiness), seen


ALL: Final[list[Breakage]] = []


def breakage(
    title: str,
    *,
    code: int = 2,
    doctor: tuple[str, ...],
    readiness: tuple[str, ...],
    log: tuple[str, ...] = (),
    heals: str = BY_ITSELF,
    note: str = "",
    is_long: bool = False,
) -> Callable[[Callable[[Broken], Iterator[str]]], None]:
    """Name the scene that follows by its function, and say what must be seen."""

    def add(harm: Callable[[Broken], Iterator[str]]) -> None:
        name = harm.__name__.replace("_", "-")
        made = contextmanager(harm)
        ALL.append(
            Breakage(
                name=name,
                title=title,
                harm=made,
                code=code,
                doctor=doctor,
                readiness=readiness,
                log=log,
                heals=heals,
                note=note,
                is_long=is_long,
            )
        )

    return add


# The database

SILENT: Final = "no answer for journal_{} from database journal on /var/run/postgresql; start PostgreSQL, or correct"


@breakage(
    "The database is down when the service starts",
    doctor=(
        "FAIL service: nobody answers on 127.0.0.1:8470: the service does not run; systemctl start openepm-journal",
        f"FAIL database: the database cannot be reached or was lost: {SILENT.format('owner')}",
    ),
    readiness=(NOBODY,),
    log=(f"openepm-journal: the database cannot be reached or was lost: {SILENT.format('owner')}",),
    heals=BY_SYSTEMD,
)
def database_down_at_the_start(broken: Broken) -> Iterator[str]:
    """Stop the service, then the server."""
    broken.stop()
    broken.database.stop()
    try:
        yield broken.refused()
    finally:
        broken.database.start()
        broken.started()


@breakage(
    "The database goes down while the service runs",
    doctor=("FAIL service: it answers on 127.0.0.1:8470, and is not ready", SILENT.format("owner")),
    readiness=("database",),
    log=(SILENT.format("ingest"),),
)
def database_down(broken: Broken) -> Iterator[str]:
    """Stop the server."""
    broken.database.stop()
    try:
        yield ""
    finally:
        broken.database.start()


@breakage(
    "The database hangs: it takes connections, and answers nothing",
    doctor=(SILENT.format("owner"),),
    readiness=("database",),
    log=("the checks had no answer within 3 s",),
    is_long=True,
)
def database_hangs(broken: Broken) -> Iterator[str]:
    """Stop the server's processes in their tracks."""
    assert broken.database.pid is not None
    os.kill(broken.database.pid, signal.SIGSTOP)
    try:
        yield ""
    finally:
        os.kill(broken.database.pid, signal.SIGCONT)


FULL: Final = "the disk of database journal on /var/run/postgresql is full: make room on its server"


@breakage(
    "The disk of the database's data is full",
    doctor=(
        "FAIL service: it answers on 127.0.0.1:8470, and is not ready: database; each is named below, or in its log",
    ),
    readiness=("database",),
    log=(FULL,),
    note="An attempt of `doctor` may still find room in a page; the disk of /var/lib/postgresql is a line of its own.",
    is_long=True,
)
def disk_full_of_the_data(broken: Broken) -> Iterator[str]:
    """Have the data on a small disk, and the WAL on another, and fill the first."""
    wal, elsewhere = broken.base / "server/postgresql/data/pg_wal", broken.base / "wal"
    broken.stop()
    broken.database.stop()
    wal.rename(elsewhere)
    wal.symlink_to(elsewhere)
    try:
        with server_on_a_small_disk(broken, "data") as data:
            token = broken.module()
            filler = fill(data)
            # Until the last pages have no room: of the commune's entries, and of the service's own.
            wait_for(lambda: post_event(broken.url, token) == UNAVAILABLE, lambda: "the commune's day is not full")
            posts = ("credential", "add", "--role", "auditor", "--tenant", "albi")
            wait_for(lambda: broken.command(*posts).returncode != 0, lambda: "the service's own day is not full")
            yield ""
            filler.unlink()
    finally:
        broken.stop()
        broken.database.stop()
        wal.unlink()
        elsewhere.rename(wal)
        broken.database.start()
        broken.started()


@breakage(
    "The disk of the database's WAL is full",
    doctor=("database journal on /var/run/postgresql",),
    readiness=("database",),
    log=("database journal on /var/run/postgresql",),
    heals="once `systemctl start postgresql` was typed: PostgreSQL ends where its WAL has no room, and Debian's unit "
    "does not start it again; the service then goes on by itself",
    is_long=True,
)
def disk_full_of_the_wal(broken: Broken) -> Iterator[str]:
    """Have the WAL on a small disk, fill it, and write more than the segment under way has room for."""
    with server_on_a_small_disk(broken, "data/pg_wal") as wal:
        filler = fill(wal)
        for _ in range(3):
            with suppress(OSError, asyncpg.PostgresError):
                noise = "SELECT pg_logical_emit_message(true, 'fill', repeat(md5(random()::text), 1000000))"
                execute(broken, noise)
        yield ""
        filler.unlink()
        broken.database.stop()
        broken.database.start()


@contextmanager
def server_on_a_small_disk(broken: Broken, where: str) -> Iterator[Path]:
    """Have a directory of the server on a disk of its own, with the service ready on it."""
    directory = broken.base / "server" / "postgresql" / where
    broken.stop()
    broken.database.stop()
    try:
        with small_disk(directory, "200m"):
            broken.database.start()
            try:
                broken.started()
                broken.await_failing()
                broken.before = len(broken.log)
                yield directory
                broken.await_failing()
            finally:
                broken.stop()
                broken.database.stop()
    finally:
        broken.database.start()
        broken.started()


LACKS: Final = "journal_ingest lacks a right in database journal on /var/run/postgresql: a grant was taken away; "


@breakage(
    "A grant is lost",
    doctor=(
        f"{LACKS}openepm-journal verify-store names it, and sql/schema.sql has the GRANT to repeat as the owner",
        "FAIL schema: ",
    ),
    readiness=("database",),
    log=(LACKS,),
    heals="by itself, once the GRANT is repeated",
)
def grants_lost(broken: Broken) -> Iterator[str]:
    """Revoke one."""
    execute(broken, "REVOKE USAGE ON SCHEMA journal FROM journal_ingest")
    try:
        yield ""
    finally:
        execute(broken, "GRANT USAGE ON SCHEMA journal TO journal_ingest")


@breakage(
    "PostgreSQL's programs are replaced beneath the running server",
    doctor=("its programs", "restart PostgreSQL, and read its log"),
    readiness=("database",),
    log=("its programs",),
    heals="by itself, once PostgreSQL is restarted, which its Debian package does",
)
def postgresql_replaced(broken: Broken) -> Iterator[str]:
    """Run the server from programs of its own, and take its libraries away, as an upgrade that was cut short does."""
    with programs_of_its_own(broken) as library:
        away = library.with_name("lib.away")
        library.rename(away)
        broken.before = len(broken.log)
        try:
            yield ""
        finally:
            away.rename(library)
            broken.database.stop()
            broken.database.start()


@contextmanager
def programs_of_its_own(broken: Broken) -> Iterator[Path]:
    """Run the server from a copy of its programs; give where its libraries are."""
    found = binaries.find_binaries(major=broken.database._cluster.read_major())
    root = broken.base / "programs"
    copied = root / found.directory.relative_to("/")
    shutil.copytree(found.directory.parent, copied.parent, symlinks=False)
    share = Path("/usr/share/postgresql") / str(found.major)
    if share.exists():
        (root / "usr/share/postgresql").mkdir(parents=True)
        (root / "usr/share/postgresql" / str(found.major)).symlink_to(share)
    former = binaries._candidates
    binaries._candidates = lambda origin: [copied]  # noqa: ARG005
    broken.database.stop()
    try:
        broken.database.start()
        broken.await_failing()
        yield copied.parent / "lib"
    finally:
        binaries._candidates = former
        broken.database.stop()
        broken.database.start()
        shutil.rmtree(root)


@breakage(
    "Another PostgreSQL answers in the place of the journal's",
    doctor=(
        "database journal on /var/run/postgresql holds no journal: it is new, or another server answers at its address",
    ),
    readiness=("database",),
    log=("has no schema journal",),
    heals="by itself, once the journal's server is back at its address (a new major version is given its data by "
    "`pg_upgradecluster`)",
)
def postgresql_of_somebody_else(broken: Broken) -> Iterator[str]:
    """Start an empty cluster where the other was, as the package of the next major version does."""
    ours, away = broken.base / "server", broken.base / "server.away"
    broken.database.stop()
    ours.rename(away)
    try:
        with EmbeddedPostgres(ours) as other:
            open_to_all(other, ours)
            yield ""
    finally:
        shutil.rmtree(ours)
        away.rename(ours)
        broken.database.start()


# The key store


@breakage(
    "The disk of the key store is full",
    doctor=("FAIL disk: keys /var/lib/openepm-journal/keys: 0 MiB free, 0%; make room, or enlarge the file system",),
    readiness=(),
    note="Readiness is right: keys are made seven days ahead, and `keys` fails when fewer than three are left. A "
    "command that writes is refused, with the file: `No space left on device`.",
)
def disk_full_of_the_key_store(broken: Broken) -> Iterator[str]:
    """Have it on a small disk, and fill it."""
    with small_disk(broken.keys):
        filler = fill(broken.keys)
        done = broken.command("tenant", "add", "plein", "--name", "Plein")
        assert (done.returncode, done.stdout) == (2, ""), done.stderr
        assert f"{broken.keys}/tenants" in done.stderr
        assert "No space left on device" in done.stderr
        yield ""
        filler.unlink()
        broken.await_failing()


UNREADABLE: Final = "/var/lib/openepm-journal/keys"


@breakage(
    "The directory of the keys cannot be read",
    doctor=(f"FAIL key store: {UNREADABLE}: Permission denied; mount it, or make it writable for the account of the",),
    readiness=("keys",),
    log=("Permission denied",),
)
def keys_unreadable(broken: Broken) -> Iterator[str]:
    """Take its mode away."""
    broken.keys.chmod(0)
    try:
        yield ""
    finally:
        broken.keys.chmod(0o700)


@breakage(
    "The directory of the keys cannot be read when the service starts",
    doctor=(f"FAIL key store: {UNREADABLE}: Permission denied",),
    readiness=(NOBODY,),
    log=("Permission denied",),
    heals=BY_SYSTEMD,
)
def keys_unreadable_at_the_start(broken: Broken) -> Iterator[str]:
    """Take its mode away from a service that is stopped."""
    broken.stop()
    broken.keys.chmod(0)
    try:
        yield broken.refused()
    finally:
        broken.keys.chmod(0o700)
        broken.started()


@breakage(
    "A replica of the key store is absent",
    doctor=("FAIL key store: /srv/openepm-journal/keys: No such file or directory; mount it, or make it writable",),
    readiness=("facts", "keys"),
    log=("/srv/openepm-journal/keys",),
)
def replica_absent(broken: Broken) -> Iterator[str]:
    """Take it away, as a disk that is not mounted."""
    away = broken.replica.with_name("away")
    broken.replica.rename(away)
    try:
        yield ""
    finally:
        away.rename(broken.replica)


WRONG_KEY: Final = "the master key /etc/openepm-journal/master.key opens none of the tenants' keys in "


@breakage(
    "The master key is another one",
    doctor=(f"FAIL key store: {WRONG_KEY}",),
    readiness=(NOBODY,),
    log=(f"openepm-journal: {WRONG_KEY}",),
    heals=BY_SYSTEMD,
    note="A running service has its key, and goes on; this is its next start.",
)
def wrong_master_key(broken: Broken) -> Iterator[str]:
    """Put another one in its place."""
    broken.stop()
    kept = broken.master_key.read_bytes()
    ledger = broken.keys / "facts" / "ledger"
    before = ledger.read_bytes()
    broken.master_key.write_text("ab" * 32 + "\n")
    try:
        yield broken.refused()
        assert ledger.read_bytes() == before
    finally:
        broken.master_key.write_bytes(kept)
        broken.started()


# The certificate

RENEWED: Final = "once a new one is installed, and the service restarted: it reads its certificate at the start"
IDENTITY: Final = "/var/lib/openepm-journal/identity/signing.pem"
INSTALL: Final = "install one with openepm-journal identity request, then identity install"


@breakage(
    "The certificate has expired",
    doctor=(f"FAIL identity: {IDENTITY} expired on ", f"nothing is sealed or extracted; {INSTALL}"),
    readiness=("certificate",),
    log=("nothing is sealed or extracted until it is renewed",),
    heals=RENEWED,
)
def certificate_expired(broken: Broken) -> Iterator[str]:
    """Have one of three years ago, which is good for two."""
    with certificate_of(broken, 3 * 365):
        yield ""


@breakage(
    "The certificate expires soon",
    code=1,
    doctor=(f"WARN identity: {IDENTITY} expires in 9 days, on ", INSTALL),
    readiness=(),
    heals=RENEWED,
    note="`openepm-journal notify` tells it by mail, for 30 days.",
)
def certificate_expiring(broken: Broken) -> Iterator[str]:
    """Have one that has ten days left."""
    with certificate_of(broken, 2 * 365 - 10):
        yield ""


@contextmanager
def certificate_of(broken: Broken, age_days: int) -> Iterator[None]:
    """Have a certificate of so many days ago for the block."""
    identity, trust = broken.home / "identity", broken.home / "trust.pem"
    kept, anchors = broken.base / "kept", trust.read_bytes()
    broken.stop()
    identity.rename(kept)
    broken.make_identity(SystemClock().now() - timedelta(days=age_days))
    shutil.copy2(kept / "signer.state", identity)
    try:
        broken.started()
        yield
    finally:
        broken.stop()
        shutil.copy2(identity / "signer.state", kept)
        shutil.rmtree(identity)
        kept.rename(identity)
        trust.write_bytes(anchors)
        broken.started()


@breakage(
    "The certificate is of another authority",
    doctor=(
        f"FAIL identity: /var/lib/openepm-journal/trust.pem does not vouch for {IDENTITY}",
        "openepm-journal identity install --trust",
    ),
    readiness=(NOBODY,),
    log=("no certificate in /var/lib/openepm-journal/trust.pem vouches for the signing certificate",),
    heals=BY_SYSTEMD,
)
def certificate_of_another_authority(broken: Broken) -> Iterator[str]:
    """Put another authority's root in the place of ours."""
    trust, other = broken.home / "trust.pem", broken.base / "other"
    kept = trust.read_bytes()
    make_development_authority(other, SERVICE, SystemClock().now(), trust_path=other / "trust.pem")
    trust.write_bytes((other / "trust.pem").read_bytes())
    try:
        yield broken.refused()
    finally:
        shutil.rmtree(other)
        trust.write_bytes(kept)
        broken.started()


# The clock

DIFFER: Final = (
    "no entry can be written: the clocks of this machine and of database journal on /var/run/postgresql differ"
)


@breakage(
    "The clock of the host is 3 h ahead from the start",
    doctor=(DIFFER, "correct the wrong one (timedatectl)"),
    readiness=("database",),
    log=(DIFFER,),
    heals="once the clock is right and the service restarted: it cannot tell which of the two times was right",
    note="The database's clock is right here, as on another host. Where both are wrong, only a time-stamping authority "
    "shows it: the start is then refused.",
)
def clock_ahead(broken: Broken) -> Iterator[str]:
    """Start the service on it."""
    broken.stop()
    broken.move_clock(3)
    try:
        broken.started()
        yield ""
    finally:
        broken.stop()
        broken.move_clock(0)
        broken.started()


@breakage(
    "The clock of the host is 3 h behind at the start",
    doctor=(DIFFER, "correct the clock (timedatectl)"),
    readiness=(NOBODY,),
    log=("openepm-journal: this machine's clock says ", "correct the clock (timedatectl), or, if it is right"),
    heals=BY_SYSTEMD,
)
def clock_behind(broken: Broken) -> Iterator[str]:
    """Try to start the service on it."""
    broken.stop()
    broken.move_clock(-3)
    try:
        yield broken.refused()
    finally:
        broken.move_clock(0)
        broken.started()


MOVED: Final = "while the service ran: nothing more is written, sealed or purged; correct the clock (timedatectl)"


@breakage(
    "The clock of the host is moved by 3 h while the service runs",
    doctor=(DIFFER,),
    readiness=("clock",),
    log=(MOVED,),
)
def clock_moved(broken: Broken) -> Iterator[str]:
    """Move it."""
    broken.move_clock(3)
    try:
        yield ""
    finally:
        broken.move_clock(0)


@breakage(
    "The clock of the host is moved back by 3 h while the service runs",
    doctor=(DIFFER,),
    readiness=("clock",),
    log=(MOVED,),
)
def clock_moved_back(broken: Broken) -> Iterator[str]:
    """Move it."""
    broken.move_clock(-3)
    try:
        yield ""
    finally:
        broken.move_clock(0)


# The authority of time

ASKED: Final = "the authority could not be asked (Connection refused)"


@breakage(
    "The time-stamping authority is down",
    code=1,
    doctor=(
        f"WARN time-stamping: 127.0.0.1:8318: {ASKED}; 0 close seals wait for a time-stamp; nothing else waits for it",
        "it is asked again by itself, at least every ten minutes",
    ),
    readiness=(),
    note="Nothing waits for it but close seals, so the log is silent until the first midnight after: `not time-stamped "
    "yet`, with the authority and the reason, once for each reason. Readiness fails (`timestamps`) once seals have "
    "waited for a day.",
)
def time_stamping_authority_down(broken: Broken) -> Iterator[str]:
    """End the authority, which the service has known since its start."""
    broken.stop()
    directory = broken.base / "authority"
    directory.mkdir()
    authority = Authority(directory)
    server = serve_time(authority, 0)
    chosen = {
        "JOURNAL_TSA_URL": f"http://127.0.0.1:{server.server_port}/tsa",
        "JOURNAL_TSA_TRUST": str(authority.trust_path),
    }
    broken.settings |= chosen
    broken.places[f"127.0.0.1:{server.server_port}"] = "127.0.0.1:8318"
    try:
        broken.started()
        broken.await_failing()
        broken.await_fine()
        end(server)
        yield ""
        server = serve_time(authority, server.server_port)
        broken.await_fine()
    finally:
        end(server)
        broken.stop()
        for name in chosen:
            del broken.settings[name]
        shutil.rmtree(directory)
        broken.started()


def serve_time(authority: Authority, port: int) -> ThreadingHTTPServer:
    """Run an authority on the loopback."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            answer = authority.reply(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.send_header("Content-Type", REPLY_TYPE)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    return server


def end(server: ThreadingHTTPServer) -> None:
    """End it, and free its port."""
    server.shutdown()
    server.server_close()


# The rest


@breakage(
    "The port is taken by another program",
    doctor=(
        "FAIL service: what holds 127.0.0.1:8470 does not answer as the service does",
        "see who holds the port: ss -ltnp 'sport = :8470'",
    ),
    readiness=(NOBODY,),
    log=("openepm-journal: cannot listen on 127.0.0.1:8470: Address already in use",),
    heals=BY_SYSTEMD,
    note="Under the package's units systemd holds the port from the boot on, and nobody else can take it.",
)
def port_taken(broken: Broken) -> Iterator[str]:
    """Take it, as something that is no HTTP server."""
    broken.stop()
    taken = socket.create_server(("127.0.0.1", broken.port))
    answering = Thread(target=greet, args=(taken,), daemon=True)
    answering.start()
    try:
        yield broken.refused()
    finally:
        taken.shutdown(socket.SHUT_RDWR)
        answering.join()  # which closes it
        broken.started()


def greet(listener: socket.socket) -> None:
    """Answer as a mail server."""
    with listener:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.sendall(b"220 mail.example.fr ESMTP\r\n")


def execute(broken: Broken, statement: str) -> None:
    """Run a statement as the superuser."""

    async def run() -> None:
        connection = await asyncpg.connect(broken.database.dsn(SUPERUSER))
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    asyncio.run(run())
