"""An upgrade with a change of the schema, and the way back, under load: nothing is lost, nobody is refused.

Two trees of the program, as two packages install them, run in turn as systemd runs them: on a socket that it holds.
"""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import asyncpg
import pytest

from tests.support import forks
from tests.support.later import ADDED, make_later
from tests.support.posting import CLIENTS, posting
from tests.support.serving import SERVICE_PROGRAM, Site, found_site
from tests.support.supervisor import heard, listen, start

if TYPE_CHECKING:
    from collections.abc import Callable

    from journal.database.embedded import EmbeddedPostgres

HERE = Path(__file__).parents[2]
PACKAGES = ("journal", "ingest", "retention", "sql")
STOP_SECONDS = 120
READY_SECONDS = 60


@pytest.fixture
async def later(tmp_path: Path, postgres: EmbeddedPostgres) -> Path:
    """The next version, in a tree of its own: this one, with a migration that adds a table."""
    tree = tmp_path / "next"
    for name in PACKAGES:
        # With what is compiled of it: what `make_later` changes is compiled again.
        shutil.copytree(HERE / name, tree / name)
    await make_later(tree, postgres)
    return tree


def program_of(tree: Path | None) -> dict[str, str]:
    """Return the variables with which Python finds the program in a tree, or the installed one."""
    return {"PYTHONSAFEPATH": "1"} | ({"PYTHONPATH": str(tree)} if tree else {})


async def command(site: Site, tree: Path | None, *words: str, code: int = 0) -> str:
    """Run a command of one of the two trees, which must end so; return what it says. The installed one's is forked."""
    if tree is None:
        done = await asyncio.to_thread(forks.run, words, site.environment)
        assert done.returncode == code, done.stderr
        return done.stdout + done.stderr
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *SERVICE_PROGRAM,
        *words,
        env=site.environment | program_of(tree),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    assert process.returncode == code, said.decode()
    return said.decode()


async def await_ready(site: Site, tree: Path | None) -> None:
    """Wait until every check of readiness passes; if one goes on failing, `doctor` says why."""
    deadline = time.monotonic() + READY_SECONDS
    async with aiohttp.ClientSession() as session:
        while True:
            async with session.get(f"{site.url}/readyz") as answer:
                if answer.status == 200:
                    return
            if time.monotonic() > deadline:
                raise AssertionError(await command(site, tree, "doctor", code=2))
            await asyncio.sleep(0.2)


@pytest.mark.parametrize("rate", [5, pytest.param(100, marks=pytest.mark.campaign)])
@pytest.mark.long
async def test_upgraded_and_brought_back_under_load(
    rate: int, dsn: str, tmp_path: Path, later: Path, record_property: Callable[[str, object], None]
) -> None:
    """The schema is migrated under the running older version, which calls it sound; then each takes its turn."""
    site = await found_site(tmp_path / "var", dsn)
    path, told = str(tmp_path / "notify"), Counter[str]()
    with socket.socket() as held, listen(path) as notified:
        held.bind(("127.0.0.1", site.port))
        held.listen(512)
        running = start(site.environment, held, path)
        try:
            await heard(notified, b"READY=1")
            async with posting(site, told, rate):
                assert ADDED in await command(site, later, "migrate")
                assert await command(site, later, "--version") != await command(site, None, "--version")
                # The version before goes on, on a schema that the key store knows.
                assert "everything verifies" in await command(site, None, "verify-store")
                await await_ready(site, None)
                for tree in (later, None):
                    running.terminate()
                    assert await asyncio.to_thread(running.wait, STOP_SECONDS) == 0
                    running = start(site.environment | program_of(tree), held, path)
                    await heard(notified, b"READY=1")
                    before = told["201"]
                    while told["201"] == before:  # noqa: ASYNC110 - each answer is counted
                        await asyncio.sleep(0.05)
                    await await_ready(site, tree)
                    assert "everything verifies" in await command(site, tree, "verify-store")
        finally:
            running.terminate()
            assert await asyncio.to_thread(running.wait, STOP_SECONDS) == 0
    record_property("evidence", f"upgrade and back under {CLIENTS * rate} events/s: {dict(told)}")
    assert set(told) == {"201"}, told
    owner = await asyncpg.connect(site.superuser_dsn)
    recorded = await owner.fetchval("SELECT count(*) FROM journal.entry WHERE category = 'main-courante'")
    applied = [row["name"] for row in await owner.fetch("SELECT name FROM journal.migration ORDER BY number")]
    await owner.close()
    assert recorded == told["201"]
    assert applied[-1] == ADDED
