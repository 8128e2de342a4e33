"""The shape of an event: its members, their types, lengths and spellings.

One description serves the fast decoder (`events`), the list of faults (`diagnosis`) and the published JSON Schema
(`openapi.json`, compared by a test). CloudEvents 1.0 in its JSON format, with stricter rules for an access journal:

| member            |          | rule                                                                        |
|-------------------|----------|-----------------------------------------------------------------------------|
| `specversion`     | required | "1.0"                                                                       |
| `type`            | required | `fr.openepm.journal.` and one of the seven actions of art. 25               |
| `source`          | required | URI reference, 1–256 characters, beginning with the credential's prefix     |
| `id`              | required | 1–128 characters; with `source` and `time` it names the event                |
| `time`            | required | RFC 3339 with a zone, of whole microseconds, at most 5 minutes ahead        |
| `subject`         | required | except for `access`: the reference of the data, never the data; 1–256       |
| `datacontenttype` | optional | "application/json"                                                          |
| `sequence`        | optional | 1–16 decimal digits, as a string (CloudEvents' sequence extension); a source |
|                   |          | numbers from 1 in each category, each number once                           |
| `epoch`           | optional | 1–64, with `sequence`: a new one where the counter restarts from 1          |
| `traceparent`     | optional | W3C Trace Context, 55 characters                                            |
| `tracestate`      | optional | W3C Trace Context, 1–512 characters of printable ASCII                      |
| `data`            | required | the object below                                                            |

`dataschema`, `data_base64` and every other extension are refused: unused content could only leak.

| member of `data` |          | rule                                                                         |
|------------------|----------|------------------------------------------------------------------------------|
| `actor`          | required | `account` 1–128; optional `name`, `role`, `unit`, 1–128 each                 |
| `outcome`        | required | success, denied or failure                                                   |
| `operation`      | optional | what was done in the module; below                                           |
| `count`          | optional | how many records the act concerned, an integer from 0 to 2^53−1              |
| `act`            | optional | the act that several events are of: 1–64 letters, digits and `._:~-`         |
| `justification`  | required | for consultation, disclosure, combination that succeed; 1–2,000 characters   |
| `recipients`     | required | for disclosure: 1–100 names of 1–256 characters                              |
| `fields`         | optional | at most 100 names of fields, never their values                              |
| `authorisation`  | optional | `date`, `issuer` and `reference`, 1–128 each; required in the category assistance |
| `client`         | optional | `address` 1–64, `workstation` 1–128, `session` 1–128, each optional          |

| `operation`                                                              | fits                                      |
|--------------------------------------------------------------------------|-------------------------------------------|
| login, logout; login-failed, which does not succeed                      | access                                    |
| search, list, view, history, attachment, print, export, statistics       | access, consultation, disclosure,         |
|                                                                          | combination                               |
| create, import, copy, update, attach, link, assign, validate, reject,    | collection, modification, erasure,        |
| sign, close, reopen, archive, restore, delete, rights, password, lock,   | disclosure, combination                   |
| unlock, transmit                                                         |                                           |

Only an evident contradiction is refused: within a row, the module chooses what the law calls the act.

An act that concerns several subjects (a list of 50 hits, both sides of a combination) is one event for each, in one
batch, with the same `act` and `count`: so an extract about one person discloses that entry and withholds the others,
each under a salt of its own. Criteria of a search are in no member.

Lengths are in Unicode code points of the normalised text (`spellings`). No text is blank, and none but a justification
holds a character that is not seen or changes how others are seen; a justification may hold tabs and line breaks, but
no other control character (U+0000–U+001F). Any JSON (RFC 8259) is accepted that has no duplicate member and no byte
order mark; null stands only for an attribute that is absent.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from journal.core import faults
from journal.core.entry import (
    MODULE_ACTIONS,
    OPERATIONS,
    OUTCOMES,
    READING_OPERATIONS,
    SESSION_OPERATIONS,
    TYPE_PREFIX,
    WRITING_OPERATIONS,
)
from journal.core.errors import MalformedError
from journal.core.times import normalise_time, parse_day
from journal.extract.table import UNSEEN

NO_SUBJECT = frozenset({"access"})
NEED_JUSTIFICATION = frozenset({"consultation", "disclosure", "combination"})
NEED_RECIPIENTS = frozenset({"disclosure"})
COUNT_LIMIT = 2**53 - 1
# The operations that fit an action.
FITTING = {
    "access": frozenset({*SESSION_OPERATIONS, *READING_OPERATIONS}),
    "consultation": frozenset(READING_OPERATIONS),
    **dict.fromkeys(("collection", "modification", "erasure"), frozenset(WRITING_OPERATIONS)),
    **dict.fromkeys(("disclosure", "combination"), frozenset({*READING_OPERATIONS, *WRITING_OPERATIONS})),
}

# Names of fields: Latin letters, digits, "_", "." and "-". Without spaces, "=" and "@" few values can pass for a name.
_LETTER = r"A-Za-z\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u017f"
_FIELD = rf"[{_LETTER}_][{_LETTER}0-9_.-]{{0,63}}"
_FIELD_MATCH = re.compile(_FIELD).fullmatch
_SOURCE = r"(?:[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+"
_SOURCE_MATCH = re.compile(_SOURCE).fullmatch
_TRACEPARENT = r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
_TRACEPARENT_MATCH = re.compile(_TRACEPARENT).fullmatch
_SEQUENCE = "[0-9]{1,16}"
_ACT = "[A-Za-z0-9._:~-]+"
_ACT_MATCH = re.compile(_ACT).fullmatch
_TIME = r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,6}0*)?(?:[Zz]|[+-][0-9]{2}:[0-9]{2})"
_TRACESTATE = "[ -~]+"
_TRACESTATE_MATCH = re.compile(_TRACESTATE).fullmatch
_UNSEEN_SEARCH = re.compile(f"[{UNSEEN}]").search
# As the published pattern spells it: within the first plane, in the escapes that ECMAScript knows.
_SEEN = "".join(mark if mark == "-" else f"\\u{ord(mark):04x}" for mark in UNSEEN.partition("\U000e0000")[0])
_NAME = rf"(?=[\s\S]*\S)[^{_SEEN}]*"
_PROSE = r"(?=[\s\S]*\S)[^\u0000-\u0008\u000b\u000c\u000e-\u001f]*"
LINE_CONTROLS = "\t\n\r"


def needs_justification(action: str, outcome: Any) -> bool:
    """Tell whether an action must be justified: what was refused, or failed, showed nothing to anybody."""
    return action in NEED_JUSTIFICATION and outcome not in ("denied", "failure")


def fault_of_source(text: str) -> str:
    """Return why a text is not a URI reference (only its characters, RFC 3986 section 2), or an empty text."""
    return "" if _SOURCE_MATCH(text) else "is not a URI reference"


def fault_of_name(text: str) -> str:
    """Return why a text names nobody and nothing that people can see, or an empty text."""
    if _UNSEEN_SEARCH(text):
        return "holds a character that is not seen, or changes how others are seen"
    return "is blank" if text.isspace() else ""


def fault_of_field(text: str) -> str:
    """Return why a text is not the name of a field, or an empty text; it is not quoted, as it may be a value."""
    return "" if _FIELD_MATCH(text) else "is not the name of a field (letters, digits, _ . -)"


def fault_of_sequence(text: str) -> str:
    """Return why a text is not a sequence number, or an empty text."""
    return "" if text.isascii() and text.isdecimal() else "is not made of decimal digits"


def fault_of_traceparent(text: str) -> str:
    """Return why a text is not a W3C traceparent, or an empty text."""
    return "" if _TRACEPARENT_MATCH(text) else "is not a W3C traceparent"


def fault_of_tracestate(text: str) -> str:
    """Return why a text is not a W3C tracestate (only its characters), or an empty text."""
    return "" if _TRACESTATE_MATCH(text) else "is not a W3C tracestate"


def fault_of_act(text: str) -> str:
    """Return why a text is not the id of an act, or an empty text; it is not quoted, as it may be a criterion."""
    return "" if _ACT_MATCH(text) else "is not the id of an act (letters, digits, . _ : ~ -)"


def fault_of_operation(action: str, operation: str, outcome: Any) -> str:
    """Return why an operation contradicts an action or an outcome, or an empty text."""
    if operation not in FITTING[action]:
        return f"does not fit {action}"
    return "does not succeed" if operation == "login-failed" and outcome == "success" else ""


def fault_of_justification(text: str) -> str:
    """Return why a text is not a justification, or an empty text."""
    return "is blank" if text.isspace() else ""


def fault_of_day(text: str) -> str:
    """Return why a text is not a day, or an empty text."""
    try:
        parse_day(text)
    except MalformedError as error:
        return f"is {error.reason}"
    return ""


def fault_of_time(text: str) -> str:
    """Return why a text is not a time that can be recorded, or an empty text."""
    try:
        normalise_time(text)
    except MalformedError as error:
        return f"cannot be recorded: {error.reason}"
    return ""


def _text(limit: int, **extra: Any) -> Meta:
    """Describe a text of 1 to `limit` code points; `rule` finds faults, `pattern` is published in the schema."""
    pattern = extra.pop("pattern", _NAME)
    extra.setdefault("code", faults.MALFORMED if "rule" in extra else faults.CHARACTER)
    extra.setdefault("rule", fault_of_name)
    return Meta(min_length=1, max_length=limit, extra=extra, extra_json_schema={"pattern": f"^{pattern}$"})


Text64 = Annotated[str, _text(64)]
Text128 = Annotated[str, _text(128)]
Text256 = Annotated[str, _text(256)]
Field = Annotated[str, _text(64, rule=fault_of_field, pattern=_FIELD)]
Justification = Annotated[str, _text(2000, rule=fault_of_justification, controls=LINE_CONTROLS, pattern=_PROSE)]
Act = Annotated[str, _text(64, rule=fault_of_act, pattern=_ACT)]
Count = Annotated[int, Meta(ge=0, le=COUNT_LIMIT)]
Sequence = Annotated[str, _text(16, rule=fault_of_sequence, pattern=_SEQUENCE)]
Source = Annotated[str, _text(256, rule=fault_of_source, pattern=_SOURCE)]
Time = Annotated[
    str,
    Meta(
        extra={"rule": fault_of_time, "code": faults.MALFORMED},
        extra_json_schema={"format": "date-time", "pattern": f"^{_TIME}$"},
    ),
]
Day = Annotated[
    str,
    Meta(
        extra={"rule": fault_of_day, "code": faults.MALFORMED},
        extra_json_schema={"format": "date", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"},
    ),
]
Traceparent = Annotated[str, _text(55, rule=fault_of_traceparent, pattern=_TRACEPARENT)]
Tracestate = Annotated[str, _text(512, rule=fault_of_tracestate, pattern=_TRACESTATE)]


if TYPE_CHECKING:
    EventType = str
    Operation = str
    Outcome = str
else:  # msgspec needs the literals, from the one table; mypy cannot evaluate them
    EventType = Literal[tuple(TYPE_PREFIX + action for action in MODULE_ACTIONS)]
    Operation = Literal[tuple(OPERATIONS)]
    Outcome = Literal[tuple(OUTCOMES)]


# Members are declared in the order of their names, so that an encoded value is in canonical order.
class Client(Struct, forbid_unknown_fields=True, kw_only=True, gc=False):
    """Where the agent worked from."""

    address: Text64 | UnsetType = UNSET
    session: Text128 | UnsetType = UNSET
    workstation: Text128 | UnsetType = UNSET


class Actor(Struct, forbid_unknown_fields=True, kw_only=True, gc=False):
    """Who acted."""

    account: Text128
    name: Text128 | UnsetType = UNSET
    role: Text128 | UnsetType = UNSET
    unit: Text128 | UnsetType = UNSET


class Authorisation(Struct, forbid_unknown_fields=True, kw_only=True, gc=False):
    """Who authorised the access, on which day, under which reference."""

    date: Day
    issuer: Text128
    reference: Text128


class Data(Struct, forbid_unknown_fields=True, kw_only=True, gc=False):
    """What was done, why, and with what outcome."""

    act: Act | UnsetType = UNSET
    actor: Actor
    authorisation: Authorisation | UnsetType = UNSET
    client: Client | UnsetType = UNSET
    count: Count | UnsetType = UNSET
    fields: Annotated[list[Field], Meta(max_length=100)] | UnsetType = UNSET
    justification: Justification | UnsetType = UNSET
    operation: Operation | UnsetType = UNSET
    outcome: Outcome
    recipients: Annotated[list[Text256], Meta(min_length=1, max_length=100)] | UnsetType = UNSET


class CloudEvent(Struct, forbid_unknown_fields=True, kw_only=True, gc=False):
    """A CloudEvent 1.0 as modules submit it."""

    data: Data
    datacontenttype: Literal["application/json"] | UnsetType = UNSET
    epoch: Text64 | UnsetType = UNSET
    id: Text128
    sequence: Sequence | UnsetType = UNSET
    source: Source
    specversion: Literal["1.0"]
    subject: Text256 | UnsetType = UNSET
    time: Time
    traceparent: Traceparent | UnsetType = UNSET
    tracestate: Tracestate | UnsetType = UNSET
    type: EventType
