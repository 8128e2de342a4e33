"""The table for spreadsheets: its columns, and cells that no spreadsheet evaluates."""

from __future__ import annotations

import csv
import re
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from io import StringIO
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from journal.core import canonical
from journal.core.entry import JOURNAL_CATEGORY, Compartment, encode_record, parse_record
from journal.core.paris import paris_time
from journal.core.times import format_time
from journal.extract import table
from tests.support import authority
from tests.support.extracts import COMPARTMENT, event


def record_of(event: Any, compartment: Compartment = COMPARTMENT) -> bytes:
    """Return a record around any event."""
    return encode_record(
        compartment=compartment,
        event=canonical.encode(event),
        index=7,
        recorded_at="2026-03-02T12:00:00.000000Z",
        submitted_by="module-1",
    )


def cells(row: bytes) -> list[str]:
    """Read one line as a spreadsheet would."""
    (found,) = csv.reader(StringIO(row.decode(), newline=""), delimiter=";", strict=True)
    return found


def table_row(**members: Any) -> dict[str, str]:
    """Return the cells of an event with other members, by column."""
    return dict(zip(table.COLUMNS, cells(table.row(parse_record(record_of(event(4, **members)))))))


def test_the_table_begins_as_french_spreadsheets_expect() -> None:
    """A byte order mark, semicolons, every field quoted, CRLF."""
    assert table.HEADER.startswith(b'\xef\xbb\xbf"n\xc2\xb0";"survenu le (heure de Paris)')
    assert table.HEADER.endswith(b'"\r\n')
    assert tuple(cells(table.HEADER[3:])) == table.COLUMNS


def test_a_row_says_what_the_entry_says() -> None:
    """Each member of a usual event has its column, in French where it is a code."""
    data = {
        "actor": {"account": "a.dupont", "name": "Anne Dupont", "role": "brigadière", "unit": "PM"},
        "justification": 'suite "vol"; voir n° 3',
        "recipients": ["parquet", "préfecture"],
        "operation": "transmit",
        "count": 2,
        "outcome": "denied",
        "fields": ["nom", "adresse"],
        "client": {"address": "2001:db8::1", "workstation": "pm-3", "session": "s"},
    }
    found = table_row(data=data, type="fr.openepm.journal.disclosure")
    assert list(found.values()) == [
        "7",
        "2026-03-01 à 09:00:00",
        "2026-03-01T08:00:00.000000Z",
        "2026-03-02T12:00:00.000000Z",
        "communication",
        "transmission",
        "2",
        "refusé",
        "a.dupont",
        "Anne Dupont",
        "brigadière, PM",
        "main-courante/4",
        'suite "vol"; voir n° 3',
        "parquet, préfecture",
        "nom, adresse",
        "pm-3, 2001:db8::1, s",
        "/openepm/montreuil 00000004, transmis par module-1",
        "",
    ]
    assert table_row(type="org.example.other")["action"] == "org.example.other"
    assert table_row(type="fr.openepm.journal.=1", data={})["action"] == "'=1"


def journal_row(action: str, subject: str, data: dict[str, Any]) -> dict[str, str]:
    """Return the cells of an entry of the service's own, by column."""
    journal = Compartment(authority.SERVICE, "montreuil", JOURNAL_CATEGORY)
    made = event(1, type=f"fr.openepm.journal.service.{action}", subject=subject, data=data)
    return dict(zip(table.COLUMNS, cells(table.row(parse_record(record_of(made, journal))))))


def test_a_row_of_a_request_says_who_asked_why_which_days_and_which_reference() -> None:
    """In the columns of people, and in French."""
    found = journal_row(
        "extract",
        "main-courante",
        {
            "category": "main-courante",
            "credential": "3f9a",
            "filter": {"account": "c.martin", "action": "disclosure"},
            "from": "2026-03-01",
            "purpose": "lawfulness",
            "reference": "DPD-2026-14",
            "requester": "DPD de la commune",
            "to": "2026-03-02",
        },
    )
    assert found["action"] == "demande d'extrait"
    assert found["nom"] == "DPD de la commune"
    assert found["objet"] == "main-courante"
    assert found["motif"] == "vérification de la licéité du traitement"
    assert found["détails"] == (
        "du : 2026-03-01 ; au : 2026-03-02 ; référence : DPD-2026-14 ; "
        "filtre : (compte : c.martin ; action : communication) ; catégorie : main-courante ; jeton d'accès : 3f9a"
    )


def test_a_row_shows_what_has_no_column() -> None:
    """What the columns do not show of an event, the last one tells: known words first, then by name."""
    found = journal_row("purge", "montreuil", {"days": [{"day": "2026-01-01", "count": 12}, {"is_there": False}]})
    assert found["action"] == "purge"
    assert found["détails"] == "jours : (jour : 2026-01-01 ; nombre : 12), (présent : non)"
    found = journal_row("alarm", "seal", {"reason": "key absent", "alarm": "declared loss"})
    assert (found["motif"], found["détails"]) == ("key absent", "alarme : perte déclarée")
    for members, details in (
        ({"data": "text"}, "data : text"),
        ({"data": {"actor": "a", "client": [1, True]}}, "actor : a ; client : 1, oui"),
        ({"data": {"actor": {"account": "a", "badge": 7}}}, "actor : (badge : 7)"),
        ({"data": {}, "b": True, "a": "x", "sequence": "12"}, "séquence : 12 ; a : x ; b : oui"),
    ):
        assert table_row(**members)["détails"] == details
    without_data = {name: value for name, value in event(4).items() if name != "data"}
    assert cells(table.row(parse_record(record_of(without_data))))[-1] == ""
    assert table_row(data={"recipients": [1, "a"], "outcome": 3, "fields": True})["destinataires"] == "'1, a"
    assert table_row(data={"outcome": 3})["résultat"] == "'3"
    assert table_row(data={"outcome": ["success"]})["résultat"] == "succès"
    assert table_row(data={"fields": True})["champs"] == "oui"


@pytest.mark.parametrize(
    ("count", "cell"),
    [
        (0, "0"),
        (50, "50"),
        (10**11 - 1, "99999999999"),
        (10**11, "'100000000000"),
        (-1, "'-1"),
        ("12", "12"),
        ("012", "'012"),
    ],
)
def test_a_number_is_one_while_spreadsheets_show_it_as_it_is(count: int, cell: str) -> None:
    """Beyond, and below zero, it is text; nothing stands where there is none."""
    assert table_row(data={"count": count})["nombre"] == cell
    assert table_row(data={"count": True})["nombre"] == "oui"
    assert table_row(data={})["nombre"] == ""
    entry = replace(parse_record(record_of(event(1))), index=10**11)
    assert cells(table.row(entry))[0] == "'100000000000"


@pytest.mark.parametrize(
    ("utc", "paris"),
    [
        ("2026-03-29T00:59:59.999999Z", "2026-03-29 à 01:59:59"),
        ("2026-03-29T01:00:00.000000Z", "2026-03-29 à 03:00:00"),
        ("2026-10-25T00:59:59.000000Z", "2026-10-25 à 02:59:59"),
        ("2026-10-25T01:00:00.000000Z", "2026-10-25 à 02bis:00:00"),
        ("2026-10-25T02:00:00.000000Z", "2026-10-25 à 03:00:00"),
        ("2026-12-31T23:30:00.000000Z", "2027-01-01 à 00:30:00"),
        ("0001-01-01T00:00:00.000000Z", "0001-01-01 à 01:00:00"),
        ("9999-12-31T22:59:59.000000Z", "9999-12-31 à 23:59:59"),
        ("9999-12-31T23:00:00.000000Z", ""),
    ],
)
def test_the_time_in_paris(utc: str, paris: str) -> None:
    """At the changes of the hour, and at the ends of the calendar."""
    assert table_row(time=utc)["survenu le (heure de Paris)"] == paris


def test_the_rule_of_paris_is_that_of_the_database_of_time_zones() -> None:
    """Every hour of a hundred changes, since 1996; and texts are in the order of times."""
    paris = ZoneInfo("Europe/Paris")
    before = ""
    for year in range(1996, 2046):
        for month in (3, 10):
            moment = datetime(year, month, 24, tzinfo=timezone.utc)
            while moment.day >= 24:
                text = paris_time(format_time(moment))
                local = moment.astimezone(paris)
                assert text.replace("bis", "") == f"{local:%Y-%m-%d à %H:%M:%S}"
                assert ("bis" in text) == (local.fold == 1)
                assert before < text
                before, moment = text, moment + timedelta(minutes=30)


FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "＝1", "＋1", "－1", "＠x", "﹦1", "﹢1", "﹣1", "﹫x", "−1"]


@pytest.mark.parametrize("formula", FORMULAS)
def test_no_cell_begins_a_formula(formula: str) -> None:
    """An apostrophe stands before it: at the start, after blanks and quotation marks, at another separator."""
    assert table_row(subject=formula)["objet"] == f"'{formula}"
    assert table_row(subject=f' " {formula}')["objet"] == f"' \" {formula}"
    for separator in ",;|":
        assert table_row(subject=f"a{separator}{formula}")["objet"] == f"a{separator}'{formula}"
        assert table_row(subject=f'a{separator} "{formula}')["objet"] == f"a{separator}' \"{formula}"
    assert table_row(data={"recipients": ["a", formula]})["destinataires"] == f"a,' {formula}"
    assert table_row(subject=f"a {formula}")["objet"] == f"a {formula}"


VALUES = [
    *("0012", "12", " 12", "1E5", "3e10", ".5", ",5", "(12)", "€12", "12 €", "$ 12", "12%", "% 1", "１２", "12 rue"),
    *("1/2", "12:30", "2026-03-01", "1.2.3", "8d7e0f0c", "#N/A", "#REF!", "TRUE", "vrai", " Faux ", '"false"'),
    *("mars 2026", "MAR-3", "mai 26", "Lundi 2 mars", "lun. mars 2", "Monday, March 2", "sept. 3", "déc/1", "AOÛT1"),
    *("'12", "'abc", "'"),
]


@pytest.mark.parametrize("value", VALUES)
def test_no_cell_begins_a_number_a_date_or_a_truth_value(value: str) -> None:
    """One apostrophe stands before it; and before what begins with one, so that it can be told."""
    assert table_row(subject=value)["objet"] == f"'{value}"
    assert table_row(subject="x", data={"justification": value})["motif"] == f"'{value}"


@pytest.mark.parametrize(
    "text",
    ["PM 93", "MC-2026-04127", "agent-7", "martin2", "main-courante/4", "mars", "vraie", "lundi soir", "E5", "."],
)
def test_what_no_spreadsheet_takes_for_a_value_is_left_alone(text: str) -> None:
    """References and names as they are usual."""
    assert table_row(subject=text)["objet"] == text


@pytest.mark.parametrize(("start", "sign"), [("\t", "␉"), ("\r", "␍"), ("\n", "␊")])
def test_no_cell_begins_with_what_a_spreadsheet_skips(start: str, sign: str) -> None:
    """Tab, carriage return and line feed are shown, and marked as text besides."""
    assert table_row(subject=f"{start}=1")["objet"] == f"'{sign}=1"


@pytest.mark.parametrize(
    ("character", "sign"),
    [
        ("\x01", "␁"),
        ("\x1f", "␟"),
        ("\x7f", "␡"),
        ("\x85", "⟦U+0085⟧"),
        ("\xad", "⟦U+00AD⟧"),
        ("\u061c", "⟦U+061C⟧"),
        ("\u200b", "⟦U+200B⟧"),
        ("\u200f", "⟦U+200F⟧"),
        ("\u2028", "⟦U+2028⟧"),
        ("\u202e", "⟦U+202E⟧"),
        ("\u2066", "⟦U+2066⟧"),
        ("\ufeff", "⟦U+FEFF⟧"),
        ("\U000e0041", "⟦U+E0041⟧"),
    ],
)
def test_what_hides_or_reorders_is_made_visible(character: str, sign: str) -> None:
    """Control, bidirectional and invisible characters are shown, never left to act."""
    assert table_row(subject=f"a{character}b")["objet"] == f"a{sign}b"


def test_the_unusual_rest_of_unicode_is_left_alone() -> None:
    """Other scripts, combining marks, emoji and currency are what they are."""
    text = "Ünal é العربية 中文 👮 € « guillemets » l'apostrophe"
    assert table_row(subject=text)["objet"] == text


def test_a_null_character_is_made_visible_although_no_record_holds_it() -> None:
    """The function is total: it does not rest on what other modules refuse."""
    assert table.join(["a\0b", "\0=1", "c"]) == """a␀b";"'␀=1";"c"""


texts = st.text(
    st.one_of(
        st.characters(exclude_categories=["Cs"], exclude_characters="\0"), st.sampled_from("=+-@,;|\"' \t\r\n\u202e")
    )
)
values = st.recursive(
    st.one_of(texts, st.booleans(), st.integers(-(2**53) + 1, 2**53 - 1)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["account", "name", "address", "x"]), inner, max_size=3),
    ),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(["actor", "client", "justification", "recipients", "y"]), values), texts)
def test_any_valid_record_has_one_safe_line(data: dict[str, Any], subject: str) -> None:
    """Total over records: one line, every column, no raw control, no cell that begins a formula."""
    row = table.row(parse_record(record_of(event(1, data=data, subject=subject))))
    assert row.endswith(b"\r\n")
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u200b-\u200f]", row[:-2].decode())
    found = cells(row)
    assert len(found) == len(table.COLUMNS)
    for cell in found[4:]:
        assert not re.match(r"[ \"']*[=+\-@0-9]", cell) or cell.startswith("'")


@given(st.lists(st.one_of(texts, st.sampled_from(VALUES)), min_size=2, max_size=4))
def test_the_short_way_gives_what_the_long_way_gives(cells_given: list[str]) -> None:
    """A line that needs no work is the one that work would have made."""
    assert table.join(cells_given) == '";"'.join(table._safe(cell).replace('"', '""') for cell in cells_given)


plain = texts.filter(lambda text: not re.search('["\x00-\x1f]', text))


@given(st.lists(st.lists(st.one_of(plain, st.sampled_from(VALUES)), min_size=1, max_size=3), min_size=1, max_size=3))
def test_many_lines_at_once_are_what_each_of_their_cells_is(lines: list[list[str]]) -> None:
    """Whether or not one of them needs work; where a character is not seen, nothing is said."""
    lines = [[cell for cell in line if not re.search('["\x00-\x1f]', cell)] for line in lines]
    found = table.safe_lines('"1";"accès' + "".join(f"\0{cell}" for cell in line) + '"\r\n' for line in lines)
    if found is None:
        assert any(table.visible(cell) != cell for line in lines for cell in line)
        return
    safe = ['";"'.join(["accès", *map(table._safe, line)]) for line in lines]
    assert found.decode() == "".join(f'"1";"{line}"\r\n' for line in safe)


def test_a_long_run_costs_linear_time() -> None:
    """No pattern walks a run again from each of its characters."""
    for text in (" ", "\t", '"', "'", ",", ".", "(", "a", "mar ", "lun. ", "vrai "):
        assert table.join([text * 100_000, "x"]).endswith('";"x')
