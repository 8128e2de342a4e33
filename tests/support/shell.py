"""A command of a shell, as somebody types it."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def run(command: str, environment: Mapping[str, str], where: Path) -> subprocess.CompletedProcess[str]:
    """Run it to its end in a directory."""
    return subprocess.run(
        ["bash", "-c", command], env=dict(environment), cwd=where, capture_output=True, text=True, check=False
    )
