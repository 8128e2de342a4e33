"""What an error carries beside its words: the edge makes the answer's members of it."""

from __future__ import annotations

from datetime import UTC, datetime

from journal.core.errors import BusyError, ExpiredCertificateError, JournalError, OperatorError, RequestError


def test_a_request_that_cannot_be_served() -> None:
    """It names the member at fault, and says it in its words too."""
    error = RequestError("/purpose", "not one of the purposes")
    assert isinstance(error, JournalError)
    assert (str(error), error.pointer, error.reason) == (
        "/purpose: not one of the purposes",
        "/purpose",
        "not one of the purposes",
    )


def test_a_request_to_be_made_again() -> None:
    """It says when."""
    error = BusyError("too many events are waiting", retry_after_seconds=2)
    assert (str(error), error.retry_after_seconds) == ("too many events are waiting", 2)


def test_a_certificate_that_has_expired() -> None:
    """It is the operator's to renew, and says since when."""
    moment = datetime(2026, 3, 2, tzinfo=UTC)
    error = ExpiredCertificateError("install a renewed one", not_after=moment)
    assert isinstance(error, OperatorError)
    assert (str(error), error.not_after) == ("install a renewed one", moment)
