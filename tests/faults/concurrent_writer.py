"""One process of the concurrency test: two writers on one journal; settings come as variables, the load as input."""

from __future__ import annotations

import asyncio
import os
import random
import sys
from datetime import datetime

import orjson

from journal.cli.installation import open_service
from journal.clock import SimulatedClock
from journal.core.entry import Compartment
from journal.settings import load_settings
from journal.snapshot import Snapshot
from journal.writing.writer import Writer
from tests.support.rig import SERVICE, event_body, read_events

WRITERS = 2
BATCH = 20


async def write(
    writer: Writer, clock: SimulatedClock, share: list[tuple[str, str, str]], moment: datetime
) -> list[str]:
    """Submit the writer's share of (tenant, category, id), some in batches; return a line per receipt."""
    lines: list[str] = []
    chains: dict[tuple[str, str], list[str]] = {}
    for tenant, category, event_id in share:
        chains.setdefault((tenant, category), []).append(event_id)

    async def submit(tenant: str, category: str, ids: list[str]) -> None:
        events = read_events([event_body(event_id, moment) for event_id in ids], clock.now())
        acknowledgements = await writer.submit(Compartment(SERVICE, tenant, category), "module", events, 1)
        lines.extend(
            f"{tenant} {category} {event_id} {acknowledgement.receipt.index} {acknowledgement.receipt.chain_hash.hex()}"
            for event_id, acknowledgement in zip(ids, acknowledgements, strict=True)
        )

    requests = [
        submit(*chain, ids[start : start + BATCH])
        for chain, ids in chains.items()
        for start in range(0, len(ids), BATCH)
    ]
    await asyncio.gather(*requests)
    return lines


async def main() -> None:
    """Write this process's shares with two writers at once, and print every receipt."""
    request = orjson.loads(sys.stdin.buffer.read())
    settings = load_settings(os.environ)
    assert settings.dsn is not None
    moment = datetime.fromisoformat(request["moment"])
    clock = SimulatedClock()
    async with open_service(settings.dsn, settings, clock) as installation:
        service = installation.service
        second = Writer(
            store=service.store,
            keyring=service.keyring,
            snapshot=Snapshot(service.store, service.keyring, clock),
            clock=clock,
        )
        await second._snapshot.refresh()
        running = asyncio.create_task(second.run())
        shares = [[tuple(item) for item in share] for share in request["shares"]]
        for share in shares:
            random.Random(request["seed"]).shuffle(share)
        writers = (service.writer, second)
        found = await asyncio.gather(
            *(write(writer, clock, share, moment) for writer, share in zip(writers, shares, strict=True))
        )
        second.close()
        await running
    sys.stdout.write("".join(f"{line}\n" for lines in found for line in lines))


if __name__ == "__main__":
    asyncio.run(main())
