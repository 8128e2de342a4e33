"""`recover`: a database restored from a backup made fit to be served again."""

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
    """Declare that a disaster lost what followed the last seal of the restored database; purge again what is destroyed.

    In that order: the purge seals, and a seal that takes a lost one's number unsaid would be a fork. Safe to repeat.
    1 where a commune must be destroyed again, which is the operator's to say.
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
        raise OperatorError("there is no seal in this database: nothing can have been lost after one")
    lost = await forgotten_seal(store, installation.service.keyring.keystore)
    if number is not None and number < last.number and lost is None and await _is_declared(installation, number):
        print(f"declared already: what followed seal {number} is lost")
        return
    if number != last.number:
        await refuse_restored(store, installation.service.keyring.keystore)
        raise OperatorError(
            f"the last seal of this database is {last.number}. If entries after it are lost, and serve was not "
            f"started since the restore, say so for ever with recover --declare-loss {last.number}; else do nothing"
        )
    await installation.service.sealer.declare_loss()
    data = {"alarm": "declared loss", "recovered_from": number}
    await installation.administration.record(RESERVED_TENANT, "alarm", subject="seal", data=data)
    print(f"declared: what followed seal {number} is lost; the seals say so from now on")


async def _is_declared(installation: Installation, number: int) -> bool:
    """Tell whether the seal after this one declares the loss: an earlier run was cut short behind it."""
    rows = await installation.service.store.read_seals(number, 1)
    return bool(rows) and parse_seal(rows[0].text).recovered_from == number


async def _check_done(installation: Installation) -> None:
    """Raise OperatorError where the clock or the rule of the restored database keeps a destroyed day from going."""
    service = installation.service
    for left in await forgotten_purges(service.store, service.keyring.keystore):
        raise OperatorError(
            f"{left.category} is destroyed up to {format_day(left.destroyed)}, and by this database's rule and clock "
            "its time has not come: put the clock right (timedatectl), or its rule as it was (openepm-journal category "
            f"set {left.category} --retention-days N), then run recover again"
        )
