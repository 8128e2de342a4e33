"""How the allocator of the C library is set for a service."""

from __future__ import annotations

import ctypes
from contextlib import suppress
from typing import Final

# Of mallopt(3), in glibc.
_M_ARENA_MAX: Final = -8
ARENAS: Final = 2


def bound_arenas() -> None:
    """Let all threads share two arenas: each would keep one of its own, and in it what a page of an extract once took.

    A C library without that setting is left as it is.
    """
    with suppress(AttributeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, ARENAS)
