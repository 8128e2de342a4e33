"""The service as it is where others write to its chains too: every append under the locks of its chains."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from journal.cli.main import main as run
from journal.writing import append

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str]) -> int:
    """Lock at once, and be the program with these arguments."""
    append.CONFLICTS_BEFORE_LOCK = 0
    return run(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
