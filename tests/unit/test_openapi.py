"""The published description of the calls says what the code does: no more, no less."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any

import msgspec
import pytest

from ingest.app import CALLS
from ingest.examination import BATCH_LIMIT_EVENTS
from ingest.problems import KINDS
from ingest.reading import EXTRACTS_LIMIT, SEALS_LIMIT
from ingest.reference import OPENAPI
from ingest.shapes import CloudEvent
from ingest.submissions import BATCH, SINGLE
from journal.core.entry import ACTIONS, MODULE_ACTIONS, OUTCOMES, TYPE_PREFIX
from journal.core.entry import OPERATIONS as CODES
from journal.core.receipt import Receipt
from tests.support.openapi import renewed
from tests.support.published import DOCUMENT, OPERATIONS, SCHEMAS, follows, resolve
from tests.support.refused_events import REFUSED, full_event, valid_event

# What no schema can say of a body that was read: members given twice, days of no calendar, lone surrogates.
UNSAYABLE = {
    "a day of no calendar",
    "an hour of no clock",
    "a leap second",
    "a zone of no place",
    "a zone of an hour and ninety minutes",
    "before the calendar",
    "count minus zero",
    "duplicate member",
    "duplicate member, escaped",
    "duplicate object",
    "duplicate hidden by an escaped colon",
    "duplicate hidden by two escaped colons",
    "lone surrogate",
    "lone low surrogate",
    "same member twice",
}


def test_every_call_is_described_and_no_other() -> None:
    """Methods, paths, parameters, and who needs a credential."""
    assert {(call.method, call.path) for call in CALLS} == set(OPERATIONS)
    for call in CALLS:
        operation = OPERATIONS[call.method, call.path]
        roles = re.search(r"Roles: ([a-z, ]+)", operation.get("description", ""))
        assert set(roles.group(1).split(", ") if roles else []) == set(call.roles)
        assert (operation.get("security") == []) == (call.handler is None)
        asked = map(resolve, operation["parameters"])
        assert {parameter["name"] for parameter in asked if parameter["in"] == "query"} == set(call.query)


def test_every_kind_of_problem_is_described() -> None:
    """Types are listed, each status has its answer, and every call says that it may fail."""
    assert SCHEMAS["Problem"]["properties"]["type"]["enum"] == [kind.type for kind in KINDS]
    assert max(Counter(kind.type for kind in KINDS).values()) == 1
    assert set(DOCUMENT["components"]["responses"]) == {str(kind.status) for kind in KINDS}
    for answer in DOCUMENT["components"]["responses"].values():
        assert set(answer["content"]) == {"application/problem+json"}
    assert all("500" in operation["responses"] for operation in OPERATIONS.values())


def test_every_reference_leads_somewhere() -> None:
    """No part of the document points outside it."""
    references = re.findall(r'"\$ref": "([^"]+)"', OPENAPI.decode())
    assert references
    assert all(resolve({"$ref": reference}) for reference in references)


def test_bodies_are_the_shapes_that_are_read() -> None:
    """What follows from the code is what `make openapi` writes: events, requests for extracts, problems, codes."""
    assert renewed(json.loads(OPENAPI)) == DOCUMENT


def test_every_action_and_outcome_is_enumerated() -> None:
    """Those of the one table: what modules may submit, and what an extract may be asked for."""
    events = [resolve(event) for event in SCHEMAS["CloudEvent"]["oneOf"]]
    assert [event["properties"]["type"]["enum"] for event in events] == [
        [TYPE_PREFIX + name] for name in MODULE_ACTIONS
    ]
    data = [resolve(one) for event in events for one in event["properties"]["data"].get("oneOf", [])]
    data += [resolve(event["properties"]["data"]) for event in events if "$ref" in event["properties"]["data"]]
    assert {name for one in data for name in one["properties"]["operation"]["enum"]} == set(CODES)
    assert {name for one in data for name in one["properties"]["outcome"]["enum"]} == set(OUTCOMES)
    assert set(SCHEMAS["ExtractFilter"]["properties"]["action"]["enum"]) == set(ACTIONS)


def test_limits_are_the_ones_enforced() -> None:
    """Media types, events in a batch, seals in an answer, members of a receipt."""
    bodies = OPERATIONS["POST", "/v1/categories/{category}/events"]["requestBody"]["content"]
    assert set(bodies) == {SINGLE, BATCH}
    assert bodies[BATCH]["schema"]["maxItems"] == BATCH_LIMIT_EVENTS
    seals = OPERATIONS["GET", "/v1/seals"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert seals["properties"]["seals"]["maxItems"] == SEALS_LIMIT
    limit = SCHEMAS["Extracts"]["properties"]["extracts"]["maxItems"]
    (asked,) = [row for row in OPERATIONS["GET", "/v1/extracts"]["parameters"] if row.get("name") == "limit"]
    assert limit == asked["schema"]["maximum"] == asked["schema"]["default"] == EXTRACTS_LIMIT
    receipt = json.loads(Receipt("s", "i", "t", "o", 0, "r", bytes(32), bytes(32)).text)
    assert list(receipt) == SCHEMAS["Receipt"]["required"] == list(SCHEMAS["Receipt"]["properties"])


@pytest.mark.parametrize("event", [full_event(), *(valid_event(action) for action in MODULE_ACTIONS)], ids=str)
def test_what_is_accepted_follows_the_schema(event: dict[str, Any]) -> None:
    """A module checked against the schema has nothing to fear from the decoder."""
    assert follows(event, SCHEMAS["CloudEvent"])


def test_examples_can_be_sent_as_they_are() -> None:
    """What is shown follows the schema, and the decoder takes it, whatever day it is read on."""
    bodies = OPERATIONS["POST", "/v1/categories/{category}/events"]["requestBody"]["content"]
    shown = [example["value"] for example in bodies[SINGLE]["examples"].values()]
    shown += [event for example in bodies[BATCH]["examples"].values() for event in example["value"]]
    assert {event["type"].rpartition(".")[2] for event in shown} >= {"access", "consultation", "disclosure"}
    for event in shown:
        assert follows(event, SCHEMAS["CloudEvent"])
        msgspec.convert(event, CloudEvent)


def _integer(text: str) -> int | float:
    """Read an integer, of very many digits as a float."""
    return int(text) if len(text) < 20 else float(text)


def test_what_is_misshapen_does_not_follow_the_schema() -> None:
    """400 means that the schema would have told, but for what no schema can say."""
    readable = [case for case in REFUSED if case.pointer]
    values = {case.name: json.loads(case.body, parse_int=_integer) for case in readable}
    following = {name for name, value in values.items() if follows(value, SCHEMAS["CloudEvent"])}
    assert following == UNSAYABLE | {case.name for case in readable if case.status == 422}
