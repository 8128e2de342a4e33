"""`recover`: prepare a database restored from a backup for `serve`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from journal.admin.persons import People
from journal.cli.installation import open_database, opened
from journal.clock import SystemClock
from journal.core.entry import RESERVED_TENANT
from journal.core.errors import OperatorError
from journal.core.seal import parse_seal
from journal.core.times import format_day, format_seconds, format_time
from journal.database.store import Store
from journal.keys.store import open_facts, open_keystore
from journal.status.restored import communes_back, describe_back, forgotten_purges, forgotten_seal, refuse_restored

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

    from journal.cli.installation import Installation
    from journal.database.change import SuspendedFact
    from journal.database.facts import Facts, Key
    from journal.settings import Settings

CODE_DIGITS = 12


async def recover(settings: Settings, arguments: argparse.Namespace) -> int:
    """Declare everything after the last seal of the restored database lost, then repeat the purges.

    In this order: the purge seals, and a seal with the number of a lost one would be a fork unless the loss is
    declared. Safe to repeat. 1 if a commune must be destroyed again, which the operator must do.
    """
    if arguments.confirm_facts is not None:
        return await _confirm_facts(settings, arguments.confirm_facts)
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
        await _tell_everybody(installation, number)
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
    await _tell_everybody(installation, number)
    print(f"declared: everything after seal {number} is lost; the seals state it from now on")


async def _tell_everybody(installation: Installation, number: int) -> None:
    """Write in every commune's journal that what followed a seal is lost; repeated, it is recorded once."""
    rows = await installation.service.store.read_seals(number, 1)
    await installation.service.chronicle.write_everywhere(
        "alarm",
        subject="seal",
        data={"alarm": "declared loss", "recovered_from": number},
        # Numbers of seals are used again after a loss, moments are not.
        event_id=f"declared-loss-{number}-{format_seconds(rows[0].sealed_at)}",
        at=rows[0].sealed_at,
    )


async def _is_declared(installation: Installation, number: int) -> bool:
    """Return whether the next seal declares the loss, made by an earlier run that was interrupted."""
    rows = await installation.service.store.read_seals(number, 1)
    return bool(rows) and parse_seal(rows[0].text).recovered_from == number


async def _confirm_facts(settings: Settings, code: str) -> int:
    """List the administrative facts that are suspended; with the code of that list, vouch for them as they are."""
    async with open_database(settings) as dsn:
        keystore = open_keystore(settings)
        facts = open_facts(keystore, SystemClock())
        async with await Store.connect(dsn, application="openepm-journal recover", facts=facts) as store:
            suspended = await store.suspended_facts()
            listed = _code_of(facts, suspended)
            if not code or code != listed:
                return _list_facts(suspended, listed, code)
            await store.confirm_facts({key: fact.digest for key, fact in suspended.items()})
        # Whatever changed a credential after it was made was its revocation; of a person, another password may have.
        known = [key for key, fact in suspended.items() if fact.is_known and fact.row]
        revoked = [name for kind, name in known if kind in {"credential", "person"}]
        async with opened(settings, recovers=True) as installation:
            for kind, name in known:
                if kind == "credential":
                    await installation.administration.credentials.revoke(name)
                elif kind == "person":
                    await People(installation.service).revoke(name)
            await _record_confirmed(installation, suspended)
    print(f"confirmed: {len(suspended)} administrative facts are obeyed as the database has them")
    if revoked:
        print(f"revoked again: {', '.join(revoked)}")
    return 0


def _list_facts(suspended: Mapping[Key, SuspendedFact], listed: str, code: str) -> int:
    if not suspended:
        print("every administrative fact is vouched for: there is nothing to confirm")
        return 0
    for (kind, name), fact in suspended.items():
        known = "differs from what the key store vouches for" if fact.is_known else "is unknown to the key store"
        print(f"{kind} {name} {known}: {_row_text(fact)}")
    if code:
        print(f"openepm-journal: {code} is not the code of this list: nothing was confirmed", file=sys.stderr)
    print(
        f"if a backup was restored and these are as they were: openepm-journal recover --confirm-facts {listed}; a "
        "credential or person that differs is revoked then. If nothing was restored, somebody changed the database by "
        "hand"
    )
    return 1


def _row_text(fact: SuspendedFact) -> str:
    if fact.row is None:
        return "it has no row"
    shown = {name: value for name, value in fact.row.items() if not isinstance(value, bytes) and value is not None}
    return ", ".join(f"{name}={value}" for name, value in shown.items())


def _code_of(facts: Facts, suspended: Mapping[Key, SuspendedFact]) -> str:
    """Return what names exactly this list."""
    listed = " ".join(f"{kind} {name} {fact.digest}" for (kind, name), fact in sorted(suspended.items()))
    return facts.ledger.digest(listed.encode())[:CODE_DIGITS]


async def _record_confirmed(installation: Installation, suspended: Mapping[Key, SuspendedFact]) -> None:
    """Write in the journals concerned which facts were confirmed."""
    chronicle, at = installation.service.chronicle, installation.service.clock.now()
    for (kind, name), fact in suspended.items():
        data = {"change": "confirmed after a restore", "fact": kind, "is_there": fact.row is not None}
        if kind in {"category", "service"}:
            event_id = f"confirmed-{kind}-{name}-{format_time(at)}"
            await chronicle.write_everywhere("setting", subject=name, data=data, event_id=event_id, at=at)
        else:
            is_somebody = kind in {"credential", "person"}
            tenant = name if not is_somebody else fact.row["tenant"] if fact.row is not None else RESERVED_TENANT
            is_there = installation.service.snapshot.tenant(tenant) is not None
            await chronicle.write("setting", tenant=tenant if is_there else RESERVED_TENANT, subject=name, data=data)


async def _check_done(installation: Installation) -> None:
    """Raise OperatorError if the clock or retention of the restored database prevents a purge that was done before."""
    service = installation.service
    for left in await forgotten_purges(service.store, service.keyring.keystore):
        raise OperatorError(
            f"{left.category} was purged up to {format_day(left.destroyed)}, which is not due by this database's "
            "retention and clock: correct the clock (timedatectl), or set the retention as it was (openepm-journal "
            f"category set {left.category} --retention-days N --instruction REFERENCE), then run recover again"
        )
