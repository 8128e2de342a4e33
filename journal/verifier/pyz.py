"""The verifier as one file, `journal-verify.pyz`: its modules in a ZIP file that Python runs.

The build is reproducible: members in order, stored without compression, with one fixed date. So anyone can rebuild
the file from the sources and compare its SHA-256 with the one published.
"""

from __future__ import annotations

import ast
from importlib import resources
from io import BytesIO
from typing import TYPE_CHECKING
from zipfile import ZIP_STORED, ZipFile, ZipInfo

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

NAME = "journal-verify.pyz"

_PACKAGE = "journal"
_FIRST = "verifier.cli"
_OPENING = "verifier.opening"
_INTERPRETER = b"#!/usr/bin/env python3\n"
_DATE = (1980, 1, 1, 0, 0, 0)
_READABLE = 0o100644 << 16
_UNIX = 3


def build() -> bytes:
    """Return the file's bytes."""
    contents = {"__main__.py": _source(_OPENING)}
    for name in modules():
        contents[_path(name)] = _source(name)
        for package in _packages(name):
            contents[f"{package}/__init__.py"] = (
                resources.files(_PACKAGE).joinpath(*package.split("/")[1:], "__init__.py").read_bytes()
            )
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
    """Return the modules that the verifier imports, directly or not, sorted, as `core.chain`."""
    found: set[str] = set()
    waiting = [_FIRST]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += _imported(_source(name))
    return sorted(found)


def _path(name: str) -> str:
    return f"{_PACKAGE}/{name.replace('.', '/')}.py"


def _packages(name: str) -> list[str]:
    """Return the packages that contain a module, outermost first."""
    parts = _path(name).split("/")[:-1]
    return ["/".join(parts[: count + 1]) for count in range(len(parts))]


def _file(name: str) -> Traversable:
    return resources.files(_PACKAGE).joinpath(*f"{name.replace('.', '/')}.py".split("/"))


def _source(name: str) -> bytes:
    return _file(name).read_bytes()


def _imported(source: bytes) -> list[str]:
    """Return the modules a source imports by `from journal.core import a` or `from journal.core.a import b`."""
    names: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module and f"{node.module}.".startswith(f"{_PACKAGE}."):
            inside = node.module[len(_PACKAGE) + 1 :]
            within = [f"{inside}.{alias.name}" if inside else alias.name for alias in node.names]
            names += (
                [inside] if inside and _file(inside).is_file() else [name for name in within if _file(name).is_file()]
            )
    return names
