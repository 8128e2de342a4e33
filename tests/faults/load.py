"""Modules under load: they post, they note what they are told, and they ask again until the answer is definite."""

from __future__ import annotations

import asyncio
import json
import random
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self

import aiohttp

from tests.faults.ledger import Kind, Ledger, Line, content_hash, now
from tests.support.rig import SERVICE, changed, event_body
from tests.support.serving import CATEGORIES

if TYPE_CHECKING:
    from tests.support.serving import Site

CREATED, KNOWN = 201, 200
NOT_SENT, CUT_OFF = -1, 0
REFUSED = frozenset({400, 409, 422})
ANSWER_LIMIT_SECONDS = 60
PATIENCE_SECONDS = 180
PAUSE_SECONDS = 0.1
BATCH_EVENTS = 12
# Of a hundred requests, so many send again what was acknowledged, contradict it, or make no sense.
AGAIN, RIVAL, SENSELESS = 6, 3, 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """Where a module posts, and as whom."""

    tenant: str
    category: str

    @property
    def origin(self) -> str:
        """The chain's identity."""
        return f"openepm-journal/v1/{SERVICE}/{self.tenant}/{self.category}"


class Load:
    """Some clients, each one request at a time, until told to stop; nothing they sent is left without an answer."""

    def __init__(self, site: Site, ledger: Ledger, *, clients: int, seed: int, first: int = 0) -> None:
        """Prepare clients, numbered from `first`; `start` begins."""
        self._site = site
        self._ledger = ledger
        self._numbers = range(first, first + clients)
        self._seed = seed
        self._stopping = False
        self._acknowledged: dict[Chain, list[dict[str, Any]]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        # How long a client waits after each request.
        self.pause_seconds = 0.0
        self.statuses: dict[int, int] = {}
        self.requests = 0
        self.refused_connections = 0
        self.cut_off = 0  # sent, and no answer
        self.found_recorded = 0  # of those: acknowledged as recorded before, when asked for again
        self.progress = asyncio.Condition()

    async def __aenter__(self) -> Self:
        """Begin."""
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=ANSWER_LIMIT_SECONDS))
        self._tasks = [asyncio.create_task(self._client(number)) for number in self._numbers]
        return self

    async def __aexit__(self, *_: object) -> None:
        """End, also in the middle of things."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._session.close()

    async def finish(self) -> None:
        """Send nothing new, and wait until everything sent has a definite answer."""
        self._stopping = True
        async with asyncio.timeout(PATIENCE_SECONDS):
            await asyncio.gather(*self._tasks)

    async def acknowledgements(self, count: int) -> None:
        """Wait for so many more requests to be acknowledged."""
        wanted = self.statuses.get(CREATED, 0) + count
        async with asyncio.timeout(PATIENCE_SECONDS), self.progress:
            await self.progress.wait_for(lambda: self.statuses.get(CREATED, 0) >= wanted)

    async def answered_with(self, status: int) -> None:
        """Wait for one more answer of this status."""
        wanted = self.statuses.get(status, 0) + 1
        async with asyncio.timeout(PATIENCE_SECONDS), self.progress:
            await self.progress.wait_for(lambda: self.statuses.get(status, 0) >= wanted)

    async def show_heads(self) -> None:
        """Note which head the service shows for every chain."""
        for tenant, token in self._site.clients.items():
            for category in CATEGORIES:
                url = f"{self._site.url}/v1/categories/{category}/head"
                async with self._session.get(url, headers={"Authorization": f"Bearer {token}"}) as answer:
                    shown = await answer.json()
                chain = Chain(tenant=tenant, category=category)
                await self._ledger.write([Line(kind="head", at=now(), chain=chain.origin, receipt=shown["head"])])

    async def _client(self, number: int) -> None:
        draw = random.Random(f"{self._seed}/{number}")
        chains = [Chain(tenant=tenant, category=category) for tenant in self._site.modules for category in CATEGORIES]
        count = 0
        while not self._stopping:
            chain, kind = draw.choice(chains), draw.randrange(100)
            acknowledged = self._acknowledged.setdefault(chain, [])
            if kind < AGAIN and acknowledged:
                events = draw.sample(acknowledged, min(len(acknowledged), draw.randrange(1, 4)))
            elif kind < AGAIN + RIVAL and acknowledged:
                events = [changed(draw.choice(acknowledged), f"Autre motif {number} {count}")]
            else:
                size = 1 if draw.random() < 1 / 2 else draw.randrange(2, BATCH_EVENTS)
                names = [f"{number}-{count + place}" for place in range(size)]
                events = [event_body(name, datetime.now(UTC)) for name in names]
                if kind >= 100 - SENSELESS:
                    events[-1]["subject"] = None
                count += size
            await self._send(chain, events, draw)
            await asyncio.sleep(self.pause_seconds)

    async def _send(self, chain: Chain, events: list[dict[str, Any]], draw: random.Random) -> None:
        """Post until the answer is definite; what was not answered may be asked for again in other company."""
        await self._note("sent", chain, events)
        waiting = [(events, False)]
        while waiting:
            batch, cut_off = waiting.pop()
            status, answer = await self._post(chain, batch)
            self.requests += 1
            self.cut_off += status == CUT_OFF
            self.refused_connections += status == NOT_SENT
            if status in {CREATED, KNOWN}:
                receipts = answer["receipts"]
                self.found_recorded += cut_off and status == KNOWN
                await self._note("ok", chain, batch, receipts)
                self._acknowledged.setdefault(chain, []).extend(batch)
            elif status in REFUSED:
                await self._note("refused", chain, batch)
            else:
                await self._note("unknown", chain, batch)
                parts = [[event] for event in batch] if draw.random() < 1 / 3 else [batch]
                waiting += [(part, cut_off or status == CUT_OFF) for part in reversed(parts)]
                await asyncio.sleep(PAUSE_SECONDS)
            async with self.progress:
                self.statuses[status] = self.statuses.get(status, 0) + 1
                self.progress.notify_all()

    async def _post(self, chain: Chain, batch: list[dict[str, Any]]) -> tuple[int, Any]:
        """Return (status, answer), or NOT_SENT or CUT_OFF where there was none that can be read to its end."""
        kind = "cloudevents-batch" if len(batch) > 1 else "cloudevents"
        headers = {
            "Authorization": f"Bearer {self._site.modules[chain.tenant]}",
            "Content-Type": f"application/{kind}+json",
        }
        body = json.dumps(batch if len(batch) > 1 else batch[0]).encode()
        url = f"{self._site.url}/v1/categories/{chain.category}/events"
        try:
            async with self._session.post(url, data=body, headers=headers) as answer:
                content = await answer.read()
                return answer.status, json.loads(content)
        except aiohttp.ClientConnectorError:
            return NOT_SENT, None
        except (aiohttp.ClientError, TimeoutError, OSError):
            return CUT_OFF, None

    async def _note(
        self, kind: Kind, chain: Chain, events: list[dict[str, Any]], receipts: list[Any] | None = None
    ) -> None:
        at = now()
        await self._ledger.write(
            [
                Line(
                    kind=kind,
                    at=at,
                    chain=chain.origin,
                    id=event["id"],
                    content=content_hash(event),
                    receipt=receipts[place] if receipts else None,
                )
                for place, event in enumerate(events)
            ]
        )
