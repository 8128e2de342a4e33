"""`found`: the first start of a journal, in which everything is checked before its name is fixed for ever."""

from __future__ import annotations

from typing import TYPE_CHECKING

from journal.cli.installation import check_first, open_database, prepare
from journal.clock import SystemClock
from journal.core.errors import JournalError, OperatorError
from journal.database.store import Store
from journal.keys.files import why_unwritable
from journal.keys.wrapped import read_master_key

if TYPE_CHECKING:
    import argparse
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from journal.settings import Settings

Check = tuple[str, "Callable[[Settings], Awaitable[None]]"]


async def found(settings: Settings, _: argparse.Namespace) -> int:
    """Check what a first start needs, then make the journal; 1, and nothing is made, if a check fails.

    Repeating it changes nothing.
    """
    failed = 0
    for name, check in CHECKS:
        try:
            await check(settings)
        except (JournalError, OSError) as error:
            failed += 1
            print(f"FAIL {name}: {error}")
        else:
            print(f"ok   {name}")
    if failed:
        print("nothing was made: put that right, then type the same command again")
        return 1
    async with open_database(settings) as dsn:
        await prepare(dsn, settings, SystemClock())
    print(f"the journal {settings.service_name} is made")
    return 0


async def _check_master_key(settings: Settings) -> None:
    read_master_key(settings.master_key_path)


async def _check_key_store(settings: Settings) -> None:
    _check_writable(settings.keystore_path, made_in=settings.home_path)


async def _check_replicas(settings: Settings) -> None:
    for path in settings.keystore_replicas:
        _check_writable(settings.home_path / path, made_in=None)


async def _check_identity(settings: Settings) -> None:
    if settings.service_name is None:
        raise OperatorError("set JOURNAL_SERVICE_NAME: the journal's name is fixed for ever")
    check_first(settings, settings.service_name, SystemClock().now())


async def _check_database(settings: Settings) -> None:
    async with (
        open_database(settings) as dsn,
        await Store.connect(dsn, application="openepm-journal found", facts=None) as store,
    ):
        if faults := await store.check_new_sessions():
            raise OperatorError("; ".join(faults))


def _check_writable(directory: Path, *, made_in: Path | None) -> None:
    """Refuse a directory in which no file can be made; one that is missing is made if `made_in` is there."""
    place = made_in if made_in is not None and not directory.exists() else directory
    if reason := why_unwritable(place):
        raise OperatorError(f"{place}: {reason}")


CHECKS: tuple[Check, ...] = (
    ("master key", _check_master_key),
    ("key store", _check_key_store),
    ("replicas of the key store", _check_replicas),
    ("signing identity", _check_identity),
    ("database", _check_database),
)
