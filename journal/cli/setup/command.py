"""`setup`: ask or take options, make what is missing, check everything, found the journal, start it.

Repeated, it goes on where it stopped, and changes nothing that is there.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from journal.cli.setup import postgresql
from journal.cli.setup.configuration import check_same, read_settings, write_settings, write_unit_paths
from journal.cli.setup.host import (
    MASTER_KEY,
    SERVICE,
    SETTINGS,
    SIGNER,
    TRUST,
    UNITS,
    check_accounts,
    check_root,
    make_owned_directory,
    run,
    run_own,
)
from journal.core.entry import is_service
from journal.core.errors import OperatorError
from journal.keys.wrapped import make_master_key

if TYPE_CHECKING:
    import argparse

    from journal.settings import Settings

FAILED: Final = 1
POSTGRESQL_SETTINGS: Final = Path(sys.prefix) / "deploy" / "postgresql" / "openepm-journal.conf"
STARTED: Final = (f"{SIGNER}.service", f"{SERVICE}.socket", f"{SERVICE}.service", f"{SERVICE}-purge.timer")


async def setup(_: Settings, arguments: argparse.Namespace) -> int:
    """Set this host up; 0 once the journal runs, 1 if something is left for the operator to do."""
    check_root()
    # What the commands started here say must follow what was said before.
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    settings = known = read_settings()
    remote = arguments.dsn is not None or (settings is not None and "@/" not in (settings.dsn or ""))
    check_accounts(has_database=not remote)
    if settings is None:
        settings = _configure(arguments)
    else:
        check_same(settings, {"service_name": arguments.service_name, "dsn": arguments.dsn})
        print(f"{SETTINGS} is there: it stays")
        if not remote:
            postgresql.prepare_local(POSTGRESQL_SETTINGS, may_edit=not arguments.print_only)
    _make_master_key(settings)
    for replica in settings.keystore_replicas:
        make_owned_directory(Path(replica), SERVICE)
    write_unit_paths(settings)
    if not _has_identity(settings, arguments):
        return FAILED
    _link_trust(settings)
    if run_own("found") != 0:
        if remote and known is not None:
            # Said when the settings were written; the operator may have that no more.
            postgresql.explain_remote(settings.dsn or "", POSTGRESQL_SETTINGS)
        return FAILED
    if not arguments.no_start:
        _start()
    return 0


def _configure(arguments: argparse.Namespace) -> Settings:
    """Make the database and write the settings of a new journal."""
    name = _answer(arguments.service_name, "--service-name", "DNS name of the journal, fixed for ever")
    if not is_service(name):
        raise OperatorError(f"{name!r} is no lower-case DNS name, such as journal.example.fr")
    if arguments.dsn is None:
        dsn = postgresql.prepare_local(POSTGRESQL_SETTINGS, may_edit=not arguments.print_only)
    else:
        dsn = arguments.dsn
        postgresql.refuse_password(dsn)
        postgresql.explain_remote(dsn, POSTGRESQL_SETTINGS)
    settings = write_settings(service_name=name, dsn=dsn, replicas=arguments.replica)
    print(f"written: {SETTINGS}")
    return settings


def _make_master_key(settings: Settings) -> None:
    """Make the master key unless it is there, and show it once, on a terminal only."""
    if settings.master_key_path != MASTER_KEY:
        raise OperatorError(f"the units read the master key from {MASTER_KEY}: correct master_key_file in {SETTINGS}")
    if MASTER_KEY.exists():
        return
    keys = settings.keystore_path
    if keys.is_dir() and any(keys.iterdir()):
        raise OperatorError(f"master key {MASTER_KEY} is missing, but the keys in {keys} need it: restore it")
    make_master_key(MASTER_KEY)
    print(f"written: {MASTER_KEY}. Without it nothing can be read again, and nothing copies it: write it on paper.")
    if sys.stdout.isatty():
        print("  " + " ".join(re.findall(".{8}", MASTER_KEY.read_text(encoding="ascii").strip())))
    else:
        print(f"  (shown on a terminal only: cat {MASTER_KEY})")


def _has_identity(settings: Settings, arguments: argparse.Namespace) -> bool:
    """Return whether there is a signing identity; else make the one asked for, or say how to get one."""
    if settings.signing_cert_path.exists():
        return True
    choice = _answer(
        arguments.identity, "--identity", "signing identity: development (trials) or authority (a real certificate)"
    )
    if choice == "development":
        return run_own("identity", "new") == 0
    print(
        "Ask an authority for a certificate of your organisation's seal:",
        '  openepm-journal identity request --organisation "COMMUNE DE …" -o request.pem',
        "  openepm-journal identity install --certificate CHAIN.pem --trust ROOT.pem",
        "then type the same setup again",
        sep="\n",
    )
    return False


def _link_trust(settings: Settings) -> None:
    """Let the trust anchors be found beside the settings: they are public, and auditors ask for them."""
    if not TRUST.exists():
        TRUST.unlink(missing_ok=True)
        TRUST.symlink_to(settings.trust_path)


def _answer(given: str | None, option: str, question: str) -> str:
    """Return the option's value, or the answer to its question on a terminal. Raises OperatorError."""
    if given is not None:
        return given
    if not sys.stdin.isatty():
        raise OperatorError(f"{option} is missing ({question}), and there is no terminal to ask on")
    return input(f"{question}: ").strip()


def _start() -> None:
    """Start the units now and at every boot; returns once the service answers, as its unit waits for it."""
    units = [unit for unit in STARTED if (UNITS / unit).exists()]
    run(["systemctl", "daemon-reload"])
    run(["systemctl", "enable", "--now", *units])
    print(f"started, now and at every boot: {', '.join(units)}")
