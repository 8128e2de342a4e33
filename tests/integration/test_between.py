"""Where the pieces of retention meet: contracts that end, rules that change, databases that a backup brings back."""

from __future__ import annotations

import shutil
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

import pytest

from journal.admin.administration import NewCategory
from journal.audit.run import Audit
from journal.cli.parser import make_parser
from journal.core.errors import OperatorError
from journal.keys.store import open_keystore
from retention.attestation import Attestations
from tests.support.ending import PEM, destroy
from tests.support.world import CATEGORY, DAY, OTHER_TENANT, TENANT, World, new_world, settings_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from journal.database.embedded import EmbeddedPostgres

# Kept three days, of the four that the service has lived until now.
BRIEF, BRIEF_DAYS, LIVED = "breve", 3, 4


@asynccontextmanager
async def real_time_world(postgres: EmbeddedPostgres, home: Path) -> AsyncIterator[World]:
    """A service with entries of both communes of each of four days, up to now: the real commands may open it."""
    now = datetime.now(UTC)
    async with new_world(postgres, home, start=now - LIVED * DAY) as made:
        category = NewCategory(code=BRIEF, label="Brève", retention_days=BRIEF_DAYS)
        await made.installation.administration.add_category(category)
        for number in range(LIVED):
            await made.travel(now - (LIVED - number) * DAY)
            for tenant in (TENANT, OTHER_TENANT):
                await made.record(2, tenant=tenant, category=BRIEF)
                await made.record(1, tenant=tenant)
            await made.seal()
        # The clocks are the machine's own again, by which the commands live.
        await made.travel(datetime.now(UTC))
        await made.seal()
        yield made


pytestmark = pytest.mark.world(made_by=real_time_world)


def day(world: World, number: int) -> date:
    """Return one of the days that were lived, from 0."""
    return world.today - (LIVED - number) * DAY


async def typed(world: World, *words: str) -> int:
    """Run a command as it is typed; return its exit code."""
    arguments = make_parser().parse_args(words)
    code: int = await arguments.run(settings_of(world), arguments)
    return code


async def recovered(world: World) -> int:
    """Type `recover --declare-loss` as its own message says, on a database that is behind its key store."""
    number = (await world.service.store.seal_state()).number
    code = await typed(world, "recover", "--declare-loss", str(number))
    await world.service.snapshot.refresh()
    return code


async def problems(world: World) -> dict[str, str]:
    """Return what readiness says is wrong."""
    return {name: reason for name, reason in (await world.service.checks.run()).items() if reason}


class TestRestored:
    """A database from before what the key store knows."""

    async def test_a_commune_destroyed_and_days_purged(self, world: World, capsys: pytest.CaptureFixture[str]) -> None:
        """What went is recorded, though a commune that it was of takes no entry any more; that one is named."""
        keystore = open_keystore(world.settings)
        keystore.raise_fence(BRIEF, day(world, 1))
        keystore.destroy_tenant_key(OTHER_TENANT)
        assert await recovered(world) == 1
        said = capsys.readouterr()
        assert f"purged again {BRIEF} {day(world, 1)}" in said.out.splitlines()
        assert f"{OTHER_TENANT} was destroyed" in said.err
        assert await world.service.store.read_purge_spans() == []
        # A change that is asked for meanwhile is entered everywhere else.
        async with world.another_process() as restored:
            await restored.administration.set_category(CATEGORY, instruction="I-1", label="Registre")
            await restored.purger.run()
        assert await world.service.store.read_category_changes() == []

    async def test_a_commune_destroyed_that_was_handed_its_days(
        self, world: World, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """What `recover` says to type ends it again, its registered certificate notwithstanding."""
        await world.installation.administration.register_recipient(OTHER_TENANT, PEM)
        await world.seal()
        open_keystore(world.settings).destroy_tenant_key(OTHER_TENANT)
        assert await recovered(world) == 1
        record = world.settings.home_path / "record.json"
        for line in capsys.readouterr().err.split(": run ")[1].split(", then "):
            words = line.replace("FILE", str(record)).split()[1:]
            assert await typed(world, *words) == 0
        assert record.exists()
        await world.service.snapshot.refresh()
        await world.installation.purger.run()
        assert (await problems(world), await world.audit()) == ({}, [])

    async def test_a_commune_closed_then_and_destroyed_since(self, world: World) -> None:
        """Its rows are back, and nothing else would tell: its contract has ended, and no day of it is late."""
        await world.installation.purger.run()
        await world.installation.closing.close_without_export(OTHER_TENANT)
        assert await problems(world) == {}
        open_keystore(world.settings).destroy_tenant_key(OTHER_TENANT)
        said = (await problems(world))["retention"]
        assert f"entries again: run openepm-journal tenant destroy {OTHER_TENANT} --confirm" in said
        await destroy(world, OTHER_TENANT)
        await world.service.snapshot.refresh()
        assert (await problems(world), await world.audit()) == ({}, [])

    async def test_a_rule_made_shorter_since(self, world: World, capsys: pytest.CaptureFixture[str]) -> None:
        """What went by it can be purged again once it is set again, which `recover` says; before anything is served."""
        number = (await world.service.store.seal_state()).number
        open_keystore(world.settings).raise_fence(CATEGORY, day(world, 2))
        with pytest.raises(OperatorError, match=f"category set {CATEGORY} --retention-days N"):
            await recovered(world)
        with pytest.raises(OperatorError, match="then start serve"):
            await typed(world, "seal")
        assert await typed(world, "category", "set", CATEGORY, "--instruction", "I-1", "--retention-days", "3") == 0
        assert "seals then state the new retention" in capsys.readouterr().out
        assert await typed(world, "recover", "--declare-loss", str(number)) == 0
        assert f"purged again {CATEGORY} {day(world, 2)}" in capsys.readouterr().out
        await world.service.snapshot.refresh()
        await world.installation.purger.run()
        assert (await problems(world), await world.audit()) == ({}, [])


async def test_a_copy_of_the_keys_from_before_a_destruction(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """If the key store is lost, the database lists the destroyed tenants: no copy brings their keys back."""
    (tmp_path / "copy").mkdir()
    assert await typed(world, "keys", "backup", "--to", str(tmp_path / "copy")) == 0
    await world.installation.purger.run()
    await world.installation.closing.close_without_export(OTHER_TENANT)
    await destroy(world, OTHER_TENANT)
    keys = world.settings.keystore_path
    shutil.rmtree(keys)
    assert await typed(world, "keys", "restore", "--from", str(tmp_path / "copy")) == 1
    assert ", 1 fences raised;" in capsys.readouterr().out.splitlines()[-1]
    assert (keys / "tenants" / TENANT).exists()
    assert not (keys / "tenants" / OTHER_TENANT).exists()
    # The copy is older than the commune's end: until that is confirmed, it is neither believed nor undone.
    assert await typed(world, "recover", "--confirm-facts") == 1
    listed = capsys.readouterr().out
    assert f"tenant {OTHER_TENANT} differs" in listed
    assert await typed(world, "recover", "--confirm-facts", listed.split("--confirm-facts ")[1][:12]) == 0
    assert await typed(world, "keys", "restore", "--from", str(tmp_path / "copy")) == 0
    assert not (keys / "tenants" / OTHER_TENANT).exists()
    async with world.another_process() as other:
        assert await Audit(other.service).run(lambda _: None) == []
    # And the copy learns from there, of days too, what is to be destroyed in it.
    assert await typed(world, "keys", "backup", "--to", str(tmp_path / "copy")) == 0
    assert not (tmp_path / "copy" / "tenants" / OTHER_TENANT).exists()
    assert not (tmp_path / "copy" / "days" / BRIEF / str(day(world, 1))).exists()


async def purge_to_the_last_day(world: World) -> None:
    """Let a shorter rule of every category take what has been lived, up to yesterday."""
    for row in await world.service.store.read_categories():
        await world.installation.administration.set_category(row.code, instruction="I-1", retention_days=2)
    await world.installation.purger.run()


class TestAttested:
    """What a signed attestation says, and does not, of days that went otherwise than by the rule of every night."""

    async def test_with_the_contract(self, world: World) -> None:
        """A day that was not due yet went before its term, by no rule: the destruction report attests that."""
        await world.installation.purger.run()
        attestations = Attestations(world.service)
        assert (await attestations.gather(OTHER_TENANT, day(world, 1))).of_state("destroyed")
        await world.installation.closing.close_without_export(OTHER_TENANT)
        assert (await attestations.gather(OTHER_TENANT, day(world, 1))).of_state("destroyed")
        await destroy(world, OTHER_TENANT)
        ended = rf"destroyed at the end of its contract on {world.today}, .*tenant destroy {OTHER_TENANT} --conf"
        for number in range(LIVED):
            with pytest.raises(OperatorError, match=ended):
                await attestations.gather(OTHER_TENANT, day(world, number))
        # Nor once all of that day has gone by the rule as well, which finds nothing of it any more.
        await purge_to_the_last_day(world)
        with pytest.raises(OperatorError, match=ended):
            await attestations.gather(OTHER_TENANT, day(world, 1))
        assert not (await attestations.gather(TENANT, day(world, 1))).of_state("kept")
        assert (await problems(world), await world.audit()) == ({}, [])

    async def test_before_the_contract_ended(self, world: World) -> None:
        """What the rule had destroyed by then is attested as ever, now from the seals alone."""
        await purge_to_the_last_day(world)
        await world.installation.closing.close_without_export(OTHER_TENANT)
        await destroy(world, OTHER_TENANT)
        certificate = await Attestations(world.service).gather(OTHER_TENANT, day(world, 3))
        found = {facts.code: (facts.state, facts.count, facts.recorded) for facts in certificate.categories}
        assert found[CATEGORY] == ("destroyed", 1, False)
        assert found[BRIEF] == ("destroyed", 2, False)

    async def test_while_a_rule_is_pending(self, world: World) -> None:
        """A day due only under a pending shorter rule is not overdue: under the rule in force it is early."""
        await world.installation.purger.run()
        await world.installation.administration.set_category(CATEGORY, instruction="I-1", retention_days=2)
        attestations = Attestations(world.service)
        (kept,) = [
            facts
            for facts in (await attestations.gather(TENANT, day(world, 0))).of_state("kept")
            if facts.code == CATEGORY
        ]
        assert (kept.retention_days, kept.retention_days_before) == (2, 60)
        assert kept.must_go_at.date() == day(world, 0) + 60 * DAY
        with pytest.raises(
            OperatorError, match=rf"may be purged from {day(world, 3) + DAY}.* is purged before .* does it now"
        ):
            await attestations.gather(TENANT, day(world, 3))
        assert await problems(world) == {}
