"""What one credential, and all together, may ask of this process at once."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from journal.core.errors import BusyError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from journal.clock import Clock

BODIES_RETRY_SECONDS = 2
EXTRACTS_RETRY_SECONDS = 30
MEBIBYTE = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The figures; each is of one process."""

    requests_per_second: float = 1_000
    burst_requests: float = 2_000
    bodies_bytes: int = 256 * MEBIBYTE
    bodies_bytes_per_credential: int = 64 * MEBIBYTE
    body_seconds: float = 30
    extracts: int = 4
    chunk_seconds: float = 60


class RequestRate:
    """A token bucket per credential. Asked only of credentials that exist, so that it cannot grow at will."""

    def __init__(self, clock: Clock, limits: Limits) -> None:
        """Start with every bucket full."""
        self._clock = clock
        self._per_second = limits.requests_per_second
        self._burst = limits.burst_requests
        self._buckets: dict[str, tuple[float, float]] = {}  # credential: (tokens, when)

    def wait_seconds(self, credential: str) -> float:
        """Count one request; return 0 if it may pass, else after how long the next one may."""
        now = self._clock.monotonic()
        tokens, then = self._buckets.get(credential, (self._burst, now))
        tokens = min(self._burst, tokens + (now - then) * self._per_second)
        passes = tokens >= 1
        self._buckets[credential] = (tokens - passes, now)
        return 0 if passes else (1 - tokens) / self._per_second


class Shares:
    """An amount (bytes, places) shared by all, of which one credential may hold only a part."""

    def __init__(self, *, total: int, each: int, reason: str, retry_after_seconds: int) -> None:
        """Keep the limits, and what to say where they are met."""
        self._total = total
        self._each = each
        self._reason = reason
        self._retry_after_seconds = retry_after_seconds
        self._held: dict[str, int] = {}

    @contextmanager
    def hold(self, credential: str, amount: int) -> Iterator[None]:
        """Hold an amount as long as the block lasts. Raises BusyError where there is not enough."""
        mine = self._held.get(credential, 0)
        if mine + amount > self._each or sum(self._held.values()) + amount > self._total:
            raise BusyError(self._reason, retry_after_seconds=self._retry_after_seconds)
        self._held[credential] = mine + amount
        try:
            yield
        finally:
            self._held[credential] -= amount
            if not self._held[credential]:
                del self._held[credential]
