"""The commands about the host and the service: set-up, running, keys, upkeep."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from journal.choices import KEY_KINDS
from journal.cli.parsing import add_clock, add_command, add_group, add_json, day, positive

if TYPE_CHECKING:
    from journal.cli.parsing import Actions


def add_setup(actions: Actions) -> None:
    """Add setup, found and identity."""
    parser = add_command(
        actions,
        "setup",
        "setup.command.setup",
        "set this host up, as root: database, keys, identity, settings, units",
        "setup --service-name journal.example.fr --identity development",
    )
    parser.add_argument("--service-name", metavar="NAME", help="the journal's DNS name, fixed for ever")
    parser.add_argument(
        "--dsn", metavar="URI", help="the owner's address of a database on another host (default: PostgreSQL here)"
    )
    parser.add_argument("--identity", choices=("development", "authority"), help="who vouches for the signatures")
    parser.add_argument(
        "--replica", action="append", default=[], metavar="DIR", help="a copy of the key store; may be repeated"
    )
    parser.add_argument("--print-only", action="store_true", help="print the lines for PostgreSQL's files, write none")
    parser.add_argument("--no-start", action="store_true", help="found the journal, but start nothing")
    add_command(actions, "found", "founding.found", "check what a first start needs, then make the journal", "found")
    _add_identity(actions)


def _add_identity(actions: Actions) -> None:
    group = add_group(actions, "identity", "manage the signing key and its certificate", "show")
    add_command(
        group, "show", "identity.show", "show the present identity, and whether it is vouched for", "identity show"
    )
    add_command(group, "new", "identity.new", "make a development root and an identity, for trials", "identity new")
    parser = add_command(
        group,
        "request",
        "identity.request",
        "write a request for a real authority's certificate, of a new key",
        'identity request --organisation "VILLE D\'ALBI" -o request.pem',
    )
    parser.add_argument("--organisation", required=True, metavar="NAME", help="whose seal it is")
    parser.add_argument("--country", default="FR", metavar="CC")
    parser.add_argument("--organisation-identifier", metavar="ID", help="as NTRFR-SIREN")
    parser.add_argument("--key", choices=KEY_KINDS, default="p256", help="the new key's kind (default: p256)")
    parser.add_argument("--same-key", action="store_true", help="renew the certificate of the present key")
    parser.add_argument("-o", "--output", required=True, metavar="FILE")
    parser = add_command(
        group,
        "install",
        "identity.install_certificate",
        "check an authority's certificate and put it in place",
        "identity install --certificate chain.pem --trust root.pem",
    )
    parser.add_argument("--certificate", required=True, metavar="PEM", help="the signer's first, no root")
    parser.add_argument("--trust", required=True, metavar="PEM", help="the authority's root, for auditors")


def add_running(actions: Actions) -> None:
    """Add serve, demo, migrate, notify and doctor."""
    parser = add_command(actions, "serve", "serve.serve", "run the service", "serve --workers 2")
    parser.add_argument("--workers", type=positive, help="processes sharing the address (default: the setting, 1)")
    add_clock(parser)
    for inherited in ("socket", "metrics", "number", "held", "writer"):
        parser.add_argument(f"--worker-{inherited}", type=int, help=argparse.SUPPRESS)
    parser = add_command(actions, "demo", "demo.demo", "show the product on a week of made-up activity", "demo")
    parser.add_argument(
        "--keep-running", action="store_true", help="keep the service running afterwards, and print how to use it"
    )
    parser.add_argument("--directory", help="its directory, emptied first (default: demo under JOURNAL_HOME)")
    add_command(actions, "migrate", "commands.migrate", "bring the database's schema up to date", "migrate")
    parser = add_command(
        actions,
        "notify",
        "notify.notify",
        "tell by mail and webhook what is wrong: once, again after a day, and when it is over",
        "notify --test",
    )
    parser.add_argument("--unit", metavar="NAME", help="tell that this systemd unit failed (OnFailure=)")
    parser.add_argument("--test", action="store_true", help="tell that this is a test, to see whether it arrives")
    parser = add_command(
        actions,
        "doctor",
        "doctor.doctor",
        "look at service, keys, certificate, disks, database and clock, change nothing; 1 at a warning, 2 at a failure",
        "doctor --json",
    )
    add_json(parser)


def add_keys(actions: Actions) -> None:
    """Add keys."""
    to, back = "backup --to /mnt/keys", "restore --from /mnt/keys"
    group = add_group(actions, "keys", "back up the key store to a copy, restore it, replace the master key", to)
    parser = add_command(group, "backup", "keys.backup", "update a copy: new keys, fences, purged days", f"keys {to}")
    parser.add_argument("--to", dest="directory", required=True, metavar="DIR", help="an existing directory")
    _add_rotation(group)
    parser = add_command(
        group, "restore", "keys.restore", "restore from a copy what the key store has lost", f"keys {back}"
    )
    parser.add_argument("--from", dest="directory", required=True, metavar="DIR", help="a copy made by keys backup")


def _add_rotation(group: Actions) -> None:
    parser = add_command(
        group,
        "rotate",
        "keys.rotate_master_key",
        "replace the master key while the service runs; what is cut short goes on when repeated",
        "keys rotate --copy /mnt/keys",
    )
    parser.add_argument(
        "--copy", action="append", default=[], metavar="DIR", help="a copy made by keys backup; may be repeated"
    )
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--begin", action="store_true", help="only make the new one: both open, the old one wraps")
    choice.add_argument("--keep-former", action="store_true", help="wrap the keys anew, but let the old one open too")


def add_upkeep(actions: Actions) -> None:
    """Add seal, handover, purge, recover, signer and verify-store."""
    parser = add_command(
        actions,
        "seal",
        "commands.seal",
        "close the days that are over, and seal the present heads",
        "seal",
    )
    add_json(parser)
    add_clock(parser)
    parser = add_command(
        actions,
        "handover",
        "commands.handover",
        "hand over the days to be purged next, to the communes with a registered certificate",
        "handover",
    )
    add_json(parser)
    add_clock(parser)
    parser = add_command(actions, "purge", "purge.purge", "purge the days that are due", "purge --dry-run")
    parser.add_argument("--dry-run", action="store_true", help="only list what is due")
    parser.add_argument("--all", action="store_true", help="purge more than three days of a category in one run")
    add_clock(parser)
    parser = add_command(
        actions,
        "recover",
        "recover.recover",
        "after a disaster, before serve: declare the loss and repeat the purges",
        "recover --declare-loss 1203",
    )
    parser.add_argument(
        "--declare-loss",
        type=int,
        metavar="SEAL",
        help="the last seal that survived; the next one states the loss, for ever",
    )
    parser.add_argument(
        "--confirm-facts",
        nargs="?",
        const="",
        metavar="CODE",
        help="list the tenants, rules and credentials that the key store does not vouch for; with that code: "
        "obey them as they are",
    )
    parser = add_command(
        actions,
        "signer",
        "signer.signer",
        "run the signer, which alone holds the signing key; or decide what it goes on from, recorded as an alarm",
        "signer --learn",
    )
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument(
        "--learn",
        action="store_true",
        help="its memory is lost or older than the database: go on from the last stored seal, verified",
    )
    choice.add_argument(
        "--leave-future-seal",
        action="store_true",
        help="this machine's clock is right, and the last seal is of a time that has not come: go on from it",
    )
    parser = add_command(
        actions,
        "verify-store",
        "commands.verify_store",
        "check every row, chain and seal in the database against the keys",
        "verify-store --category ecrits --day 2026-11-15",
    )
    parser.add_argument(
        "--category", metavar="CODE", help="with --day: check all seals and heads, but only these entries"
    )
    parser.add_argument("--day", type=day, metavar="DAY", help="a day, UTC, that the seals cover")
    add_json(parser)
