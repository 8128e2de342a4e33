"""Makes the parts of `ingest/openapi.json` that follow from the code: `make openapi`; a test compares."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec

import ingest
from ingest.app import CALLS, Call
from ingest.context import LONGEST_WAIT_SECONDS, WAIT_SECONDS
from ingest.examination import BATCH_LIMIT_EVENTS, FAULTS_LIMIT
from ingest.extracts import ExtractBody
from ingest.problems import KINDS, MEDIA_TYPE
from ingest.shapes import FITTING, NEED_JUSTIFICATION, NEED_RECIPIENTS, NO_SUBJECT, CloudEvent
from ingest.submissions import BATCH, SINGLE
from journal.core.entry import MODULE_ACTIONS, OPERATIONS, TYPE_PREFIX
from journal.core.faults import CODES

PATH = Path(ingest.__file__).with_name("openapi.json")
SCHEMA = "#/components/schemas/{name}"
FAILED_LOGIN = "login-failed"
UNSUCCESSFUL = ["denied", "failure"]

TAGS = {
    "events": "What modules send: events in, signed receipts out.",
    "extracts": "What clients and auditors ask for.",
    "verification": "What shows that an extract is genuine and whole.",
    "credential": "What a credential is, may do, and has done.",
    "operation": "For probes and tools.",
}
TAG_OF_PATH = {
    "events": "events",
    "extracts": "extracts",
    "head": "verification",
    "seals": "verification",
    "trust": "verification",
    "me": "credential",
    "status": "credential",
    "verifier": "verification",
    "journal-verify.pyz": "verification",
    "journal-verify.pyz.sha256": "verification",
}
# What any request may be answered, one with a credential, and one with a body.
ALWAYS = (400, 417, 431, 500, 503)
WITH_CREDENTIAL = (401, 404, 429)
WITH_BODY = (408, 411, 413, 415, 422)
OF_EVENTS = (409,)


def ref(name: str, kind: str = "schemas") -> dict[str, Any]:
    """Return a reference to a component."""
    return {"$ref": f"#/components/{kind}/{name}"}


def text(told: str = "", **more: Any) -> dict[str, Any]:
    """Return the schema of a text."""
    return {"type": "string"} | ({"description": told} if told else {}) | more


def closed(told: str, properties: dict[str, Any], required: list[str] | None = None) -> dict[str, Any]:
    """Return the schema of an object that has these members and no other; all are required unless said."""
    return {
        "description": told,
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
        "required": list(properties) if required is None else required,
    }


def typed(value: Any) -> Any:
    """Return a schema in which what enumerates texts says that they are texts: generators ask for it."""
    if isinstance(value, list):
        return [typed(item) for item in value]
    if not isinstance(value, dict):
        return value
    made = {name: typed(item) for name, item in value.items()}
    if isinstance(made.get("enum"), list) and all(isinstance(item, str) for item in made["enum"]):
        made = {"type": "string"} | made
    return made


def event_schemas() -> dict[str, Any]:
    """Return the schema of events, and one for each type: what a type requires is in it, not in conditions."""
    _, generated = msgspec.json.schema_components([CloudEvent], ref_template=SCHEMA)
    made = {name: {key: value for key, value in schema.items() if key != "title"} for name, schema in generated.items()}
    event, data = made.pop("CloudEvent"), made.pop("Data")
    for action in MODULE_ACTIONS:
        title = action.capitalize()
        variants = _data_schemas(action, data)
        made |= variants
        properties = event["properties"] | {"type": text(enum=[TYPE_PREFIX + action])}
        references = [ref(name) for name in variants]
        properties["data"] = references[0] if len(references) == 1 else {"oneOf": references}
        required = [*event["required"], *([] if action in NO_SUBJECT else ["subject"])]
        made[f"{title}Event"] = {
            "description": f"An event of the type {action}.",
            "type": "object",
            "properties": properties,
            "required": sorted(required),
            "additionalProperties": False,
        }
    made["CloudEvent"] = {
        "description": event["description"],
        "oneOf": [ref(f"{action.capitalize()}Event") for action in MODULE_ACTIONS],
        "discriminator": {
            "propertyName": "type",
            "mapping": {
                TYPE_PREFIX + action: SCHEMA.format(name=f"{action.capitalize()}Event") for action in MODULE_ACTIONS
            },
        },
    }
    return made


def _data_schemas(action: str, data: dict[str, Any]) -> dict[str, Any]:
    """Return the schemas of `data` of one action; they exclude each other."""
    title, required = action.capitalize(), set(data["required"])
    operations = sorted(operation for operation in OPERATIONS if operation in FITTING[action])
    if action in NEED_RECIPIENTS:
        required |= {"recipients"}

    def variant(told: str, more: set[str] = frozenset(), **members: Any) -> dict[str, Any]:  # type: ignore[assignment]
        properties = data["properties"] | {"operation": text(enum=operations)} | members
        made = {**data, "description": told, "properties": properties}
        return made | {"required": sorted(required | more)}

    if action in NEED_JUSTIFICATION:
        return {
            f"{title}Data": variant(
                "It took place: who did it, and why.", {"justification"}, outcome=text(enum=["success"])
            ),
            f"Refused{title}Data": variant(
                "It was refused, or failed: nobody saw anything.", outcome=text(enum=UNSUCCESSFUL)
            ),
        }
    if FAILED_LOGIN in operations:
        others = [operation for operation in operations if operation != FAILED_LOGIN]
        return {
            f"{title}Data": variant("Who did it, with what outcome.", operation=text(enum=others)),
            "FailedLoginData": variant(
                "A login that did not succeed.",
                {"operation"},
                operation=text(enum=[FAILED_LOGIN]),
                outcome=text(enum=UNSUCCESSFUL),
            ),
        }
    return {f"{title}Data": variant("Who did it, with what outcome.")}


def fault_schema() -> dict[str, Any]:
    """Return the schema of a fault, with every code."""
    told = "\n".join(f"- `{code.name}`: {code.told}" for code in CODES)
    properties = {
        "position": {
            "type": "integer",
            "minimum": 0,
            "description": "Position of the event in the batch, from 0; 0 if there is only one.",
        },
        "pointer": text("JSON Pointer (RFC 6901) within the event or the body; empty for all of it."),
        "code": text(
            f"What a program acts on; it never changes its meaning.\n\n{told}", enum=[code.name for code in CODES]
        ),
        "reason": text("For a person."),
        "header": text("The header at fault."),
        "parameter": text("The query parameter at fault."),
        "retryable": {
            "type": "boolean",
            "description": "Whether time alone cures it: the same event, sent again later, can be accepted.",
        },
    }
    required = ["position", "pointer", "code", "reason", "retryable"]
    return closed("One fault: where it is, its code, why.", properties, required)


def problem_schema() -> dict[str, Any]:
    """Return the schema of a problem."""
    properties = {
        "type": text(enum=[kind.type for kind in KINDS]),
        "title": text(),
        "status": {"type": "integer"},
        "detail": text(),
        "retryable": {
            "type": "boolean",
            "description": "Whether the same request, byte for byte, can succeed later. Otherwise change it first.",
        },
        "faults": {"type": "array", "maxItems": FAULTS_LIMIT, "items": ref("Fault")},
        "more_faults": {
            "type": "integer",
            "minimum": 1,
            "description": "How many faults there are besides those listed; absent if none.",
        },
        "request_id": text("Identifier of the request, as in `X-Request-Id` and in the service's log."),
        "structured_mode": {
            "type": "object",
            "description": "For an event in binary mode: the line of each CloudEvents SDK that sends structured mode.",
            "additionalProperties": text(),
        },
        "checks": ref("Checks"),
        "facts": ref("Facts"),
    }
    told = (
        "RFC 9457. `type` never changes; `detail` is for a person. Where faults are of several kinds, `type` is that "
        "of the first kind in the order of the list."
    )
    return closed(told, properties, ["type", "title", "status", "detail", "retryable"])


def me_schema() -> dict[str, Any]:
    """Return the schema of what a credential is told of itself."""
    days = {"type": "integer", "minimum": 1, "maximum": 60}
    number = {"type": "integer", "minimum": 1}
    category = {
        "code": text(),
        "label": text(),
        "regime": text(enum=["LED", "GDPR"]),
        "basis": text("What the rule rests on."),
        "retention_days": days | {"description": "The rule: days after which entries are purged."},
        "lateness_days": days | {"description": "How many days after an access its event is still recorded."},
        "oldest_time": text("A new event of before this time is refused.", format="date-time"),
        "accepts_events": {"type": "boolean"},
        "needs_authorisation": {"type": "boolean", "description": "Whether every extract needs an authorisation."},
    }
    properties = {
        "credential": text("Its identifier."),
        "role": text(enum=["auditor", "client", "module", "operator"]),
        "tenant": closed("The commune.", {"code": text(), "name": text()}),
        "categories": {"type": "array", "items": closed("One category.", category)},
        "source_prefix": {"type": ["string", "null"], "description": "What a module's `source` begins with."},
        "expires_at": {"type": ["string", "null"], "format": "date-time"},
        "limits": closed(
            "Of one request.",
            {"event_bytes": number, "body_bytes": number, "batch_events": number, "batch_bytes": number},
        ),
        "now": text("The service's clock.", format="date-time"),
        "versions": closed("Of this interface, and of the software.", {"api": text(), "service": text()}),
    }
    return closed("What this credential is and may do.", properties)


def dry_run_schema() -> dict[str, Any]:
    """Return the schema of what a dry run is answered."""
    outcomes = {
        "type": "array",
        "maxItems": BATCH_LIMIT_EVENTS,
        "items": text("`new`: it would be recorded; `known`: it was recorded before.", enum=["new", "known"]),
    }
    return closed("What would become of each event, in order.", {"dry_run": {"const": True}, "outcomes": outcomes})


HEADERS = {
    "X-Request-Id": {
        "description": "Identifier of the request: the caller's own if well formed, else a new one.",
        "schema": {"type": "string"},
    },
    "Retry-After": {"description": "Seconds to wait; jittered.", "schema": {"type": "integer", "minimum": 1}},
    "WWW-Authenticate": {
        "description": "How a credential is sent.",
        "schema": {"type": "string", "enum": ["Bearer"]},
    },
    "Allow": {"description": "The methods that are.", "schema": {"type": "string"}},
}
HEADERS_OF_STATUS = {401: ["WWW-Authenticate"], 405: ["Allow"], 429: ["Retry-After"]}

PARAMETERS = {
    "request_id": {
        "name": "X-Request-Id",
        "in": "header",
        "description": "Identifier of the request, 16 to 64 hexadecimal digits and hyphens; another form is ignored.",
        "schema": {"type": "string", "example": "2f1c7a52-0b1e-4c39-9d0a-6f6f3f0f1b7e"},
    },
    "traceparent": {
        "name": "traceparent",
        "in": "header",
        "description": "W3C Trace Context; carried over to the answer and the log.",
        "schema": {"type": "string", "example": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
    },
    "prefer": {
        "name": "Prefer",
        "in": "header",
        "description": f"`wait=N` (RFC 7240): the answer comes within N seconds, 1 to {LONGEST_WAIT_SECONDS}; "
        f"{WAIT_SECONDS} unless said. The time runs from the end of the body.",
        "schema": {"type": "string", "example": "wait=5"},
    },
}


def _responses(old: dict[str, Any]) -> dict[str, Any]:
    """Return the answer of each status of a problem, with its headers."""
    made: dict[str, Any] = {}
    for status in sorted({kind.status for kind in KINDS}):
        name = str(status)
        headers = ["X-Request-Id", *HEADERS_OF_STATUS.get(status, [])]
        titles = [kind.title for kind in KINDS if kind.status == status]
        made[name] = {
            "description": old[name]["description"] if name in old else f"{titles[0]}.",
            "headers": {header: ref(header, "headers") for header in headers},
            "content": {MEDIA_TYPE: {"schema": ref("Problem")}},
        }
    return made


def _describe(call: Call, operation: dict[str, Any]) -> None:
    """Complete an operation with what all calls share."""
    parts = [part for part in call.path.split("/") if part not in ("", "v1", "categories", "{category}")]
    operation["tags"] = [TAG_OF_PATH.get(parts[0], "operation")]
    own = [parameter for parameter in operation.get("parameters", []) if parameter.get("in") == "query"]
    operation["parameters"] = own + [ref(name, "parameters") for name in PARAMETERS]
    statuses = {*ALWAYS, *(WITH_CREDENTIAL if call.handler else ()), *((404,) if call.host_only else ())}
    if "requestBody" in operation:
        statuses |= set(WITH_BODY)
        if parts[-1] == "events":
            statuses |= set(OF_EVENTS)
    answers = {name: answer for name, answer in operation["responses"].items() if "$ref" not in answer}
    for answer in answers.values():
        answer.setdefault("headers", {})["X-Request-Id"] = ref("X-Request-Id", "headers")
    answers |= {str(status): ref(str(status), "responses") for status in statuses}
    operation["responses"] = dict(sorted(answers.items()))


def renewed(document: dict[str, Any]) -> dict[str, Any]:
    """Return the document with every part that follows from the code made anew."""
    components = document["components"]
    schemas = components["schemas"]
    _, generated = msgspec.json.schema_components([ExtractBody], ref_template=SCHEMA)
    schemas |= {name: {k: v for k, v in schema.items() if k != "title"} for name, schema in generated.items()}
    schemas |= event_schemas()
    schemas.pop("Data", None)
    schemas |= {
        "Problem": problem_schema(),
        "Fault": fault_schema(),
        "Me": me_schema(),
        "DryRun": dry_run_schema(),
    }
    components["headers"] = HEADERS
    components["parameters"] = {"category": components["parameters"]["category"]} | PARAMETERS
    components["responses"] = _responses(components["responses"])
    document["servers"] = [{"url": "/", "description": "The service that serves this document."}]
    document["tags"] = [{"name": name, "description": told} for name, told in TAGS.items()]
    for call in CALLS:
        _describe(call, document["paths"][call.path][call.method.lower()])
    bodies = document["paths"]["/v1/categories/{category}/events"]["post"]["requestBody"]["content"]
    bodies[SINGLE]["schema"] = ref("CloudEvent")
    bodies[BATCH]["schema"] = {"type": "array", "maxItems": BATCH_LIMIT_EVENTS, "items": ref("CloudEvent")}
    made: dict[str, Any] = typed(document)
    return made


if __name__ == "__main__":
    renewed_text = json.dumps(renewed(json.loads(PATH.read_text())), indent=2, ensure_ascii=False)
    PATH.write_text(renewed_text + "\n")
