"""The persons and credentials of a commune; its référent invites and revokes persons."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ingest.console.pages import ROOT, scheme_of
from ingest.console.texts import USES
from ingest.problems import ABSENT, ProblemError
from journal.core.errors import OperatorError, StoreError, UnavailableError
from journal.extract.words import ROLES as ROLE_WORDS
from journal.keys.persons import Identity

if TYPE_CHECKING:
    from aiohttp import web

    from ingest.console.pages import Visit
    from journal.database.persons import PersonRow

ROLES = {
    "referent": "demande les extraits, voit le registre, invite les personnes",
    "reader": "voit l’état et le registre, ne demande rien",
    "auditor": "vérifie sans jamais voir le contenu des entrées",
}


async def get_people(seen: Visit, _: dict[str, str]) -> web.StreamResponse:
    """List the persons and credentials of the commune."""
    return _page(seen)


async def post_invite(seen: Visit, fields: dict[str, str]) -> web.StreamResponse:
    """Invite a person of the commune; the invitation is shown once."""
    role = fields.get("role", "")
    if role not in ROLES:
        raise ProblemError(ABSENT, "")
    identity = Identity(
        name=fields.get("name", "").strip(),
        function=fields.get("function", "").strip(),
        login=fields.get("login", "").strip(),
    )
    try:
        row, secret = await seen.console.people.invite(
            tenant=seen.row.tenant,
            role=role,
            categories=[code for code in seen.row.categories if fields.get(f"category-{code}") == "1"],
            identity=identity,
            operator=seen.identity.name,
        )
    except UnavailableError:
        raise  # nothing is wrong with the form
    except (OperatorError, StoreError):
        return _page(seen, is_refused=True, given=fields, status=422)
    return _page(seen, link=_link(seen, row, secret), invited=identity.name)


async def post_invite_again(seen: Visit, fields: dict[str, str]) -> web.StreamResponse:
    """Have a person who lost the password or the second factor choose new ones."""
    row = _own(seen, fields)
    if not may_invite_again(seen, row):
        raise ProblemError(ABSENT, "")
    row, secret = await seen.console.people.invite_again(row.id, operator=seen.identity.name)
    return _page(seen, link=_link(seen, row, secret), invited=seen.console.people.identity(row).name)


async def post_revoke(seen: Visit, fields: dict[str, str]) -> web.StreamResponse:
    """Revoke a person of the commune."""
    await seen.console.people.revoke(_own(seen, fields).id, operator=seen.identity.name)
    return _page(seen)


def may_invite_again(seen: Visit, row: PersonRow) -> bool:
    """Tell whether nothing can be seen as this person that the référent, who is shown the invitation, may not see."""
    return set(row.categories) <= set(seen.row.categories)


def _own(seen: Visit, fields: dict[str, str]) -> PersonRow:
    row = seen.console.edge.service.snapshot.person(fields.get("person", ""))
    if row is None or row.tenant != seen.row.tenant or row.id == seen.row.id or row.revoked_at is not None:
        raise ProblemError(ABSENT, "")
    return row


def _link(seen: Visit, row: PersonRow, secret: str) -> str:
    host = seen.console.edge.service.settings.console_host or seen.request.host
    return f"{scheme_of(host)}://{host}{ROOT}/invitation/{row.id}_{secret}"


def _page(
    seen: Visit,
    *,
    link: str = "",
    invited: str = "",
    is_refused: bool = False,
    given: dict[str, str] | None = None,
    status: int = 200,
) -> web.Response:
    service, people = seen.console.edge.service, seen.console.people
    persons = [row for row in service.snapshot.persons() if row.tenant == seen.row.tenant and row.revoked_at is None]
    labels = {row.code: row.label for row in service.snapshot.categories()}
    credentials = [
        row
        for row in service.snapshot.credentials()
        if row.tenant == seen.row.tenant and row.revoked_at is None
    ]  # fmt: skip
    return seen.page(
        "personnes.html",
        status=status,
        credentials=credentials,
        given=given or {},
        invited=invited,
        is_refused=is_refused,
        labels=labels,
        link=link,
        now=service.clock.now(),
        persons=[(row, people.identity(row), may_invite_again(seen, row)) for row in persons],
        role_words=ROLE_WORDS,
        roles=ROLES,
        uses=USES,
    )
