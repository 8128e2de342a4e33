"""Every code of a fault in a request: the one list, which programs act on, and which the API reference prints.

A code never changes its meaning. A fault says where it is: the position of the event in its batch (0 where there is
only one) and a JSON Pointer (RFC 6901) within it; or, of a request's head, the name of the header or parameter.
"""

from __future__ import annotations

from typing import NamedTuple


class Code(NamedTuple):
    """One code: its name, the kind of problem it makes, whether time alone cures it, what it means and what to do."""

    name: str
    kind: str
    told: str
    retryable: bool = False


# Of a body that does not follow the published schema, whoever sends it and whenever.
NOT_JSON = Code("not-json", "misshapen", "The body is no JSON text, is empty, or nests too deeply. Correct the writer.")
NOT_UTF8 = Code("not-utf8", "misshapen", "The body is not UTF-8 (Latin-1, for instance). Encode it in UTF-8.")
WRONG_TYPE = Code("wrong-type", "misshapen", "The member is of another JSON type, or null where it may not be.")
MISSING = Code("missing", "misshapen", "A member is required, always or for this type of event.")
UNKNOWN_MEMBER = Code(
    "unknown-member", "misshapen", "The member is not in the schema. Leave it out: it could only leak."
)
DUPLICATE_MEMBER = Code("duplicate-member", "misshapen", "The member is given twice in one object.")
UNKNOWN_VALUE = Code(
    "unknown-value", "misshapen", "The member takes one of a list of values, and this is none of them."
)
BLANK = Code("blank", "misshapen", "The text or list is empty, or the text is of white space alone.")
TOO_LONG = Code("too-long", "misshapen", "The text has too many characters, or the list too many items.")
OUT_OF_RANGE = Code("out-of-range", "misshapen", "The number is no integer between the two limits.")
CHARACTER = Code("character", "misshapen", "The text holds a control character, or one that is not seen.")
MALFORMED = Code(
    "malformed", "misshapen", "The text is not of the form asked for: a time, day, number, URI reference, name."
)
OPERATION = Code("operation", "misshapen", "The operation contradicts the type of the event, or its outcome.")
# Of size.
EVENT_TOO_LARGE = Code("event-too-large", "oversize", "The event is larger than 16 KiB in canonical form.")
BATCH_TOO_LARGE = Code("batch-too-large", "oversize", "The batch has too many events, ever. Send it in parts.")
BODY_TOO_LARGE = Code("body-too-large", "oversize", "The body has too many bytes or values, ever. Send it in parts.")
# Of what is known here and now.
TIME_AHEAD = Code(
    "time-ahead",
    "invalid",
    "The time is more than 5 minutes ahead of the service's clock. Set the sender's clock; keep the event as it is, "
    "and send it again when its time has come.",
    retryable=True,
)
SOURCE_PREFIX = Code("source-prefix", "invalid", "The source does not begin with the credential's prefix (GET /v1/me).")
CATEGORY_RULE = Code("category-rule", "invalid", "This category requires the member, or another value of it.")
TIME_TOO_OLD = Code(
    "time-too-old",
    "late",
    "The access is longer ago than any is recorded. Do not date it anew: declare its number lost.",
)
TIME_PURGED = Code(
    "time-purged",
    "purged",
    "The access is so long ago that a first copy may be purged. Declare its number lost.",
)
# Of what the clock says.
OF_THE_CLOCK = frozenset({TIME_AHEAD, TIME_TOO_OLD, TIME_PURGED})
ID_REUSED = Code(
    "id-reused",
    "known",
    "The same source, id and time came with other content, before or in this batch. The first content stays; another "
    "access needs another id.",
)
# Of a request for an extract.
DAY = Code("day", "invalid", "The day cannot be asked for: out of order, not begun, or before anything was recorded.")
FILTER = Code("filter", "invalid", "The filter contradicts itself, or what the credential may see.")
NO_PERSON = Code("no-person", "invalid", "The credential names no person, and entries are disclosed to nobody else.")
AUTHORISATION = Code("authorisation", "invalid", "The request needs an authorisation, or gives one of a day to come.")
CONTRACT_ENDED = Code("contract-ended", "invalid", "The contract has ended: nothing is recorded or given any more.")
NOTHING_MATCHES = Code(
    "nothing-matches", "empty", "No kept entry matches. To have that signed, ask with even_if_empty."
)
# Of the head of a request.
HEADER = Code("header", "bad-request", "The header named is missing, malformed, given twice, or not supported.")
HEADER_TOO_LARGE = Code("header-too-large", "head-too-large", "The header named, or all together, are too large.")
PARAMETER = Code("parameter", "bad-request", "The query parameter named is unknown here, malformed, or given twice.")
LENGTH = Code("length", "length-required", "Content-Length is missing: chunked bodies are not accepted.")
CONTENT_TYPE = Code("content-type", "media-type", "The media type or its charset is not one that this call takes.")
CONTENT_ENCODING = Code("content-encoding", "media-type", "A Content-Encoding was given: bodies are never unpacked.")
BINARY_MODE = Code(
    "binary-mode",
    "media-type",
    "A CloudEvent in binary mode: its attributes would be in headers, which proxies log. Use structured mode.",
)
EXPECT = Code("expect", "expectation", "An expectation other than 100-continue.")

CODES = tuple(value for value in list(globals().values()) if isinstance(value, Code))


class Fault(NamedTuple):
    """One fault: where it is, its code, and a reason for a person, which quotes no content."""

    position: int
    pointer: str
    code: Code
    reason: str
    # Where the fault is not in the body: the header or the query parameter.
    header: str = ""
    parameter: str = ""
