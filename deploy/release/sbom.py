"""The bill of materials (CycloneDX 1.6, JSON) of what the service runs with, from `requirements.lock`."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from importlib import metadata
from typing import TYPE_CHECKING
from uuid import NAMESPACE_URL, uuid5

from deploy.release.lock import PROJECT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from deploy.release.lock import Pin


def make_sbom(version: str, pins: Sequence[Pin], graph: Mapping[str, Sequence[str]], at: int) -> str:
    """Return the document, of the time `at` (seconds since 1970); the same input gives the same text.

    A component's hashes are those of all its files in the lock, for every platform: installed is one of them.
    """
    versions = {PROJECT: version} | {pin.name: pin.version for pin in pins}
    references = {name: f"pkg:pypi/{name}@{versions[name]}" for name in versions}
    components = [_component(pin, references[pin.name]) for pin in pins]
    identifier = uuid5(NAMESPACE_URL, " ".join(sorted(references.values())))
    document = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{identifier}",
        "version": 1,
        "metadata": {
            "timestamp": f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}",
            "component": {
                "type": "application",
                "bom-ref": references[PROJECT],
                "name": PROJECT,
                "version": version,
                "purl": references[PROJECT],
                "licenses": [{"license": {"id": "GPL-3.0-or-later"}}],
            },
        },
        "components": components,
        "dependencies": [
            {"ref": references[name], "dependsOn": sorted(references[need] for need in needs)}
            for name, needs in sorted(graph.items())
        ],
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _component(pin: Pin, reference: str) -> dict[str, object]:
    component: dict[str, object] = {
        "type": "library",
        "bom-ref": reference,
        "name": pin.name,
        "version": pin.version,
        "purl": reference,
        "hashes": [{"alg": "SHA-256", "content": content} for content in pin.hashes],
    }
    told = metadata.metadata(pin.name)
    if "License-Expression" in told:
        component["licenses"] = [{"expression": told["License-Expression"]}]
    return component
