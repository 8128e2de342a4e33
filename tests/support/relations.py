"""Where PostgreSQL keeps a table: its files on the disk, and those that belong to nothing any more."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncpg


async def table_files(superuser: asyncpg.Connection, table: str) -> list[Path]:
    """Return every file of a table: its own, its slices', their indexes' and TOAST's, with segments and maps."""
    data = await superuser.fetchval("SHOW data_directory")
    rows = await superuser.fetch(
        """
        WITH own AS (SELECT $1::regclass::oid AS oid UNION SELECT relid FROM pg_partition_tree($1::regclass)),
             heap AS (SELECT oid FROM own UNION SELECT c.reltoastrelid FROM pg_class AS c JOIN own USING (oid))
        SELECT pg_relation_filepath(oid) FROM heap
        UNION SELECT pg_relation_filepath(indexrelid) FROM pg_index WHERE indrelid IN (SELECT oid FROM heap)
        """,
        table,
    )
    return [file for (path,) in rows if path is not None for file in _beside(Path(data) / path)]


async def stray_files(superuser: asyncpg.Connection) -> list[str]:
    """Return the files of this database that no relation of its catalog has."""
    # A dropped table keeps an empty file until the next checkpoint, so that its number is not taken before.
    await superuser.execute("CHECKPOINT")
    data = await superuser.fetchval("SHOW data_directory")
    path = await superuser.fetchval("SELECT pg_relation_filepath('pg_class')")
    rows = await superuser.fetch("SELECT DISTINCT pg_relation_filenode(oid) FROM pg_class")
    known = {str(number) for (number,) in rows}
    return [name for name in _relations((Path(data) / path).parent) if re.split(r"[._]", name)[0] not in known]


def _relations(directory: Path) -> list[str]:
    return sorted(file.name for file in directory.iterdir() if file.name[0].isdigit())


def _beside(relation: Path) -> list[Path]:
    files = relation.parent.glob(f"{relation.name}*")
    return [file for file in files if re.split(r"[._]", file.name)[0] == relation.name]
