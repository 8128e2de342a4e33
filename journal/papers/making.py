"""The papers there are; each is made, signed, and its making recorded before anybody has it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING

from journal.choices import PAPERS
from journal.core.entry import parse_origin
from journal.core.errors import OperatorError
from journal.document.paper import Paper, Section, paper_content, paragraphs
from journal.document.render import paper_template, render
from journal.papers.coverage import coverage
from journal.papers.duration import duration
from journal.papers.measures import measures
from journal.papers.notice import notice
from journal.papers.register import register
from journal.papers.signing import signatory
from journal.papers.situation import gather
from journal.writing.chronicle import SUBMITTED_BY

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection
    from datetime import date, datetime

    from journal.extract.grounds import Person
    from journal.papers.controls import Look
    from journal.papers.situation import Situation
    from journal.service import Service


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A signed paper, and the entry that says that it was made: its index, and whose journal it is in.

    That of a commune whose contract has ended takes nothing more: then it is the service's own.
    """

    document: bytes
    index: int
    journal: str


class Papers:
    """Makes the papers of one service."""

    def __init__(self, service: Service, look: Look | None = None) -> None:
        """Use the parts of this service; `look` is what `doctor` does, where it can be done from here."""
        self._service = service
        self._look = look

    async def issue(
        self,
        kind: str,
        tenant: str,
        *,
        first: date | None = None,
        last: date | None = None,
        only: Collection[str] | None = None,
        submitted_by: str = SUBMITTED_BY,
        person: Person | None = None,
    ) -> Made:
        """Make one of the papers, of a commune, and record that it was made; `only` of these categories.

        Raises OperatorError where none can be made; DocumentError, StoreError, VerificationError.
        """
        if kind not in PAPERS:
            raise OperatorError(f"there is no paper {kind!r}: they are {', '.join(PAPERS)}")
        situation = await gather(self._service, tenant, only)
        paper = await self._makers(first, last)[kind](situation)
        if situation.is_partial:
            paper = replace(paper, sections=[*paper.sections, _extent(situation)])
        return await self.sign(paper, tenant, situation.now, submitted_by=submitted_by, person=person)

    async def sign(
        self,
        paper: Paper,
        tenant: str,
        at: datetime,
        *,
        submitted_by: str = SUBMITTED_BY,
        person: Person | None = None,
    ) -> Made:
        """Sign a paper, and record that it was made. Raises DocumentError, OperatorError."""
        service = self._service
        content = paper_content(paper, signatory(service, at))
        document = await render(content, service.signer, at, paper_template(paper.title))
        data = {
            "change": "document made",
            "person": person.as_json() if person is not None else None,
            "sha256": sha256(document).hexdigest(),
            "what": paper.title,
        }
        receipt = await service.chronicle.write(
            "setting", tenant=tenant, subject="document", data=data, submitted_by=submitted_by
        )
        journal = parse_origin(receipt.origin).tenant
        return Made(document=document, index=receipt.index, journal=journal)

    def _makers(self, first: date | None, last: date | None) -> dict[str, Callable[[Situation], Awaitable[Paper]]]:
        return {
            "register": register,
            "measures": partial(measures, look=self._look),
            "coverage": partial(coverage, first=first, last=last),
            "notice": notice,
            "duration": duration,
        }


def _extent(situation: Situation) -> Section:
    """Say that a paper is about some categories only: those of who asked for it."""
    labels = ", ".join(f"« {situation.label(row.code)} »" for row in situation.categories)
    told = (
        f"Ce document porte sur les catégories de la personne qui l'a demandé : {labels}. Celui que l'hébergeur "
        "établit porte sur toutes."
    )
    return Section(title="Étendue", blocks=[paragraphs(told)])
