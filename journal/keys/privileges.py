"""What this account may do to files without the privileges that a command borrows from root.

The operator's command runs as the service's account, but may pass over modes, so that it can read and write the files
that root names. Asked what the service may do, the kernel would answer for the command.
"""

from __future__ import annotations

import ctypes
import os
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

# Numbers of capabilities(7) and of capget(2).
_VERSION_3: Final = 0x20080522
_DAC_OVERRIDE, _DAC_READ_SEARCH = 1 << 1, 1 << 2
_WORDS: Final = 6  # effective, permitted, inheritable; then the upper halves of each


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


@contextmanager
def as_the_account() -> Iterator[None]:
    """Have this thread pass over no mode for the block, unless it is root's."""
    header, held = (ctypes.c_uint32 * 2)(_VERSION_3, 0), (ctypes.c_uint32 * _WORDS)()
    if os.geteuid() == 0 or _libc().capget(header, held) != 0 or not held[0] & (_DAC_OVERRIDE | _DAC_READ_SEARCH):
        yield
        return
    less = (ctypes.c_uint32 * _WORDS)(*held)
    less[0] &= ~(_DAC_OVERRIDE | _DAC_READ_SEARCH)
    if _libc().capset(header, less) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    try:
        yield
    finally:
        _libc().capset(header, held)
