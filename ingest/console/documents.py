"""The documents about the journal that a commune needs: signed papers, made when they are asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiohttp import web

from ingest.problems import ABSENT, ProblemError
from journal.choices import PAPERS
from journal.core.errors import OperatorError

if TYPE_CHECKING:
    from ingest.console.pages import Visit

CONFLICT = 409


@dataclass(frozen=True, slots=True, kw_only=True)
class Offered:
    """A document as the page offers it: the word of the command, its name, what it is for, who may have it."""

    kind: str
    name: str
    purpose: str
    roles: frozenset[str]

    @property
    def slug(self) -> str:
        """Return its word in forms and file names."""
        return PAPERS[self.kind]


REFERENT = frozenset({"referent"})
BOTH = frozenset({"referent", "reader"})
OFFERED = (
    Offered(
        kind="coverage",
        name="Rapport de couverture",
        purpose="Article 101 : quel module inscrit quelle opération, les motifs, les numéros manquants, les silences, "
        "sur 30 jours et pour vos catégories.",
        roles=BOTH,
    ),
    Offered(
        kind="notice",
        name="Notice d’information des agents",
        purpose="À remettre ou à afficher : ce qui est inscrit, pourquoi, combien de temps, et les droits de chacun.",
        roles=BOTH,
    ),
    Offered(
        kind="duration",
        name="Note sur la durée de conservation",
        purpose="Les 60 jours du contrat, ce que recommande la CNIL, et ce que donne la remise avant destruction.",
        roles=BOTH,
    ),
    Offered(
        kind="register",
        name="Extrait du registre des traitements",
        purpose="Le traitement « journal des accès » : finalités, données, catégories, durées, destinataires.",
        roles=REFERENT,
    ),
    Offered(
        kind="measures",
        name="Mesures de sécurité",
        purpose="Telles que l’installation les montre en ce moment ; celle qui n’est pas en place le dit.",
        roles=REFERENT,
    ),
)


async def get_documents(seen: Visit, _: dict[str, str]) -> web.StreamResponse:
    """Show what can be had, and what is recorded of it."""
    return _page(seen)


async def post_document(seen: Visit, fields: dict[str, str]) -> web.StreamResponse:
    """Answer a document, made now, its making recorded with the person's name."""
    wanted = [one for one in OFFERED if one.slug == fields.get("document") and seen.row.role in one.roles]
    if not wanted:
        raise ProblemError(ABSENT, "")
    (offered,) = wanted
    try:
        async with seen.turn():
            made = await seen.console.papers.issue(
                offered.kind,
                seen.row.tenant,
                only={*seen.row.categories},
                submitted_by=seen.row.id,
                person=seen.identity.person,
            )
    except OperatorError:
        return _page(seen, status=CONFLICT, is_early=True)
    headers = {"Content-Disposition": f'attachment; filename="{offered.slug}-{seen.row.tenant}.pdf"'}
    return web.Response(body=made.document, content_type="application/pdf", headers=headers)


def _page(seen: Visit, *, status: int = 200, is_early: bool = False) -> web.Response:
    offered = [one for one in OFFERED if seen.row.role in one.roles]
    return seen.page("documents.html", status=status, offered=offered, is_early=is_early)
