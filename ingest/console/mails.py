"""What a person has told by mail: a choice of each, kept with the person's identity."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from ingest.console.pages import ROOT
from ingest.problems import ABSENT, BAD_REQUEST, ProblemError
from journal.admin.persons import RefusedError
from journal.notices.kinds import KINDS, SEALS, Choice, read_choice

if TYPE_CHECKING:
    from ingest.console.pages import Visit


async def get_mails(seen: Visit, fields: dict[str, str]) -> web.StreamResponse:
    """Show what the person is told."""
    return seen.page(
        "alertes.html",
        choice=read_choice(seen.identity.mails, seen.row.role),
        is_default=not seen.identity.mails,
        is_kept="garde" in fields,
        is_sending=seen.console.edge.service.settings.notify_mail_from is not None,
        kinds=KINDS,
        seals=SEALS,
    )


async def post_mails(seen: Visit, fields: dict[str, str]) -> web.StreamResponse:
    """Keep what the person wants to be told; the session goes on, others of the person end."""
    often = fields.get("seals", "")
    if often not in SEALS:
        raise ProblemError(BAD_REQUEST, "")
    choice = Choice(frozenset(code for code in KINDS if fields.get(f"kind-{code}") == "1"), often)
    people = seen.console.people
    try:
        row = await people.choose_mails(seen.row, choice)
    except RefusedError as error:
        raise ProblemError(ABSENT, "") from error
    response = web.Response(status=303, headers={"Location": f"{ROOT}/alertes?garde=1"})
    seen.session.after_choice(row).give(response, people.mac, seen.console.now())
    return response
