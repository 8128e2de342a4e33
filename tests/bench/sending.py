"""Events sent over HTTP as fast as they are answered, or at a rate, by a process of its own.

    python -m tests.bench.sending < plan.json

The plan is a `Plan` in JSON; the answer, one line of JSON, a `Sent`.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from statistics import quantiles
from typing import Any, cast

import uvloop

EVENT = (
    b'{"specversion":"1.0","id":"%b","time":"%b","type":"fr.openepm.journal.consultation",'
    b'"source":"urn:openepm:test/bench","subject":"MC-2026-0001","data":{"actor":{"account":"z.vidal",'
    b'"name":"Zo\xc3\xa9 Vidal","role":"agent"},"operation":"view","justification":"Relecture avant transmission au '
    b'chef de service","outcome":"success"}}'
)
IDENTIFIER_DIGITS = 24
KINDS = {False: b"application/cloudevents+json", True: b"application/cloudevents-batch+json"}
HEAD = (
    b"POST /v1/categories/main-courante/events HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer %b\r\n"
    b"Content-Type: %b\r\nContent-Length: %d\r\n\r\n"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is sent where: over so many connections, as these communes in turn, events singly or in batches of `batch`.

    With a `rate`, so many requests a second whether or not they are answered; else the next when one is answered.
    """

    port: int
    tokens: list[str]
    connections: int
    seconds: float
    name: str
    batch: int = 0
    rate: float = 0


@dataclass(slots=True, kw_only=True)
class Sent:
    """What was answered: events, events/s, requests by status, how long answers took, in ms; what sending cost."""

    events: int
    per_second: float
    processor_seconds: float
    statuses: dict[str, int]
    median_ms: float
    p99_ms: float
    longest_ms: float


@dataclass(slots=True)
class Load:
    """The requests to be made, and what was measured of them."""

    plan: Plan
    ends_at: float
    number: int = 0
    took: list[float] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)

    def request(self, commune: int) -> bytes:
        """Return the next request of a commune."""
        plan = self.plan
        events = []
        moment = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z").encode()
        for _ in range(plan.batch or 1):
            self.number += 1
            events.append(EVENT % (f"{plan.name}-{self.number:0{IDENTIFIER_DIGITS}d}".encode(), moment))
        body = b"[%b]" % b",".join(events) if plan.batch else events[0]
        return HEAD % (plan.tokens[commune].encode(), KINDS[bool(plan.batch)], len(body)) + body


class Connection(asyncio.Protocol):
    """One connection, one request at a time; what is due meanwhile waits."""

    def __init__(self, load: Load, commune: int) -> None:
        """Send as this commune."""
        self._load = load
        self._commune = commune
        self._received = b""
        self._due: list[float] = []
        self._since = 0.0
        self._busy = False
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep it."""
        # uvloop's is one without being an instance of it.
        self._transport = cast("asyncio.Transport", transport)

    def send(self, due: float) -> None:
        """Send a request that is due at this moment, or as soon as the one before is answered."""
        if self._busy:
            self._due.append(due)
            return
        self._since = due
        self._busy = True
        self._transport.write(self._load.request(self._commune))

    def data_received(self, data: bytes) -> None:
        """Note an answer once it is whole."""
        self._received += data
        head = self._received.find(b"\r\n\r\n")
        if head < 0:
            return
        length = self._received.lower().find(b"content-length:", 0, head)
        end = head + 4 + int(self._received[length + 15 : self._received.index(b"\r\n", length)])
        if len(self._received) < end:
            return
        load, now = self._load, time.perf_counter()
        load.statuses[self._received[9:12].decode()] += 1
        if now <= load.ends_at:
            load.took.append(now - self._since)
        self._received = self._received[end:]
        self._busy = False
        if self._due:
            self.send(self._due.pop(0))
        elif not load.plan.rate and now < load.ends_at:
            self.send(now)
        elif not self.ended.done():
            self.ended.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """Count what was cut off."""
        if self._busy:
            self._load.statuses[type(exc).__name__] += 1
        if not self.ended.done():
            self.ended.set_result(None)


async def send(plan: Plan) -> Sent:
    """Carry the plan out."""
    loop = asyncio.get_running_loop()
    load = Load(plan, float("inf"))
    connections = [
        (await loop.create_connection(lambda n=n: Connection(load, n % len(plan.tokens)), "127.0.0.1", plan.port))[1]  # type: ignore[misc]
        for n in range(plan.connections)
    ]
    before = time.process_time()
    begun = time.perf_counter()
    load.ends_at = begun + plan.seconds
    if plan.rate:
        for number in range(int(plan.seconds * plan.rate)):
            due = begun + number / plan.rate
            if (early := due - time.perf_counter()) > 0:
                await asyncio.sleep(early)
            connections[number % len(connections)].send(due)
    else:
        for connection in connections:
            connection.send(time.perf_counter())
    await asyncio.wait([connection.ended for connection in connections], timeout=60)
    processor_seconds = time.process_time() - before
    took = [1000 * seconds for seconds in load.took]
    return Sent(
        events=sum(load.statuses.values()) * (plan.batch or 1),
        processor_seconds=processor_seconds,
        per_second=len(took) * (plan.batch or 1) / plan.seconds,
        statuses=dict(load.statuses),
        median_ms=sorted(took)[len(took) // 2] if took else 0,
        p99_ms=quantiles(took, n=100, method="inclusive")[98] if len(took) > 1 else 0,
        longest_ms=max(took, default=0),
    )


def main() -> None:
    """Read the plan, answer what was measured."""
    given: dict[str, Any] = json.load(sys.stdin)
    print(json.dumps(asdict(uvloop.run(send(Plan(**given))))))


if __name__ == "__main__":
    main()
