"""The confirmation of a hand-over: until a commune has opened one, its days stay to their limit, which is said."""

from __future__ import annotations

from contextlib import asynccontextmanager
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest

from journal.admin.confirmation import WrongCodeError, confirm_handover, confirmation_code, read_code
from journal.cli.purge import _stays
from journal.cli.store_checks import check_confirmations
from journal.core.errors import OperatorError
from retention.purge_plan import plan
from tests.support.communes import SHORT, commune, commune_world, opened, receives
from tests.support.contents import entries
from tests.support.world import CATEGORY, DAY, FIRST, OTHER_TENANT, TENANT, World, copied

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import date
    from pathlib import Path

    from journal.cli.finding import Finding
    from journal.database.embedded import EmbeddedPostgres
    from retention.purge_plan import PlannedDay


@copied
@asynccontextmanager
async def unconfirmed_world(postgres: EmbeddedPostgres, home: Path) -> AsyncIterator[World]:
    """Give a commune that was handed its first day, a day before it may be purged, and has not opened it yet."""
    async with commune_world(postgres, home, confirmed=False) as made:
        for tenant in (TENANT, OTHER_TENANT):
            await made.record(3, tenant=tenant, category=SHORT.code)
        await made.travel_to(FIRST + 3 * DAY)
        await made.installation.handover.run()
        yield made


pytestmark = [pytest.mark.world(made_by=unconfirmed_world), pytest.mark.usefixtures("no_documents")]


async def purged(world: World) -> list[date]:
    """Purge what can be; return which days of the category went."""
    return [due.day for due in await world.installation.purger.run() if due.category == SHORT.code]


def code_of(world: World, directory: Path) -> str:
    """What somebody who opens the file finds."""
    (path,) = (world.settings.handover_path / TENANT).glob(f"*_{SHORT.code}_*.p7m")
    return sha256(opened(path, commune(), directory)).hexdigest()


async def unconfirmed(world: World) -> dict[str, int]:
    """How many communes have not confirmed, by category."""
    status = await world.service.status()
    return {one.category: one.handover_unconfirmed for one in status.categories if one.handover_unconfirmed}


async def test_unconfirmed_it_is_kept_to_its_limit(world: World) -> None:
    """The day waits, which is said; two hours before its limit it goes as its rule requires, with its own alarm."""
    assert await unconfirmed(world) == {SHORT.code: 1}
    assert [(found.severity, f"{TENANT} has not confirmed" in found.told) async for found in _doctor(world)] == [
        ("warning", True)
    ]
    await world.travel_to(FIRST + 4 * DAY, hour=0.5)
    assert await purged(world) == []
    (day,) = [one for one in await _plan(world) if one.due.category == SHORT.code]
    assert (day.waits_for, day.unconfirmed) == ((TENANT,), (TENANT,))
    assert (
        f"waits for {TENANT} to confirm that what is handed over can be opened, until 2026-03-06T22:00:00Z"
        in _stays(day)
    )
    # Nobody at the host has anything to repair.
    assert (await world.service.checks.run())["handover"] is None
    assert (await world.service.checks.run())["retention"] is None
    await world.travel_to(FIRST + 4 * DAY, hour=22.1)
    assert await purged(world) == [FIRST]
    (alarm,) = await entries(world, "alarm")
    assert (alarm["category"], alarm["day"]) == (SHORT.code, str(FIRST))
    assert alarm["reason"] == (
        "le jour est arrivé à son terme, remis sans que la commune ait confirmé qu'elle peut l'ouvrir : il a été purgé"
    )
    (told,) = await entries(world, "alarm", "_service")
    assert "tenant handover COMMUNE --confirm CODE" in told["detail"]
    status = await world.service.status()
    assert [one.handover_lapses for one in status.categories if one.category == SHORT.code] == [0]
    assert await world.audit() == []


async def test_a_code_confirms(world: World, tmp_path: Path) -> None:
    """It is an entry, and the day goes as soon as it may; given again, it changes nothing."""
    code = code_of(world, tmp_path)
    spelt = " ".join(code[at : at + 4].upper() for at in range(0, 16, 4))
    file = await confirm_handover(world.service, TENANT, f" {spelt}\n")
    assert (file.category, file.first_day, file.last_day) == (SHORT.code, FIRST, FIRST)
    assert (await entries(world, "setting"))[-1] == {
        "category": SHORT.code,
        "change": "hand-over confirmed",
        "from": str(FIRST),
        "sha256": sha256(commune().certificate).hexdigest(),
        "to": str(FIRST),
    }
    size = await world.size(category="journal")
    await confirm_handover(world.service, TENANT, code)
    assert await world.size(category="journal") == size
    assert await unconfirmed(world) == {}
    assert [found.severity async for found in _doctor(world)] == ["ok"]
    await world.travel_to(FIRST + 4 * DAY, hour=0.5)
    assert await purged(world) == [FIRST]
    assert await entries(world, "alarm") == []


async def test_the_database_does_not_tell_the_code(world: World, tmp_path: Path) -> None:
    """Whoever reads all of it cannot confirm: of the code it holds a MAC under a key of the key store."""
    code = code_of(world, tmp_path)
    async with world.superuser() as superuser:
        rows = await superuser.fetch("SELECT o::text AS row FROM journal.handover AS o")
        macs = [row["code_mac"] for row in await superuser.fetch("SELECT code_mac FROM journal.handover")]
    assert rows
    assert not any(code[:16] in row["row"] for row in rows)
    assert all(sha256(text).digest() not in macs for text in (code.encode(), code[:16].encode(), bytes.fromhex(code)))


@pytest.mark.parametrize("text", ["", "abc", "g" * 16, "0" * 15, "0" * 17, "0" * 63, "0" * 65, "٠" * 16])
def test_what_is_no_code(text: str) -> None:
    """It is refused before anything is looked up."""
    with pytest.raises(WrongCodeError, match="16 hexadecimal digits"):
        read_code(text)


async def test_a_wrong_code_changes_nothing(world: World, tmp_path: Path) -> None:
    """Neither that of another file, nor that of another commune, nor one where nothing is handed over."""
    size = await world.size(category="journal")
    with pytest.raises(WrongCodeError, match="no file handed over to albi"):
        await confirm_handover(world.service, TENANT, "0" * 16)
    # An extract of the same days is another file.
    other = await world.extract(FIRST, FIRST, category=SHORT.code)
    asked = await world.size(category="journal")
    with pytest.raises(WrongCodeError):
        await confirm_handover(world.service, TENANT, confirmation_code(sha256(other).digest()))
    with pytest.raises(OperatorError, match="registered no certificate"):
        await confirm_handover(world.service, OTHER_TENANT, code_of(world, tmp_path))
    await receives(world, tenant=OTHER_TENANT, confirmed=False)
    with pytest.raises(WrongCodeError):
        await confirm_handover(world.service, OTHER_TENANT, code_of(world, tmp_path))
    assert await world.size(category="journal") == asked == size + 1
    assert await unconfirmed(world) == {SHORT.code: 1}


async def test_another_certificate_asks_anew(world: World, tmp_path: Path) -> None:
    """Even the same one, registered again; a code of what was encrypted to the one before confirms nothing."""
    code = code_of(world, tmp_path)
    await confirm_handover(world.service, TENANT, code)
    await receives(world, confirmed=False)
    assert await unconfirmed(world) == {SHORT.code: 1}
    await confirm_handover(world.service, TENANT, code)
    assert await unconfirmed(world) == {}
    await receives(world, commune("RSA"), confirmed=False)
    with pytest.raises(WrongCodeError):
        await confirm_handover(world.service, TENANT, code)
    await world.travel_to(FIRST + 4 * DAY, hour=0.5)
    assert await purged(world) == []


async def test_nothing_handed_over_is_nothing_to_confirm(world: World) -> None:
    """A commune that was given no file yet is not named."""
    await receives(world, tenant=OTHER_TENANT, confirmed=False)
    assert CATEGORY not in await unconfirmed(world)
    assert [TENANT in found.told async for found in _doctor(world)] == [True]


def _doctor(world: World) -> AsyncIterator[Finding]:
    return check_confirmations(world.installation)


async def _plan(world: World) -> list[PlannedDay]:
    service = world.service
    return await plan(world.installation.purger, service.store, service.keyring.keystore, max_days=None)
