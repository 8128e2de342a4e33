"""Makes the parts of `ingest/openapi.json` that follow from the code: `make openapi`; a test compares."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec

import ingest
from ingest.extracts import ExtractBody
from ingest.problems import KINDS, MEDIA_TYPE
from ingest.shapes import CloudEvent
from journal.core.faults import CODES

PATH = Path(ingest.__file__).with_name("openapi.json")
REFERENCE = "#/components/schemas/{name}"


def _text(told: str = "") -> dict[str, Any]:
    return {"type": "string"} | ({"description": told} if told else {})


def fault_schema() -> dict[str, Any]:
    """Return the schema of a fault, with every code."""
    properties = {
        "position": {
            "type": "integer",
            "minimum": 0,
            "description": "Position of the event in the batch, from 0; 0 if there is only one.",
        },
        "pointer": _text("JSON Pointer (RFC 6901) within the event or the body; empty for all of it."),
        "code": {
            "type": "string",
            "enum": [code.name for code in CODES],
            "description": "What a program acts on; it never changes its meaning.\n\n"
            + "\n".join(f"- `{code.name}`: {code.told}" for code in CODES),
        },
        "reason": _text("For a person."),
        "header": _text("The header at fault."),
        "parameter": _text("The query parameter at fault."),
        "retryable": {
            "type": "boolean",
            "description": "Whether time alone cures it: the same event, sent again later, can be accepted.",
        },
    }
    return {
        "description": "One fault: where it is, its code, why.",
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
        "required": ["position", "pointer", "code", "reason", "retryable"],
    }


def problem_schema(old: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a problem."""
    properties = {
        "type": {"type": "string", "enum": [kind.type for kind in KINDS]},
        "title": _text(),
        "status": {"type": "integer"},
        "detail": _text(),
        "retryable": {
            "type": "boolean",
            "description": "Whether the same request, byte for byte, can succeed later. Otherwise change it first.",
        },
        "faults": {"type": "array", "maxItems": 1000, "items": {"$ref": REFERENCE.format(name="Fault")}},
        "more_faults": {
            "type": "integer",
            "minimum": 1,
            "description": "How many faults there are besides those listed; absent if none.",
        },
        "error_id": old["properties"]["error_id"],
        "checks": old["properties"]["checks"],
        "facts": old["properties"]["facts"],
    }
    return {
        "description": "RFC 9457. `type` never changes; `detail` is for a person. Where faults are of several kinds, "
        "`type` is that of the first kind in the order of the list.",
        "type": "object",
        "properties": properties,
        "required": ["type", "title", "status", "detail", "retryable"],
    }


def renewed(document: dict[str, Any]) -> dict[str, Any]:
    """Return the document with every part that follows from the code made anew."""
    schemas = document["components"]["schemas"]
    _, generated = msgspec.json.schema_components([CloudEvent, ExtractBody], ref_template=REFERENCE)
    for name, schema in generated.items():
        rules = {"allOf": schemas[name]["allOf"]} if "allOf" in schemas.get(name, {}) else {}
        schemas[name] = {key: value for key, value in schema.items() if key != "title"} | rules
    schemas["Problem"] = problem_schema(schemas["Problem"])
    schemas["Fault"] = fault_schema()
    responses = document["components"]["responses"]
    for kind in KINDS:
        responses.setdefault(
            str(kind.status),
            {
                "description": f"{kind.title}.",
                "content": {MEDIA_TYPE: {"schema": {"$ref": REFERENCE.format(name="Problem")}}},
            },
        )
    document["components"]["responses"] = dict(sorted(responses.items()))
    return document


if __name__ == "__main__":
    text = json.dumps(renewed(json.loads(PATH.read_text())), indent=2, ensure_ascii=False)
    PATH.write_text(text + "\n")
