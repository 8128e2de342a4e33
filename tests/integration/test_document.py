"""The people's view: made by typst and pyHanko for real, read back by Debian's own tools where they are."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
from dataclasses import replace
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import uvloop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from journal.core.entry import MODULE_ACTIONS
from journal.document.content import MAX_ROWS, action_cell
from journal.document.french import cell, printable
from journal.document.render import EXTRACT, DocumentError, render
from journal.extract import table
from journal.extract.grounds import Authorisation, Person, Rule, RuleChange
from journal.extract.manifest import Filter, Request
from journal.extract.numbering import SourceNumbers
from journal.extract.purges import IN_TIME, PurgedDays
from journal.pki.trust import Anchor
from journal.seals.dev_authority import make_development_authority
from tests.support.documents import AT, FIRST, GONE, SERVICE, make_content, make_entry, start_nothing
from tests.support.pdf import base_revision, check_signature, read_text
from tests.support.signing import local_signer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.signing import LocalSigner

pytestmark = pytest.mark.needs("pdftotext", "pdfsig")


@pytest.fixture
def signer(tmp_path: Path) -> LocalSigner:
    """A signer under a root of its own."""
    make_development_authority(tmp_path, SERVICE, AT)
    return local_signer(tmp_path)


async def test_it_says_who_asked_what_and_how_much(signer: LocalSigner, tmp_path: Path) -> None:
    """The request, the counts, the purge and the fingerprint can be read, with their accents."""
    content = make_content([make_entry(n, days=n % 3) for n in range(12)], purged=(GONE,))
    text = read_text(await render(content, signer, AT), tmp_path / "a.pdf")
    for words in (
        "Ville d'Albi".upper(),
        "Déléguée à la protection",
        "DPD-2026-14",
        "12 entrées",
        "ab" * 16,
        "CN=Racine",
        "04" * 16,
        "z.vidal",
    ):
        assert words in text.replace("\u202f", " "), words
    assert "Les entrées du 25 septembre 2026 ont été détruites" in re.sub(r"\s+", " ", text)


async def test_a_development_authority_is_said_before_all_else(signer: LocalSigner, tmp_path: Path) -> None:
    """Above the summary, in words nobody overlooks."""
    content = make_content([make_entry(0)], anchor=Anchor("CN=x", bytes(32), is_development=True))
    text = re.sub(r"\s+", " ", read_text(await render(content, signer, AT), tmp_path / "a.pdf"))
    assert text.index("Pour essais seulement") < text.index("Cet extrait communique")


async def test_its_prose_is_set_as_french_is() -> None:
    """Typographic apostrophes, and nothing that a line's end could part from what it belongs to."""
    content = make_content([make_entry(n) for n in range(2_000)], covered_at=AT)
    for text in (content["summary"], content["caution"], content["truncated"], *content["steps"]):
        assert "'" not in text
        assert not re.search(r" [:;»]|« |[0-9] (h|min|s|entrées)\b", text), text
    assert "2\u202f000\u00a0entrées\u00a0: la suite" in content["summary"]
    assert any("verifier.html" in step for step in content["steps"])


@pytest.mark.parametrize(
    ("entries", "selection", "withheld", "says"),
    [
        pytest.param(0, None, 0, "Aucune entrée", id="empty"),
        pytest.param(1, None, 0, "une entrée", id="one"),
        pytest.param(3, Filter(account="z.vidal"), 9, "9 entrées de la période ne sont pas", id="filtered"),
        pytest.param(3, Filter(action="disclosure"), 9, "action : communication", id="filtered by action"),
        pytest.param(
            0, Filter(account="z.vidal"), 9, "Aucune entrée de la période ne répond à la", id="none asked for"
        ),
        pytest.param(3, Filter(account="z.vidal"), 0, "soit toutes celles de la période", id="all asked for"),
        pytest.param(0, Filter(account="z.vidal"), 0, "Aucune entrée n", id="none there"),
        pytest.param(0, Filter(withhold_all=True), 12_345, "12 345 entrées, sans en communiquer", id="auditor"),
    ],
)
async def test_every_kind_of_extract_has_its_words(
    signer: LocalSigner, tmp_path: Path, entries: int, selection: Filter | None, withheld: int, says: str
) -> None:
    """Empty, single, filtered and withheld extracts are each told as what they are."""
    content = make_content([make_entry(n) for n in range(entries)], selection=selection, withheld=withheld)
    text = read_text(await render(content, signer, AT), tmp_path / "a.pdf")
    assert says in re.sub(r"\s+", " ", text.replace("\u202f", " "))


async def test_equal_content_gives_equal_bytes(signer: LocalSigner) -> None:
    """What is laid out does not depend on the moment or the machine; only the signature's revision does."""
    content = make_content([make_entry(n, days=n) for n in range(60)])
    first, second = await render(content, signer, AT), await render(content, signer, AT)
    assert base_revision(first) == base_revision(second)


async def test_the_signature_is_over_the_whole_document(signer: LocalSigner, tmp_path: Path) -> None:
    """pyHanko, with the root alone, finds the signature intact, valid, trusted, and covering every byte."""
    document = await render(make_content([make_entry(0)]), signer, AT)
    await check_signature(document, (tmp_path / "trust.pem").read_bytes(), AT)


async def test_a_changed_byte_breaks_the_signature(signer: LocalSigner, tmp_path: Path) -> None:
    """The signature is over the content: one digit changed in it is noticed."""
    document = bytearray(await render(make_content([make_entry(0)]), signer, AT))
    document[len(document) // 4] ^= 1
    (tmp_path / "a.pdf").write_bytes(document)
    command = [str(shutil.which("pdfsig")), str(tmp_path / "a.pdf")]
    answer = subprocess.run(command, capture_output=True, check=False, text=True).stdout
    assert "Signature is Valid" not in answer


async def test_the_first_page_holds_all_but_the_entries(signer: LocalSigner, tmp_path: Path) -> None:
    """Every action, a week, a purge, a day that is not over: what is said before the table fits its page."""
    content = make_content([make_entry(n, days=n % 8) for n in range(40)], covered_at=AT, purged=(GONE,))
    content["by_action"] = [[action_cell(action), 3] for action in MODULE_ACTIONS]
    first, *_ = read_text(await render(content, signer, AT), tmp_path / "a.pdf").split("\f")
    assert "sauf dans le tableau des entrées" in re.sub(r"\s+", " ", first)
    assert "Destinataires" not in first


def _named(characters: int) -> dict[str, Any]:
    """Who asked, by whose authorisation, under which rule, in texts of this length."""
    name = ("Procureure de la République près le tribunal judiciaire de Villefranche-de-Rouergue, " * 13)[:characters]
    return {
        "requester": name,
        "authorisation": Authorisation(name, AT.date(), name),
        "person": Person(name, name),
        "request": Request(index=2**53 - 1, leaf=b"\3" * 32, reference=name),
        "rule": Rule(name, (RuleChange(AT, 30, name),)),
    }


async def test_an_authorisation_with_long_names_is_still_on_the_first_page(signer: LocalSigner, tmp_path: Path) -> None:
    """The text is smaller where there is more to say."""
    content = make_content([make_entry(n, days=n % 8) for n in range(40)], covered_at=AT, purged=(GONE,), **_named(90))
    content["by_action"] = [[action_cell(action), 3] for action in MODULE_ACTIONS]
    first, second, _ = read_text(await render(content, signer, AT), tmp_path / "a.pdf").split("\f")
    assert "entier dans manifest.json" in re.sub(r"\s+", " ", first)
    assert "Destinataires" in second


async def test_the_longest_values_go_on_overleaf(signer: LocalSigner, tmp_path: Path) -> None:
    """Of each as much as can be read; nothing is lost between pages, and the entries begin a page of their own."""
    word = "W" * 1024
    sources = tuple(
        SourceNumbers(9, 1, ((3, 3),), 0, 0, source=f"/{n}{word}"[:1024], epoch="W" * 64) for n in range(30)
    )
    content = make_content(
        [make_entry(n, days=n % 8) for n in range(40)],
        selection=Filter(account=word, subject=word, action=word, occurred_from=FIRST, occurred_to=FIRST),
        withheld=40,
        anchor=Anchor(word, b"\4" * 32, is_development=True),
        covered_at=AT,
        purged=(GONE,),
        numbering=sources,
        software=word,
        signer=word,
        tenant_name=word,
        category_label=word,
        **_named(1024),
    )
    *pages, entries, _ = read_text(await render(content, signer, AT), tmp_path / "a.pdf").split("\f")
    assert 4 <= len(pages) <= 8
    assert "z.vidal" in entries
    text = re.sub(r"\s+", " ", "".join(pages))
    for name, _ in content["request"] + content["integrity"]:
        assert name.split(",")[0].replace("'", "\u2019") in text or name.split(",")[0] in text
    assert "entier dans manifest.json" in text
    assert text.count("[…]") > 40


async def test_every_day_of_the_period_is_in_the_chart() -> None:
    """Those without an entry and those that are purged are there too, and marked; of a long period the last ones."""
    content = make_content(
        [make_entry(n, days=4 + n % 2) for n in range(5)],
        purged=(GONE, PurgedDays(GONE.last + timedelta(days=1), FIRST + timedelta(days=2), 3, IN_TIME)),
    )
    days = content["by_day"]
    assert len(days) == 60
    assert days[:7] == [
        ["25/09", 0, True],
        ["26/09", 0, True],
        ["27/09", 0, True],
        ["28/09", 0, False],
        ["29/09", 3, False],
        ["30/09", 2, False],
        ["01/10", 0, False],
    ]
    assert "60 jours, dont 55 sans entrée et 3 purgés" in content["chart_alt"]
    assert "depuis" not in content["chart_title"]
    long = make_content([make_entry(0)], first_day=date(1970, 1, 1))
    assert [len(long["by_day"]), long["by_day"][0][0]] == [92, "24/08"]
    assert long["chart_title"].endswith("depuis le 24 août 2026")


async def test_the_table_has_the_words_of_the_one_for_spreadsheets(signer: LocalSigner, tmp_path: Path) -> None:
    """Recipients, the operation with its number, the time in Paris; of a request who, why, which days and reference."""
    sent = make_entry(0, recipients=["Parquet de Albi", "Préfecture"], operation="list", count=50)
    asked = make_entry(1)
    data = {
        "requester": "Mairie",
        "purpose": "lawfulness",
        "from": "2026-09-01",
        "to": "2026-09-02",
        "reference": "R 7",
    }
    asked.event.update(type="fr.openepm.journal.service.extract", subject="main-courante", data=data)
    content = make_content([sent, asked])
    first, second = ([text.replace("\u200b", "") for text in row] for row in content["rows"])
    assert first[1:4] == ["2026-09-25 à 11:59:58", "Consultation (liste, 50)", "z.vidal"]
    assert first[5:] == ["Relecture", "Parquet de Albi, Préfecture", "succès"]
    assert second[2:5] == ["Demande d'extrait", "Mairie", "main-courante"]
    why = "vérification de la licéité du traitement ; du : 2026-09-01 ; au : 2026-09-02 ; référence : R 7"
    assert second[5] == why
    assert {name[0].lower() + name[1:] for name in content["columns"]} <= set(table.COLUMNS)
    assert "Destinataires" in read_text(await render(content, signer, AT), tmp_path / "a.pdf")


def test_who_asked_is_named_once() -> None:
    """The person of the credential stands beside another requester, and alone where it is the same."""
    person = Person("Claire Martin", "référente")
    for requester, told in (
        ("Claire Martin", "Claire Martin, référente"),
        ("Mairie d'Albi", "Mairie d'Albi (Claire Martin, référente)"),
    ):
        content = make_content([make_entry(0)], requester=requester, person=person)
        assert content["request"][0] == ["Demandeur", told]


def test_french_words_are_not_cut_as_codes_are() -> None:
    """A code breaks after 16 characters; a word is left to the hyphenation, with the signs around it."""
    assert "\u200b" not in cell("(d'interconnexion, rattachement-professionnel)", 100)
    assert cell("AB12" * 5, 100) == "AB12" * 4 + "\u200b" + "AB12"
    assert "\u200b" in cell("x" * 40, 100)


async def test_the_table_is_capped_in_words(signer: LocalSigner, tmp_path: Path) -> None:
    """Beyond the first 2,000 entries the document says where the others are, and counts them all."""
    content = make_content([make_entry(n) for n in range(MAX_ROWS + 5)])
    assert len(content["rows"]) == MAX_ROWS
    content["rows"] = content["rows"][:3]  # the layout of a long table is the campaign's
    text = read_text(await render(content, signer, AT), tmp_path / "a.pdf")
    assert "les 3 premières sur 2 005" in text.replace("\u202f", " ")
    assert "extrait.csv et entries.ndjson" in text


@pytest.mark.campaign
async def test_a_long_document_is_made(signer: LocalSigner) -> None:
    """A hundred thousand entries over sixty days give the first 2,000 rows and every count."""
    content = make_content([make_entry(n, days=n // 1_700) for n in range(100_000)])
    assert sum(count for _, count, _ in content["by_day"]) == 100_000
    assert (await render(content, signer, AT)).startswith(b"%PDF-")


async def test_nothing_active_and_nothing_hidden(signer: LocalSigner, tmp_path: Path) -> None:
    """Markup is shown as text; control, bidirectional and unknown characters as their codes; no script, no link."""
    hostile = "#strong[x] $a$ <b> \u202egnp.exe \u0007 \u0645 😀 =1+1 https://example.org"
    document = await render(make_content([make_entry(0, account=hostile, reason=hostile)]), signer, AT)
    text = re.sub(r"\s+", "", read_text(document, tmp_path / "a.pdf").replace("\u200b", ""))
    for words in ("#strong[x]", "$a$", "⟦U+202E⟧", "⟦U+0007⟧", "⟦U+0645⟧", "⟦U+1F600⟧"):
        assert words in text, words
    for name in (b"/JavaScript", b"/JS", b"/URI", b"/Launch", b"/EmbeddedFile", b"/OpenAction"):
        assert name not in document


@given(text=st.text())
def test_every_text_becomes_printable(text: str) -> None:
    """Whatever is written, what is shown holds only characters the fonts have, and stays as it is shown twice."""
    shown = printable(text)
    assert printable(shown) == shown


@given(text=st.text(max_size=200))
@settings(max_examples=4, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_no_text_breaks_the_layout(signer: LocalSigner, text: str) -> None:
    """Any text whatever, anywhere in it, gives a document."""
    await lay_out(signer, text)


@pytest.mark.campaign
@given(text=st.text(max_size=2000))
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_no_text_of_many_breaks_the_layout(signer: LocalSigner, text: str) -> None:
    """Nor do many more, and longer ones."""
    await lay_out(signer, text)


async def lay_out(signer: LocalSigner, text: str) -> None:
    """Make a document with this text in every place that takes one."""
    entries = [make_entry(0, account=text, reason=text)]
    content = make_content(entries, tenant_name=text, category_label=text, requester=text or "x")
    assert (await render(content, signer, AT)).startswith(b"%PDF-")


async def test_every_character_said_to_be_printable_has_a_glyph(signer: LocalSigner) -> None:
    """PDF/A refuses a missing glyph: held to it, a document of all the characters we let through is made."""
    everything = [chr(code) for code in range(0x20, 0x2800) if printable(chr(code)) == chr(code)]
    entries = [
        make_entry(0, reason=" ".join(everything[start : start + 100])) for start in range(0, len(everything), 100)
    ]
    held = replace(EXTRACT, standards=("a-3a",))
    assert (await render(make_content(entries), signer, AT, held)).startswith(b"%PDF-")


async def test_it_claims_no_standard(signer: LocalSigner) -> None:
    """No validator has confirmed one; its parts are tagged all the same."""
    document = await render(make_content([make_entry(0)]), signer, AT)
    assert b"pdfaid" not in document
    assert b"/StructTreeRoot" in document


async def test_what_cannot_be_laid_out_is_an_error_of_ours(signer: LocalSigner) -> None:
    """Content the template does not understand ends in a DocumentError, not in a hang."""
    with pytest.raises(DocumentError):
        await render({"service": SERVICE}, signer, AT)


@pytest.mark.parametrize("policy", [asyncio.DefaultEventLoopPolicy, uvloop.EventLoopPolicy])
def test_a_maker_that_has_ended_is_an_error_of_ours(
    signer: LocalSigner, monkeypatch: pytest.MonkeyPatch, policy: Callable[[], asyncio.AbstractEventLoopPolicy]
) -> None:
    """So the extract goes without its document. The service's event loop, uvloop, has its own error for that."""
    monkeypatch.setattr("journal.document.makers.start_origin", start_nothing)
    monkeypatch.setattr(asyncio.events, "_event_loop_policy", policy())
    with pytest.raises(DocumentError):
        asyncio.run(render({"service": SERVICE}, signer, AT))
