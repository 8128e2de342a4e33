"""The demo's HTTP client, and the answers it expects."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING, Any, Self

import aiohttp
import orjson
from tqdm import tqdm

from journal.core.errors import OperatorError
from journal.core.times import format_day, format_time

if TYPE_CHECKING:
    from datetime import date, datetime
    from pathlib import Path

SINGLE = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"
CREATED, KNOWN = 201, 200
CHUNK_BYTES = 64 * 1024
ANSWER_CHARACTERS = 400


class DemoClient:
    """Acts as modules and communes."""

    def __init__(self, url: str) -> None:
        """Use the service at `url`."""
        self.tokens: dict[tuple[str, str], str] = {}
        self._url = url
        # The last bodies sent: (tenant, category, content type, body, answer).
        self.sent: list[tuple[str, str, str, bytes, Any]] = []

    async def __aenter__(self) -> Self:
        """Open the session."""
        self._session = aiohttp.ClientSession()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close it."""
        await self._session.close()

    async def post_all(
        self, tenant: str, category: str, singles: list[dict[str, Any]], batched: list[dict[str, Any]], size: int
    ) -> None:
        """Post some events one by one, the others in batches. Raises OperatorError unless all are created."""
        bodies = [(SINGLE, orjson.dumps(event)) for event in singles]
        bodies += [(BATCH, orjson.dumps(batched[start : start + size])) for start in range(0, len(batched), size)]
        for kind, body in tqdm(bodies, disable=None, leave=False, desc=f"{tenant} {category}"):
            status, answer = await self._post(tenant, category, kind, body)
            if status != CREATED:
                raise OperatorError(f"an event was answered {status}, not {CREATED}: {_shorten(answer)}")
        self.sent += [(tenant, category, kind, body, answer)]

    async def repeat(self) -> int:
        """Send the last body of every group again. Raises OperatorError unless the first receipts are returned."""
        count = 0
        for tenant, category, kind, body, first in self.sent:
            status, answer = await self._post(tenant, category, kind, body)
            if status != KNOWN or answer["receipts"] != first["receipts"]:
                raise OperatorError(f"a repeated event was answered {status}: {_shorten(answer)}")
            count += len(answer["receipts"])
        return count

    async def refuse(self, now: datetime) -> int:
        """Send malformed events. Raises OperatorError unless each is refused with a problem."""
        bodies = _malformed(now)
        for status_wanted, headers, body in bodies:
            status, answer = await self._post("albi", "main-courante", SINGLE, body, headers)
            if status != status_wanted or "title" not in answer:
                raise OperatorError(f"a malformed event was answered {status}, not {status_wanted}: {_shorten(answer)}")
        return len(bodies)

    async def extract(self, tenant: str, category: str, first: date, last: date, path: Path) -> int:
        """Write an extract to `path`; return its size in bytes. Raises OperatorError if it is refused."""
        request = {
            "from": format_day(first),
            "to": format_day(last),
            "purpose": "lawfulness",
            "requester": "Déléguée à la protection des données",
            "request_reference": "DPD-2026-14",
        }
        url = f"{self._url}/v1/categories/{category}/extracts"
        headers = {"Authorization": f"Bearer {self.tokens[tenant, 'client']}"}
        async with self._session.post(url, json=request, headers=headers) as response:
            if response.status != KNOWN:
                raise OperatorError(f"the extract was answered {response.status}: {await response.text()}")
            size = 0
            with path.open("xb") as file:
                async for chunk in response.content.iter_chunked(CHUNK_BYTES):
                    size += file.write(chunk)
        return size

    async def _post(
        self, tenant: str, category: str, kind: str, body: bytes, headers: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        url = f"{self._url}/v1/categories/{category}/events"
        all_headers = {"Authorization": f"Bearer {self.tokens[tenant, category]}", "Content-Type": kind} | (
            headers or {}
        )
        async with self._session.post(url, data=body, headers=all_headers) as response:
            return response.status, orjson.loads(await response.read())


def _shorten(answer: Any) -> str:
    return str(answer)[:ANSWER_CHARACTERS]


def _malformed(now: datetime) -> list[tuple[int, dict[str, str], bytes]]:
    """Return (expected status, headers, body) of events that must be refused."""
    good: dict[str, Any] = {
        "specversion": "1.0",
        "type": "fr.openepm.journal.consultation",
        "source": "/openepm/albi/main-courante",
        "id": "refused",
        "time": format_time(now),
        "subject": "MC-2026-0001",
        "data": {"actor": {"account": "c.martin"}, "justification": "Relecture", "outcome": "success"},
    }
    no_reason = {**good, "data": {"actor": {"account": "c.martin"}, "outcome": "success"}}
    return [
        (400, {}, b"{"),
        (400, {}, orjson.dumps({**good, "extra": 1})),
        (400, {}, orjson.dumps(no_reason)),
        (400, {}, orjson.dumps({**good, "time": "2026-11-23T10:00:00"})),
        (400, {}, orjson.dumps({**good, "subject": None})),
        (400, {}, orjson.dumps(good).replace(b'"id":"refused"', b'"id":"a","id":"b"')),
        (415, {"Content-Encoding": "gzip"}, gzip.compress(orjson.dumps(good))),
        (401, {"Authorization": "Bearer oej_0_0"}, orjson.dumps(good)),
    ]
