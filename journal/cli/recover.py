"""`recover`: prepare a database restored from a backup for `serve`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from journal.cli.installation import opened
from journal.core.entry import RESERVED_TENANT
from journal.core.errors import OperatorError
from journal.core.seal import parse_seal
from journal.core.times import format_day
from journal.status.restored import communes_back, describe_back, forgotten_purges, forgotten_seal, refuse_restored

if TYPE_CHECKING:
    import argparse

    from journal.cli.installation import Installation
    from journal.settings import Settings


async def recover(settings: Settings, arguments: argparse.Namespace) -> int:
    """Declare everything after the last seal of the restored database lost, then repeat the purges.

    In this order: the purge seals, and a seal with the number of a lost one would be a fork unless the loss is
    declared. Safe to repeat. 1 if a commune must be destroyed again, which the operator must do.
    """
    async with opened(settings, recovers=True) as installation:
        await _declare(installation, arguments.declare_loss)
        done = await installation.purger.run(max_days=0)
        await _check_done(installation)
        back = await communes_back(installation.service.store, installation.service.keyring.keystore)
    for due in done:
        print(f"purged again {due.category} {format_day(due.day)}")
    for tenant in back:
        print(f"openepm-journal: {describe_back(tenant)}", file=sys.stderr)
    return int(bool(back))


async def _declare(installation: Installation, number: int | None) -> None:
    store = installation.service.store
    last = await store.latest_seal()
    if last is None:
        raise OperatorError("there is no seal in this database, so nothing after a seal can be lost")
    lost = await forgotten_seal(store, installation.service.keyring.keystore)
    if number is not None and number < last.number and lost is None and await _is_declared(installation, number):
        print(f"already declared: everything after seal {number} is lost")
        return
    if number != last.number:
        await refuse_restored(store, installation.service.keyring.keystore)
        raise OperatorError(
            f"the last seal of this database is {last.number}. If entries after it are lost, and serve "
            f"has not run since the restore, declare it, for ever, with recover --declare-loss {last.number}; "
            "else do nothing"
        )
    await installation.service.sealer.declare_loss()
    data = {"alarm": "declared loss", "recovered_from": number}
    await installation.service.chronicle.write("alarm", tenant=RESERVED_TENANT, subject="seal", data=data)
    print(f"declared: everything after seal {number} is lost; the seals state it from now on")


async def _is_declared(installation: Installation, number: int) -> bool:
    """Return whether the next seal declares the loss, made by an earlier run that was interrupted."""
    rows = await installation.service.store.read_seals(number, 1)
    return bool(rows) and parse_seal(rows[0].text).recovered_from == number


async def _check_done(installation: Installation) -> None:
    """Raise OperatorError if the clock or retention of the restored database prevents a purge that was done before."""
    service = installation.service
    for left in await forgotten_purges(service.store, service.keyring.keystore):
        raise OperatorError(
            f"{left.category} was purged up to {format_day(left.destroyed)}, which is not due by this database's "
            "retention and clock: correct the clock (timedatectl), or set the retention as it was (openepm-journal "
            f"category set {left.category} --retention-days N), then run recover again"
        )
