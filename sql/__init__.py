"""The SQL of the journal: the schema, and named statements, one file per database role.

`schema.sql` is the database as it is. A new database is made from it, until a release keeps a copy of it as
`migrations/0001_baseline.sql`; from then on migrations make the database, and bring older ones forward.

A file of statements holds blocks. Each begins with `-- name: <name>`, then a line (or more) of intent, then one
statement with `$n` parameters. Nothing is ever assembled in Python.
"""

from __future__ import annotations

import re
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

BASELINE: Final = "0001_baseline.sql"

_BLOCK = re.compile(r"^-- name: ([a-z_]+)\n((?:-- .+\n)+)((?:(?!-- name: ).*\n?)+)", re.MULTILINE)


def read(name: str) -> str:
    """Return the text of one file of this directory, as it is."""
    return resources.files("sql").joinpath(name).read_text(encoding="utf-8")


def read_migrations() -> list[tuple[str, bytes]]:
    """Return (file name, content) of every migration, in order; `schema.sql` alone until a release keeps a baseline."""
    directory = resources.files("sql").joinpath("migrations")
    files = [file for file in directory.iterdir() if file.name.endswith(".sql")] if directory.is_dir() else []
    kept = [(file.name, file.read_bytes()) for file in sorted(files, key=lambda file: file.name)]
    return kept or [(BASELINE, read("schema.sql").encode())]


@cache
def load(name: str) -> Mapping[str, str]:
    """Return the statements of `<name>.sql` by name."""
    return MappingProxyType({title: body.strip() for title, _, body in _BLOCK.findall(read(f"{name}.sql"))})
