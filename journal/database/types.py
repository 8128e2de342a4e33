"""The array types of PostgreSQL, which the driver knows only by asking: once in a process, not once a connection."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, Final

import asyncpg

# Types below are PostgreSQL's own, with the same numbers in every database; above are those of a schema
# (FirstNormalObjectId in its source).
_FIRST_OF_A_SCHEMA: Final = 16384
# Stands for the statement that asked: one of a name has not taken the place of the driver's nameless one.
_NOT_ASKED: Final = SimpleNamespace(name="known")


class Connection(asyncpg.Connection):  # type: ignore[misc] # the driver has no types
    """A connection that does not ask about PostgreSQL's own types what another one of this process has asked.

    The driver has every connection ask, by a statement that takes PostgreSQL longer than most of ours. Where another
    version of it asks by another method, each asks again.
    """

    own_types: Final[dict[frozenset[int], Any]] = {}

    async def _introspect_types(self, typeoids: set[int], timeout: float | None) -> tuple[Any, Any]:  # noqa: ASYNC109
        """Return what the driver is to know of these types, and the statement by which it was asked."""
        asked = frozenset(typeoids)
        if (known := self.own_types.get(asked)) is not None:
            return known, _NOT_ASKED
        types, statement = await super()._introspect_types(typeoids, timeout)
        if max(asked) < _FIRST_OF_A_SCHEMA:
            self.own_types[asked] = types
        return types, statement
