"""The commands about persons who sign in to the console."""

from __future__ import annotations

from typing import TYPE_CHECKING

from journal.choices import INVITATION_HOURS, PERSON_ROLES
from journal.cli.parsing import add_command, add_group, add_json, positive

if TYPE_CHECKING:
    import argparse

    from journal.cli.parsing import Actions


def add_persons(actions: Actions) -> None:
    """Add person."""
    group = add_group(actions, "person", "manage who may sign in to the console")
    parser = add_command(
        group,
        "invite",
        "persons.person_invite",
        "invite a person; the address of the invitation is printed once",
        "person invite --tenant albi --role referent --category main-courante --name 'Anne Martin' "
        "--function 'cheffe de service' --login a.martin@albi.example",
    )
    parser.add_argument("--role", required=True, choices=PERSON_ROLES)
    parser.add_argument("--tenant", metavar="CODE", help="the commune; none for an operator of the host")
    parser.add_argument("--category", action="append", default=[], metavar="CODE", help="may be repeated")
    parser.add_argument("--name", required=True, metavar="N")
    parser.add_argument("--function", required=True, metavar="F", help="for example cheffe de service")
    parser.add_argument("--login", required=True, metavar="MAIL", help="the mail address that the person signs in with")
    add_hours(parser)
    parser = add_command(
        group,
        "reinvite",
        "persons.person_reinvite",
        "have a person who lost the password or the second factor choose new ones",
        "person reinvite 1f2e3d4c5b6a",
    )
    parser.add_argument("id", metavar="ID")
    add_hours(parser)
    listing = add_command(
        group, "list", "persons.person_list", "list who may sign in: no names, but where they are", "person list --json"
    )
    add_json(listing)
    parser = add_command(
        group, "revoke", "persons.person_revoke", "end a person's access at once", "person revoke 1f2e3d4c5b6a"
    )
    parser.add_argument("id", metavar="ID")


def add_hours(parser: argparse.ArgumentParser) -> None:
    """Add --hours."""
    parser.add_argument(
        "--hours",
        type=positive,
        default=INVITATION_HOURS,
        metavar="N",
        help=f"how long the invitation holds (default: {INVITATION_HOURS})",
    )
