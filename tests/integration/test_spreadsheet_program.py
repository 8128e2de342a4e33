"""`extrait.csv` opened by LibreOffice for real: hostile entries stay text, and accents stay what they are (X-09)."""

from __future__ import annotations

import csv
import subprocess
from functools import cache
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET
from zipfile import ZipFile

import pytest

from journal.core.entry import parse_record
from journal.extract import table
from tests.support.cells import HOSTILE, USUAL
from tests.support.extracts import World, march, noon

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

pytestmark = [pytest.mark.campaign, pytest.mark.needs("soffice")]

# Semicolons, quotation marks, UTF-8, from the first line on; numbers recognised, formulas evaluated: as forward as
# the program can be. Its language decides which dates and decimals it knows.
FILTER = "Text - txt - csv (StarCalc):59,34,76,1,,{language},false,true,false,false,false,-1,true"
LANGUAGES = {"French": 1036, "English": 1033}
# Back to a table like ours, every cell between quotation marks, as it is shown.
WRITTEN = "csv:Text - txt - csv (StarCalc):59,34,76,1,,0,true,true,false"
TABLE = "{urn:oasis:names:tc:opendocument:xmlns:table:1.0}"
TEXT = "{urn:oasis:names:tc:opendocument:xmlns:text:1.0}"
OFFICE = "{urn:oasis:names:tc:opendocument:xmlns:office:1.0}"
SHEET = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
COLUMN = {name: place for place, name in enumerate(table.COLUMNS)}
TEXTS = (*HOSTILE, *USUAL)
COUNT = 50


def converted(path: Path, content: bytes, kind: str, language: str) -> Path:
    """Return the table once LibreOffice has opened it, and written it as `kind`."""
    source = path / "extrait.csv"
    source.write_bytes(content)
    out = path / "out"
    command = ["soffice", f"-env:UserInstallation=file://{path}/profile", "--headless", "--convert-to", kind]
    command += [f"--infilter={FILTER.format(language=LANGUAGES[language])}", "--outdir", str(out), str(source)]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    return out / f"extrait.{kind.partition(':')[0]}"


def opened(path: Path, content: bytes, language: str = "French") -> list[list[tuple[str | None, str, str]]]:
    """Return the cells of a table as LibreOffice has them: the formula, if it is one, the type, and the text shown."""
    rows = []
    for row in ET.parse(converted(path, content, "fods", language)).iter(f"{TABLE}table-row"):
        cells: list[tuple[str | None, str, str]] = []
        for cell in row.iter(f"{TABLE}table-cell"):
            shown = "\n".join("".join(text.itertext()) for text in cell.iter(f"{TEXT}p"))
            count = int(cell.get(f"{TABLE}number-columns-repeated", "1"))
            found = (cell.get(f"{TABLE}formula"), cell.get(f"{OFFICE}value-type", "string"), shown)
            cells += [found] * min(count, 100)
        rows.append(cells)
    return rows


def read_csv(path: Path) -> list[list[str]]:
    """Return the cells of a table in the spelling of ours."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.reader(file, delimiter=";", strict=True))


def read_xlsx(path: Path) -> list[dict[str, tuple[str, str]]]:
    """Return the cells of the first sheet of a workbook, by column: the type that Excel is told, and the value."""
    with ZipFile(path) as book:
        shared = [
            "".join(text.text or "" for text in item.iter(f"{SHEET}t"))
            for item in ET.fromstring(book.read("xl/sharedStrings.xml")).iter(f"{SHEET}si")
        ]
        rows = ET.fromstring(book.read("xl/worksheets/sheet1.xml")).iter(f"{SHEET}row")
        return [dict(_cells(row, shared)) for row in rows]


def _cells(row: ET.Element, shared: list[str]) -> Iterator[tuple[str, tuple[str, str]]]:
    for cell in row.iter(f"{SHEET}c"):
        value = cell.findtext(f"{SHEET}v")
        assert cell.find(f"{SHEET}f") is None
        if value is not None:
            kind = cell.get("t", "n")
            yield cell.get("r", "").rstrip("0123456789"), (kind, shared[int(value)] if kind == "s" else value)


@cache
def written() -> bytes:
    """Return the table of entries that hold each text, in two cells."""
    return table_of(TEXTS)


def table_of(texts: Sequence[str]) -> bytes:
    """Return the table of entries that hold each text, in two cells."""
    world = World()
    for number, text in enumerate(texts):
        data = {"actor": {"account": text}, "justification": text, "outcome": "success", "count": COUNT}
        world.append(noon(march(2), seconds=number), subject=text, data=data)
    return table.HEADER + b"".join(table.row(parse_record(record)) for record in world.records)


def said(text: str) -> str:
    """Return a text as its cell is to show it: what is not seen as signs, formulas within it guarded."""
    return table._FORMULA_WITHIN.sub(r"\1'", table.visible(text))


def unguarded(cell: str) -> str:
    """Return the text of a cell: a first apostrophe is no part of it."""
    return cell.removeprefix("'")


def test_the_program_would_change_what_is_not_guarded(tmp_path: Path) -> None:
    """Else the next tests would prove nothing."""
    unsafe = ("=1+1", "=1+2", "0012", "1E5", "2/3", "mars 2026", "VRAI")
    line = '";"'.join(unsafe)
    cells = opened(tmp_path, f'\ufeff{";".join("x" * len(unsafe))}\r\n"{line}"\r\n'.encode())[1]
    assert [shown for formula, _, shown in cells if formula] == ["2", "3"]
    assert [kind for _, kind, _ in cells[2:7]] == ["float", "float", "date", "date", "boolean"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_cell_becomes_a_formula_or_another_value(tmp_path: Path, language: str) -> None:
    """Two hundred hostile texts and more: each a text, in one cell, to the character; numbers are numbers."""
    assert len(HOSTILE) >= 200
    rows = opened(tmp_path, written(), language)
    assert [shown for _, _, shown in rows[0][: len(table.COLUMNS)]] == list(table.COLUMNS)
    ours = list(csv.reader(written().decode("utf-8-sig").splitlines(), delimiter=";", strict=True))
    for text, line, cells in zip(TEXTS, ours[1:], rows[1 : len(TEXTS) + 1], strict=True):
        shown = cells[: len(table.COLUMNS)]
        assert [cell for _, _, cell in shown] == line
        numbers = [place for place, (_, kind, _) in enumerate(shown) if kind != "string"]
        assert numbers == [COLUMN["n°"], COLUMN["nombre"]]
        assert not any(formula for formula, _, _ in shown)
        for column in ("compte", "objet", "motif"):
            assert unguarded(shown[COLUMN[column]][2]) == said(text)
        if text in USUAL:
            assert shown[COLUMN["objet"]][2] == said(text)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_round_trip_keeps_every_cell(tmp_path: Path, language: str) -> None:
    """Opened and saved, as a table and as a workbook for Excel, the cells are what they were."""
    ours = list(csv.reader(written().decode("utf-8-sig").splitlines(), delimiter=";", strict=True))
    assert read_csv(converted(tmp_path, written(), WRITTEN, language)) == ours
    workbook = read_xlsx(converted(tmp_path, written(), "xlsx", language))
    letters = [chr(ord("A") + place) for place in range(len(table.COLUMNS))]
    for row, line in zip(workbook, ours, strict=True):
        for place, (letter, cell) in enumerate(zip(letters, line, strict=True)):
            kind, value = row.get(letter, ("s", ""))
            is_number = line is not ours[0] and place in {COLUMN["n°"], COLUMN["nombre"]}
            assert (kind, value) == ("n" if is_number else "s", cell)
