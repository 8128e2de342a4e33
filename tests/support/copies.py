"""Installations made once in a test process and copied for each test: their database, their files, their moment."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol
from uuid import uuid4

from tests.support.databases import copy_database, superuser_of

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable
    from contextlib import AbstractAsyncContextManager
    from datetime import datetime
    from pathlib import Path

    from journal.clock import SimulatedClock
    from journal.database.embedded import EmbeddedPostgres
    from journal.service import Service
    from journal.settings import Settings

    class Made(Protocol):
        """What can be copied: a service that runs, on a database of this name, on a clock."""

        @property
        def database(self) -> str:
            """The name of its database."""
            ...

        @property
        def clock(self) -> SimulatedClock:
            """Its clock."""
            ...

        @property
        def service(self) -> Service:
            """The service."""
            ...

    # Makes an installation in a home.
    Make = Callable[[Path], AbstractAsyncContextManager[Made]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Original:
    """An installation at rest: a database to which nobody is connected, a home, and the last moment of its clock."""

    database: str
    home: Path
    moment: datetime
    settings: Settings

    def copy_home(self, settings: Settings) -> None:
        """Copy the files to the home of these settings; every copy of the key store gets the keys, too."""
        shutil.copytree(self.home, settings.home_path, dirs_exist_ok=True)
        for replica in settings.keystore_replicas:
            shutil.copytree(settings.keystore_path, replica, dirs_exist_ok=True)


def holds_something(home: Path) -> bool:
    """Return whether there are files in a home already, which an installation made in it would use."""
    return home.exists() and any(home.iterdir())


_originals: dict[tuple[str, Hashable], Original] = {}


async def original(postgres: EmbeddedPostgres, key: Hashable, make: Make) -> Original:
    """Return the installation that this process keeps under a key, on this server; make it the first time."""
    place = (postgres.dsn(), key)
    if place not in _originals:
        _originals[place] = await _keep(postgres, make)
    return _originals[place]


async def _keep(postgres: EmbeddedPostgres, make: Make) -> Original:
    name = f"original_{uuid4().hex}"
    # Beside the server's own files: it ends with the server.
    home = postgres._root / name
    async with make(home) as made:
        await made.service.close()
        moment = made.clock.now()
        async with superuser_of(postgres) as superuser:
            await copy_database(superuser, made.database, name)
        return Original(database=name, home=home, moment=moment, settings=made.service.settings)
