"""`GET /docs`: the API reference, one page made from the OpenAPI document; nothing of it comes from elsewhere.

The page has no script. Its one style is allowed by its hash, and nothing else is loaded.
"""

from __future__ import annotations

import functools
import json
from base64 import b64encode
from hashlib import sha256
from html import escape
from importlib import resources
from typing import TYPE_CHECKING, Any, Final

import orjson
from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ingest.edge import Edge

OPENAPI = resources.files("ingest").joinpath("openapi.json").read_bytes()
STYLE: Final = """
:root { color-scheme: light dark; --line: #8886; --quiet: #8882; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 62rem; padding: 1rem 1.5rem 4rem; }
h1, h2, h3 { line-height: 1.2; } h2 { margin-top: 3rem; border-bottom: 1px solid var(--line); }
section { margin: 1.5rem 0 2.5rem; } code, pre { font: 0.9em/1.45 ui-monospace, monospace; }
code { overflow-wrap: anywhere; } pre { background: var(--quiet); overflow-x: auto; padding: 0.75rem; }
table { border-collapse: collapse; width: 100%; } th, td { border-top: 1px solid var(--line); padding: 0.35rem 0.75rem;
text-align: left; vertical-align: top; } td:first-child { white-space: nowrap; }
.verb { border: 1px solid var(--line); border-radius: 4px; font-weight: 600; padding: 0.1rem 0.4rem; }
.quiet { opacity: 0.75; } summary { cursor: pointer; } nav ul { columns: 2; padding-left: 1.2rem; }
"""
STYLE_HASH: Final = b64encode(sha256(STYLE.encode()).digest()).decode()
POLICY: Final = (
    f"default-src 'none'; style-src 'sha256-{STYLE_HASH}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


async def get_openapi(_: web.Request, __: Edge) -> web.StreamResponse:
    """Answer the description of every call (OpenAPI 3.1)."""
    return web.Response(body=OPENAPI, content_type="application/json")


async def get_docs(_: web.Request, __: Edge) -> web.StreamResponse:
    """Answer the description as a page."""
    headers = {"Content-Security-Policy": POLICY, "Referrer-Policy": "no-referrer"}
    return web.Response(body=page(), content_type="text/html", charset="utf-8", headers=headers)


@functools.cache
def page() -> bytes:
    """Return the page."""
    document = orjson.loads(OPENAPI)
    return "\n".join(_Page(document).lines()).encode()


def _prose(text: str) -> str:
    """Return a description, in which `code` and lists of lines that begin with "- " are all there is, as HTML."""
    parts = escape(text, quote=False).split("`")
    marked = "".join(f"<code>{part}</code>" if place % 2 else part for place, part in enumerate(parts))
    made: list[str] = []
    for paragraph in marked.split("\n\n"):
        lines = paragraph.split("\n- ")
        if paragraph.startswith("- "):
            lines = ["", *paragraph[2:].split("\n- ")]
        made += [f"<p>{lines[0]}</p>"] if lines[0].strip() else []
        made += ["<ul>", *(f"<li>{line}</li>" for line in lines[1:]), "</ul>"] if len(lines) > 1 else []
    return "".join(made)


def _anchor(name: str) -> str:
    return "".join(mark if mark.isalnum() else "-" for mark in name)


class _Page:
    """The page of one document."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._document = document
        self._components = document["components"]
        self._operations = [
            (method, path, operation, item.get("parameters", []))
            for path, item in document["paths"].items()
            for method, operation in item.items()
            if method != "parameters"
        ]

    def lines(self) -> Iterator[str]:
        info = self._document["info"]
        title = escape(info["title"])
        yield '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
        yield f"<title>{title}</title><style>{STYLE}</style></head><body>"
        yield f'<h1>{title}</h1><p class="quiet">Version {escape(info["version"])}; the same as '
        yield '<a href="/v1/openapi.json">OpenAPI 3.1</a>, for generators of clients.</p>'
        yield _prose(info["description"])
        yield '<nav><ul><li><a href="#problems">Problems</a></li><li><a href="#codes">Codes of faults</a></li>'
        yield '<li><a href="#schemas">Schemas</a></li>'
        for method, path, operation, _ in self._operations:
            yield f'<li><a href="#{operation["operationId"]}"><code>{method.upper()} {escape(path)}</code></a></li>'
        yield "</ul></nav>"
        for tag in self._document["tags"]:
            yield f"<h2>{escape(tag['name'].capitalize())}</h2>{_prose(tag['description'])}"
            for each in self._operations:
                if each[2]["tags"] == [tag["name"]]:
                    yield from self._operation(*each)
        yield from self._problems()
        yield '<h2 id="schemas">Schemas</h2>'
        for name, schema in sorted(self._components["schemas"].items()):
            yield from self._schema(name, schema)
        yield "</body></html>"

    def _resolve(self, value: dict[str, Any]) -> dict[str, Any]:
        if "$ref" not in value:
            return value
        _, _, kind, name = value["$ref"].split("/")
        return dict(self._components[kind][name])

    def _operation(
        self, method: str, path: str, operation: dict[str, Any], shared: list[dict[str, Any]]
    ) -> Iterator[str]:
        yield f'<section id="{operation["operationId"]}"><h3><span class="verb">{method.upper()}</span> '
        yield f"<code>{escape(path)}</code></h3><p><strong>{escape(operation['summary'])}.</strong></p>"
        yield _prose(operation.get("description", ""))
        yield "<table>"
        for parameter in map(self._resolve, [*shared, *operation["parameters"]]):
            where = f"{parameter['in']}{', required' if parameter.get('required') else ''}"
            yield f"<tr><td><code>{escape(parameter['name'])}</code></td><td>{where}</td>"
            yield f"<td>{_prose(parameter['description'])}</td></tr>"
        yield "</table>"
        for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
            yield f"<p>Body <code>{media_type}</code>: {self._type(content['schema'])}</p>"
            for example in content.get("examples", {}).values():
                shown = json.dumps(example["value"], indent=2, ensure_ascii=False)
                yield f"<details><summary>{escape(example['summary'])}</summary><pre>{escape(shown)}</pre></details>"
        yield "<table>"
        for status, given in operation["responses"].items():
            answer = self._resolve(given)
            kinds = [
                f"<code>{media_type}</code>: {self._type(content['schema'])}"
                for media_type, content in answer.get("content", {}).items()
                if "problem" not in media_type
            ]
            yield f"<tr><td>{status}</td><td>{_prose(answer['description'])}{'<br>'.join(kinds)}</td></tr>"
        yield "</table></section>"

    def _problems(self) -> Iterator[str]:
        problem, fault = self._components["schemas"]["Problem"], self._components["schemas"]["Fault"]
        yield '<h2 id="problems">Problems</h2>'
        yield _prose(problem["description"])
        yield f"<ul>{''.join(f'<li><code>{kind}</code></li>' for kind in problem['properties']['type']['enum'])}</ul>"
        yield f'<h2 id="codes">Codes of faults</h2>{_prose(fault["properties"]["code"]["description"])}'

    def _schema(self, name: str, schema: dict[str, Any]) -> Iterator[str]:
        yield f'<section id="schema-{_anchor(name)}"><h3><code>{name}</code></h3>'
        yield _prose(schema.get("description", ""))
        if "oneOf" in schema:
            yield f"<p>{self._type(schema)}</p>"
        yield "<table>"
        for member, described in schema.get("properties", {}).items():
            required = ", required" if member in schema.get("required", []) else ""
            yield f"<tr><td><code>{escape(member)}</code></td><td>{self._type(described)}{required}</td>"
            told = "" if name == "Fault" and member == "code" else described.get("description", "")
            yield f"<td>{_prose(told)}</td></tr>"
        yield "</table></section>"

    def _type(self, schema: dict[str, Any]) -> str:
        """Return what a schema says, in words."""
        if "$ref" in schema:
            name = schema["$ref"].rpartition("/")[2]
            return f'<a href="#schema-{_anchor(name)}">{name}</a>'
        for union in ("oneOf", "anyOf"):
            if union in schema:
                return " or ".join(map(self._type, schema[union]))
        if "const" in schema or "enum" in schema:
            values = schema.get("enum", [schema.get("const")])
            return ", ".join(f"<code>{escape(json.dumps(value))}</code>" for value in values)
        if schema.get("type") == "array":
            least, most = schema.get("minItems", 0), schema.get("maxItems")
            return f"list of {self._type(schema['items'])}{f', {least} to {most}' if most else ''}"
        kinds = schema.get("type", "anything")
        told = " or ".join(kinds) if isinstance(kinds, list) else str(kinds)
        if "maxLength" in schema:
            told += f", {schema.get('minLength', 0)} to {schema['maxLength']} characters"
        if "minimum" in schema:
            told += f", from {schema['minimum']}" + (f" to {schema['maximum']}" if "maximum" in schema else "")
        return told + (f", {schema['format']}" if "format" in schema else "")
