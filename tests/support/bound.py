"""Root, bound by the modes of files as a service's account is: for tests of what it may not read.

Where tests run as root, the checkout and its Python may be root's alone, so no other account could run the service.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
from functools import cache
from typing import Final

# Numbers of capabilities(7) and of capget(2).
_PASSES_OVER: Final = "dac_override", "dac_read_search"
_MASK: Final = 1 << 1 | 1 << 2
_VERSION_3: Final = 0x20080522
_WORDS: Final = 6  # effective, permitted, inheritable; then the upper halves of each


@cache
def program() -> list[str]:
    """Return the beginning of a command line whose process is bound; empty where we are, or cannot be bound."""
    if os.geteuid() != 0:
        return []
    line = ["setpriv", "--bounding-set", ",".join(f"-{name}" for name in _PASSES_OVER)]
    try:
        done = subprocess.run([*line, "true"], capture_output=True, check=False)
    except FileNotFoundError:
        return []
    return line if done.returncode == 0 else []


def is_possible() -> bool:
    """Tell whether modes bind the processes that `program` begins."""
    return os.geteuid() != 0 or program() != []


def bind() -> None:
    """Have modes bind this process from now on. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    header, held = (ctypes.c_uint32 * 2)(_VERSION_3, 0), (ctypes.c_uint32 * _WORDS)()
    if libc.capget(header, held) == 0:
        held[0] &= ~_MASK
        held[1] &= ~_MASK
        if libc.capset(header, held) == 0:
            return
    raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
