"""tests/bench/RESULTS.md: what was measured last of each subject, on which machine, at which commit."""

from __future__ import annotations

import os
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

PATH: Final = Path(__file__).with_name("RESULTS.md")
TITLE: Final = """# Measured

Written by `make bench`, subject by subject. Machines differ and are noisy: only ratios of one run travel, and the load
generator shares the processors. Durability is on (`fsync`, `full_page_writes`, `synchronous_commit`), and checked.
"""
_SECTION: Final = re.compile(r"^## (.+)$", re.MULTILINE)


def write_section(subject: str, lines: list[str], *, path: Path = PATH) -> None:
    """Replace the section of a subject, and leave the others as they are."""
    found = _read(path)
    found[subject] = f"{_circumstances()}\n\n```\n" + "\n".join(lines) + "\n```\n"
    body = "".join(f"\n## {name}\n\n{text}" for name, text in sorted(found.items()))
    path.write_text(TITLE + body, encoding="utf-8")


def _read(path: Path) -> dict[str, str]:
    if not path.exists():
        return {}
    parts = _SECTION.split(path.read_text(encoding="utf-8"))[1:]
    return {name: text.strip() + "\n" for name, text in zip(parts[::2], parts[1::2], strict=True)}


def _circumstances() -> str:
    commit = subprocess.run(["git", "log", "-1", "--format=%h %s"], capture_output=True, text=True, check=False)
    load = os.getloadavg()[0]
    return (
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {os.cpu_count()} processors, load {load:.1f} at the end, "
        f"after “{commit.stdout.strip()}”"
    )
