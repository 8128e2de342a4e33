"""Modules that post at a steady rate, each event once, and count how they are answered."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import aiohttp

from tests.support.rig import SOURCE
from tests.support.steady_load import CONNECTIONS, PATIENCE, post

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import AsyncIterator

    from tests.support.serving import Site

CLIENTS = 2


@asynccontextmanager
async def posting(site: Site, told: Counter[str], rate: int) -> AsyncIterator[None]:
    """Post as two modules at so many events a second each, each once, to the end of the block; count the answers."""
    url, (tenant, token) = f"{site.url}/v1/categories/main-courante/events", next(iter(site.modules.items()))
    ended = asyncio.Event()

    async def client(name: str) -> None:
        connector = aiohttp.TCPConnector(limit=CONNECTIONS)
        headers = {"Authorization": f"Bearer {token}"}
        loop = asyncio.get_running_loop()
        async with (
            aiohttp.ClientSession(connector=connector, headers=headers, timeout=PATIENCE) as session,
            asyncio.TaskGroup() as group,
        ):

            async def one(identifier: str) -> None:
                told[await post(session, url, identifier, SOURCE)] += 1

            begin, number = loop.time(), 0
            while not ended.is_set():
                group.create_task(one(f"{tenant}-{name}-{number}"))
                number += 1
                with suppress(TimeoutError):
                    await asyncio.wait_for(ended.wait(), max(0.0, begin + number / rate - loop.time()))

    clients = [asyncio.create_task(client(str(number))) for number in range(CLIENTS)]
    try:
        yield
    finally:
        ended.set()
        await asyncio.gather(*clients)
