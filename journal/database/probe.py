"""The attempt to record something that is not kept, on a connection of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sql
from journal.core.errors import StoreError, UnavailableError
from journal.database.ingest import append_arguments, judge_durability
from journal.database.pools import Pools, Role, end_if_unreplicated

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from journal.database.ingest import AppendBatch


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """What an attempt was answered, and the database's clock."""

    answer: str | None
    database_now: datetime


class ProbeStatements(Pools):
    """What new connections are told and allowed."""

    async def check_new_sessions(self) -> list[str]:
        """Connect anew as every role; return a sentence for each setting under which an acknowledged entry can be lost.

        Raises StoreError, whose sentence names the role that is refused.
        """
        faults: dict[str, None] = {}
        for role in self.roles:
            async with self.connect_anew(role) as connection:
                if role == "owner":
                    continue  # its sessions are read-only, by our own choice
                rows = await connection.fetch(sql.load("probe")["read_settings"])
            settings = {row["name"]: row["setting"] for row in rows}
            found = judge_durability(settings, must_replicate=self.must_replicate)
            if settings["default_transaction_read_only"] != "off":
                found.append(f"default_transaction_read_only is on for {self.place(role).role}: nothing can be written")
            faults |= dict.fromkeys(found)
        return list(faults)

    async def read_archiving(self) -> Mapping[str, Any]:
        """Return how the WAL leaves the server: the columns of `read_archiving`. Raises StoreError."""
        async with self.connect_anew("read") as connection:
            row: Mapping[str, Any] = await connection.fetchrow(sql.load("probe")["read_archiving"])
        return row

    async def read_transport(self) -> Mapping[str, Any]:
        """Return how a new connection is made: the columns of `read_transport`. Raises StoreError."""
        async with self.connect_anew("read") as connection:
            row: Mapping[str, Any] = await connection.fetchrow(sql.load("probe")["read_transport"])
        return row

    async def attempt(self, batch: AppendBatch | None) -> Attempt:
        """Append the batch on a new connection, take it back, and commit without it, to the disk and the standby.

        Without a batch, only the rest. Raises StoreError.
        """
        statements = sql.load("probe")
        role: Role = "ingest"
        async with self.connect_anew(role) as connection:
            connection.add_log_listener(end_if_unreplicated)
            now: datetime = await connection.fetchval(statements["read_now"])
            answer = None
            await connection.execute(statements["begin"])
            if batch is not None:
                await connection.execute(statements["savepoint"])
                rows = await connection.fetch(sql.load("ingest")["append"], *append_arguments(batch))
                answer = rows[0]["answer"]
                await connection.execute(statements["take_back"])
            await connection.execute(statements["write"])
            tag = await connection.execute(statements["commit"])
            if connection.is_closed():
                raise UnavailableError("the standby did not confirm a commit: it, or the network to it, is down")
            if tag != "COMMIT":
                raise StoreError(f"the attempt was not committed: {tag}")
            connection.remove_log_listener(end_if_unreplicated)
        return Attempt(answer=answer, database_now=now)
