"""The service as it is where others write to its chains too: every append under the locks of its chains."""

from __future__ import annotations

import sys

from journal.cli.main import main
from journal.writing import append

if __name__ == "__main__":
    append.CONFLICTS_BEFORE_LOCK = 0
    sys.exit(main())
