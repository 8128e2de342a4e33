"""The program with one thread beside its first: strace counts the calls of each thread apart."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partialmethod
from typing import TYPE_CHECKING

from journal.cli.main import main as run

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str]) -> int:
    """Be the program with these arguments."""
    ThreadPoolExecutor.__init__ = partialmethod(ThreadPoolExecutor.__init__, max_workers=1)  # type: ignore[method-assign,assignment]
    return run(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
