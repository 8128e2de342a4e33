"""The command line: every command of `openepm-journal`, its options, and the function that runs it."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NoReturn

from journal import __version__
from journal.admin.administration import REGIMES
from journal.admin.credentials import ROLES
from journal.cli import (
    categories,
    commands,
    demo,
    doctor,
    founding,
    identity,
    keys,
    notify,
    provision,
    purge,
    recover,
    serve,
    signer,
    tenants,
)
from journal.cli.setup import command as setup
from journal.core.entry import ACTIONS
from journal.core.errors import MalformedError
from journal.core.times import MAX_RETENTION_DAYS, MIN_RETENTION_DAYS, parse_day
from journal.database.admin import DEFAULT_BASIS
from journal.extract.manifest import PURPOSES

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from datetime import date

    from journal.settings import Settings

    Command = Callable[[Settings, argparse.Namespace], Coroutine[None, None, int]]
    Actions = argparse._SubParsersAction["_Parser"]  # noqa: SLF001 - argparse gives it no public name

NOT_RUN = 2


class _Parser(argparse.ArgumentParser):
    """A parser with one-line errors and without abbreviated options."""

    def __init__(self, **options: Any) -> None:
        """Make a parser; those of its commands are of this class too."""
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        """Print the error and where help is."""
        self.exit(NOT_RUN, f"openepm-journal: {message}; see {self.prog} --help\n")


def make_parser() -> argparse.ArgumentParser:
    """Return the parser; the attribute `run` of its result is the command to run."""
    parser = _Parser(
        prog="openepm-journal",
        description="The access journal of OpenEPM: records, seals, extracts, purges.",
        epilog="Without settings, everything is stored under ./var (JOURNAL_HOME). Example: openepm-journal serve",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    actions = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_setup(actions)
    _add_running(actions)
    _add_tenants(actions)
    _add_categories(actions)
    _add_credentials(actions)
    _add_provision(actions)
    _add_extract(actions)
    _add_attestation(actions)
    _add_keys(actions)
    _add_upkeep(actions)
    return parser


def _add(actions: Actions, name: str, run: Command, text: str, example: str) -> argparse.ArgumentParser:
    parser: _Parser = actions.add_parser(
        name,
        help=text,
        description=f"{text[0].upper()}{text[1:]}.",
        epilog=f"Example: openepm-journal {example}",
    )
    parser.set_defaults(run=run)
    return parser


def _group(actions: Actions, name: str, text: str, example: str = "list") -> Actions:
    parser = actions.add_parser(
        name,
        help=text,
        description=f"{text[0].upper()}{text[1:]}.",
        epilog=f"Example: openepm-journal {name} {example}",
    )
    group: Actions = parser.add_subparsers(metavar="ACTION", required=True)
    return group


def _add_setup(actions: Actions) -> None:
    parser = _add(
        actions,
        "setup",
        setup.setup,
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
    _add(actions, "found", founding.found, "check what a first start needs, then make the journal", "found")
    _add_identity(actions)


def _add_identity(actions: Actions) -> None:
    group = _group(actions, "identity", "manage the signing key and its certificate", "show")
    _add(group, "show", identity.show, "show the present identity, and whether it is vouched for", "identity show")
    _add(group, "new", identity.new, "make a development root and an identity, for trials", "identity new")
    parser = _add(
        group,
        "request",
        identity.request,
        "write a request for a real authority's certificate, of a new key",
        'identity request --organisation "COMMUNE DE ALBI" -o request.pem',
    )
    parser.add_argument("--organisation", required=True, metavar="NAME", help="whose seal it is")
    parser.add_argument("--country", default="FR", metavar="CC")
    parser.add_argument("--organisation-identifier", metavar="ID", help="as NTRFR-SIREN")
    parser.add_argument("--same-key", action="store_true", help="renew the certificate of the present key")
    parser.add_argument("-o", "--output", required=True, metavar="FILE")
    parser = _add(
        group,
        "install",
        identity.install_certificate,
        "check an authority's certificate and put it in place",
        "identity install --certificate chain.pem --trust root.pem",
    )
    parser.add_argument("--certificate", required=True, metavar="PEM", help="the signer's first, no root")
    parser.add_argument("--trust", required=True, metavar="PEM", help="the authority's root, for auditors")


def _add_running(actions: Actions) -> None:
    parser = _add(actions, "serve", serve.serve, "run the service", "serve --workers 2")
    parser.add_argument("--workers", type=_positive, help="processes sharing the address (default: the setting, 1)")
    _add_clock(parser)
    for inherited in ("socket", "metrics", "number", "held"):
        parser.add_argument(f"--worker-{inherited}", type=int, help=argparse.SUPPRESS)
    parser = _add(actions, "demo", demo.demo, "show the product on a week of made-up activity", "demo")
    parser.add_argument(
        "--keep-running", action="store_true", help="keep the service running afterwards, and print how to use it"
    )
    parser.add_argument("--directory", help="its directory, emptied first (default: demo under JOURNAL_HOME)")
    _add(actions, "migrate", commands.migrate, "bring the database's schema up to date", "migrate")
    parser = _add(
        actions,
        "notify",
        notify.notify,
        "tell by mail and webhook what is wrong: once, again after a day, and when it is over",
        "notify --test",
    )
    parser.add_argument("--unit", metavar="NAME", help="tell that this systemd unit failed (OnFailure=)")
    parser.add_argument("--test", action="store_true", help="tell that this is a test, to see whether it arrives")
    parser = _add(
        actions,
        "doctor",
        doctor.doctor,
        "look at service, keys, certificate, disks, database and clock, change nothing; 1 at a warning, 2 at a failure",
        "doctor --json",
    )
    _add_json(parser)


def _add_tenants(actions: Actions) -> None:
    group = _group(actions, "tenant", "manage communes")
    parser = _add(group, "add", tenants.tenant_add, "add a commune", 'tenant add albi --name "Ville d\'Albi"')
    parser.add_argument("code", metavar="CODE", help="its slug, never reused for another commune")
    parser.add_argument("--name", required=True, help="its name, for people")
    _add_json(_add(group, "list", tenants.tenant_list, "list the communes", "tenant list --json"))
    _add_endings(group)
    parser = _add(
        group,
        "handover",
        tenants.tenant_handover,
        "hand a commune's days over before their purge, encrypted to its certificate",
        "tenant handover albi --certificate albi.pem",
    )
    parser.add_argument("code", metavar="CODE")
    choice = parser.add_mutually_exclusive_group(required=True)
    choice.add_argument("--certificate", metavar="PEM", help="RSA of 2048 bits or more, P-256 or P-384; no private key")
    choice.add_argument("--none", action="store_true", help="end the hand-over")


def _add_endings(group: Actions) -> None:
    parser = _add(
        group,
        "close",
        tenants.tenant_close,
        "end a contract: revoke access, accept no more entries, export all that is kept, encrypted",
        "tenant close albi --certificate albi.pem --export-to /srv/export",
    )
    parser.add_argument("code", metavar="CODE")
    parser.add_argument(
        "--certificate", metavar="PEM", help="certificate to encrypt to (default: that of the hand-over)"
    )
    choice = parser.add_mutually_exclusive_group(required=True)
    choice.add_argument("--export-to", metavar="DIR", help="an existing directory; the files go to DIR/CODE.export")
    choice.add_argument(
        "--without-export", action="store_true", help="the commune wants no export; none can be made later"
    )
    _add_clock(parser)
    parser = _add(
        group,
        "destroy",
        tenants.tenant_destroy,
        "destroy the key and every entry of a closed commune for ever, and write a signed destruction report",
        "tenant destroy albi --confirm albi --report albi.json",
    )
    parser.add_argument("code", metavar="CODE")
    parser.add_argument("--confirm", metavar="CODE", required=True, help="the same code again")
    parser.add_argument(
        "--report", metavar="FILE", required=True, help="the destruction report; its signature goes to FILE.p7s"
    )
    _add_clock(parser)


def _add_categories(actions: Actions) -> None:
    group = _group(actions, "category", "manage categories")
    parser = _add(
        group,
        "add",
        categories.category_add,
        "add a category to every commune",
        'category add fourriere --label "Fourrière" --regime GDPR --retention-days 30',
    )
    parser.add_argument("code", metavar="CODE", help="its slug")
    parser.add_argument("--label", required=True, help="its name, as people read it")
    parser.add_argument("--regime", required=True, choices=REGIMES)
    parser.add_argument(
        "--retention-days",
        type=int,
        default=MAX_RETENTION_DAYS,
        metavar="N",
        help=f"{MIN_RETENTION_DAYS} to {MAX_RETENTION_DAYS} (default {MAX_RETENTION_DAYS})",
    )
    parser.add_argument(
        "--needs-authorisation",
        action="store_true",
        help="an extract about one subject needs the reference of an authorisation",
    )
    parser.add_argument(
        "--basis", default=DEFAULT_BASIS, metavar="B", help=f"what the rule rests on (default: {DEFAULT_BASIS})"
    )
    _add_category_set(group)
    listing = _add(group, "list", categories.category_list, "list the categories and their rules", "category list")
    _add_json(listing)


def _add_category_set(group: Actions) -> None:
    parser = _add(
        group,
        "set",
        categories.category_set,
        "change a category: retention, need of authorisations, label",
        "category set assistance --retention-days 30 --instruction AVENANT-2026-3",
    )
    parser.add_argument("code", metavar="CODE")
    parser.add_argument(
        "--instruction", required=True, metavar="REF", help="reference of the client's written instruction"
    )
    parser.add_argument(
        "--retention-days",
        type=int,
        metavar="N",
        help=f"{MIN_RETENTION_DAYS} to {MAX_RETENTION_DAYS}; a shorter one is announced to every commune at once, and "
        "obeyed after JOURNAL_RULE_DELAY_DAYS",
    )
    parser.add_argument(
        "--needs-authorisation",
        choices=sorted(categories.ANSWERS),
        help="whether an extract about one subject needs the reference of an authorisation",
    )
    parser.add_argument("--label", help="its name, as people read it")
    parser.add_argument("--basis", metavar="B", help="what the rule rests on")
    _add_clock(parser)


def _add_credentials(actions: Actions) -> None:
    group = _group(actions, "credential", "manage credentials")
    parser = _add(
        group,
        "add",
        commands.credential_add,
        "make a credential; its secret is printed once",
        "credential add --role module --tenant albi --category main-courante --source-prefix /openepm/albi/",
    )
    parser.add_argument("--role", required=True, choices=ROLES)
    parser.add_argument("--tenant", required=True, metavar="CODE")
    parser.add_argument("--category", action="append", default=[], metavar="CODE", help="may be repeated")
    parser.add_argument("--source-prefix", default="", metavar="P", help="prefix of a module's sources")
    parser.add_argument(
        "--certificate",
        metavar="FILE",
        help="its client certificate (PEM): the token passes only with it, over mutual TLS at a trusted proxy",
    )
    parser.add_argument("--label", default="", metavar="L", help="its use; no personal name")
    parser.add_argument("--expires-at", type=_moment, metavar="T", help="RFC 3339, for example 2027-06-30T00:00:00Z")
    listing = _add(
        group,
        "list",
        commands.credential_list,
        "list the credentials, without their secrets",
        "credential list --json",
    )
    _add_json(listing)
    parser = _add(
        group,
        "revoke",
        commands.credential_revoke,
        "revoke a credential at once",
        "credential revoke 1f2e3d4c5b6a",
    )
    parser.add_argument("id", metavar="ID")
    parser = _add(
        group,
        "rotate",
        commands.credential_rotate,
        "make a credential like another, which stays valid for a time",
        "credential rotate 1f2e3d4c5b6a --overlap-hours 72",
    )
    parser.add_argument("id", metavar="ID")
    parser.add_argument(
        "--overlap-hours", type=_positive, default=168, metavar="N", help="how long both are valid (default: 168)"
    )
    parser.add_argument("--expires-at", type=_moment, metavar="T", help="when the new one expires (default: never)")
    parser.add_argument("--token-file", metavar="FILE", help="a new file for its token (default: print it)")


def _add_provision(actions: Actions) -> None:
    parser = _add(
        actions,
        "provision",
        provision.provision,
        "add the communes, categories, credentials and hand-overs that a file states and the journal lacks",
        "provision communes.toml --tokens tokens",
    )
    parser.add_argument("file", metavar="FILE", help="TOML, or JSON lines; see the guide")
    parser.add_argument("--tokens", metavar="DIR", help="directory for the tokens of new credentials, a file each")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be added")
    _add_json(parser)


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON document; README.md lists its members")


def _add_extract(actions: Actions) -> None:
    parser = _add(
        actions,
        "extract",
        commands.extract,
        "make an extract for a commune",
        "extract --tenant albi --category ecrits --from 2026-11-01 --to 2026-11-15 --purpose lawfulness "
        '--requester "DPD de la commune" --request-reference DPD-2026-14 -o albi.asice',
    )
    parser.add_argument("--tenant", required=True, metavar="CODE")
    parser.add_argument("--category", required=True, metavar="CODE")
    parser.add_argument(
        "--from", dest="from_day", required=True, type=_day, metavar="DAY", help="first day, UTC, included"
    )
    parser.add_argument("--to", dest="to_day", required=True, type=_day, metavar="DAY", help="last day, UTC, included")
    parser.add_argument("--purpose", required=True, choices=PURPOSES)
    parser.add_argument("--requester", required=True, help="who asks")
    parser.add_argument(
        "--request-reference", required=True, metavar="REF", help="reference of the client's written request"
    )
    parser.add_argument("--authorisation", metavar="REF", help="reference; required for one subject in some categories")
    for name, choices in (("account", None), ("subject", None), ("action", ACTIONS)):
        only = f"disclose only entries of this {name}; the others are withheld"
        parser.add_argument(f"--{name}", choices=choices, metavar=name.upper(), help=only)
    parser.add_argument("-o", "--output", required=True, metavar="FILE")
    _add_clock(parser)


def _add_attestation(actions: Actions) -> None:
    parser = _add(
        actions,
        "attestation",
        commands.attestation,
        "make the signed attestation that a commune's entries of a day were purged",
        "attestation --tenant albi --day 2026-09-01",
    )
    parser.add_argument("--tenant", required=True, metavar="CODE")
    parser.add_argument("--day", required=True, type=_day, metavar="DAY", help="a purged day, UTC")
    parser.add_argument(
        "-o", "--output", metavar="FILE", help="default: attestation-<tenant>-<day>.pdf in the current directory"
    )
    _add_clock(parser)


def _add_keys(actions: Actions) -> None:
    to, back = "backup --to /mnt/keys", "restore --from /mnt/keys"
    group = _group(actions, "keys", "back up the key store to a copy, and restore it", to)
    parser = _add(group, "backup", keys.backup, "update a copy: new keys, fences, purged days", f"keys {to}")
    parser.add_argument("--to", dest="directory", required=True, metavar="DIR", help="an existing directory")
    _add_rotation(group)
    parser = _add(group, "restore", keys.restore, "restore from a copy what the key store has lost", f"keys {back}")
    parser.add_argument("--from", dest="directory", required=True, metavar="DIR", help="a copy made by keys backup")


def _add_rotation(group: Actions) -> None:
    parser = _add(
        group,
        "rotate",
        keys.rotate_master_key,
        "replace the master key while the service runs; what is cut short goes on when repeated",
        "keys rotate --copy /mnt/keys",
    )
    parser.add_argument(
        "--copy", action="append", default=[], metavar="DIR", help="a copy made by keys backup; may be repeated"
    )
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--begin", action="store_true", help="only make the new one: both open, the old one wraps")
    choice.add_argument("--keep-former", action="store_true", help="wrap the keys anew, but let the old one open too")


def _add_upkeep(actions: Actions) -> None:
    parser = _add(
        actions,
        "seal",
        commands.seal,
        "close the days that are over, and seal the present heads",
        "seal",
    )
    _add_json(parser)
    _add_clock(parser)
    parser = _add(
        actions,
        "handover",
        commands.handover,
        "hand over the days to be purged next, to the communes with a registered certificate",
        "handover",
    )
    _add_json(parser)
    _add_clock(parser)
    parser = _add(actions, "purge", purge.purge, "purge the days that are due", "purge --dry-run")
    parser.add_argument("--dry-run", action="store_true", help="only list what is due")
    parser.add_argument("--all", action="store_true", help="purge more than three days of a category in one run")
    _add_clock(parser)
    parser = _add(
        actions,
        "recover",
        recover.recover,
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
    parser = _add(
        actions,
        "signer",
        signer.signer,
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
    parser = _add(
        actions,
        "verify-store",
        commands.verify_store,
        "check every row, chain and seal in the database against the keys",
        "verify-store --category ecrits --day 2026-11-15",
    )
    parser.add_argument(
        "--category", metavar="CODE", help="with --day: check all seals and heads, but only these entries"
    )
    parser.add_argument("--day", type=_day, metavar="DAY", help="a day, UTC, that the seals cover")
    _add_json(parser)


def _add_clock(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--clock-is-right",
        action="store_true",
        help="proceed although the last seal is more than 7 days old, or later than this machine's clock",
    )


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return value


def _day(text: str) -> date:
    try:
        return parse_day(text)
    except MalformedError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a day: write YYYY-MM-DD") from error


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time: write it like 2027-06-30T00:00:00Z") from error
    if moment.tzinfo is None:
        raise argparse.ArgumentTypeError(f"{text!r} has no time zone: append Z")
    return moment.astimezone(UTC)
