"""`person`: who may sign in to the console."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from journal.admin.persons import People
from journal.cli.installation import opened
from journal.cli.listing import as_json, members_of, print_json
from journal.core.entry import RESERVED_TENANT
from journal.keys.persons import Identity

if TYPE_CHECKING:
    import argparse

    from journal.cli.installation import Installation
    from journal.database.persons import PersonRow
    from journal.settings import Settings

LISTED = ("id", "tenant", "role", "categories", "created_at", "invited_until", "revoked_at")


async def person_invite(settings: Settings, arguments: argparse.Namespace) -> int:
    """Invite a person."""
    identity = Identity(name=arguments.name, function=arguments.function, login=arguments.login)
    async with opened(settings) as installation:
        row, secret = await People(installation.service).invite(
            tenant=arguments.tenant or RESERVED_TENANT,
            role=arguments.role,
            categories=arguments.category,
            identity=identity,
            hours=arguments.hours,
        )
        _print_invitation(installation, settings, row, secret)
    return 0


async def person_reinvite(settings: Settings, arguments: argparse.Namespace) -> int:
    """Have a person choose another password and second factor."""
    async with opened(settings) as installation:
        row, secret = await People(installation.service).invite_again(arguments.id, hours=arguments.hours)
        _print_invitation(installation, settings, row, secret)
    return 0


def _print_invitation(installation: Installation, settings: Settings, row: PersonRow, secret: str) -> None:
    """Print the address alone on standard output, so that it can be passed on."""
    host = settings.console_host or installation.service.name
    print(f"https://{host}/console/invitation/{row.id}_{secret}")
    print(
        f"person {row.id}: give this address to the person alone, by a way you trust; it is used once, until "
        f"{row.invited_until:%Y-%m-%d %H:%M} UTC"
        if row.invited_until
        else "",
        file=sys.stderr,
    )


async def person_list(settings: Settings, arguments: argparse.Namespace) -> int:
    """List the persons, without their names."""
    async with opened(settings, writes=False) as installation:
        rows = installation.service.snapshot.persons()
    if as_json(arguments):
        print_json([members_of(row, LISTED) for row in rows])
        return 0
    for row in rows:
        state = "revoked" if row.revoked_at else "invited" if row.invitation_hash else "signs in"
        print(f"{row.id}\t{row.role}\t{row.tenant}\t{','.join(row.categories)}\t{state}")
    return 0


async def person_revoke(settings: Settings, arguments: argparse.Namespace) -> int:
    """End a person's access."""
    async with opened(settings) as installation:
        await People(installation.service).revoke(arguments.id)
    print(f"person {arguments.id} is revoked: every process refuses the person within a second")
    return 0
