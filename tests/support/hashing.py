"""Passwords hashed for little: what the product spends on one, on purpose, is most of what a test of the console costs.

`test_console_attacks` hashes as the product does, and holds what it spends.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from argon2 import PasswordHasher

from journal.admin import persons

if TYPE_CHECKING:
    from collections.abc import Callable

LIGHT = functools.partial(PasswordHasher, time_cost=1, memory_cost=8, parallelism=1)


def hash_lightly(put: Callable[[object, str, object], None]) -> None:
    """Let this process, and what is forked from it, hash passwords so; `put` sets an attribute."""
    put(persons, "PasswordHasher", LIGHT)
