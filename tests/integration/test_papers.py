"""The papers: texts, figures against the database, signatures, entries that tell of them, and nothing personal."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest

from journal.admin.administration import NewCategory
from journal.choices import PAPERS
from journal.cli.doctor import look as look_at
from journal.core.entry import RESERVED_TENANT, Compartment
from journal.core.errors import OperatorError
from journal.document.paper import paper_content
from journal.extract.words import CHANGES
from journal.papers.controls import LOOKED_AT
from journal.papers.counting import Counted, Kind
from journal.papers.coverage import Coverage, cover, coverage, motive_told, told_of_motives
from journal.papers.duration import duration
from journal.papers.making import Papers
from journal.papers.measures import measures
from journal.papers.notice import notice
from journal.papers.register import register
from journal.papers.signing import signatory
from journal.papers.situation import gather
from journal.reading.plan import ExtractRequest
from journal.status.rounds import Rounds
from journal.writing.chronicle import HANDED_OVER, SUBMITTED_BY
from tests.support.contents import told, without_zone
from tests.support.lived import (
    ACCOUNT_NAMES,
    DAYS,
    LOST,
    MARKERS,
    MISSING,
    PER_DAY,
    SOURCE,
    lived_world,
    module_of,
    personal_event,
    submit,
)
from tests.support.pdf import check_signature, words_of
from tests.support.world import CATEGORY, DAY, FIRST, OTHER_TENANT, SERVICE, TENANT, World

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from journal.document.paper import Paper
    from journal.papers.situation import Situation

pytestmark = [pytest.mark.needs("pdftotext", "pdfsig"), pytest.mark.world(made_by=lived_world)]

# What each says, of this commune; every one names the commune, its latest seal and the seal's digest.
SAYS = {
    "register": [
        "Registre des traitements",
        "loi n° 78-17 du 6 janvier 1978, art. 100 (registre) et 101 (journal)",
        "directive (UE) 2016/680",
        "120 entrées conservées, n° 0 à 119",
        "logiciels qui inscrivent des accès, sans rien pouvoir lire 1",
        "référents, qui demandent des extraits et invitent",
        "entrée n° 1 du journal de la commune",
        "Délégué à la protection des données",
    ],
    "measures": [
        "chaque processus lance son signataire, sous le même",
        "aucune autorité n’est configurée",
        "droits du fichier : 0600",
        "1 sur 1",
        "certificat de la commune, dont le magasin de clés",
    ],
    "coverage": [
        "Article 101 : ce que chaque module inscrit",
        "120 entrées, n° 0 à 119, couvertes par le sceau",
        "De celles qui exigent un motif (84), 9 n’en ont pas",
        "Consultation 84",
        "Communication aucune entrée",
        "affichage",
        "recherche",
        "Un numéro manque ; une source se tait.",
    ],
    "notice": [
        "Notice d’information des agents",
        "Main courante",
        "60 jours",
        "l’exercer par l’intermédiaire de la CNIL (art. 108)",
    ],
    "duration": [
        "CNIL, délibération n° 2021-122",
        "une durée comprise entre six mois et un an",
        "C’est la règle d’un contrat, non celle d’une loi",
        "la commune doit encore la confirmer",
    ],
}
# A4 and its margins, 210 mm and 18 mm.
PAGE_POINTS, MARGIN_POINTS = 595.3, 51.0
# Seven centimetres: what is higher begins a page where it need not.
END_POINTS = 200.0
WORD = re.compile(r'<word [^>]*yMin="([0-9.]+)" [^>]*yMax="([0-9.]+)">([^<]+)</word>')
ENGLISH = re.compile(r"\b(the|and|with|not|days?|entr(y|ies)|seals?|none|view|update|reader|client)\b(?! \()")


def right_ends(path: Path) -> list[float]:
    """Return where each word of a document ends, in points from the left of its page."""
    line = [str(shutil.which("pdftotext")), "-bbox", path, "-"]
    told = subprocess.run(line, capture_output=True, check=True, text=True).stdout
    found = [float(at) for at in re.findall(r'<word [^>]*xMax="([0-9.]+)"', told)]
    assert len(found) > 100
    return found


def height_of_end(path: Path) -> float:
    """Return how high the seals with the signature are, in points: what a page that holds nothing else would have."""
    line = [str(shutil.which("pdftotext")), "-bbox", path, "-"]
    told = subprocess.run(line, capture_output=True, check=True, text=True).stdout.rpartition("<page ")[2]
    at = {word: (float(top), float(end)) for top, end, word in WORD.findall(told)}
    return at["comparer"][1] - at["cités"][0]


@pytest.mark.parametrize("kind", PAPERS)
async def test_a_paper(world: World, tmp_path: Path, kind: str) -> None:
    """It says what it must, in French, names what its figures rest on, is signed and recorded, and names nobody."""
    made = await Papers(world.service).issue(kind, TENANT)
    text = words_of(made.document, tmp_path / "paper.pdf", order="-raw")
    seal = (await gather(world.service, TENANT)).seal
    for said in ["ALBI", f"sceau n° {seal.number}", seal.digest.hex(), *SAYS[kind]]:
        assert said in text, said
    assert MARKERS.count > 1_000
    assert MARKERS.find(text.encode()) == set()
    assert MARKERS.find(made.document) == set()
    body = text[: text.index("Établi et signé par")]
    assert not ENGLISH.search(body.replace("/v1/seals", "")), ENGLISH.search(body)
    assert CATEGORY not in body
    assert max(right_ends(tmp_path / "paper.pdf")) <= PAGE_POINTS - MARGIN_POINTS + 1
    (entry,) = [data for _, subject, data in await told(world) if subject == "document"]
    assert entry == {"change": "document made", "sha256": sha256(made.document).hexdigest(), "what": entry["what"]}
    assert CHANGES[entry["change"]] == "document établi"
    assert made.index == await world.size(category="journal") - 1
    for code in ("/v1/", "kept_from", "doctor", "pdfsig"):
        assert code not in body, code
    if kind != "notice":
        assert height_of_end(tmp_path / "paper.pdf") < END_POINTS
    if kind == "notice":
        # It is posted up: its first page is the notice, and what supports it is on another.
        posted = text[: text.index("page 1 sur")]
        assert "Délégué à la protection des données" in posted
        assert not re.search("[0-9a-f]{64}", posted)
    signature = await check_signature(made.document, world.settings.trust_path.read_bytes(), world.clock.now())
    assert signature.sig_object["/Reason"] == entry["what"]
    done = subprocess.run([str(shutil.which("pdfsig")), tmp_path / "paper.pdf"], capture_output=True, check=False)
    assert b"Signature is Valid" in done.stdout
    assert b"Total document signed" in done.stdout


async def test_coverage_against_the_database(world: World) -> None:
    """What is counted is what was recorded, up to the seal; numbers, losses and silence are those of the database."""
    situation = await gather(world.service, TENANT)
    # Recorded after the seal: not counted.
    late = [personal_event(world.clock.now(), "erasure", "delete", 500, motivated=False)]
    await submit(world, late, await module_of(world))
    found = await cover(situation, None, None)
    counted = found.counted[CATEGORY]
    kinds = {(action, operation): kind for (_, action, operation), kind in counted.kinds.items()}
    assert {key: (kind.entries, kind.with_motive) for key, kind in kinds.items()} == {
        ("consultation", "view"): (75, 75),
        ("consultation", "search"): (9, 0),
        ("modification", "update"): (36, 0),
    }
    assert {source for source, _, _ in counted.kinds} == {SOURCE}
    assert (counted.entries, counted.first_index, counted.last_index) == (DAYS * PER_DAY, 0, DAYS * PER_DAY - 1)
    assert (counted.subjects, counted.accounts) == (10, len(ACCOUNT_NAMES))
    assert found.share() == (84, 9, 0)
    activity = await world.service.store.read_activity(TENANT)
    by_action: dict[str, int] = {}
    for row in activity:
        if row.category == CATEGORY:
            by_action[row.action] = by_action.get(row.action, 0) + row.count
    assert found.actions() == {action: count for action, count in by_action.items() if action != "erasure"}
    (source,) = found.sources
    assert (source.row.missing, source.row.declared) == (1 + 500 - DAYS * PER_DAY - 2 - 1, 1)
    assert source.row.gaps[0] == (MISSING, MISSING)
    assert LOST not in {low for low, _ in source.row.gaps}
    of_one_day = await cover(situation, FIRST + DAY, FIRST + DAY)
    assert (of_one_day.counted[CATEGORY].first_index, of_one_day.counted[CATEGORY].entries) == (PER_DAY, PER_DAY)
    other = await coverage(await gather(world.service, OTHER_TENANT))
    assert "aucune entrée" in other.lead
    assert "Aucune source ne numérote ses événements" in other.lead
    assert "numéro ne manque" not in other.lead
    assert "Aucune source ne numérote" in text_of(other)


def test_what_needs_no_motive_is_told_apart() -> None:
    """What was refused or failed needs none: the counts of a line of the table are all entries of its action."""
    done = {
        ("urn:a", "consultation", "view"): Kind(entries=840, with_motive=800, succeeded=800),
        ("urn:a", "disclosure", "export"): Kind(entries=98, with_motive=95, succeeded=95),
        ("urn:a", "combination", "match"): Kind(entries=47, with_motive=45, succeeded=45),
    }
    found = Coverage(FIRST, FIRST, {CATEGORY: Counted(entries=985, kinds=done)}, [], [], [])
    assert found.share() == (940, 0, 45)
    assert found.share("consultation") == (800, 0, 40)
    assert sum(found.actions().values()) == sum((found.share().wanted, found.share().not_done))
    assert told_of_motives(found) == "Hors 45 refusées ou échouées, chacune des 940 qui exigent un motif en a un."
    told_of_views = motive_told(found, "consultation")[1]["text"]
    assert told_of_views == (
        "exigé de 800, dont 0 sans motif ; non exigé de 40 (accès refusés ou échoués)".replace(" ;", "\u00a0;")
    )
    done["urn:a", "consultation", "view"].unfounded = 2
    assert told_of_motives(found).endswith("de celles qui exigent un motif (940), 2 n'en ont pas.")


def states(paper: Paper) -> dict[str, tuple[str, str]]:
    """Return how each measure stands: the style and the text of its state."""
    (table,) = paper.sections[0].blocks
    return {name[0]["text"]: (state[0]["style"], state[0]["text"]) for name, state, _ in table["rows"]}


def text_of(paper: Paper) -> str:
    """Return everything a paper says."""
    return json.dumps([section.blocks for section in paper.sections], ensure_ascii=False)


async def test_measures_are_read_from_the_installation(world: World) -> None:
    """What is changed on the installation changes what is said; what is not in place says so."""
    situation = await gather(world.service, TENANT)
    before = states(await measures(situation))
    assert before["Clé maîtresse fermée aux autres comptes"] == ("good", "en place")
    assert before["Second facteur des personnes du bureau"] == ("good", "1 sur 1")
    assert before["Signature séparée de l’enregistrement"] == ("bad", "pas en place")
    assert before["Remise à la commune avant destruction"] == ("bad", "pas encore confirmée")
    assert before["Inscription de chaque demande d’extrait"] == ("good", "aucune à ce jour")
    assert before["Contrôle des jours clos, entrée par entrée"] == ("bad", "pas constaté")
    world.settings.master_key_path.chmod(0o644)
    await Rounds(world.settings.audit_path).note((CATEGORY, FIRST), world.clock.now(), is_sound=True)
    await world.installation.administration.end_handover(TENANT)
    await world.extract(FIRST, FIRST)
    handed = ExtractRequest(from_day=FIRST, to_day=FIRST, purpose="lawfulness", requester=HANDED_OVER)
    await world.service.extraction.open(
        Compartment(SERVICE, TENANT, CATEGORY), handed, requested_by=SUBMITTED_BY, disclose=True, before_purge=True
    )
    await world.installation.administration.credentials.revoke(await module_of(world))
    paper = await measures(await gather(world.service, TENANT), look)
    after = states(paper)
    assert after["Clé maîtresse fermée aux autres comptes"] == ("bad", "ouverte à d’autres")
    assert after["Remise à la commune avant destruction"] == ("bad", "pas en place")
    assert after["Inscription de chaque demande d’extrait"] == ("good", "2 inscrites")
    assert "dont 1 du service, pour remettre à la commune" in text_of(paper)
    assert after["Accès des logiciels liés à un certificat"] == ("bad", "0 sur 1")
    assert after["Contrôle des jours clos, entrée par entrée"] == ("good", "un contrôlé")
    looked = {row[0][0]["text"]: row[1][0]["text"] for row in paper.sections[1].blocks[0]["rows"]}
    assert looked["Chaque disque a de la place"] == "en défaut"
    assert looked["La base est sauvegardée en continu"] == "conforme"
    # What the two pages say of a check is the same, and a check that cannot be made has not failed.
    assert looked["Les horloges s’accordent"] == "pas constaté"
    assert after["Contrôles continus"] == ("good", "10 conformes")
    # No authority is configured: that no seal waits for it says nothing.
    assert "Aucun sceau de clôture n’attend depuis un jour son horodatage" not in looked


async def test_a_late_purge_is_told(world: World) -> None:
    """Days that are kept past their limit show while they are there, and once they have gone."""
    await world.shorten_rules(5)
    await world.travel_to(FIRST + 7 * DAY)
    await world.seal()
    title = "Destruction au terme, avec les clés"
    style, said = states(await measures(await gather(world.service, TENANT)))[title]
    assert style == "bad"
    assert said == "en retard dans 5 catégories, 3 jours chacune"
    # What nothing reads any more is counted apart.
    situation = await gather(world.service, TENANT)
    found = await cover(situation, FIRST, None)
    assert (found.counted[CATEGORY].entries, found.counted[CATEGORY].overdue) == (0, DAYS * PER_DAY)
    assert f"Hors ces nombres\u00a0: {DAYS * PER_DAY}\u00a0entrées qui devraient" in text_of(
        await coverage(situation, FIRST)
    )
    await world.installation.purger.run(max_days=None)
    await world.seal()
    style, said = states(await measures(await gather(world.service, TENANT)))[title]
    assert style == "bad"
    assert re.fullmatch(r"à jour, [1-3] jours? avec retard, dans [2-5] catégories", said)


async def look() -> list[tuple[str, str]]:
    """Find one disk full, and the backups in order."""
    return [("disk", "ok"), ("disk", "failure"), ("disk", "ok"), ("backups", "ok"), ("timestamps", "ok")]


async def test_a_category_that_asks_for_longer(world: World) -> None:
    """Register and note name its basis, the days it asks for, and the hand-over that it needs."""
    administration = world.installation.administration
    for row in [one.code for one in world.service.snapshot.tenants() if one.code == OTHER_TENANT]:
        await administration.close_tenant(row)
    await administration.add_category(
        NewCategory(code="fpr", label="Personnes recherchées", legal_basis="décret n° 2010-569", required_days=1095)
    )
    await world.seal()
    situation = await gather(world.service, TENANT)
    for paper in (await register(situation), await duration(situation)):
        said = text_of(paper)
        assert "décret n°\u00a02010-569" in said
        assert "1\u202f095 jours" in said
    assert "remise obligatoire" in text_of(await duration(situation))


async def test_what_cannot_be_made(world: World) -> None:
    """No such commune, no such paper, nothing sealed, data destroyed: each is said, and nothing is recorded."""
    papers = Papers(world.service)
    for kind, tenant, said in (
        ("coverage", "nowhere", "there is no tenant nowhere"),
        ("coverage", "_service", "there is no tenant _service"),
        ("rapport", TENANT, "there is no paper 'rapport': they are register, measures"),
    ):
        with pytest.raises(OperatorError, match=said):
            await papers.issue(kind, tenant)
    await world.installation.administration.add_tenant("castres", "Ville de Castres")
    with pytest.raises(OperatorError, match="no seal covers castres yet"):
        await papers.issue("register", "castres")
    assert [subject for _, subject, _ in await told(world) if subject == "document"] == []


@pytest.mark.parametrize("make", [register, measures, coverage, notice, duration])
async def test_every_hour_says_in_which_time_it_is(world: World, make: Callable[[Situation], Awaitable[Paper]]) -> None:
    """UTC stands beside it, or above its column."""
    situation = await gather(world.service, TENANT)
    content = paper_content(await make(situation), signatory(world.service, situation.now))
    assert without_zone(content) == []
    assert without_zone({"texts": "5 mai 2026 à 9 h 00 min 51 s"}) != []


async def test_when_the_contract_has_ended(world: World) -> None:
    """A paper is made as long as the data are there; the service's own journal says so, as the commune's is closed."""
    await world.installation.administration.close_tenant(OTHER_TENANT)
    await world.seal()
    made = await Papers(world.service).issue("notice", OTHER_TENANT)
    assert made.journal == RESERVED_TENANT
    assert made.index == await world.size(RESERVED_TENANT, "journal") - 1


async def test_each_finding_of_doctor_has_its_words(world: World) -> None:
    """None is left out of the measures."""
    found = {name for name, _ in await look_at(world.installation)}
    assert len(found) > 15
    assert found <= LOOKED_AT.keys()


async def test_what_is_posted_up_stays_on_a_page(world: World, tmp_path: Path) -> None:
    """However many categories a commune has: those of one rule stand together."""
    situation = await gather(world.service, TENANT)
    (row,) = [one for one in situation.categories if one.code == CATEGORY]
    more = [replace(row, code=f"c{number}", label=f"Catégorie {number}") for number in range(6)]
    heads = situation.heads | {one.code: situation.heads[CATEGORY] for one in more}
    paper = await notice(replace(situation, categories=[*situation.categories, *more], heads=heads))
    made = await Papers(world.service).sign(paper, TENANT, situation.now)
    text = words_of(made.document, tmp_path / "paper.pdf", order="-raw")
    posted = text[: text.index("page 1 sur 2")]
    assert "Délégué à la protection des données" in posted
    assert "Catégorie 0 Catégorie 1" in posted


HOSTILE = "\u202e#let x = 1 $a$ <b> \u0007 😀 «é» https://example.org " + "X" * 200


async def test_hostile_names_stay_on_the_page(world: World, tmp_path: Path) -> None:
    """Endless and strange names of communes, categories and sources break no page, hide nothing, and do nothing."""
    situation = await gather(world.service, TENANT)
    rows = [replace(row, label=HOSTILE, legal_basis=HOSTILE, basis=HOSTILE) for row in situation.categories]
    strange = replace(situation, tenant=replace(situation.tenant, name=HOSTILE), categories=rows)
    paper = await register(strange)
    made = await Papers(world.service).sign(paper, TENANT, situation.now)
    text = words_of(made.document, tmp_path / "paper.pdf", order="-raw")
    for shown in ("⟦U+202E⟧", "#let x = 1 $a$ <b>", "⟦U+0007⟧", "⟦U+1F600⟧"):
        assert shown in text, shown
    for name in (b"/JavaScript", b"/JS", b"/URI", b"/Launch", b"/EmbeddedFile", b"/OpenAction"):
        assert name not in made.document
    assert max(right_ends(tmp_path / "paper.pdf")) <= PAGE_POINTS - MARGIN_POINTS + 1
