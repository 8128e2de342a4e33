"""Floors of the append: COPY of rows like an entry's into a table like a day's, and a chain that a trigger makes."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from typing import Any

import asyncpg

BATCH_ROWS = 1_000
CIPHERTEXT_BYTES = 400
BODY = "x" * 400


class CopyFloor:
    """COPY in transactions of 1,000 rows, into a table with the columns, checks and indexes of a day."""

    def __init__(self, dsn: str, category: str, tenant: str = "t0") -> None:
        """Copy there, as the superuser."""
        self._dsn = dsn
        self._tenant = tenant
        self._category = category

    async def rate(self, seconds: float) -> tuple[float, int]:
        """Return rows/s over a while, and how many rows that were."""
        connection = await asyncpg.connect(self._dsn)
        try:
            await connection.execute("DROP TABLE IF EXISTS journal.copy_floor")
            await connection.execute(
                "CREATE TABLE journal.copy_floor (LIKE journal.entry INCLUDING CONSTRAINTS INCLUDING STORAGE, "
                "PRIMARY KEY (tenant, index), UNIQUE (event_key, tenant))"
            )
            count, begun = 0, time.perf_counter()
            while time.perf_counter() < begun + seconds:
                rows = self._rows(count)
                await connection.copy_records_to_table("copy_floor", schema_name="journal", records=rows)
                count += BATCH_ROWS
            return count / (time.perf_counter() - begun), count
        finally:
            await connection.execute("DROP TABLE IF EXISTS journal.copy_floor")
            await connection.close()

    def _rows(self, first: int) -> list[tuple[Any, ...]]:
        day, drawn = datetime.now(UTC).date(), os.urandom(16 * BATCH_ROWS)
        zeros, ciphertext = bytes(32), bytes(CIPHERTEXT_BYTES)
        return [
            (first + n, day, self._tenant, self._category, drawn[16 * n : 16 * n + 16], zeros, zeros, ciphertext)
            for n in range(BATCH_ROWS)
        ]


class TriggerFloor:
    """INSERT of 1,000 rows a statement into `peer.chained` (peers.sql)."""

    def __init__(self, dsn: str) -> None:
        """Insert there, as the superuser."""
        self._dsn = dsn
        self._number = 0

    async def rate(self, seconds: float) -> tuple[float, int]:
        """Return rows/s over a while, and how many rows that were."""
        connection = await asyncpg.connect(self._dsn)
        try:
            await connection.execute(
                "INSERT INTO peer.head (tenant, category) VALUES ('x', 'x') ON CONFLICT DO NOTHING"
            )
            statement = await connection.prepare(
                "INSERT INTO peer.chained (tenant, category, event_id, body) "
                "SELECT 'x', 'x', e.* FROM unnest($1::text[], $2::text[]) AS e"
            )
            count, begun = 0, time.perf_counter()
            while time.perf_counter() < begun + seconds:
                self._number += 1
                names = [f"x{self._number}-{n}" for n in range(BATCH_ROWS)]
                await statement.fetch(names, [BODY] * BATCH_ROWS)
                count += BATCH_ROWS
            return count / (time.perf_counter() - begun), count
        finally:
            await connection.close()
