"""Asking for an extract: the form, what will be asked and recorded, then the file."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import TYPE_CHECKING

from ingest.console.texts import REFUSED, REFUSED_OTHERWISE
from ingest.extracts import answer
from ingest.problems import ABSENT, ProblemError
from journal.core.entry import ACTIONS, JOURNAL_CATEGORY, Compartment
from journal.core.errors import EmptyError, RequestError
from journal.core.times import day_of, overdue_through
from journal.extract.grounds import Authorisation
from journal.extract.manifest import FIRST_DAY
from journal.extract.words import PURPOSES
from journal.reading.plan import ExtractRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp import web

    from ingest.console.pages import Visit

# Of a day in Paris, the first hours are of the UTC day before.
_ONE_DAY = timedelta(days=1)
_SHA256 = re.compile("[0-9A-Fa-f]{64}").fullmatch
FIELDS = (
    *("category", "first", "last", "purpose", "reference", "account", "subject", "action"),
    *("issuer", "authorised_on", "authorisation", "fingerprint"),
)


@dataclass(slots=True)
class Asked:
    """A form as it was sent: its fields, the request it makes if it can be made, and what is wrong by field."""

    fields: dict[str, str]
    request: ExtractRequest | None = None
    faults: dict[str, str] = field(default_factory=dict)


async def get_form(seen: Visit, fields: dict[str, str]) -> web.StreamResponse:
    """Show the form."""
    today = day_of(seen.console.edge.service.clock.now())
    given = {name: fields.get(name, "") for name in FIELDS}
    given["first"] = given["first"] or (today - 7 * _ONE_DAY).isoformat()
    given["last"] = given["last"] or today.isoformat()
    return _form(seen, Asked(given))


async def post_form(seen: Visit, fields: dict[str, str]) -> web.StreamResponse:
    """Show what will be asked and recorded; or the form again, with what is wrong."""
    asked = _read(seen, fields)
    if asked.request is None or fields.get("back") == "1":
        return _form(seen, asked, status=200 if asked.request is not None else 422)
    try:
        await seen.console.edge.service.extraction.check(
            _compartment(seen, asked), asked.request, requested_by=seen.row.id, disclose=_discloses(seen)
        )
    except RequestError as error:
        return _refused(seen, asked, error)
    return seen.page(
        "extrait_verifier.html",
        asked=asked,
        category=_labels(seen)[asked.fields["category"]],
        first_kept=_first_kept(seen, asked.fields["category"]),
        is_withheld=seen.row.role == "auditor",
        paris=_paris(asked),
        purpose=PURPOSES[asked.request.purpose],
        words=ACTIONS,
    )


async def post_file(seen: Visit, fields: dict[str, str]) -> web.StreamResponse:
    """Record the request and answer the extract; or say that no entry matches."""
    even_if_empty = fields.get("even_if_empty") == "1"
    asked = _read(seen, fields, even_if_empty=even_if_empty)
    if asked.request is None:
        return _form(seen, asked, status=422)
    edge, row, compartment = seen.console.edge, seen.row, _compartment(seen, asked)
    async with edge.extracts.hold(row.tenant):
        try:
            return await answer(
                seen.request, edge, compartment, asked.request, requested_by=row.id, disclose=_discloses(seen)
            )
        except EmptyError:
            return seen.page(
                "extrait_vide.html",
                status=422,
                asked=asked,
                category=_labels(seen)[asked.fields["category"]],
                paris=_paris(asked),
                words=ACTIONS,
            )
        except RequestError as error:
            return _refused(seen, asked, error)


def _compartment(seen: Visit, asked: Asked) -> Compartment:
    return Compartment(seen.console.edge.service.name, seen.row.tenant, asked.fields["category"])


def _paris(asked: Asked) -> tuple[date, date]:
    """Return the first and the last day as they were asked for: days in Paris."""
    return date.fromisoformat(asked.fields["first"]), date.fromisoformat(asked.fields["last"])


def _discloses(seen: Visit) -> bool:
    return seen.row.role == "referent"


def _refused(seen: Visit, asked: Asked, error: RequestError) -> web.Response:
    """Show the form again, for a request whose refusal is recorded."""
    asked.faults[_field_of(error.pointer)] = REFUSED.get(error.pointer, REFUSED_OTHERWISE)
    return _form(seen, asked, status=422, is_refused=True)


def _labels(seen: Visit) -> dict[str, str]:
    # The journal's own last: it is seldom what is asked for.
    known = sorted(seen.console.edge.service.snapshot.categories(), key=lambda row: row.code == JOURNAL_CATEGORY)
    return {row.code: row.label for row in known if row.code in seen.row.categories}


def _first_kept(seen: Visit, code: str) -> date:
    """Return the first day (UTC) of which a category can hold something: it began then, or the day before is purged."""
    category = seen.console.edge.service.snapshot.category(code)
    assert category is not None  # its label is known
    gone = overdue_through(day_of(seen.console.edge.service.clock.now()), category.stated_days)
    return max(category.first_day, max(gone, category.fence or gone) + _ONE_DAY)


def _form(seen: Visit, asked: Asked, *, status: int = 200, is_refused: bool = False) -> web.Response:
    return seen.page(
        "extrait.html",
        status=status,
        actions=ACTIONS,
        asked=asked,
        categories=_labels(seen),
        is_refused=is_refused,
        is_withheld=seen.row.role == "auditor",
        purposes=PURPOSES,
        today=day_of(seen.console.edge.service.clock.now()),
    )


def _read(seen: Visit, given: Mapping[str, str], *, even_if_empty: bool = False) -> Asked:
    """Read a form; what is wrong is noted by field, in French."""
    asked = Asked({name: given.get(name, "").strip() for name in FIELDS})
    said, faults = asked.fields, asked.faults
    if said["category"] not in _labels(seen) or said["action"] not in {"", *ACTIONS}:
        # Only a form that this page did not make.
        raise ProblemError(ABSENT, "")
    today = day_of(seen.console.edge.service.clock.now())
    days = _days(said, today, faults)
    if said["purpose"] not in PURPOSES:
        faults["purpose"] = "Choisissez la finalité de la demande."
    if said["fingerprint"] and not _SHA256(said["fingerprint"]):
        faults["fingerprint"] = "Une empreinte SHA-256 a 64 chiffres, de 0 à 9 et de a à f."
    authorisation = _authorisation(said, days, faults)
    if faults:
        return asked
    asked.request = ExtractRequest(
        from_day=days["first"] - _ONE_DAY,
        to_day=min(days["last"], today),
        purpose=said["purpose"],
        requester=seen.identity.person.name,
        account=said["account"] or None,
        subject=said["subject"] or None,
        action=said["action"] or None,
        request_reference=said["reference"] or None,
        authorisation=authorisation,
        person=seen.identity.person,
        withhold_all=seen.row.role == "auditor",
        even_if_empty=even_if_empty,
    )
    return asked


def _days(said: Mapping[str, str], today: date, faults: dict[str, str]) -> dict[str, date]:
    days: dict[str, date] = {}
    for name in ("first", "last", *(("authorised_on",) if said["authorised_on"] else ())):
        with suppress(ValueError):
            days[name] = date.fromisoformat(said[name])
        if name not in days:
            faults[name] = "Indiquez un jour, par exemple 2026-03-14."
        elif days[name] > today + _ONE_DAY:
            faults[name] = "Ce jour n’est pas encore arrivé."
        elif days[name] <= FIRST_DAY:
            faults[name] = REFUSED["/from"]
    if not faults and days["first"] > days["last"]:
        faults["last"] = "Le dernier jour précède le premier."
    return days


def _authorisation(said: Mapping[str, str], days: Mapping[str, date], faults: dict[str, str]) -> Authorisation | None:
    if not (said["issuer"] or said["authorised_on"] or said["authorisation"]):
        return None
    for name in ("issuer", "authorised_on", "authorisation"):
        if not said[name]:
            faults.setdefault(name, "Une autorisation a un auteur, une date et une référence.")
    if faults:
        return None
    fingerprint = f" (document SHA-256 {said['fingerprint'].lower()})" if said["fingerprint"] else ""
    return Authorisation(said["issuer"], days["authorised_on"], said["authorisation"] + fingerprint)


def _field_of(pointer: str) -> str:
    places: dict[str, str] = {
        "/from": "first",
        "/to": "last",
        "/purpose": "purpose",
        "/request_reference": "reference",
        "/filter/account": "account",
        "/filter/subject": "subject",
        "/filter/action": "action",
        "/authorisation": "issuer",
        "/authorisation/issuer": "issuer",
        "/authorisation/date": "authorised_on",
        "/authorisation/reference": "authorisation",
    }
    return places.get(pointer, "category")
