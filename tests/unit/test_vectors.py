"""The published extracts: `journal.extract.verify` says of each what index.json says every verifier must."""

from __future__ import annotations

import json
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from journal.core import errors
from journal.core.errors import VerificationError
from journal.core.times import format_day, format_seconds
from journal.extract.known import Known, read_known
from journal.extract.purge_texts import purged_json
from journal.extract.receipt_verdicts import MISSING, UNANSWERED, UPHELD
from journal.extract.verify import verify_extract
from journal.pki.certificates import pem_to_der
from journal.verifier.receipts import judge_by_seals, read_all

if TYPE_CHECKING:
    from collections.abc import Sequence

    from journal.extract.receipts import CheckedReceipts
    from journal.extract.report import Report

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "tests" / "vectors" / "v1" / "extracts"
CASES: list[dict[str, Any]] = json.loads((FOLDER / "index.json").read_text(encoding="utf-8"))["cases"]
CLASSES = {
    kind.verdict
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, VerificationError) and kind is not VerificationError
}


def read_kept(case: dict[str, Any]) -> list[Known]:
    """Read what the auditor of a case kept from earlier."""
    known = []
    for kept in case["known"]:
        with (FOLDER / kept["file"]).open("rb") as file:
            known.append(read_known(file, kept["name"]))
    return known


def verify(case: dict[str, Any], receipts: Sequence[CheckedReceipts] = ()) -> Report:
    """Verify a case with what its auditor brings."""
    anchors = pem_to_der((FOLDER / case["trust"]).read_bytes())
    tsa_anchors = pem_to_der((FOLDER / case["tsa_trust"]).read_bytes()) if "tsa_trust" in case else None
    with (FOLDER / case["file"]).open("rb") as file:
        return verify_extract(file, anchors=anchors, tsa_anchors=tsa_anchors, known=read_kept(case), receipts=receipts)


def judge_receipts(case: dict[str, Any]) -> dict[str, list[str]]:
    """Return what is said of receipts, by the name of the file that holds them."""
    anchors = pem_to_der((FOLDER / case["trust"]).read_bytes())
    receipts, refused = read_all([FOLDER / kept["file"] for kept in case["receipts"]], anchors)
    if "file" in case:
        judged = list(verify(case, receipts).receipts)
    else:
        judged = judge_by_seals(receipts, read_kept(case), anchors, None)
    (kept,) = case["receipts"]
    return {kept["name"]: [one.verdict for one in (*refused, *judged)]}


def found(report: Report) -> dict[str, Any]:
    """Return what a report says, as the index spells it."""
    facts: dict[str, Any] = {
        "disclosed": report.manifest.disclosed,
        "withheld": report.manifest.withheld,
        "unanswered": len(report.unanswered),
    }
    if report.purged is not None:
        facts["purged_through"] = format_day(report.purged.through)
        facts["purged_days"] = [purged_json(days) for days in report.purged.days]
    if report.covered_until is not None:
        facts["covered_until"] = format_seconds(report.covered_until)
    late = report.manifest.lateness
    numbers = {"repeated": len(report.repeated), "late_here": late.here, "late_elsewhere": late.elsewhere}
    numbers["numbering"] = len(report.manifest.numbering)
    facts |= {name: number for name, number in numbers.items() if number}
    return facts


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_every_vector_has_its_verdict(case: dict[str, Any]) -> None:
    """The class in the format's words, and the part at fault; of what verifies, the facts."""
    if "receipts" in case:
        assert judge_receipts(case) == {kept["name"]: kept["verdicts"] for kept in case["receipts"]}
        if "file" not in case:
            return
    if case["class"] == "verified":
        assert found(verify(case)) == case["facts"]
        return
    with pytest.raises(VerificationError) as caught:
        verify(case)
    assert caught.value.verdict == case["class"], caught.value
    assert case["part"] in caught.value.part, caught.value


def test_the_index_names_every_file_and_no_other() -> None:
    """Each by its SHA-256: the committed bytes are the vectors."""
    listed = [case for case in CASES if "file" in case]
    listed += [kept for case in CASES for kept in (*case["known"], *case.get("receipts", ()))]
    digests = {file["file"]: file["sha256"] for file in listed}
    assert {file["file"]: file["sha256"] for file in reversed(listed)} == digests
    for name, digest in digests.items():
        assert sha256((FOLDER / name).read_bytes()).hexdigest() == digest, name
    anchors = {case["trust"] for case in CASES} | {case["tsa_trust"] for case in CASES if "tsa_trust" in case}
    present = {path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*") if path.is_file()}
    assert present == {*digests, *anchors, "index.json", "README.md"}


def test_every_class_has_its_vectors() -> None:
    """At least 60 that fail, one failure each, of every class; and the valid ones of every kind."""
    failing = [case for case in CASES if case["class"] != "verified"]
    assert {case["class"] for case in failing} == CLASSES
    said = {verdict for case in CASES for kept in case.get("receipts", ()) for verdict in kept["verdicts"]}
    assert said == UPHELD | UNANSWERED | {MISSING, "malformed", "bad signature", "untrusted", "mismatched part"}
    assert len(failing) >= 60
    assert len(CASES) - len(failing) >= 10
    assert len({case["name"] for case in CASES}) == len(CASES)
    for case in CASES:
        assert case["about"].endswith("."), case["name"]
        assert ("facts" in case) == (case["class"] == "verified")
        assert ("part" in case) == (case["class"] != "verified")


def test_the_vectors_stay_small() -> None:
    """Authors of other verifiers copy them."""
    assert sum(path.stat().st_size for path in FOLDER.rglob("*")) < 5 * 2**20


@pytest.mark.campaign
def test_what_makes_the_vectors_still_makes_them() -> None:
    """The program runs, and would make the very bytes that are there."""
    made = subprocess.run(
        [sys.executable, "-m", "tests.vectors.make_extracts"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (made.returncode, made.stderr) == (0, "")
