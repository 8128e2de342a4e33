"""Every refusal of the HTTP edge as a problem (RFC 9457): `type`, `title`, `status`, `detail`, `retryable`, `faults`.

All errors of the project are translated into the kinds below, here. A kind's `type` is a URN that never changes;
`detail` is a sentence for a person; `retryable` says whether the same request, byte for byte, can succeed later;
`faults` lists the faults of the request (`journal.core.faults`), and `more_faults` counts those that the list has no
room for. Where faults are of several kinds, the problem is of the first of them in the order of the kinds below.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import web

from journal.core.errors import (
    BusyError,
    EmptyError,
    ExpiredCertificateError,
    JournalError,
    KeyStoreError,
    OperatorError,
    RequestError,
    SignerError,
    StoreError,
    SubmissionError,
)
from journal.core.faults import Fault
from journal.core.times import format_seconds

if TYPE_CHECKING:
    from collections.abc import Sequence

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:openepm-journal:problem:"
UNAVAILABLE_RETRY_SECONDS = 5
# Their messages concern the operator alone.
_OPERATORS = (KeyStoreError, OperatorError, SignerError, StoreError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of problem: its name (the end of its URN), status and title, and whether time alone cures it.

    Where a problem lists faults, they decide: it is retryable if all of them are.
    """

    name: str
    status: int
    title: str
    retryable: bool = False

    @property
    def type(self) -> str:
        """Return the URN that identifies the kind; it never changes."""
        return TYPE_PREFIX + self.name


BAD_REQUEST = Kind(name="bad-request", status=400, title="The request cannot be parsed")
MISSHAPEN = Kind(name="misshapen", status=400, title="The body does not follow the published schema")
UNAUTHENTICATED = Kind(name="unauthenticated", status=401, title="A valid credential is needed")
ABSENT = Kind(name="absent", status=404, title="Not found")
METHOD = Kind(name="method", status=405, title="Method not allowed")
TIMEOUT = Kind(name="timeout", status=408, title="The body took too long to arrive", retryable=True)
LENGTH = Kind(name="length-required", status=411, title="Content-Length is required")
OVERSIZE = Kind(name="oversize", status=413, title="Too large")
MEDIA = Kind(name="media-type", status=415, title="Media type not supported")
EXPECTATION = Kind(name="expectation", status=417, title="Expectation not supported")
INVALID = Kind(name="invalid", status=422, title="Well formed but not acceptable")
EMPTY = Kind(name="empty", status=422, title="No entry matches the filter")
PURGED = Kind(name="purged", status=422, title="Too old: its first copy may have been purged")
LATE = Kind(name="late", status=422, title="Too late: not recorded in time, and not any more")
KNOWN = Kind(name="known", status=409, title="Already recorded with other content")
HEAD_TOO_LARGE = Kind(name="head-too-large", status=431, title="The head of the request is too large")
RATE = Kind(name="rate", status=429, title="Too many requests", retryable=True)
INTERNAL = Kind(name="internal", status=500, title="The service failed", retryable=True)
BUSY = Kind(name="busy", status=503, title="Busy; try again later", retryable=True)
UNAVAILABLE = Kind(name="unavailable", status=503, title="The service is unavailable", retryable=True)

KINDS = (
    BAD_REQUEST,
    MISSHAPEN,
    UNAUTHENTICATED,
    ABSENT,
    METHOD,
    TIMEOUT,
    LENGTH,
    OVERSIZE,
    MEDIA,
    EXPECTATION,
    INVALID,
    EMPTY,
    PURGED,
    LATE,
    KNOWN,
    RATE,
    HEAD_TOO_LARGE,
    INTERNAL,
    BUSY,
    UNAVAILABLE,
)
# Errors that aiohttp itself raises.
_OF_STATUS = {400: BAD_REQUEST, 405: METHOD, 413: OVERSIZE, 417: EXPECTATION, 404: ABSENT}

ABSENT_DETAIL = "Nothing exists here for this credential."


class ProblemError(Exception):
    """A refusal by the edge; `close` ends the connection, if its next bytes may not be a new request."""

    def __init__(
        self,
        kind: Kind,
        detail: str,
        *,
        faults: Sequence[Fault] = (),
        more: int = 0,
        headers: dict[str, str] | None = None,
        close: bool = False,
        members: dict[str, Any] | None = None,
    ) -> None:
        """Set the content of the answer; `members` are added to its body."""
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.faults = faults
        self.more = more
        self.headers = headers or {}
        self.close = close
        self.members = members or {}

    @property
    def retryable(self) -> bool:
        """Whether the same request, byte for byte, can succeed later."""
        return all(fault.code.retryable for fault in self.faults) if self.faults else self.kind.retryable


def absent() -> ProblemError:
    """Return the answer both for what does not exist and for what is forbidden, so that they look alike."""
    return ProblemError(ABSENT, ABSENT_DETAIL)


def problem_of(error: Exception) -> ProblemError | None:
    """Translate an error into a problem; None if the error is unexpected."""
    match error:
        case ProblemError():
            problem = error
        case web.HTTPException():
            problem = _of_aiohttp(error)
        case SubmissionError():
            problem = refusal(error.faults, error.more)
        case EmptyError():
            detail = "No entry of these days matches the filter. To have that signed, ask with even_if_empty."
            problem = ProblemError(EMPTY, detail, faults=[_of_request(error)])
        case RequestError():
            problem = ProblemError(INVALID, error.reason, faults=[_of_request(error)])
        case BusyError():
            problem = ProblemError(BUSY, str(error), headers=_retry(error.retry_after_seconds))
        case ExpiredCertificateError():
            # Not a secret: every extract holds the certificate, and callers must know why extracts fail.
            since = format_seconds(error.not_after)
            detail = f"The service's certificate expired on {since}: no extract is made until the operator renews it."
            problem = ProblemError(UNAVAILABLE, detail, headers=_retry(UNAVAILABLE_RETRY_SECONDS))
        case JournalError():
            # The database, the keys, the clock: the operator gets the details (log, doctor), callers do not.
            detail = "The service has a fault, which its operator can see. Send the request again later."
            problem = ProblemError(UNAVAILABLE, detail, headers=_retry(UNAVAILABLE_RETRY_SECONDS))
        case _:
            return None
    return problem


def about(error: Exception) -> dict[str, str]:
    """Return what the log may hold of an error: its kind, and its message if it concerns the operator alone.

    Other messages may quote the request or recorded data.
    """
    reason = {"reason": str(error)} if isinstance(error, _OPERATORS) else {}
    return {"kind": type(error).__name__} | reason


def response_of(problem: ProblemError, **members: Any) -> web.Response:
    """Return a problem as an answer, with `members` added to its body."""
    kind = problem.kind
    body: dict[str, Any] = {
        "type": kind.type,
        "title": kind.title,
        "status": kind.status,
        "detail": problem.detail,
        "retryable": problem.retryable,
    }
    if problem.faults:
        body["faults"] = [_as_json(fault) for fault in problem.faults]
    if problem.more:
        body["more_faults"] = problem.more
    response = web.Response(
        body=orjson.dumps(body | problem.members | members),
        status=kind.status,
        content_type=MEDIA_TYPE,
        headers=problem.headers,
    )
    if problem.close:
        response.force_close()
    return response


def refusal(faults: Sequence[Fault], more: int = 0) -> ProblemError:
    """Return the problem of a body that has these faults, and `more` that are not listed."""
    named = {fault.code.kind for fault in faults}
    kind = next(kind for kind in KINDS if kind.name in named)
    count = len({fault.position for fault in faults})
    events = f"{count}{' events or more have' if more else ' events have' if count > 1 else ' event has'}"
    return ProblemError(kind, f"Nothing was recorded: {events} faults.", faults=faults, more=more)


def _of_request(error: RequestError) -> Fault:
    return Fault(0, error.pointer, error.code, error.reason)


def _as_json(fault: Fault) -> dict[str, Any]:
    code = fault.code
    members = {"position": fault.position, "pointer": fault.pointer, "code": code.name, "reason": fault.reason}
    where = {name: value for name in ("header", "parameter") if (value := getattr(fault, name))}
    return members | where | {"retryable": code.retryable}


def _of_aiohttp(error: web.HTTPException) -> ProblemError:
    if error.status == ABSENT.status:
        return absent()
    kind = _OF_STATUS.get(error.status, BAD_REQUEST)
    headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
    return ProblemError(kind, f"{kind.title}.", headers=headers, close=kind is OVERSIZE)


def _retry(seconds: int) -> dict[str, str]:
    # Jitter, so that callers refused together do not retry together.
    return {"Retry-After": str(max(1, seconds) + random.randrange(seconds + 1))}  # noqa: S311  (no secret)
