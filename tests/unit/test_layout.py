"""The tests' own order: what two of their modules share is in tests/support, so each can be read and run alone."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

pytestmark = pytest.mark.untraced

TESTS = Path(__file__).parents[1]


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
