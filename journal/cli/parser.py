"""The command line: every command of `openepm-journal`, its options, and the function that runs it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from journal import __version__
from journal.cli.parser_communes import (
    add_attestation,
    add_categories,
    add_credentials,
    add_extract,
    add_provision,
    add_sources,
    add_tenants,
)
from journal.cli.parser_host import add_keys, add_running, add_setup, add_upkeep
from journal.cli.parser_papers import add_breach, add_hold, add_papers
from journal.cli.parser_persons import add_persons
from journal.cli.parsing import Parser

if TYPE_CHECKING:
    import argparse


def make_parser() -> argparse.ArgumentParser:
    """Return the parser; the attribute `run` of its result is the command to run."""
    parser = Parser(
        prog="openepm-journal",
        description="The access journal of OpenEPM: records, seals, extracts, purges.",
        epilog="Without settings, everything is stored under ./var (JOURNAL_HOME). Example: openepm-journal serve",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    actions = parser.add_subparsers(metavar="COMMAND", required=True)
    add_setup(actions)
    add_running(actions)
    add_tenants(actions)
    add_categories(actions)
    add_credentials(actions)
    add_persons(actions)
    add_provision(actions)
    add_extract(actions)
    add_sources(actions)
    add_attestation(actions)
    add_papers(actions)
    add_breach(actions)
    add_hold(actions)
    add_keys(actions)
    add_upkeep(actions)
    return parser
