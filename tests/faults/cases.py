"""The cases of the campaign that have run: one line each, kept after each, so that a run that ended goes on.

A case is done when it passed with the code it runs on now: the product, what tests share, and its own file.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.faults.shown import Shown

if TYPE_CHECKING:
    from collections.abc import Iterable

ROOT: Final = Path(__file__).parents[2]
STATE: Final = ROOT / "var" / "campaign" / "cases.jsonl"
PRODUCT: Final = ("journal", "ingest", "retention", "sql", "deploy", "tests/support")
BYTES_OF_CODE: Final = frozenset({".py", ".sql", ".typ", ".json", ".php", ".txt", ".html", ".js", ".css"})
PASSED: Final = "passed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One run of a case: its outcome, how long it took, the commit and the code it ran on, and what it showed."""

    case: str
    outcome: str
    seconds: float
    commit: str
    code: str
    seed: int
    at: str
    evidence: list[str] = field(default_factory=list)
    shown: list[str] = field(default_factory=list)

    @property
    def module(self) -> str:
        """The test module."""
        return self.case.partition("::")[0]

    @property
    def figures(self) -> list[Shown]:
        """What it showed, in figures."""
        return [Shown(**json.loads(text)) for text in self.shown]


def keep(case: Case) -> None:
    """Add a line."""
    STATE.parent.mkdir(parents=True, exist_ok=True)
    with STATE.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(case)) + "\n")


def read_cases() -> dict[str, Case]:
    """Return the last run of every case."""
    if not STATE.exists():
        return {}
    cases = (Case(**json.loads(line)) for line in STATE.read_text(encoding="utf-8").splitlines())
    return {case.case: case for case in cases}


def done(seed: int) -> set[str]:
    """Return the cases that passed with this seed on the code that is here now."""
    return {
        name
        for name, case in read_cases().items()
        if case.outcome == PASSED and case.seed == seed and case.code == fingerprint(case.module)
    }


@cache
def fingerprint(module: str) -> str:
    """Return a digest of the code that a test module runs on."""
    path = ROOT / module
    shared = [other for other in path.parent.glob("*.py") if not other.name.startswith("test_")]
    product = [_digest(name) for name in PRODUCT]
    return sha256("".join([*product, *_contents([*shared, path])]).encode()).hexdigest()[:16]


@cache
def _digest(directory: str) -> str:
    files = (path for path in (ROOT / directory).rglob("*") if path.suffix in BYTES_OF_CODE)
    return sha256("".join(_contents(files)).encode()).hexdigest()


def _contents(paths: Iterable[Path]) -> list[str]:
    return [
        f"{path.relative_to(ROOT)} {sha256(path.read_bytes()).hexdigest()}\n" for path in sorted(paths) if path.exists()
    ]
