"""Persons of communes who get mail, without the pages on which they choose it, and rounds that tell them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec

from journal.admin.persons import People
from journal.cli.communes_told import tell
from journal.keys.persons import Identity, SignInKeys
from journal.notices.channels import SmtpServer
from journal.notices.progress import progress_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from journal.database.persons import PersonRow
    from journal.service import Service
    from tests.support.mail import MailServer


async def add_person(
    service: Service,
    login: str,
    *,
    tenant: str,
    categories: Sequence[str],
    role: str = "referent",
    mails: str = "",
    name: str = "Anne Martin",
    function: str = "cheffe de service",
) -> PersonRow:
    """Add a person who has accepted the invitation; the password is nobody's."""
    identity = Identity(name=name, function=function, login=login)
    row, _ = await People(service).invite(tenant=tenant, role=role, categories=categories, identity=identity)
    sealed = SignInKeys(service.keyring.keystore).encrypt(tenant, row.id, replace(identity, mails=mails))
    assert await service.store.set_person(row, sealed=sealed, invitation_hash=None, invited_until=None)
    await service.snapshot.refresh()
    return row


async def tell_all(service: Service, mail: MailServer, *, limit_reached: bool = False) -> int:
    """Let a round run, as one after a restart does; return how many mails were sent. Pauses are over if asked."""
    settings = msgspec.structs.replace(
        service.settings, notify_mail_from="journal@hebergeur.example", notify_smtp=f"127.0.0.1:{mail.port}"
    )
    progress = progress_of(settings)
    if limit_reached:
        progress.server.again_at = 0
        for told in progress.persons.values():
            told.trouble.again_at = 0
    return await tell(service, SmtpServer(settings), progress)
