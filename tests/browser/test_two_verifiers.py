"""The page and `journal-verify`, each written from FORMAT.md, accept and refuse the same, for the same reason.

A case is a number (tests/browser/cases.py): what is found here is found again by it.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import pytest

from journal.extract.receipt_verdicts import UNANSWERED, UPHELD
from tests.browser.cases import Case, case
from tests.browser.chromium import TRUST, Outcome, Verifier
from tests.browser.judging import judged
from tests.browser.kinds import KINDS, STAMPED, container
from tests.browser.lives import recovery

if TYPE_CHECKING:
    from collections.abc import Iterable

CASES = 100
BATCH_CASES = 200
# Of two faults one verifier may meet the one first, the other the other; it has not happened for long.
SAME_CLASS_SHARE = 0.95


def accepts(outcome: Outcome) -> bool:
    """Return whether an extract was accepted."""
    return outcome.verdict in ("verified", "incomplete")


def _upheld(outcome: Outcome) -> list[bool]:
    """Return of each receipt whether it accuses nobody and is authentic."""
    return [verdict in UPHELD | UNANSWERED for verdict in outcome.receipts]


def compare(verifier: Verifier, subjects: Iterable[Case]) -> tuple[int, list[str]]:
    """Let both judge; return how many cases, and those of another class. Fail where one accepts what one refuses."""
    subjects = list(subjects)
    differences = []
    for subject, page in zip(subjects, verifier.verify(subjects, **TRUST), strict=True):
        python = judged(subject)
        if (page.verdict, page.receipts) != (python.verdict, python.receipts):
            differences.append(f"{subject.name}\n  the page: {page}\n  journal-verify: {python}")
            assert page.verdict != "error", differences[-1]
            assert accepts(page) == accepts(python), differences[-1]
            assert _upheld(page) == _upheld(python), differences[-1]
        elif accepts(page):
            assert page.purged == python.purged, subject.name
    return len(subjects), differences


def hold(verifier: Verifier, first: int, last: int) -> None:
    """Compare on the cases of these numbers, a batch at a time."""
    differences: list[str] = []
    for start in range(first, last, BATCH_CASES):
        differences += compare(verifier, map(case, range(start, min(last, start + BATCH_CASES))))[1]
    assert len(differences) <= (1 - SAME_CLASS_SHARE) * (last - first), "\n".join(differences)
    if differences:
        print(f"{len(differences)} of another class:", *differences, sep="\n")  # noqa: T201 - shown by pytest -rP


def test_every_kind_of_extract_verifies(verifier: Verifier) -> None:
    """In the page as in `journal-verify`, with and without certificates for time-stamps."""
    subjects = [Case(name, container(name), is_stamped=name == STAMPED) for name in KINDS]
    assert [outcome.verdict for outcome in verifier.verify(subjects, **TRUST)] == ["verified"] * len(KINDS)
    assert compare(verifier, subjects)[1] == []
    unstamped = [Case(name, container(name), is_stamped=True) for name in KINDS if name != STAMPED]
    assert {outcome.verdict for outcome in verifier.verify(unstamped, **TRUST)} <= {"incomplete", "malformed"}


def test_they_agree(verifier: Verifier, pytestconfig: pytest.Config) -> None:
    """On bytes, values, lists, signatures, compressions, time-stamps, lives, changed by anyone or the service."""
    hold(verifier, 0, pytestconfig.getoption("--cases") or CASES)


@pytest.mark.campaign
def test_they_agree_on_more(verifier: Verifier) -> None:
    """The cases that follow."""
    hold(verifier, CASES, 2_000)


@pytest.mark.campaign
@pytest.mark.parametrize("part", range(10))
def test_they_agree_on_many(verifier: Verifier, part: int) -> None:
    """A hundred thousand more."""
    hold(verifier, 10_000 * (part + 1), 10_000 * (part + 2))


@pytest.mark.parametrize("count", [20, pytest.param(300, marks=pytest.mark.campaign)])
def test_they_agree_on_losses(verifier: Verifier, count: int) -> None:
    """A lost seal made in the very second of the recovery was once a fork to one, lost to the other."""
    made = [recovery(Random(number)) for number in range(count)]
    subjects = [Case(f"recovery {number}", extract.pack(), known) for number, (extract, known) in enumerate(made)]
    assert compare(verifier, subjects)[1] == []


@pytest.mark.parametrize("ends", [50, pytest.param(500, marks=pytest.mark.campaign)])
def test_a_file_cut_short_is_refused_by_both(verifier: Verifier, ends: int) -> None:
    """Wherever it ends."""
    whole = container("complete")
    subjects = [Case(f"cut at {end}", whole[:end]) for end in range(0, len(whole), len(whole) // ends)]
    assert compare(verifier, subjects)[1] == []
