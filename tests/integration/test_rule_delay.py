"""A shorter rule is announced at once and obeyed days later; what concerns communes is in their own journals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from journal.cli.parser import make_parser
from journal.core.errors import OperatorError
from tests.support.rule_changes import LONG, live, row_of
from tests.support.world import DAY, FIRST, OTHER_TENANT, TENANT, World, new_world

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from journal.database.embedded import EmbeddedPostgres

pytestmark = pytest.mark.usefixtures("no_documents")

LIVED = 7
DELAY_DAYS = 7


@pytest.fixture
async def slow(postgres: EmbeddedPostgres, tmp_path: Path) -> AsyncIterator[World]:
    """An installation with a category kept ten days, where a shorter rule waits seven days."""
    async with new_world(postgres, tmp_path, rule_delay_days=DELAY_DAYS) as made:
        await made.installation.administration.add_category(LONG)
        await made.installation.maintenance.prepare()
        yield made


async def told(world: World, tenant: str, kind: str) -> list[dict[str, Any]]:
    """Return the data of the entries of a kind in a commune's journal of the journal."""
    entries = world.service.chronicle.entries(tenant, kind, since=FIRST)
    return [entry.event["data"] async for entry in entries]


async def kept(world: World) -> list[int]:
    """Return the days on disk up to today, counted from 0."""
    rows = await world.service.store.partitions()
    return [(row.day - FIRST).days for row in rows if row.category == LONG.code and row.day <= world.today]


async def test_a_shorter_rule_waits(slow: World) -> None:
    """Announced on the day in every journal, with its instruction; nothing is purged or hidden before its time."""
    await live(slow, 0, LIVED - 1)
    asked = slow.today
    set_category = slow.installation.administration.set_category
    await set_category(LONG.code, instruction="AVENANT-3", retention_days=4)
    for tenant in (TENANT, OTHER_TENANT):
        announced = [data for data in await told(slow, tenant, "setting") if data.get("instruction") == "AVENANT-3"]
        assert [data["effective_from"] for data in announced] == [(asked + DELAY_DAYS * DAY).isoformat()]
    await slow.installation.purger.run(max_days=None)
    assert sorted(await kept(slow)) == list(range(LIVED + 1))
    slow.verify(await slow.extract(FIRST, slow.today, category=LONG.code))
    row = await row_of(slow)
    assert (row.retention_days, row.stated_days, row.next_retention_days) == (10, 10, 4)
    await live(slow, LIVED, LIVED + DELAY_DAYS - 1)
    await slow.installation.purger.run(max_days=None)
    row = await row_of(slow)
    assert (row.retention_days, row.stated_days, row.next_retention_days) == (4, 4, None)
    assert min(await kept(slow)) == LIVED + DELAY_DAYS - 2
    assert await slow.audit() == []


async def test_a_rule_taken_back_while_it_waits(slow: World) -> None:
    """Nothing was lost."""
    await live(slow, 0, LIVED - 1)
    set_category = slow.installation.administration.set_category
    await set_category(LONG.code, instruction="AVENANT-3", retention_days=4)
    await set_category(LONG.code, instruction="AVENANT-4", retention_days=10)
    await live(slow, LIVED, LIVED)
    row = await row_of(slow)
    assert (row.retention_days, row.next_retention_days) == (10, None)
    assert min(await kept(slow)) == 0


async def test_no_rule_changes_without_an_instruction(slow: World) -> None:
    """Neither by the command, nor by an empty reference; the basis of a rule is kept and changed like the rest."""
    with pytest.raises(SystemExit):
        make_parser().parse_args(["category", "set", LONG.code, "--retention-days", "4"])
    set_category = slow.installation.administration.set_category
    with pytest.raises(OperatorError, match="--instruction"):
        await set_category(LONG.code, instruction=" ", retention_days=4)
    assert (await row_of(slow)).basis == "contrat, art. 13.2"
    await set_category(LONG.code, instruction="AVENANT-5", basis="décret 2026-1, art. 4")
    assert (await row_of(slow)).basis == "décret 2026-1, art. 4"
    assert (await told(slow, TENANT, "setting"))[-1]["basis"] == "décret 2026-1, art. 4"
    with pytest.raises(OperatorError, match="--basis"):
        await set_category(LONG.code, instruction="AVENANT-6", basis="")


@pytest.mark.usefixtures("commands_on_the_clock_of_the_world")
async def test_a_copy_of_keys_is_told_to_those_whose_keys_are_new_in_it(world: World, tmp_path: Path) -> None:
    """Once to each commune: the nightly update of the copy tells nothing new."""
    copy = tmp_path / "copy"
    copy.mkdir()
    arguments = make_parser().parse_args(["keys", "backup", "--to", str(copy)])
    settings = msgspec.structs.replace(world.settings, dsn=world.dsn)
    for _ in range(2):
        assert await arguments.run(settings, arguments) == 0
    for tenant in (TENANT, OTHER_TENANT):
        assert [data for data in await told(world, tenant, "setting") if data["change"] == "key copied"] == [
            {"change": "key copied"}
        ]
    assert (copy / "facts" / "ledger").read_bytes() == (world.settings.keystore_path / "facts" / "ledger").read_bytes()


@pytest.mark.usefixtures("commands_on_the_clock_of_the_world")
async def test_a_declared_loss_is_told_to_everybody(world: World) -> None:
    """In every commune's journal, once, also where the command is repeated."""
    await world.record(1)
    await world.seal()
    latest = await world.service.store.latest_seal()
    assert latest is not None
    settings = msgspec.structs.replace(world.settings, dsn=world.dsn)
    arguments = make_parser().parse_args(["recover", "--declare-loss", str(latest.number)])
    assert await arguments.run(settings, arguments) == 0
    for tenant in (TENANT, OTHER_TENANT):
        assert await told(world, tenant, "alarm") == [{"alarm": "declared loss", "recovered_from": latest.number}]
