"""The published description, and just enough of JSON Schema to hold values against it."""

from __future__ import annotations

import json
import re
from typing import Any

from ingest.reference import OPENAPI

DOCUMENT = json.loads(OPENAPI)
SCHEMAS = DOCUMENT["components"]["schemas"]
OPERATIONS = {
    (method.upper(), path): operation
    for path, item in DOCUMENT["paths"].items()
    for method, operation in item.items()
    if method != "parameters"
}


def resolve(schema: dict[str, Any]) -> dict[str, Any]:
    """Follow a reference within the document."""
    if "$ref" not in schema:
        return schema
    target: Any = DOCUMENT
    for step in schema["$ref"].removeprefix("#/").split("/"):
        target = target[step]
    return dict(target)


def follows(value: Any, schema: dict[str, Any]) -> bool:
    """Tell whether a value follows a schema, in the part of JSON Schema that this document uses."""
    schema = resolve(schema)
    rules = [
        "type" not in schema or _kind(value) in schema["type"],
        "enum" not in schema or value in schema["enum"],
        "const" not in schema or value == schema["const"],
        all(follows(value, part) for part in schema.get("allOf", [])),
        "anyOf" not in schema or any(follows(value, part) for part in schema["anyOf"]),
        "oneOf" not in schema or sum(follows(value, part) for part in schema["oneOf"]) == 1,
        "if" not in schema or follows(value, schema.get("then" if follows(value, schema["if"]) else "else", {})),
    ]
    if isinstance(value, str):
        rules += [
            schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value)),
            # ECMAScript's "$" is the end; Python's may stand before a last line break.
            re.search(re.sub(r"\$$", r"\\Z", schema.get("pattern", "")), value) is not None,
        ]
    if isinstance(value, int):
        rules += [schema.get("minimum", value) <= value <= schema.get("maximum", value)]
    if isinstance(value, list):
        rules += [schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value))]
        rules += [follows(item, schema.get("items", {})) for item in value]
    if isinstance(value, dict):
        known = schema.get("properties", {})
        rules += [all(name in value for name in schema.get("required", []))]
        others = schema.get("additionalProperties", True)
        rules += [others is not False or all(name in known for name in value)]
        rules += [follows(value[name], others) for name in value if name not in known and isinstance(others, dict)]
        rules += [follows(value[name], known[name]) for name in value if name in known]
    return all(rules)


def _kind(value: Any) -> str:
    """Return the kind of a value in the words of JSON Schema; none is a part of another."""
    kinds = {dict: "object", list: "array", str: "string", int: "integer", bool: "boolean", type(None): "null"}
    return kinds.get(type(value), "number")
