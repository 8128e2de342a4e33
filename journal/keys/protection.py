"""What keeps the keys of a process, and the passwords it was given, from others on the machine.

Not from root, nor from whoever may trace every process (CAP_SYS_PTRACE).
"""

from __future__ import annotations

import ctypes
import os
import resource
from contextlib import suppress
from pathlib import Path
from typing import Final

_PR_SET_DUMPABLE: Final = 4  # linux/prctl.h
# Fields 50 and 51 of proc_pid_stat(5), counted from the third, which follows the name of the program.
_ENV_START, _ENV_END = 50 - 3, 51 - 3


def protect_memory() -> None:
    """Let this process leave no core dump, and no other process of the same user read its memory.

    Its children that become another program inherit only the first. Raises OSError if the kernel refuses.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def forget_variable(name: str) -> None:
    """Remove a variable from the environment, from that of later children, and from /proc/PID/environ.

    The last as far as /proc is there: the kernel shows the memory in which the process was given its environment.
    """
    os.environ.pop(name, None)
    with suppress(OSError):
        fields = Path("/proc/self/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        start, end = int(fields[_ENV_START]), int(fields[_ENV_END])
        if start == 0:
            return
        given = ctypes.string_at(start, end - start)
        place = 0
        for variable in given.split(b"\0"):
            if variable.startswith(name.encode() + b"="):
                ctypes.memset(start + place, 0, len(variable))
            place += len(variable) + 1
