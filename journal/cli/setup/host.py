"""The host as `setup` finds it: its accounts, programs run as another one, files written for root."""

from __future__ import annotations

import os
import pwd
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final

from journal.core.errors import OperatorError
from journal.keys.files import replace_durably

if TYPE_CHECKING:
    from collections.abc import Sequence

SERVICE: Final = "openepm-journal"
SIGNER: Final = "openepm-journal-signer"
POSTGRES: Final = "postgres"
CONFIGURATION: Final = Path("/etc/openepm-journal")
SETTINGS: Final = CONFIGURATION / "journal.toml"
MASTER_KEY: Final = CONFIGURATION / "master.key"
# A link to the trust anchors, wherever the identity is.
TRUST: Final = CONFIGURATION / "trust.pem"
STATE: Final = Path("/var/lib/openepm-journal")
SIGNER_STATE: Final = Path("/var/lib/openepm-journal-signer")
UNITS: Final = Path("/usr/lib/systemd/system")
# The command of the package: for root it runs as the service's account.
PROGRAM: Final = "/usr/bin/openepm-journal"
READABLE: Final = 0o644


def check_root() -> None:
    """Refuse to go on as another account, or without systemd and the package. Raises OperatorError."""
    if os.geteuid() != 0:
        raise OperatorError("setup makes files and accounts' rights: run it as root")
    if not Path("/run/systemd/system").is_dir() or not Path(PROGRAM).exists():
        raise OperatorError(f"setup is for a host with systemd and the Debian package ({PROGRAM} is part of it)")


def check_accounts(*, has_database: bool) -> None:
    """Refuse accounts that are missing or not apart. Raises OperatorError."""
    names = [SERVICE, SIGNER, *([POSTGRES] if has_database else [])]
    numbers: dict[int, str] = {0: "root"}
    for name in names:
        try:
            entry = pwd.getpwnam(name)
        except KeyError as error:
            raise OperatorError(f"there is no account {name}: install its package again") from error
        if (other := numbers.setdefault(entry.pw_uid, name)) != name:
            raise OperatorError(f"the accounts {other} and {name} have one number, {entry.pw_uid}: they must be apart")
        groups = {group for group in os.getgrouplist(name, entry.pw_gid) if group != entry.pw_gid}
        if shared := groups.intersection(pwd.getpwnam(one).pw_gid for one in names):
            raise OperatorError(f"the account {name} is in another's group ({shared}): take it out, with gpasswd -d")


def run(command: Sequence[str], *, account: str | None = None, text: str | None = None) -> str:
    """Run a program, as `account` if given, and return what it says. Raises OperatorError with its last words."""
    prefix = ["runuser", "-u", account, "--"] if account else []
    try:
        done = subprocess.run(  # noqa: S603  (our own words, no shell)
            [*prefix, *command], input=text, capture_output=True, text=True, check=False, cwd="/"
        )
    except FileNotFoundError as error:
        raise OperatorError(f"there is no program {command[0]} here") from error
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise OperatorError(f"{' '.join(command[:3])} failed: {said[-1] if said else done.returncode}")
    return done.stdout


def run_own(*arguments: str) -> int:
    """Run a command of the package, as the service's account and with its settings; return its exit code."""
    return subprocess.run([PROGRAM, *arguments], check=False).returncode  # noqa: S603  (our own words, no shell)


def replace_text(path: Path, text: str) -> None:
    """Write a configuration file whole; one that is there keeps its owner and mode."""
    replace_durably(path, text.encode(), mode=READABLE, keeps_owner=path.exists())


def make_owned_directory(directory: Path, account: str) -> bool:
    """Make a directory of `account`, mode 0700, in an existing one; False if it is there. Raises OperatorError."""
    entry = pwd.getpwnam(account)
    if directory.is_dir():
        if directory.stat().st_uid != entry.pw_uid:
            raise OperatorError(f"{directory} is not the account {account}'s: chown it, or name another one")
        return False
    if not directory.parent.is_dir():
        # Not made here: if a disk is not mounted, the directory would go below its mount point.
        raise OperatorError(f"there is no directory {directory.parent}: mount the disk, or make it")
    directory.mkdir(mode=0o700)
    os.chown(directory, entry.pw_uid, entry.pw_gid)
    return True
