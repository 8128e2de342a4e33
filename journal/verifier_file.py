"""The verifier as one file, `journal-verify.pyz`: the modules it is made of, in a ZIP file that Python runs.

Equal sources give equal bytes, wherever it is made: members in order, stored as they are, at one fixed date. So
its SHA-256 can be told once, compared by everyone, and made again from the sources by whoever doubts it.
"""

from __future__ import annotations

import ast
from importlib import resources
from io import BytesIO
from zipfile import ZIP_STORED, ZipFile, ZipInfo

NAME = "journal-verify.pyz"

_PACKAGE = "journal"
_FIRST = "verify_cli"
_OPENING = "verifier_main"
_INTERPRETER = b"#!/usr/bin/env python3\n"
_DATE = (1980, 1, 1, 0, 0, 0)
_READABLE = 0o100644 << 16
_UNIX = 3


def build() -> bytes:
    """Return the file's bytes."""
    contents = {
        "__main__.py": _source(_OPENING),
        f"{_PACKAGE}/__init__.py": _source("__init__"),
        **{f"{_PACKAGE}/{name}.py": _source(name) for name in modules()},
    }
    file = BytesIO(_INTERPRETER)
    file.seek(0, 2)
    with ZipFile(file, "w") as archive:
        for name, content in sorted(contents.items()):
            member = ZipInfo(name, _DATE)
            member.compress_type = ZIP_STORED
            member.create_system = _UNIX
            member.external_attr = _READABLE
            archive.writestr(member, content)
    return file.getvalue()


def modules() -> list[str]:
    """Return the modules of the package that the verifier imports, and those imported by them, in order."""
    found: set[str] = set()
    waiting = [_FIRST]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += _imported(_source(name))
    return sorted(found)


def _source(name: str) -> bytes:
    return resources.files(_PACKAGE).joinpath(f"{name}.py").read_bytes()


def _imported(source: bytes) -> list[str]:
    """Return which modules of the package a source names: `from journal import a`, `from journal.a import b`."""
    names: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module == _PACKAGE:
            names += [alias.name for alias in node.names if not alias.name.startswith("_")]
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.startswith(f"{_PACKAGE}."):
            names.append(node.module.removeprefix(f"{_PACKAGE}."))
    return names
