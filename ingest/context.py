"""What accompanies a request: its identifier, its trace, and how long its caller waits for the answer."""

from __future__ import annotations

import asyncio
import os
import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from aiohttp import hdrs, web

from ingest.problems import UNAVAILABLE, UNAVAILABLE_RETRY_SECONDS, ProblemError
from ingest.shapes import fault_of_traceparent

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, MutableMapping

    from multidict import CIMultiDictProxy

    Headers = CIMultiDictProxy[str]

SERVER = "openepm-journal"
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
            raise no_answer(self.seconds) from error

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


def identify(headers: Headers) -> str:
    """Return the identifier that the caller gave, if it is well formed and given once, else a new one."""
    return given_identifier(headers) or new_identifier()


def given_identifier(headers: Headers) -> str | None:
    """Return the identifier that the caller gave, if it is well formed and given once."""
    given = headers.getall(REQUEST_ID_HEADER, ())
    return given[0] if len(given) == 1 and _REQUEST_ID(given[0]) else None


def new_identifier() -> str:
    """Return an identifier for a request that came with none."""
    return os.urandom(16).hex()


def traceparent(headers: Headers) -> str | None:
    """Return the W3C trace context of the request, if it is well formed and given once."""
    given = headers.getall(TRACEPARENT_HEADER, ())
    return given[0] if len(given) == 1 and not fault_of_traceparent(given[0]) else None


def preferred_wait(headers: Headers) -> int | None:
    """Return how many seconds the caller waits for the answer (RFC 7240 section 4.3), from 1 to the longest."""
    given = headers.getall(PREFER_HEADER, ())
    match = _WAIT(",".join(given)) if given else None
    return min(max(1, int(match.group(1))), LONGEST_WAIT_SECONDS) if match else None


def no_answer(seconds: float) -> ProblemError:
    """Return the answer to a caller that has waited so long."""
    detail = f"No answer within {seconds:g} s; whether the request took effect is unknown: send it again."
    return ProblemError(UNAVAILABLE, detail, headers={"Retry-After": str(UNAVAILABLE_RETRY_SECONDS)})


def accompany(headers: MutableMapping[str, str], request_id: str | None, trace: str | None, wait: int | None) -> None:
    """Set the headers that every answer has, with what accompanies its request."""
    if request_id is not None:
        headers[REQUEST_ID_HEADER] = request_id
    if trace is not None:
        headers[TRACEPARENT_HEADER] = trace
    if wait is not None:
        headers[APPLIED_HEADER] = f"wait={wait}"
    headers[hdrs.SERVER] = SERVER
    headers[hdrs.CACHE_CONTROL] = "no-store"
    headers["X-Content-Type-Options"] = "nosniff"


def bind(request: web.Request, seconds: float) -> Bound:
    """Give a request its bound: what its caller prefers, else `seconds`."""
    request[_BOUND] = bound = Bound(preferred_wait(request.headers) or seconds)
    return bound


def bound_of(request: web.Request) -> Bound:
    """Return the bound of a request."""
    return request[_BOUND]
