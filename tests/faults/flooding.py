"""A commune that floods a service, in a process of its own: `python -m tests.faults.flooding URL TOKEN CLIENTS EVENTS`.

Each client posts batches of so many events, one after the other, until it is killed; every second a line counts what
was recorded.
"""

from __future__ import annotations

import asyncio
import json
import sys
from datetime import UTC, datetime, timedelta
from itertools import count
from uuid import uuid4

import aiohttp

from tests.support.rig import CATEGORY, event_body

BATCH = "application/cloudevents-batch+json"


async def flood(url: str, token: str, clients: int, events: int) -> None:
    """Post for ever; refusals are tried again at once, as a client without manners does."""
    recorded = 0
    refused = 0

    async def client(session: aiohttp.ClientSession) -> None:
        nonlocal recorded, refused
        prefix, numbers = uuid4().hex, count()
        # Made once, and then only renumbered: the client must not be slower than the service.
        moment = datetime.now(UTC) - timedelta(seconds=1)
        mark = "@" * 12
        text = json.dumps([event_body(f"{prefix}{mark}{number:05d}", moment) for number in range(events)])
        while True:
            body = text.replace(mark, f"{next(numbers):012d}").encode()
            async with session.post(f"/v1/categories/{CATEGORY}/events", data=body) as answer:
                await answer.read()
                if answer.status == 201:
                    recorded += events
                else:
                    refused += 1
                    await asyncio.sleep(0.01)

    headers = {"Authorization": f"Bearer {token}", "Content-Type": BATCH}
    connector = aiohttp.TCPConnector(limit=clients)
    async with aiohttp.ClientSession(url, headers=headers, connector=connector) as session:
        tasks = [asyncio.create_task(client(session)) for _ in range(clients)]
        while not any(task.done() for task in tasks):
            await asyncio.sleep(1)
            sys.stdout.write(f"recorded {recorded} refused {refused}\n")
            sys.stdout.flush()
            recorded = refused = 0
        await asyncio.gather(*tasks)


if __name__ == "__main__":
    address, secret, number, size = sys.argv[1:]
    asyncio.run(flood(address, secret, int(number), int(size)))
