"""The pages of the console: which roles see which, and the routes of the application."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ingest import context
from ingest.console import documents, extract, handovers, mails, overview, people, register, sign_in
from ingest.console.pages import ALL, COMMUNE, ROOT, Console, Page, visit
from ingest.problems import absent
from journal.admin.persons import People
from journal.papers.making import Papers

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import date

    from aiohttp import web

    from ingest.edge import Edge
    from journal.settings import Settings

    Make = Callable[[str, date], Awaitable[bytes]]

REFERENT = frozenset({"referent"})
ASKING = frozenset({"referent", "auditor"})

ELSEWHERE = "/{rest:.+}"

PAGES = (
    Page(method="GET", path="", roles=ALL, handler=overview.get_overview),
    Page(method="GET", path="/", roles=ALL, handler=overview.get_overview),
    Page(method="GET", path="/extrait", roles=ASKING, handler=extract.get_form),
    Page(method="POST", path="/extrait", roles=ASKING, handler=extract.post_form),
    Page(method="POST", path="/extrait/fichier", roles=ASKING, handler=extract.post_file),
    Page(method="GET", path="/registre", roles=COMMUNE, handler=register.get_register),
    Page(method="GET", path="/attestation", roles=COMMUNE, handler=register.get_attestation),
    Page(method="GET", path="/documents", roles=documents.BOTH, handler=documents.get_documents),
    Page(method="POST", path="/documents/fichier", roles=documents.BOTH, handler=documents.post_document),
    Page(method="GET", path="/sceau", roles=COMMUNE, handler=register.get_head),
    Page(method="GET", path="/trust.pem", roles=COMMUNE, handler=register.get_trust),
    Page(method="GET", path="/remises", roles=COMMUNE, handler=handovers.get_handovers),
    Page(method="POST", path="/remises/confirmer", roles=REFERENT, handler=handovers.post_confirm),
    Page(method="GET", path="/remises/bordereau", roles=COMMUNE, handler=handovers.get_slip),
    Page(method="GET", path="/remises/fichier", roles=REFERENT, handler=handovers.get_file),
    Page(method="GET", path="/alertes", roles=COMMUNE, handler=mails.get_mails),
    Page(method="POST", path="/alertes", roles=COMMUNE, handler=mails.post_mails),
    Page(method="GET", path="/personnes", roles=REFERENT, handler=people.get_people),
    Page(method="POST", path="/personnes/inviter", roles=REFERENT, handler=people.post_invite),
    Page(method="POST", path="/personnes/reinviter", roles=REFERENT, handler=people.post_invite_again),
    Page(method="POST", path="/personnes/revoquer", roles=REFERENT, handler=people.post_revoke),
    Page(method="GET", path="/aide", roles=ALL, handler=overview.get_help),
    Page(method="POST", path="/deconnexion", roles=ALL, handler=sign_in.post_sign_out),
    # What does not exist is said in French too.
    Page(method="GET", path=ELSEWHERE, roles=frozenset(), handler=overview.get_help),
)
# Of nobody yet.
OPEN = (
    ("GET", "/connexion", sign_in.get_sign_in),
    ("POST", "/connexion", sign_in.post_sign_in),
    ("GET", "/invitation/{invitation}", sign_in.get_invitation),
    ("POST", "/invitation/{invitation}", sign_in.post_invitation),
    ("GET", "/fichiers/{name}", sign_in.get_file),
)
# As aiohttp names them in figures: without the pattern of a variable.
PATHS = [ROOT + path.replace(":.+", "") for path in (*(page.path for page in PAGES), *(path for _, path, _ in OPEN))]


def add_console(
    app: web.Application, edge: Edge, attest: Make | None, slip: Make | None, papers: Papers | None
) -> None:
    """Add the console to an application; where a name of its own is set, it answers under that alone."""
    host = edge.service.settings.console_host
    people = People(edge.service)
    console = Console(edge=edge, people=people, papers=papers or Papers(edge.service), attest=attest, slip=slip)
    for method, path, handler in OPEN:
        app.router.add_route(method, ROOT + path, _only_at(host, partial(_bound, partial(handler, console))))
    for page in PAGES:
        app.router.add_route(page.method, ROOT + page.path, _only_at(host, partial(visit, page, console)))


async def _bound(
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]], request: web.Request
) -> web.StreamResponse:
    async with context.bind(request, context.WAIT_SECONDS).running():
        return await handler(request)


def _only_at(
    host: str | None, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def answer(request: web.Request) -> web.StreamResponse:
        if not _is_at(host, request):
            raise absent()
        return await handler(request)

    return answer


def _is_at(host: str | None, request: web.Request) -> bool:
    return host is None or request.host.partition(":")[0] == host


def is_of_console(request: web.Request, settings: Settings) -> bool:
    """Tell whether a request is for a page of the console, there or not: what is refused is said in French."""
    is_below = request.path == ROOT or request.path.startswith(f"{ROOT}/")
    return settings.console and is_below and _is_at(settings.console_host, request)
