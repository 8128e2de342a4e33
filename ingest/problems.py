"""Every refusal of the HTTP edge as a problem (RFC 9457): `type`, `title`, `status`, `detail`, and `faults`.

Errors of the project are translated here, once, into the kinds below. A kind's `type` is a URN that never
changes; `detail` is a sentence for a person; `faults` lists what is wrong with which event of the body:
its position (0 where there is only one), a JSON Pointer within it, and a reason.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import web

from journal.core.errors import (
    BusyError,
    ExpiredCertificateError,
    InvalidEventError,
    JournalError,
    KeyStoreError,
    KnownEventError,
    MisshapenEventError,
    OperatorError,
    OversizeEventError,
    PurgedDayError,
    RequestError,
    StoreError,
    SubmissionError,
)
from journal.core.times import format_seconds

if TYPE_CHECKING:
    from collections.abc import Sequence

    Faults = Sequence[tuple[int, str, str]]

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:openepm-journal:problem:"
UNAVAILABLE_RETRY_SECONDS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of problem: its name, which ends its URN, its status and its title."""

    name: str
    status: int
    title: str

    @property
    def type(self) -> str:
        """The URN that identifies the kind, for ever."""
        return TYPE_PREFIX + self.name


BAD_REQUEST = Kind(name="bad-request", status=400, title="The request is not one we can read")
MISSHAPEN = Kind(name="misshapen", status=400, title="The body does not follow the published schema")
UNAUTHENTICATED = Kind(name="unauthenticated", status=401, title="A valid credential is needed")
ABSENT = Kind(name="absent", status=404, title="Nothing here")
METHOD = Kind(name="method", status=405, title="This method is not offered here")
TIMEOUT = Kind(name="timeout", status=408, title="The body took too long to arrive")
KNOWN = Kind(name="known", status=409, title="Recorded already, with other content")
LENGTH = Kind(name="length-required", status=411, title="The body must announce its length")
OVERSIZE = Kind(name="oversize", status=413, title="Larger than we take")
MEDIA = Kind(name="media-type", status=415, title="Not a media type taken here")
EXPECTATION = Kind(name="expectation", status=417, title="This expectation is not met here")
INVALID = Kind(name="invalid", status=422, title="Well formed, and cannot be accepted")
PURGED = Kind(name="purged", status=422, title="Too old: its first copy may have been purged")
RATE = Kind(name="rate", status=429, title="Too many requests with this credential")
INTERNAL = Kind(name="internal", status=500, title="The service failed")
BUSY = Kind(name="busy", status=503, title="Come back later")
UNAVAILABLE = Kind(name="unavailable", status=503, title="The service cannot answer now")

KINDS = (
    BAD_REQUEST,
    MISSHAPEN,
    UNAUTHENTICATED,
    ABSENT,
    METHOD,
    TIMEOUT,
    KNOWN,
    LENGTH,
    OVERSIZE,
    MEDIA,
    EXPECTATION,
    INVALID,
    PURGED,
    RATE,
    INTERNAL,
    BUSY,
    UNAVAILABLE,
)
# What aiohttp itself raises before or around a handler.
_OF_STATUS = {400: BAD_REQUEST, 405: METHOD, 413: OVERSIZE, 417: EXPECTATION, 404: ABSENT}

ABSENT_DETAIL = "There is nothing here for this credential."


class ProblemError(Exception):
    """A refusal decided at the edge; `close` ends the connection, whose next bytes cannot be trusted."""

    def __init__(
        self,
        kind: Kind,
        detail: str,
        *,
        faults: Faults = (),
        headers: dict[str, str] | None = None,
        close: bool = False,
    ) -> None:
        """Keep what the answer will say."""
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.faults = faults
        self.headers = headers or {}
        self.close = close


def absent() -> ProblemError:
    """Return the one answer for what does not exist and for what is not allowed: they look alike."""
    return ProblemError(ABSENT, ABSENT_DETAIL)


def problem_of(error: Exception) -> ProblemError | None:
    """Translate an error into a problem; None where it is nothing foreseen."""
    match error:
        case ProblemError():
            problem = error
        case web.HTTPException():
            problem = _of_aiohttp(error)
        case SubmissionError():
            problem = ProblemError(_kind_of(error), _summary(error.faults), faults=error.faults)
        case RequestError():
            problem = ProblemError(INVALID, error.reason, faults=[(0, error.pointer, error.reason)])
        case BusyError():
            problem = ProblemError(BUSY, str(error), headers=_retry(error.retry_after_seconds))
        case ExpiredCertificateError():
            # No secret: every extract holds the certificate, and whoever waits for one must know whom to ask.
            since = format_seconds(error.not_after)
            detail = f"The service's certificate expired on {since}: no extract is made until its operator renews it."
            problem = ProblemError(UNAVAILABLE, detail, headers=_retry(UNAVAILABLE_RETRY_SECONDS))
        case JournalError():
            # The database, the keys, the clock: said in full to the operator (log, readiness), not to callers.
            detail = "The service is not in order; its operator is told. Submit again later."
            problem = ProblemError(UNAVAILABLE, detail, headers=_retry(UNAVAILABLE_RETRY_SECONDS))
        case _:
            return None
    return problem


def about(error: Exception) -> dict[str, str]:
    """Return what the log may say of an error: its kind, and its sentence where that is the operator's own affair.

    Of others a sentence may hold what was asked, or recorded.
    """
    reason = {"reason": str(error)} if isinstance(error, KeyStoreError | OperatorError | StoreError) else {}
    return {"kind": type(error).__name__} | reason


def response_of(problem: ProblemError, **members: Any) -> web.Response:
    """Write a problem as an answer; `members` are added to it."""
    kind = problem.kind
    body: dict[str, Any] = {"type": kind.type, "title": kind.title, "status": kind.status, "detail": problem.detail}
    if problem.faults:
        body["faults"] = [
            {"position": position, "pointer": pointer, "reason": reason} for position, pointer, reason in problem.faults
        ]
    response = web.Response(
        body=orjson.dumps(body | members), status=kind.status, content_type=MEDIA_TYPE, headers=problem.headers
    )
    if problem.close:
        response.force_close()
    return response


def _kind_of(error: SubmissionError) -> Kind:
    kinds = {
        MisshapenEventError: MISSHAPEN,
        OversizeEventError: OVERSIZE,
        InvalidEventError: INVALID,
        KnownEventError: KNOWN,
        PurgedDayError: PURGED,
    }
    return kinds[type(error)]


def _of_aiohttp(error: web.HTTPException) -> ProblemError:
    if error.status == ABSENT.status:
        return absent()
    kind = _OF_STATUS.get(error.status, BAD_REQUEST)
    headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
    return ProblemError(kind, f"{kind.title}.", headers=headers, close=kind is OVERSIZE)


def _summary(faults: Faults) -> str:
    count = len({position for position, _, _ in faults})
    return f"Nothing was recorded: {count} event{'s have' if count > 1 else ' has'} a fault."


def _retry(seconds: int) -> dict[str, str]:
    # Jitter: callers refused together must not come back together.
    return {"Retry-After": str(max(1, seconds) + random.randrange(seconds + 1))}  # noqa: S311  (no secret)
