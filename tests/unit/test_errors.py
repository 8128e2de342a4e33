"""What an error carries beside its words: the edge makes the answer's members of it."""

from __future__ import annotations

import importlib
import pkgutil
from datetime import UTC, datetime

import ingest
import journal
import retention
import sql
from journal.core import errors
from journal.core.errors import BusyError, ExpiredCertificateError, JournalError, OperatorError, RequestError
from journal.core.faults import UNKNOWN_VALUE

PACKAGES = {package.__name__: package for package in (journal, ingest, retention, sql)}
PROGRAM = "journal.verifier.opening"  # importing it runs the verifier


def drawn() -> dict[str, str]:
    """Return each class of the drawing, and the one it hangs from."""
    parents: dict[str, str] = {}
    branch: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        stem, mark, leaf = line.partition("── ")
        if line == "Exception":
            branch = [line]
        elif mark:
            branch[len(stem) // 4 + 1 :] = [leaf.split()[0]]
            assert branch[-1] not in parents, f"{branch[-1]} is drawn twice"
            parents[branch[-1]] = branch[-2]
    return parents


def defined(parent: type[BaseException] = BaseException) -> dict[str, str]:
    """Return each error class that the product defines, and its parent."""
    found: dict[str, str] = {}
    for child in parent.__subclasses__():
        if child.__module__.split(".")[0] in PACKAGES:
            found[child.__name__] = parent.__name__
        found |= defined(child)
    return found


def test_the_tree_is_whole() -> None:
    """Every error of the product is drawn where it hangs, and nothing else is."""
    for name, package in PACKAGES.items():
        for module in pkgutil.walk_packages(package.__path__, f"{name}."):
            if module.name != PROGRAM:
                importlib.import_module(module.name)
    assert drawn() == defined()


def test_a_request_that_cannot_be_served() -> None:
    """It names the member at fault, and says it in its words too."""
    error = RequestError("/purpose", UNKNOWN_VALUE, "not one of the purposes")
    assert isinstance(error, JournalError)
    assert (str(error), error.pointer, error.code.name, error.reason) == (
        "/purpose: not one of the purposes",
        "/purpose",
        "unknown-value",
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
