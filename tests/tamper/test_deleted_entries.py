"""An entry that was acknowledged and deleted before any seal: its receipt and an extract convict the host, no one else.

The host has every key and every privilege. It deletes rows, makes its own chain again from there, restarts, and seals.
"""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from journal.reading.plan import ExtractRequest
from journal.verifier.cli import main
from tests.support.rig import CATEGORY, TENANTS, open_rig
from tests.support.world import PERSON

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import date
    from pathlib import Path

    import asyncpg

    from tests.support.rig import Rig

ALBI = TENANTS[0]
PLACE = f"tenant = '{ALBI}' AND category = '{CATEGORY}'"


@pytest.fixture
async def rig(dsn: str, tmp_path: Path) -> AsyncIterator[Rig]:
    """A service whose writer runs, with its receipt key."""
    async with open_rig(dsn, tmp_path) as running:
        await running.service.receipt_keys.prepare()
        yield running


async def forget_from(superuser: asyncpg.Connection, index: int) -> None:
    """Delete a chain's entries from an index on, as somebody whom no trigger stops."""
    await superuser.execute("SET session_replication_role = replica")
    await superuser.execute(f"DELETE FROM journal.entry WHERE {PLACE} AND index >= $1", index)
    await superuser.execute(
        f"UPDATE journal.head SET size = $1::bigint, chain_hash = (SELECT chain_hash FROM journal.entry WHERE {PLACE} "
        f"AND index = $1::bigint - 1) WHERE {PLACE}",
        index,
    )


async def extracted(rig: Rig, day: date) -> bytes:
    """Return the extract of a day."""
    request = ExtractRequest(from_day=day, to_day=day, purpose="lawfulness", requester="DPD", person=PERSON)
    chunks = (
        await rig.service.extraction.open(rig.compartment(), request, requested_by="test", disclose=True)
    ).chunks()
    return b"".join([chunk async for chunk in chunks])


def told(rig: Rig, capsys: pytest.CaptureFixture[str], extract: Path, *receipts: Path) -> tuple[int, dict[str, Any]]:
    """Return how `journal-verify` exits and what it prints: all that a third party needs is in these files."""
    trust = str(rig.service.settings.trust_path)
    capsys.readouterr()  # what the service logged
    status = main([str(extract), "--json", "--trust", trust, "--receipt", *map(str, receipts)])
    return status, json.loads(capsys.readouterr().out)


async def test_a_deleted_entry_with_the_chain_made_again(
    rig: Rig, superuser: asyncpg.Connection, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The events that followed are recorded again without it: everything verifies, but for its receipt."""
    day = rig.clock.now().date()
    before, hidden, after = rig.events("before"), rig.events("hidden"), rig.events("after")
    for name, events in (("before", before), ("hidden", hidden), ("after", after)):
        (tmp_path / name).write_bytes((await rig.submit(events)).body)
    await forget_from(superuser, 1)
    restarted = await rig.open_another()
    (again,) = await restarted.submit(after)
    assert (again.created, again.receipt.index) == (True, 1)
    (tmp_path / "extract").write_bytes(await extracted(restarted, day))
    assert told(rig, capsys, tmp_path / "extract", tmp_path / "before")[0] == 0
    status, said = told(rig, capsys, tmp_path / "extract", tmp_path / "before", tmp_path / "hidden")
    assert (status, said["verified"], said["verdict"], said["part"]) == (1, False, "missing", "hidden")
    assert "entry 1 is another one" in said["reason"]
    assert [receipt["verdict"] for receipt in said["receipts"]] == ["covered", "missing"]


async def test_deleted_last_entries(
    rig: Rig, superuser: asyncpg.Connection, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing followed: the chain is shorter. A quarter of an hour later, or once its day is closed, that convicts."""
    day = rig.clock.now().date()
    await rig.submit(rig.events("before"))
    (tmp_path / "hidden").write_bytes((await rig.submit(rig.events("hidden"))).body)
    await forget_from(superuser, 1)
    restarted = await rig.open_another()
    (tmp_path / "at once").write_bytes(await extracted(restarted, day))
    status, said = told(rig, capsys, tmp_path / "at once", tmp_path / "hidden")
    assert (status, said["receipts"][0]["verdict"]) == (2, "not yet sealed")
    await restarted.travel(rig.clock.now() + timedelta(minutes=16))
    (tmp_path / "later").write_bytes(await extracted(restarted, day))
    assert told(rig, capsys, tmp_path / "later", tmp_path / "hidden")[1]["verdict"] == "missing"
    await restarted.travel_to_day(day + timedelta(days=1))
    await restarted.service.sealer.close_due_days()
    (tmp_path / "closed").write_bytes(await extracted(restarted, day))
    status, said = told(rig, capsys, tmp_path / "closed", tmp_path / "hidden")
    assert (status, said["verdict"]) == (1, "missing")
    assert "holds 1 entries" in said["reason"]
