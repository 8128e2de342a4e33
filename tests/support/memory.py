"""Where the clusters of tests live: in memory where there is room."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

MEMORY = Path("/dev/shm")
ROOM_BYTES = 4 * 1024**3


def choose_directory() -> Path | None:
    """Return where clusters go: a file system in memory with room for them, or None, the usual place."""
    if not (MEMORY.is_dir() and os.access(MEMORY, os.W_OK)):
        return None
    return MEMORY if shutil.disk_usage(MEMORY).free > ROOM_BYTES else None
