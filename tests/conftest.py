"""A real PostgreSQL for the tests that need one: a server per test process, a fresh database per test."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import gc
import importlib
import os
import shutil
import sys
import tempfile
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import pytest
from hypothesis import HealthCheck, settings
from structlog.testing import capture_logs

import sql
from journal.cli import installation
from journal.database import cluster
from journal.database.embedded import SUPERUSER, EmbeddedPostgres
from journal.database.migrate import migrate
from journal.database.store import Store
from tests.support.chains import SERVICE
from tests.support.databases import fresh_database, kept_superuser
from tests.support.ending import make_no_documents
from tests.support.forks import fork_children
from tests.support.loops import Policy
from tests.support.memory import choose_directory
from tests.support.rig import rig_database
from tests.support.world import World, new_world

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from journal.database.binaries import Origin

ORIGINS: dict[str, Origin] = {"any": "any", "debian": "distribution", "wheel": "wheel"}

STARTING_SECONDS = 60

# The server of the tests makes thousands of databases: making and dropping one looks at every buffer, each of its
# sessions would load the language of our functions, and none lives long enough to be vacuumed.
FOR_MANY_DATABASES = {"shared_buffers": "32MB", "shared_preload_libraries": "plpgsql", "autovacuum": "off"}

# The same examples in every run, so that a commit passes or does not. These machines are noisy: how long an example
# takes says nothing. `make campaign` looks for others, with the profile `search`.
FIXED = settings(
    settings.get_profile("default"),
    deadline=None,
    derandomize=True,
    database=None,
    max_examples=50,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("journal", FIXED)
settings.register_profile("search", FIXED, derandomize=False, max_examples=2000, print_blob=True)
settings.load_profile("journal")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let a run choose its PostgreSQL."""
    parser.addoption(
        "--postgres", choices=sorted(ORIGINS), default="any", help="the distribution's PostgreSQL, or the wheel's"
    )
    parser.addoption("--fuzz-seconds", type=float, help="how long the verifier is fuzzed, whatever the test says")
    parser.addoption("--fuzz-seed", type=int, help="begin the fuzzing where an earlier run did")


def pytest_configure() -> None:
    """Choose the service's event loop, and put what tests write in memory where there is room: it is synced."""
    gc.disable()  # until everything is loaded
    asyncio.set_event_loop_policy(Policy())
    if (directory := choose_directory()) is not None:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(directory))


def pytest_collection(session: pytest.Session) -> None:
    """Import the whole suite's modules before they are collected, in each process beginning with others.

    In a fresh clone each compiles its share, and finds the rest compiled, where all would compile all of them.
    """
    config = session.config
    if "PYTEST_XDIST_WORKER" not in os.environ or config.args_source is not pytest.Config.ArgsSource.TESTPATHS:
        return
    ignored = {Path(path).resolve() for path in config.getoption("ignore") or ()}
    paths = [path for path in sorted(Path(__file__).parent.glob("*/test_*.py")) if ignored.isdisjoint(path.parents)]
    number = int(os.environ["PYTEST_XDIST_WORKER"].removeprefix("gw"))
    first = len(paths) * number // int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for path in paths[first:] + paths[:first]:
            # As pytest imports it, which tells what fails: it then tries again.
            if str(path.parent) not in sys.path:
                sys.path.insert(0, str(path.parent))
            with contextlib.suppress(Exception, pytest.skip.Exception):
                importlib.import_module(path.stem)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes long, in each process: each gets as many tests as the others, one after the other."""
    processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    long = [item for item in items if item.get_closest_marker("long")]
    short = [item for item in items if not item.get_closest_marker("long")]
    share = len(items) // processes
    items.clear()
    for process in range(processes):
        first = long[process::processes]
        some = len(short) if process == processes - 1 else share - len(first)
        items += first + short[:some]
        del short[:some]


def pytest_collection_finish() -> None:
    """Keep all that is loaded out of every later collection of what is not used any more: a tenth of a test's time."""
    gc.collect()
    gc.freeze()
    gc.enable()


def _sweep(directory: Path) -> None:
    """Remove what killed runs left in memory: clusters whose owner's lock nobody holds, or is about to hold."""
    for lock in directory.glob("oej-test-*/postgresql/owner.lock"):
        with contextlib.suppress(OSError), lock.open("ab") as file:
            if time.time() - lock.stat().st_ctime < STARTING_SECONDS:
                continue
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(lock.parents[1], ignore_errors=True)


@pytest.fixture(scope="session", autouse=True)
def _children_are_forked() -> Iterator[None]:
    """Fork signers and makers of documents."""
    with pytest.MonkeyPatch.context() as patch:
        fork_children(patch.setattr)
        yield


@pytest.fixture(scope="session")
def postgres(pytestconfig: pytest.Config) -> Iterator[EmbeddedPostgres]:
    """Run a server whose database `journal` is migrated and serves as template: do not connect to it."""
    # Not pytest's own temporary directory: that one keeps the last three clusters. In memory where there is room: what
    # these tests prove does not rest on the disk, and a checkpoint per dropped database would be most of their time.
    directory = choose_directory()
    if directory is not None:
        _sweep(directory)
    with tempfile.TemporaryDirectory(prefix="oej-test-", dir=directory) as home:
        server = EmbeddedPostgres(Path(home), origin=ORIGINS[pytestconfig.getoption("postgres")])
        with contextlib.ExitStack() as stack, ThreadPoolExecutor(1) as other_thread:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(cluster, "SETTINGS", cluster.SETTINGS | FOR_MANY_DATABASES)
                stack.enter_context(server)
            # The fixtures' own loop stays untouched.
            other_thread.submit(asyncio.run, migrate(server.dsn())).result()
            with kept_superuser(server):
                yield server


@pytest.fixture
async def dsn(request: pytest.FixtureRequest, postgres: EmbeddedPostgres) -> AsyncIterator[str]:
    """Give the owner's address of a fresh, migrated database: empty, or, for a test that has a rig, the rig's."""
    if "rig" in request.fixturenames:
        async with rig_database(postgres) as address:
            yield address
        return
    async with fresh_database(postgres) as name:
        yield postgres.dsn(database=name)


@pytest.fixture
async def world(request: pytest.FixtureRequest, postgres: EmbeddedPostgres, tmp_path: Path) -> AsyncIterator[World]:
    """A whole service of two communes on a clock that tests move; `pytest.mark.world(made_by=maker)` fills it."""
    chosen = request.node.get_closest_marker("world")
    make = chosen.kwargs["made_by"] if chosen else new_world
    async with make(postgres, tmp_path / "home") as made:
        yield made


@pytest.fixture
def no_documents(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let extracts go without their documents, but for a test marked `documents`."""
    if request.node.get_closest_marker("documents") is None:
        make_no_documents(monkeypatch)


@pytest.fixture
def commands_on_the_clock_of_the_world(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let commands live by the world's clock, as its database does; the log is kept apart from what they say."""
    monkeypatch.setattr(installation, "SystemClock", lambda: world.clock)
    with capture_logs():
        yield


@pytest.fixture
async def store(dsn: str) -> AsyncIterator[Store]:
    """Open a store on a fresh database where the service `journal.test` is created, and nothing else."""
    async with await Store.connect(dsn, application="test") as connected:
        await connected.create_service(SERVICE)
        yield connected


@pytest.fixture
async def owner(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """Open the owner's own connection to the test's database: to look, and to do harm."""
    connection = await asyncpg.connect(dsn)
    yield connection
    await connection.close()


@pytest.fixture
async def superuser(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """Open the superuser's connection to the test's database: to look where the owner may not, and to kill."""
    connection = await asyncpg.connect(dsn, user=SUPERUSER)
    yield connection
    await connection.close()


@pytest.fixture
async def move_clock(owner: asyncpg.Connection) -> Callable[..., Awaitable[None]]:
    """Put the database's clock ahead of the real one by `timedelta`'s arguments, each call from the real time."""
    await owner.execute(sql.read("simulated_clock.sql"))

    async def move(**ahead: float) -> None:
        await owner.execute("UPDATE journal.simulated_clock SET ahead = $1", timedelta(**ahead))

    return move
