"""What accompanies a request: its identifier, its trace, and how long its caller waits for the answer."""

from __future__ import annotations

import asyncio
import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from uuid import uuid4

from aiohttp import web

from ingest.problems import UNAVAILABLE, UNAVAILABLE_RETRY_SECONDS, ProblemError
from ingest.shapes import fault_of_traceparent

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

REQUEST_ID_HEADER = "X-Request-Id"
TRACEPARENT_HEADER = "traceparent"
PREFER_HEADER = "Prefer"
APPLIED_HEADER = "Preference-Applied"

# Unless `Prefer: wait=N` says otherwise.
WAIT_SECONDS = 5
# An extract waits for its turn, then for the first of what is read and signed.
EXTRACT_WAIT_SECONDS = 30
LONGEST_WAIT_SECONDS = 30
# So much of the wait is left for the answer itself.
ANSWERING_SECONDS = 0.2

REQUEST_ID: web.RequestKey[str] = web.RequestKey("request_id", str)
_BOUND: web.RequestKey[Bound] = web.RequestKey("bound")

# Hexadecimal alone, as UUIDs and most proxies write it: an identifier is logged, and no name is to pass for one.
_REQUEST_ID = re.compile(r"[0-9A-Fa-f-]{16,64}").fullmatch
# RFC 7240 section 2: the first `wait` counts, and what is not understood is ignored.
_WAIT = re.compile(r'(?:^|,)\s*wait\s*=\s*"?([0-9]{1,9})"?\s*(?=$|[,;])', re.IGNORECASE).search


class Bound:
    """How long a request may take from here."""

    def __init__(self, seconds: float) -> None:
        """Allow so many seconds, from the entry into `running`."""
        self.seconds = seconds
        self._timeout = asyncio.timeout(None)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the clock for the block. Raises ProblemError (503) at its end."""
        try:
            async with self._timeout:
                self.begin()
                yield
        except TimeoutError as error:
            if not self._timeout.expired():
                raise
            detail = f"No answer within {self.seconds:g} s; whether the request took effect is unknown: send it again."
            headers = {"Retry-After": str(UNAVAILABLE_RETRY_SECONDS)}
            raise ProblemError(UNAVAILABLE, detail, headers=headers) from error

    def begin(self) -> None:
        """Start from the beginning: the caller has just said all it had to say."""
        self._timeout.reschedule(asyncio.get_running_loop().time() + self.seconds - ANSWERING_SECONDS)

    def stop(self) -> None:
        """Do without a bound: the caller is speaking, or is being answered."""
        self._timeout.reschedule(None)

    @property
    def left_seconds(self) -> float:
        """Return how many seconds are left."""
        ends_at = self._timeout.when()
        return (
            self.seconds - ANSWERING_SECONDS
            if ends_at is None
            else max(0.0, ends_at - asyncio.get_running_loop().time())
        )


def identify(request: web.Request) -> str:
    """Return the identifier that the caller gave, if it is well formed and given once, else a new one."""
    given = request.headers.getall(REQUEST_ID_HEADER, [])
    return given[0] if len(given) == 1 and _REQUEST_ID(given[0]) else uuid4().hex


def traceparent(request: web.Request) -> str | None:
    """Return the W3C trace context of the request, if it is well formed and given once."""
    given = request.headers.getall(TRACEPARENT_HEADER, [])
    return given[0] if len(given) == 1 and not fault_of_traceparent(given[0]) else None


def preferred_wait(request: web.Request) -> int | None:
    """Return how many seconds the caller waits for the answer (RFC 7240 section 4.3), from 1 to the longest."""
    match = _WAIT(",".join(request.headers.getall(PREFER_HEADER, [])))
    return min(max(1, int(match.group(1))), LONGEST_WAIT_SECONDS) if match else None


def bind(request: web.Request, seconds: float) -> Bound:
    """Give a request its bound: what its caller prefers, else `seconds`."""
    request[_BOUND] = bound = Bound(preferred_wait(request) or seconds)
    return bound


def bound_of(request: web.Request) -> Bound:
    """Return the bound of a request."""
    return request[_BOUND]
