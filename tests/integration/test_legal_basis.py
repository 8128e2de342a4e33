"""What the journaling of a category rests on, and one that asks for longer than the service keeps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from journal.admin.administration import NewCategory
from journal.admin.provisioning import Provisioning
from journal.admin.stated import read_stated
from journal.cli.store_checks import check_longer
from journal.core.entry import RESERVED_TENANT
from journal.core.errors import OperatorError
from journal.database.admin import LEGAL_BASES
from journal.pki.certificates import der_to_pem
from tests.support.communes import commune
from tests.support.contents import told
from tests.support.world import CATEGORY, OTHER_TENANT, TENANT, World

if TYPE_CHECKING:
    from pathlib import Path

    from journal.admin.administration import Administration

LAW = "code de la route, art. L. 330-2"
LONG = NewCategory(code="fichiers", label="Fichiers nationaux", legal_basis=LAW, required_days=1095)


@pytest.fixture
def administration(world: World) -> Administration:
    """Its administration."""
    return world.installation.administration


async def register(administration: Administration, *tenants: str) -> None:
    """Have the days of these communes handed over."""
    for tenant in tenants:
        await administration.register_recipient(tenant, der_to_pem([commune().certificate]))


async def settings_told(world: World, code: str) -> list[dict[str, Any]]:
    """Return what entries of the service say of a category."""
    return [data for _, subject, data in await told(world, RESERVED_TENANT) if subject == code]


async def test_every_category_names_its_legal_basis(world: World, administration: Administration) -> None:
    """Those that nobody named one for have that of their regime; none is vouched for without it."""
    await administration.add_category(NewCategory(code="fourriere", label="Fourrière", regime="GDPR"))
    rows = {row.code: row for row in world.service.snapshot.categories()}
    assert (rows[CATEGORY].legal_basis, rows[CATEGORY].required_days) == (LEGAL_BASES["LED"], 0)
    assert rows["fourriere"].legal_basis == LEGAL_BASES["GDPR"]
    await administration.set_category("fourriere", instruction="I-1", legal_basis=LAW, required_days=60)
    row = world.service.snapshot.category("fourriere")
    assert row is not None
    assert (row.legal_basis, row.required_days) == (LAW, 60)
    said = (await settings_told(world, "fourriere"))[-1]["detail"]
    assert said == f"journalisation fondée sur : {LAW} ; conservation que demande ce fondement : 60 jours"
    # Whoever writes the row of the database changes no fact.
    await world.service.store.settle_facts()
    async with world.superuser() as database:
        await database.execute("UPDATE journal.category SET legal_basis = 'rien' WHERE code = 'fourriere'")
    assert [row.legal_basis for row in await world.service.store.read_categories() if row.code == "fourriere"] == [LAW]
    facts = world.service.store.facts
    assert facts is not None
    assert any("category fourriere" in problem for problem in facts.problems())


async def test_longer_than_the_service_keeps(world: World, administration: Administration) -> None:
    """It is refused until every commune has a hand-over, says which has none, and keeps that hand-over from ending."""
    await register(administration, TENANT)
    with pytest.raises(OperatorError, match=rf"asks for 1095 days, and it is kept 60 here.*over to {OTHER_TENANT}\."):
        await administration.add_category(LONG)
    assert world.service.snapshot.category(LONG.code) is None
    await register(administration, OTHER_TENANT)
    await administration.add_category(LONG)
    assert (await settings_told(world, LONG.code))[0]["detail"].endswith("qui demande 1095 jours de conservation")
    with pytest.raises(OperatorError, match=f"the hand-over to {TENANT} cannot end"):
        await administration.end_handover(TENANT)
    await administration.add_tenant("castres", "Ville de Castres")
    asked: dict[str, Any] = {"role": "module", "tenant": "castres", "source_prefix": "/c/"}
    with pytest.raises(OperatorError, match="nothing is handed over to castres"):
        await administration.credentials.add(**asked, categories=[CATEGORY, LONG.code])
    await administration.credentials.add(**asked, categories=[CATEGORY])
    (warned,) = [finding async for finding in check_longer(world.installation)]
    assert f"{LONG.code} must be kept for longer than here, and nothing is handed over to castres" in warned.told
    await register(administration, "castres")
    assert [finding async for finding in check_longer(world.installation)] == []
    await administration.credentials.add(**asked, categories=[CATEGORY, LONG.code])


async def test_a_rule_that_falls_below_what_is_asked(world: World, administration: Administration) -> None:
    """Neither the days asked for nor a shorter rule slips past the condition; a duration must be one."""
    await administration.add_category(NewCategory(code="fourriere", label="Fourrière", required_days=45))
    for change in ({"retention_days": 44}, {"required_days": 61}, {"required_days": 50, "retention_days": 49}):
        with pytest.raises(OperatorError, match="must be handed over before they are purged"):
            await administration.set_category("fourriere", instruction="I-1", **change)
    await administration.set_category("fourriere", instruction="I-1", retention_days=45)
    for days in (-1, 36_501):
        with pytest.raises(OperatorError, match="--required-days"):
            await administration.set_category("fourriere", instruction="I-1", required_days=days)
    with pytest.raises(OperatorError, match="--legal-basis"):
        await administration.set_category("fourriere", instruction="I-1", legal_basis=" ")
    await register(administration, TENANT, OTHER_TENANT)
    await administration.set_category("fourriere", instruction="I-1", required_days=365)
    assert world.service.snapshot.category("fourriere").required_days == 365  # type: ignore[union-attr]


async def test_provisioned(world: World, administration: Administration, tmp_path: Path) -> None:
    """A file that states the hand-overs passes, whatever its order; without them each fault has its line."""
    (tmp_path / "albi.pem").write_bytes(der_to_pem([commune().certificate]))
    prefix = '"source_prefix":"/a/"'
    lines = [
        '{"kind":"category","code":"fichiers","label":"Fichiers","regime":"LED","required_days":365}',
        f'{{"kind":"credential","tenant":"{TENANT}","label":"m","role":"module","categories":["fichiers"],{prefix}}}',
    ]
    recipients = [
        f'{{"kind":"handover","tenant":"{code}","certificate":"albi.pem"}}' for code in (TENANT, OTHER_TENANT)
    ]
    provisioning = Provisioning(world.service, administration)
    path = tmp_path / "stated.jsonl"
    path.write_text("\n".join(lines))
    stated, _ = read_stated(path)
    _, faults = await provisioning.plan(stated, base=tmp_path, tokens=tmp_path)
    assert [fault.place for fault in faults] == ["line 1", "line 2"]
    assert "nothing is handed over to" in str(faults[0])
    path.write_text("\n".join([*lines, *recipients]))
    stated, _ = read_stated(path)
    plan, faults = await provisioning.plan(stated, base=tmp_path, tokens=tmp_path)
    assert faults == []
    await provisioning.carry_out(plan, lambda _: None)
    again, faults = await provisioning.plan(stated, base=tmp_path, tokens=tmp_path)
    assert (faults, again.unchanged, sum(again.counts.values())) == ([], 4, 0)
