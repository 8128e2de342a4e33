"""What a request for an extract may hold, and its reading from bytes."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from ingest import diagnosis
from ingest.problems import MISSHAPEN, ProblemError
from ingest.shapes import Text128, Text256  # noqa: TC001  (msgspec reads the annotations)
from journal.core.errors import MalformedError
from journal.core.times import parse_day
from journal.extraction import ExtractRequest


def fault_of_day(text: str) -> str:
    """Say why a text is no day, or nothing."""
    try:
        parse_day(text)
    except MalformedError as error:
        return f"is {error.reason}"
    return ""


Day = Annotated[
    str,
    Meta(
        extra={"rule": fault_of_day},
        extra_json_schema={"format": "date", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"},
    ),
]


class ExtractFilter(Struct, forbid_unknown_fields=True, kw_only=True):
    """Disclose only the entries equal in every member given; the others are withheld."""

    account: Text128 | UnsetType = UNSET
    action: (
        Literal[
            "access",
            "consultation",
            "collection",
            "modification",
            "disclosure",
            "combination",
            "erasure",
            "service.alarm",
            "service.credential",
            "service.extract",
            "service.purge",
            "service.setting",
            "service.tenant",
        ]
        | UnsetType
    ) = UNSET
    subject: Text256 | UnsetType = UNSET


class ExtractBody(Struct, forbid_unknown_fields=True, kw_only=True, rename={"from_day": "from", "to_day": "to"}):
    """Whole UTC days, both included; who asks, and for which of the purposes the law allows."""

    authorisation: Text256 | UnsetType = UNSET
    filter: ExtractFilter | UnsetType = UNSET
    from_day: Day
    purpose: Literal["lawfulness", "self-monitoring", "integrity-security", "criminal-proceedings"]
    request_reference: Text256 | UnsetType = UNSET
    requester: Text256
    to_day: Day


_SHAPE = diagnosis.shape_of(ExtractBody)


def decode_request(body: bytes) -> ExtractRequest:
    """Read what is asked for. Raises ProblemError (400) with every fault of the body's shape."""
    value: dict[str, Any] = diagnosis.parse(body)
    if faults := diagnosis.check(value, _SHAPE):
        raise ProblemError(MISSHAPEN, "This is no request for an extract.", faults=[(0, *fault) for fault in faults])
    wanted = value.get("filter", {})
    return ExtractRequest(
        from_day=parse_day(value["from"]),
        to_day=parse_day(value["to"]),
        purpose=value["purpose"],
        requester=value["requester"],
        account=wanted.get("account"),
        subject=wanted.get("subject"),
        action=wanted.get("action"),
        request_reference=value.get("request_reference"),
        authorisation=value.get("authorisation"),
    )
