"""A process that hands over what is due, on the tests' clock (DSN, home, seconds ahead), to be killed."""

from __future__ import annotations

import asyncio
import sys
from datetime import timedelta

from journal.cli.installation import open_service
from journal.clock import SimulatedClock
from journal.settings import Settings


async def main(dsn: str, home: str, ahead_seconds: str) -> None:
    """Say that it begins, then hand over."""
    clock = SimulatedClock(timedelta(seconds=float(ahead_seconds)))
    settings = Settings(home=home, service_name="journal.test")
    async with open_service(dsn, settings, clock) as installation:
        sys.stdout.write("begins\n")
        sys.stdout.flush()
        await installation.handover.run()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
