"""Who asks: `Authorization: Bearer oej_<id>_<secret>`.

Unknown, revoked, expired and malformed get the same answer, after the same work. Who may do what is in the
table of calls (`app`); from outside, what is forbidden looks like what does not exist.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import TYPE_CHECKING

from aiohttp import hdrs

from ingest.problems import UNAUTHENTICATED, ProblemError, absent
from journal.core.entry import Compartment
from journal.core.errors import UnavailableError

if TYPE_CHECKING:
    from aiohttp import web

    from journal.service import Service
    from journal.store import CredentialRow

# Beyond this, nobody can say whether a credential was revoked.
DIRECTORY_LIMIT_SECONDS = 10.0

_BEARER = re.compile(r"[Bb][Ee][Aa][Rr][Ee][Rr] oej_([0-9a-z]{1,64})_([A-Za-z0-9_-]{1,128})").fullmatch
# Compared with where there is no credential, so that its absence takes the same time.
_NO_HASH = bytes(32)


def authenticate(request: web.Request, service: Service) -> CredentialRow:
    """Return the credential of a request.

    Raises ProblemError (401), or UnavailableError where the snapshot of credentials is too old to tell.
    """
    if service.directory.age_seconds() > DIRECTORY_LIMIT_SECONDS:
        raise UnavailableError("credentials cannot be checked: the database has not answered")
    given = request.headers.getall(hdrs.AUTHORIZATION, [])
    match = _BEARER(given[0]) if len(given) == 1 else None
    identifier, secret = match.groups() if match else ("", "")
    credential = service.directory.credential(identifier)
    expected = credential.secret_hash if credential else _NO_HASH
    same = hmac.compare_digest(hashlib.sha256(secret.encode()).digest(), expected)
    if credential is None or not same or not _is_current(credential, service):
        raise ProblemError(
            UNAUTHENTICATED,
            "Send a credential that is known and current: Authorization: Bearer oej_…",
            headers={hdrs.WWW_AUTHENTICATE: "Bearer"},
        )
    return credential


def _is_current(credential: CredentialRow, service: Service) -> bool:
    if credential.revoked_at is not None:
        return False
    if credential.expires_at is not None and credential.expires_at <= service.clock.now():
        return False
    tenant = service.directory.tenant(credential.tenant)
    return tenant is not None and not tenant.closed


def compartment_of(request: web.Request, service: Service, caller: CredentialRow) -> Compartment:
    """Return the compartment of the path's category and of the credential's tenant. Raises ProblemError (404)."""
    category = request.match_info["category"]
    if category not in caller.categories or service.directory.category(category) is None:
        raise absent()
    return Compartment(service.name, caller.tenant, category)
