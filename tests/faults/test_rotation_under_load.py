"""The master key replaced while modules post, `kill -9` meanwhile: nothing is refused, everything opens."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING

import pytest

from journal.core.errors import KeyStoreError
from journal.keys.copy import follow
from journal.keys.rotation import rotate
from journal.keys.store import KeyStore
from journal.keys.wrapped import MasterKey
from tests.faults.purging import ended
from tests.faults.rotating import start, stores_in
from tests.support.posting import posting
from tests.support.serving import SERVICE_PROGRAM, Serving, Site, found_site

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

RATE = 10
SAMPLE = 3


def count_opened(home: Path, master: bytes) -> tuple[int, int]:
    """Return how many keys there are in the key store and its copy, and how many of them open under a master key."""
    count = opened = 0
    for directory in ("keys", "copy"):
        store = KeyStore(home / directory, master)
        reads = [partial(store.read_tenant_key, tenant) for tenant in store.tenant_keys()]
        categories = [path.name for path in (home / directory / "days").iterdir()]
        reads += [partial(store.read_day_key, code, day) for code in categories for day in store.day_keys(code)]
        for read in reads:
            count += 1
            try:
                read()
            except KeyStoreError:
                continue
            opened += 1
    return count, opened


async def verify_store(site: Site) -> str:
    """Open and compare every entry with the command; return what it says."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *SERVICE_PROGRAM,
        "verify-store",
        env=site.environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    return said.decode()


@pytest.mark.parametrize("places", [SAMPLE, pytest.param(0, marks=pytest.mark.campaign)], ids=["sample", "every"])
async def test_replaced_under_load(
    places: int, dsn: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """Killed at a place, repeated to the end: each event is taken, every key opens, and none under the old one."""
    site = await found_site(tmp_path / "var", dsn)
    home, told = site.home, Counter[str]()
    master = home / "master.key"
    (home / "copy").mkdir()
    store, copy = stores_in(home)
    follow(copy, store)
    count = 0
    async with await Serving.start(site):
        async with posting(site, told, RATE):
            # The first one has more to do: its copy was not whole.
            await ended(start(home))
            operations = await ended(start(home))
            assert operations >= 20, operations
            step = operations // places if places else 1
            for number in range(1, operations + 1, step):
                when = "before" if count % 2 else "after"
                old = MasterKey.read(master).current
                assert await ended(start(home, (number, when))) == -signal.SIGKILL, (number, when)
                before = told["201"]
                while told["201"] == before:  # noqa: ASYNC110 - each answer is counted
                    await asyncio.sleep(0.02)
                # Killed at the very end, it has nothing more to do; repeated then, it would begin another one.
                if (now := MasterKey.read(master)).other is not None or now.current == old:
                    done = await asyncio.to_thread(lambda: rotate(master, stores_in(home)))
                    assert done.stage == "finished"
                total, opened = await asyncio.to_thread(count_opened, home, old)
                assert (opened, total > 0) == (0, True), (number, when)
                new = MasterKey.read(master).current
                assert await asyncio.to_thread(count_opened, home, new) == (total, total), (number, when)
                count += 1
        assert "everything verifies" in await verify_store(site)
    record_property("evidence", f"master key replaced under load, kill -9 at {count} places: {dict(told)}")
    assert set(told) == {"201"}, told
