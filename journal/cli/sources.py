"""`sources`: what the numbers of modules' events say; `loss`: declare that numbered events are lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from journal.cli.installation import opened
from journal.cli.listing import as_json, members_of, print_json
from journal.core.entry import Compartment
from journal.core.errors import OperatorError
from journal.reading.sources import read_sources

if TYPE_CHECKING:
    import argparse

    from journal.settings import Settings

MAX_REASON_CHARACTERS = 500


async def sources(settings: Settings, arguments: argparse.Namespace) -> int:
    """List what the numbers of a commune's sources say; 1 if some are missing."""
    async with opened(settings, writes=False) as installation:
        service = installation.service
        found = await read_sources(service.store, service.keyring, service.name, arguments.tenant)
    if as_json(arguments):
        place = ("tenant", "category", "last_day")
        print_json([members_of(one.row, place) | one.numbers.as_json() for one in found])
    else:
        for one in found:
            print(f"{one.row.tenant}\t{one.row.category}\t{one.row.last_day}\t{one.numbers.describe()}")
    return int(any(one.row.missing for one in found))


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
