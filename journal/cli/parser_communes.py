"""The commands about communes: tenants, categories, credentials, extracts, attestations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from journal.choices import ANSWERS, CREDENTIAL_ROLES, DEFAULT_BASIS, REGIMES
from journal.cli.parsing import add_clock, add_command, add_group, add_json, day, moment, positive
from journal.core.entry import ACTIONS
from journal.core.times import MAX_RETENTION_DAYS, MIN_RETENTION_DAYS
from journal.extract.manifest import PURPOSES

if TYPE_CHECKING:
    import argparse

    from journal.cli.parsing import Actions


def add_tenants(actions: Actions) -> None:
    """Add tenant."""
    group = add_group(actions, "tenant", "manage communes")
    parser = add_command(group, "add", "tenants.tenant_add", "add a commune", 'tenant add albi --name "Ville d\'Albi"')
    parser.add_argument("code", metavar="CODE", help="its slug, never reused for another commune")
    parser.add_argument("--name", required=True, help="its name, for people")
    add_json(add_command(group, "list", "tenants.tenant_list", "list the communes", "tenant list --json"))
    parser = add_command(
        group,
        "continue",
        "tenants.tenant_continue",
        "have a commune's journal cite the chains that ended at another service",
        "tenant continue albi --export albi_export.json --trust old-trust.pem",
    )
    parser.add_argument("code", metavar="CODE", help="the commune, here")
    parser.add_argument(
        "--export", metavar="FILE", required=True, help="the inventory of its export or move there, its .p7s beside it"
    )
    parser.add_argument("--trust", metavar="PEM", required=True, help="the trust anchor of the service there")
    _add_endings(group)
    parser = add_command(
        group,
        "handover",
        "tenants.tenant_handover",
        "hand a commune's days over before their purge, encrypted to its certificate",
        "tenant handover albi --certificate albi.pem",
    )
    parser.add_argument("code", metavar="CODE")
    choice = parser.add_mutually_exclusive_group(required=True)
    choice.add_argument("--certificate", metavar="PEM", help="RSA of 2048 bits or more, P-256 or P-384; no private key")
    choice.add_argument("--none", action="store_true", help="end the hand-over")
    choice.add_argument(
        "--confirm",
        metavar="CODE",
        help="the confirmation code that the commune found in a file it opened: the purge then relies on hand-overs",
    )


def _add_endings(group: Actions) -> None:
    parser = add_command(
        group,
        "move",
        "tenants.tenant_move",
        "have a commune's modules record at another service from now on; its people go on asking here",
        "tenant move albi --to journal2.example.fr --inventory albi_move.json",
    )
    parser.add_argument("code", metavar="CODE")
    parser.add_argument("--to", metavar="SERVICE", required=True, help="the name of the service it goes to")
    parser.add_argument(
        "--inventory", metavar="FILE", required=True, help="the heads of its chains; the signature goes to FILE.p7s"
    )
    add_clock(parser)
    parser = add_command(
        group,
        "close",
        "tenants.tenant_close",
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
    add_clock(parser)
    parser = add_command(
        group,
        "destroy",
        "tenants.tenant_destroy",
        "destroy the key and every entry of a closed commune for ever, and write a signed destruction report",
        "tenant destroy albi --confirm albi --report albi.json",
    )
    parser.add_argument("code", metavar="CODE")
    parser.add_argument("--confirm", metavar="CODE", required=True, help="the same code again")
    parser.add_argument(
        "--report", metavar="FILE", required=True, help="the destruction report; its signature goes to FILE.p7s"
    )
    add_clock(parser)


def add_categories(actions: Actions) -> None:
    """Add category."""
    group = add_group(actions, "category", "manage categories")
    parser = add_command(
        group,
        "add",
        "categories.category_add",
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
        help="every extract that discloses entries needs an authorisation, not only one about an account or a subject",
    )
    parser.add_argument(
        "--basis", default=DEFAULT_BASIS, metavar="B", help=f"what the rule rests on (default: {DEFAULT_BASIS})"
    )
    _add_legal_basis(parser, "", 0)
    _add_category_set(group)
    listing = add_command(
        group, "list", "categories.category_list", "list the categories and their rules", "category list"
    )
    add_json(listing)


def _add_category_set(group: Actions) -> None:
    parser = add_command(
        group,
        "set",
        "categories.category_set",
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
        choices=sorted(ANSWERS),
        help="whether every extract that discloses entries needs an authorisation",
    )
    parser.add_argument("--label", help="its name, as people read it")
    parser.add_argument("--basis", metavar="B", help="what the rule rests on")
    _add_legal_basis(parser, None, None)
    add_clock(parser)


def _add_legal_basis(parser: argparse.ArgumentParser, basis: str | None, days: int | None) -> None:
    parser.add_argument(
        "--legal-basis",
        default=basis,
        metavar="B",
        help="what the journaling rests on, as papers name it; a new category has the usual one of its regime",
    )
    parser.add_argument(
        "--required-days",
        type=int,
        default=days,
        metavar="N",
        help="for how many days it asks to keep entries (0: it does not say); more than the retention needs a "
        "hand-over to every commune",
    )


def add_credentials(actions: Actions) -> None:
    """Add credential."""
    group = add_group(actions, "credential", "manage credentials")
    parser = add_command(
        group,
        "add",
        "commands.credential_add",
        "make a credential; its secret is printed once",
        "credential add --role module --tenant albi --category main-courante --source-prefix /openepm/albi/",
    )
    parser.add_argument("--role", required=True, choices=CREDENTIAL_ROLES)
    parser.add_argument("--tenant", required=True, metavar="CODE")
    parser.add_argument("--category", action="append", default=[], metavar="CODE", help="may be repeated")
    parser.add_argument("--source-prefix", default="", metavar="P", help="prefix of a module's sources")
    parser.add_argument(
        "--certificate",
        metavar="FILE",
        help="its client certificate (PEM): the token passes only with it, over mutual TLS at a trusted proxy",
    )
    parser.add_argument(
        "--person", metavar="NAME", help="of a client: who asks with it; without one, nothing is disclosed"
    )
    parser.add_argument("--function", metavar="F", help="of that person, for example DPD de la commune")
    parser.add_argument("--label", default="", metavar="L", help="its use; no personal name")
    parser.add_argument("--expires-at", type=moment, metavar="T", help="RFC 3339, for example 2027-06-30T00:00:00Z")
    listing = add_command(
        group,
        "list",
        "commands.credential_list",
        "list the credentials, without their secrets",
        "credential list --json",
    )
    add_json(listing)
    parser = add_command(
        group,
        "revoke",
        "commands.credential_revoke",
        "revoke a credential at once",
        "credential revoke 1f2e3d4c5b6a",
    )
    parser.add_argument("id", metavar="ID")
    parser = add_command(
        group,
        "rotate",
        "commands.credential_rotate",
        "make a credential that replaces another; the old one stays valid for a time",
        "credential rotate 1f2e3d4c5b6a --overlap-hours 72",
    )
    parser.add_argument("id", metavar="ID")
    parser.add_argument(
        "--overlap-hours", type=positive, default=168, metavar="N", help="how long both are valid (default: 168)"
    )
    parser.add_argument("--expires-at", type=moment, metavar="T", help="when the new one expires (default: never)")
    parser.add_argument("--token-file", metavar="FILE", help="a new file for its token (default: print it)")


def add_provision(actions: Actions) -> None:
    """Add provision."""
    parser = add_command(
        actions,
        "provision",
        "provision.provision",
        "add the communes, categories, credentials and hand-overs that a file states and the journal lacks",
        "provision communes.toml --tokens tokens",
    )
    parser.add_argument("file", metavar="FILE", help="TOML, or JSON lines; see the guide")
    parser.add_argument("--tokens", metavar="DIR", help="directory for the tokens of new credentials, a file each")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be added")
    add_json(parser)


def add_extract(actions: Actions) -> None:
    """Add extract."""
    parser = add_command(
        actions,
        "extract",
        "commands.extract",
        "make an extract for a commune",
        "extract --tenant albi --category ecrits --from 2026-11-01 --to 2026-11-15 --purpose lawfulness "
        '--requester "DPD de la commune" --request-reference DPD-2026-14 -o albi.asice',
    )
    parser.add_argument("--tenant", required=True, metavar="CODE")
    parser.add_argument("--category", required=True, metavar="CODE")
    parser.add_argument(
        "--from", dest="from_day", required=True, type=day, metavar="DAY", help="first day of recording, UTC, included"
    )
    parser.add_argument(
        "--to", dest="to_day", required=True, type=day, metavar="DAY", help="last day of recording, UTC"
    )
    parser.add_argument("--purpose", required=True, choices=PURPOSES)
    parser.add_argument("--requester", required=True, help="who asks")
    parser.add_argument(
        "--request-reference", required=True, metavar="REF", help="reference of the client's written request"
    )
    parser.add_argument("--authorisation", metavar="REF", help="reference of the authorisation, with the next two")
    parser.add_argument(
        "--authorisation-issuer", metavar="WHO", help="who authorised, for example the public prosecutor"
    )
    parser.add_argument("--authorisation-date", type=day, metavar="DAY", help="when")
    for name, choices in (("account", None), ("subject", None), ("action", ACTIONS)):
        only = f"disclose only entries of this {name}; the others are withheld"
        parser.add_argument(f"--{name}", choices=choices, metavar=name.upper(), help=only)
    for end in ("from", "to"):
        only = "disclose only entries of accesses on the days of this range, whenever they were recorded"
        parser.add_argument(f"--occurred-{end}", type=day, metavar="DAY", help=f"{only}, UTC, included")
    parser.add_argument(
        "--even-if-empty", action="store_true", help="sign an extract also where no entry matches the filter"
    )
    parser.add_argument("-o", "--output", required=True, metavar="FILE")
    add_clock(parser)


def add_sources(actions: Actions) -> None:
    """Add sources and loss."""
    parser = add_command(
        actions,
        "sources",
        "sources.sources",
        "say which numbers of modules' events never came, came twice, or are declared lost: 1 if some are missing",
        "sources --tenant albi",
    )
    parser.add_argument("--tenant", metavar="CODE", help="default: every commune")
    add_json(parser)
    parser = add_command(
        actions,
        "rhythm",
        "sources.rhythm",
        "declare how often a source is to send a numbered event; silence beyond it is told",
        "rhythm --tenant albi --category ecrits --source /openepm/albi/ecrits --minutes 1440",
    )
    parser.add_argument("--tenant", required=True, metavar="CODE")
    parser.add_argument("--category", required=True, metavar="CODE")
    parser.add_argument("--source", required=True, help="as the module spells it")
    choice = parser.add_mutually_exclusive_group(required=True)
    choice.add_argument("--minutes", type=int, metavar="N", help="1 to 43200")
    choice.add_argument("--none", action="store_true", help="no rhythm any more")
    parser = add_command(
        actions,
        "loss",
        "sources.loss",
        "declare that events a source numbered are lost, for ever: an entry of the commune's journal",
        "loss --tenant albi --category ecrits --source /openepm/albi/ecrits --first 12 --last 14 "
        '--reason "disque du serveur perdu le 3 mars"',
    )
    parser.add_argument("--tenant", required=True, metavar="CODE")
    parser.add_argument("--category", required=True, metavar="CODE")
    parser.add_argument("--source", required=True, help="as the module spells it")
    parser.add_argument("--epoch", default="", help="of its counter, if its events name one")
    parser.add_argument("--first", required=True, type=int, metavar="NUMBER")
    parser.add_argument("--last", required=True, type=int, metavar="NUMBER")
    parser.add_argument("--reason", required=True, help="how they were lost; nothing about a person")


def add_attestation(actions: Actions) -> None:
    """Add attestation."""
    parser = add_command(
        actions,
        "attestation",
        "commands.attestation",
        "make the signed attestation that a commune's entries of a day were purged",
        "attestation --tenant albi --day 2026-09-01",
    )
    parser.add_argument("--tenant", required=True, metavar="CODE")
    parser.add_argument("--day", required=True, type=day, metavar="DAY", help="a purged day, UTC")
    parser.add_argument(
        "-o", "--output", metavar="FILE", help="default: attestation-<tenant>-<day>.pdf in the current directory"
    )
    add_clock(parser)
