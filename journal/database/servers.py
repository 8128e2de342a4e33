"""The servers that an address names: of several, the one that takes writes is used.

The driver asks them one after the other too, but gives the whole time to a server that accepts a connection and then
says nothing, as a stopped host does: the next would never be asked. Here each has its share of the time; the one that
was found last is asked first, one that was silent last.
"""

from __future__ import annotations

from typing import Any, Final

import asyncpg

CONNECT_LIMIT_SECONDS: Final = 10.0


def split(dsn: str) -> list[str]:
    """Return an address for each server that a PostgreSQL URI names, in its order."""
    scheme, separator, rest = dsn.partition("://")
    ends = [at for at in map(rest.find, "/?#") if at >= 0]
    end = min(ends, default=len(rest))
    account, at, hosts = rest[:end].rpartition("@")
    return [f"{scheme}{separator}{account}{at}{host}{rest[end:]}" for host in hosts.split(",")]


class Servers:
    """The servers of one address."""

    def __init__(self, dsn: str) -> None:
        """Ask nobody yet."""
        self._addresses = split(dsn)
        # Whatever the address asks for: to the driver, a session that we make read-only is not `read-write`.
        self._wanted = {"target_session_attrs": "primary"} if "target_session_attrs=" in dsn else {}

    @property
    def are_several(self) -> bool:
        """Tell whether another server may take this one's place."""
        return len(self._addresses) > 1

    async def connect(
        self,
        _: object = None,
        *,
        timeout: float = CONNECT_LIMIT_SECONDS,  # noqa: ASYNC109 - the driver's own
        **options: Any,
    ) -> asyncpg.Connection:
        """Connect within so many seconds, with these options of the driver, whose pools may call this.

        Raises what the driver raises: of several servers, the most telling refusal.
        """
        failures: list[Exception] = []
        share = timeout / len(self._addresses)
        for address in list(self._addresses):
            try:
                connection = await asyncpg.connect(address, timeout=share, **self._wanted, **options)
            except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError) as error:
                failures.append(error)
                if isinstance(error, TimeoutError):
                    self._put(address, len(self._addresses))
            else:
                self._put(address, 0)
                return connection
        raise max(failures, key=_rank)

    def _put(self, address: str, place: int) -> None:
        self._addresses.remove(address)
        self._addresses.insert(place, address)


def _rank(failure: Exception) -> int:
    """Rank what a server refuses before that it is a standby, and that before its silence."""
    if isinstance(failure, asyncpg.PostgresError):
        return 2
    return 1 if isinstance(failure, asyncpg.TargetServerAttributeNotMatched) else 0
