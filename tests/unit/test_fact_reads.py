"""Administrative rows are read in one way only: through the statements whose rows are held against the ledger."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.untraced

ROOT = Path(__file__).parents[2]
# The signer reads which day is closed, which no ledger knows.
MAY_READ = {"facts.sql", "schema.sql"}
MAY_READ_THE_SERVICE = MAY_READ | {"seal.sql"}
FUNCTIONS = re.compile(r"journal\.read_(tenants|categories|credentials|recipients|ending|service)\(")
# They ask only who may connect, while the key store, and its ledger, may be lost.
WITHOUT_LEDGER = {"doctor.py", "founding.py"}


def test_one_file_of_statements_reads_them() -> None:
    """No other statement calls a function that gives rows of facts."""
    found = {
        (path.name, match[1])
        for path in (ROOT / "sql").glob("*.sql")
        for match in FUNCTIONS.finditer(path.read_text(encoding="utf-8"))
    }
    assert {name for name, kind in found if kind != "service"} == MAY_READ
    assert {name for name, kind in found if kind == "service"} == MAY_READ_THE_SERVICE


def test_every_store_has_a_ledger() -> None:
    """Whoever connects in the product names what judges the facts."""
    seen = 0
    for path in (path for room in ("journal", "ingest", "retention") for path in (ROOT / room).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "Store.connect":
                seen += 1
                (facts,) = [keyword.value for keyword in node.keywords if keyword.arg == "facts"]
                assert path.name in WITHOUT_LEDGER or ast.unparse(facts) != "None", path
    assert seen >= 4
