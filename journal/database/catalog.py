"""The schema of a database as its catalog has it, and how two differ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import sql

if TYPE_CHECKING:
    import asyncpg

# Objects as PostgreSQL names them ("function journal.now()"), each with its properties by name.
Catalog = dict[str, dict[str, object]]

_PATH: Final = "fix_search_path"


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """What two catalogs say of the property `name` of an object; None: the object is in one of them alone."""

    subject: str
    name: str | None
    expected: object
    found: object

    def __str__(self) -> str:
        """Return it in a line, without the values: they can be as long as a function's body."""
        if self.name is None:
            return f"{self.subject}: {'missing' if self.found is None else 'not expected'}"
        return f"{self.subject}: {self.name} differs"


async def read_catalog(connection: asyncpg.Connection) -> Catalog:
    """Return every object of the schema but the partitions of entries, in one snapshot. Any role may ask."""
    statements = dict(sql.load("catalog"))
    catalog: Catalog = {}
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        await connection.execute(statements.pop(_PATH))
        for statement in statements.values():
            for row in await connection.fetch(statement):
                properties = dict(row)
                catalog.setdefault(properties.pop("object"), {}).update(properties)
    return catalog


def compare_catalogs(expected: Catalog, found: Catalog) -> list[Difference]:
    """Return what differs, by object and property; an object that only one of them has is one difference."""
    differences = []
    for subject in sorted(expected.keys() | found.keys()):
        ours, theirs = expected.get(subject), found.get(subject)
        if ours is None or theirs is None:
            differences.append(Difference(subject=subject, name=None, expected=ours, found=theirs))
            continue
        differences += [
            Difference(subject=subject, name=name, expected=ours.get(name), found=theirs.get(name))
            for name in sorted(ours.keys() | theirs.keys())
            if ours.get(name) != theirs.get(name)
        ]
    return differences
