"""Modules that offer more than a service can take, in a process of its own.

    python -m tests.faults.overloading < plan.json

Single events over many connections, at a rate whether or not they are answered, or as fast as they are answered. What
is sent and what is answered goes to a ledger (`tests/faults/ledger.py`). The plan is a `Plan` in JSON; the answer, one
line of JSON, an `Offered`.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter, deque
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import orjson
import uvloop

from tests.faults.ledger import now
from tests.support.rig import CATEGORY, SERVICE, event_body

if TYPE_CHECKING:
    from io import BufferedWriter

TICK_SECONDS = 0.002
PATIENCE_SECONDS = 60
RECORDED = "201"
CUT_OFF = "cut off"
MARKS = "@identifier@", "@moment@"
HEAD = (
    b"POST /v1/categories/%b/events HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer %b\r\n"
    b"Content-Type: application/cloudevents+json\r\nContent-Length: %d\r\n\r\n"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is offered: as these communes in turn (their tokens), over so many connections, from a loopback address.

    `rate` is in events a second; 0 sends the next when one is answered. `name` begins every identifier.
    """

    port: int
    tokens: dict[str, str]
    connections: int
    seconds: float
    name: str
    ledger: str
    found: str
    rate: float = 0
    address: str = "127.0.0.1"


@dataclass(slots=True, kw_only=True)
class Offered:
    """What was offered and what came of it.

    `held` events were due when every connection waited for an answer; `unhelpful` refusals did not say when to come
    back. `took_ms` is of what was recorded, from when it was sent, and `answered_at` when that was; `ended_at` is when
    the offer ended: both in nanoseconds on the clock of the ledger.
    """

    due: int = 0
    held: int = 0
    sent: int = 0
    unhelpful: int = 0
    statuses: dict[str, int] = field(default_factory=dict)
    took_ms: list[float] = field(default_factory=list)
    answered_at: list[int] = field(default_factory=list)
    processor_seconds: float = 0
    ended_at: int = 0


class Offer:
    """The connections, which of them are free, and what has been answered."""

    def __init__(self, plan: Plan, ledger: BufferedWriter) -> None:
        """Prepare the text of every event."""
        self.plan = plan
        self.found = Offered()
        self.statuses: Counter[str] = Counter()
        self.free: deque[Connection] = deque()
        self.under_way = 0
        self.ended = False
        self._ledger = ledger
        identifier, moment = MARKS
        text = json.dumps(
            event_body(identifier, datetime.now(UTC), time=moment), sort_keys=True, separators=(",", ":")
        ).encode()
        # In the ledger's own spelling, so that the body's digest is the event's content.
        self._text = text.replace(b"%", b"%%").replace(moment.encode(), b"%(t)b").replace(identifier.encode(), b"%(i)b")

    def request(self, token: str) -> tuple[str, str, bytes]:
        """Return the identifier, the content hash and the bytes of the next request."""
        self.found.sent += 1
        identifier = f"{self.plan.name}-{self.found.sent}"
        moment = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        body = self._text % {b"t": moment.encode(), b"i": identifier.encode()}
        return identifier, sha256(body).hexdigest(), HEAD % (CATEGORY.encode(), token.encode(), len(body)) + body

    def note(self, kind: str, commune: str, identifier: str, content: str, receipt: object = None) -> None:
        """Write a line of the ledger."""
        line = {
            "kind": kind,
            "at": now(),
            "chain": f"openepm-journal/v1/{SERVICE}/{commune}/{CATEGORY}",
            "id": identifier,
            "content": content,
            "receipt": receipt,
        }
        self._ledger.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))

    def send_due(self, count: int) -> None:
        """Send so many events that are due, as far as connections are free."""
        self.found.due += count
        for _ in range(count):
            if not self.free:
                self.found.held += 1
                continue
            self.free.popleft().send()

    async def connect(self, number: int) -> None:
        """Keep one connection open; one that was refused comes back when it was told to."""
        loop = asyncio.get_running_loop()
        communes = list(self.plan.tokens)
        while not self.ended:
            commune = communes[number % len(communes)]
            try:
                _, connection = await loop.create_connection(
                    lambda commune=commune: Connection(self, commune),  # type: ignore[misc]
                    "127.0.0.1",
                    self.plan.port,
                    local_addr=(self.plan.address, 0),
                )
            except OSError as error:
                self.statuses[type(error).__name__] += 1
                await asyncio.sleep(1)
            else:
                await connection.lost
                await asyncio.sleep(connection.retry_seconds)


class Connection(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self, offer: Offer, commune: str) -> None:
        """Send as this commune."""
        self._offer = offer
        self._commune = commune
        self._received = b""
        self._under_way: tuple[str, str] | None = None
        self._since = 0.0
        self._is_last = False
        self.retry_seconds = 0.0
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Be free."""
        # uvloop's is one without being an instance of it.
        self._transport = cast("asyncio.Transport", transport)
        self._go_on()

    def send(self) -> None:
        """Send an event."""
        offer = self._offer
        if self._transport.is_closing():
            offer.found.held += 1
            return
        identifier, content, data = offer.request(offer.plan.tokens[self._commune])
        self._under_way = identifier, content
        offer.under_way += 1
        offer.note("sent", self._commune, identifier, content)
        self._since = time.perf_counter()
        self._transport.write(data)

    def data_received(self, data: bytes) -> None:
        """Note an answer once it is whole."""
        self._received += data
        head, found, rest = self._received.partition(b"\r\n\r\n")
        if not found:
            return
        lines = [line.partition(b": ") for line in head.split(b"\r\n")[1:]]
        headers = {name.lower(): value for name, _, value in lines}
        length = int(headers[b"content-length"])
        if len(rest) < length:
            return
        self._received = rest[length:]
        self._is_last = headers.get(b"connection") == b"close"
        self._answered(head[9:12].decode(), headers.get(b"retry-after"), rest[:length])

    def _answered(self, status: str, retry_after: bytes | None, body: bytes) -> None:
        offer = self._offer
        offer.statuses[status if self._under_way else f"{status} to a connection"] += 1
        if status == RECORDED:
            offer.found.took_ms.append(1000 * (time.perf_counter() - self._since))
            offer.found.answered_at.append(now())
            assert self._under_way is not None
            offer.note("ok", self._commune, *self._under_way, orjson.loads(body)["receipts"][0])
        else:
            offer.found.unhelpful += retry_after is None or int(retry_after) < 1
            self.retry_seconds = float(retry_after or 0)
            if self._under_way is not None:
                offer.note("unknown", self._commune, *self._under_way)
        offer.under_way -= self._under_way is not None
        self._under_way = None
        self._go_on()

    def _go_on(self) -> None:
        offer = self._offer
        if self._is_last:
            self._transport.close()
        elif offer.plan.rate:
            offer.free.append(self)
        elif not offer.ended:
            self.send()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  (that it ended is what counts)
        """Count what was cut off."""
        offer = self._offer
        if self in offer.free:
            offer.free.remove(self)
        if self._under_way is not None:
            offer.under_way -= 1
            offer.statuses[CUT_OFF] += 1
            offer.note("unknown", self._commune, *self._under_way)
        self.lost.set_result(None)


async def offer_events(plan: Plan, ledger: BufferedWriter) -> Offered:
    """Carry the plan out; what was sent is then waited for."""
    offer = Offer(plan, ledger)
    keeping = [asyncio.create_task(offer.connect(number)) for number in range(plan.connections)]
    before = time.process_time()
    begun = time.perf_counter()
    while (elapsed := time.perf_counter() - begun) < plan.seconds:
        offer.send_due(int(elapsed * plan.rate) - offer.found.due)
        if keeping[0].done():
            await keeping[0]
        await asyncio.sleep(TICK_SECONDS)
    offer.ended = True
    offer.found.ended_at = now()
    offer.found.processor_seconds = time.process_time() - before
    until = time.perf_counter() + PATIENCE_SECONDS
    while offer.under_way and time.perf_counter() < until:  # noqa: ASYNC110 - each answer is an event
        await asyncio.sleep(TICK_SECONDS)
    for task in keeping:
        task.cancel()
    await asyncio.gather(*keeping, return_exceptions=True)
    offer.found.statuses = dict(offer.statuses)
    if offer.under_way:
        offer.found.statuses["without an answer"] = offer.under_way
    return offer.found


def main() -> None:
    """Read the plan, answer what came of it."""
    given: dict[str, Any] = json.load(sys.stdin)
    plan = Plan(**given)
    with Path(plan.ledger).open("ab") as ledger:
        found = uvloop.run(offer_events(plan, ledger))
    # Not on standard output: what ten minutes found is more than a pipe holds.
    Path(plan.found).write_text(json.dumps(asdict(found)), encoding="utf-8")


if __name__ == "__main__":
    main()
