"""The content of a paper, as plain data: sections of blocks, and who signs it; `papier.typ` lays it out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from journal.document.french import cell, french_number, printable, solid, solid_moment, typeset

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import date, datetime

    from journal.document.signatory import Signatory

Block = dict[str, Any]
# What stands in a cell, or beside a name: lines, each with a style of the template.
Lines = list[dict[str, str]]

NAME_CHARACTERS = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class CitedSeal:
    """A seal that figures rest on, by what identifies it."""

    number: int
    day: date | None
    sealed_at: datetime
    digest: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A heading, and what stands under it."""

    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True, slots=True, kw_only=True)
class Paper:
    """What a paper says. Texts are our own French (`typeset`), names in them made safe before (`named`)."""

    title: str
    subtitle: str
    reference: str
    tenant_name: str
    lead: str
    sections: Sequence[Section]
    seals: Sequence[CitedSeal] = ()
    # Of what is posted up, the seals and the signature are on a page of their own.
    is_posted: bool = False


def paper_content(paper: Paper, signatory: Signatory) -> dict[str, Any]:
    """Return everything the template shows; equal papers of equal signatories give equal content."""
    sections = [*paper.sections]
    if paper.seals:
        sections.append(
            Section(
                title="Justification" if paper.is_posted else "Les sceaux cités",
                blocks=[_seals(paper.seals), note(_HOW_SEALS)],
            )
        )
    return {
        "title": typeset(paper.title),
        "subtitle": typeset(paper.subtitle),
        "reference": solid(printable(paper.reference)),
        "tenant_name": named(paper.tenant_name),
        "service": signatory.service,
        "warning": signatory.warning(),
        "lead": typeset(paper.lead),
        "sections": [{"title": typeset(one.title), "blocks": list(one.blocks)} for one in sections],
        "is_posted": paper.is_posted,
        "signature": signatory.rows(),
        "software": signatory.software,
    }


_HOW_SEALS = (
    "Le service remet le texte de chaque sceau, dont le SHA-256 figure ci-dessus, et sa signature, que contrôle le "
    "logiciel openssl. Un sceau qui ne clôt pas un jour n'est gardé que sept jours. La signature de ce document se "
    "contrôle avec un lecteur PDF, et le certificat de confiance obtenu par une autre voie. Les jours et les heures de "
    "ce document sont en temps universel (UTC) : en France, il est une heure de plus, deux en été."
)


def _seals(seals: Iterable[CitedSeal]) -> Block:
    rows = [
        [
            strong(f"n° {french_number(seal.number)}"),
            plain("clôture du jour" if seal.day is not None else "en cours de jour"),
            plain(solid_moment(seal.sealed_at)),
            digest(seal.digest.hex()),
        ]
        for seal in sorted(seals, key=lambda seal: seal.number)
    ]
    return grid(["Sceau", "Nature", "Fait le (UTC)", "SHA-256 de son texte"], rows, [17, 27, "1", 91])


def named(text: str, limit_characters: int = NAME_CHARACTERS) -> str:
    """Return a name of somebody else's, printable, of bounded length, breakable."""
    return cell(text, limit_characters)


def plain(text: str) -> Lines:
    """Return one line."""
    return [{"style": "plain", "text": typeset(text)}]


def strong(text: str) -> Lines:
    """Return one line that stands out."""
    return [{"style": "strong", "text": typeset(text)}]


def small(text: str) -> Lines:
    """Return one line, smaller: what supports or explains."""
    return [{"style": "small", "text": typeset(text)}]


def good(text: str) -> Lines:
    """Return one line that says that something is as it should be."""
    return [{"style": "good", "text": typeset(text)}]


def bad(text: str) -> Lines:
    """Return one line that says that something is not."""
    return [{"style": "bad", "text": typeset(text)}]


def digest(hexadecimal: str) -> Lines:
    """Return a hash."""
    return [{"style": "hash", "text": hexadecimal}]


def paragraphs(*texts: str) -> Block:
    """Return paragraphs."""
    return {"kind": "text", "texts": [typeset(text) for text in texts]}


def caption(title: str, text: str) -> Block:
    """Return what stands above a table: what it is about, and a sentence."""
    return {"kind": "caption", "title": typeset(title), "text": typeset(text)}


def note(text: str) -> Block:
    """Return a remark, smaller."""
    return {"kind": "note", "text": typeset(text)}


def points(items: Iterable[str]) -> Block:
    """Return a list."""
    return {"kind": "points", "items": [typeset(item) for item in items]}


def steps(items: Iterable[str]) -> Block:
    """Return a numbered list."""
    return {"kind": "steps", "items": [typeset(item) for item in items]}


def facts(rows: Iterable[tuple[str, Lines]]) -> Block:
    """Return names and what is said of each."""
    return {"kind": "facts", "rows": [[typeset(name), lines] for name, lines in rows]}


def grid(columns: Sequence[str], rows: Sequence[Sequence[Lines]], widths: Sequence[str | int]) -> Block:
    """Return a table; a width is millimetres, or a text: its share of what is left."""
    return {"kind": "grid", "columns": [typeset(name) for name in columns], "rows": rows, "widths": widths}


def letter(*texts: str) -> Block:
    """Return a text to take over, set apart."""
    return {"kind": "letter", "texts": [typeset(text) for text in texts]}


def blanks(labels: Iterable[str]) -> Block:
    """Return what the commune fills in by hand."""
    return {"kind": "blanks", "labels": [typeset(label) for label in labels]}
