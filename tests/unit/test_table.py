"""The table for spreadsheets: its columns, and cells that no spreadsheet evaluates."""

from __future__ import annotations

import csv
import re
from io import StringIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from journal.core import canonical
from journal.core.entry import JOURNAL_CATEGORY, Compartment, encode_record, parse_record
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
    assert table.HEADER.startswith(b'\xef\xbb\xbf"n\xc2\xb0";"enregistr')
    assert table.HEADER.endswith(b'"\r\n')
    assert tuple(cells(table.HEADER[3:])) == table.COLUMNS


def test_a_row_says_what_the_entry_says() -> None:
    """Each member of a usual event has its column, in French where it is a code."""
    data = {
        "actor": {"account": "a.dupont", "name": "Anne Dupont", "role": "brigadière", "unit": "PM"},
        "justification": 'suite "vol"; voir n° 3',
        "recipients": ["parquet", "préfecture"],
        "outcome": "denied",
        "fields": ["nom", "adresse"],
        "client": {"address": "2001:db8::1", "workstation": "pm-3", "session": "s"},
    }
    found = table_row(data=data, type="fr.openepm.journal.disclosure", sequence="12", traceparent="00-ab-cd-01")
    assert list(found.values()) == [
        "7",
        "2026-03-02T12:00:00.000000Z",
        "2026-03-01T08:00:00.000000Z",
        "communication (disclosure)",
        "a.dupont",
        "Anne Dupont",
        "brigadière",
        "PM",
        "main-courante/4",
        'suite "vol"; voir n° 3',
        "parquet, préfecture",
        "refusé (denied)",
        "nom, adresse",
        "2001:db8::1",
        "pm-3",
        "s",
        "/openepm/montreuil",
        "00000004",
        "12",
        "00-ab-cd-01",
        "module-1",
        "",
    ]
    assert table_row()["action"] == "consultation"
    assert table_row(type="org.example.other")["action"] == "org.example.other"


def test_a_row_shows_what_has_no_column() -> None:
    """What the columns do not show of an event, the last one does, as canonical JSON."""
    journal = Compartment(authority.SERVICE, "montreuil", JOURNAL_CATEGORY)
    purge = event(1, type="fr.openepm.journal.service.purge", data={"category": "ecrits", "count": 12})
    found = cells(table.row(parse_record(record_of(purge, journal))))
    assert found[3] == "purge (service.purge)"
    assert found[-1] == '{"data":{"category":"ecrits","count":12}}'
    for members, details in (
        ({"data": "text"}, '{"data":"text"}'),
        ({"data": {"actor": "a", "client": [1]}}, '{"actor":"a","client":[1]}'),
        ({"data": {"actor": {"account": "a", "badge": 7}}}, '{"actor":{"badge":7}}'),
        ({"data": {}, "extension": True}, '{"event":{"extension":true}}'),
    ):
        assert table_row(**members)["détails"] == details
    assert table_row(data={"recipients": [1, "a"], "outcome": 3, "fields": True})["destinataires"] == '[1,"a"]'
    assert table_row(data={"fields": True})["champs"] == "true"


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
    assert cells(table._line(["a\0b", "\0=1", "c"])) == ["a␀b", "'␀=1", "c"]


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
    for cell in found:
        assert not re.match(r"[ \"']*[=+\-@]", cell) or cell.startswith("'")


@given(st.lists(texts, min_size=2, max_size=4))
def test_the_short_way_gives_what_the_long_way_gives(cells_given: list[str]) -> None:
    """A line that needs no work is the one that work would have made."""
    safe = '";"'.join(table._safe(cell).replace('"', '""') for cell in cells_given)
    assert table._line(cells_given) == f'"{safe}"\r\n'.encode()


def test_a_long_run_costs_linear_time() -> None:
    """No pattern walks a run again from each of its characters."""
    for character in " \t\"',":
        assert table._line([character * 200_000, "x"]).endswith(b'"x"\r\n')
