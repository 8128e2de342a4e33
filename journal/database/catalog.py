"""The schema of a database as its catalog has it, and how two differ."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Final

import sql
from journal.core.errors import OperatorError
from journal.database.migrate import choose_pending, list_migrations

if TYPE_CHECKING:
    from collections.abc import Callable

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


# The digests of an object's properties, by name. Properties that are empty are left out.
Digests = dict[str, str]
_DIGEST_LENGTH: Final = 12
# Objects made at run time, or by whoever manages the server.
_PARTITION: Final = re.compile(r"\bjournal\.\"?entry_[0-9]+(_[0-9]{8}(_[0-9]+)?)?\b|entry_[0-9]+_[0-9]{8}")
_LEFT_OUT: Final = {"database"}


def digest_catalog(catalog: Catalog, owner: str) -> dict[str, Digests]:
    """Return the digests of every property, with the database's owner called `owner`, whatever its name."""
    digests: dict[str, Digests] = {}
    for subject, properties in catalog.items():
        name = subject.replace(f"default acl for role {owner} ", "default acl for role owner ")
        if name in _LEFT_OUT or _PARTITION.search(name):
            continue
        digests[name] = {
            key: _digest("owner" if key == "owner" and value == owner else value)
            for key, value in properties.items()
            if value not in (None, False, [], "")
        }
    return digests


def load_expected() -> dict[str, Digests]:
    """Return the digests that this version's schema has, from `sql/catalog.json`."""
    expected: dict[str, Digests] = json.loads(sql.read("catalog.json"))
    return expected


def write_expected(digests: dict[str, Digests]) -> str:
    """Return the text of `sql/catalog.json`: an object on each line, in order."""
    lines = [f" {json.dumps(name)}: {json.dumps(digests[name], sort_keys=True)}" for name in sorted(digests)]
    return "{\n" + ",\n".join(lines) + "\n}\n"


async def find_catalog_faults(
    connection: asyncpg.Connection,
    expected: dict[str, Digests],
    is_known: Callable[[str], bool] = lambda _: False,
) -> list[str]:
    """Return a line for everything in the database that is not as this version makes it, as its owner sees it.

    Objects and their properties, partitions of entries, roles, and the migrations that were applied. A schema that
    another version has made, which `is_known` tells by its text, has no faults but those of partitions and roles.
    """
    statements = sql.load("watch")
    owner = await connection.fetchval(statements["read_user"])
    found = digest_catalog(await read_catalog(connection), owner)
    if found != expected and is_known(write_expected(found)):
        rows = [
            *await connection.fetch(statements["partition_faults"]),
            *await connection.fetch(statements["role_faults"]),
        ]
        return [row["fault"] for row in rows]
    faults = [str(difference) for difference in compare_catalogs(_wide(expected), _wide(found))]
    for statement in ("partition_faults", "purge_faults", "role_faults"):
        faults += [row["fault"] for row in await connection.fetch(statements[statement])]
    applied = [tuple(row) for row in await connection.fetch(sql.load("migrate")["read_applied"])]
    try:
        known = list_migrations(sql.read_migrations())
        if pending := choose_pending(known, applied):
            faults.append(f"table journal.migration: {pending[0].name} is missing")
        # A later one would have made another schema, for which the key store vouches.
        faults += [f"table journal.migration: {name} is not this software's" for _, name, _ in applied[len(known) :]]
    except OperatorError as error:
        faults.append(f"table journal.migration: {error}")
    return faults


def _wide(digests: dict[str, Digests]) -> Catalog:
    return {name: dict(properties) for name, properties in digests.items()}


def _digest(value: object) -> str:
    text = json.dumps(value, default=lambda raw: raw.decode() if isinstance(raw, bytes) else str(raw))
    return sha256(text.encode()).hexdigest()[:_DIGEST_LENGTH]
