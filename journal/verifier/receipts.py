"""Receipts on the command line: read and verified, held against what is shown, and told."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from journal.core.errors import VerificationError
from journal.extract.known import Known, check_known
from journal.extract.receipt_verdicts import MISSING, UNANSWERED, UPHELD, Judged, Shown, judge
from journal.extract.receipts import ANSWER_LIMIT_BYTES, CheckedReceipts, check_receipts, read_receipts
from journal.verifier.files import opened

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

# Of one verdict in one file, so many are told one by one.
TOLD = 20


def read_all(paths: Iterable[Path], anchors: Sequence[bytes]) -> tuple[list[CheckedReceipts], list[Judged]]:
    """Read and verify files of receipts; return those that are authentic, and what is wrong with the others.

    Raises NotRunError, OSError.
    """
    contents = []
    for path in paths:
        with opened(path) as file:
            contents.append((path.name, file.read(ANSWER_LIMIT_BYTES + 1)))
    return check_all(contents, anchors)


def check_all(
    contents: Iterable[tuple[str, bytes]], anchors: Sequence[bytes]
) -> tuple[list[CheckedReceipts], list[Judged]]:
    """Verify answers, each with its name; return those that are authentic, and what is wrong with the others."""
    authentic: list[CheckedReceipts] = []
    refused: list[Judged] = []
    for name, data in contents:
        found = _check(name, data, anchors)
        if isinstance(found, Judged):
            refused.append(found)
        else:
            authentic.append(found)
    return authentic, refused


def _check(name: str, data: bytes, anchors: Sequence[bytes]) -> CheckedReceipts | Judged:
    try:
        return check_receipts(read_receipts(data, name), anchors=anchors)
    except VerificationError as error:
        return Judged(name, None, error.verdict, str(error))


def judge_by_seals(
    receipts: Iterable[CheckedReceipts],
    known: Sequence[Known],
    anchors: Sequence[bytes],
    tsa_anchors: Sequence[bytes] | None,
) -> list[Judged]:
    """Judge receipts by known seals alone, or, where there are none, by themselves. Raises VerificationError."""
    found = check_known(known, anchors=anchors, tsa_anchors=tsa_anchors)
    shown = [Shown(origin, seals) for origin, seals in found.items()]
    return [judged for checked in receipts for judged in judge(checked, shown)]


def worst(judged: Sequence[Judged]) -> Judged | None:
    """Return what decides the verdict: a missing entry before a receipt that is not authentic; None if all is well."""
    bad = [one for one in judged if one.verdict not in UPHELD | UNANSWERED]
    return next((one for one in bad if one.verdict == MISSING), bad[0] if bad else None)


def unanswered(judged: Sequence[Judged]) -> list[str]:
    """Say which receipts what is shown confirms no more than it contradicts."""
    return [sentence for one in judged if one.verdict in UNANSWERED for sentence in [_sentence(one)]][:TOLD]


def told(judged: Sequence[Judged]) -> list[str]:
    """Say what became of each receipt; many of one verdict in one file are counted."""
    ordered = sorted(judged, key=lambda one: (one.name, one.verdict))
    return [
        sentence
        for (name, verdict), group in groupby(ordered, key=lambda one: (one.name, one.verdict))
        for sentence in _group(name, verdict, list(group))
    ]


def _group(name: str, verdict: str, judged: list[Judged]) -> Iterator[str]:
    yield from map(_sentence, judged[:TOLD])
    if len(judged) > TOLD:
        yield f"{name}: {len(judged) - TOLD} more, {verdict}"


def _sentence(judged: Judged) -> str:
    receipt = judged.receipt
    if receipt is None:
        return f"{judged.verdict}: {judged.reason}"
    what = f"entry {receipt.index} of {receipt.recorded_at} (event {receipt.id} of {receipt.source})"
    return f"{judged.name}: {what}: {judged.verdict}: {judged.reason}"
