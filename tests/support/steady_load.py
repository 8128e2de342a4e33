"""A client that posts at a steady rate and asks for nothing twice: run on a host, by the package's own Python.

    python steady_load.py URL CREDENTIAL SECONDS EVENTS_PER_SECOND NAME [CERTIFICATE]

It ends before its time once there is a file NAME.end here. Its last line is JSON: how many it sent, how often each
status came, what was not answered, the longest wait.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import aiohttp

# For an answer. As a module has, so many connections: what it cannot send yet waits in it, however long.
PATIENCE_SECONDS = 300
CONNECTIONS = 16
PATIENCE = aiohttp.ClientTimeout(total=None, sock_connect=PATIENCE_SECONDS, sock_read=PATIENCE_SECONDS)


async def post(
    session: aiohttp.ClientSession, url: str, identifier: str, source: str = "/openepm/albi/main-courante"
) -> str:
    """Post one event once; return its status, or the kind of error."""
    event = {
        "specversion": "1.0",
        "id": identifier,
        "time": datetime.now(UTC).isoformat(),
        "type": "fr.openepm.journal.consultation",
        "source": source,
        "subject": "MC-2026-04127",
        "data": {"actor": {"account": "c.martin"}, "justification": "Relecture", "outcome": "success"},
    }
    headers = {"Content-Type": "application/cloudevents+json"}
    try:
        async with session.post(url, data=json.dumps(event), headers=headers) as answer:
            await answer.read()
            return str(answer.status)
    except (aiohttp.ClientError, TimeoutError) as error:
        return type(error).__name__


async def main(url: str, token: str, seconds: str, rate: str, name: str, certificate: str = "") -> None:
    """Post `rate` events a second for `seconds`, each when its time has come, whether or not others wait."""
    end = Path(f"{name}.end")
    waits: list[float] = []
    told: Counter[str] = Counter()
    context = ssl.create_default_context(cafile=certificate) if certificate else False
    connector = aiohttp.TCPConnector(limit=CONNECTIONS, ssl=context)
    # One event fails for good at its first error: aiohttp itself repeats only what is idempotent.
    async with aiohttp.ClientSession(
        connector=connector, timeout=PATIENCE, headers={"Authorization": f"Bearer {token}"}
    ) as session:

        async def one(number: int) -> None:
            started = time.monotonic()
            told[await post(session, url, f"{name}-{number}")] += 1
            waits.append(time.monotonic() - started)

        begin = time.monotonic()
        tasks = []
        for number in range(int(float(seconds) * float(rate))):
            await asyncio.sleep(max(0.0, begin + number / float(rate) - time.monotonic()))
            if end.exists():  # noqa: ASYNC240 - a look, before each event
                break
            tasks.append(asyncio.create_task(one(number)))
        await asyncio.gather(*tasks)
    print(json.dumps({"sent": len(waits), "told": told, "longest_seconds": round(max(waits), 2)}))  # noqa: T201


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
