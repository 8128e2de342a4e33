"""Which pinned distributions the service runs with: `requirements.lock` also pins what only development needs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT: Final = "openepm-journal"
LOCK: Final = Path(__file__).parents[2] / "requirements.lock"
_PIN: Final = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^ ;\\]+)(?: *; *(?P<marker>[^\\]+?))? *\\?$")
_HASH: Final = re.compile(r"--hash=sha256:([0-9a-f]{64})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """One distribution of the lock: canonical name, version, lines as they are there, SHA-256 of its files (hex)."""

    name: str
    version: str
    text: str
    hashes: tuple[str, ...]


def read_pins(text: str) -> dict[str, Pin]:
    """Return the pins of a lock by canonical name. Raises ValueError for a line that is neither pin nor hash."""
    pins: dict[str, Pin] = {}
    for block in re.split(r"(?m)^(?=\S)", text):
        if not block.strip() or block.startswith("#"):
            continue
        match = _PIN.match(block.split("\n", 1)[0])
        hashes = tuple(_HASH.findall(block))
        if match is None or not hashes:
            raise ValueError(f"requirements.lock: {block.splitlines()[0]!r} is no pin with hashes")
        name = canonicalize_name(match["name"])
        pins[name] = Pin(name=name, version=match["version"], text=block, hashes=hashes)
    return pins


def runtime_graph() -> dict[str, list[str]]:
    """Return what the service needs, with what each of that needs, from the metadata installed here.

    The project itself is a key too; extras are left out, and so is what a marker excludes on this machine.
    """
    graph: dict[str, list[str]] = {}
    waiting: list[tuple[str, frozenset[str]]] = [(PROJECT, frozenset())]
    seen: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        name, extras = asked = waiting.pop()
        if asked in seen:
            continue
        seen.add(asked)
        needs = [Requirement(line) for line in metadata.requires(name) or ()]
        wanted = [need for need in needs if _applies(need, extras)]
        names = {canonicalize_name(need.name) for need in wanted}
        graph[name] = sorted({*graph.get(name, ()), *names})
        waiting += [(canonicalize_name(need.name), frozenset(need.extras)) for need in wanted]
    return graph


def _applies(need: Requirement, extras: frozenset[str]) -> bool:
    return need.marker is None or any(need.marker.evaluate({"extra": extra}) for extra in (*extras, ""))


def runtime_pins() -> list[Pin]:
    """Return the pins of what the service runs with, by name. Raises KeyError if the lock lacks one."""
    pins = read_pins(LOCK.read_text(encoding="utf-8"))
    return [pins[name] for name in sorted(runtime_graph()) if name != PROJECT]
