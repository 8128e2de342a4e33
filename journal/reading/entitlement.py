"""Whose request suffices for which extract (SECURITY.md, "Who may ask for what"): checked before anything is made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from journal.core import faults
from journal.core.errors import RequestError

if TYPE_CHECKING:
    from journal.reading.plan import ExtractRequest

# Of the purposes, those for which a named person's request suffices where nothing is filtered by account or subject.
NEEDS_AUTHORISATION = "criminal-proceedings"


def check_entitled(request: ExtractRequest, *, needs_authorisation: bool) -> None:
    """Raise RequestError unless the request suffices for an extract that discloses entries.

    A person is named, always. An authorisation is given for one account or one subject, for criminal proceedings, and
    in a category that `needs_authorisation`.
    """
    if request.person is None:
        raise RequestError(
            "",
            faults.NO_PERSON,
            "this credential names no person: it may ask for extracts that withhold all, as an auditor does; who asks "
            "for entries is named when a credential is added (--person, --function)",
        )
    about = [name for name in ("account", "subject") if getattr(request, name) is not None]
    if request.authorisation is None and (about or request.purpose == NEEDS_AUTHORISATION or needs_authorisation):
        what = f"one {about[0]}" if about else f"the purpose {request.purpose}" if not needs_authorisation else ""
        raise RequestError(
            "/authorisation",
            faults.AUTHORISATION,
            f"an extract {f'for {what}' if what else 'of this category'} needs an authorisation: its issuer, date and "
            "reference",
        )
