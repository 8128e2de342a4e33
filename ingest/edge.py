"""What every handler uses, stored in the application under typed keys."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPMethod
from typing import TYPE_CHECKING

import structlog
from aiohttp import web

from ingest.access import BODIES_RETRY_SECONDS, EXTRACTS_RETRY_SECONDS, Gate, Limits, RequestRate, Shares
from ingest.callers import Proxies
from ingest.instruments import EdgeInstruments
from ingest.places import Places, Turns
from ingest.problems import RATE, ProblemError
from ingest.readiness import Readiness

log = structlog.get_logger()

DECODING_WAITING_EACH = 64
# Requests that the application begins in a turn of the event loop: some ten milliseconds.
BEGUN_AT_ONCE = 8
_METHODS = frozenset(HTTPMethod)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from journal.database.ingest import CredentialRow
    from journal.service import Service

    Handler = Callable[[web.Request, "Edge", CredentialRow], Awaitable[web.StreamResponse]]
    PublicHandler = Callable[[web.Request, "Edge"], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """The running service, and the limits on its callers."""

    service: Service
    limits: Limits
    gate: Gate
    proxies: Proxies
    rate: RequestRate
    bodies: Shares
    extracts: Places
    decoding: Places
    heavy: Places
    turns: Turns
    readiness: Readiness
    instruments: EdgeInstruments

    def count(self, caller: CredentialRow) -> None:
        """Count a caller's request. Raises ProblemError (429) if it may not pass yet.

        A commune's whole day comes through one module, event by event: what the machine can take is not refused. One
        that is late serves its callers at the same rate, whatever each sends.
        """
        wait_seconds = self.rate.wait_seconds(caller.id)
        if not wait_seconds:
            return
        is_late = self.service.instruments.last_lag_seconds >= self.limits.late_seconds
        if is_late or caller.role != "module":
            headers = {"Retry-After": str(int(wait_seconds) + 1)}
            raise ProblemError(RATE, "Send fewer requests, and events in batches.", headers=headers)

    def tell(
        self,
        *,
        method: str,
        route: str,
        status: int,
        seconds: float,
        credential: str | None,
        count: int | None,
        request_id: str,
        trace: str | None,
    ) -> None:
        """Write the one log line of a request, and count it; status 0 means that the caller had disconnected."""
        duration_seconds = max(0.0, seconds)
        log.info(
            "request answered" if status else "request abandoned",
            method=method if method in _METHODS else "other",
            route=route,
            status=status,
            duration_seconds=round(duration_seconds, 6),
            credential=credential,
            count=count,
            request_id=request_id,
            traceparent=trace,
        )
        self.instruments.answered(route, status, duration_seconds)


def make_edge(service: Service, limits: Limits, routes: Iterable[str]) -> Edge:
    """Return the edge of a service; `routes` are the paths of its calls."""
    proxies = Proxies(service.settings.trusted_proxies)
    return Edge(
        service=service,
        limits=limits,
        gate=Gate(service, limits, proxies),
        proxies=proxies,
        rate=RequestRate(service.clock, limits.requests_per_second, limits.burst_requests),
        bodies=Shares(
            total=limits.bodies_bytes,
            each=limits.bodies_bytes_per_commune,
            reason="too many bodies are being received",
            retry_after_seconds=BODIES_RETRY_SECONDS,
        ),
        extracts=Places(
            limits.extracts,
            reason="other extracts are being made",
            patience_seconds=limits.extract_patience_seconds,
            retry_after_seconds=EXTRACTS_RETRY_SECONDS,
        ),
        # One at a time: threads that decode keep the event loop from running.
        decoding=Places(
            1,
            reason="other batches are being decoded",
            patience_seconds=limits.body_seconds,
            retry_after_seconds=BODIES_RETRY_SECONDS,
            waiting_each=DECODING_WAITING_EACH,
        ),
        # Of communes that submit much, few submissions at a time: the event loop then has time for the others.
        heavy=Places(
            limits.heavy_submissions,
            reason="this commune submits too much at once",
            patience_seconds=limits.body_seconds,
            retry_after_seconds=BODIES_RETRY_SECONDS,
            waiting_each=DECODING_WAITING_EACH,
        ),
        turns=Turns(BEGUN_AT_ONCE),
        readiness=Readiness(service),
        instruments=EdgeInstruments(service.instruments.metrics, routes),
    )


EDGE: web.AppKey[Edge] = web.AppKey("edge", Edge)
CALLER: web.RequestKey[CredentialRow] = web.RequestKey("caller")
COUNT: web.RequestKey[int] = web.RequestKey("count", int)
REFUSAL: web.RequestKey[str] = web.RequestKey("refusal", str)
