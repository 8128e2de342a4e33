"""What `journal-verify` says of a case, in the terms of the page."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

from journal.core.errors import VerificationError
from journal.extract.known import read_known
from journal.extract.purge_texts import purged_json
from journal.extract.verify import verify_extract
from journal.verifier.receipts import check_all, judge_by_seals
from tests.browser.chromium import Outcome
from tests.support import stamps
from tests.support.extracts import ANCHORS

if TYPE_CHECKING:
    from tests.browser.cases import Case


def judged(subject: Case) -> Outcome:
    """Return what `journal-verify` says."""
    stampers = stamps.ANCHORS if subject.is_stamped else None
    receipts, refused = check_all(subject.receipts, ANCHORS)
    said = tuple(one.verdict for one in refused)
    try:
        known = [read_known(BytesIO(data), name) for name, data in subject.known]
        if subject.extract is None:
            judged = judge_by_seals(receipts, known, ANCHORS, stampers)
            return Outcome("verified", "", "", said + tuple(one.verdict for one in judged))
        report = verify_extract(
            BytesIO(subject.extract), anchors=ANCHORS, tsa_anchors=stampers, known=known, receipts=receipts
        )
    except VerificationError as error:
        return Outcome(error.verdict, error.part, error.reason, said)
    is_bare = subject.is_stamped and not any(checked.timestamp for checked in report.seals)
    said += tuple(one.verdict for one in report.receipts)
    purged = [purged_json(days) for days in report.purged.days] if report.purged is not None else []
    return Outcome("incomplete" if report.unanswered or is_bare else "verified", "", "", said, purged)
