"""The page as a reader of an extract that it verified: it shows what the extract says, and counts right."""

from __future__ import annotations

import csv
import json
import os
import re
import time
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect

from journal.extract.grounds import Authorisation
from journal.extract.layout import DIGESTS, MANIFEST, TABLE
from tests.bench.processor import seconds_of
from tests.browser import accesses
from tests.browser.accesses import BURST, FOLLOWED, WATCHED
from tests.browser.chromium import choose, verdict
from tests.browser.kinds import container
from tests.browser.looks import EVERY, SOME, faults
from tests.support.extracts import World, contents_of, march, noon, sample
from tests.support.pdf import read_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Page

VIEWS = ("details", "entries", "activity", "who", "selfcheck", "letter")
MARK = "Vue non probante"


def read(page: Page, files: Path, extract: bytes, view: str = "entries") -> None:
    """Verify an extract and show one of its views."""
    choose(page, files, extract)
    page.get_by_role("button", name="Vérifier", exact=True).click()
    page.locator("#tabs").wait_for()
    page.click(f"#tab-{view}")


def counted(page: Page, count: int, total: int) -> None:
    """Await what the live region says."""
    text = f"{count} {'entrée' if count < 2 else 'entrées'} sur {total}"
    page.locator("#count[role=status][aria-live=polite]", has_text=re.compile(f"^{text}$")).wait_for()


def shown(page: Page) -> list[list[str]]:
    """Return the cells of the table's rows, as people read them."""
    script = "rows => rows.map(row => [...row.cells].map(cell => cell.textContent))"
    rows: list[list[str]] = page.locator("#table tbody tr").evaluate_all(script)
    return rows


def column(page: Page, title: str) -> list[str]:
    """Return the cells of one column."""
    titles = page.locator("#table thead button").all_inner_texts()
    return [row[titles.index(title)] for row in shown(page)]


def lines(page: Page, caption: str) -> list[list[str]]:
    """Return the rows of a table of a report, without the room left to write."""
    table = page.locator("#report table:not(.sheet *)", has=page.locator("caption", has_text=re.compile(f"^{caption}")))
    script = "rows => rows.map(row => [...row.querySelectorAll('td:not(.blank)')].map(cell => cell.textContent))"
    rows: list[list[str]] = table.locator("tbody tr").evaluate_all(script)
    return rows


def show_all_columns(page: Page) -> None:
    """Tick every column."""
    page.click("#choices summary")
    for tick in page.locator("#columns input").all():
        tick.check()


def french(cell: str) -> str:
    """Return a cell of extrait.csv as the reader shows it: without the guard, its time as people write it."""
    found = re.match(r"(\d{4})-(\d\d)-(\d\d)(?: à |T)(\d\d(?:bis)?:\d\d:\d\d)", cell)
    return f"{found[3]}/{found[2]}/{found[1]} à {found[4]}" if found else cell.removeprefix("'")


def told(extract: bytes) -> list[list[str]]:
    """Return the rows of extrait.csv, as the reader shows them."""
    text = contents_of(extract)[TABLE].decode("utf-8-sig")
    return [[french(cell) for cell in row] for row in csv.reader(text.splitlines()[1:], delimiter=";")]


def saved(page: Page, button: str) -> tuple[str, bytes]:
    """Press a button that saves; return the file's name and content."""
    with page.expect_download() as download:
        page.click(button)
    return download.value.suggested_filename, Path(download.value.path()).read_bytes()


# --- the table


def test_the_table_says_what_the_extract_says(page: Page, files: Path) -> None:
    """Every cell of every entry, page after page."""
    extract = accesses.week_extract()
    read(page, files, extract)
    counted(page, 65, 65)
    show_all_columns(page)
    found = shown(page)
    assert len(found) == 50
    page.get_by_role("button", name="Suivante").click()
    page.get_by_text("Page 2 sur 2").wait_for()
    assert found + shown(page) == told(extract)


def test_search_and_filters(page: Page, files: Path) -> None:
    """Search looks in all cells, without case and accents; filters add up; the count is said."""
    read(page, files, accesses.week_extract())
    for asked, count in (("UNAL", 12), ("noe relecture", 12), ("n’importe quoi", 0), ("leroy mc-2026-00012", 1)):
        page.fill("#search", asked)
        counted(page, count, 65)
    page.fill("#search", "elodie")
    counted(page, 7, 65)
    page.click("#filters summary")
    for choice, value, count in (("action", "modification", 1), ("action", "", 7), ("subject", "00007", 6)):
        if choice == "subject":
            page.fill("#subject", value)
        else:
            page.select_option(f"#{choice}", value)
        counted(page, count, 65)
    page.get_by_role("button", name="Retirer la recherche").click()
    counted(page, 65, 65)
    for choose_it, count in (
        (lambda: page.select_option("#motive", "absent"), 3),
        (lambda: page.fill("#from", "2026-03-08"), 1),
        (lambda: page.select_option("#motive", ""), 4),
        (lambda: page.fill("#to", "2026-03-07"), 0),
        (lambda: page.get_by_role("button", name="Retirer la recherche").click(), 65),
        (lambda: page.select_option("#outcome", "refusé"), 2),
        (lambda: page.fill("#agent", "Dubois"), 0),
    ):
        choose_it()
        counted(page, count, 65)


def test_each_column_sorts(page: Page, files: Path) -> None:
    """By number, by time, as in a French dictionary; once more turns it; the headers say so, and keep the focus."""
    extract = accesses.week_extract()
    read(page, files, extract)
    page.fill("#search", "mc-2026-00012")
    counted(page, 6, 65)
    names = ["Claire Martin", "Claire Martin", "Élodie Leroy", "Pierre Dubois", "Pierre Dubois", "Pierre Dubois"]
    first = page.locator("#table tbody tr").first
    button = page.get_by_role("columnheader", name="Nom").get_by_role("button")
    button.click()
    expect(first).to_contain_text("Claire Martin")
    assert column(page, "Nom") == names
    assert page.locator("th[aria-sort=ascending]").all_inner_texts() == ["Nom"]
    assert page.evaluate("document.activeElement.textContent") == "Nom"
    page.keyboard.press("Enter")
    expect(first).to_contain_text("Pierre Dubois")
    assert column(page, "Nom") == names[::-1]
    assert page.locator("th[aria-sort=descending]").all_inner_texts() == ["Nom"]
    page.fill("#search", "")
    counted(page, 65, 65)
    page.get_by_role("columnheader", name="N°").get_by_role("button").click()
    expect(first.locator("td").first).to_have_text(told(extract)[0][0])
    page.get_by_role("columnheader", name="N°").get_by_role("button").click()
    expect(first.locator("td").first).to_have_text(told(extract)[-1][0])


@pytest.mark.parametrize(
    ("day", "hours"),
    [
        (29, ["01:00", "01:30", "03:00", "03:30", "04:00"]),
        (239, ["02:00", "02:30", "02bis:00", "02bis:30", "03:00"]),
    ],
    ids=["March", "October"],
)
def test_a_day_on_which_the_hour_changes(page: Page, files: Path, day: int, hours: list[str]) -> None:
    """Times are those of Paris, in their order; the hour that comes twice says which it is; charts count 24 hours."""
    read(page, files, accesses.change_of_hour(day))
    counted(page, 12, 12)
    page.get_by_role("columnheader", name="Survenu le (Paris)").get_by_role("button").click()
    expect(page.locator("th[aria-sort=ascending]")).to_have_text("Survenu le (Paris)")
    assert [time_.split(" à ")[1][:-3] for time_ in column(page, "Survenu le (Paris)")][:5] == hours
    page.click("#tab-activity")
    page.locator("figure summary").last.click()
    figures = page.locator("figure").last.locator("tbody tr")
    expect(figures).to_have_count(24)
    assert figures.nth(2).locator("td").last.inner_text() == ("0" if day == 29 else "4")


def test_an_entry_is_read_whole(page: Page, files: Path) -> None:
    """Its number opens all it says; from there one asks who consulted that reference."""
    read(page, files, accesses.week_extract())
    page.get_by_role("button", name="Lire l’entrée 0 en entier").click()
    entry = page.get_by_role("dialog", name="Entrée 0")
    assert "transmis par module-1" in entry.inner_text()
    assert "Rôle et unité\nbrigadier-chef, PM Montreuil" in entry.inner_text()
    entry.get_by_role("button", name="Qui a consulté cette fiche").click()
    expect(page.locator("#who-answer")).to_contain_text("MC-2026-00120 : 1 accès de 1 agent.")


def test_what_an_entry_says_cannot_act(page: Page, files: Path) -> None:
    """Markup is text, what hides or reorders is shown, each cell is isolated; in the file no cell begins a formula."""
    world = World()
    hostile = "<img src=x onerror=alert(1)>"
    actor = {"account": hostile, "name": "\u202egnp.exe", "role": "אבי"}
    world.close(march(1))
    for subject in (hostile, "=1+1", "@x"):
        accesses.access(world, noon(march(2)), actor, subject, "=cmd|' /C calc'!A0")
    world.append(noon(march(2)), time="9999-12-31T23:30:00.000000Z", subject="10000 in Paris", data={})
    world.close(march(2))
    read(page, files, world.extract(march(2), march(2), at=noon(march(3))).pack())
    counted(page, 4, 4)
    show_all_columns(page)
    for view in VIEWS:
        page.click(f"#tab-{view}")
        if view == "who":
            page.fill("#reference", hostile)
            page.get_by_role("button", name="Montrer").click()
            expect(page.locator("#who-answer")).to_contain_text(f"{hostile} : 1 accès")
        if view == "selfcheck":
            page.get_by_role("button", name="Établir le relevé").click()
            expect(page.locator("#selfcheck-report")).to_contain_text("⟦U+202E⟧gnp.exe")
        assert page.locator("#report img").count() == 0
    page.click("#tab-entries")
    assert column(page, "Nom") == [*["⟦U+202E⟧gnp.exe"] * 3, ""]
    assert column(page, "Survenu le (Paris)")[3] == ""
    assert page.locator("#table td:not(.empty):not(:first-child):not(:has(bdi))").count() == 0
    _, content = saved(page, "#save-entries")
    rows = list(csv.reader(content.decode("utf-8-sig").splitlines()[2:], delimiter=";"))
    assert [row[rows[0].index("objet")] for row in rows[1:4]] == [hostile, "'=1+1", "'@x"]
    assert {row[rows[0].index("motif")] for row in rows[1:4]} == {"'=cmd|' /C calc'!A0"}


# --- what leaves the page


def test_a_selection_is_saved_marked_and_with_the_bytes_of_the_extracts_own_table(page: Page, files: Path) -> None:
    """Two first lines say what it is and of which extract; what follows is extrait.csv, of what was chosen."""
    extract = accesses.week_extract()
    read(page, files, extract)
    show_all_columns(page)
    name, content = saved(page, "#save-entries")
    assert name == "vue-non-probante-montreuil-main-courante-2026-03-02-2026-03-08.csv"
    mark, of, rest = content.removeprefix(b"\xef\xbb\xbf").split(b"\r\n", 2)
    members = contents_of(extract)
    assert mark.decode().startswith(f'"{MARK} : 65 des 65 entrées de l’extrait')
    assert sha256(members[DIGESTS]).hexdigest() in of.decode().replace(" ", "")
    assert b"\xef\xbb\xbf" + rest == members[TABLE]
    page.fill("#search", "unal")
    counted(page, BURST, 65)
    mark, _, rest = saved(page, "#save-entries")[1].removeprefix(b"\xef\xbb\xbf").split(b"\r\n", 2)
    assert mark.decode().startswith(f'"{MARK} : {BURST} des 65')
    rows = members[TABLE].split(b"\r\n")
    assert rest.split(b"\r\n")[1:-1] == [row for row in rows if "Ünal".encode() in row]


@pytest.mark.needs("pdftotext")
def test_what_is_printed_is_marked_on_each_page(page: Page, files: Path, tmp_path: Path) -> None:
    """The whole selection, not the page of the table that is shown; the letter alone is not marked."""
    extract = accesses.subject_extract()
    read(page, files, accesses.week_extract())
    counted(page, 65, 65)
    page.evaluate("window.print = () => {}")
    page.get_by_role("button", name="Imprimer la sélection").click()
    expect(page.locator("#table tbody tr")).to_have_count(65)

    def printed() -> list[str]:
        text = read_text(page.pdf(prefer_css_page_size=True, print_background=False), tmp_path / "printed.pdf")
        return text.removesuffix("\f").split("\f")

    sheets = printed()
    assert len(sheets) > 1
    assert [sheet.count(MARK) for sheet in sheets] == [1] * len(sheets)
    assert all("Survenu le" in sheet for sheet in sheets)
    text = "\n".join(sheets)
    assert "Sélection : toutes les entrées." in text
    assert [len(re.findall(name, text)) for name in ("c.martin", "e.leroy", "n.unal", "p.dubois")] == [43, 7, 12, 3]
    page.click("#tab-selfcheck")
    page.get_by_role("button", name="Établir le relevé").click()
    expect(page.locator("#selfcheck-report")).to_contain_text("Échantillon")
    sheets = printed()
    assert [sheet.count(MARK) for sheet in sheets] == [1] * len(sheets)
    assert all(text in "".join(sheets) for text in ("Justification", "Signature :", "n’est pas une accusation"))
    read(page, files, extract, "letter")
    expect(page.locator("#letter-text")).to_contain_text("Objet :")
    assert MARK not in "".join(printed())
    digest = sha256(contents_of(extract)[DIGESTS]).hexdigest()
    assert digest in re.sub(r"\s", "", "".join(printed()))


def test_what_is_made_of_a_trial_extract_says_so(page: Page) -> None:
    """Where the extract is named: on paper, in the file, in the letter."""
    script = "isTrial => Verifier.extractText({ tenant: 'albi', fingerprint: '0', isTrial })"
    assert page.evaluate(script, arg=True).endswith(
        "empreinte de ce qui est signé (SHA-256) 0, signé pour essais seulement"
    )
    assert page.evaluate(script, arg=False).endswith("empreinte de ce qui est signé (SHA-256) 0")


def test_more_entries_than_a_browser_bears_are_not_read(page: Page) -> None:
    """Verified all the same; the reader says how many it takes."""
    script = """count => Verifier.readRows({
      manifest: { origin: {}, filter: {}, disclosed: count }, signature: {}, entries: {},
    }).catch(String)"""
    assert "500\u202f000 au plus" in page.evaluate(script, arg=500_001)


# --- what is counted


def test_activity_by_day_and_hour(page: Page, files: Path) -> None:
    """Bars, a sentence, and the figures as a table."""
    read(page, files, accesses.week_extract(), "activity")
    expect(page.get_by_role("img", name="7 jours, du 02/03/2026 au 08/03/2026")).to_be_visible()
    for summary in page.locator("figure summary").all():
        summary.click()
    days, hours = (figure.locator("tbody tr").all_inner_texts() for figure in page.locator("figure").all())
    assert [row.split("\t")[-1].strip() for row in days] == ["4", "6", "16", "27", "4", "4", "4"]
    assert [row.split("\t")[1].strip() for row in hours][10:23] == [
        *("22", "2", "20", "0", "12", "0", "6", "0", "0", "0", "0", "0", "2"),
    ]


def test_no_day_is_called_the_busiest_where_none_is(page: Page) -> None:
    """One, two alike, or all alike."""
    script = "counts => Verifier.internals.busiest(counts.map((n, at) => [`le ${at}`, n]), 'jour')"
    assert page.evaluate(script, arg=[1, 3]) == "le plus chargé est le 1, avec 3 entrées"
    assert page.evaluate(script, arg=[3, 3, 1]) == "les plus chargés sont le 0 et le 1, avec 3 entrées chacun"
    assert page.evaluate(script, arg=[3, 3]) == "3 entrées chaque jour"


def test_words_are_not_broken_and_tokens_are(page: Page, files: Path) -> None:
    """A long word of French stays whole or takes a hyphen; what is longer than a word may be broken."""
    world = World()
    world.close(march(1))
    actor = {"account": "prenom.nom.tres.long@commune.example", "name": "A B"}
    accesses.access(world, noon(march(2)), actor, WATCHED, "x", action="combination")
    world.close(march(2))
    read(page, files, world.extract(march(2), march(2), at=noon(march(3))).pack())
    counted(page, 1, 1)
    styles = page.locator("#table tbody bdi").evaluate_all(
        "all => all.map(one => [one.textContent, getComputedStyle(one).overflowWrap])"
    )
    assert [wrap for text, wrap in styles if text == "interconnexion"] == ["normal"]
    assert [wrap for text, wrap in styles if "@" in text] == ["anywhere"]


def test_who_consulted_a_reference(page: Page, files: Path) -> None:
    """Each agent, how often, when, why; what was refused is said; an unknown reference is answered, with the limits."""
    read(page, files, accesses.week_extract(), "who")
    page.fill("#reference", "00012")
    expect(page.locator("#known-references option")).to_have_attribute("value", WATCHED)
    page.fill("#reference", WATCHED)
    page.get_by_role("button", name="Montrer").click()
    expect(page.locator("#who-answer")).to_contain_text(f"{WATCHED} : 6 accès de 3 agents.")
    assert lines(page, "Par agent") == [
        [
            *("p.dubois", "Pierre Dubois", "3", "consultation (3)"),
            *("03/03/2026 à 22:10:00 – 08/03/2026 à 10:30:00", "sans motif (3)"),
        ],
        [
            *("c.martin", "Claire Martin", "2, dont 2 refusés", "consultation (2)"),
            *("05/03/2026 à 11:00:00 – 05/03/2026 à 11:01:00", "Contrôle (2)"),
        ],
        ["e.leroy", "Élodie Leroy", "1", "modification (1)", "05/03/2026 à 13:00:00", "Clôture"],
    ]
    assert len(lines(page, "Accès par accès")) == 6
    page.get_by_role("button", name="Voir ces entrées").click()
    counted(page, 6, 65)
    page.click("#tab-who")
    page.fill("#reference", "MC-0")
    page.get_by_role("button", name="Montrer").click()
    expect(page.locator("#who-answer")).to_contain_text("Aucune entrée de cet extrait")
    expect(page.locator("#who-answer")).to_contain_text("a pu être consultée d’autres jours")
    page.fill("#reference", WATCHED.lower())
    page.get_by_role("button", name="Montrer").click()
    expect(page.locator("#who-answer")).to_contain_text("Majuscules et accents comptent")
    page.get_by_role("button", name=WATCHED, exact=True).click()
    expect(page.locator("#who-answer")).to_contain_text(f"{WATCHED} : 6 accès de 3 agents.")


def test_a_crowd_at_one_reference(page: Page, files: Path) -> None:
    """However many agents and motives there are: so many lines, so much in a cell, and what is left out is said."""
    read(page, files, accesses.crowd_extract(510, 25), "who")
    page.fill("#reference", WATCHED)
    page.get_by_role("button", name="Montrer").click()
    expect(page.locator("#who-answer")).to_contain_text(f"{WATCHED} : 534 accès de 510 agents.")
    found = lines(page, "Par agent : les 500 premiers, sur 510")
    assert (len(found), found[0][0]) == (500, "agent.0")
    assert found[0][-1] == " ; ".join([*(f"Motif {number}" for number in range(20)), "et 5 autres"])


def _drawn(extract: bytes, seed: str, size: int) -> list[str]:
    """Draw the sample again, as the report says it is drawn."""
    origin = json.loads(contents_of(extract)[MANIFEST])["origin"]
    entries = [row for row in told(extract) if (row[4], row[7]) == ("consultation", "succès")]
    numbers = sorted((row[0] for row in entries), key=lambda n: sha256(f"{seed}\n{origin}\n{n}".encode()).digest())
    return numbers[:size]


def _late(agent: str, day: str, reason: str, moments: str, count: int, references: str) -> list[str]:
    """Return a line of what happened out of hours, all of it shown."""
    return [agent, day, reason, moments, f"affichage ({count})", references, f"succès ({count})"]


def check_self(page: Page, **thresholds: str) -> None:
    """Ask for the report with these thresholds, and await it."""
    for name, value in {"burst": "10", "minutes": "5", "seed": "dpo 8 mars", "size": "7", **thresholds}.items():
        page.fill(f"#{name}", value)
    page.get_by_role("button", name="Établir le relevé").click()
    expect(page.locator("#selfcheck-report")).to_contain_text(thresholds.get("seed", "dpo 8 mars"))


def test_the_self_check_finds_what_is_there_and_nothing_else(page: Page, files: Path) -> None:
    """Hours, denials, repetitions, a burst, missing motives; what was recorded at one moment is one act."""
    extract = accesses.week_extract()
    read(page, files, extract, "selfcheck")
    agents = page.locator("#of-agent option").all_inner_texts()
    assert agents == ["tous", *sorted(agents[1:])]
    check_self(page)
    report = page.locator("#selfcheck-report").inner_text()
    # Not below all that it lists.
    assert "selfcheck-report" in page.locator("#selfcheck-actions ~ *").evaluate_all("all => all.map(one => one.id)")
    assert "62 consultations abouties de 4 agents ; à part, 2 refus de consultation" in report
    assert lines(page, "Accès en dehors") == [
        _late("p.dubois, Pierre Dubois", "mardi 03/03/2026", "après 20:00", "22:10, 22:20", 2, "1 fiche"),
        _late("c.martin, Claire Martin", "samedi 07/03/2026", "fin de semaine", "10:00, 10:01, 10:02", 3, "3 fiches"),
        _late("e.leroy, Élodie Leroy", "samedi 07/03/2026", "fin de semaine", "16:00", 1, "1 fiche"),
        _late("c.martin, Claire Martin", "dimanche 08/03/2026", "fin de semaine", "10:00, 10:01, 10:02", 3, "3 fiches"),
        _late("p.dubois, Pierre Dubois", "dimanche 08/03/2026", "fin de semaine", "10:30", 1, "1 fiche"),
    ]
    assert [line[:3] for line in lines(page, "Accès refusés")] == [
        ["c.martin, Claire Martin", f"05/03/2026 à 11:0{minute}:00", WATCHED] for minute in (0, 1)
    ]
    assert lines(page, "Même fiche, même agent") == [
        [
            *("e.leroy, Élodie Leroy", FOLLOWED, "6 fois"),
            *("02/03/2026 à 16:00:00 – 07/03/2026 à 16:00:00", "Dossier suivi"),
        ]
    ]
    assert lines(page, "Beaucoup de consultations") == [
        [
            *("n.unal, Noé Ünal", "04/03/2026 à 14:00:00", "04/03/2026 à 14:03:40"),
            *(f"{BURST} consultations", f"{BURST} fiches"),
        ]
    ]
    assert [line[:2] for line in lines(page, "Consultations sans motif")] == [["p.dubois, Pierre Dubois", "3 sur 3"]]
    assert [line[1] for line in lines(page, "Consultations tirées")] == _drawn(extract, "dpo 8 mars", 7)


def test_thresholds_of_the_self_check_are_the_readers(page: Page, files: Path) -> None:
    """Each may be changed; a night service passes midnight; another seed draws others."""
    extract = accesses.week_extract(purpose="lawfulness")
    read(page, files, extract, "selfcheck")
    assert "demandé pour une autre finalité" in page.locator("#selfcheck-purpose").inner_text()
    page.get_by_label("samedis et dimanches hors service").uncheck()
    check_self(page, denied="3", repeats="7", burst="13", seed="autre", size="100")
    assert [line[1] for line in lines(page, "Accès en dehors")] == ["mardi 03/03/2026"]
    headings = page.locator("#selfcheck-report h3").all_inner_texts()
    assert sum("aucune indication" in heading for heading in headings) == 3
    assert [line[1] for line in lines(page, "Consultations tirées")] == _drawn(extract, "autre", 100)
    check_self(page, opens="22:00", closes="06:00", seed="de nuit")
    assert "impressions hors de 22:00 à 06:00 le lendemain" in page.locator("#selfcheck-report").inner_text()
    assert all("22:10" not in line[3] for line in lines(page, "Accès en dehors"))
    assert "Une indication n’est pas une accusation" in page.locator("#selfcheck").inner_text()


def test_two_extracts_of_the_same_days_draw_the_same(page: Page, files: Path) -> None:
    """Asked for another purpose, the extract has another fingerprint; the seed draws what it drew."""
    found = []
    for purpose in ("self-monitoring", "lawfulness"):
        read(page, files, accesses.week_extract(purpose=purpose), "selfcheck")
        check_self(page)
        found.append(lines(page, "Consultations tirées"))
    assert found[0] == found[1]


def _wild() -> bytes:
    """Return the extract of a Monday: accesses on both sides of the hours, a failure, an export and a modification."""
    world = World()
    world.close(march(1))
    view, late = {"outcome": "success"}, march(2)
    for hour, told_ in (
        (4, view),
        (9, {"outcome": "failure"}),
        (9, {"outcome": "denied"}),
        (20, view),
        (21, {"operation": "export"}),
        (22, {"action": "modification", "operation": "update"}),
    ):
        accesses.access(world, noon(late, hour=hour, minutes=20), accesses.MARTIN, WATCHED, "Contrôle", **told_)
    accesses.access(world, noon(late, hour=22, minutes=30), accesses.UNAL, WATCHED, "Contrôle")
    world.close(late)
    return world.extract(late, late, at=noon(march(3)), purpose="self-monitoring").pack()


@pytest.mark.needs("pdftotext")
def test_the_self_check_accuses_nobody_of_more_than_was_recorded(page: Page, files: Path, tmp_path: Path) -> None:
    """Each side of the hours is a line with its moments; what failed is no consultation; each agent has a sheet."""
    read(page, files, _wild(), "selfcheck")
    check_self(page)
    report = page.locator("#selfcheck-report")
    expect(page.get_by_role("button", name="Imprimer le relevé")).to_be_in_viewport()
    assert "4 consultations abouties de 2 agents ; à part, 1 échec et 1 refus de consultation" in report.inner_text()
    assert [line[0][:8] + line[2] + line[3] for line in lines(page, "Accès en dehors")] == [
        "c.martinavant 07:0005:20",
        "c.martinaprès 20:0021:20, 22:20, 23:20",
        "n.unal, après 20:0023:30",
    ]
    assert {line[6] for line in lines(page, "Consultations tirées")} == {"succès"}
    page.evaluate("window.print = () => {}")
    page.get_by_role("button", name="Imprimer une feuille par agent").click()
    text = read_text(page.pdf(prefer_css_page_size=True, print_background=False), tmp_path / "printed.pdf")
    sheets = text.removesuffix("\f").split("\f")
    of = [sheet for sheet in sheets if "Feuille de" in sheet]
    assert ["c.martin" in sheet for sheet in of] == [True, False]
    assert ["n.unal" in sheet for sheet in of] == [False, True]
    assert all(sheet.count("Vue non probante") == 1 for sheet in sheets)
    assert text.count("Explications de l’agent") == 2
    for tick in ("les modifications", "les exports"):
        page.get_by_label(tick).uncheck()
    page.get_by_label("Agent", exact=True).select_option("c.martin")
    check_self(page, seed="un seul")
    assert [line[3] for line in lines(page, "Accès en dehors")] == ["05:20", "21:20"]


def test_public_holidays(page: Page) -> None:
    """Those of the law, Easter's with it; those of Alsace and Moselle when asked."""
    days = page.evaluate(
        "[2026, 2027].map((year) => [...Verifier.internals.holidays(String(year), true).keys()].sort())"
    )
    assert days[0] == [
        *("2026-01-01", "2026-04-03", "2026-04-06", "2026-05-01", "2026-05-08", "2026-05-14", "2026-05-25"),
        *("2026-07-14", "2026-08-15", "2026-11-01", "2026-11-11", "2026-12-25", "2026-12-26"),
    ]
    assert {"2027-03-29", "2027-05-06", "2027-05-17"} < set(days[1])


# --- the letter


def test_the_letter_names_no_agent_unless_asked(page: Page, files: Path) -> None:
    """When, what, by which function; names and motives come by a tick, names with a warning; corrections stay."""
    read(page, files, accesses.subject_extract(), "letter")
    letter = page.locator("#letter-text")
    expect(letter).to_contain_text("6 accès ont été enregistrés, par 3 agents. De ces accès, le logiciel en a refusé 2")
    assert len(lines(page, "Accès et tentatives")) == 6
    for kept_back in ("p.dubois", "Dubois", "Martin", "Leroy", "Contrôle"):
        assert kept_back not in letter.inner_text()
    assert ["03/03/2026 à 22:10:00", "ASVP, PM Montreuil", "consultation, affichage", "succès"] in lines(page, "Accès")
    page.get_by_text("[Madame, Monsieur],").fill("Madame,")
    page.get_by_label("ajouter les noms").check()
    assert "donnée personnelle" in page.locator("#letter-warning").inner_text()
    page.get_by_label("ajouter les motifs").check()
    assert ["05/03/2026 à 11:00:00", "c.martin, Claire Martin, brigadier-chef, PM Montreuil"] in [
        line[:2] for line in lines(page, "Accès et tentatives")
    ]
    assert "Madame," in letter.inner_text()
    name, content = saved(page, "#letter-save")
    assert name == "reponse-a-une-personne.txt"
    assert "Madame,\r\n" in content.decode("utf-8-sig")
    assert "Autorisation" not in content.decode()
    assert "Maire de Montreuil" in page.locator("#letter-authorisation").inner_text()
    assert "ne porte que sur la période du 2 au 8 mars 2026" in content.decode()
    page.click("#tab-who")
    page.get_by_role("button", name="Montrer").click()
    expect(page.locator("#who-answer")).to_contain_text("cet extrait (du 2 au 8 mars 2026), demandé pour cette fiche ;")


def test_what_an_extract_is_of(page: Page) -> None:
    """The commune and the category are told by their codes, as codes; the service itself is no commune."""
    script = "tenant => Verifier.extractText({ tenant, category: 'ecrits', fingerprint: '0' })"
    assert "journal des accès de la commune « albi », catégorie « ecrits », " in page.evaluate(script, arg="albi")
    assert "journal des accès du service, catégorie « ecrits », " in page.evaluate(script, arg="_service")


@pytest.mark.parametrize(
    ("extract", "said"),
    [
        (accesses.week_extract, "ne porte pas sur une seule fiche"),
        (accesses.subject_extract, "n’indique aucune autorisation"),
    ],
    ids=["whole", "not authorised"],
)
def test_no_letter_without_what_it_needs(page: Page, files: Path, extract: Callable[..., bytes], said: str) -> None:
    """One reference, and an authorisation: it says which is missing, and how to ask."""
    read(page, files, extract(authorisation=None), "letter")
    expect(page.locator("#letter-refusal")).to_contain_text(said)
    assert not page.locator("#letter-text").is_visible()


# --- what is not shown, and how it is used


def test_a_refused_extract_is_not_read(page: Page, files: Path) -> None:
    """Nothing of it is shown, and it says so; nor is anything left of one read before it."""
    read(page, files, accesses.week_extract())
    counted(page, 65, 65)
    choose(page, files, sample(requester="x").pack()[:-40])
    text = verdict(page)
    assert "cette page ne montre rien de ce que contient un extrait qu’elle refuse" in text
    assert not page.locator("#tabs").is_visible()
    assert not page.locator("#entries").is_visible()
    page.get_by_role("button", name="Effacer").click()
    assert page.locator("#report").inner_text() == ""


def test_nothing_to_read_is_said(page: Page, files: Path) -> None:
    """An extract without entries has no views."""
    choose(page, files, container("empty"))
    verdict(page)
    expect(page.locator("#opening")).to_contain_text("ne communique aucune entrée")
    assert not page.locator("#tabs").is_visible()


def test_the_keyboard_leads_through_the_views(page: Page, files: Path) -> None:
    """Arrows, Home and End, as in any list of tabs; the first one after the verdict is one Tab away."""
    read(page, files, accesses.week_extract(), "details")
    page.focus("#tab-details")
    found = []
    for key in ("ArrowRight", "ArrowRight", "End", "ArrowRight", "ArrowLeft", "Home"):
        page.keyboard.press(key)
        found.append(page.evaluate("document.activeElement.id"))
    assert found == ["tab-entries", "tab-activity", "tab-letter", "tab-details", "tab-letter", "tab-details"]
    page.keyboard.press("ArrowRight")
    assert page.get_by_role("tabpanel", name="Entrées").is_visible()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "search"
    page.keyboard.type("unal")
    counted(page, BURST, 65)


@pytest.mark.parametrize(
    ("width", "theme"), [*SOME, *(pytest.param(*look, marks=pytest.mark.campaign) for look in EVERY[len(SOME) :])]
)
def test_each_view_is_for_everybody(page: Page, files: Path, width: int, theme: Any) -> None:
    """What axe can tell of it is right, and it is no wider than the screen."""
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=theme)
    reference = f"DPO 2026-17 (document SHA-256 {'ab' * 32})"
    authorised = Authorisation("Maire de Montreuil", march(accesses.LAST), reference)
    read(page, files, accesses.subject_extract(authorisation=authorised))
    page.click("#filters summary")
    page.click("#choices summary")
    for view in VIEWS:
        page.click(f"#tab-{view}")
        if view == "activity":
            page.locator("figure summary").last.click()
        if view == "who":
            page.get_by_role("button", name="Montrer").click()
            expect(page.locator("#who-answer")).to_contain_text("Par agent")
        if view == "selfcheck":
            check_self(page)
        assert faults(page) == [], view
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), view


# --- how much it bears


def _memory_mib() -> int:
    """Return the memory of the browser's renderers, what is shared counted once."""
    total = 0
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if b"--type=renderer" in (process / "cmdline").read_bytes():
                total += int(re.findall(r"^Pss: +(\d+)", (process / "smaps_rollup").read_text(), re.MULTILINE)[0])
        except OSError:
            continue
    return total // 1024


@pytest.mark.campaign
def test_a_hundred_thousand_entries(page: Page, files: Path, record_property: Callable[[str, object], None]) -> None:
    """Verified, read, searched, sorted, checked, saved; each takes a time and the browser a memory that are told."""
    count = 100_000
    extract = accesses.many_accesses(count)
    before = _memory_mib()

    def timed(what: str, act: Callable[[], None]) -> None:
        started, processor = time.perf_counter(), seconds_of(os.getpid())
        act()
        took, used = time.perf_counter() - started, seconds_of(os.getpid()) - processor
        record_property(
            "evidence",
            f"reader, 100,000 entries: {what}: {took:.1f} s, {used:.1f} s of processor, {_memory_mib() - before} MiB",
        )

    def search(text: str, found: int) -> None:
        page.fill("#search", text)
        page.get_by_text(re.compile(f"^{_spaced(found)} entrées sur {_spaced(count)}$")).wait_for()

    timed("1 verified and read", lambda: read(page, files, extract))
    timed("2 first search", lambda: search("controle nom12", 0 + _expected(count, "Contrôle routier", 12)))
    timed("3 next search", lambda: search("nom12", _expected(count, "", 12)))
    search("", count)
    button = page.get_by_role("columnheader", name="Objet").get_by_role("button")
    first = page.locator("#table tbody tr").first
    timed("4 sorted by reference", lambda: (button.click(), expect(first).to_contain_text("MC-2026-00000"))[0])
    timed("5 self-check", lambda: (page.click("#tab-selfcheck"), check_self(page))[0])
    page.click("#tab-entries")
    page.evaluate("window.print = () => {}")
    page.get_by_role("button", name="Imprimer la sélection").click()
    expect(page.locator("#entries-note")).to_contain_text("premières des")
    assert page.locator("#table tbody tr").count() == 2000
    timed("6 saved as CSV", lambda: (saved(page, "#save-entries"), None)[1])


def _spaced(number: int) -> str:
    return f"{number:,}".replace(",", "\\s")


def _expected(count: int, motive: str, agent: int) -> int:
    """How many entries of `many_accesses` have that motive (any: none given) and an agent whose number is that."""
    motives = ("Suite d’une plainte", "Contrôle routier", "Vérification avant transmission", "")
    return sum(n * 7 % 40 == agent and motive in {"", motives[n // 40 % 4]} for n in range(count))
