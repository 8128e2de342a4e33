"""A reader that tries everything: each stored row under each key that is left, with none of the service's refusals."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import asyncpg
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from journal.core.entry import Compartment
from journal.core.envelope import Box, derive_data_key
from journal.core.errors import VerificationError
from tests.support.world import SERVICE

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import date
    from pathlib import Path

NONCE_BYTES = 12
LABEL = b"openepm-journal/v1/wrapped-key\x00"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row as it is in the database, wherever it is."""

    tenant: str
    category: str
    day: date
    index: int
    leaf_hash: bytes
    ciphertext: bytes


async def all_rows(superuser_dsn: str) -> list[Row]:
    """Return every row of every leaf, as a superuser finds them, attached or not."""
    connection = await asyncpg.connect(superuser_dsn)
    try:
        leaves = await connection.fetch(
            "SELECT oid::regclass::text AS name FROM pg_class WHERE relname ~ '^entry_[0-9]+_[0-9]{8}(_[0-9]+)?$' "
            "AND relkind = 'r'"
        )
        return [
            Row(**row)
            for leaf in leaves
            for row in await connection.fetch(
                f"SELECT tenant, category, day, index, leaf_hash, ciphertext FROM {leaf['name']}"
            )
        ]
    finally:
        await connection.close()


def unwrapped(directories: Iterable[Path], master: bytes) -> dict[str, set[bytes]]:
    """Return every key that some file of these directories still holds, under whatever name: by kind."""
    wrapper = AESGCM(master)
    found: dict[str, set[bytes]] = {"days": set(), "tenants": set()}
    for directory in directories:
        for path in directory.rglob("*"):
            if not path.is_file() or path.parts[-2] == "fences":
                continue
            kind = "tenants" if path.parts[-2] == "tenants" else "days"
            name = str(path.relative_to(directory).with_name(path.name.removeprefix(".").split(".")[0]))
            wrapped = path.read_bytes()
            with suppress(InvalidTag):
                found[kind].add(wrapper.decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], LABEL + name.encode()))
    return found


def opened_rows(rows: Iterable[Row], keys: dict[str, set[bytes]]) -> set[Row]:
    """Return the rows that some day key with some tenant key opens, under any day's name."""
    found: set[Row] = set()
    boxes: dict[tuple[str, date], list[Box]] = {}
    for row in rows:
        origin = Compartment(SERVICE, row.tenant, row.category).origin
        if (origin, row.day) not in boxes:
            boxes[origin, row.day] = [
                Box(origin, derive_data_key(day_key=day_key, tenant_key=tenant_key, origin=origin, day=row.day))
                for day_key in keys["days"]
                for tenant_key in keys["tenants"]
            ]
        candidates = boxes[origin, row.day]
        for place, box in enumerate(candidates):
            try:
                box.open(row.index, row.ciphertext, row.leaf_hash)
            except VerificationError:
                continue
            found.add(row)
            candidates.insert(0, candidates.pop(place))  # its neighbours have the same
            break
    return found
