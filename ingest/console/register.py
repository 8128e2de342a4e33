"""The register: what was done with the commune's journal, by whom and why, as far back as it is kept."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from aiohttp import web

from ingest.problems import ABSENT, ProblemError
from journal.core.entry import JOURNAL_CATEGORY, Compartment
from journal.core.errors import OperatorError
from journal.core.times import day_of, parse_day
from journal.extract.table import texts
from journal.extract.words import CHANGES

if TYPE_CHECKING:
    from ingest.console.pages import Visit
    from journal.core.entry import Entry

# The kinds of entries of the `journal` category, and what the people of a commune call them.
KINDS = {
    "extract": "Demandes d’extrait",
    "purge": "Destructions",
    "setting": "Réglages et remises",
    "person": "Personnes",
    "credential": "Accès des logiciels",
    "tenant": "Contrat",
    "alarm": "Alarmes",
}
DEFAULT_DAYS = 30
SHOWN_LIMIT = 500
_ACTION, _NAME, _SUBJECT, _REASON, _DETAILS = 4, 9, 11, 12, 17


async def get_register(seen: Visit, fields: dict[str, str]) -> web.StreamResponse:
    """Show the register, the newest first."""
    service = seen.console.edge.service
    kind = fields.get("nature", "")
    if kind and kind not in KINDS:
        raise ProblemError(ABSENT, "")
    since = day_of(service.clock.now()) - timedelta(days=DEFAULT_DAYS)
    with suppress(ValueError):
        since = date.fromisoformat(fields.get("depuis", ""))
    kinds = (kind,) if kind else tuple(KINDS)
    found: list[Entry] = []
    async for page in service.chronicle.pages(seen.row.tenant, *kinds, since=since):
        found.extend(page.entries)
        found = found[-SHOWN_LIMIT:]
    return seen.page(
        "registre.html",
        entries=[_describe(entry) for entry in reversed(found)],
        first_day=await service.chronicle.first_day(),
        is_cut=len(found) == SHOWN_LIMIT,
        kind=kind,
        kinds=KINDS,
        limit=SHOWN_LIMIT,
        since=since,
    )


def _describe(entry: Entry) -> dict[str, Any]:
    data = entry.event.get("data", {})
    # What stands in the title and in the line of the name is not told again, nor what says nothing.
    told = {"change", "person"} | {name for name, value in data.items() if value in ({}, [], "")}
    rest = {name: value for name, value in data.items() if name not in told}
    cells = texts(replace(entry, event={**entry.event, "data": rest}))
    change = CHANGES.get(data.get("change", ""), "")
    person = data.get("person") or {}
    who = ", ".join(filter(None, (person.get("name"), person.get("function"))))
    is_purge = entry.event["type"].endswith(".service.purge")
    return {
        "at": entry.recorded_at,
        "attested_day": data.get("day") if is_purge and isinstance(data.get("day"), str) else None,
        "details": cells[_DETAILS],
        "index": entry.index,
        "is_refused": data.get("outcome") == "denied",
        "name": who or cells[_NAME],
        "reason": cells[_REASON],
        "subject": cells[_SUBJECT],
        "title": f"{cells[_ACTION]} : {change}" if change else cells[_ACTION],
    }


async def get_attestation(seen: Visit, fields: dict[str, str]) -> web.StreamResponse:
    """Answer the attestation of a day's destruction, a signed document; its making is recorded."""
    try:
        day = parse_day(fields.get("jour", ""))
    except ValueError as error:
        raise ProblemError(ABSENT, "") from error
    if seen.console.attest is None:
        raise ProblemError(ABSENT, "")
    try:
        document = await seen.console.attest(seen.row.tenant, day)
    except OperatorError:
        return seen.page("attestation_refusee.html", status=404, day=day)
    name = f"attestation-{seen.row.tenant}-{day.isoformat()}.pdf"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return web.Response(body=document, content_type="application/pdf", headers=headers)


async def get_trust(seen: Visit, _: dict[str, str]) -> web.StreamResponse:
    """Answer the certificate of trust; it is compared with what another way gave."""
    pem = seen.console.edge.service.reader.trust()
    headers = {"Content-Disposition": 'attachment; filename="trust.pem"'}
    return web.Response(body=pem, content_type="application/pem-certificate-chain", headers=headers)


async def get_head(seen: Visit, fields: dict[str, str]) -> web.StreamResponse:
    """Answer the latest seal of a category, which the commune keeps to have later extracts compared with it."""
    category = fields.get("categorie", JOURNAL_CATEGORY)
    if category not in seen.row.categories:
        raise ProblemError(ABSENT, "")
    service = seen.console.edge.service
    body = await service.reader.head(Compartment(service.name, seen.row.tenant, category))
    today = day_of(service.clock.now()).isoformat()
    headers = {"Content-Disposition": f'attachment; filename="sceau-{seen.row.tenant}-{category}-{today}.json"'}
    return web.Response(body=body, content_type="application/json", headers=headers)
