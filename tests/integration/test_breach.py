"""The dossier of a breach: what each suspicion exposes, by the real keys; its document, its facts, its refusals."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from journal.audit.run import Audit
from journal.audit.watch import check_facts
from journal.core.entry import Compartment
from journal.core.errors import OperatorError, StoreError
from journal.core.times import day_of
from journal.document.paper import paper_content
from journal.papers.breach import Breach, Suspected, examine
from journal.papers.breach_paper import dossier
from journal.papers.breach_words import FEARED, WHY
from journal.papers.making import Papers
from journal.papers.signing import signatory
from journal.papers.situation import gather
from journal.reading.plan import ExtractRequest
from tests.support.contents import without_zone
from tests.support.lived import (
    ACCOUNTS,
    DAYS,
    MARKERS,
    PER_DAY,
    SUBJECTS,
    client_of,
    lived_world,
    module_of,
    personal_event,
    submit,
)
from tests.support.pdf import check_signature, read_text, words_of
from tests.support.world import CATEGORY, DAY, FIRST, PERSON, SERVICE, TENANT, World

if TYPE_CHECKING:
    from datetime import date
    from pathlib import Path

pytestmark = [pytest.mark.needs("pdftotext", "pdfsig"), pytest.mark.world(made_by=lived_world)]
LAST = FIRST + (DAYS - 1) * DAY
SUMMARY = ("readable", "entries", "subjects", "accounts", "first_day", "last_day", "first_index", "last_index")


def suspect(world: World, **said: Any) -> Suspected:
    """Return a suspicion about all days there are."""
    known_at = world.clock.now().replace(microsecond=0)
    return Suspected(**{"first": FIRST, "last": world.today, "known_at": known_at} | said)


def exposed(breach: Breach) -> dict[str, tuple[Any, ...]]:
    """Return what of each compartment with entries is exposed."""
    return {one.category: tuple(getattr(one, name) for name in SUMMARY) for one in breach.exposures if one.entries}


async def ask(world: World, holder: str, first: date, last: date, **asked: Any) -> None:
    """Have an extract made with a credential, whole."""
    request = ExtractRequest(from_day=first, to_day=last, purpose="lawfulness", requester="x", person=PERSON)
    stream = (
        await world.service.extraction.open(
            Compartment(SERVICE, TENANT, CATEGORY), request, requested_by=holder, **{"disclose": True} | asked
        )
    ).chunks()
    assert [chunk async for chunk in stream]


WHOLE = (DAYS * PER_DAY, SUBJECTS, ACCOUNTS, FIRST, LAST, 0, DAYS * PER_DAY - 1)


async def test_what_each_suspicion_exposes(world: World) -> None:
    """A backup opens nothing without the keys, everything that was kept with them; root reads what is kept."""
    situation = await gather(world.service, TENANT)
    for said, is_readable in (
        ({"suspicion": "backup"}, False),
        ({"suspicion": "database"}, False),
        ({"suspicion": "backup", "with_keys": True}, True),
        ({"suspicion": "root"}, True),
    ):
        found = await examine(situation, suspect(world, **said))
        assert exposed(found)[CATEGORY] == (is_readable, *WHOLE), said
        assert bool(found.readable) == is_readable
    # What was recorded before the period was kept in it, what came after was not there.
    found = await examine(situation, suspect(world, suspicion="root", first=FIRST + DAY, last=FIRST + DAY))
    assert exposed(found)[CATEGORY][1] == 2 * PER_DAY
    assert found.deadline - found.suspected.known_at == 3 * DAY


async def test_a_stolen_credential(world: World) -> None:
    """A module's appends and reads nothing; a client's gets what it asked for, and no other day; each is told."""
    module, client = await module_of(world), await client_of(world)
    situation = await gather(world.service, TENANT)
    found = await examine(situation, suspect(world, suspicion="credential", holder=module))
    assert (found.role, exposed(found)) == ("module", {CATEGORY: (False, *WHOLE)})
    unasked = await examine(situation, suspect(world, suspicion="credential", holder=client))
    assert (unasked.role, unasked.exposures, unasked.requests) == ("client", [], 0)
    await ask(world, client, FIRST + DAY, FIRST + DAY)
    await ask(world, client, FIRST, LAST, disclose=False)
    await ask(world, "somebody-else", FIRST, LAST)
    await world.installation.administration.credentials.revoke(client)
    await world.seal()
    situation = await gather(world.service, TENANT)
    found = await examine(situation, suspect(world, suspicion="credential", holder=client))
    first, end = PER_DAY, 2 * PER_DAY - 1
    assert exposed(found) == {CATEGORY: (True, PER_DAY, SUBJECTS, ACCOUNTS, FIRST + DAY, FIRST + DAY, first, end)}
    assert (found.requests, found.refused) == (2, 0)
    assert found.revoked_at is not None
    assert [one.change for one in found.ended] == ["revoked"]
    assert found.ended[0].index == await world.size(category="journal") - 1
    early = replace(found.suspected, last=FIRST)
    assert (await examine(situation, early)).exposures == []
    with pytest.raises(OperatorError, match="there is no credential or person 000000000000 of albi"):
        await examine(situation, suspect(world, suspicion="credential", holder="000000000000"))


async def test_what_was_done_about_the_stolen_one(world: World) -> None:
    """Another credential that was revoked is no measure; what was revoked is not to be revoked; alarms are counted."""
    module, client = await module_of(world), await client_of(world)
    await world.installation.administration.credentials.revoke(client)
    for number in range(12):
        await world.service.chronicle.write("alarm", tenant=TENANT, subject=CATEGORY, data={"alarm": f"alarm {number}"})
    await world.seal()
    situation = await gather(world.service, TENANT)
    for holder, is_ended in ((module, False), (client, True)):
        found = await examine(situation, suspect(world, suspicion="credential", holder=holder))
        assert [one.subject for one in found.changed if one.change == "revoked"] == [client]
        assert [one.subject for one in found.ended] == [client] * is_ended
        text = orjson.dumps([one.blocks for one in dossier(situation, found, "ab" * 32).sections]).decode()
        assert ("n’est encore révoqué ni remplacé" in text) != is_ended
        assert ("openepm-journal credential revoke" in text) != is_ended
        first, last = found.alarms[-10], found.alarms[-1]
        assert f"les dernières\u00a0: entrées n°\u00a0{first}, " in text
        assert f'"text":"{len(found.alarms)}"' in text
        assert last == first + 9


async def test_only_what_was_there_when_it_was_asked_for(world: World) -> None:
    """What was recorded after a request, or purged before it, is none that the extract gave."""
    client, module = await client_of(world), await module_of(world)

    async def view(*numbers: int) -> None:
        at = world.clock.now()
        await submit(world, [personal_event(at, "consultation", "view", n, motivated=True) for n in numbers], module)

    await view(900)
    await ask(world, client, FIRST, world.today)
    asked_on = world.today
    await view(*range(901, 908))
    await world.seal()
    situation = await gather(world.service, TENANT)
    found = await examine(situation, suspect(world, suspicion="credential", holder=client))
    had = DAYS * PER_DAY + 1
    assert exposed(found)[CATEGORY][1] == had
    (asked,) = found.asked
    assert (asked.category, asked.first, asked.last, asked.is_granted) == (CATEGORY, f"{FIRST}", f"{asked_on}", True)
    assert day_of(asked.at) == asked_on
    await world.shorten_rules(5)
    await world.travel_to(FIRST + 5 * DAY)
    await world.seal()
    await world.installation.purger.run(max_days=None)
    await world.seal()
    situation = await gather(world.service, TENANT)
    found = await examine(situation, suspect(world, suspicion="credential", holder=client))
    assert sum(one.total for one in found.readable) == had
    assert sum(one.purged_since for one in found.readable) > 0
    await ask(world, client, FIRST, world.today)
    await world.seal()
    situation = await gather(world.service, TENANT)
    since = suspect(world, suspicion="credential", holder=client, first=world.today)
    assert [one.purged_since for one in (await examine(situation, since)).exposures] == [0]


async def test_a_database_written_by_its_owner(world: World, tmp_path: Path) -> None:
    """Altered and missing rows are counted, a category whose row was altered is left in; the check names each."""
    async with world.superuser() as superuser:
        where = "tenant = $1 AND category = $2 AND index"
        await superuser.execute(
            f"UPDATE journal.entry SET leaf_hash = sha256(leaf_hash) WHERE {where} IN (3, 4)", TENANT, CATEGORY
        )
        await superuser.execute(f"DELETE FROM journal.entry WHERE {where} IN (0, 50)", TENANT, CATEGORY)
        await superuser.execute("UPDATE journal.category SET retention_days = 20 WHERE code = $1", CATEGORY)
    async with world.another_process() as other:
        audit = Audit(other.service)
        said = "\n".join(map(str, [*await check_facts(other.service), *await audit.run(lambda _: None)]))
        for named in (
            f"mismatched part: category {CATEGORY}: its row in the database is not the one the key store vouches for",
            f"broken chain: {TENANT}/{CATEGORY} {FIRST} entry 3: its leaf hash is not the hash",
            f"{TENANT}/{CATEGORY} {FIRST + DAY} entry 50",
        ):
            assert named in said, said
        assert "head of" not in said
        situation = await gather(other.service, TENANT)
        found = await examine(situation, suspect(world, suspicion="database", with_keys=True))
        (one,) = [one for one in found.exposures if one.category == CATEGORY]
        assert (one.entries, one.damaged, one.missing, one.total) == (DAYS * PER_DAY - 4, 2, 2, DAYS * PER_DAY)
        early = await examine(situation, suspect(world, suspicion="database", last=FIRST))
        (one,) = [one for one in early.exposures if one.category == CATEGORY]
        assert (one.entries, one.damaged, one.missing) == (PER_DAY - 3, 2, 1)
        assert "facts" in found.failing
        found = replace(found, exposures=[replace(one, overdue=123) for one in found.exposures])
        made = await Papers(other.service).sign(dossier(situation, found, "ab" * 32), TENANT, situation.now)
    # Each is told on a line: a dossier of a late purge begins no page for its signature alone.
    lines = read_text(made.document, tmp_path / "dossier.pdf", order="-raw").splitlines()
    assert "et 123 au-delà de leur terme, non relues" in {re.sub(r"\s", " ", line) for line in lines}
    text = words_of(made.document, tmp_path / "dossier.pdf", order="-raw")
    for told in ("et 2 altérées", "et 2 manquantes", "verify-store les nomme", "en défaut : « "):
        assert told in text, text


async def test_a_commune_s_own_journal_that_was_altered(world: World) -> None:
    """The dossier is made of what still opens, and says how many entries do not: a request may be among them."""
    client = await client_of(world)
    for _ in range(3):
        await ask(world, client, FIRST, FIRST)
    await world.seal()
    last = await world.size(category="journal") - 1
    async with world.superuser() as superuser:
        where = "tenant = $1 AND category = 'journal' AND index = $2"
        await superuser.execute(f"UPDATE journal.entry SET leaf_hash = sha256(leaf_hash) WHERE {where}", TENANT, last)
        await superuser.execute(f"DELETE FROM journal.entry WHERE {where}", TENANT, last - 1)
    async with world.another_process() as other:
        situation = await gather(other.service, TENANT)
        found = await examine(situation, suspect(world, suspicion="credential", holder=client))
        assert (found.requests, found.unread) == (1, 2)
        assert exposed(found)[CATEGORY][1] == PER_DAY
        assert found.as_json(situation)["unread"] == 2
        found = await examine(situation, suspect(world, suspicion="database"))
        (own,) = [one for one in found.exposures if one.category == "journal"]
        assert (own.damaged, own.missing) == (1, 1)
        paper = dossier(situation, found, "ab" * 32)
        assert (await Papers(other.service).sign(paper, TENANT, situation.now)).index > last
    text = orjson.dumps([one.blocks for one in paper.sections]).decode()
    assert "2\u00a0entrées altérées ou ôtées" in text
    assert "verify-store les nomme" in text
    # By which rule that journal is read is the category's own row: without it nothing is recorded, and no dossier made.
    async with world.superuser() as superuser:
        await superuser.execute("UPDATE journal.category SET retention_days = 20 WHERE code = 'journal'")
    async with world.another_process() as other:
        situation = await gather(other.service, TENANT)
        with pytest.raises(StoreError, match="category journal: its row in the database is not the one"):
            await examine(situation, suspect(world, suspicion="database"))


async def test_what_was_purged_since(world: World) -> None:
    """Entries that were there in the period and are purged now are counted by the entries of their purge."""
    await world.shorten_rules(5)
    await world.travel_to(FIRST + 5 * DAY)
    await world.seal()
    await world.installation.purger.run(max_days=None)
    await world.seal()
    situation = await gather(world.service, TENANT)
    found = await examine(situation, suspect(world, suspicion="root", first=LAST, last=LAST))
    (of_category,) = [one for one in found.exposures if one.category == CATEGORY]
    assert of_category.purged_since > 0
    assert of_category.purged_since + of_category.entries == DAYS * PER_DAY
    # It was there until the hour at which it went.
    later = await examine(situation, suspect(world, suspicion="root", first=world.today))
    assert PER_DAY in {one.purged_since for one in later.exposures}
    await world.travel(world.clock.now() + DAY)
    later = await examine(situation, suspect(world, suspicion="root", first=world.today))
    assert {one.purged_since for one in later.exposures if one.category == CATEGORY} == {0}


async def test_a_purge_that_is_late(world: World) -> None:
    """Days past their limit were there for a thief: they are counted as such, and then as purged since."""
    await world.shorten_rules(5)
    await world.travel_to(FIRST + 7 * DAY)
    await world.seal()
    whole = DAYS * PER_DAY
    for purged in (False, True):
        if purged:
            await world.installation.purger.run(max_days=None)
            await world.seal()
        situation = await gather(world.service, TENANT)
        found = await examine(situation, suspect(world, suspicion="root", first=FIRST + 7 * DAY))
        (of_category,) = [one for one in found.exposures if one.category == CATEGORY]
        counted = (of_category.entries, of_category.overdue, of_category.purged_since)
        assert counted == (0, 0, whole) if purged else (0, whole, 0)
        assert of_category.total == whole
        paper = dossier(situation, found, "ab" * 32)
        text = orjson.dumps([one.blocks for one in paper.sections]).decode()
        assert paper.subtitle.endswith(", le 9\u00a0mars\u00a02026")
        (row,) = [row for row in paper.sections[1].blocks[1]["rows"] if row[0][0]["text"] == "Main courante"]
        assert [row[place][0]["text"] for place in (3, 4)] == ["–", "–"]
        assert f"et {whole} {'détruites depuis' if purged else 'au-delà de leur terme, non relues'}" in text
        content = paper_content(dossier(situation, found, "ab" * 32), signatory(world.service, situation.now))
        assert without_zone(content) == []
        assert "sans celles des entrées détruites depuis ou au-delà de leur terme" in text


@pytest.mark.parametrize("suspicion", FEARED)
async def test_the_document(world: World, tmp_path: Path, suspicion: str) -> None:
    """It says the suspicion, what was readable and why, the texts to send; it is signed, and names nobody."""
    holder = await client_of(world) if suspicion == "credential" else None
    if holder is not None:
        await ask(world, holder, FIRST, FIRST)
        await world.seal()
    situation = await gather(world.service, TENANT)
    found = await examine(situation, suspect(world, suspicion=suspicion, holder=holder))
    facts = orjson.dumps(found.as_json(situation))
    made = await Papers(world.service).sign(dossier(situation, found, "ab" * 32), TENANT, situation.now)
    text = words_of(made.document, tmp_path / "dossier.pdf", order="-raw")
    readable = sum(one.entries for one in found.readable)
    for said in (
        FEARED[suspicion].replace("'", "’"),
        WHY[found.role or suspicion][0].replace("'", "’")[:60],
        "dans les 72 heures",
        "s (UTC), soit le ",
        "(heure de Paris)",
        "loi n° 78-17, art. 102",
        "règlement (UE) 2016/679, art. 33",
        "ab" * 32,
        f"Le contenu de {readable} entrées" if readable else "Rien de ce que disent les entrées n’a pu être lu",
        "aucun accès n’est encore révoqué ni remplacé",
        *(("registre des demandes", "satisfaite", "entrée n° ") if holder else ()),
    ):
        assert said in text, said
    assert MARKERS.find(facts + made.document + text.encode()) == set()
    told = orjson.loads(facts)
    assert (told["suspicion"], told["tenant"], told["notify_before"]) == (
        suspicion,
        TENANT,
        f"{found.deadline:%Y-%m-%dT%H:%M:%SZ}",
    )
    assert {one["category"]: one["entries"] for one in told["compartments"]} == {
        one.category: one.entries for one in found.exposures
    }
    await check_signature(made.document, world.settings.trust_path.read_bytes(), world.clock.now())
