"""The part of `notify` that tells persons of communes what they chose to be told, by mail."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from journal.admin.persons import People
from journal.cli.doctor import find_running
from journal.cli.installation import check_schema, open_still
from journal.core.entry import RESERVED_TENANT
from journal.core.errors import JournalError, KeyStoreError
from journal.notices.channels import SmtpServer
from journal.notices.kinds import read_choice
from journal.notices.letters import UNKNOWN_CONTACT, Sender
from journal.notices.progress import alone, progress_of
from journal.notices.rounds import Addressee, Rounds
from journal.reading.sources import read_silent, read_sources

if TYPE_CHECKING:
    from journal.notices.progress import Progress
    from journal.service import Service
    from journal.settings import Settings

ROUND_SECONDS = 120.0


async def look_and_tell(settings: Settings) -> tuple[dict[str, str], str | None]:
    """Tell the communes what is due, if mail is set; return what the host is told of the store, and why nothing was.

    What could not be told is told by a later round. A database or a server that hangs keeps the host's own notices
    waiting for no longer than ROUND_SECONDS.
    """
    server = SmtpServer(settings) if settings.notify_mail_from is not None else None
    dsn = settings.dsn or find_running(settings)
    if dsn is None:
        return {}, None  # nothing runs, which the host is told
    try:
        async with asyncio.timeout(ROUND_SECONDS):
            await check_schema(dsn)
            async with open_still(dsn, settings) as installation:
                found = await _silent(installation.service)
                return found, await _round(installation.service, server) if server is not None else None
    except TimeoutError:
        return {}, f"the database did not answer for {ROUND_SECONDS:.0f} s"
    except (JournalError, OSError) as error:
        return {}, str(error)


async def _round(service: Service, server: SmtpServer) -> str | None:
    """Run a round, unless another process does; return why mail could not be sent."""
    with alone(service.settings) as is_alone:
        if not is_alone:
            return None
        progress = progress_of(service.settings)
        await tell(service, server, progress)
        return progress.server.reason or None


async def _silent(service: Service) -> dict[str, str]:
    """Return the sources that are silent, by commune and category: their names may be of a person's workstation."""
    sources = await read_sources(service.store, service.keyring, service.name)
    silent = await read_silent(service.store, service.keyring, service.name, sources)
    return {
        f"source of {place}": f"a source of {place} is silent: openepm-journal sources names it"
        for place in sorted({f"{one.tenant} {one.category}" for one in silent})
    }


async def tell(service: Service, server: SmtpServer, progress: Progress) -> int:
    """Tell the persons of an open service; return how many mails were sent. Raises StoreError, OperatorError."""
    settings = service.settings
    sender = Sender(
        service=service.name,
        console=settings.console_host or service.name,
        address=server.sender,
        contact=settings.notify_contact or UNKNOWN_CONTACT,
    )
    rounds = Rounds(
        store=service.store,
        snapshot=service.snapshot,
        chronicle=service.chronicle,
        head=service.reader.head,
        sender=sender,
        server=server,
        progress=progress,
    )
    return await rounds.run(_addressees(service), service.clock.now(), service.identity.not_after)


def _addressees(service: Service) -> list[Addressee]:
    """Return the persons of communes who may sign in; their addresses are decrypted for this alone."""
    people = People(service)
    found: list[Addressee] = []
    for row in service.snapshot.persons():
        if row.tenant == RESERVED_TENANT or people.current(row.id) is None:
            continue
        try:
            identity = people.identity(row)
        except KeyStoreError:
            continue  # the audit tells it
        found.append(
            Addressee(
                id=row.id,
                tenant=row.tenant,
                categories=row.categories,
                address=identity.login,
                choice=read_choice(identity.mails, row.role),
            )
        )
    return found
