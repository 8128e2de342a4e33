"""An authority asks that entries be preserved: the days at stake are handed over at once, encrypted.

The rule of retention is not bent: nothing here delays a purge. What is preserved is the file, which its recipient alone
can open; what the service keeps goes when it would have gone. A request that could stop the purge would be a way to
keep everything, for whoever writes the request.
"""

from __future__ import annotations

import asyncio
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from journal.core.entry import Compartment
from journal.core.errors import BusyError, OperatorError
from journal.core.times import day_of, format_day, format_time, overdue_through
from journal.document.render import PRESERVATION_SLIP
from journal.document.slips import remark_of_gone, remark_of_request, remark_of_term
from journal.reading.plan import ExtractRequest
from journal.writing.chronicle import PRESERVATION, PRESERVED, SUBMITTED_BY
from retention.extract_file import write_extract_file
from retention.inventory import encode_inventory
from retention.outbox import HeldError, Outbox
from retention.policy import readable_from
from retention.slips import put_paper

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date, datetime
    from pathlib import Path

    from journal.admin.recipient import Recipient
    from journal.database.handover import HandoverFile
    from journal.database.ingest import CategoryRow
    from journal.extract.grounds import Authorisation
    from journal.service import Service

PURPOSE = "criminal-proceedings"
RETRY_SECONDS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """What an authority asks: whole UTC days of recording, both included, of these categories of a commune."""

    tenant: str
    categories: tuple[str, ...]
    first_day: date
    last_day: date
    authorisation: Authorisation


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """One category's file, and what of the days that were asked for is gone; `path` is None where all are.

    The days that were left go from `purged_from` to `purged_by`, before these begin, whatever was preserved.
    """

    category: str
    first_day: date
    last_day: date
    gone_through: date | None
    purged_from: date
    purged_by: date
    path: Path | None = None
    file: HandoverFile | None = None


async def preserve(service: Service, hold: Hold, recipient: Recipient, root: Path) -> list[Held]:
    """Record what was asked, then make and place a file for each category; return them, those that are gone too.

    Raises OperatorError for what cannot be asked, where the purge is late, where nothing is left, and where a hand-over
    is under way; OSError and JournalError as a hand-over does. What was placed before an error stays.
    """
    now = service.guard.check()
    periods = [_period(service, hold, code, day_of(now)) for code in hold.categories]
    recipient.check_valid(now)
    await _check_purged(service, hold, day_of(now))
    if all(held.gone_through == hold.last_day for held in periods):
        raise OperatorError(
            "every day that was asked for is destroyed, as its rule required, and nobody can bring it back: "
            "openepm-journal attestation says so to the authority, for each day"
        )
    try:
        outbox = await asyncio.to_thread(Outbox.hold, root, hold.tenant)
    except HeldError as error:
        told = "another run is handing over to this commune: try again when it is done"
        raise BusyError(told, retry_after_seconds=RETRY_SECONDS) from error
    with closing(outbox):
        # Within a second, the names are the same: what was preserved is never replaced.
        if any(outbox.path(file_name(hold.tenant, held, now)).exists() for held in periods):
            raise BusyError("the same days were preserved this very second", retry_after_seconds=1)
        index = await _record(service, hold, recipient)
        made = []
        try:
            for held in periods:
                is_gone = held.gone_through == hold.last_day
                made.append(held if is_gone else await _make(service, outbox, hold, held, recipient=recipient, now=now))
        finally:
            # What was placed before an error is listed too.
            if any(held.file is not None for held in made):
                await _list(service, outbox, made, tenant=hold.tenant, now=now, index=index)
        return made


def _period(service: Service, hold: Hold, code: str, today: date) -> Held:
    category = service.snapshot.category(code)
    if category is None:
        known = ", ".join(row.code for row in service.snapshot.categories())
        raise OperatorError(f"there is no category {code}: the categories are {known}")
    if not hold.first_day <= hold.last_day <= today:
        raise OperatorError(
            "the days are in their order, and none is to come: what is not recorded cannot be preserved"
        )
    if hold.last_day < category.first_day:
        raise OperatorError(f"{code} has no entries of these days: it began on {format_day(category.first_day)}")
    begin = _first_left(category, today)
    gone_through = min(begin - timedelta(days=1), hold.last_day) if begin > hold.first_day else None
    return Held(
        category=code,
        first_day=max(begin, hold.first_day, category.first_day),
        last_day=hold.last_day,
        gone_through=gone_through,
        purged_from=max(begin, hold.first_day) + timedelta(days=category.stated_days),
        purged_by=hold.last_day + timedelta(days=category.stated_days),
    )


async def _check_purged(service: Service, hold: Hold, today: date) -> None:
    """Raise OperatorError where a day past its limit is still kept: a file made now would not verify."""
    for row in await service.store.partitions():
        category = service.snapshot.category(row.category) if row.category in hold.categories else None
        if category is not None and row.day <= overdue_through(today, category.stated_days):
            raise OperatorError(
                f"{row.category}: {format_day(row.day)} is past its limit and still kept: no file would verify. Run "
                "openepm-journal purge first, then repeat; nothing was recorded, and nothing preserved"
            )


def _first_left(category: CategoryRow, today: date) -> date:
    """Return the first day of a category that may still be read; the service did not exist before its first."""
    begin = readable_from(today, category.stated_days)
    return max(begin, category.fence + timedelta(days=1)) if category.fence else begin


async def _record(service: Service, hold: Hold, recipient: Recipient) -> int:
    """Write in the commune's journal what was asked, and return the entry's index; its référents alone are shown it."""
    receipt = await service.chronicle.write(
        "setting",
        tenant=hold.tenant,
        subject=hold.tenant,
        data={
            "authorisation": hold.authorisation.as_json(),
            "categories": list(hold.categories),
            "change": PRESERVATION,
            "from": format_day(hold.first_day),
            "recipient": recipient.sha256.hex(),
            "to": format_day(hold.last_day),
        },
        own_only=True,
    )
    return receipt.index


async def _list(
    service: Service, outbox: Outbox, made: Sequence[Held], *, tenant: str, now: datetime, index: int
) -> None:
    """Put the inventory of the files beside them, signed, and its slip."""
    files = [held.file for held in made if held.file is not None]
    content = encode_inventory(
        service=service.name,
        tenant=tenant,
        night=day_of(now),
        files=files,
        name_of=lambda tenant, file: file_name(tenant, file, now),
    )
    name = f"{tenant}_conservation-{_stamp(now)}.json"
    await asyncio.to_thread(outbox.put, f"{name}.p7s", await service.signer.sign(content, service.guard.check()))
    await asyncio.to_thread(outbox.put, name, content)
    labels = {row.code: row.label for row in service.snapshot.categories()}
    remarks = [remark_of_request(index)]
    for held in made:
        label = labels[held.category]
        if held.gone_through is not None:
            remarks.append(remark_of_gone(label, held.gone_through))
        if held.file is not None:
            remarks.append(remark_of_term(label, held.purged_from, held.purged_by))
    await put_paper(service, outbox, PRESERVATION_SLIP, name, content, *remarks)


async def _make(
    service: Service, outbox: Outbox, hold: Hold, held: Held, *, recipient: Recipient, now: datetime
) -> Held:
    request = ExtractRequest(
        from_day=held.first_day,
        to_day=held.last_day,
        purpose=PURPOSE,
        requester=PRESERVED,
        request_reference=hold.authorisation.reference,
        authorisation=hold.authorisation,
    )
    name = file_name(hold.tenant, held, now)
    file, _ = await write_extract_file(
        outbox,
        name,
        lambda: service.extraction.open(
            Compartment(service.name, hold.tenant, held.category),
            request,
            requested_by=SUBMITTED_BY,
            disclose=True,
            before_purge=True,
        ),
        recipient,
        category=held.category,
        days=(held.first_day, held.last_day),
    )
    try:
        await asyncio.to_thread(outbox.place, name)
    except OSError:
        await asyncio.to_thread(outbox.discard, name)
        raise
    file = replace(file, placed_at=service.clock.now())
    return replace(held, path=outbox.path(name), file=file)


def file_name(tenant: str, held: Held | HandoverFile, now: datetime) -> str:
    """Return the name of a file, which tells that it was preserved and when, and neither why nor for whom."""
    days = f"{format_day(held.first_day)}_{format_day(held.last_day)}"
    return f"{tenant}_{held.category}_{days}_conservation-{_stamp(now)}.asice.p7m"


def _stamp(now: datetime) -> str:
    return "".join(character for character in format_time(now)[:19] if character.isalnum()) + "Z"
