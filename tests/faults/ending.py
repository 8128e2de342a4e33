"""A process that ends a contract, on the tests' clock (DSN, home, seconds ahead, step, certificate), to be killed."""

from __future__ import annotations

import asyncio
import sys
from datetime import timedelta
from pathlib import Path

from journal.cli.installation import open_service
from journal.clock import SimulatedClock
from journal.document import render
from journal.settings import Settings
from tests.support.documents import start_nothing
from tests.support.world import SERVICE, TENANT

# Extracts without their documents prove as much, in a tenth of the time.
render._start = start_nothing


async def main(dsn: str, home: str, ahead_seconds: str, step: str, root: str, pem: bytes) -> None:
    """Say that it begins, then close the commune or destroy it."""
    clock = SimulatedClock(timedelta(seconds=float(ahead_seconds)))
    settings = Settings(home=home, service_name=SERVICE, keystore_replicas=(f"{home}/replica",))
    async with open_service(dsn, settings, clock) as installation:
        sys.stdout.write("begins\n")
        sys.stdout.flush()
        if step == "close":
            await installation.closing.close(TENANT, Path(root), pem)
        else:
            await installation.destruction.run(TENANT, lambda _: None)


if __name__ == "__main__":
    DSN, HOME, AHEAD_SECONDS, STEP, ROOT = sys.argv[1:]
    asyncio.run(main(DSN, HOME, AHEAD_SECONDS, STEP, ROOT, Path(ROOT, "commune.pem").read_bytes()))
