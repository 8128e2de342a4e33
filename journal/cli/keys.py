"""`keys`: back up the key store to a copy that follows its purges, and restore it."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from journal.cli.installation import is_made, open_database, opened
from journal.clock import SystemClock
from journal.core.entry import RESERVED_TENANT
from journal.core.errors import JournalError, OperatorError, StoreError, UnavailableError
from journal.database.facts import Facts
from journal.database.store import Store
from journal.keys.copy import check_alone, check_apart, check_same, check_source, follow
from journal.keys.ledger import Ledger
from journal.keys.rotation import begin, rotate
from journal.keys.store import KeyStore, open_keystore
from journal.keys.wrapped import MasterKey
from journal.notices.host import copied_path

if TYPE_CHECKING:
    import argparse
    from datetime import date

    from journal.keys.copy import Followed
    from journal.settings import Settings

BUSY = "another run is updating this copy"


async def backup(settings: Settings, arguments: argparse.Namespace) -> int:
    """Bring a copy of the key store up to date; 1 if a key could not be copied.

    Needs no database, except to record whose keys were copied for the first time; the service may be running.
    """
    keystore, copy = _open_both(settings, arguments.directory)
    check_alone(copy.directories[0])
    check_same(copy, keystore)
    with copy.destroying(BUSY):
        done = follow(copy, keystore)
    print(_summary(done, arguments.directory))
    await _record(settings, done)
    for reason in done.failures:
        print(f"openepm-journal: not copied: {reason}", file=sys.stderr)
    if done.only_here:
        print(
            f"openepm-journal: {done.only_here} keys are in this copy but no longer in the key store: restore them "
            f"with openepm-journal keys restore --from {arguments.directory}",
            file=sys.stderr,
        )
    if done.failures or done.only_here:
        return 1
    copied_path(settings).touch(mode=0o644)
    return 0


async def _record(settings: Settings, done: Followed) -> None:
    """Write in the journal of each commune whose key is in a copy for the first time that it is."""
    if not done.tenants or (settings.dsn is None and not is_made(settings)):
        return
    try:
        async with opened(settings) as installation:
            known = [row.code for row in installation.service.snapshot.tenants() if row.code != RESERVED_TENANT]
            for tenant in sorted({*done.tenants}.intersection(known)):
                data = {"change": "key copied"}
                await installation.service.chronicle.write("setting", tenant=tenant, subject="keys", data=data)
    except JournalError as error:
        print(
            f"openepm-journal: the copy is made, but not recorded in the journals of {len(done.tenants)} communes "
            f"({error}): tell them",
            file=sys.stderr,
        )


async def restore(settings: Settings, arguments: argparse.Namespace) -> int:
    """Restore from a copy what the key store has lost; 1 if a key was not restored.

    The database, which must be restored first, says what has been purged since the copy was made; it is believed where
    the ledger of the key store, or of its copy, vouches for the row.
    """
    keystore, copy = _open_both(settings, arguments.directory)
    check_source(copy)
    destroyed = await _read_destroyed(settings, keystore, copy)
    check_same(keystore, copy)
    with keystore.destroying():
        # The first key of every key store: nothing is written to one without it.
        taken = keystore.take_tenant_key(RESERVED_TENANT, copy)
        # Durable before any other key is copied: otherwise a purged key could come back.
        fences = destroyed.fences.items()
        behind = {category: fence for category, fence in fences if keystore.lags_behind(category, fence)}
        for category, fence in behind.items():
            keystore.raise_fence(category, fence)
        for tenant in destroyed.tenants:
            keystore.destroy_tenant_key(tenant)
        done = follow(keystore, copy, doubted=destroyed.doubted_tenants)
    done.copied += taken
    done.fences_raised += len(behind)
    print(_summary(done, settings.keystore_path))
    for doubt in destroyed.doubts:
        print(f"openepm-journal: not believed, so no key is destroyed for it: {doubt}", file=sys.stderr)
    if left := sorted(destroyed.doubted_tenants):
        print(
            f"openepm-journal: no key is brought back of {', '.join(left)}, which may have been destroyed since the "
            "copy: if what the database says is right, run openepm-journal recover --confirm-facts; then this command "
            "again",
            file=sys.stderr,
        )
    for reason in done.failures:
        print(f"openepm-journal: not restored: {reason}", file=sys.stderr)
    return int(bool(done.failures or destroyed.doubted_tenants))


def _open_both(settings: Settings, directory: str) -> tuple[KeyStore, KeyStore]:
    place = Path(directory).absolute()
    if not place.is_dir():
        # Not made here: if a disk is not mounted, the copy would go below its mount point and be hidden later.
        raise OperatorError(f"there is no directory {place}: mount it, or create it for a first copy")
    keystore = open_keystore(settings)
    stores = [("the key store", path) for path in keystore.directories]
    check_apart(place, [*stores, ("the master key", settings.master_key_path)])
    return keystore, KeyStore(place, MasterKey.read(settings.master_key_path))


async def rotate_master_key(settings: Settings, arguments: argparse.Namespace) -> int:
    """Replace the master key; with --begin or --keep-former, only the first steps of it."""
    path = settings.master_key_path
    if arguments.begin:
        begin(path)
        print(f"{path} holds the new master key beside the old one, which still wraps: restart a service that was "
              "given a copy of the file, then run openepm-journal keys rotate --keep-former")  # fmt: skip
        return 0
    keystore = open_keystore(settings)
    copies = [_open_both(settings, directory)[1] for directory in arguments.copy]
    for copy in copies:
        check_same(copy, keystore)
    done = rotate(path, [keystore, *copies], keeps_former=arguments.keep_former)
    print(f"{done.files} files of the key store are wrapped under the new master key")
    if done.stage == "wrapped":
        print(f"{path} keeps the old one, which only opens: restart a service that was given a copy of the file, then "
              "run openepm-journal keys rotate")  # fmt: skip
    else:
        print(f"{path} holds the new one alone: put it on paper, and destroy the old one's")
    return 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Destroyed:
    """What the database says is destroyed: fences by category, tenants; what of it is not believed, and why."""

    fences: dict[str, date]
    tenants: list[str]
    doubted_tenants: frozenset[str]
    doubts: list[str]


async def _read_destroyed(settings: Settings, keystore: KeyStore, copy: KeyStore) -> _Destroyed:
    """Return what the database says is destroyed. Raises OperatorError, UnavailableError."""

    def known_fence(category: str) -> date | None:
        return max((day for store in (keystore, copy) if (day := store.fence(category)) is not None), default=None)

    # Whichever has more lines knows more; of two histories, the copy's is refused afterwards.
    ledger = max((keystore.ledger, copy.ledger), key=Ledger.refresh)
    facts = Facts(ledger, fence=known_fence, now=SystemClock().now)
    async with (
        open_database(settings) as dsn,
        await Store.connect(dsn, application="openepm-journal keys", facts=facts) as store,
    ):
        try:
            rows, tenants = await store.read_categories(), await store.read_tenants()
        except UnavailableError:
            raise
        except StoreError as error:
            raise OperatorError(
                f"the database does not say which days are purged ({error}): restore it before the keys, and bring its "
                "schema up to date with openepm-journal migrate"
            ) from error
    doubts = [key for kind in ("category", "tenant", "fence") for key in facts.suspended(kind)]
    if not rows and not doubts:
        raise OperatorError("the database is empty and cannot say which days are purged: restore it first")
    return _Destroyed(
        fences={row.code: row.fence for row in rows if row.fence is not None},
        tenants=[tenant.code for tenant in tenants if tenant.destroyed],
        doubted_tenants=frozenset(name for kind, name in doubts if kind == "tenant"),
        doubts=[facts.problem(*key) or "" for key in doubts],
    )


def _summary(done: Followed, directory: object) -> str:
    return (
        f"{directory}: {done.copied} keys copied, {done.shredded} purged or destroyed keys shredded, "
        f"{done.fences_raised} fences raised; it holds {done.kept} keys"
    )
