"""Who may ask: the person of a credential, encrypted, vouched for, and in every request; and who acts on the host."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from journal.admin.credentials import person_of
from journal.cli import operator
from journal.cli.operator import operator_name
from journal.core.errors import KeyStoreError, OperatorError, RequestError
from journal.extract.grounds import Person
from tests.support.contents import entries, events_of
from tests.support.world import CATEGORY, FIRST, PERSON, TENANT, World

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("no_documents")


async def test_a_person_is_encrypted_and_goes_with_its_credential(world: World) -> None:
    """No name is in clear in the database; it opens for its own credential alone, and the ledger vouches for it."""
    credentials, persons = world.installation.administration.credentials, world.service.persons
    mine, _ = await credentials.add(role="client", tenant=TENANT, categories=[CATEGORY], person=PERSON)
    other, _ = await credentials.add(role="client", tenant=TENANT, categories=[CATEGORY])
    rows = {row.id: row for row in await world.service.store.list_credentials()}
    ciphertext = rows[mine].person
    assert ciphertext is not None
    assert rows[other].person is None
    assert persons.open(TENANT, other, None) is None
    assert PERSON.name.encode() not in ciphertext
    assert persons.open(TENANT, mine, ciphertext) == PERSON
    for tenant, credential, changed in (
        (TENANT, other, ciphertext),
        ("sete", mine, ciphertext),
        (TENANT, mine, ciphertext[:-1]),
        (TENANT, mine, b""),
    ):
        with pytest.raises(KeyStoreError, match="does not decrypt"):
            persons.open(tenant, credential, changed)
    async with world.superuser() as superuser:
        told = await superuser.fetch("SELECT c::text AS row FROM journal.credential AS c")
    assert all("Jeanne" not in row["row"] for row in told)
    (added,) = [data for data in await entries(world, "credential") if data.get("person")]
    assert added["person"] == PERSON.as_json()


@pytest.mark.parametrize(
    ("role", "name", "function", "says"),
    [
        ("client", "Jeanne", None, "a person has a name and a function"),
        ("client", " ", "DPD", "a person has a name and a function"),
        ("module", "Jeanne", "DPD", "--person is for a client"),
        ("client", "Jeanne\u202e", "DPD", "--person: at most"),
        ("client", "Jeanne", "x" * 257, "--function: at most"),
    ],
)
async def test_half_a_person(world: World, role: str, name: str, function: str | None, says: str) -> None:
    """Refused, with what is missing."""
    with pytest.raises(OperatorError, match=says):
        await world.installation.administration.credentials.add(
            role=role,
            tenant=TENANT,
            categories=[CATEGORY],
            source_prefix="/x" if role == "module" else "",
            person=person_of(name, function),
        )


async def test_nobody_asks_for_entries(world: World) -> None:
    """Whatever authorisation there is."""
    await world.record(1)
    with pytest.raises(RequestError, match="names no person"):
        await world.extract(FIRST, FIRST, person=None)
    refused = (await entries(world, "extract"))[0]
    assert (refused["outcome"], "person" in refused) == ("denied", False)


async def test_a_category_may_need_an_authorisation(world: World) -> None:
    """Then every extract that discloses its entries does."""
    await world.record(1)
    administration = world.installation.administration
    await administration.set_category(CATEGORY, instruction="I-1", needs_authorisation=True)
    with pytest.raises(RequestError, match="an extract of this category needs an authorisation"):
        await world.extract(FIRST, FIRST)
    world.verify(await world.extract(FIRST, FIRST, disclose=False))


async def test_what_a_command_does_names_who_ran_it(world: World) -> None:
    """The person given; the hourly work of the service names nobody."""
    async with world.another_process() as command:
        command.service.chronicle.operator = "Paul Roux"
        await command.administration.credentials.add(role="auditor", tenant=TENANT, categories=[CATEGORY])
        await command.administration.set_category(CATEGORY, instruction="I-2", label="Autre")
    await world.service.snapshot.refresh()
    told = [*await entries(world, "credential"), *await entries(world, "setting")]
    assert [data["operator"] for data in told] == ["Paul Roux"] * 2
    await world.installation.administration.credentials.add(role="auditor", tenant=TENANT, categories=[CATEGORY])
    assert "operator" not in (await entries(world, "credential"))[-1]
    extract = await world.extract(FIRST, world.today, category="journal")
    assert "Paul Roux" in str(events_of(extract))


def test_who_acts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The name given, else the account behind sudo, else that of the login, else that of the process."""
    login = tmp_path / "loginuid"
    monkeypatch.setattr(operator, "LOGIN_UID", login)
    assert operator_name("Paul Roux", {"SUDO_USER": "x"}) == "Paul Roux"
    assert operator_name(None, {"SUDO_USER": "proux"}) == "compte proux"
    login.write_text("0")
    assert operator_name(None, {}) == "compte root"
    login.write_text("4242424242")
    assert operator_name(None, {}) == "compte 4242424242"
    login.unlink()
    mine = operator_name(None, {})
    login.write_text(str(operator.NO_LOGIN))
    assert operator_name(None, {}) == mine
    for name in (" ", "x" * 257, "a\u202eb"):
        with pytest.raises(OperatorError, match="--operator"):
            operator_name(name, {})


def test_a_person_has_texts() -> None:
    """Neither empty nor endless."""
    with pytest.raises(ValueError, match=r"person\.name"):
        Person("", "x")
