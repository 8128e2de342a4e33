"""Statements about the persons who may sign in to the console (roles journal_ingest and journal_admin).

Trust sentence: whoever writes these rows without the key store signs nobody in: each row is an administrative fact. The
table of used codes is none: whoever resets it can at most have a code, which he must know, taken twice in its minute,
and a session that was signed out, whose cookie he must have, go on until its time is over.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from journal.database.change import Change, ChangeStatements

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonRow:
    """A person of a tenant (the reserved one: an operator of the host).

    `login_key` is the keyed hash of the login; `sealed` is opened by `journal.keys.persons`. With an `invitation_hash`
    the person is invited, until `invited_until`, to choose a password and a second factor.
    """

    id: str
    tenant: str
    role: str
    categories: Sequence[str]
    login_key: bytes
    sealed: bytes
    invitation_hash: bytes | None
    invited_until: datetime | None
    created_at: datetime | None = None
    revoked_at: datetime | None = None


class PersonStatements(ChangeStatements):
    """The persons of a service; changes are made in two phases (`journal.database.change`), and are entries."""

    async def read_persons(self, name: str | None = None) -> list[PersonRow]:
        """Return every vouched person, or the one of that id, including revoked ones."""
        return [PersonRow(**row) for row in await self._read_facts("ingest", "person", name)]

    async def add_person(self, row: PersonRow) -> None:
        """Store a person who is invited. Raises StoreError where another has the same login."""
        columns = ("id", "tenant", "role", "categories", "login_key", "sealed", "invitation_hash", "invited_until")
        values = {column: getattr(row, column) for column in columns}
        change = Change(
            statement="add_person",
            arguments=tuple(values.values()),
            expected={("person", row.id): values},
            free=frozenset({"created_at"}),
        )
        await self._change_all("admin", [change])

    async def set_person(
        self, before: PersonRow, *, sealed: bytes, invitation_hash: bytes | None, invited_until: datetime | None
    ) -> bool:
        """Keep what a person chose (no invitation), or another invitation to choose.

        False if the person is revoked, or has another invitation than `before`. Raises StoreError.
        """
        values = {"sealed": sealed, "invitation_hash": invitation_hash, "invited_until": invited_until}
        was_set: bool = await self._change(
            "admin",
            "set_person",
            before.id,
            *values.values(),
            before.invitation_hash,
            expected={("person", before.id): values},
        )
        return was_set

    async def revoke_person(self, identifier: str) -> bool:
        """Revoke a person; False if there is none, or the person is already revoked."""
        revoked: bool = await self._change(
            "admin",
            "revoke_person",
            identifier,
            expected={("person", identifier): {}},
            free=frozenset({"revoked_at"}),
            check=lambda _, after: after["revoked_at"] is not None,
        )
        return revoked

    async def use_code(self, identifier: str, step: int) -> bool:
        """Note that a person's code of this step was used; False if it, or a later one, was used before."""
        is_new: bool = await self._fetch_value("admin", "use_code", identifier, step)
        return is_new

    async def sign_out(self, identifier: str, at: datetime) -> None:
        """End the sessions of a person that began up to this moment of the service's clock."""
        await self._fetch("admin", "sign_out", identifier, at)

    async def signed_out_at(self, identifier: str) -> datetime | None:
        """Return up to when sessions of a person must have begun to be over, by the service's clock."""
        since: datetime | None = await self._fetch_value("admin", "signed_out_at", identifier)
        return since
