"""`sources`: what the numbers of events say; `loss`, `rhythm`: declare what is lost, and how often events come."""

from __future__ import annotations

from typing import TYPE_CHECKING

from journal.cli.installation import opened
from journal.cli.listing import as_json, members_of, print_json
from journal.core.entry import Compartment
from journal.core.errors import OperatorError
from journal.reading.sources import read_silent, read_sources

if TYPE_CHECKING:
    import argparse

    from journal.settings import Settings

MAX_REASON_CHARACTERS = 500
MAX_RHYTHM_MINUTES = 43_200


async def sources(settings: Settings, arguments: argparse.Namespace) -> int:
    """List what the numbers of a commune's sources say; 1 if some are missing, or a source is silent."""
    async with opened(settings, writes=False) as installation:
        service = installation.service
        everything = await read_sources(service.store, service.keyring, service.name)
        silent = await read_silent(service.store, service.keyring, service.name, everything)
    found = [one for one in everything if arguments.tenant in {None, one.row.tenant}]
    silent = [one for one in silent if arguments.tenant in {None, one.tenant}]
    if as_json(arguments):
        place = ("tenant", "category", "last_at")
        quiet = {(one.tenant, one.category, one.source): one.since for one in silent}
        print_json(
            [
                members_of(one.row, place)
                | one.numbers.as_json()
                | {"silent_since": quiet.get((one.row.tenant, one.row.category, one.source))}
                for one in found
            ]
        )
    else:
        for one in found:
            print(f"{one.row.tenant}\t{one.row.category}\t{one.row.last_day}\t{one.numbers.describe()}")
        for one_silent in silent:
            print(f"{one_silent.tenant}\t{one_silent.category}\tsilent\t{one_silent.describe()}")
    return int(bool(silent) or any(one.row.missing for one in found))


async def rhythm(settings: Settings, arguments: argparse.Namespace) -> int:
    """Declare how often a source is to send a numbered event; an entry of the commune's journal says so."""
    if arguments.minutes is not None and not 1 <= arguments.minutes <= MAX_RHYTHM_MINUTES:
        raise OperatorError(f"--minutes is 1 to {MAX_RHYTHM_MINUTES} (30 days)")
    async with opened(settings) as installation:
        service = installation.service
        compartment = Compartment(service.name, arguments.tenant, arguments.category)
        if not await service.store.read_heads([compartment.tenant], [compartment.category]):
            raise OperatorError("there is no such commune or category: see openepm-journal tenant list, category list")
        key, name = service.keyring.source(compartment, arguments.source, "")
        await service.chronicle.write(
            "setting",
            tenant=arguments.tenant,
            subject=arguments.category,
            data={"minutes": arguments.minutes or 0, "source": arguments.source},
            own_only=True,
        )
        await service.store.set_rhythm(compartment, key=key, name=name, minutes=arguments.minutes)
    print("declared; silence beyond it is told by alarm entries, openepm-journal sources and the metrics")
    return 0


async def loss(settings: Settings, arguments: argparse.Namespace) -> int:
    """Declare numbers of a source lost: an entry of the commune's journal tells why, and they are missing no more."""
    low, high, reason = arguments.first, arguments.last, arguments.reason.strip()
    if not reason or len(reason) > MAX_REASON_CHARACTERS:
        raise OperatorError(f"--reason is 1 to {MAX_REASON_CHARACTERS} characters: say how the events were lost")
    if not 1 <= low <= high:
        raise OperatorError("--first and --last are numbers from 1 on, in their order")
    async with opened(settings) as installation:
        service = installation.service
        known = await read_sources(service.store, service.keyring, service.name, arguments.tenant, arguments.category)
        chosen = [one for one in known if (one.source, one.epoch) == (arguments.source, arguments.epoch)]
        if not chosen:
            raise OperatorError("no source of this name and epoch numbers events there: see openepm-journal sources")
        if high > chosen[0].row.last:
            raise OperatorError(f"the last number that came from this source is {chosen[0].row.last}: declare up to it")
        compartment = Compartment(service.name, arguments.tenant, arguments.category)
        key, name = service.keyring.source(compartment, arguments.source, arguments.epoch)
        # The entry first: nothing is closed of which no entry tells.
        await service.chronicle.write(
            "alarm",
            tenant=arguments.tenant,
            subject=arguments.category,
            data={
                "alarm": "numbers lost",
                "epoch": arguments.epoch or None,
                "first_number": low,
                "last_number": high,
                "reason": reason,
                "source": arguments.source,
            },
            own_only=True,
        )
        await service.store.declare_loss(compartment, key=key, name=name, first=low, last=high)
    print(f"declared lost: {low} to {high}; the commune's journal tells why, and its extracts how many")
    return 0
