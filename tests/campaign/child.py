"""`python -m tests.campaign.child DSN OFFSET`: a service of its own process that records until it is killed.

Its settings come as JSON on the standard input.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from datetime import timedelta

import msgspec

from journal.clock import SimulatedClock
from journal.core.entry import Compartment
from journal.core.errors import BusyError
from journal.settings import Settings
from tests.campaign.serving import served
from tests.campaign.world import ALBI, MAIN
from tests.support.world import make_event


async def main() -> None:
    """Serve and record."""
    dsn, offset = sys.argv[1:]
    clock = SimulatedClock(timedelta(seconds=float(offset)))
    settings = msgspec.json.decode(sys.stdin.readline(), type=Settings)
    async with served(dsn, settings, clock) as running:
        writer = running.service.writer
        compartment = Compartment(running.service.name, ALBI, MAIN)
        sys.stdout.write("recording\n")
        sys.stdout.flush()
        number = 0
        while True:
            number += 1
            events = [make_event(clock.now(), id=f"child-{number}-{n}") for n in range(5)]
            with suppress(BusyError):  # on a busy machine an answer may take longer than a caller is to wait
                await writer.submit(compartment, "child", events, 5000)


if __name__ == "__main__":
    asyncio.run(main())
