"""Make the extracts of tests/vectors/v1/extracts, with what every verifier must say of each (index.json).

The committed bytes are the vectors. They are never made again over themselves: this program adds what is
missing, and ends with the names of files that it would make otherwise today. Keys are fixed, signatures
deterministic (RFC 6979) where `cryptography` can, so that two runs on one machine make the same bytes.
Run from the project's root: `python -m tests.vectors.make_extracts`.
"""

from __future__ import annotations

import json
import sys
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.vectors.extract_cases import (
    container,
    entries,
    known,
    manifest,
    organisation,
    receipts,
    retention,
    rules,
    seals,
    signature,
    timestamp,
    valid,
)
from tests.vectors.extract_cases.case import ANCHORS, VERIFIED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.vectors.extract_cases.case import Case

FOLDER = Path(__file__).parent / "v1" / "extracts"
GROUPS = (
    valid,
    container,
    signature,
    organisation,
    manifest,
    seals,
    retention,
    entries,
    known,
    timestamp,
    rules,
    receipts,
)


def cases() -> Iterator[tuple[str, Case]]:
    """Yield every vector with the name of its group."""
    for group in GROUPS:
        for case in group.cases():
            yield group.__name__.rpartition(".")[2], case


def kept(name: str, content: bytes, other: list[str]) -> str:
    """Write a file unless it is there; note its name if it is other than made today. Return its SHA-256."""
    path = FOLDER / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        path.write_bytes(content)
    present = path.read_bytes()
    if present != content:
        other.append(name)
    return sha256(present).hexdigest()


def describe(group: str, case: Case, other: list[str]) -> dict[str, Any]:
    """Write a case's files where they are missing; return it as index.json says it."""
    file = case.file or f"{case.name}.asice"
    shown = {"file": file, "sha256": kept(file, case.extract, other)} if case.extract is not None else {}
    answers = [
        {
            "name": name,
            "file": f"receipts/{case.name}.json",
            "sha256": kept(f"receipts/{case.name}.json", content, other),
            "verdicts": list(case.verdicts[name]),
        }
        for name, content in case.receipts.items()
    ]
    known = [{"name": name, "file": f"known/{case.name}.{name}"} for name in case.known]
    return {
        "name": case.name,
        "group": group,
        "about": case.about,
        **shown,
        "trust": case.trust,
        **({"tsa_trust": case.tsa_trust} if case.tsa_trust else {}),
        "known": [{**file, "sha256": kept(file["file"], case.known[file["name"]], other)} for file in known],
        **({"receipts": answers} if answers else {}),
        "class": case.verdict,
        **({"facts": dict(case.facts)} if case.verdict == VERIFIED else {"part": case.part}),
    }


def main() -> int:
    """Write what is missing; the index always. Return 1 if a file would be made otherwise today."""
    other: list[str] = []
    for name, content in ANCHORS.items():
        kept(name, content, other)
    lines = [json.dumps(describe(group, case, other), ensure_ascii=False) for group, case in cases()]
    (FOLDER / "index.json").write_text('{"cases": [\n' + ",\n".join(lines) + "\n]}\n")
    for name in other:
        print(f"left as it is, though made otherwise today: {name}", file=sys.stderr)  # noqa: T201
    return 1 if other else 0


if __name__ == "__main__":
    sys.exit(main())
