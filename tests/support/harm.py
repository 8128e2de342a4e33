"""Harm done to stored rows by a superuser: any bit of any column, put back afterwards."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import asyncpg

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

# Dates and times as the integers that PostgreSQL keeps: every bit of them can be reached.
_READ = {
    "date": "({0} - DATE '2000-01-01')",
    "timestamptz": "(extract(epoch FROM {0} - TIMESTAMPTZ '2000-01-01Z') * 1000000)::bigint",
}
_WRITE = {
    "date": "DATE '2000-01-01' + $1::integer",
    "timestamptz": "TIMESTAMPTZ '2000-01-01Z' + ($1::bigint::text || ' microseconds')::interval",
}
_BITS = {"int2": 16, "date": 32, "int8": 64, "timestamptz": 64}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One column of one row, as the integer, bytes or text that is kept; `row` is the row as it was."""

    table: str
    ctid: str
    column: str
    kind: str
    value: Any
    row: asyncpg.Record

    @property
    def bits(self) -> int:
        """How many bits it has."""
        if self.kind in _BITS:
            return _BITS[self.kind]
        return 8 * len(self.value if isinstance(self.value, bytes) else self.value.encode())

    def flipped(self, bit: int) -> Any:
        """Return the value with one bit changed, None where no column of this kind can hold that."""
        if self.kind in _BITS:
            width = _BITS[self.kind]
            unsigned = (self.value & (1 << width) - 1) ^ 1 << bit
            return unsigned - (1 << width) if unsigned >> width - 1 else unsigned
        raw = bytearray(self.value if isinstance(self.value, bytes) else self.value.encode())
        raw[bit >> 3] ^= 1 << (bit & 7)
        if isinstance(self.value, bytes):
            return bytes(raw)
        try:
            text = raw.decode()
        except UnicodeDecodeError:
            return None
        return None if "\0" in text else text


class Harm:
    """A superuser's connection, on which no trigger and no privilege stops anything."""

    def __init__(self, superuser: asyncpg.Connection) -> None:
        """Use this connection."""
        self.superuser = superuser

    async def unlock(self, *tables: str) -> None:
        """Drop every constraint of these tables, for good: keys, checks and references refuse nothing any more."""
        for table in tables:
            names = await self.superuser.fetch(
                "SELECT conname FROM pg_constraint "
                "WHERE conrelid = $1::regclass AND contype IN ('p', 'u', 'c', 'f') AND coninhcount = 0",
                table,
            )
            for (name,) in names:
                await self.superuser.execute(f'ALTER TABLE {table} DROP CONSTRAINT IF EXISTS "{name}" CASCADE')

    async def keep(self, *tables: str) -> None:
        """Remember what these tables hold, for `restore`."""
        await self.superuser.execute("CREATE SCHEMA IF NOT EXISTS kept")
        for table in tables:
            await self.superuser.execute(f"CREATE TABLE kept.{table.partition('.')[2]} AS TABLE {table}")

    async def restore(self, *tables: str) -> None:
        """Put back what was remembered."""
        for table in tables:
            kept = f"kept.{table.partition('.')[2]}"
            await self.superuser.execute(f"DELETE FROM {table}; INSERT INTO {table} SELECT * FROM {kept}")

    @asynccontextmanager
    async def done(self, *tables: str) -> AsyncIterator[asyncpg.Connection]:
        """Lend the connection to do harm to these tables; what it did is undone at the end of the block."""
        try:
            yield self.superuser
        finally:
            await self.restore(*tables)

    async def cells(self, table: str, condition: str = "true", *arguments: Any) -> list[Cell]:
        """Return every cell that is not null of the rows that meet the condition."""
        kinds = await self.superuser.fetch(
            "SELECT attname, typname, typbasetype::regtype::text AS base FROM pg_attribute "
            "JOIN pg_type ON pg_type.oid = atttypid WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped",
            table,
        )
        found: list[Cell] = []
        for column, kind, base in kinds:
            raw = {"-": kind}.get(base, base)
            read = _READ.get(raw, "{0}").format(f'"{column}"')
            rows = await self.superuser.fetch(
                f'SELECT ctid::text AS ctid, {read} AS "value", * FROM {table} WHERE {condition} ORDER BY ctid',
                *arguments,
            )
            found += [
                Cell(table=table, ctid=row["ctid"], column=column, kind=raw, value=row["value"], row=row)
                for row in rows
                if row["value"] is not None
            ]
        return found

    async def flips(self, cell: Cell, bits: Sequence[int]) -> AsyncIterator[int]:
        """Change one bit after the other; each stays changed while the caller looks. Yields the bit."""
        write = _WRITE.get(cell.kind, "$1")
        statement = f'UPDATE {cell.table} SET "{cell.column}" = {write} WHERE ctid = $2::text::tid RETURNING ctid::text'
        update = await self.superuser.prepare(statement)
        [ctid] = await self._locate(cell)
        for bit in bits:
            value = cell.flipped(bit)
            if value is None:
                continue
            try:
                ctid = await update.fetchval(value, ctid)
            except asyncpg.DatetimeFieldOverflowError:
                continue  # no column of this kind can hold it: a date after the year 5874897
            yield bit
            ctid = await update.fetchval(cell.value, ctid)

    async def _locate(self, cell: Cell) -> list[str]:
        """Find the row again, wherever earlier harm has put it: it is as it was."""
        names = [name for name in cell.row.keys() if name not in ("ctid", "value")]  # noqa: SIM118  (a record iterates over its values)
        condition = " AND ".join(f'"{name}" IS NOT DISTINCT FROM ${place}' for place, name in enumerate(names, 1))
        rows = await self.superuser.fetch(
            f"SELECT ctid::text FROM {cell.table} WHERE {condition}", *(cell.row[name] for name in names)
        )
        return [row["ctid"] for row in rows]
