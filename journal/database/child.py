"""Become one PostgreSQL program, as an ordinary user, that ends with its parent.

Run by its path, as a separate program (`python -I -S child.py MODE PARENT UID GID COMMAND…`): it needs no package, and
no code runs between fork and exec in a process that may have threads.

MODE is `plain` (an ordinary user started us), `namespace` (root: the command sees UID and GID in a user namespace of
its own, the files stay root's) or `drop` (root, where namespaces are refused: the command is UID and GID, and enters
what root may: a home and a virtual environment of root's are closed to others).
Exit status 78 means that the mode was refused; any other is the command's own.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from pathlib import Path

REFUSED = 78
CLONE_NEWUSER = 0x10000000
PR_SET_PDEATHSIG = 1
PR_SET_SECUREBITS = 28
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
# With it, setresuid and access(2), by which PostgreSQL finds its programs, keep the capabilities.
SECBIT_NO_SETUID_FIXUP = 1 << 2
CAP_DAC_OVERRIDE = 1
CAPABILITY_VERSION_3 = 0x20080522


def _check(result: int) -> None:
    """Raise OSError if a call of libc failed."""
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _enter_namespace(libc: ctypes.CDLL, uid: int, gid: int) -> None:
    """Put this process in a user namespace where our own ids are `uid` and `gid`.

    PostgreSQL refuses to run as root; in there it does not notice that it is root. OSError if the kernel refuses.
    """
    outside_uid, outside_gid = os.geteuid(), os.getegid()
    _check(libc.unshare(CLONE_NEWUSER))
    # The kernel takes a group map from an unprivileged writer only once setgroups is given up.
    Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
    Path("/proc/self/uid_map").write_text(f"{uid} {outside_uid} 1", encoding="ascii")
    Path("/proc/self/gid_map").write_text(f"{gid} {outside_gid} 1", encoding="ascii")


def _drop(libc: ctypes.CDLL, uid: int, gid: int) -> None:
    """Become `uid` and `gid` for good, groups included, keeping only CAP_DAC_OVERRIDE (capabilities(7)).

    OSError if the kernel refuses.
    """
    _check(libc.prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP, 0, 0, 0))
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    kept = 1 << CAP_DAC_OVERRIDE
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    # Effective, permitted, inheritable: the lower 32 of each, then the upper.
    _check(libc.capset(header, (ctypes.c_uint32 * 6)(kept, kept, kept, 0, 0, 0)))
    _check(libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_DAC_OVERRIDE, 0, 0))


def main(mode: str, parent: int, uid: int, gid: int, command: list[str]) -> None:
    """Switch to the user of `mode`, ask the kernel for a signal when `parent` ends, become `command`."""
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        if mode == "namespace":
            _enter_namespace(libc, uid, gid)
        elif mode == "drop":
            _drop(libc, uid, gid)
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
