"""Who asks: `Authorization: Bearer oej_<id>_<secret>`.

Unknown, revoked, expired and malformed get the same answer, after the same work. Who may do what is in the
table of calls (`app`); from outside, what is forbidden looks like what does not exist.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiohttp import hdrs, web

from ingest.problems import BAD_REQUEST, LENGTH, MEDIA, OVERSIZE, TIMEOUT, UNAUTHENTICATED, ProblemError, absent
from journal.core.entry import Compartment
from journal.core.errors import BusyError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from journal.clock import Clock
    from journal.database.ingest import CredentialRow
    from journal.service import Service


# Beyond this, nobody can say whether a credential was revoked.
DIRECTORY_LIMIT_SECONDS = 10.0

_BEARER = re.compile(r"[Bb][Ee][Aa][Rr][Ee][Rr] oej_([0-9a-z]{1,64})_([A-Za-z0-9_-]{1,128})").fullmatch
# Compared with where there is no credential, so that its absence takes the same time.
_NO_HASH = bytes(32)


def authenticate(request: web.Request, service: Service) -> CredentialRow:
    """Return the credential of a request.

    Raises ProblemError (401), or UnavailableError where the snapshot of credentials is too old to tell.
    """
    if service.snapshot.age_seconds() > DIRECTORY_LIMIT_SECONDS:
        raise UnavailableError("credentials cannot be checked: the database has not answered")
    given = request.headers.getall(hdrs.AUTHORIZATION, [])
    match = _BEARER(given[0]) if len(given) == 1 else None
    identifier, secret = match.groups() if match else ("", "")
    credential = service.snapshot.credential(identifier)
    expected = credential.secret_hash if credential else _NO_HASH
    same = hmac.compare_digest(hashlib.sha256(secret.encode()).digest(), expected)
    if credential is None or not same or not _is_current(credential, service):
        raise ProblemError(
            UNAUTHENTICATED,
            "Send a credential that is known and current: Authorization: Bearer oej_…",
            headers={hdrs.WWW_AUTHENTICATE: "Bearer"},
        )
    return credential


def _is_current(credential: CredentialRow, service: Service) -> bool:
    if credential.revoked_at is not None:
        return False
    if credential.expires_at is not None and credential.expires_at <= service.clock.now():
        return False
    tenant = service.snapshot.tenant(credential.tenant)
    return tenant is not None and not tenant.closed


def compartment_of(request: web.Request, service: Service, caller: CredentialRow) -> Compartment:
    """Return the compartment of the path's category and of the credential's tenant. Raises ProblemError (404)."""
    category = request.match_info["category"]
    if category not in caller.categories or service.snapshot.category(category) is None:
        raise absent()
    return Compartment(service.name, caller.tenant, category)


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


def media_type(request: web.Request, accepted: tuple[str, ...]) -> str:
    """Return which of the accepted media types the body says it is. Raises ProblemError (415)."""
    if hdrs.CONTENT_ENCODING in request.headers:
        # Also "identity": what is not unpacked cannot be a bomb, and nobody needs to try.
        raise ProblemError(MEDIA, "Send the body without Content-Encoding: compressed bodies are not taken.")
    given = request.headers.getall(hdrs.CONTENT_TYPE, [])
    kind = request.content_type.lower()
    if len(given) == 1 and kind in accepted and (request.charset or "utf-8").lower() == "utf-8":
        return kind
    wanted = " or ".join(accepted)
    if any(name.lower().startswith("ce-") for name in request.headers):
        raise ProblemError(
            MEDIA, f"CloudEvents in binary mode (ce-… headers) are not taken: use structured mode, {wanted}."
        )
    raise ProblemError(MEDIA, f"Send {wanted}, in UTF-8.", headers={"Accept": ", ".join(accepted)})


async def read_body(
    request: web.Request, *, limit_bytes: int, limits: Limits, bodies: Shares, credential: str
) -> bytes:
    """Read the whole body. Raises ProblemError (400, 408, 411, 413), or BusyError where memory is short."""
    length = request.content_length
    if length is None:
        raise ProblemError(LENGTH, "Send Content-Length: bodies in chunks are not taken.", close=True)
    if length > limit_bytes:
        reason = f"is larger than {limit_bytes // 1024} KiB"
        raise ProblemError(OVERSIZE, f"The body {reason}.", faults=[(0, "", reason)], close=True)
    with bodies.hold(credential, length):
        try:
            async with asyncio.timeout(limits.body_seconds):
                return await request.read()
        except TimeoutError as error:
            detail = f"The body did not arrive within {limits.body_seconds:g} s."
            raise ProblemError(TIMEOUT, detail, close=True) from error
        except web.RequestPayloadError as error:
            raise ProblemError(BAD_REQUEST, "The body cannot be read.", close=True) from error
