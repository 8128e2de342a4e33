"""The next version of the program: this one, with a migration that adds a table; as a tree, or as a Debian package."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING

import sql
from deploy.release.deb import debian_version
from journal import __version__
from journal.database.migrate import migrate
from tests.support.catalog import describe
from tests.support.databases import fresh_database

if TYPE_CHECKING:
    from pathlib import Path

    from journal.database.embedded import EmbeddedPostgres

LATER = "1.1.0"
ADDED = "0002_expand_remarks.sql"
ADDS = "CREATE TABLE journal.remark (number integer PRIMARY KEY, made_at timestamptz NOT NULL DEFAULT journal.now());\n"


async def make_later(tree: Path, postgres: EmbeddedPostgres) -> None:
    """Make of a tree with the program's packages the next version."""
    start_of = tree / "journal" / "__init__.py"
    start_of.write_text(start_of.read_text(encoding="utf-8").replace(__version__, LATER), encoding="utf-8")
    migrations = tree / "sql" / "migrations"
    migrations.mkdir(exist_ok=True)
    files = [*sql.read_migrations(), (ADDED, ADDS.encode())]
    for name, content in files:
        (migrations / name).write_bytes(content)
    async with fresh_database(postgres) as database:
        await migrate(postgres.dsn(database=database), files=files)
        (tree / "sql" / "catalog.json").write_text(await describe(postgres.dsn(database=database)), encoding="utf-8")


async def make_later_package(package: Path, directory: Path, postgres: EmbeddedPostgres) -> Path:
    """Make the next version's package of this one's, in a directory; return its path."""
    tree = directory / "tree"
    _run("dpkg-deb", "--raw-extract", package, tree)
    [found] = tree.glob("opt/openepm-journal/lib/python3*/site-packages")
    await make_later(found, postgres)
    changed = found / "journal" / "__init__.py"
    prefixes = ("-s", tree, "-p", "/")
    _run(sys.executable, "-m", "compileall", "-qf", "--invalidation-mode", "unchecked-hash", *prefixes, changed)
    control = tree / "DEBIAN" / "control"
    text = control.read_text(encoding="utf-8")
    control.write_text(re.sub(r"(?m)^Version: .*$", f"Version: {LATER}", text), encoding="utf-8")
    # Its sums are this version's.
    (tree / "DEBIAN" / "md5sums").unlink()
    made = directory / package.name.replace(debian_version(__version__), LATER)
    _run("dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "--build", tree, made)
    return made


def _run(*command: object) -> None:
    subprocess.run([str(part) for part in command], check=True, stdout=subprocess.DEVNULL)
