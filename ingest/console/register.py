"""The register: what was done with the commune's journal, by whom and why, as far back as it is kept."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import date, timedelta
from typing import TYPE_CHECKING

from aiohttp import web

from ingest.console.telling import Teller, unanswered
from ingest.problems import ABSENT, ProblemError
from journal.core.entry import JOURNAL_CATEGORY, Compartment
from journal.core.errors import OperatorError
from journal.core.times import day_of
from journal.extract.words import MEMBERS
from journal.writing.chronicle import is_of_preservation

if TYPE_CHECKING:
    from collections.abc import Collection

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
    known = {row.code for row in service.snapshot.categories()}
    hidden = known - {*seen.row.categories, JOURNAL_CATEGORY}
    async for page in service.chronicle.pages(seen.row.tenant, *kinds, since=since):
        found.extend(shown for entry in page.entries if (shown := _shown(seen, entry, hidden)) is not None)
        found = found[-SHOWN_LIMIT:]
    teller = Teller(service.snapshot, seen.console.people.identity, seen.row.tenant)
    return seen.page(
        "registre.html",
        attested={entry.index: _attested_days(entry) for entry in found if _is_purge(entry)},
        entries=[teller.tell(entry) for entry in reversed(found)],
        first_day=await service.chronicle.first_day(),
        is_cut=len(found) == SHOWN_LIMIT,
        kind=kind,
        kinds=KINDS,
        limit=SHOWN_LIMIT,
        since=since,
        unanswered={unanswered(entry): entry.index for entry in found},
    )


def _shown(seen: Visit, entry: Entry, hidden: Collection[str]) -> Entry | None:
    """Return what a person may see of an entry: nothing of `hidden` categories; None where nothing is left.

    Accounts and subjects are content: of a filter, only a référent sees more than what it goes by. An authority's
    request to preserve is shown to the référents alone, who answer for it.
    """
    if is_of_preservation(entry) and seen.row.role != "referent":
        return None
    data, subject = entry.event.get("data", {}), entry.event["subject"]
    if data.get("category") in hidden or (subject in hidden and subject != seen.row.tenant):
        return None
    if _is_purge(entry) and (days := data.get("days")):
        days = [told for told in days if told.get("category") not in hidden]
        if not days:
            return None
        data = {**data, "days": days}
    if (asked := data.get("filter")) and seen.row.role != "referent" and "withhold" not in asked:
        data = {**data, "filter": [MEMBERS.get(name, name) for name in sorted(asked)]}
    return replace(entry, event={**entry.event, "data": data})


def _is_purge(entry: Entry) -> bool:
    is_purge: bool = entry.event["type"].endswith(".service.purge")
    return is_purge


def _attested_days(entry: Entry) -> list[date]:
    return sorted({date.fromisoformat(told["day"]) for told in entry.event["data"].get("days", ())})


async def get_attestation(seen: Visit, fields: dict[str, str]) -> web.StreamResponse:
    """Answer the attestation of a day's destruction, a signed document; its making is recorded."""
    try:
        day = date.fromisoformat(fields.get("jour", ""))
    except ValueError as error:
        raise ProblemError(ABSENT, "") from error
    if seen.console.attest is None:
        raise ProblemError(ABSENT, "")
    try:
        async with seen.turn():
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
