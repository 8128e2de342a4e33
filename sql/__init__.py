"""The SQL of the journal: the schema, and named statements, one file per database role.

`schema.sql` is the database as it is. `migrations` make it, and bring older databases forward: the first one,
`0001_baseline.sql`, is the database of the first release.

A file of statements holds blocks. Each begins with `-- name: <name>`, then a line (or more) of intent, then one
statement with `$n` parameters. Nothing is ever assembled in Python.
"""

from __future__ import annotations

import re
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_BLOCK = re.compile(r"^-- name: ([a-z_]+)\n((?:-- .+\n)+)((?:(?!-- name: ).*\n?)+)", re.MULTILINE)


def read(name: str) -> str:
    """Return the text of one file of this directory, as it is."""
    return resources.files("sql").joinpath(name).read_text(encoding="utf-8")


def read_migrations() -> list[tuple[str, bytes]]:
    """Return (file name, content) of every migration, in order."""
    files = [file for file in resources.files("sql").joinpath("migrations").iterdir() if file.name.endswith(".sql")]
    return [(file.name, file.read_bytes()) for file in sorted(files, key=lambda file: file.name)]


@cache
def load(name: str) -> Mapping[str, str]:
    """Return the statements of `<name>.sql` by name."""
    return MappingProxyType({title: body.strip() for title, _, body in _BLOCK.findall(read(f"{name}.sql"))})
