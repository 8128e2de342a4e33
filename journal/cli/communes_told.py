"""The part of `notify` that tells persons of communes what they chose to be told, by mail."""

from __future__ import annotations

import sys
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

if TYPE_CHECKING:
    from journal.notices.progress import Progress
    from journal.service import Service
    from journal.settings import Settings


async def tell_communes(settings: Settings) -> int:
    """Tell them what is due; 1, and why, where that cannot be done now: it is done by a later round."""
    server = SmtpServer(settings)
    dsn = settings.dsn or find_running(settings)
    if dsn is None:
        return 0  # nothing runs, which the host is told
    try:
        with alone(settings) as is_alone:
            if not is_alone:
                return 0
            await check_schema(dsn)
            async with open_still(dsn, settings) as installation:
                progress = progress_of(settings)
                await tell(installation.service, server, progress)
    except (JournalError, OSError) as error:
        print(f"openepm-journal: the communes were not told: {error}", file=sys.stderr)
        return 1
    if progress.server.reason:
        print(f"openepm-journal: the communes were not told: {progress.server.reason}", file=sys.stderr)
    return int(bool(progress.server.reason))


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
