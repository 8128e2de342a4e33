"""The tests' own order: what two modules share is in tests/support; what is said of the code stands in the code."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

pytestmark = pytest.mark.untraced

TESTS = Path(__file__).parents[1]
ROOT = TESTS.parent


def imports(path: Path) -> set[str]:
    """Return the modules that a module of the tests imports from, by their last names."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    whole = {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    named = {alias.name for node in nodes if isinstance(node, (ast.Import, ast.ImportFrom)) for alias in node.names}
    return {name.rpartition(".")[2] for name in whole | named}


def test_no_module_imports_a_test_module() -> None:
    """Neither a test module nor what they share knows a test module."""
    found = {path.relative_to(TESTS).as_posix(): imports(path) for path in TESTS.rglob("*.py")}
    modules = {Path(name).stem for name in found if Path(name).stem.startswith("test_")}
    assert len(modules) > 50
    assert {name: sorted(known & modules) for name, known in found.items() if known & modules} == {}


def functions(path: Path) -> dict[str, str]:
    """Return the source of a module's functions and methods by qualified name, each line without its indentation."""
    source = path.read_text(encoding="utf-8")
    tree = ast.parse(source)
    inside = [(f"{node.name}.", node.body) for node in tree.body if isinstance(node, ast.ClassDef)]
    return {
        before + node.name: " ".join(map(str.strip, (ast.get_source_segment(source, node) or "").splitlines()))
        for before, body in [("", tree.body), *inside]
        for node in body
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    }


def test_each_survivor_that_is_explained_is_still_in_the_code() -> None:
    """A line that explains a mutant names a function that there is, and what stands in it."""
    explained = json.loads((TESTS / "mutants/explained.json").read_text(encoding="utf-8"))
    assert sum(map(len, explained.values())) > 20
    sources = {module: functions(ROOT / module) for module in explained}
    gone = [
        (module, one["in"], one["was"])
        for module, ones in explained.items()
        for one in ones
        if one["was"] not in sources[module].get(one["in"], "")
    ]
    assert gone == []
