"""`kill -9` of PHP and of the service beside: what the connector accepted is stored once, in order."""

from __future__ import annotations

import asyncio
import random
import signal
from typing import TYPE_CHECKING

import pytest

from tests.support.php import Connector
from tests.support.serving import Serving, found_site

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from journal.database.embedded import EmbeddedPostgres

    Record = Callable[[str, object], None]

SEED = 20261128
# A module that records without end, and tells each number once it is accepted: the ledger outside.
PAGE = """
for ($i = (int) $argv[1]; ; $i++) {
    if ($j->record('consultation', null, "R-$i", ['justification' => 'Relecture'], [])) { echo "$i\\n"; }
}
"""
FLUSH = "while (true) { $j->flush(5.0); usleep(1000); }"


async def _start(connector: Connector, code: str, *arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *connector.program(code), "--", *arguments, stdout=asyncio.subprocess.PIPE
    )


async def _record_until(connector: Connector, first: int, count: int) -> tuple[list[int], int]:
    """Let a page accept some events, then kill it; return what it told, and a number above all that it used."""
    page = await _start(connector, PAGE, str(first))
    assert page.stdout is not None
    told = [int(await page.stdout.readline()) for _ in range(count)]
    page.send_signal(signal.SIGKILL)
    told += [int(line) for line in (await page.stdout.read()).splitlines(keepends=True) if line.endswith(b"\n")]
    await page.wait()
    return told, told[-1] + 2


@pytest.mark.needs("php")
@pytest.mark.parametrize(
    ("kills", "outages", "most"), [(10, 1, 30), pytest.param(200, 4, 200, marks=pytest.mark.campaign)]
)
async def test_kill_9_of_php(
    kills: int, outages: int, most: int, cluster: EmbeddedPostgres, tmp_path: Path, record_property: Record
) -> None:
    """PHP killed at random instants, page and sender, and the service beside: nothing accepted is lost or doubled."""
    draw = random.Random(SEED)
    site = await found_site(tmp_path / "service", cluster.dsn())
    connector = Connector.install(site, tmp_path / "module")
    serving = await Serving.start(site)
    await serving.ready()
    ledger: list[int] = []
    number = 1
    sender = await _start(connector, FLUSH)
    for kill in range(kills):
        if kill % (kills // outages) == kills // outages // 2:
            await serving.kill()
        accepted, number = await _record_until(connector, number, draw.randrange(1, most))
        ledger += accepted
        sender.kill()
        await sender.wait()
        if serving.process.returncode is not None:
            serving = await Serving.start(site)
            await serving.ready()
        sender = await _start(connector, FLUSH)
    sender.kill()
    await sender.wait()
    assert await asyncio.to_thread(connector.flush) == ""
    events = await connector.entries()
    assert await serving.stop() == 0
    stored = [int(event["subject"].removeprefix("R-")) for event in events]
    sequences = [int(event["sequence"]) for event in events]
    lost = set(ledger) - set(stored)
    assert not lost
    assert len(set(stored)) == len(stored)
    # One more at a kill: what was written when PHP ended, before it could tell.
    assert len(stored) <= len(ledger) + kills
    assert sequences == list(range(1, len(events) + 1))
    assert stored == sorted(stored)
    record_property(
        "evidence",
        f"PHP: {kills} kills of a page and as many of its sender, {outages} of the service: {len(ledger)} events "
        f"accepted, {len(stored)} stored: {len(lost)} lost, {len(stored) - len(set(stored))} doubled, in order",
    )
