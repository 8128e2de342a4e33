"""Access to the service: credentials, rates, shares of what is scarce, request bodies.

A credential is sent as `Authorization: Bearer oej_<id>_<secret>`. Unknown, revoked, expired and malformed ones get the
same answer after the same work; only for a malformed one, the snapshot is never refreshed. The table of calls (`app`)
says which role may make which call; to a caller, what is forbidden looks like what does not exist.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
from collections import OrderedDict
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog
from aiohttp import hdrs, web

from ingest.context import bound_of
from ingest.problems import (
    BAD_REQUEST,
    LENGTH,
    MEDIA,
    OVERSIZE,
    RATE,
    TIMEOUT,
    UNAUTHENTICATED,
    UNAVAILABLE,
    ProblemError,
    absent,
)
from journal.core.entry import Compartment
from journal.core.errors import BusyError, StoreError, UnavailableError
from journal.core.faults import BINARY_MODE, BODY_TOO_LARGE, CONTENT_ENCODING, CONTENT_TYPE, Code, Fault
from journal.core.faults import LENGTH as LENGTH_MISSING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ingest.callers import Proxies
    from journal.clock import Clock
    from journal.database.ingest import CredentialRow
    from journal.service import Service

log = structlog.get_logger()

# With an older snapshot, a revoked credential could still pass.
SNAPSHOT_LIMIT_SECONDS = 10.0
BODIES_RETRY_SECONDS = 2
EXTRACTS_RETRY_SECONDS = 30
SUSPENDED_RETRY_SECONDS = 30
# Of a whole process: a look asks the database for the version of the snapshot.
LOOKS_PER_SECOND = 4
FAILING_ADDRESSES = 10_000
MEBIBYTE = 1024 * 1024
# The line of each CloudEvents SDK that switches the mode.
STRUCTURED_MODE = {
    "php": "Marshaller::createJsonMarshaller()->marshalStructuredRequest($event, 'POST', $url)",
    "python": "message = cloudevents.core.bindings.http.to_structured_event(event)",
    "javascript": "const message = HTTP.structured(event)",
}

_BEARER = re.compile(r"[Bb][Ee][Aa][Rr][Ee][Rr] oej_([0-9a-z]{1,64})_([A-Za-z0-9_-]{1,128})").fullmatch
# Compared with if there is no such credential, so that the answer takes the same time.
_NO_HASH = bytes(32)


class Bearer(NamedTuple):
    """A token as it was sent; of its secret, the SHA-256."""

    identifier: str
    secret_hash: bytes


_NOBODY = Bearer("", hashlib.sha256(b"").digest())


def read_bearer(given: Sequence[str]) -> Bearer | None:
    """Return the token in a request's `Authorization` headers; None if there is not one that is well formed."""
    match = _BEARER(given[0]) if len(given) == 1 else None
    return Bearer(match[1], hashlib.sha256(match[2].encode()).digest()) if match else None


class Gate:
    """Lets requests with a valid credential pass, whatever else comes from their address.

    An address that sends too many others is answered 429 instead of 401. A credential that is bound to a client
    certificate passes only where a proxy says that the caller holds the certificate's key.
    """

    def __init__(self, service: Service, limits: Limits, proxies: Proxies) -> None:
        """Check the credentials of this service."""
        self._service = service
        self._proxies = proxies
        self._failures = RequestRate(
            service.clock, limits.failures_per_second, limits.burst_failures, buckets=FAILING_ADDRESSES
        )
        self._looks = RequestRate(service.clock, LOOKS_PER_SECOND, LOOKS_PER_SECOND)

    async def authenticate(self, request: web.Request) -> CredentialRow:
        """Return the credential of a request.

        Raises ProblemError (401, 429), or UnavailableError if the snapshot of credentials is too old.
        """
        self._check_age()
        bearer = read_bearer(request.headers.getall(hdrs.AUTHORIZATION, [])) or _NOBODY
        identifier = bearer.identifier
        credential = self._find(bearer)
        if credential is None and identifier and not self._looks.wait_seconds(""):
            # It may have been added a moment ago.
            with suppress(StoreError, OSError):
                await self._service.snapshot.refresh()
            credential = self._find(bearer)
        if credential is not None and self._is_bound_to_caller(credential, request):
            return credential
        if credential is None and identifier and self._is_suspended(bearer):
            raise suspended()
        if wait_seconds := self._failures.wait_seconds(self._proxies.address(request)):
            headers = {"Retry-After": str(int(wait_seconds) + 1)}
            raise ProblemError(RATE, "Too many requests without a valid credential come from here.", headers=headers)
        if credential is not None:
            log.warning("a token came without the certificate it is bound to", credential=credential.id)
        raise ProblemError(
            UNAUTHENTICATED,
            "Send a valid credential: Authorization: Bearer oej_…",
            headers={hdrs.WWW_AUTHENTICATE: "Bearer"},
        )

    def recognise(self, bearer: Bearer | None) -> CredentialRow | None:
        """Return the credential of a request with this token, if it passes for that alone.

        Raises UnavailableError if the snapshot of credentials is too old.
        """
        if bearer is None:
            return None
        self._check_age()
        credential = self._find(bearer)
        return credential if credential is not None and credential.certificate_sha256 is None else None

    def _check_age(self) -> None:
        if self._service.snapshot.age_seconds() > SNAPSHOT_LIMIT_SECONDS:
            raise UnavailableError("credentials cannot be checked: the database has not answered")

    def _is_bound_to_caller(self, credential: CredentialRow, request: web.Request) -> bool:
        expected = credential.certificate_sha256
        return expected is None or self._proxies.certificate_sha256(request) == expected

    def _find(self, bearer: Bearer) -> CredentialRow | None:
        """Return the valid credential of this id and secret; None if there is none."""
        credential = self._service.snapshot.credential(bearer.identifier)
        same = hmac.compare_digest(bearer.secret_hash, credential.secret_hash if credential else _NO_HASH)
        return credential if credential and same and _is_current(credential, self._service) else None

    def _is_suspended(self, bearer: Bearer) -> bool:
        """Tell whether a credential is refused only because the database has not the row that was vouched for."""
        snapshot = self._service.snapshot
        credential = snapshot.credential(bearer.identifier)
        if credential is None:
            return snapshot.is_suspended("credential", bearer.identifier)
        same = hmac.compare_digest(bearer.secret_hash, credential.secret_hash)
        return same and _is_valid(credential, self._service) and snapshot.is_suspended("tenant", credential.tenant)


def suspended() -> ProblemError:
    """Return the answer while a row in the database is not the one that was vouched for: 503, so that callers wait."""
    detail = "What this service knows of you does not verify; its operator is told. Send the request again later."
    return ProblemError(UNAVAILABLE, detail, headers={"Retry-After": str(SUSPENDED_RETRY_SECONDS)})


def _is_valid(credential: CredentialRow, service: Service) -> bool:
    has_expired = credential.expires_at is not None and credential.expires_at <= service.clock.now()
    return credential.revoked_at is None and not has_expired


def _is_current(credential: CredentialRow, service: Service) -> bool:
    if not _is_valid(credential, service):
        return False
    tenant = service.snapshot.tenant(credential.tenant)
    return tenant is not None and not tenant.closed and not (tenant.moved and credential.role == "module")


def compartment_of(request: web.Request, service: Service, caller: CredentialRow) -> Compartment:
    """Return the compartment of the path's category and of the credential's tenant. Raises ProblemError (404)."""
    category = request.match_info["category"]
    is_unknown = service.snapshot.category(category) is None
    if is_unknown and category in caller.categories and service.snapshot.is_suspended("category", category):
        raise suspended()
    if category not in caller.categories or is_unknown:
        raise absent()
    return Compartment(service.name, caller.tenant, category)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits of one process.

    A module's credential is held to the rate only while the process is late: while its event loop lags as much.
    """

    connections: int = 8_192
    requests_per_second: float = 1_000
    burst_requests: float = 2_000
    late_seconds: float = 0.05
    failures_per_second: float = 20
    burst_failures: float = 1_000
    bodies_bytes: int = 256 * MEBIBYTE
    bodies_bytes_per_commune: int = 64 * MEBIBYTE
    body_seconds: float = 30
    extracts: int = 4
    heavy_submissions: int = 4
    extract_patience_seconds: float = 20
    chunk_seconds: float = 60


class RequestRate:
    """A token bucket per caller; the least recently used is dropped when there are more than `buckets`."""

    def __init__(self, clock: Clock, per_second: float, burst: float, *, buckets: float = inf) -> None:
        """Start with every bucket full. Without `buckets`, use it only for callers whose number is bounded."""
        self._clock = clock
        self._per_second = per_second
        self._burst = burst
        self._limit = buckets
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # caller: (tokens, when)

    def wait_seconds(self, caller: str) -> float:
        """Count one request; return 0 if it may pass, else the seconds until the next one may."""
        now = self._clock.monotonic()
        tokens, then = self._buckets.pop(caller, (self._burst, now))
        tokens = min(self._burst, tokens + (now - then) * self._per_second)
        passes = tokens >= 1
        self._buckets[caller] = (tokens - passes, now)
        if len(self._buckets) > self._limit:
            self._buckets.popitem(last=False)
        return 0 if passes else (1 - tokens) / self._per_second

    def give_back(self, caller: str) -> None:
        """Take back the count of a request that will be counted again."""
        tokens, then = self._buckets[caller]
        self._buckets[caller] = (tokens + 1, then)


class Shares:
    """A shared amount of bytes, of which one commune may hold only a part."""

    def __init__(self, *, total: int, each: int, reason: str, retry_after_seconds: int) -> None:
        """Set the limits, and the error to raise when they are reached."""
        self._total = total
        self._each = each
        self._reason = reason
        self._retry_after_seconds = retry_after_seconds
        self._held: dict[str, int] = {}

    def fits(self, commune: str, amount: int) -> bool:
        """Tell whether enough is left."""
        mine = self._held.get(commune, 0)
        return mine + amount <= self._each and sum(self._held.values()) + amount <= self._total

    @contextmanager
    def hold(self, commune: str, amount: int) -> Iterator[None]:
        """Hold an amount for the duration of the block. Raises BusyError if not enough is left."""
        if not self.fits(commune, amount):
            raise BusyError(self._reason, retry_after_seconds=self._retry_after_seconds)
        self._held[commune] = self._held.get(commune, 0) + amount
        try:
            yield
        finally:
            self._held[commune] -= amount
            if not self._held[commune]:
                del self._held[commune]


def media_type(request: web.Request, accepted: tuple[str, ...]) -> str:
    """Return the body's media type, one of `accepted`. Raises ProblemError (415)."""
    if hdrs.CONTENT_ENCODING in request.headers:
        # Even "identity": bodies are never decompressed, so a decompression bomb is impossible.
        detail = "Send the body without Content-Encoding: compressed bodies are not accepted."
        raise _refused_media(CONTENT_ENCODING, hdrs.CONTENT_ENCODING, detail)
    given = request.headers.getall(hdrs.CONTENT_TYPE, [])
    kind = request.content_type.lower()
    # Other parameters mean nothing for these types (RFC 6838 section 4.3), and are ignored.
    if len(given) == 1 and kind in accepted and (request.charset or "utf-8").lower() == "utf-8":
        return kind
    wanted = " or ".join(accepted)
    if any(name.lower().startswith("ce-") for name in request.headers):
        detail = f"CloudEvents in binary mode (ce-… headers) are not accepted: use structured mode, {wanted}."
        raise _refused_media(BINARY_MODE, hdrs.CONTENT_TYPE, detail, structured_mode=STRUCTURED_MODE)
    raise _refused_media(CONTENT_TYPE, hdrs.CONTENT_TYPE, f"Send {wanted}, in UTF-8.", accept=", ".join(accepted))


def _refused_media(code: Code, header: str, detail: str, *, accept: str = "", **members: Any) -> ProblemError:
    found = [Fault(0, "", code, "is not accepted", header=header)]
    headers = {"Accept": accept} if accept else {}
    return ProblemError(MEDIA, detail, faults=found, headers=headers, members=members)


async def read_body(request: web.Request, *, limit_bytes: int, limits: Limits, bodies: Shares, commune: str) -> bytes:
    """Read the whole body; only then the time for the answer runs.

    Raises ProblemError (400, 408, 411, 413), or BusyError if too much memory is in use.
    """
    length = request.content_length
    if length is None:
        found = [Fault(0, "", LENGTH_MISSING, "is missing", header=hdrs.CONTENT_LENGTH)]
        detail = "Send Content-Length: chunked bodies are not accepted."
        raise ProblemError(LENGTH, detail, faults=found, close=True)
    if length > limit_bytes:
        reason = f"is larger than {limit_bytes // 1024} KiB"
        raise ProblemError(OVERSIZE, f"The body {reason}.", faults=[Fault(0, "", BODY_TOO_LARGE, reason)], close=True)
    bound = bound_of(request)
    with bodies.hold(commune, length):
        bound.stop()
        try:
            async with asyncio.timeout(limits.body_seconds):
                return await request.content.read()
        except TimeoutError as error:
            detail = f"The body did not arrive within {limits.body_seconds:g} s."
            raise ProblemError(TIMEOUT, detail, close=True) from error
        except web.RequestPayloadError as error:
            raise ProblemError(BAD_REQUEST, "The body cannot be read.", close=True) from error
        finally:
            bound.begin()
